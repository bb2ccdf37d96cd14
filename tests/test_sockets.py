"""The sockets of any channel: who comes in, what is bounded, and where what is said goes."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Capabilities, ChannelOptions, Fed, Said, Steps
from klein_channels.errors import VerificationError
from klein_channels.model import (
    Address,
    CallResult,
    Delta,
    Interrupted,
    Membership,
    MessageReceived,
    Outcome,
    Outgoing,
    Received,
    Refused,
    Text,
    WebhookRequest,
)
from klein_channels.policy import Policy
from klein_channels.testing.harness import ChannelInMemory
from klein_channels.testing.sockets import SocketClient

KEY = (b"x-key", b"open sesame")


class ParrotSession:
    """Frames are words; ``I am X`` says who is there, ``!X`` breaks in, ``boom`` is a fault of ours."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.address: Address | None = None
        self.wake_at: float | None = None
        self._number = 0

    def feed(self, frame: str | bytes, now: float) -> Fed:
        self._number += 1
        words = frame if isinstance(frame, str) else frame.decode()
        if words.startswith("I am "):
            self.address = Address(channel="parrot", account="us", peer=words[5:])
            return Fed(events=(self._event(Membership, action="joined"),))
        if words == "boom":
            raise RuntimeError("a fault of ours")
        if words == "bye":
            return Fed(frames=("bye",), close=1000)
        if words == "later":
            self.wake_at = now + 5
            return Fed()
        if words.startswith("!"):
            return Fed(events=(self._event(Interrupted, heard=words[1:]),), interrupted=True)
        return Fed(events=(self._event(MessageReceived, text=words),))

    def _event(self, kind: Any, **more: Any) -> Any:
        return kind(id=f"{self.name}:{self._number}", address=self.address, **more)

    def tick(self, now: float) -> Fed:
        self.wake_at = None
        return Fed(frames=("tick",))

    def render(self, outgoing: Outgoing) -> Said:
        assert isinstance(outgoing.part, Text)
        if outgoing.replaces not in (None, self.name):
            return Said(outcome=Refused(reason="begun elsewhere"))
        return Said(frames=(("~" if outgoing.partial else "") + outgoing.part.text,))

    def hush(self, cause: str) -> None:
        self.hushed = cause

    def ended(self, now: float) -> Fed:
        self._number += 1
        return Fed(events=(self._event(Membership, action="left"),)) if self.address else Fed()


class Parrot:
    """A channel of sockets and nothing else."""

    name = "parrot"
    capabilities = Capabilities(socket_patience=10.0)
    options = ChannelOptions()

    def __init__(self) -> None:
        self.sessions: list[ParrotSession] = []
        self.urls: list[str] = []

    def verify(self, request: WebhookRequest, now: float) -> None:
        self.urls.append(request.url)
        if KEY not in request.headers:
            raise VerificationError("no key")

    def parse(self, request: WebhookRequest) -> Received:
        return Received()

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        yield from ()
        return Refused(reason="there are sockets only")

    def session(self, request: WebhookRequest, name: str) -> ParrotSession:
        self.sessions.append(ParrotSession(name))
        return self.sessions[-1]


def nobody(call: Any) -> CallResult:
    raise AssertionError("nothing is called")


async def echo(event: Any) -> str:
    return f"re: {event.text}"


class SocketCase(SynchronousTestCase):
    def serve(self, agent: Any = echo, **settings: Any) -> ChannelInMemory:
        self.channel = Parrot()
        kit = ChannelInMemory(agent, self.channel, nobody, public_url="https://bot.example", **settings)
        self.addCleanup(lambda: kit.kill() if kit.process.alive else None)
        return kit

    def client(self, kit: ChannelInMemory, *said: str, key: bool = True) -> SocketClient:
        client = SocketClient("/app/parrot/socket", [KEY] if key else [])
        kit.connect(client)
        for words in said:
            self.say(kit, client, words)
        return client

    def say(self, kit: ChannelInMemory, client: SocketClient, words: str | bytes) -> None:
        client.send(words)
        kit.settle()


