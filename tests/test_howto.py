"""The package that docs/howto/write-a-channel.rst builds is found, keeps the contract, and is served."""

import importlib
import runpy
import sys
import unittest
from pathlib import Path
from unittest import mock

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import find_channel_class, known_types
from klein_channels.config import read_config
from klein_channels.errors import ConfigError
from klein_channels.testing.harness import ChannelInMemory

from .snippets import ROOT, files_of

PAGE = ROOT / "docs" / "howto" / "write-a-channel.rst"
MOST_LINES = 120
"""If a channel with buttons and receipts needs more, the seam is wrong, not the channel."""
ENVIRONMENT = {"PIGEON_TOKEN": "token-of-tests", "PIGEON_SECRET": "secret-of-tests"}


class WrittenPackage(SynchronousTestCase):
    """The files of the page in a folder, as installed there as pip would have done it."""

    def setUp(self):
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        for name, text in files_of(PAGE).items():
            (self.folder / name).write_text(text, encoding="utf-8")

    def install(self):
        with mock.patch("setuptools.setup") as setup:
            runpy.run_path(str(self.folder / "setup.py"), run_name="__main__")
        metadata = setup.call_args.kwargs
        for module in metadata["py_modules"]:
            self.assertTrue((self.folder / f"{module}.py").exists(), module)
        groups = metadata["entry_points"].items()
        lines = [line for group, entries in groups for line in (f"[{group}]", *entries)]
        installed = self.folder / f"{metadata['name'].replace('-', '_')}-{metadata['version']}.dist-info"
        installed.mkdir()
        header = f"Metadata-Version: 2.1\nName: {metadata['name']}\nVersion: {metadata['version']}\n"
        (installed / "METADATA").write_text(header)
        (installed / "entry_points.txt").write_text("\n".join(lines) + "\n")
        self.patch(sys, "path", [str(self.folder), *sys.path])
        self.addCleanup(self.forget)
        importlib.invalidate_caches()

    def forget(self):
        for name in files_of(PAGE):
            sys.modules.pop(name.removesuffix(".py"), None)
        importlib.invalidate_caches()


class PageTests(WrittenPackage):
    def test_the_channel_is_as_short_as_a_channel_may_be(self):
        lines = files_of(PAGE)["pigeon_channel.py"].splitlines()
        self.assertLessEqual(len(lines), MOST_LINES)
        self.assertLessEqual(max(map(len, lines)), 110)

    def test_it_is_found_by_its_name_once_it_is_installed(self):
        self.assertRaises(ConfigError, find_channel_class, "pigeon")
        self.install()
        self.assertEqual(find_channel_class("pigeon").__name__, "PigeonInput")
        self.assertIn("pigeon", known_types())

    def test_its_tests_pass(self):
        self.install()
        suite = unittest.defaultTestLoader.loadTestsFromName("test_pigeon")
        result = unittest.TestResult()
        suite.run(result)
        self.assertEqual([text for _, text in result.errors + result.failures], [])
        self.assertGreater(result.testsRun, 25)

    def test_a_person_is_answered_through_the_channel_of_the_configuration(self):
        self.install()
        config = read_config(str(self.folder / "channels.yml"), ENVIRONMENT)
        [channel] = config.channels
        tests = importlib.import_module("test_pigeon")
        calls = []

        async def agent(event):
            return f"re: {event.text}"

        def platform(call):
            calls.append((call.url, tests.json.loads(call.body)["text"]))
            return tests.answered(201, {"id": "m1"})

        kit = ChannelInMemory(agent, channel, platform)
        self.addCleanup(kit.kill)
        self.assertEqual(kit.receive(tests.signed(tests.HELLO)), 200)
        self.assertEqual(calls, [("https://api.pigeon.example/v1/messages", "re: hello")])
