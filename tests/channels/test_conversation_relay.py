"""ConversationRelay: how calls are connected, and what is said over their sockets."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode
from xml.etree import ElementTree as ET

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Fed, Sockets, find_channel_class
from klein_channels.channels.conversation_relay import (
    ConversationRelayInput,
    ConversationRelaySettings,
)
from klein_channels.errors import ConfigError, VerificationError
from klein_channels.fit import fit
from klein_channels.intake import is_turn
from klein_channels.model import (
    Address,
    Audio,
    Button,
    Buttons,
    CallResult,
    Card,
    Carousel,
    Custom,
    Delta,
    EndConversation,
    Handoff,
    Message,
    Outgoing,
    Refused,
    Text,
    Typing,
    WebhookRequest,
    from_json,
    to_json,
)
from klein_channels.secret import Secret
from klein_channels.signatures import twilio_signature
from klein_channels.testing.contract_inbound import InboundContract
from klein_channels.testing.contract_sockets import SocketContract
from klein_channels.testing.harness import ChannelInMemory
from klein_channels.testing.hostile import JSON_VALUES, ONE_OF_EACH, WORDS, for_all, parts, st
from klein_channels.testing.relay import RelayCall, problem_with
from klein_channels.testing.twilio import signed_request

from .test_twilio import json_bodies, shown, signed_json

TOKEN = "a-token-of-tests"
CALL, US, THEM = "CA00000000000000000000000000000001", "+15550000001", "+15550000002"
URL = "https://bot.example/webhooks/conversation_relay/webhook"
SOCKET = "wss://bot.example/webhooks/conversation_relay/socket"
FIXTURES = Path(__file__).parent.parent / "fixtures" / "conversation_relay"
NOW = 1_790_000_000.0


def channel(**more: Any) -> ConversationRelayInput:
    return ConversationRelayInput(**{"auth_token": TOKEN, **more})


def webhook(name: str, **more: str) -> WebhookRequest:
    loaded = json.loads((FIXTURES / f"{name}.json").read_bytes())
    query = loaded.get("query", "")
    return signed_request(f"{URL}?{query}" if query else URL, {**loaded["form"], **more}, TOKEN)


def answered(name: str, form: dict[str, str] | None = None, **more: Any) -> ET.Element:
    response = channel(**more).parse(webhook(name, **(form or {}))).response
    assert response is not None
    assert response.content_type == "text/xml; charset=utf-8"
    return ET.fromstring(response.body)


def handshake(url: str = SOCKET, signature: str | None = None, **more: Any) -> WebhookRequest:
    query = url.partition("?")[2]
    right = twilio_signature(url, (), Secret(TOKEN)) if signature is None else signature
    headers = ((b"x-twilio-signature", right.encode()),) if right else ()
    return WebhookRequest(
        **{"method": "GET", "path": "/x", "url": url, "query": query, "headers": headers, **more}
    )


class ContractTests(InboundContract, SynchronousTestCase):
    secrets = (TOKEN,)
    base_urls = ()
    proof_headers = (b"x-twilio-signature",)

    def make_channel(self) -> ConversationRelayInput:
        return channel()

    def bodies(self) -> Sequence[bytes]:
        return json_bodies(FIXTURES, "ringing")

    def signed(self, body: bytes) -> WebhookRequest:
        return signed_json(URL, body)

    def refused(self) -> Sequence[WebhookRequest]:
        return [handshake(signature=""), handshake(signature="x"), handshake(method="POST")]

    def different(self) -> Sequence[bytes]:
        form = json.loads((FIXTURES / "ringing.json").read_bytes())["form"]
        return [json.dumps({**form, "CallSid": f"CA{number}"}).encode() for number in range(3)]


class SocketContractTests(SocketContract, SynchronousTestCase):
    secrets = (TOKEN,)
    proof_headers = (b"x-twilio-signature",)

    def make_channel(self) -> ConversationRelayInput:
        return channel()

    def handshake(self) -> WebhookRequest:
        return handshake()

    def frames(self) -> Sequence[str]:
        setup = {"type": "setup", "callSid": CALL, "from": THEM, "to": US}
        prompt = {"type": "prompt", "voicePrompt": "hi", "lang": "en-US", "last": True}
        keys = {"type": "dtmf", "digit": "1"}, {"type": "dtmf", "digit": "#"}
        interrupt = {"type": "interrupt", "utteranceUntilInterrupt": "H", "durationUntilInterruptMs": "4"}
        return [json.dumps(frame) for frame in (setup, prompt, *keys, interrupt, prompt)]


class HandshakeTests(SynchronousTestCase):
    """Facts: voice.md's cases, made with the official validator, and twilio-agent-connect's own check."""

    def test_the_signed_wss_url_is_believed_with_its_port_or_without(self) -> None:
        for known_as in (SOCKET, SOCKET.replace("example/", "example:443/")):
            signed = twilio_signature(known_as, (), Secret(TOKEN))
            channel().verify(handshake(signature=signed), NOW)

    def test_of_parameters_both_ways_to_sign_are_believed(self) -> None:
        url = f"{SOCKET}?b=2&a=1"
        apart = twilio_signature(SOCKET, (("a", "1"), ("b", "2")), Secret(TOKEN))
        channel().verify(handshake(url), NOW)
        channel().verify(handshake(url, apart), NOW)
        with self.assertRaises(VerificationError):
            channel().verify(handshake(f"{SOCKET}?a=1&b=3", apart), NOW)

    def test_nothing_else_is(self) -> None:
        https = twilio_signature(SOCKET.replace("wss", "https"), (), Secret(TOKEN))
        for wrong in ("", "x", "é", https, twilio_signature(SOCKET, (), Secret("another"))):
            with self.assertRaises(VerificationError):
                channel().verify(handshake(signature=wrong), NOW)


class WebhookTests(SynchronousTestCase):
    def test_each_fixture_is_read_as_it_expects(self) -> None:
        files = sorted(FIXTURES.glob("*.json"))
        self.assertGreater(len(files), 10)
        for file in files:
            loaded = json.loads(file.read_bytes())
            request = webhook(file.stem)
            channel().verify(request, NOW)
            got = channel().parse(request)
            self.assertEqual(len(got.events), len(loaded["expect"]), file.name)
            for event, expected in zip(got.events, loaded["expect"], strict=True):
                self.assertEqual(shown(event, expected), expected, file.name)
                self.assertEqual(from_json(to_json(event)), event, file.name)
                self.assertFalse(is_turn(event, channel().options), file.name)
            self.assertIsNotNone(got.response, file.name)

    def test_a_call_is_connected_to_the_socket_beside_the_webhook(self) -> None:
        [connect] = answered("ringing")
        [relay] = connect
        self.assertEqual((connect.tag, relay.tag), ("Connect", "ConversationRelay"))
        self.assertEqual(relay.get("url"), SOCKET)
        self.assertEqual(connect.get("action"), f"{URL}?turn=1")
        self.assertEqual(relay.get("dtmfDetection"), "true")
        self.assertIsNone(relay.get("welcomeGreeting"))

    def test_all_that_is_configured_is_said_to_the_platform(self) -> None:
        [connect] = answered(
            "ringing",
            language="en-GB",
            voice="Amy",
            welcome_greeting='Hi "you" & <all>\x07',
            welcome_greeting_interruptible="none",
            interruptible="speech",
            attributes={"ttsProvider": "Amazon", "hints": "refund, order"},
            languages={"es-ES": {"voice": "Lucia"}},
            parameters={"tenant": "ac<me"},
            action_url="https://studio.example/next",
        )
        [relay] = connect
        self.assertEqual(connect.get("action"), "https://studio.example/next")
        said = {name: relay.get(name) for name in ("language", "voice", "ttsProvider", "hints")}
        wanted = {"language": "en-GB", "voice": "Amy", "ttsProvider": "Amazon", "hints": "refund, order"}
        self.assertEqual(said, wanted)
        self.assertEqual(relay.get("welcomeGreeting"), 'Hi "you" & <all>')
        language, parameter = relay
        self.assertEqual(language.attrib, {"code": "es-ES", "voice": "Lucia"})
        self.assertEqual(parameter.attrib, {"name": "tenant", "value": "ac<me"})

    def test_who_was_cut_off_is_connected_again_without_a_greeting_and_not_for_ever(self) -> None:
        [connect] = answered("session_failed", welcome_greeting="Hello")
        [relay] = connect
        self.assertIsNone(relay.get("welcomeGreeting"))
        self.assertEqual(connect.get("action"), f"{URL}?turn=2")
        request = webhook("session_failed")
        often = signed_request(f"{URL}?turn=20", json.loads(json.dumps(dict(_form(request)))), TOKEN)
        response = channel().parse(often).response
        assert response is not None
        self.assertEqual([verb.tag for verb in ET.fromstring(response.body)], ["Hangup"])

    def test_a_handoff_calls_the_place_and_an_end_hangs_up(self) -> None:
        [dial] = answered("session_transfer")
        self.assertEqual((dial.tag, dial[0].text), ("Dial", "+15550000009"))
        for name in ("session_hangup", "dial_completed"):
            self.assertEqual([verb.tag for verb in answered(name)], ["Hangup"], name)
        for name in ("caller_hung_up", "ended_by_callback", "recording"):
            self.assertEqual(list(answered(name)), [], name)

    def test_whom_nobody_took_comes_back_to_the_bot(self) -> None:
        [connect] = answered("dial_no_answer", transfer_failed="Nobody there.")
        self.assertEqual(connect[0].get("welcomeGreeting"), "Nobody there.")

    def test_whatever_is_configured_or_handed_over_the_document_is_xml(self) -> None:
        def check(words: str, handoff: Any) -> None:
            answered("ringing", welcome_greeting=words, parameters={"x": words}, voice=words)
            answered("session_transfer", {"HandoffData": json.dumps(handoff)})
            answered("session_transfer", {"HandoffData": json.dumps({"transfer": words})})

        for_all(check, WORDS | st.text(), JSON_VALUES, examples=60)

    def test_it_plays_its_own_platform(self) -> None:
        for kind, names in (("call", ["unknown"]), ("hangup", ["call_ended"])):
            request = channel().trigger_at(kind, "Ada \ud800 é", NOW, f"{URL}?language=de")
            channel().verify(request, NOW)
            self.assertEqual([event.kind for event in channel().parse(request).events], names)
        self.assertRaises(ValueError, channel().trigger_at, "speech", "x", NOW, URL)

    def test_settings_that_cannot_be_are_refused(self) -> None:
        for wrong in (
            {"auth_token": None},
            {"account_sid": "no sid"},
            {"interruptible": "maybe"},
            {"attributes": {"url": "wss://evil"}},
            {"attributes": {"x y": "1"}},
            {"languages": {"de": {"a-b": "x"}}},
            {"num_digits": 0},
            {"finish_on_key": "x"},
            {"silence_timeout": -1.0},
        ):
            self.assertRaises(ConfigError, channel, **wrong)

    def test_it_is_found_by_its_name_and_made_from_settings(self) -> None:
        found = find_channel_class("conversation_relay")
        made = found.from_settings("calls", ConversationRelaySettings(auth_token=TOKEN, language="en-US"))
        self.assertIsInstance(made, ConversationRelayInput)
        self.assertIsInstance(made, Sockets)
        self.assertNotIn(TOKEN, repr(made) + repr(made.options))


class TelnyxTests(SynchronousTestCase):
    """Telnyx signs webhooks; the address of a socket is proved by what we wrote into it."""

    def setUp(self) -> None:
        self.key = Ed25519PrivateKey.generate()
        public = self.key.public_key().public_bytes_raw()
        self.settings = {"public_key": base64.b64encode(public).decode(), "socket_secret": "s" * 20}
        self.bot = channel(auth_token=None, **self.settings)

    def webhook(self, at: float = NOW, body: bytes | None = None, **more: str) -> WebhookRequest:
        form = {"CallSid": "v2:abc/+=", "From": THEM, "To": US, "CallStatus": "ringing", **more}
        sent = urlencode(form).encode()
        signature = base64.b64encode(self.key.sign(b"%d|%s" % (at, sent)))
        headers = (
            (b"content-type", b"application/x-www-form-urlencoded"),
            (b"telnyx-signature-ed25519", signature),
            (b"telnyx-timestamp", b"%d" % at),
        )
        return WebhookRequest(
            method="POST",
            path="",
            headers=headers,
            body=sent if body is None else body,
            url=URL,
            received_at=NOW,
        )

    def socket(self) -> str:
        response = self.bot.parse(self.webhook()).response
        assert response is not None
        return ET.fromstring(response.body)[0][0].get("url") or ""

    def believed(self, request: WebhookRequest, now: float = NOW) -> bool:
        try:
            self.bot.verify(request, now)
        except VerificationError as error:
            self.assertNotIn("sss", str(error))
            return False
        return True

    def test_its_webhooks_are_believed_and_no_others(self) -> None:
        self.assertTrue(self.believed(self.webhook()))
        self.assertTrue(self.believed(self.webhook(NOW - 299)))
        right = self.webhook()
        for wrong in (
            self.webhook(NOW - 301),
            self.webhook(NOW + 301),
            self.webhook(body=b"CallSid=other"),
            msgspec.structs.replace(right, headers=right.headers[:1]),
            msgspec.structs.replace(right, headers=right.headers[:2]),
            msgspec.structs.replace(right, headers=(*right.headers, (b"telnyx-timestamp", b"1"))),
            msgspec.structs.replace(right, method="GET"),
            signed_request(URL, {"CallSid": "x"}, TOKEN),
        ):
            self.assertFalse(self.believed(wrong))
        for odd in ("é", "", "x", "AAAA"):
            headers = (right.headers[0], (b"telnyx-signature-ed25519", odd.encode()), right.headers[2])
            self.assertFalse(self.believed(msgspec.structs.replace(right, headers=headers)))

    def test_a_socket_is_believed_by_the_address_that_we_wrote_for_some_minutes(self) -> None:
        url = self.socket()
        self.assertTrue(url.startswith(f"{SOCKET}?call=v2"))
        self.assertTrue(self.believed(handshake(url, "")))
        self.assertFalse(self.believed(handshake(url, ""), NOW + 301))
        moved = url.replace(f"at={int(NOW)}", f"at={int(NOW) + 100}")
        for wrong in (SOCKET, moved, url.replace("call=v2", "call=v3"), url[:-1], f"{SOCKET}?at=é&proof=é"):
            self.assertFalse(self.believed(handshake(wrong, "")), wrong)

    def test_its_frames_are_read(self) -> None:
        session = self.bot.session(handshake(self.socket(), ""), "s")
        setup = {"type": "setup", "callSid": "v2:abc", "callControlId": "v2:abc", "callLegId": "1"}
        setup |= {"from": THEM, "to": US, "callStatus": "active", "direction": "inbound"}
        self.assertEqual(
            [event.kind for event in session.feed(json.dumps(setup), NOW).events][1], "call_started"
        )
        for last, kinds in ((False, []), (True, ["message"])):
            prompt = {"type": "prompt", "voicePrompt": "hello there", "lang": "en", "last": last}
            self.assertEqual([event.kind for event in session.feed(json.dumps(prompt), NOW).events], kinds)

    def test_settings_that_cannot_be_are_refused(self) -> None:
        for wrong in ({"public_key": "x"}, {"public_key": "AAAA"}, {"socket_secret": None}):
            self.assertRaises(ConfigError, channel, auth_token=None, **{**self.settings, **wrong})
        self.assertRaises(ValueError, self.bot.trigger_at, "call", "x", NOW, URL)
        self.assertNotIn("s" * 20, repr(self.bot) + repr(self.bot.options))


def _form(request: WebhookRequest) -> list[tuple[str, str]]:
    return parse_qsl(request.body.decode())


# ---------------------------------------------------------------------------------------------
# The socket


def nobody(call: Any) -> CallResult:
    raise AssertionError("nothing is called")


class HeldAgent:
    """Says what the test puts into its turns, piece by piece."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.turns: list[Any] = []
        self.ended = 0
        self._next: list[Deferred[Any]] = []

    async def __call__(self, event: Any, turn: Any) -> Any:
        self.events.append(event)
        self.turns.append(turn)
        try:
            while True:
                self._next.append(Deferred())
                piece = await self._next[-1]
                if piece is None:
                    return
                yield piece
        finally:
            self.ended += 1

    def say(self, *pieces: Any) -> None:
        for piece in pieces:
            self._next[-1].callback(piece)


