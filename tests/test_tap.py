"""`twistd channels`: options become a service, and every fault one line."""

import io
import os
import sys
from pathlib import Path

from twisted.application.service import Service
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from klein_channels import __version__, tap
from klein_channels.demo import DemoService
from klein_channels.errors import ConfigError, StartError
from klein_channels.service import ChannelService
from klein_channels.tap import Options, makeService

CHANNELS = (
    "channels:\n  facebook:\n    verify: v\n    secret: s3cr3ts3cr3t\n    page_tokens: {1: EAAGtoken}\n"
)


class TapCase(SynchronousTestCase):
    def setUp(self):
        self.patch(sys, "path", list(sys.path))
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def options(self, *arguments):
        options = Options()
        options.parseOptions(list(arguments))
        return options

    def file(self, text=CHANNELS):
        path = self.folder / "channels.yml"
        path.write_text(text)
        return str(path)

    def made(self, *arguments):
        return makeService(self.options(*arguments))._inner

    def refused(self, *arguments):
        with self.assertRaises(SystemExit) as caught:
            makeService(self.options(*arguments))
        line = caught.exception.code
        self.assertIsInstance(line, str)
        self.assertTrue(line.startswith("channels: "), line)
        self.assertNotIn("\n", line)
        self.assertNotIn("s3cr3t", line)
        return line


class OptionsTests(TapCase):
    def test_what_is_not_given(self):
        options = self.options()
        self.assertEqual((options["port"], options["config"], options["prefix"]), ("5004", None, None))

    def test_what_is_unknown(self):
        for arguments in (["--colour", "x"], ["surplus"], ["--port"]):
            self.assertRaises(usage.UsageError, self.options, *arguments)

    def test_the_version(self):
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        self.assertRaises(SystemExit, self.options, "--version")
        self.assertEqual(out.getvalue(), f"klein_channels {__version__}\n")


class MakeTests(TapCase):
    def test_the_file_and_before_it_the_command_line(self):
        path = self.file("agent: of_file:x\nstore: 'memory:'\nprefix: /file\npolicy: {drain: 3}\n" + CHANNELS)
        service = self.made("--config", path)
        self.assertIsInstance(service, ChannelService)
        found = (service._agent_spec, service._store_spec, service._prefix, service._port)
        self.assertEqual(found, ("of_file:x", "memory:", "/file", 5004))
        self.assertEqual(service.policy.drain, 3)
        service = self.made(
            "--config",
            path,
            "--agent",
            "a:b",
            "--store",
            "sqlite:///x.db",
            "--prefix",
            "",
            "--port",
            "unix:/x",
        )
        found = (service._agent_spec, service._store_spec, service._prefix, service._port)
        self.assertEqual(found, ("a:b", "sqlite:///x.db", "", "unix:/x"))

    def test_the_files_folder_can_be_imported_from_once(self):
        path = self.file("agent: a:b\n" + CHANNELS)
        for _ in range(2):
            self.made("--config", path)
        self.assertEqual(sys.path.count(str(self.folder)), 1)

    def test_without_a_file_it_is_the_demonstration_on_this_machine(self):
        for port in ("5004", "tcp:5004", "tcp:5004:interface=0.0.0.0"):
            service = self.made("--port", port)
            self.assertIsInstance(service, DemoService)
            self.assertEqual(service.port, 5004)

    def test_nothing_is_opened(self):
        before = set(os.listdir("."))
        self.made("--config", self.file("agent: nowhere:at_all\nstore: sqlite:///x.db\n" + CHANNELS))
        self.assertEqual(set(os.listdir(".")), before)


class RefusedTests(TapCase):
    def test_faults_of_the_configuration(self):
        path = self.file("agent: a:b\n" + CHANNELS)
        self.assertIn("agent: is missing", self.refused("--config", self.file()))
        path = self.file("agent:\n" + CHANNELS)
        self.assertIn("agent: is missing", self.refused("--config", path))
        self.assertIn("cannot be read", self.refused("--config", "/nowhere.yml"))
        self.assertIn("unknown key", self.refused("--config", self.file("agnet: x\n" + CHANNELS)))
        self.assertIn("channels: there are none", self.refused("--config", self.file("agent: a:b\n")))
        path = self.file("agent: a:b\n" + CHANNELS)
        for port in ("99999", "70000"):
            self.assertIn("65535", self.refused("--config", path, "--port", port))

    def test_a_demonstration_for_others(self):
        for port in ("unix:/x", "ssl:443", "tcp:x", "", "tcp:5004:interface=::"):
            self.assertIn("demonstration", self.refused("--port", port))
        self.assertIn("demonstration", self.refused("--prefix", "/bots"))
        self.assertIn("65535", self.refused("--port", "99999"))


class Failing(Service):
    def __init__(self, error, at):
        self.error = error
        self.at = at

    def privilegedStartService(self):
        if self.at == "bind":
            raise self.error

    def startService(self):
        if self.at == "start":
            raise self.error


class AnnouncedTests(TapCase):
    """A `SystemExit` here would hang the parent of a daemon; a traceback would bury the line."""

    def setUp(self):
        super().setUp()
        self.patch(sys, "excepthook", lambda *error: self.others.append(error))
        self.others = []
        self.err = io.StringIO()
        self.patch(sys, "stderr", self.err)

    def failed(self, error, at):
        announced = tap._Announced(Failing(error, at))
        start = announced.privilegedStartService if at == "bind" else announced.startService
        with self.assertRaises(RuntimeError) as caught:
            start()
        return caught.exception

    def test_a_fault_of_the_start_is_an_ordinary_error_with_one_line(self):
        for error in (StartError("store: is away"), ConfigError("x: no")):
            for at in ("bind", "start"):
                failed = self.failed(error, at)
                self.assertEqual(str(failed), f"channels: {error}")
                self.assertIsNone(failed.__cause__)

    def test_only_its_line_is_printed_and_other_errors_as_always(self):
        failed = self.failed(StartError("store: is away"), "start")
        sys.excepthook(type(failed), failed, None)
        self.assertEqual(self.err.getvalue(), "channels: store: is away\n")
        other = KeyError("x")
        sys.excepthook(KeyError, other, None)
        self.assertEqual(self.others, [(KeyError, other, None)])

    def test_other_errors_pass(self):
        announced = tap._Announced(Failing(ZeroDivisionError(), "start"))
        self.assertRaises(ZeroDivisionError, announced.startService)
