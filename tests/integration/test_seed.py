"""The sample of docs/connectors.rst, as it stands there, and where it can and cannot be run."""

from __future__ import annotations

import textwrap

from tests.integration.processes import (
    ENDED_BY_TERM,
    ROOT,
    ProcessTestCase,
    Program,
    get,
    item,
    message,
    webhook,
)

SAMPLE = """\
from klein_channels.channels import HttpInputChannel
from klein_channels.channels.facebook import FacebookInput
from klein_channels.agent import Agent
from klein_channels.interpreter import RegexInterpreter

# load your trained agent
agent = Agent.load("examples/babi/models/policy/current", interpreter=RegexInterpreter())

input_channel = FacebookInput(
   fb_verify="YOUR_FB_VERIFY",
   fb_secret="YOUR_FB_SECRET",
   fb_tokens=["YOUR_FB_PAGE_TOKEN"],
   debug_mode=True
)

# or `agent.handle_channel(...)` for synchronous handling
agent.handle_asynchronous(HttpInputChannel(5004, "/app", input_channel))
"""
LAST = SAMPLE.splitlines()[-1]
WHICH_REACTOR = "\nimport sys; print(type(sys.modules['twisted.internet.reactor']).__name__)\n"
INSIDE_A_REACTOR = """
from twisted.internet import defer, reactor

def serving(service):
    print(type(service).__name__, "not ready:", service.not_ready(), flush=True)

def serve():
    returned = {call}
    print("returned at once:", isinstance(returned, defer.Deferred), "fired:", returned.called, flush=True)
    returned.addCallbacks(serving, lambda failure: print("failed:", failure.getErrorMessage(), flush=True))

reactor.callWhenRunning(serve)
reactor.run()
"""
OFF_THE_MAIN_THREAD = """
import threading

def serve():
    try:
        {call}
    except Exception as error:
        print(type(error).__name__, error)

thread = threading.Thread(target=serve)
thread.start()
thread.join()
"""
A_SECOND_TIME = """
from twisted.internet import reactor

reactor.callWhenRunning(reactor.stop)
{call}
try:
    {call}
except Exception as error:
    print(type(error).__name__, error)
"""


class SeedTestCase(ProcessTestCase):
    page_token = "YOUR_FB_PAGE_TOKEN"
    app_secret = "YOUR_FB_SECRET"

    def script(self, ending: str = LAST) -> str:
        """The sample with a port of the test's own, and another last statement; its path."""
        sample = SAMPLE.replace(LAST, ending.replace("{call}", LAST)).replace("5004", str(self.port))
        return str(self.write("sample.py", sample))

    def run_sample(self, ending: str = LAST) -> Program:
        """Run the sample where `examples` is, as in the repository's root, but in a folder of its own."""
        (self.folder / "examples").symlink_to(ROOT / "examples")
        return self.run_python(self.script(ending))

    async def says(self, *items: dict[str, object]) -> None:
        self.assertEqual(await self.ask(webhook(*items, secret=self.app_secret)), 200)

    async def until_seen(self, number: int) -> dict[str, object]:
        """The message that the `number`-th reply was."""
        await self.until(lambda: len(self.graph.sent) >= number)
        found: dict[str, object] = self.graph.sent[number - 1].body["message"]
        return found