class CallCase(SynchronousTestCase):
    def call(self, agent: Any, *, connect: bool = True, **settings: Any) -> RelayCall:
        self.kit = ChannelInMemory(agent, channel(**settings), nobody, public_url="https://bot.example")
        self.addCleanup(lambda: self.kit.kill() if self.kit.process.alive else None)
        call = RelayCall(self.kit, token=TOKEN, sid=CALL, caller=THEM, us=US)
        return call.connect() if connect else call

    def settled(self) -> None:
        self.kit.settle()

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The stored events of a kind."""
        events = [
            msgspec.json.decode(event) for (event,) in self.kit.rows("SELECT event FROM inbox ORDER BY id")
        ]
        return [event for event in events if event["type"] == kind]


class TalkTests(CallCase):
    def test_tokens_go_out_as_they_come_and_the_whole_is_not_said_again(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="Hello")
        call.say("hi")
        for piece in ("Sure, ", "I **can** do", " that."):
            agent.say(Delta(text=piece))
            self.settled()
        self.assertEqual(call.spoken, ["Sure, I can do that.…"])
        self.assertEqual(len(call.frames), 3)
        agent.say(None)
        self.assertEqual(call.spoken, ["Sure, I can do that."])
        self.assertEqual(self.kit.outbox(), ["sent"])

    def test_each_call_is_a_conversation_and_begins_with_a_turn(self) -> None:
        agent = HeldAgent()
        self.call(agent)
        [event] = agent.events
        wanted = Address(channel="conversation_relay", account=US, peer=THEM, thread=CALL)
        self.assertEqual((event.kind, event.address, event.sender.id), ("call_started", wanted, THEM))

    def test_who_is_greeted_by_the_platform_is_not_greeted_again(self) -> None:
        agent = HeldAgent()
        self.call(agent, welcome_greeting="Hello")
        self.assertEqual(agent.events, [])

    def test_an_agent_of_texts_is_told_the_initial_prompt(self) -> None:
        agent = HeldAgent()
        self.call(agent, initial_prompt="/greet")
        self.assertEqual([(event.kind, event.text) for event in agent.events], [("message", "/greet")])

    def test_words_that_are_still_being_said_are_no_turn(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="Hello")
        call.say("I wo", last=False)
        call.say("I would", last=False)
        call.say("I would like", lang="en-GB")
        self.assertEqual([(e.text, e.sender.locale) for e in agent.events], [("I would like", "en-GB")])

    def test_cards_buttons_sounds_and_markdown_are_said(self) -> None:
        async def agent(event: Any) -> Any:
            yield "# Hi 👋\n**See** https://example.com/x"
            yield Message(parts=(Buttons(text="Which?", buttons=(Button(title="One", payload="1"),)),))
            yield Message(parts=(Carousel(cards=(Card(title="Red", subtitle="a shoe"),)),))
            yield Message(parts=(Audio(url="https://files.example/a.mp3"),))

        call = self.call(agent)
        self.assertEqual(call.spoken, ["Hi. See example.com", "Which? 1. One", "Red a shoe"], call.frames)
        self.assertEqual(call.frames[-1], {"type": "play", "source": "https://files.example/a.mp3"})

    def test_the_agent_switches_languages_sends_keys_and_plays(self) -> None:
        async def agent(event: Any) -> Any:
            json = {"language": "es-ES", "text": "Hola", "interruptible": False}
            return [
                Message(parts=(Custom(json=json),)),
                Message(
                    parts=(Custom(json={"send_digits": "9w1#", "play": "https://x.example/a", "loop": 2}),)
                ),
                Message(parts=(Custom(json={"tts_language": "de-DE"}),)),
            ]

        call = self.call(agent)
        self.assertEqual(
            call.frames,
            [
                {"type": "language", "ttsLanguage": "es-ES", "transcriptionLanguage": "es-ES"},
                {"type": "text", "token": "Hola", "last": True, "interruptible": False},
                {"type": "play", "source": "https://x.example/a", "loop": 2},
                {"type": "sendDigits", "digits": "9w1#"},
                {"type": "language", "ttsLanguage": "de-DE"},
            ],
        )


class KeysTests(CallCase):
    def digits(self, agent: HeldAgent) -> list[str]:
        return [event.digits for event in agent.events if event.kind == "dtmf"]

    def test_keys_are_one_number_at_the_last_key_or_after_a_while(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="x")
        call.press("12#")
        self.assertEqual(self.digits(agent), ["12"])
        agent.say(None)
        call.press("34")
        self.kit.advance(1.9)
        self.assertEqual(self.digits(agent), ["12"])
        self.kit.advance(0.2)
        self.assertEqual(self.digits(agent), ["12", "34"])

    def test_so_many_keys_are_enough_and_words_end_them(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="x", num_digits=4)
        call.press("1234")
        self.assertEqual(self.digits(agent), ["1234"])
        agent.say(None)
        call.press("5")
        call.say("five")
        agent.say(None)
        self.settled()
        self.assertEqual([event.text for event in agent.events], ["1234", "5", "five"])

    def test_what_is_no_key_is_none(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="x")
        for odd in ("", "12", "x", None, [], 3.5):
            call.tell("dtmf", digit=odd)
        self.kit.advance(5)
        self.assertEqual(self.digits(agent), [])
        call.press("#")
        self.assertEqual(self.digits(agent), ["#"])


class InterruptTests(CallCase):
    def test_the_turn_ends_its_tokens_stop_and_what_was_heard_is_known(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="x")
        call.say("tell me")
        agent.say(Delta(text="One. "), Delta(text="Two. "))
        call.break_in("One.")
        self.assertEqual(agent.ended, 1)
        self.assertEqual(call.spoken, ["One. Two."])
        call.say("stop")
        self.assertEqual([event.heard for event in agent.events], [None, "One."])
        self.assertEqual(self.kit.turns(), ["done", "running"])
        [(message,)] = self.kit.rows("SELECT message FROM outbox")
        self.assertEqual(msgspec.json.decode(message)["parts"], [{"type": "text", "text": "One."}])

    def test_who_breaks_in_when_all_was_said_but_not_heard_is_known_too(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="x")
        call.say("tell me")
        agent.say("One. Two. Three.", None)
        call.break_in("One.")
        call.say("stop")
        self.assertEqual(agent.events[-1].heard, "One.")
        [event] = self.told("interrupted")
        self.assertEqual((event["heard"], event["after"]), ("One.", 0.46))

    def test_who_breaks_in_twice_is_told_of_once_with_the_last(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="x")
        call.break_in("a")
        call.break_in("a b")
        call.say("one")
        agent.say(None)
        call.say("two")
        self.assertEqual([event.heard for event in agent.events], ["a b", None])

    def test_an_agent_that_talks_on_is_not_heard(self) -> None:
        talks: list[Deferred[None]] = []

        async def deaf(event: Any) -> Any:
            yield Delta(text="One ")
            try:
                talks.append(Deferred())
                await talks[-1]
            except Exception:
                yield "I talk on"
                yield Delta(text="and on")

        call = self.call(deaf)
        call.break_in("One")
        self.kit.advance(5)
        self.assertEqual(call.spoken, ["One"])
        self.flushLoggedErrors()

    def test_numbers_in_any_writing_are_read(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="x")
        for odd in (460, "460", "x", None, [], -1, 1e300, "nan"):
            call.tell("interrupt", utteranceUntilInterrupt="a", durationUntilInterruptMs=odd)
        after = [event.get("after") for event in self.told("interrupted")]
        self.assertEqual(after, [0.46, 0.46, None, None, None, None, None, None])


class EndTests(CallCase):
    def test_an_end_comes_behind_the_last_words(self) -> None:
        async def agent(event: Any) -> Any:
            yield "Goodbye, and thank you for calling us."
            yield EndConversation()

        call = self.call(agent)
        self.assertEqual([frame["type"] for frame in call.frames], ["text"])
        self.kit.advance(4)
        self.assertEqual(call.frames[-1], {"type": "end", "handoffData": '{"hangup":true}'})

    def test_a_handoff_tells_where_and_why(self) -> None:
        async def agent(event: Any) -> Any:
            yield Handoff(to="+15550000009", note="wants a human")

        call = self.call(agent)
        self.kit.advance(1)
        data = json.loads(call.frames[-1]["handoffData"])
        self.assertEqual(data, {"handoff": True, "transfer": "+15550000009", "note": "wants a human"})

    def test_controls_are_parts_or_nothing(self) -> None:
        self.assertIsNone(channel().part_for(Typing()))
        self.assertIsNone(channel().part_for(Handoff()))
        to = channel(transfer_to="+1").part_for(Handoff())
        self.assertEqual(to, Custom(json={"handoff": True, "transfer": "+1"}))
        elsewhere = channel(action_url="https://x.example").part_for(Handoff(note="n"))
        self.assertEqual(elsewhere, Custom(json={"handoff": True, "note": "n"}))

    def test_silence_is_asked_about_and_then_ends_the_call(self) -> None:
        call = self.call(
            HeldAgent(),
            welcome_greeting="x",
            silence_timeout=5.0,
            reprompt="Hello?",
            max_reprompts=2,
            goodbye="Bye.",
        )
        self.kit.advance(5.1)
        self.assertEqual(call.spoken, ["Hello?"])
        call.say("I wo", last=False)
        self.kit.advance(4)
        self.assertEqual(call.spoken, ["Hello?"])
        self.kit.advance(20)
        self.assertEqual(call.spoken, ["Hello?", "Hello?", "Bye."])
        self.assertEqual(json.loads(call.frames[-1]["handoffData"]), {"reason": "silence", "hangup": True})

    def test_while_the_agent_thinks_the_silence_is_ours(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="x", silence_timeout=5.0, reprompt="Hello?")
        call.say("a hard question")
        self.kit.advance(30)
        self.assertEqual(call.spoken, [])
        agent.say("An answer", None)
        self.kit.advance(6)
        self.assertEqual(call.spoken, ["An answer", "Hello?"])


class ReconnectTests(CallCase):
    def test_a_dropped_socket_is_followed_by_another_in_the_same_conversation(self) -> None:
        agent = HeldAgent()
        call = self.call(agent)
        agent.say("Hello", None)
        call.say("are you there?")
        call.hang_up()
        agent.say("Yes, I am.", None)
        self.settled()
        self.assertEqual(self.kit.outbox(), ["sent", "waiting"])
        call.connect()
        self.assertEqual(call.spoken, ["Yes, I am."])
        self.assertEqual([event.kind for event in agent.events], ["call_started", "message"])

    def test_the_next_server_says_what_the_former_could_not(self) -> None:
        agent = HeldAgent()
        path = self.mktemp()
        kit = ChannelInMemory(agent, channel(), nobody, public_url="https://bot.example", path=path)
        self.addCleanup(kit.kill)
        call = RelayCall(kit, token=TOKEN, sid=CALL).connect()
        agent.say(Delta(text="Hello, "), Delta(text="how "))
        self.assertEqual(call.spoken, ["Hello, how…"])
        kit.kill()
        kit.start()
        call.connect()
        kit.advance(2)
        agent.say(Delta(text="Hello, how are you?"), None)
        kit.advance(40)
        self.assertEqual(call.spoken, ["Hello, how are you?"])
        self.assertEqual(kit.outbox(), ["sent"])


class HostileTests(CallCase):
    def test_no_frame_breaks_a_call(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, welcome_greeting="x", silence_timeout=5.0)
        kinds = st.sampled_from(["setup", "prompt", "dtmf", "interrupt", "error", "info", "x", 1, None])
        fields = st.fixed_dictionaries(
            {"type": kinds},
            optional={
                "voicePrompt": JSON_VALUES,
                "last": JSON_VALUES,
                "lang": JSON_VALUES,
                "digit": JSON_VALUES,
                "utteranceUntilInterrupt": JSON_VALUES,
                "durationUntilInterruptMs": JSON_VALUES,
                "callSid": JSON_VALUES,
            },
        )
        session = channel().session(handshake(), "s")
        session.feed('{"type":"setup","callSid":"CA1"}', NOW)

        def check(frame: Any, raw: bytes) -> None:
            for said in (json.dumps(frame), json.dumps(frame).encode(), raw, raw.decode("latin-1")):
                self.check_fed(session.feed(said, NOW))

        for_all(check, fields | JSON_VALUES, st.binary(max_size=40), examples=150)
        call.say("still there?")
        self.assertEqual(agent.events[-1].text, "still there?")

    def check_fed(self, fed: Fed) -> None:
        self.assertIsNone(fed.close)
        for event in fed.events:
            self.assertEqual(from_json(to_json(event)), event)
        for frame in fed.frames:
            self.assertEqual(problem_with(json.loads(frame)), "")

    def test_no_setup_whatever_is_an_accident(self) -> None:
        values = JSON_VALUES | st.just(CALL)
        setups = st.fixed_dictionaries(
            {"type": st.just("setup")},
            optional=dict.fromkeys(
                ("callSid", "from", "to", "direction", "callerName", "accountSid"), values
            ),
        )

        def check(setup: Any) -> None:
            fed = channel().session(handshake(), "s").feed(json.dumps(setup), NOW)
            for event in fed.events:
                self.assertEqual(Address.parse(str(event.address)), event.address)
                self.assertEqual(from_json(to_json(event)), event)

        for_all(check, setups, examples=80)

    def test_before_the_setup_nothing_counts_and_a_strangers_setup_closes(self) -> None:
        agent = HeldAgent()
        call = self.call(agent, connect=False, account_sid=f"AC{'0' * 31}1").connect(setup=False)
        call.say("hello?")
        self.assertEqual((agent.events, self.kit.turns()), ([], []))
        call.tell("setup", callSid=CALL, accountSid=f"AC{'0' * 31}2")
        self.assertEqual(call.socket.closed, 1008)
        self.assertEqual(self.kit.rows("SELECT * FROM inbox"), [])

    def test_odd_frames_are_told_of_but_not_without_end(self) -> None:
        call = self.call(HeldAgent(), welcome_greeting="x")
        for _ in range(50):
            call.send("not json")
        call.send(b"\xff\xfe")
        self.assertEqual([event["name"] for event in self.told("unknown")], ["malformed"] * 20)
        self.assertIsNone(call.socket.closed)

    def test_whatever_an_agent_says_is_a_frame_that_the_platform_takes(self) -> None:
        strange = parts(WORDS) | st.builds(Custom, json=JSON_VALUES) | st.sampled_from(ONE_OF_EACH)

        def check(part: Any, number: int) -> None:
            session = channel().session(handshake(), "s")
            session.feed(f'{{"type":"setup","callSid":"{CALL}"}}', NOW)
            for shown_part in fit(Message(parts=(part,)), channel().capabilities):
                outgoing = Outgoing(
                    id=str(number),
                    address=session.address or Address(channel="x", account="", peer=""),
                    part=shown_part,
                    now=NOW,
                )
                for frame in session.render(outgoing).frames:
                    self.assertEqual(problem_with(json.loads(frame)), "", frame)

        for_all(check, strange, st.integers(0, 9), examples=150)

    def test_nothing_is_said_before_the_setup_or_behind_the_end(self) -> None:
        session = channel().session(handshake(), "s")
        outgoing = Outgoing(
            id="1", address=Address(channel="x", account="", peer=""), part=Text(text="hi"), now=NOW
        )
        said = session.render(outgoing)
        self.assertEqual(said.frames, ())
        assert isinstance(said.outcome, Refused)
        self.assertTrue(said.outcome.expired)
