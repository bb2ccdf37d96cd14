"""Three ways to start a server, and every fault that can keep it from starting."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from klein_channels.store.schema import newest
from tests.integration.processes import (
    ECHO_AGENT,
    ENDED_BY_TERM,
    LOG_FILE,
    LOOPBACK,
    PAGE,
    PID_FILE,
    SECRET,
    VERIFY,
    WAYS,
    ProcessTestCase,
    get,
    message,
    webhook,
)

ONE_WAY = ("twistd",)
"""The daemon, for faults that another one of their kind has shown to be told alike in all ways."""
ASYNCIO_AGENT = """
import asyncio

async def reply(event):
    await asyncio.sleep(0)
    return "slept, then: " + event.text
"""
WHAT_MAKING_OPENS = """
import json, os, sys, threading
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins

def opened():
    return sorted(os.listdir("/proc/self/fd")), threading.active_count(), sorted(os.listdir("."))

(maker,) = [plugin for plugin in getPlugins(IServiceMaker) if plugin.tapname == "channels"]
options = maker.options()
options.parseOptions(sys.argv[1:])
before = opened()
service = maker.makeService(options)
print(json.dumps([before == opened(), "bot" in sys.modules, "twisted.internet.reactor" in sys.modules]))
"""


class StartTestCase(ProcessTestCase):
    async def refused(self, line: str, *arguments: str, ways: Iterable[str] = WAYS) -> None:
        """Each way of starting ends at once, for one reason, told in one line, and leaves nothing behind."""
        for way in ways:
            program = self.start(*arguments, way=way)
            status = await self.status(program)
            told = program.said + self.log()
            self.assertEqual(status, 1, f"{way}: {told}")
            whole = [written for written in told.splitlines() if written.endswith(f"channels: {line}")]
            self.assertEqual(len(whole), 1, f"{way}: {told}")
            self.assertNotIn("Traceback", told, way)
            self.assertNotIn(SECRET, told, way)
            self.assertFalse((self.folder / PID_FILE).exists(), way)
            if way == "twistd":
                self.assertIn(f"channels: {line}"[:60], program.stderr)
            (self.folder / LOG_FILE).unlink(missing_ok=True)

    async def refused_with(self, line: str, config: Path, *more: str, ways: Iterable[str] = WAYS) -> None:
        await self.refused(line, "--config", str(config), "--port", self.endpoint, *more, ways=ways)


class FaultyConfigurations(StartTestCase):
    async def test_no_file(self) -> None:
        await self.refused(
            "nowhere.yml: cannot be read: No such file or directory", "--config", "nowhere.yml"
        )

    async def test_unreadable_file(self) -> None:
        self.write("folder.yml/file", "")
        await self.refused("folder.yml: cannot be read: Is a directory", "--config", "folder.yml")

    async def test_no_yaml(self) -> None:
        self.write("bad.yml", f"channels:\n  facebook: [{SECRET}")
        line = "bad.yml: is no YAML: line 2: expected ',' or ']', but got '<stream end>'"
        await self.refused(line, "--config", "bad.yml", ways=ONE_WAY)

    async def test_missing_secret(self) -> None:
        settings = {"verify": VERIFY, "page_tokens": {PAGE: "token"}}
        config = self.configure(channels={"facebook": settings})
        line = (
            f"{config}: channels.facebook: channel 'facebook': secret (fb_secret) is missing:"
            " copy the App Secret from Settings, Basic in the app dashboard"
        )
        await self.refused_with(line, config)

    async def test_missing_environment(self) -> None:
        settings = {"verify": VERIFY, "secret": "${NOT_IN_ANY_ENVIRONMENT}", "page_tokens": {PAGE: "token"}}
        config = self.configure(channels={"facebook": settings})
        line = f"{config}: channels.facebook.secret: the environment has no NOT_IN_ANY_ENVIRONMENT"
        await self.refused_with(line, config, ways=ONE_WAY)

    async def test_unknown_key(self) -> None:
        config = self.configure(channels={"facebook": {"verfy": VERIFY, "secret": SECRET}})
        line = f"{config}: channels.facebook.verfy: unknown key (did you mean 'verify'?)"
        await self.refused_with(line, config)

    async def test_port_that_is_none(self) -> None:
        arguments = "--config", str(self.configure()), "--port", "70000"
        await self.refused("port 70000: there are 65535", *arguments, ways=ONE_WAY)


class FaultyWorlds(StartTestCase):
    async def test_busy_port(self) -> None:
        busy = self._graph_port.getHost().port
        line = f"port {busy}: [Errno 98] Address already in use"
        await self.refused(line, "--config", str(self.configure()), "--port", str(busy))

    async def test_agent_that_is_not_there(self) -> None:
        config = self.configure()
        line = f"agent: 'bta:reply': no module 'bta' in {self.folder} or among the installed"
        await self.refused_with(line, config, "--agent", "bta:reply")

    async def test_agent_that_cannot_be_imported(self) -> None:
        line = "agent: 'bot:reply' cannot be imported: ZeroDivisionError: division by zero"
        await self.refused_with(line, self.configure(agent="1 / 0"))

    async def test_agent_with_another_name(self) -> None:
        line = "agent: 'bot:rply': bot has no 'rply' (did you mean 'reply'?)"
        await self.refused_with(line, self.configure(), "--agent", "bot:rply", ways=ONE_WAY)

    async def test_store_that_is_a_directory(self) -> None:
        self.store.path.mkdir()
        line = f"store: {self.store.path} cannot be opened: unable to open database file"
        await self.refused_with(line, self.configure())

    async def test_store_that_is_no_database(self) -> None:
        self.store.path.write_bytes(b"no database at all " * 100)
        line = f"store: {self.store.path} cannot be opened: file is not a database"
        await self.refused_with(line, self.configure())
        self.assertEqual(self.store.path.read_bytes(), b"no database at all " * 100)

    async def test_store_of_another_server(self) -> None:
        self.hold_the_lock()
        await self.refused_with(f"store: {self.store.path} is in use by another server", self.configure())

    def hold_the_lock(self) -> None:
        lock = open(f"{self.store.path}.lock", "a")  # noqa: SIM115  (held until the test is over)
        self.addCleanup(lock.close)
        fcntl.flock(lock, fcntl.LOCK_EX)

    async def test_store_of_a_newer_version(self) -> None:
        db = sqlite3.connect(self.store.path)
        db.execute("CREATE TABLE store (version INTEGER, instance TEXT)")
        db.execute("INSERT INTO store VALUES (99, 'abc')")
        db.commit()
        db.close()
        known = newest("sqlite")
        line = f"store: {self.store.path} has schema 99, this klein_channels knows {known}: upgrade it"
        await self.refused_with(line, self.configure())


class Starts(StartTestCase):
    async def served(self, way: str) -> None:
        config = self.configure()
        program = await self.serve(config, way=way)
        self.assertEqual(await self.ask(webhook(message("7", "m_1", way))), 200)
        await self.until(lambda: self.texts)
        self.assertIn(await self.stop(program), ENDED_BY_TERM)
        self.assertEqual(self.texts, [f"re: {way}"])
        self.assertFalse((self.folder / PID_FILE).exists())
        self.assertNotIn("Traceback", program.said + self.log())
        self.assertNotIn("#error]", program.said + self.log())

    async def test_as_a_daemon(self) -> None:
        await self.served("twistd")

    async def test_in_the_foreground(self) -> None:
        await self.served("twistd -n")

    async def test_with_twist(self) -> None:
        await self.served("twist")

    async def test_on_the_asyncio_reactor_an_agent_may_await_what_it_likes(self) -> None:
        config = self.configure(ASYNCIO_AGENT)
        arguments = "channels", "--config", str(config), "--port", self.endpoint
        program = self.run_command("twistd", "-n", "--reactor=asyncio", *arguments)
        await self.until_ready(program)
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        await self.until(lambda: self.texts)
        self.assertEqual(self.texts, ["slept, then: hello"])

    async def test_from_any_directory(self) -> None:
        elsewhere = self.folder / "elsewhere"
        elsewhere.mkdir()
        config = self.configure()
        await self.serve(config, cwd=elsewhere)
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        await self.until(lambda: self.texts == ["re: hello"])

    async def test_two_at_once_on_one_store_are_one_too_many(self) -> None:
        config = self.configure()
        await self.serve(config)
        endpoint = f"tcp:{self.own_port()}:interface={LOOPBACK}"
        second = self.start("--config", str(config), "--port", endpoint, way="twist")
        self.assertEqual(await self.status(second), 1)
        self.assertIn(f"store: {self.store.path} is in use by another server", second.said)

    async def test_making_the_service_opens_nothing(self) -> None:
        script = str(self.write("making.py", WHAT_MAKING_OPENS))
        config = str(self.configure())
        for arguments in (("--config", config, "--port", self.endpoint), ("--port", str(self.port))):
            program = self.run_python(script, *arguments)
            self.assertEqual((await self.status(program), program.stderr), (0, ""))
            unchanged, agent_imported, reactor_chosen = json.loads(program.stdout)
            self.assertTrue(unchanged)
            self.assertFalse(agent_imported)
            self.assertFalse(reactor_chosen)


class WithoutAConfiguration(StartTestCase):
    async def listens_on_loopback_only(self, port: str, *more: str) -> str:
        """Serve the demonstration; what it says, once it is known who is served."""
        program = self.start("--port", port, *more)
        await self.until_ready(program)
        with self.assertRaises(Exception):  # noqa: B017  (127.0.0.2 is this machine too)
            await self.wire(host="127.0.0.2")
        said = program.said
        await self.stop(program)
        return said

    async def test_only_this_machine_is_served_and_loudly(self) -> None:
        for port in (str(self.port), f"tcp:{self.port}:interface=0.0.0.0", f"tcp:{self.port}"):
            said = await self.listens_on_loopback_only(port)
            self.assertIn("#warn] DEMONSTRATION: no configuration was given.", said)
            self.assertIn(f"http://127.0.0.1:{self.port}/app/webhook", said)

    async def test_other_endpoints_are_refused(self) -> None:
        line = (
            "port 'unix:bot.sock': without --config only a demonstration is served,"
            " and that listens to a port number on 127.0.0.1"
        )
        await self.refused(line, "--port", "unix:bot.sock", ways=ONE_WAY)

    async def test_it_believes_nobody(self) -> None:
        self.write("bot.py", ECHO_AGENT + "    raise SystemExit")
        program = self.start("--port", str(self.port), "--agent", "bot:reply")
        await self.until_ready(program)
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 403)
        self.assertEqual(await self.ask(get("/app/webhook?hub.mode=subscribe&hub.challenge=1")), 403)

    async def test_nothing_is_left_behind(self) -> None:
        before = self.left()
        await self.listens_on_loopback_only(str(self.port))
        self.assertEqual(self.left(), before)

    def left(self) -> list[Any]:
        """All files below the test's folder, where the demonstration's temporary ones are too."""
        return sorted(path for path in self.folder.rglob("*") if path.is_file())
