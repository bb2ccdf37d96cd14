"""On a socket: strangers reach nothing, nothing is said twice, and who breaks in is heard."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels.conversation_relay import ConversationRelayInput
from klein_channels.model import CallResult, Delta
from klein_channels.testing.harness import ChannelInMemory
from klein_channels.testing.relay import RelayCall

TOKEN = "auth-token-of-tests"


def nobody(call: Any) -> CallResult:
    raise AssertionError("nothing is called")


class HeldAgent:
    """Says what the test puts into its turns; hears no order to stop if it is `deaf`."""

    def __init__(self, *, deaf: bool = False) -> None:
        self.events: list[Any] = []
        self._deaf = deaf
        self._next: Deferred[Any] = Deferred()

    async def __call__(self, event: Any) -> Any:
        self.events.append(event)
        while True:
            self._next = Deferred()
            try:
                piece = await self._next
            except Exception:
                if not self._deaf:
                    raise
                piece = Delta(text=" I talk on.")
            if piece is None:
                return
            yield piece

    def say(self, *pieces: Any) -> None:
        for piece in pieces:
            self._next.callback(piece)


class SocketCase(SynchronousTestCase):
    def call(self, agent: HeldAgent) -> RelayCall:
        channel = ConversationRelayInput(auth_token=TOKEN, welcome_greeting="Hello")
        self.kit = ChannelInMemory(agent, channel, nobody, public_url="https://bot.example")
        self.addCleanup(self.kit.kill)
        return RelayCall(self.kit, token=TOKEN)

    def replies(self) -> list[str]:
        """What the store says was said."""
        rows = self.kit.rows("SELECT message FROM outbox ORDER BY id")
        return [msgspec.json.decode(message)["parts"][0]["text"] for (message,) in rows]


class StrangerTests(SocketCase):
    def test_who_has_no_signature_reaches_nothing(self) -> None:
        agent = HeldAgent()
        call = self.call(agent)
        for signature in ("", "no signature"):
            call.connect(signature=signature)
            self.assertEqual(call.socket.status, 403)
            call.tell("setup", callSid="CA1", **{"from": "+1", "to": "+2"})
            call.say("let me in")
        self.assertEqual((agent.events, self.kit.rows("SELECT * FROM inbox")), ([], []))

    def test_a_message_over_the_limit_is_not_read(self) -> None:
        agent = HeldAgent()
        call = self.call(agent).connect()
        call.say("x" * (self.kit.policy.socket_message - 100))
        self.assertEqual(len(agent.events), 1)
        agent.say(None)
        call.say("x" * self.kit.policy.socket_message)
        self.assertEqual((len(agent.events), call.socket.closed), (1, 1009))


class OnceTests(SocketCase):
    def test_what_grew_is_not_said_again_when_it_is_whole(self) -> None:
        agent = HeldAgent()
        call = self.call(agent).connect()
        call.say("hi")
        agent.say(Delta(text="One. "), Delta(text="Two."))
        self.kit.settle()
        self.assertEqual(call.spoken, ["One. Two.…"])
        agent.say(None)
        self.assertEqual(call.spoken, ["One. Two."])
        self.assertEqual(self.replies(), ["One. Two."])

    def test_pieces_are_never_stored(self) -> None:
        agent = HeldAgent()
        call = self.call(agent).connect()
        call.say("hi")
        agent.say(Delta(text="One. "), Delta(text="Two."))
        self.kit.settle()
        self.assertEqual(self.replies(), [""])


class InterruptTests(SocketCase):
    def test_no_word_leaves_after_the_person_broke_in(self) -> None:
        for deaf in (False, True):
            agent = HeldAgent(deaf=deaf)
            call = self.call(agent).connect()
            call.say("tell me all")
            agent.say(Delta(text="One. "), Delta(text="Two. "))
            self.kit.settle()
            call.break_in("One.")
            self.kit.advance(1)
            self.assertEqual("".join(frame["token"] for frame in call.frames), "One. Two.", deaf)
            if deaf:
                agent.say(None)

    def test_what_was_committed_and_not_yet_sent_is_not_said_either(self) -> None:
        agent = HeldAgent()
        call = self.call(agent).connect()
        call.say("tell me all")
        self.kit.disk.held = True
        agent.say("One.")
        call.break_in("Hel")
        self.kit.disk.release()
        self.kit.advance(5)
        self.assertEqual((call.frames, self.kit.outbox()), ([], ["expired"]))

    def test_what_was_heard_is_what_was_said(self) -> None:
        agent = HeldAgent()
        call = self.call(agent).connect()
        call.say("tell me all")
        agent.say(Delta(text="One. "), Delta(text="Two. "))
        self.kit.settle()
        call.break_in("One.")
        self.assertEqual((self.replies(), self.kit.outbox()), (["One."], ["sent"]))

    def test_the_agent_is_told_what_was_heard(self) -> None:
        agent = HeldAgent()
        call = self.call(agent).connect()
        call.say("tell me all")
        agent.say(Delta(text="One. "), Delta(text="Two. "))
        call.break_in("One.")
        call.say("stop")
        self.assertEqual([event.heard for event in agent.events], [None, "One."])

    def test_that_somebody_broke_in_is_stored(self) -> None:
        agent = HeldAgent()
        call = self.call(agent).connect()
        call.break_in("Hel", 200)
        rows = self.kit.rows("SELECT event FROM inbox ORDER BY id DESC")
        event = msgspec.json.decode(rows[0][0])
        self.assertEqual((event["type"], event["heard"], event["after"]), ("interrupted", "Hel", 0.2))
