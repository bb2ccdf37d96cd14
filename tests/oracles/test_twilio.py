"""Twilio's own libraries as judges: of signatures, of TwiML, of ConversationRelay's frames."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from typing import Any
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree as ET

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels.conversation_relay import ConversationRelayInput
from klein_channels.channels.twilio_voice import TwilioVoiceInput
from klein_channels.errors import VerificationError
from klein_channels.fit import fit
from klein_channels.model import (
    Address,
    CallResult,
    Custom,
    Delta,
    Message,
    Outgoing,
    Text,
    WebhookRequest,
)
from klein_channels.testing.harness import ChannelInMemory
from klein_channels.testing.hostile import ONE_OF_EACH, WORDS, for_all, parts, st
from klein_channels.testing.relay import RelayCall
from klein_channels.testing.twilio import signed_request

from . import missing

TOKEN = "a-token-of-tests"
CALL, US, THEM = "CA1", "+15550000001", "+15550000002"
HOST = "https://bot.example"
HOOK = f"{HOST}/webhooks/voice/webhook"
NOW = 1_790_000_000.0
NAMES = st.sampled_from(["Body", "From", "To", "NumMedia", "a", "é", "Digits"])
VALUES = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(["", " ", "+1", "a&b=c", "🎈"])
FIELDS = st.lists(st.tuples(NAMES, VALUES), max_size=5)
URLS = st.builds(
    lambda port, path, query: f"https://bot.example{port}/{path}{query}",
    st.sampled_from(["", ":443", ":8443"]),
    st.sampled_from(["webhook", "a/b", "%C3%A9"]),
    st.sampled_from(["", "?turn=3", "?a=1&a=2&b=", "?x=%C3%A4%20+"]),
)


class Judged(SynchronousTestCase):
    def relay(self, **more: Any) -> ConversationRelayInput:
        return ConversationRelayInput(auth_token=TOKEN, **more)

    def voice(self, **more: Any) -> TwilioVoiceInput:
        return TwilioVoiceInput(auth_token=TOKEN, **more)

    def believed(self, request: WebhookRequest) -> bool:
        try:
            self.relay().verify(request, NOW)
        except VerificationError:
            return False
        return True

    def begun(self, channel: Any, **form: str) -> bytes:
        """The answer to a call that begins."""
        fields = {"CallSid": CALL, "From": THEM, "To": US, "CallStatus": "ringing", **form}
        request = signed_request(HOOK, fields, TOKEN)
        response = channel.parse(request).response
        return bytes(response.body) if response is not None else b""


class SignatureTests(Judged):
    """`twilio.request_validator.RequestValidator`."""

    skip = missing("twilio")

    def validator(self) -> Any:
        from twilio.request_validator import RequestValidator

        return RequestValidator(TOKEN)

    def request(self, url: str, signature: str, body: bytes, kind: bytes) -> WebhookRequest:
        headers = ((b"content-type", kind), (b"x-twilio-signature", signature.encode()))
        query = urlsplit(url).query
        return WebhookRequest(method="POST", path="", query=query, headers=headers, body=body, url=url)

    def test_what_it_signs_is_believed(self) -> None:
        validator = self.validator()

        def check(url: str, fields: list[tuple[str, str]]) -> None:
            form = {name: [v for n, v in fields if n == name] for name, _ in fields}
            signature = validator.compute_signature(url, _Multi(form))
            body = urlencode(fields).encode()
            kind = b"application/x-www-form-urlencoded"
            self.assertTrue(self.believed(self.request(url, signature, body, kind)), (url, fields))

        for_all(check, URLS, FIELDS, examples=100)

    def test_what_it_does_not_believe_is_refused(self) -> None:
        validator = self.validator()

        def check(url: str, fields: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
            signature = validator.compute_signature(url, _Multi({n: [v] for n, v in dict(fields).items()}))
            judged = validator.validate(url, _Multi({n: [v] for n, v in dict(other).items()}), signature)
            body = urlencode(dict(other)).encode()
            ours = self.believed(self.request(url, signature, body, b"application/x-www-form-urlencoded"))
            self.assertEqual(ours, judged, (url, fields, other))

        for_all(check, URLS, FIELDS, FIELDS, examples=100)

    def test_a_body_of_json_is_believed_by_its_hash(self) -> None:
        validator = self.validator()

        def check(body: bytes) -> None:
            url = f"{HOOK}?bodySHA256={hashlib.sha256(body).hexdigest()}"
            signature = validator.compute_signature(url, {})
            self.assertTrue(validator.validate(url, body.decode(), signature))
            request = self.request(url, signature, body, b"application/json")
            self.assertTrue(self.believed(request))

        for_all(check, st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).map(str.encode))

    def test_a_handshake_that_it_signs_is_believed(self) -> None:
        validator, url = self.validator(), "wss://bot.example/webhooks/voice/socket"
        signature = validator.compute_signature(url, {})
        headers = ((b"x-twilio-signature", signature.encode()),)
        for known_as in (url, url.replace("example/", "example:443/")):
            request = WebhookRequest(method="GET", path="", headers=headers, url=known_as)
            self.assertTrue(self.believed(request), known_as)


class _Multi(dict[str, list[str]]):
    """A form as frameworks give it to the validator."""

    def getlist(self, name: str) -> list[str]:
        """All values of a name."""
        return self[name]


class TwimlTests(Judged):
    """`twilio.twiml`: every verb and attribute that we write is one that it knows."""

    skip = missing("twilio")

    def lint(self, document: bytes) -> None:
        from twilio.twiml.voice_response import VoiceResponse

        self.assertLess(len(document), 64_000)
        self._children(ET.fromstring(document), VoiceResponse())

    def _children(self, element: ET.Element, known: Any) -> None:
        for child in element:
            method = getattr(known, _snake(child.tag), None)
            self.assertIsNotNone(method, f"{element.tag} holds no {child.tag}")
            names = {_camel(name) for name in inspect.signature(method).parameters}
            self.assertLessEqual(set(child.attrib), names, child.tag)
            made = method(**{_first(method): "x"}) if _first(method) else method()
            self._children(child, made)

    def test_calls_are_answered_in_its_language(self) -> None:
        voice = self.voice(language="en-GB", assistant_voice="Polly.Amy", hints="a", num_digits=4)
        places = ("+1555", "sip:a@b.example", "client:ada", "conference:room", "queue:q")
        ends = [Custom(json={"transfer": to}) for to in places] + [Custom(json={"hangup": True})]
        request = signed_request(f"{HOOK}?turn=1", {"CallSid": CALL, "SpeechResult": "hi"}, TOKEN)
        for part in [*ONE_OF_EACH, *ends, Custom(json={"text": "x", "play": "https://x", "pause": 2})]:
            self.lint(voice.answer(request, (self.outgoing(part),)).body)
        self.lint(voice.answer_later(request, "event").body)

    def test_whatever_is_said_the_answer_is_in_its_language(self) -> None:
        voice = self.voice()
        request = signed_request(f"{HOOK}?turn=1", {"CallSid": CALL, "SpeechResult": "hi"}, TOKEN)

        def check(part: Any) -> None:
            sends = [self.outgoing(p) for p in fit(Message(parts=(part,)), voice.capabilities)]
            self.lint(voice.answer(request, tuple(sends)).body)

        for_all(check, parts(WORDS), examples=60)

    def test_calls_are_connected_in_its_language(self) -> None:
        self.lint(self.begun(self.relay()))
        self.lint(
            self.begun(
                self.relay(
                    language="en-GB",
                    voice="Amy",
                    welcome_greeting="Hi",
                    welcome_greeting_interruptible="any",
                    interruptible="speech",
                    attributes={"ttsProvider": "Amazon", "interruptSensitivity": "low", "hints": "a"},
                    languages={"es-ES": {"voice": "Lucia", "ttsProvider": "Amazon"}},
                    parameters={"tenant": "acme"},
                )
            )
        )

    def outgoing(self, part: Any) -> Outgoing:
        address = Address(channel="twilio_voice", account=US, peer=THEM, thread=CALL)
        return Outgoing(id="1", address=address, part=part, now=NOW)


class FrameTests(Judged):
    """`tac`, Twilio's own framework for agents (twilio-agent-connect)."""

    skip = missing("twilio") or missing("tac")

    def test_a_call_is_connected_as_it_connects_one(self) -> None:
        from tac.channels.voice.conversation_relay.twiml import generate_twiml

        theirs = generate_twiml(
            "wss://bot.example/webhooks/voice/socket",
            {
                "action_url": f"{HOOK}?turn=1",
                "welcome_greeting": 'Hi & "you"',
                "language": "en-GB",
                "voice": "Amy",
                "interruptible": "speech",
                "dtmf_detection": True,
                "custom_parameters": {"tenant": "ac<me"},
                "languages": [{"code": "es-ES", "voice": "Lucia"}],
            },
        )
        ours = self.begun(
            self.relay(
                welcome_greeting='Hi & "you"',
                language="en-GB",
                voice="Amy",
                interruptible="speech",
                parameters={"tenant": "ac<me"},
                languages={"es-ES": {"voice": "Lucia"}},
            )
        )
        self.assertEqual(_plain(ET.fromstring(ours)), _plain(ET.fromstring(theirs)))

    def test_what_our_stand_in_says_is_what_it_reads(self) -> None:
        from tac.models.voice import InterruptMessage, PromptMessage, SetupMessage

        events: list[Any] = []

        async def agent(event: Any) -> Any:
            events.append(event)
            yield Delta(text="Sure, ")

        def nobody(call: Any) -> CallResult:
            raise AssertionError("nothing is called")

        kit = ChannelInMemory(agent, self.relay(welcome_greeting="x"), nobody, public_url=HOST)
        self.addCleanup(kit.kill)
        call = RelayCall(kit, token=TOKEN, sid=CALL)
        sent: list[dict[str, Any]] = []
        send = call.send
        call.send = lambda message: (sent.append(json.loads(message)), send(message))[1]  # type: ignore[method-assign]
        call.connect()
        call.say("hi")
        call.break_in("Sure", 460)
        setup, prompt, interrupt = sent
        read = SetupMessage(**setup), PromptMessage(**prompt), InterruptMessage(**interrupt)
        self.assertEqual((read[0].call_sid, read[0].from_number, read[0].to_number), (CALL, THEM, US))
        self.assertEqual((read[1].voice_prompt, read[1].last), (events[0].text, True))
        self.assertEqual(read[2].duration_until_interrupt_ms, 460)

    def test_tokens_are_of_the_shape_that_it_sends(self) -> None:
        session = self.relay().session(WebhookRequest(method="GET", path=""), "s")
        session.feed(f'{{"type":"setup","callSid":"{CALL}"}}', NOW)
        address = session.address
        assert address is not None
        growing = Outgoing(id="1", address=address, part=Text(text="Sure"), now=NOW, partial=True)
        for frame in session.render(growing).frames:
            self.assertEqual(json.loads(frame), {"type": "text", "token": "Sure", "last": False})


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _first(method: Any) -> str:
    """The one parameter that has to be given, if there is one."""
    needed = [
        name
        for name, parameter in inspect.signature(method).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]
    return needed[0] if needed else ""


def _plain(element: ET.Element) -> Any:
    return element.tag, dict(element.attrib), (element.text or "").strip(), [_plain(e) for e in element]