class HoldingTests(SocketCase):
    def test_other_servers_are_told_which_conversations_end_here(self) -> None:
        kit = self.serve()
        told: list[str] = []
        for name in ("hold_socket", "drop_socket"):
            self.patch(kit.store, name, lambda key, name=name: told.append(f"{name} {key}") or succeed(None))
        first, second = self.client(kit, "I am Ada"), self.client(kit, "I am Ada")
        first.hang_up()
        kit.settle()
        self.assertEqual(told, ["hold_socket parrot:us:Ada"] * 2)
        second.hang_up()
        kit.settle()
        self.assertEqual(told[2:], ["drop_socket parrot:us:Ada"])


class HandshakeTests(SocketCase):
    def test_who_has_proved_himself_talks(self) -> None:
        kit = self.serve()
        client = self.client(kit, "I am Ada", "hi", "and again")
        self.assertEqual(client.status, 101)
        self.assertEqual(client.messages, ["re: hi", "re: and again"])
        self.assertEqual(self.channel.urls, ["wss://bot.example/app/parrot/socket"])

    def test_who_has_not_is_refused_before_the_upgrade(self) -> None:
        kit = self.serve()
        client = self.client(kit, key=False)
        self.assertEqual((client.status, self.channel.sessions), (403, []))

    def test_an_ordinary_get_is_told_what_is_here(self) -> None:
        kit = self.serve()
        asked = kit.raw(b"GET /app/parrot/socket HTTP/1.1\r\nHost: x\r\n\r\n")
        kit.settle()
        self.assertEqual(asked.status, 426)
        self.assertEqual(self.channel.urls, [])

    def test_every_webhook_url_has_its_socket_beside_it(self) -> None:
        kit = self.serve()
        for path in ("/app/parrot/socket", "/webhooks/parrot/socket", "/app/socket"):
            client = SocketClient(path, [KEY])
            kit.connect(client)
            self.assertEqual(client.status, 101, path)

    def test_half_a_handshake_is_a_bad_request(self) -> None:
        kit = self.serve()
        with capturedLogs():
            head = b"GET /app/parrot/socket HTTP/1.1\r\nHost: x\r\nX-Key: open sesame\r\n"
            asked = kit.raw(head + b"Upgrade: websocket\r\n\r\n")
            kit.settle()
        self.assertTrue(asked.answer.startswith(b"HTTP/1.1 400"), asked.answer)
        self.assertEqual(self.channel.sessions, [])


class LimitTests(SocketCase):
    def test_a_message_may_have_so_many_bytes_and_not_one_more(self) -> None:
        kit = self.serve(policy=Policy(socket_message=1000))
        client = self.client(kit, "I am Ada")
        self.say(kit, client, "é" * 500)
        self.assertEqual(len(client.messages), 1)
        self.say(kit, client, "é" * 500 + "x")
        self.assertEqual((len(client.messages), client.closed), (1, 1009))

    def test_a_message_that_does_not_end_is_cut_off(self) -> None:
        kit = self.serve(policy=Policy(socket_message=1000))
        client = self.client(kit, "I am Ada")
        while client.closed is None:
            client.send("x" * 10_000, whole=False)
            kit.settle()
        self.assertEqual(client.closed, 1009)

    def test_what_is_no_frame_ends_the_socket_and_is_no_accident(self) -> None:
        for noise in (
            b"\xff" * 200,
            b"\x81\xfe\xff",
            b"\x81\x05hello",
            b"GET / HTTP/1.1\r\n\r\n",
            b"\0" * 70,
        ):
            kit = self.serve()
            client = self.client(kit, "I am Ada")
            client.raw(noise)
            client.raw(noise)
            kit.settle()
            kit.advance(100)
            self.assertIsNotNone(client.closed, noise)
            self.assertEqual(self.flushLoggedErrors(), [], noise)

    def test_who_answers_no_ping_is_torn_down(self) -> None:
        kit = self.serve(policy=Policy(socket_ping=20.0, socket_idle=60.0))
        quiet, deaf = self.client(kit, "I am Ada"), self.client(kit, "I am Bo")
        deaf.answers_pings = False
        kit.advance(200)
        self.assertEqual((quiet.closed, deaf.closed), (None, 1006))
        self.assertGreater(quiet.pings, 5)

    def test_who_takes_too_little_is_torn_down(self) -> None:
        kit = self.serve(policy=Policy(socket_queue=100))
        client = self.client(kit, "I am Ada")
        [connection] = kit.service.site()._open
        connection.pauseProducing()
        self.say(kit, client, "x" * 60)
        self.assertIsNone(client.closed)
        connection.resumeProducing()
        self.say(kit, client, "y" * 60)
        connection.pauseProducing()
        for word in ("z" * 60, "z" * 60):
            self.say(kit, client, word)
        self.assertEqual(client.closed, 1006)


