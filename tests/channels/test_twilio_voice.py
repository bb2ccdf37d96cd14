"""Twilio Voice: what a call is read as, and what its caller hears, as TwiML."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Answers, Channel, find_channel_class
from klein_channels.channels.twilio_voice import CAPABILITIES, TwilioVoiceInput, TwilioVoiceSettings
from klein_channels.errors import ConfigError, MalformedWebhook, VerificationError
from klein_channels.fit import fit
from klein_channels.intake import conversation_key, is_turn
from klein_channels.model import (
    Address,
    AnyPart,
    Audio,
    Button,
    Buttons,
    Card,
    Carousel,
    Custom,
    EndConversation,
    File,
    Handoff,
    Image,
    Location,
    Message,
    MessageReceived,
    Outgoing,
    QuickReplies,
    QuickReply,
    Received,
    Refused,
    Text,
    Typing,
    Video,
    WebhookRequest,
    from_json,
    to_json,
)
from klein_channels.secret import Secret
from klein_channels.testing.contract_inbound import InboundContract
from klein_channels.testing.steps import play
from klein_channels.testing.twilio import signed_request
from klein_channels.twilio.position import MOST_WAITS
from klein_channels.twilio.twiml import allowed, document, element

from .test_twilio import ANY_TEXT, json_bodies, shown, signed_json

TOKEN = "a-token-of-tests"
CALL, US, THEM = "CA00000000000000000000000000000001", "+15550000001", "+15550000002"
URL = "https://bot.example.com/webhooks/twilio_voice/webhook"
FIXTURES = Path(__file__).parent.parent / "fixtures" / "twilio_voice"
NOW = 1_790_000_000.0
NOUNS = {"Say", "Play", "Pause"}


def channel(**more: Any) -> TwilioVoiceInput:
    return TwilioVoiceInput(**{"auth_token": TOKEN, **more})


def fixture(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_bytes())
    return loaded


def webhook(name: str = "speech", query: str | None = None, **more: Any) -> WebhookRequest:
    loaded = fixture(name)
    query = loaded.get("query", "") if query is None else query
    fields = {**loaded["form"], **more.pop("fields", {})}
    return signed_request(f"{URL}?{query}" if query else URL, fields, TOKEN, **more)


def to(url: str, name: str = "silence", **fields: str) -> WebhookRequest:
    """What Twilio asks at a URL that we gave to it."""
    return signed_request(url, {**fixture(name)["form"], **fields}, TOKEN)


def outgoing(part: AnyPart) -> Outgoing:
    address = Address(channel="twilio_voice", account=US, peer=THEM, thread=CALL)
    return Outgoing(id="inst-7", address=address, part=part, now=NOW)


def heard(*parts: AnyPart, request: WebhookRequest | None = None, **more: Any) -> ET.Element:
    response = channel(**more).answer(request or webhook(), tuple(map(outgoing, parts)))
    return parsed(response)


def parsed(response: Any) -> ET.Element:
    assert response.status == 200
    assert response.content_type == "text/xml; charset=utf-8"
    assert len(response.body) < 64_000
    return ET.fromstring(response.body)


def said(*parts: AnyPart, **more: Any) -> list[str]:
    return [say.text or "" for say in heard(*parts, **more).iter("Say")]


def query_of(url: str | None) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(url or "").query).items()}


class ContractTests(InboundContract, SynchronousTestCase):
    secrets = (TOKEN,)
    base_urls = ()
    proof_headers = (b"x-twilio-signature",)

    def make_channel(self) -> TwilioVoiceInput:
        return channel()

    def bodies(self) -> Sequence[bytes]:
        return json_bodies(FIXTURES, "ringing")

    def signed(self, body: bytes) -> WebhookRequest:
        return signed_json(URL, body)

    def different(self) -> Sequence[bytes]:
        calls = [{**fixture("ringing")["form"], "CallSid": f"CA{number}"} for number in range(3)]
        ends = [{**fixture("ended_busy")["form"], "CallSid": f"CA{number}"} for number in range(2)]
        return [json.dumps(told).encode() for told in (*calls, *ends)]


class TriggerTests(SynchronousTestCase):
    def test_it_plays_its_own_platform(self) -> None:
        kinds = {"call": "call_started", "speech": "message", "keys": "dtmf", "hangup": "call_ended"}
        for kind, wanted in kinds.items():
            request = channel().trigger_at(
                kind, "12 \ud800 é", NOW, f"{URL}?turn=1" if kind != "call" else URL
            )
            channel().verify(request, NOW)
            self.assertEqual([event.kind for event in channel().parse(request).events], [wanted])
        self.assertRaises(ValueError, channel().trigger_at, "song", "x", NOW, URL)


class FixtureTests(SynchronousTestCase):
    """Every kind of request that Twilio sends about calls, one file each."""

    def received(self, name: str, **more: Any) -> Received:
        request = webhook(name)
        bot = channel(**more)
        bot.verify(request, NOW)
        return bot.parse(request)

    def test_each_fixture_is_read_as_it_expects(self) -> None:
        files = sorted(FIXTURES.glob("*.json"))
        self.assertGreater(len(files), 20)
        for file in files:
            loaded = json.loads(file.read_bytes())
            self.assertTrue(loaded["source"].startswith("Twilio, "), file.name)
            got = self.received(file.stem)
            self.assertEqual(len(got.events), len(loaded["expect"]), file.name)
            for event, expected in zip(got.events, loaded["expect"], strict=True):
                self.assertEqual(shown(event, expected), expected, file.name)
                self.assertEqual(from_json(to_json(event)), event, file.name)

    def test_who_has_nothing_to_wait_for_is_answered_at_once_and_nobody_else(self) -> None:
        """Either an agent says something, or the answer is there already."""
        for file in FIXTURES.glob("*.json"):
            got = self.received(file.stem)
            has_turn = any(is_turn(event, channel().options) for event in got.events)
            self.assertEqual(got.response is None, has_turn, file.name)
            if got.response is not None:
                parsed(got.response)

    def test_each_call_is_a_conversation(self) -> None:
        keys = {
            conversation_key(channel().parse(webhook("speech", fields=fields)).events[0], channel().options)
            for fields in ({}, {"CallSid": "CA2"}, {"CallSid": CALL})
        }
        self.assertEqual(len(keys), 2)

    def test_all_ends_of_one_call_are_one_event(self) -> None:
        ids = {self.received(name).events[0].id for name in ("ended_completed", "ended_by_callback")}
        self.assertEqual(ids, {CALL})

    def test_a_retry_is_known_by_its_token_or_by_its_place_in_the_call(self) -> None:
        def ids(query: str, token: str) -> set[str]:
            request = webhook("speech", query, idempotency=token)
            return {channel().parse(request).events[0].id for _ in range(2)}

        self.assertEqual(ids("turn=3", "one"), {"one"})
        self.assertEqual(ids("turn=3", ""), {f"{CALL}:in-progress:3"})
        self.assertNotEqual(ids("turn=4", ""), ids("turn=3", ""))

    def test_an_initial_prompt_is_what_the_caller_is_taken_to_say(self) -> None:
        started, asked = self.received("ringing", initial_prompt="hello").events
        self.assertEqual((started.kind, started.observe_only), ("call_started", True))
        assert isinstance(asked, MessageReceived)
        self.assertEqual((asked.text, asked.observe_only), ("hello", False))
        [spoken] = self.received("speech", initial_prompt="hello").events
        self.assertEqual(spoken.text, "Cancel my order.")

    def test_a_request_without_a_call_is_malformed(self) -> None:
        self.assertRaises(MalformedWebhook, channel().parse, signed_request(URL, {"From": THEM}, TOKEN))

    def test_a_forged_request_is_refused(self) -> None:
        request = msgspec.structs.replace(webhook(), url=f"{URL}?turn=4")
        self.assertRaises(VerificationError, channel().verify, request, NOW)
        error = self.assertRaises(
            VerificationError, channel().verify, msgspec.structs.replace(webhook(), url="/x"), NOW
        )
        self.assertIn("public_url", str(error))

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(
        st.sampled_from(sorted(FIXTURES.glob("*.json"))),
        st.dictionaries(st.integers(0, 20), st.text(max_size=30) | st.none(), max_size=4),
        st.text(max_size=20),
    )
    def test_no_values_break_the_reader(self, file: Path, changes: dict[int, str | None], query: str) -> None:
        form = dict(json.loads(file.read_bytes())["form"])
        for number, value in changes.items():
            name = sorted(form)[number % len(form)] if form else "CallSid"
            form.pop(name, None)
            if value is not None:
                form[name] = value
        request = msgspec.structs.replace(signed_request(URL, form, TOKEN), query=query)
        try:
            got = channel().parse(request)
        except MalformedWebhook:
            self.assertFalse(form.get("CallSid"))
            return
        for event in got.events:
            self.assertEqual(from_json(to_json(event)), event)


class GatherTests(SynchronousTestCase):
    """After what is said, the caller is listened to."""

    def test_it_listens_for_words_and_keys_and_goes_on_with_the_next_turn(self) -> None:
        root = heard(Text(text="Anything else?"), request=webhook(query="turn=3"))
        [gather] = root
        self.assertEqual(
            (gather.tag, gather.get("input"), gather.get("method")), ("Gather", "speech dtmf", "POST")
        )
        self.assertEqual(gather.get("action"), f"{URL}?turn=4")
        self.assertEqual((gather.get("actionOnEmptyResult"), gather.get("bargeIn")), ("true", "true"))
        self.assertEqual([say.text for say in gather], ["Anything else?"])

    def test_the_first_answer_leads_to_the_first_turn(self) -> None:
        [gather] = heard(Text(text="Hi"), request=webhook("ringing"))
        self.assertEqual(gather.get("action"), f"{URL}?turn=1")

    def test_an_agent_that_says_nothing_listens_on(self) -> None:
        [gather] = heard()
        self.assertEqual((gather.tag, len(gather)), ("Gather", 0))

    def test_settings_are_attributes_and_rasas_have_rasas_names(self) -> None:
        [gather] = heard(
            Text(text="Hi"),
            assistant_voice="Polly.Amy",
            speech_timeout="auto",
            speech_model="phone_call",
            enhanced="true",
            language="en-GB",
            hints="refund, order",
            barge_in=False,
            num_digits=4,
            finish_on_key="*",
            timeout=7,
        )
        for name, value in (
            ("speechTimeout", "auto"),
            ("speechModel", "phone_call"),
            ("enhanced", "true"),
            ("language", "en-GB"),
            ("hints", "refund, order"),
            ("bargeIn", "false"),
            ("numDigits", "4"),
            ("finishOnKey", "*"),
            ("timeout", "7"),
        ):
            self.assertEqual(gather.get(name), value)
        self.assertEqual((gather[0].get("voice"), gather[0].get("language")), ("Polly.Amy", "en-GB"))

    def test_without_settings_twilio_chooses_voice_and_language(self) -> None:
        [gather] = heard(Text(text="Hi"))
        self.assertEqual(gather[0].attrib, {})
        self.assertIsNone(gather.get("language"))

    def test_keys_alone_have_no_attributes_of_speech(self) -> None:
        [gather] = heard(Text(text="Hi"), input="dtmf", language="en-GB", hints="x")
        self.assertFalse({"language", "speechTimeout", "speechModel", "hints"} & gather.attrib.keys())

    def test_the_url_chooses_language_and_voice_for_the_whole_call(self) -> None:
        request = webhook("ringing", "language=de-DE&voice=Polly.Vicki&tenant=a%26b")
        [gather] = heard(Text(text="Hallo"), request=request, language="en-GB", assistant_voice="alice")
        self.assertEqual((gather.get("language"), gather[0].get("voice")), ("de-DE", "Polly.Vicki"))
        kept = {"tenant": "a&b", "turn": "1", "language": "de-DE", "voice": "Polly.Vicki"}
        self.assertEqual(query_of(gather.get("action")), kept)

    def test_an_agent_changes_language_and_voice_from_there_on(self) -> None:
        root = heard(
            Text(text="Hello"), Custom(json={"language": "fr-FR", "voice": "Polly.Lea"}), Text(text="Salut")
        )
        [gather] = root
        self.assertEqual([say.get("language") for say in gather], [None, "fr-FR"])
        self.assertEqual(gather.get("language"), "fr-FR")
        following = to(str(gather.get("action")), "speech", SpeechResult="Oui")
        [again] = heard(Text(text="Bien"), request=following)
        self.assertEqual((again.get("language"), again[0].get("voice")), ("fr-FR", "Polly.Lea"))

    def test_an_agent_asks_once_in_another_way(self) -> None:
        wishes = {"input": "dtmf", "num_digits": 4, "finish_on_key": ""}
        [gather] = heard(Text(text="Your code?"), Custom(json={"gather": wishes}))
        self.assertEqual(
            (gather.get("input"), gather.get("numDigits"), gather.get("finishOnKey")), ("dtmf", "4", "")
        )
        [gather] = heard(Custom(json={"gather": {"num_digits": "many"}}))
        self.assertIsNone(gather.get("numDigits"))

    def test_parameters_of_a_get_are_not_taken_into_the_next_url(self) -> None:
        query = f"CallSid={CALL}&From=%2B1&To=%2B2&CallStatus=ringing&tenant=a"
        request = WebhookRequest(method="GET", path="/", query=query, url=f"{URL}?{query}")
        [event] = channel().parse(request).events
        self.assertEqual(event.kind, "call_started")
        [gather] = heard(request=request)
        self.assertEqual(query_of(gather.get("action")), {"tenant": "a", "turn": "1"})


class SilenceTests(SynchronousTestCase):
    """Who says nothing, or mumbles, is asked again; not for ever."""

    def reprompt(self, request: WebhookRequest, **more: Any) -> ET.Element:
        got = channel(**more).parse(request)
        self.assertTrue(all(event.observe_only for event in got.events))
        return parsed(got.response)

    def test_silence_and_mumbling_are_asked_again_in_the_answer(self) -> None:
        for name in ("silence", "speech_low_confidence"):
            [gather] = self.reprompt(webhook(name), reprompt_fallback_phrase="Pardon?")
            self.assertEqual([say.text for say in gather], ["Pardon?"])

    def test_it_ends_after_as_often_as_is_configured(self) -> None:
        request, asked = webhook("silence"), 0
        while True:
            root = self.reprompt(request, max_reprompts=3, goodbye="Bye")
            if root[0].tag != "Gather":
                break
            asked += 1
            request = to(str(root[0].get("action")))
        self.assertEqual((asked, [verb.tag for verb in root], root[0].text), (3, ["Say", "Hangup"], "Bye."))

    def test_who_speaks_in_between_is_patiently_listened_to(self) -> None:
        [gather] = self.reprompt(webhook("silence"))
        spoken = to(str(gather.get("action")), "speech", SpeechResult="Yes")
        [again] = heard(Text(text="Good"), request=spoken)
        self.assertNotIn("silent", query_of(again.get("action")))

    def test_how_sure_is_a_setting(self) -> None:
        [event] = channel(min_confidence=0.1).parse(webhook("speech_low_confidence")).events
        self.assertEqual(event.text, "mumble")
        self.assertIsNotNone(channel(min_confidence=0.95).parse(webhook("speech")).response)


class WaitingTests(SynchronousTestCase):
    """A slow agent is bridged: the call asks again, and again, for the same replies."""

    def test_the_redirect_asks_for_the_replies_to_that_event(self) -> None:
        bot, request = channel(), webhook("speech", "turn=3&tenant=a", idempotency="tok/en &1")
        [event] = bot.parse(request).events
        hold, redirect = parsed(bot.answer_later(request, event.id))
        self.assertEqual(
            (hold.text, redirect.tag, redirect.get("method")), ("One moment, please.", "Redirect", "POST")
        )
        again = to(str(redirect.text))
        bot.verify(again, NOW)
        got = bot.parse(again)
        self.assertEqual((got.joins, got.conversation, got.events), (event.id, event.address, ()))
        [gather] = heard(Text(text="Done"), request=again)
        self.assertEqual(query_of(gather.get("action")), {"tenant": "a", "turn": "4"})

    def test_the_caller_is_asked_for_patience_once(self) -> None:
        bot, request = channel(), webhook()
        for number in range(5):
            *holds, redirect = parsed(bot.answer_later(request, "ev"))
            self.assertEqual(len(holds), 1 if number == 0 else 0)
            request = to(str(redirect.text))

    def test_it_does_not_wait_for_ever(self) -> None:
        bot, request = channel(), webhook()
        for _ in range(MOST_WAITS):
            request = to(str(parsed(bot.answer_later(request, "ev"))[-1].text))
        [gather] = parsed(bot.answer_later(request, "ev"))
        self.assertEqual(gather.tag, "Gather")

    def test_a_caller_who_hangs_up_meanwhile_has_ended_the_call(self) -> None:
        redirect = parsed(channel().answer_later(webhook(), "ev"))[-1]
        got = channel().parse(to(str(redirect.text), CallStatus="completed"))
        self.assertEqual(([event.kind for event in got.events], got.joins), (["call_ended"], None))

    def test_there_is_time_before_twilio_gives_up(self) -> None:
        self.assertTrue(5 <= CAPABILITIES.answer_deadline <= 12)
        self.assertTrue(CAPABILITIES.answers_only)
        self.assertEqual(play(channel().send(outgoing(Text(text="hi"))))[1].__class__, Refused)


class ControlTests(SynchronousTestCase):
    """A call ends, or goes on elsewhere."""

    def test_controls_are_what_is_done_last(self) -> None:
        bot = channel(transfer_to="+15550000003")
        for control, tag in (
            (EndConversation(), "Hangup"),
            (Handoff(to="sip:a@b.example"), "Dial"),
            (Handoff(), "Dial"),
        ):
            part = bot.part_for(control)
            assert part is not None
            root = heard(Text(text="Bye"), part, Text(text="never said"))
            self.assertEqual([verb.tag for verb in root], ["Say", tag])
        self.assertIsNone(bot.part_for(Typing()))
        self.assertIsNone(channel().part_for(Handoff()))

    def test_each_place_has_its_noun(self) -> None:
        for where, noun, text in (
            ("+15550000003", "Number", "+15550000003"),
            ("tel:+15550000003", "Number", "+15550000003"),
            ("sip:ann@pbx.example", "Sip", "sip:ann@pbx.example"),
            ("client:ann", "Client", "ann"),
            ("conference:room", "Conference", "room"),
        ):
            [dial] = heard(Custom(json={"transfer": where}), request=webhook(query="turn=3"))
            self.assertEqual((dial.tag, dial[0].tag, dial[0].text), ("Dial", noun, text))
            self.assertEqual(dial.get("action"), f"{URL}?turn=4")
        [enqueue] = heard(Custom(json={"transfer": "queue:support"}))
        self.assertEqual((enqueue.tag, enqueue.text), ("Enqueue", "support"))

    def test_who_comes_back_from_nobody_talks_with_the_bot_again(self) -> None:
        got = channel(transfer_failed="Sorry").parse(webhook("dial_no_answer"))
        [gather] = parsed(got.response)
        self.assertEqual([say.text for say in gather], ["Sorry."])
        self.assertEqual(shown(got.events[0], {"owner": 0}), {"owner": "bot"})

    def test_after_a_talk_with_a_human_the_call_ends(self) -> None:
        got = channel().parse(webhook("dial_completed"))
        self.assertEqual([verb.tag for verb in parsed(got.response)], ["Hangup"])


class SpeechTests(SynchronousTestCase):
    """What is shown elsewhere turns into what a voice can say."""

    def test_markup_addresses_and_emoji_are_not_spelled_out(self) -> None:
        for format in ("plain", "markdown"):
            text = Text(text="**Hello** 😀 see [our shop](https://x.example/a?b=1)!", format=format)
            [words] = said(*fit(Message(parts=(text,)), CAPABILITIES))
            self.assertEqual(words, "Hello see our shop!")
        [words] = said(Text(text="Look at https://www.x.example/a/b?c=d#e"))
        self.assertNotIn("://", words)
        self.assertNotIn("?", words)

    def test_choices_are_counted(self) -> None:
        buttons = (Button(title="Yes", payload="/affirm"), Button(title="Shop", url="https://x.example/shop"))
        for part in (
            Buttons(text="Sure?", buttons=buttons),
            QuickReplies(text="Sure?", replies=(QuickReply(title="Yes"), QuickReply(title="Shop"))),
        ):
            words = " ".join(said(part))
            self.assertIn("1. Yes", words)
            self.assertIn("2. Shop", words)
            self.assertNotIn("affirm", words)

    def test_cards_are_their_words(self) -> None:
        card = Card(
            title="Tea", subtitle="Hot", image_url="https://x.example/t.png", url="https://x.example/t"
        )
        words = " ".join(said(Carousel(cards=(card, Card(title="Milk")))))
        self.assertIn("Tea", words)
        self.assertIn("2. Milk", words)
        self.assertNotIn("x.example", words)

    def test_sounds_are_played_and_pictures_described(self) -> None:
        [gather] = heard(
            Audio(url="https://x.example/a.mp3?b=1&c=2"), Image(url="https://x.example/a.png", alt="A cat")
        )
        self.assertEqual(
            [(noun.tag, noun.text) for noun in gather],
            [("Play", "https://x.example/a.mp3?b=1&c=2"), ("Say", "A cat.")],
        )
        for silent in (
            Image(url="https://x.example/a.png"),
            Video(url="https://x.example/a.mp4"),
            Custom(json=5),
        ):
            self.assertEqual(len(heard(silent)[0]), 0)

    def test_custom_parts_say_play_and_pause(self) -> None:
        [gather] = heard(Custom(json={"text": "Listen", "play": "https://x.example/a.mp3", "pause": 2}))
        self.assertEqual([noun.tag for noun in gather], ["Say", "Play", "Pause"])
        self.assertEqual(gather[2].get("length"), "2")

    def test_no_say_is_longer_than_a_voice_takes_and_none_is_empty(self) -> None:
        for text in ("word " * 2000, "Ж" * 4000, "👍 x" * 900, " \n ", "```\n\n```"):
            for say in said(Text(text=text)):
                self.assertTrue(0 < len(say.encode()) <= 1500)

    def test_nobody_hears_more_than_twilio_reads(self) -> None:
        root = heard(*(Text(text="word " * 500) for _ in range(60)))
        self.assertEqual(root[0].tag, "Gather")

    @settings(deadline=None, derandomize=True, max_examples=200)
    @given(ANY_TEXT, ANY_TEXT, st.sampled_from(["plain", "markdown"]))
    def test_no_text_breaks_the_xml_or_gets_out_of_its_place(
        self, text: str, other: str, format: Any
    ) -> None:
        message = Message(
            parts=(
                Text(text=text, format=format),
                Buttons(text=text, buttons=(Button(title=other, payload=text),), format=format),
                QuickReplies(text=other, replies=(QuickReply(title=text),)),
                Carousel(cards=(Card(title=text, subtitle=other, buttons=(Button(title=other),)),)),
                Audio(url=text),
                Image(url=other, alt=text),
                File(url=other, name=text),
                Location(latitude=1.0, longitude=2.0, title=text),
                Custom(json={"text": text, "play": other, "language": other, "voice": text}),
            )
        )
        request = signed_request(
            f"{URL}?turn=1", {"CallSid": text or "x", "CallStatus": "in-progress"}, TOKEN
        )
        root = heard(*fit(message, CAPABILITIES), request=request, hints=text, reprompt_fallback_phrase=other)
        self.assertEqual([verb.tag for verb in root], ["Gather"])
        self.assertTrue({noun.tag for noun in root[0]} <= NOUNS)
        self.assertEqual(urlsplit(str(root[0].get("action"))).path, urlsplit(URL).path)
        [dial] = heard(Custom(json={"transfer": "+" + text}), request=request)
        self.assertEqual([noun.tag for noun in dial], ["Number"])

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(ANY_TEXT)
    def test_what_is_written_is_read_back(self, text: str) -> None:
        [read] = ET.fromstring(document([element("Say", text, voice=text)]))
        self.assertEqual((read.text or "", read.get("voice")), (allowed(text), allowed(text)))
        kept = [c for c in text if c.isprintable() or c in "\n\t"]
        self.assertEqual([c for c in allowed(text) if c in kept], [c for c in kept if not is_forbidden(c)])


def is_forbidden(character: str) -> bool:
    return "\ud800" <= character <= "\udfff" or character in "\ufffe\uffff"


class SettingsTests(SynchronousTestCase):
    RASA: ClassVar[dict[str, str]] = {
        "initial_prompt": "hello",
        "reprompt_fallback_phrase": "Pardon?",
        "assistant_voice": "woman",
        "speech_timeout": "5",
        "speech_model": "default",
        "enhanced": "false",
    }

    def made(self, **settings_: Any) -> TwilioVoiceInput:
        def secret(kind: type, value: Any) -> Any:
            if kind is Secret:
                return Secret(value)
            raise NotImplementedError(kind)

        read = msgspec.convert(settings_, TwilioVoiceSettings, strict=False, dec_hook=secret)
        self.assertNotIn(TOKEN, repr(read))
        return TwilioVoiceInput.from_settings("phone", read)

    def test_it_is_found_by_its_name_and_has_its_abilities(self) -> None:
        self.assertIs(find_channel_class("twilio_voice"), TwilioVoiceInput)
        for ability in (Channel, Answers):
            self.assertIsInstance(channel(), ability)

    def test_rasas_keys_work_with_a_token(self) -> None:
        bot = self.made(**self.RASA, auth_token=TOKEN, number=US)
        bot.verify(webhook(), NOW)
        [gather] = parsed(bot.answer(webhook(), (outgoing(Text(text="Hi")),)))
        self.assertEqual((gather.get("speechTimeout"), gather[0].get("voice")), ("5", "woman"))
        line = str(self.assertRaises(ConfigError, self.made, **self.RASA))
        self.assertIn("channel 'phone': auth_token is missing", line)

    def test_each_mistake_is_one_line_that_names_channel_and_key_and_no_secret(self) -> None:
        hidden = "do-not-show-me"
        for key, given_ in (
            ("auth_token", {"auth_token": None}),
            ("account_sid", {"account_sid": "a b"}),
            ("speech_timeout", {"speech_timeout": "soon", "auth_token": hidden}),
            ("speech_timeout", {"speech_timeout": "auto"}),
            ("enhanced", {"enhanced": True}),
            ("input", {"input": "pulse"}),
            ("finish_on_key", {"finish_on_key": "x"}),
            ("timeout", {"timeout": 0}),
            ("num_digits", {"num_digits": 0}),
            ("min_confidence", {"min_confidence": 1.5}),
            ("max_reprompts", {"max_reprompts": -1}),
        ):
            with self.subTest(given=given_):
                line = str(self.assertRaises(ConfigError, channel, name="phone", **given_))
                self.assertIn(f"channel 'phone': {key}", line)
                self.assertNotIn(hidden, line)

    def test_repr_shows_no_secret(self) -> None:
        self.assertNotIn(TOKEN, repr(channel()))
