"""SIGTERM: the process is gone in time, whatever an agent or a platform does, and nothing is lost."""

from __future__ import annotations

from pathlib import Path

from twisted.internet import reactor

from klein_channels.testing.graph import NEVER, Answer
from tests.integration.processes import ECHO_AGENT, ENDED_BY_TERM, ProcessTestCase, message, webhook

DRAIN = 2
SLACK = 6
"""Seconds that a busy machine may take for the rest; with DRAIN still less than the default drain."""
POLICY = {"drain": DRAIN, "unknown_wait": 1, "poll_interval": 0.2}
SLEEPING_THREAD = """
import time

def reply(event):
    open("asked", "w").close()
    while True:
        time.sleep(3600)
"""
THREAD_THAT_IS_AMID_ITS_REPLIES = """
import time

def reply(event):
    yield "first"
    open("asked", "w").close()
    while True:
        time.sleep(3600)
"""
WAITING_FOR_EVER = """
from twisted.internet.defer import Deferred

async def reply(event):
    open("asked", "w").close()
    await Deferred()
"""
DEAF_TO_CANCELLATION = """
from twisted.internet.defer import CancelledError, Deferred

async def reply(event):
    open("asked", "w").close()
    while True:
        try:
            await Deferred()
        except CancelledError:
            pass
"""
SLOW_TO_ANSWER = """
from twisted.internet import reactor
from twisted.internet.task import deferLater

async def reply(event):
    open("asked", "w").close()
    await deferLater(reactor, 1)
    return "re: " + event.text
"""


SCRIPT = """
import bot
from klein_channels.config import read_config
from klein_channels.run import serve
from klein_channels.service import ChannelService

config = read_config("channels.yml")
serve(lambda: ChannelService(config.channels, bot.reply, store=config.store, port=PORT, policy=config.policy))
print("it ends here")
"""


class StopTestCase(ProcessTestCase):
    async def asked(self, agent: str, way: str = "twistd -n", **policy: float) -> None:
        """Serve `agent`, send it a message, and wait until it is at work."""
        self.config = self.configure(agent, {**POLICY, **policy})
        self.program = await self.serve(self.config, way=way)
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        await self.until((self.folder / "asked").exists)

    async def ends(self, within: float = DRAIN + SLACK) -> None:
        """Tell the server to end; it does in time, and tidily."""
        began = reactor.seconds()
        self.assertIn(await self.stop(self.program), ENDED_BY_TERM)
        self.assertLess(reactor.seconds() - began, within)
        self.assertNotIn("Traceback", self.program.said + self.log())

    async def ends_and_starts_again(self) -> None:
        """After a restart, with an agent that answers, the turn is answered."""
        await self.ends()
        await self.serve(self.configure(ECHO_AGENT, POLICY))
        await self.until(lambda: self.texts)
        await self.until_all_is_done()


class StoppedAgents(StopTestCase):
    async def test_a_thread_that_sleeps_for_ever(self) -> None:
        await self.asked(SLEEPING_THREAD)
        await self.ends_and_starts_again()
        self.assertEqual(self.texts, ["re: hello"])

    async def test_a_thread_that_sleeps_for_ever_in_a_daemon(self) -> None:
        await self.asked(SLEEPING_THREAD, way="twistd")
        await self.ends_and_starts_again()
        self.assertEqual(self.texts, ["re: hello"])

    async def test_a_thread_that_sleeps_for_ever_in_a_script(self) -> None:
        self.config = self.configure(SLEEPING_THREAD, POLICY)
        self.program = self.run_python(str(self.write("script.py", f"PORT = {self.endpoint!r}\n{SCRIPT}")))
        await self.until_ready(self.program)
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        await self.until((self.folder / "asked").exists)
        await self.ends()
        self.assertIn("it ends here", self.program.stdout)

    async def test_a_thread_amid_its_replies(self) -> None:
        await self.asked(THREAD_THAT_IS_AMID_ITS_REPLIES)
        await self.until(lambda: self.texts)
        await self.ends_and_starts_again()
        await self.until(lambda: self.texts == ["first", "re: hello"])

    async def test_a_coroutine_that_waits_for_ever(self) -> None:
        await self.asked(WAITING_FOR_EVER)
        await self.ends_and_starts_again()
        self.assertEqual(self.texts, ["re: hello"])

    async def test_a_coroutine_that_ignores_its_cancellation(self) -> None:
        await self.asked(DEAF_TO_CANCELLATION)
        await self.ends_and_starts_again()
        self.assertEqual(self.texts, ["re: hello"])

    async def test_a_turn_that_ends_within_the_drain_is_answered_before_the_end(self) -> None:
        await self.asked(SLOW_TO_ANSWER, drain=30)
        await self.ends(within=30)
        self.assertEqual(self.texts, ["re: hello"])
        self.assertTrue(self.store.is_at_rest())


class StoppedReplies(StopTestCase):
    async def test_a_reply_in_flight_to_a_slow_platform_is_waited_for(self) -> None:
        self.graph.answers(Answer(delay=1.0))
        await self.in_flight(drain=30)
        await self.ends(within=30)
        self.assertEqual(self.states(), [("sent", 0)])
        await self.serve(self.config)
        await self.until_all_is_done()
        self.assertEqual(self.texts, ["re: hello"])

    async def test_a_reply_to_a_platform_that_never_answers_is_repeated_once_and_marked(self) -> None:
        self.graph.answers(NEVER)
        await self.in_flight()
        await self.ends()
        self.assertEqual(self.states(), [("sending", 0)])
        await self.serve(self.config)
        await self.until_all_is_done()
        self.assertEqual((self.texts, self.states()), (["re: hello", "re: hello"], [("sent", 1)]))

    async def in_flight(self, **policy: float) -> None:
        """A server whose reply was shown, and not yet answered."""
        self.config = self.configure(ECHO_AGENT, {**POLICY, **policy})
        self.program = await self.serve(self.config)
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        await self.until(lambda: self.texts)

    def states(self) -> list[tuple[str, int]]:
        return [
            (row["state"], row["repeated"]) for row in self.store.rows("SELECT state, repeated FROM outbox")
        ]


class StoppedClients(StopTestCase):
    async def test_idle_and_slow_connections_do_not_hold_it_up(self) -> None:
        self.config: Path = self.configure(ECHO_AGENT, POLICY)
        self.program = await self.serve(self.config)
        idle, slow = await self.wire(), await self.wire()
        idle.send(webhook(message("7", "m_1")).replace(b"Connection: close\r\n", b""))
        slow.send(webhook(message("7", "m_2"))[:-5])
        await self.until(lambda: idle.heard)
        await self.ends()
        self.assertTrue(idle.closed)