class TalkTests(SocketCase):
    def test_a_fault_of_ours_costs_one_frame_and_no_more(self) -> None:
        kit = self.serve()
        client = self.client(kit, "I am Ada", "boom", "hi")
        self.assertEqual(client.messages, ["re: hi"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_session_is_woken_when_it_wants_to_be(self) -> None:
        kit = self.serve()
        client = self.client(kit, "I am Ada", "later")
        kit.advance(4.9)
        self.assertEqual(client.messages, [])
        kit.advance(0.2)
        self.assertEqual(client.messages, ["tick"])

    def test_a_session_may_close_behind_its_last_words(self) -> None:
        client = self.client(self.serve(), "bye")
        self.assertEqual((client.messages, client.closed), (["bye"], 1000))

    def test_joining_and_leaving_is_told(self) -> None:
        told: list[str] = []

        def observer(event: Any) -> None:
            told.append(getattr(event, "action", event.kind))

        kit = self.serve(observers=[observer])
        self.client(kit, "I am Ada").hang_up(1000)
        kit.settle()
        self.assertEqual(told, ["joined", "left"])

    def test_nothing_is_left_of_sockets_that_are_gone(self) -> None:
        kit = self.serve()
        for _ in range(3):
            self.client(kit, "I am Ada", "hi").hang_up()
            kit.settle()
        self.assertEqual(len(kit.service._pipeline.sockets), 0)
        kit.advance(100)
        self.assertEqual(kit.service._pipeline.sockets._gone, {})

    def test_the_newest_socket_of_a_conversation_counts(self) -> None:
        kit = self.serve()
        old = self.client(kit, "I am Ada")
        new = self.client(kit, "I am Ada", "hi")
        self.assertEqual((old.messages, old.closed, new.messages), ([], 1000, ["re: hi"]))
        old.hang_up()
        self.say(kit, new, "still")
        self.assertEqual(new.messages, ["re: hi", "re: still"])


class GoneTests(SocketCase):
    """A reply whose socket is gone waits for the next one, and not for ever."""

    def ask_and_leave(self) -> tuple[ChannelInMemory, Deferred[str]]:
        answers: list[Deferred[str]] = []

        async def slow(event: Any) -> str:
            answers.append(Deferred())
            return await answers[-1]

        kit = self.serve(slow)
        self.client(kit, "I am Ada", "hi").hang_up()
        kit.settle()
        return kit, answers[0]

    def test_it_is_said_to_who_comes_back(self) -> None:
        kit, answer = self.ask_and_leave()
        answer.callback("here you are")
        kit.advance(8)
        self.assertEqual(kit.outbox(), ["waiting"])
        client = self.client(kit, "I am Ada")
        kit.settle()
        self.assertEqual((client.messages, kit.outbox()), (["here you are"], ["sent"]))

    def test_it_expires_when_nobody_does(self) -> None:
        kit, answer = self.ask_and_leave()
        answer.callback("here you are")
        kit.advance(20)
        self.assertEqual(kit.outbox(), ["expired"])
        self.assertEqual(self.client(kit, "I am Ada").messages, [])
        self.assertEqual(kit.rows("SELECT count(*) FROM outbox WHERE state = 'dead'"), [(0,)])

    def test_many_who_are_gone_delay_nobody_who_is_there(self) -> None:
        answers: list[Deferred[str]] = []

        async def slow(event: Any) -> str:
            if event.text == "at once":
                return "here you are"
            answers.append(Deferred())
            return await answers[-1]

        kit = self.serve(slow)
        for number in range(20):
            self.client(kit, f"I am {number}", "hi").hang_up()
            kit.settle()
        for answer in answers:
            answer.callback("too late")
        kit.advance(3)
        self.assertEqual(set(kit.outbox()), {"waiting"})
        self.assertEqual(self.client(kit, "I am Ada", "at once").messages, ["here you are"])

    def test_a_text_that_grew_on_a_lost_socket_is_said_whole_on_the_next(self) -> None:
        gates: list[Deferred[None]] = []

        async def slow(event: Any) -> Any:
            yield Delta(text="here ")
            gates.append(Deferred())
            await gates[-1]
            yield Delta(text="you are")

        kit = self.serve(slow)
        first = self.client(kit, "I am Ada", "hi")
        self.assertEqual(first.messages, ["~here "])
        first.hang_up()
        second = self.client(kit, "I am Ada")
        gates[0].callback(None)
        kit.advance(1)
        self.assertEqual((second.messages[-1], kit.outbox()), ("here you are", ["sent"]))

    def test_a_stop_lets_turns_end_and_then_closes(self) -> None:
        answers: list[Deferred[str]] = []

        async def slow(event: Any) -> str:
            answers.append(Deferred())
            return await answers[-1]

        kit = self.serve(slow)
        client = self.client(kit, "I am Ada", "hi")
        stopped = kit.stop()
        kit.advance(1)
        self.assertIsNone(client.closed)
        late = self.client(kit)
        self.assertNotEqual(late.status, 101)
        answers[0].callback("the last word")
        kit.advance(3)
        self.assertEqual((client.messages, client.closed), (["the last word"], 1012))
        assert stopped is not None
        self.successResultOf(stopped)

    def test_what_cannot_be_stored_ends_the_socket(self) -> None:
        kit = self.serve()
        client = self.client(kit, "I am Ada")
        kit.disk.full = True
        self.say(kit, client, "hi")
        kit.advance(0.1)
        self.assertEqual(client.closed, 1011)


class InterruptTests(SocketCase):
    def test_the_turn_at_work_ends_and_what_was_heard_is_what_was_said(self) -> None:
        ended: list[str] = []

        async def slow(event: Any) -> Any:
            if event.text != "hi":
                yield f"heard {event.text}"
                return
            try:
                yield Delta(text="One. ")
                yield Delta(text="Two. ")
                await Deferred()
            finally:
                ended.append(event.text)

        kit = self.serve(slow)
        client = self.client(kit, "I am Ada", "hi", "!One.", "stop")
        self.assertEqual(ended, ["hi"])
        self.assertEqual(kit.turns(), ["done", "done"])
        self.assertIn("heard stop", client.messages)
        [(message,), _] = kit.rows("SELECT message FROM outbox ORDER BY id")
        self.assertIn(b'"One."', message)
        self.assertNotIn(b"Two", message)

    def test_who_breaks_into_silence_ends_nothing(self) -> None:
        kit = self.serve()
        client = self.client(kit, "I am Ada", "!", "hi")
        self.assertEqual((client.messages, kit.turns()), (["re: hi"], ["done"]))