class Samples(SeedTestCase):
    def test_the_documentation_has_it_word_for_word(self) -> None:
        documentation = (ROOT / "docs" / "connectors.rst").read_text(encoding="utf-8")
        self.assertIn(textwrap.indent(SAMPLE, "    ", lambda line: line != "\n"), documentation)

    async def test_handle_asynchronous_answers_until_it_is_told_to_end(self) -> None:
        await self.books_a_table(LAST)

    async def test_handle_channel_answers_until_it_is_told_to_end(self) -> None:
        await self.books_a_table(LAST.replace("handle_asynchronous", "handle_channel"))

    async def books_a_table(self, ending: str) -> None:
        program = self.run_sample(ending + WHICH_REACTOR)
        await self.until_ready(program)
        handshake = "hub.mode=subscribe&hub.verify_token=YOUR_FB_VERIFY&hub.challenge=1158201444"
        self.assertEqual(await self.ask(get(f"/app/webhook?{handshake}")), 200)
        self.assertEqual(await self.ask(webhook(message("7", "m_0"), secret="another")), 403)
        await self.says(item("7", postback={"mid": "m_1", "title": "Start", "payload": "/greet"}))
        self.assertIn("Italian", str(await self.until_seen(1)))
        chosen = {"payload": '/inform{"cuisine":"thai"}'}
        await self.says(item("7", message={"mid": "m_2", "text": "Thai", "quick_reply": chosen}))
        self.assertIn("thai", str(await self.until_seen(2)))
        await self.until_all_is_done()
        self.assertIsNotNone(program.transport.pid)
        self.assertIn(await self.stop(program), ENDED_BY_TERM)
        self.assertEqual(len(self.graph.sent), 2)
        self.assertNotIn("Traceback", program.said)
        self.assertIn("klein-channels.db", program.stderr.splitlines()[0])
        self.assertEqual(program.stdout, "AsyncioSelectorReactor\n")

    def setUp(self) -> None:
        super().setUp()
        self.store.path = self.folder / "klein-channels.db"


class Places(SeedTestCase):
    async def test_inside_a_running_reactor_it_returns_at_once(self) -> None:
        program = self.run_sample(INSIDE_A_REACTOR)
        await self.until_ready(program)
        await self.until(lambda: "not ready" in program.stdout)
        self.assertIn("returned at once: True", program.stdout)
        self.assertIn("ChannelService not ready: []", program.stdout)
        await self.says(item("7", postback={"mid": "m_1", "title": "Start", "payload": "/greet"}))
        await self.until_seen(1)

    async def test_inside_a_running_reactor_a_busy_port_is_a_failure(self) -> None:
        self.port = self._graph_port.getHost().port
        program = self.run_sample(INSIDE_A_REACTOR)
        await self.until(lambda: "failed" in program.stdout)
        self.assertIn(f"failed: port {self.port}: [Errno 98] Address already in use", program.stdout)

    async def test_off_the_main_thread_it_names_the_way_out(self) -> None:
        program = self.run_sample(OFF_THE_MAIN_THREAD)
        self.assertEqual(await self.status(program), 0)
        self.assertEqual(
            program.stdout,
            "ReactorError serving was asked for off the main thread, where no signal arrives: call it on"
            " the main thread, or embed klein_channels.service.ChannelService in your application\n",
        )

    async def test_a_second_time_it_names_the_way_out(self) -> None:
        program = self.run_sample(A_SECOND_TIME)
        self.assertEqual(await self.status(program), 0)
        self.assertEqual(
            program.stdout,
            "ReactorError the reactor has run before and cannot run again: serve all channels with one"
            " call, or embed klein_channels.service.ChannelService\n",
        )

    async def test_loaded_by_twistd_it_names_the_way_out(self) -> None:
        (self.folder / "examples").symlink_to(ROOT / "examples")
        program = self.run_command("twistd", "-n", "-y", self.script())
        self.assertEqual(await self.status(program), 1)
        self.assertIn(
            "ReactorError: this file is being loaded by twistd, which runs the reactor", program.said
        )

    async def test_on_a_busy_port_it_ends_with_the_reason(self) -> None:
        self.port = self._graph_port.getHost().port
        program = self.run_sample()
        self.assertEqual(await self.status(program), 1)
        last = program.stderr.strip().splitlines()[-1]
        self.assertTrue(
            last.endswith(f"StartError: port {self.port}: [Errno 98] Address already in use"), last
        )

    async def test_the_agent_alone_loads_no_reactor(self) -> None:
        ending = (
            "import sys; print(agent.handle_message('/greet'), 'twisted.internet.reactor' in sys.modules)"
        )
        program = self.run_sample(ending)
        self.assertEqual((await self.status(program), program.stderr), (0, ""))
        self.assertRegex(program.stdout, r"\['.+'\] False\n")
