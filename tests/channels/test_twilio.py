"""Twilio's messages: who is believed, what is read out of them, how they are answered and sent."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree import ElementTree as ET

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Answers, Channel, find_channel_class
from klein_channels.channels.twilio import TwilioInput, TwilioSettings
from klein_channels.errors import ConfigError, MalformedWebhook, PlatformError, VerificationError
from klein_channels.fit import fit
from klein_channels.intake import dedupe_key, is_turn
from klein_channels.model import (
    Address,
    AnyEvent,
    AnyPart,
    Button,
    Buttons,
    Call,
    CallResult,
    Card,
    Carousel,
    Custom,
    File,
    Image,
    Location,
    Message,
    Outcome,
    Outgoing,
    QuickReplies,
    QuickReply,
    Received,
    Refused,
    Retry,
    Sent,
    Text,
    UnknownOutcome,
    Video,
    WebhookRequest,
    from_json,
    to_json,
)
from klein_channels.secret import Secret
from klein_channels.signatures import twilio_signature, twilio_urls
from klein_channels.testing.contract import ChannelContract
from klein_channels.testing.harness import ChannelInMemory
from klein_channels.testing.platforms import Platform, served
from klein_channels.testing.steps import answered, play
from klein_channels.testing.twilio import TwilioStandIn, no, signed_request

ACCOUNT, TOKEN, OLD_TOKEN = "AC00000000000000000000000000000001", "a-token-of-tests", "the-token-before"
US, THEM = "+15550000001", "+15550000002"
URL = "https://bot.example.com/webhooks/twilio/webhook"
FIXTURES = Path(__file__).parent.parent / "fixtures" / "twilio"
SIGNATURES = FIXTURES.parent / "twilio_signatures" / "vectors.json"
MEDIA = "https://cdn.example.com/a.png"
FORM = b"application/x-www-form-urlencoded"
NOW = 1_790_000_000.0


def channel(**more: Any) -> TwilioInput:
    made: dict[str, Any] = {"account_sid": ACCOUNT, "auth_token": TOKEN, "twilio_number": US}
    urls = {"api_url": "https://twilio.test", "content_url": "https://content.test"}
    return TwilioInput(**{**made, **urls, **more})


def webhook(fields: dict[str, str], query: str = "", **more: Any) -> WebhookRequest:
    return signed_request(f"{URL}?{query}" if query else URL, fields, more.pop("token", TOKEN), **more)


def fixture(name: str, folder: Path = FIXTURES) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / f"{name}.json").read_bytes())
    return loaded


def received(loaded: dict[str, Any], **more: Any) -> Received:
    request = webhook(loaded["form"], loaded.get("query", ""), **more)
    shop = channel()
    shop.verify(request, NOW)
    return shop.parse(request)


def signed_json(url: str, body: bytes, token: str = TOKEN) -> WebhookRequest:
    """A webhook with any body at all, which Twilio proves by a hash in its URL."""
    url = f"{url}?bodySHA256={hashlib.sha256(body).hexdigest()}"
    signature = twilio_signature(url, (), Secret(token)).encode()
    headers = ((b"content-type", b"application/json"), (b"x-twilio-signature", signature))
    parts = urlsplit(url)
    return WebhookRequest(
        method="POST", path=parts.path, query=parts.query, headers=headers, body=body, url=url
    )


def json_bodies(folder: Path, first: str) -> Sequence[bytes]:
    files = sorted(folder.glob("*.json"), key=lambda file: file.stem != first)
    return [json.dumps(json.loads(file.read_bytes())["form"]).encode() for file in files]


async def echo(event: Any) -> str:
    return f"You said: {event.describe()}"


class ContractTests(ChannelContract, SynchronousTestCase):
    secrets = (TOKEN, OLD_TOKEN)
    base_urls = ("https://twilio.test", "https://content.test")
    proof_headers = (b"x-twilio-signature",)

    def make_channel(self) -> TwilioInput:
        return channel(auth_token=[TOKEN, OLD_TOKEN], reply="rest")

    def make_platform(self) -> Platform:
        clock = Clock()
        return served(TwilioStandIn(clock, ACCOUNT, TOKEN), clock)

    def bodies(self) -> Sequence[bytes]:
        return json_bodies(FIXTURES, "sms")

    def signed(self, body: bytes) -> WebhookRequest:
        return signed_json("https://bot.example.com/contract/twilio/webhook", body)

    def accepted(self) -> Sequence[WebhookRequest]:
        at_home = "https://bot.example.com/contract/twilio/webhook"
        forms = [signed_request(at_home, fixture(name)["form"], TOKEN) for name in ("sms", "status_sent")]
        return [*forms, *super().accepted()]

    def refused(self) -> Sequence[WebhookRequest]:
        return [webhook(fixture("sms")["form"], token="another")]

    def different(self) -> Sequence[bytes]:
        form = fixture("sms")["form"]
        others = [{**form, "MessageSid": f"SM{number}"} for number in range(3)]
        stops = [{**form, "Body": "STOP", "MessageSid": f"SM{number}"} for number in range(2)]
        reports = [fixture(f"status_{name}")["form"] for name in ("sent", "delivered", "read", "queued")]
        return [json.dumps(said).encode() for said in (*others, *stops, *reports)]

    def _kit(self, platform: Any = None) -> ChannelInMemory:
        public = {"prefix": "/contract", "public_url": "https://bot.example.com"}
        kit = ChannelInMemory(echo, self.make_channel(), platform or self.make_platform(), **public)
        kit.advance(self.now - kit.clock.seconds())
        self.addCleanup(kit.kill)
        return kit


class SignatureTests(SynchronousTestCase):
    """The verdicts of Twilio's own library, and what it leaves open."""

    def refusal(self, request: WebhookRequest, **more: Any) -> VerificationError | None:
        try:
            channel(**more).verify(request, NOW)
        except VerificationError as error:
            self.assertNotIn("\n", str(error))
            self.assertNotIn(TOKEN, str(error))
            return error
        return None

    def test_every_vector_is_judged_as_the_official_library_does(self) -> None:
        loaded = json.loads(SIGNATURES.read_bytes())
        self.assertGreater(len(loaded["vectors"]), 50)
        for vector in loaded["vectors"]:
            good = vector["official"] is True  # where it raises, nothing is proven
            refusal = self.refusal(self.request_of(vector), auth_token=loaded["token"])
            self.assertEqual(refusal is None, good, vector["name"])
            self.assertEqual(getattr(refusal, "status", 403), 403)

    def request_of(self, vector: dict[str, Any]) -> WebhookRequest:
        is_form = vector["form"] is not None
        headers = [
            (b"x-twilio-signature", vector["signature"].encode()),
            (b"content-type", FORM if is_form else b"application/json"),
        ]
        if vector["algorithm"]:
            named = f"key=SK1,algorithm={vector['algorithm']}".encode()
            headers.append((b"x-twilio-webhooks-signature-settings", named))
        query = vector["url"].partition("?")[2]
        body = (vector["form"] if is_form else vector["body"]) if vector["method"] == "POST" else ""
        more = {"headers": tuple(headers), "body": body.encode(), "url": vector["url"], "query": query}
        return WebhookRequest(method=vector["method"], path="/", **more)

    def test_the_published_vector(self) -> None:
        fields = {
            "CallSid": "CA1234567890ABCDE",
            "Digits": "1234",
            "From": "+14158675309",
            "To": "+18005551212",
            "Caller": "+14158675309",
        }
        url = "https://mycompany.com/myapp.php?foo=1&bar=2"
        made = twilio_signature(url, fields.items(), Secret("12345"))
        self.assertEqual(made, "RSOYDt4T1cUTdK1PDd93/VVr8B8=")

    def test_without_a_public_url_the_line_says_to_set_it(self) -> None:
        request = msgspec.structs.replace(webhook({"MessageSid": "SM1"}), url="/webhooks/twilio/webhook")
        error = self.refusal(request)
        assert error is not None
        self.assertIn("public_url", str(error))

    def test_a_socket_is_known_with_and_without_its_usual_port(self) -> None:
        self.assertIn("wss://h/x", list(twilio_urls("wss://h:443/x")))
        self.assertIn("wss://h:443/x", list(twilio_urls("wss://h/x")))
        self.assertEqual(list(twilio_urls("http://u:p@[::1]/x"))[1], "http://u:p@[::1]:80/x")

    def test_every_token_counts_while_rotating(self) -> None:
        for token in (TOKEN, OLD_TOKEN):
            request = webhook({"MessageSid": "SM1"}, token=token)
            self.assertIsNone(self.refusal(request, auth_token=[TOKEN, OLD_TOKEN]))
        self.assertIsNotNone(self.refusal(request))

    def test_a_shared_key_proves_only_what_says_so(self) -> None:
        fields = {"MessageSid": "SM1"}
        plain = webhook(fields)
        said = (b"x-twilio-webhooks-signature-settings", b"key=SK1, algorithm=hmac_sha256")
        by_key = twilio_signature(URL, fields.items(), Secret("a-key"), "sha256").encode()
        headers = ((b"content-type", FORM), (b"x-twilio-signature", by_key))
        keyed = msgspec.structs.replace(plain, headers=(*headers, said))
        self.assertIsNone(self.refusal(keyed, shared_key="a-key"))
        self.assertIsNotNone(self.refusal(keyed))
        silent = msgspec.structs.replace(plain, headers=headers)
        self.assertIsNotNone(self.refusal(silent, shared_key="a-key"))
        by_token = msgspec.structs.replace(plain, headers=(*plain.headers, said))
        self.assertIsNotNone(self.refusal(by_token, shared_key="a-key"))

    def test_doubled_headers_that_differ_are_refused(self) -> None:
        good = webhook({"MessageSid": "SM1"})
        other = (b"x-twilio-signature", b"AAAAAAAAAAAAAAAAAAAAAAAAAAA=")
        for headers in ((*good.headers, other), (other, *good.headers)):
            self.assertIsNotNone(self.refusal(msgspec.structs.replace(good, headers=headers)))
        self.assertIsNone(self.refusal(msgspec.structs.replace(good, headers=good.headers * 2)))

    def test_a_body_that_is_not_signed_is_never_read(self) -> None:
        signed_bare = webhook({})
        for kind in (FORM, b"application/json", b"text/plain", b""):
            headers = (*(h for h in signed_bare.headers if h[0] != b"content-type"), (b"content-type", kind))
            for body in (b"MessageSid=SM1", b'{"MessageSid":"SM1"}', b"&&", b"[]"):
                request = msgspec.structs.replace(signed_bare, body=body, headers=headers)
                self.assertIsNotNone(self.refusal(request), (kind, body))

    def test_a_form_of_endless_fields_is_refused(self) -> None:
        request = msgspec.structs.replace(webhook({}), body=b"a=1&" * 2000)
        self.assertIsNotNone(self.refusal(request))

    def test_other_methods_are_405(self) -> None:
        for method in ("PUT", "HEAD", "post"):
            error = self.refusal(msgspec.structs.replace(webhook({}), method=method))
            assert error is not None
            self.assertEqual(error.status, 405)

    @settings(deadline=None, derandomize=True, max_examples=100)
    @given(st.dictionaries(st.text(min_size=1, max_size=5), st.text(max_size=20), max_size=5))
    def test_whatever_is_signed_is_believed_and_no_more(self, fields: dict[str, str]) -> None:
        request = webhook(fields)
        self.assertIsNone(self.refusal(request))
        changed = msgspec.structs.replace(request, body=request.body + b"&Extra=1")
        self.assertIsNotNone(self.refusal(changed))


class FixtureTests(SynchronousTestCase):
    """Every kind of request that Twilio sends about messages, one file each."""

    def test_each_fixture_is_read_as_it_expects(self) -> None:
        files = sorted(FIXTURES.glob("*.json"))
        self.assertGreater(len(files), 40)
        for file in files:
            loaded = json.loads(file.read_bytes())
            self.assertTrue(loaded["source"].startswith("Twilio, "), file.name)
            got = received(loaded)
            self.assertEqual(len(got.events), len(loaded["expect"]), file.name)
            for event, expected in zip(got.events, loaded["expect"], strict=True):
                self.assertEqual(shown(event, expected), expected, file.name)
            assert got.response is not None
            self.assertEqual(ET.fromstring(got.response.body).tag, "Response")

    def test_each_event_survives_the_store_and_keeps_what_was_said(self) -> None:
        for file in FIXTURES.glob("*.json"):
            loaded = json.loads(file.read_bytes())
            for event in received(loaded).events:
                self.assertEqual(from_json(to_json(event)), event, file.name)
                self.assertTrue(event.id, file.name)
                if event.kind != "echo":
                    self.assertEqual(event.raw, loaded["form"], file.name)

    def test_keywords_are_no_turns_unless_the_operator_wants_it(self) -> None:
        [event] = received(fixture("keyword_stop")).events
        self.assertFalse(is_turn(event, channel().options))
        self.assertTrue(is_turn(event, TwilioSettings(turns=("optin",))))

    def test_a_retry_is_the_same_event(self) -> None:
        loaded = fixture("sms")
        keys = [
            dedupe_key(received(loaded, idempotency=token).events[0], stable_timestamps=False)
            for token in ("one", "one", "")
        ]
        self.assertEqual(len(set(keys)), 1)

    def test_what_has_no_name_of_its_own_is_known_by_the_token_of_its_request(self) -> None:
        loaded = fixture("unknown_conversation")
        ids = [received(loaded, idempotency=token).events[0].id for token in ("one", "one", "two")]
        self.assertEqual(ids, ["one", "one", "two"])
        self.assertEqual(received(loaded).events[0].id, received(loaded).events[0].id)

    def test_a_get_and_a_json_body_say_the_same_as_a_form(self) -> None:
        form = fixture("sms")["form"]
        [expected] = received(fixture("sms")).events
        query = urlencode(form)
        asked = WebhookRequest(method="GET", path="/", query=query, url=f"{URL}?{query}")
        [by_get] = channel().parse(asked).events
        posted = webhook({})
        headers = ((b"content-type", b"application/json"),)
        body = msgspec.json.encode(form)
        [by_json] = channel().parse(msgspec.structs.replace(posted, body=body, headers=headers)).events
        self.assertEqual((by_get, by_json), (expected, expected))

    def test_json_of_another_shape_is_malformed(self) -> None:
        headers = ((b"content-type", b"application/json"),)
        for body in (b"[]", b"{", b"5"):
            request = msgspec.structs.replace(webhook({}), body=body, headers=headers)
            self.assertRaises(MalformedWebhook, channel().parse, request)

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(
        st.sampled_from(sorted(FIXTURES.glob("*.json"))),
        st.dictionaries(st.integers(0, 30), st.text(max_size=30) | st.none(), max_size=4),
    )
    def test_no_values_break_the_reader(self, file: Path, changes: dict[int, str | None]) -> None:
        form = dict(json.loads(file.read_bytes())["form"])
        for number, value in changes.items():
            names = sorted(form) or ["From"]
            name = names[number % len(names)]
            form.pop(name, None)
            if value is not None:
                form[name] = value
        for event in channel().parse(webhook(form)).events:
            self.assertEqual(from_json(to_json(event)), event)


def shown(event: AnyEvent, fields: dict[str, Any]) -> dict[str, Any]:
    special = {"type": event.kind, "address": str(event.address)}
    found = {
        name: special.get(name, msgspec.json.decode(msgspec.json.encode(getattr(event, name, None))))
        for name in fields
    }
    for attachment in found.get("attachments") or ():
        attachment.pop("raw", None)
    return found


def outgoing(part: AnyPart = Text(text="hi"), **more: Any) -> Outgoing:  # noqa: B008
    address = Address(channel="twilio", account=more.pop("account", US), peer=more.pop("peer", THEM))
    return Outgoing(**{"id": "inst-7", "address": address, "part": part, "now": NOW, **more})


def answer(*parts: AnyPart, **more: Any) -> ET.Element:
    made = channel(**more)
    request = webhook(fixture("sms")["form"])
    response = made.answer(request, tuple(outgoing(part) for part in parts))
    assert response.status == 200
    assert response.content_type.startswith("text/xml")
    return ET.fromstring(response.body)


TAKEN = answered(201, {"sid": "SM9", "status": "queued", "error_code": None})


def calls(part: AnyPart = Text(text="hi"), more: dict[str, Any] | None = None, **given_: Any) -> list[Call]:  # noqa: B008
    return play(channel(**(more or {})).send(outgoing(part, **given_)), TAKEN)[0]


def fields_of(call: Call) -> dict[str, Any]:
    pairs = parse_qsl(call.body.decode(), keep_blank_values=True)
    return {name: value if len(v := [x for n, x in pairs if n == name]) == 1 else v for name, value in pairs}


ANY_TEXT = st.text(
    alphabet=st.characters() | st.sampled_from("\x00\x07\x0b\x1f\x7f\ud800\udfff\ufffe\uffff<>&\"'\r\n]"),
    max_size=60,
)


class AnswerTests(SynchronousTestCase):
    """Replies in the answer to the webhook."""

    def test_each_message_is_one_with_its_words_and_media(self) -> None:
        root = answer(Text(text="a & b"), Image(url=MEDIA, alt="A"), File(url=MEDIA, name="F"))
        self.assertEqual([child.tag for child in root], ["Message"] * 3)
        self.assertEqual([m.findtext("Body") for m in root], ["a & b", "A", "F"])
        self.assertEqual([m.findtext("Media") for m in root], [None, MEDIA, MEDIA])

    def test_a_silent_agent_and_a_late_one_are_answered_with_nothing(self) -> None:
        self.assertEqual(len(answer()), 0)
        late = channel().answer_later(webhook({}), "SM1")
        self.assertEqual(len(ET.fromstring(late.body)), 0)

    def test_the_same_replies_are_the_same_answer(self) -> None:
        request = webhook(fixture("sms")["form"])
        shop, said = channel(), (outgoing(Text(text="hi")),)
        self.assertEqual(shop.answer(request, said), shop.answer(request, said))

    def test_with_a_status_callback_each_message_names_our_id(self) -> None:
        root = answer(Text(text="hi"), status_callback=f"{URL}?a=1")
        self.assertEqual(root[0].get("statusCallback"), f"{URL}?a=1&reply=inst-7")
        got = received({**fixture("status_sent"), "query": "a=1&reply=inst-7"})
        self.assertEqual(shown(got.events[0], {"metadata": 0, "mid": 0})["metadata"], "inst-7")

    def test_what_only_the_api_can_send_is_not_carried_nor_what_follows_it(self) -> None:
        template = Custom(json={"content_sid": "HX1"})
        shop = channel()
        for parts, count in (
            ((), 0),
            ((Text(text="a"), Text(text="b")), 2),
            ((Text(text="a"), template, Text(text="b")), 1),
            ((Custom(json={"body": "x", "media_url": MEDIA}),), 1),
            ((Custom(json=5),), 0),
        ):
            self.assertEqual(shop.carries(tuple(map(outgoing, parts))), count, parts)

    def test_an_answer_holds_no_more_than_twilio_reads(self) -> None:
        many = tuple(outgoing(Text(text="👍" * 700)) for _ in range(60))
        shop = channel()
        carried = shop.carries(many)
        self.assertTrue(10 < carried < 60)
        response = shop.answer(webhook({}), many)
        self.assertEqual(len(ET.fromstring(response.body)), carried)
        self.assertLess(len(response.body), 64_000)

    @settings(deadline=None, derandomize=True, max_examples=200)
    @given(ANY_TEXT, ANY_TEXT, st.sampled_from(["plain", "markdown"]))
    def test_no_text_breaks_the_xml_or_gets_out_of_its_place(
        self, text: str, other: str, format: Any
    ) -> None:
        button = Button(title=other or "x", payload="p")
        root = answer(
            Text(text=text, format=format),
            Image(url="https://" + other, alt=text),
            Video(url=other),
            Buttons(text=text, buttons=(button,), format=format),
            QuickReplies(text=text, replies=(QuickReply(title=other),)),
            Location(latitude=1.0, longitude=2.0, title=text),
            Custom(json={"body": text, "media_url": other}),
        )
        for message in root:
            self.assertEqual(message.tag, "Message")
            self.assertTrue({child.tag for child in message} <= {"Body", "Media"})
            self.assertEqual([len(child) for child in message], [0] * len(message))

    def test_rest_only_waits_for_nothing(self) -> None:
        self.assertEqual(channel(reply="rest").capabilities.answer_deadline, 0.0)
        self.assertGreater(channel().capabilities.answer_deadline, 5.0)
        self.assertLess(channel().capabilities.answer_deadline, 15.0)


class CallTests(SynchronousTestCase):
    """Replies by the REST API."""

    def test_the_call_goes_to_the_account_with_its_credentials(self) -> None:
        [call] = calls()
        self.assertEqual(call.url, f"https://twilio.test/2010-04-01/Accounts/{ACCOUNT}/Messages.json")
        self.assertEqual((call.method, call.effect, call.trust), ("POST", True, "configured"))
        self.assertTrue(dict(call.headers)["Authorization"].startswith("Basic "))
        self.assertEqual(fields_of(call), {"To": THEM, "From": US, "Body": "hi"})

    def test_a_conversation_is_answered_from_its_own_number(self) -> None:
        for account, field, value in (
            ("+15550000009", "From", "+15550000009"),
            ("MG1", "MessagingServiceSid", "MG1"),
            ("", "From", US),
        ):
            self.assertEqual(fields_of(calls(account=account)[0])[field], value)
        made, outcome = play(channel(twilio_number=None).send(outgoing(account="")))
        assert isinstance(outcome, Refused)
        self.assertEqual((made, outcome.scope), ([], "account"))
        self.assertIn("set number", outcome.reason)

    def test_media_go_as_media_and_as_links_where_there_is_no_mms(self) -> None:
        self.assertEqual(fields_of(calls(Image(url=MEDIA))[0]), {"To": THEM, "From": US, "MediaUrl": MEDIA})
        no_mms = {"mms": False}
        self.assertEqual(fields_of(calls(File(url=MEDIA, name="F"), no_mms)[0])["Body"], f"F\n{MEDIA}")
        whatsapp = calls(Image(url=MEDIA), no_mms, peer=f"whatsapp:{THEM}")
        self.assertEqual(fields_of(whatsapp[0])["MediaUrl"], MEDIA)
        for url in ("file:///etc/passwd", "javascript:1", ""):
            made, outcome = play(channel().send(outgoing(Image(url=url))))
            self.assertEqual((made, type(outcome)), ([], Refused))

    def test_custom_fields_have_twilios_names_or_rasas_but_the_chat_stays(self) -> None:
        variables = {"1": "Ada"}
        for json_ in (
            {"content_sid": "HX1", "content_variables": variables, "to": "+1", "from_": "+2"},
            {"ContentSid": "HX1", "ContentVariables": json.dumps(variables), "To": "+1", "From": "+2"},
        ):
            fields = fields_of(calls(Custom(json=json_))[0])
            self.assertEqual(json.loads(fields.pop("ContentVariables")), variables)
            self.assertEqual(fields, {"To": THEM, "From": US, "ContentSid": "HX1"})
        fields = fields_of(
            calls(Custom(json={"body": "x", "media_url": [MEDIA, MEDIA], "smart_encoded": True}))[0]
        )
        self.assertEqual((fields["MediaUrl"], fields["SmartEncoded"]), ([MEDIA, MEDIA], "true"))
        service = fields_of(calls(Custom(json={"body": "x", "messaging_service_sid": "MG2"}))[0])
        self.assertEqual(service, {"To": THEM, "Body": "x", "MessagingServiceSid": "MG2"})
        for empty in ({}, {"body": ""}, [], "x", {"status_callback": "https://x"}):
            self.assertIsInstance(play(channel().send(outgoing(Custom(json=empty))))[1], Refused)

    def test_a_status_callback_names_our_id(self) -> None:
        [call] = calls(more={"status_callback": URL})
        self.assertEqual(fields_of(call)["StatusCallback"], f"{URL}?reply=inst-7")

    def test_markdown_is_what_each_can_show(self) -> None:
        [bold] = fit(Message(parts=(Text(text="**hi** there", format="markdown"),)), channel().capabilities)
        self.assertEqual(fields_of(calls(bold)[0])["Body"], "hi there")
        self.assertEqual(fields_of(calls(bold, peer=f"whatsapp:{THEM}")[0])["Body"], "*hi* there")

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(st.sampled_from("a*_~`[👍\n"), st.integers(1, 4000), st.sampled_from(["plain", "markdown"]))
    def test_whatever_fits_is_taken(self, letter: str, long: int, format: Any) -> None:
        text = (letter + "x ") * long
        card = Card(title=text, image_url=MEDIA, url=MEDIA, buttons=(Button(title=text, payload="x"),))
        message = Message(
            parts=(
                Text(text=text, format=format),
                Carousel(cards=(card,)),
                Buttons(text=text, buttons=(Button(title="x", url=MEDIA),)),
                Location(latitude=1.0, longitude=2.0),
            )
        )
        for peer in (THEM, f"whatsapp:{THEM}"):
            for part in fit(message, channel().capabilities):
                [call] = calls(part, peer=peer)
                self.assertLessEqual(len(fields_of(call).get("Body", "").encode("utf-16-le")) // 2, 1600)


class ButtonTests(SynchronousTestCase):
    """Buttons on WhatsApp go by templates of their own, and are words everywhere else."""

    PART = Buttons(
        text="Sure?", buttons=(Button(title="Yes", payload="/affirm"), Button(title="No", payload="no"))
    )
    MADE = answered(201, {"sid": "HX1"})

    def sent(
        self, shop: TwilioInput, part: AnyPart, *results: CallResult, peer: str = f"whatsapp:{THEM}"
    ) -> Any:
        [part] = fit(Message(parts=(part,)), shop.capabilities)
        return play(shop.send(outgoing(part, peer=peer)), *results)

    def test_one_template_serves_all_words_over_the_same_buttons(self) -> None:
        shop = channel(whatsapp_buttons=True)
        (made, sent), outcome = self.sent(shop, self.PART, self.MADE, TAKEN)
        self.assertEqual(
            (made.url, made.effect, sent.effect), ("https://content.test/v1/Content", False, True)
        )
        actions = json.loads(made.body)["types"]["twilio/quick-reply"]["actions"]
        self.assertEqual([(a["title"], a["id"]) for a in actions], [("Yes", "/affirm"), ("No", "no")])
        fields = fields_of(sent)
        self.assertEqual(
            (fields["ContentSid"], json.loads(fields["ContentVariables"])), ("HX1", {"1": "Sure?"})
        )
        self.assertEqual(outcome, Sent(mids=("SM9",)))
        [again], _ = self.sent(shop, msgspec.structs.replace(self.PART, text="Really?"), TAKEN)
        self.assertEqual(json.loads(fields_of(again)["ContentVariables"]), {"1": "Really?"})

    def test_elsewhere_and_without_the_setting_they_are_words(self) -> None:
        for shop, peer in ((channel(whatsapp_buttons=True), THEM), (channel(), f"whatsapp:{THEM}")):
            [call], _ = self.sent(shop, self.PART, TAKEN, peer=peer)
            shown_ = fields_of(call)["Body"].replace("\u2060", "")  # WhatsApp would make a list of it
            self.assertEqual(shown_, "Sure?\n1. Yes\n2. No")

    def test_an_answer_does_not_carry_them(self) -> None:
        shop = channel(whatsapp_buttons=True)
        self.assertEqual(shop.carries((outgoing(self.PART, peer=f"whatsapp:{THEM}"),)), 0)
        self.assertEqual(shop.carries((outgoing(self.PART),)), 1)

    def test_a_template_that_cannot_be_made_shows_nothing_and_is_tried_again(self) -> None:
        shop = channel(whatsapp_buttons=True)
        for result, kind in (
            (CallResult(outcome="unknown"), Retry),
            (answered(503, b""), Retry),
            (answered(400, {"code": 20001, "message": "bad"}), Refused),
            (answered(401, {"code": 20003}), Refused),
        ):
            [_], outcome = self.sent(shop, self.PART, result)
            self.assertIsInstance(outcome, kind)


class OutcomeTests(SynchronousTestCase):
    def outcome(self, result: CallResult) -> Outcome:
        return play(channel().send(outgoing()), result)[1]

    def test_each_error_has_its_reach(self) -> None:
        for code, status, kind, scope in (
            (20003, 401, Refused, "account"),
            (21610, 400, Refused, "message"),
            (21211, 400, Refused, "message"),
            (21606, 400, Refused, "account"),
            (63016, 400, Refused, "message"),
            (99999, 400, Refused, "message"),
            (20429, 429, Retry, "account"),
            (21611, 400, Retry, "account"),
            (20500, 500, Retry, "message"),
        ):
            outcome = self.outcome(answered(status, {"code": code, "message": "why\nso"}))
            assert isinstance(outcome, Refused | Retry)
            self.assertEqual((type(outcome), outcome.scope), (kind, scope), code)
            self.assertIn(f"{code}: why so", outcome.reason)

    def test_a_throttled_account_rests_as_long_as_twilio_says(self) -> None:
        for header, least, most in (("17", 17, 17), ("soon", 1, 600), ("٣", 1, 600), ("9" * 5000, 1, 86_400)):
            outcome = self.outcome(answered(429, b"", Retry_After=header))
            assert isinstance(outcome, Retry)
            assert outcome.at is not None
            self.assertTrue(NOW + least <= outcome.at <= NOW + most, header)

    def test_what_is_not_known_is_not_called_sent(self) -> None:
        for result, kind in (
            (answered(200, b"<html>"), UnknownOutcome),
            (answered(201, {"sid": None}), UnknownOutcome),
            (answered(201, [1]), UnknownOutcome),
            (answered(503, b"busy"), Retry),
            (answered(302, b""), Retry),
            (answered(403, b""), Refused),
            (CallResult(outcome="unknown", error="lost"), UnknownOutcome),
            (CallResult(outcome="not_sent", error="refused"), Retry),
        ):
            self.assertIsInstance(self.outcome(result), kind)


class StandInTests(SynchronousTestCase):
    """The channel against something that judges calls as Twilio does."""

    def setUp(self) -> None:
        self.twilio = TwilioStandIn(Clock(), ACCOUNT, TOKEN)
        self.client = StubTreq(self.twilio)

    def send(self, shop: TwilioInput, part: AnyPart = Text(text="hi"), **more: Any) -> Any:  # noqa: B008
        steps = shop.send(outgoing(part, **more))
        try:
            call = next(steps)
            while True:
                call = steps.send(self.made(call))
        except StopIteration as end:
            return end.value

    def made(self, call: Call) -> CallResult:
        asked = self.client.request(call.method, call.url, headers=dict(call.headers), data=call.body)
        response = self.successResultOf(asked)
        body = self.successResultOf(self.client.content(response))
        headers = tuple(("Retry-After", v) for v in response.headers.getRawHeaders("retry-after", []))
        return CallResult(outcome="answered", status=response.code, body=body, headers=headers)

    def test_messages_and_buttons_are_shown(self) -> None:
        shop = channel(whatsapp_buttons=True)
        self.assertIsInstance(self.send(shop), Sent)
        self.assertIsInstance(self.send(shop, ButtonTests.PART, peer=f"whatsapp:{THEM}"), Sent)
        self.assertEqual(self.twilio.sent[0].text, "hi")
        self.assertIn(self.twilio.sent[1].fields["ContentSid"], self.twilio.templates)

    def test_refusals_and_throttling_come_through(self) -> None:
        self.twilio.answers(no(21610), no(20429, status=429, Retry_After="9"))
        self.assertIsInstance(self.send(channel()), Refused)
        self.assertEqual(self.send(channel()).at, NOW + 9)
        self.assertEqual(self.twilio.sent, [])
        self.assertEqual(self.send(channel(auth_token="wrong")).scope, "account")
        self.assertIsInstance(self.send(channel(), Text(text="x" * 1601)), Refused)


class MediaTests(SynchronousTestCase):
    def download(self, url: str, *results: CallResult) -> tuple[list[Call], bytes]:
        return play(channel().download(url, 1000), *results)

    def test_the_store_that_twilio_names_gets_no_credentials(self) -> None:
        moved = answered(307, b"", Location="https://store.example/x")
        (first, second), body = self.download("https://twilio.test/m/1", moved, answered(200, b"png"))
        self.assertEqual((body, first.trust, second.trust), (b"png", "configured", "content"))
        self.assertIn("Authorization", dict(first.headers))
        self.assertEqual((second.headers, second.max_response), ((), 1000))

    def test_nobody_else_is_shown_the_credentials(self) -> None:
        for url in (
            "https://evil.example/m/1",
            "https://twilio.test.evil.example/",
            "https://twilio.test@evil.example/",
        ):
            self.assertRaises(PlatformError, self.download, url)

    def test_what_is_not_there_is_an_error(self) -> None:
        for result in (answered(404, b""), CallResult(outcome="unknown"), answered(307, b"")):
            self.assertRaises(PlatformError, self.download, "https://twilio.test/m/1", result)


class SettingsTests(SynchronousTestCase):
    def made(self, **settings_: Any) -> TwilioInput:
        def secret(kind: type, value: Any) -> Any:
            if kind is Secret:
                return Secret(value)
            raise NotImplementedError(kind)

        read = msgspec.convert(settings_, TwilioSettings, strict=False, dec_hook=secret)
        self.assertNotIn(TOKEN, repr(read))
        return TwilioInput.from_settings("shop", read)

    def test_it_is_found_by_its_name_and_has_its_abilities(self) -> None:
        self.assertIs(find_channel_class("twilio"), TwilioInput)
        for ability in (Channel, Answers):
            self.assertIsInstance(channel(), ability)

    def test_a_rasa_file_works_as_it_is(self) -> None:
        shop = self.made(account_sid=ACCOUNT, auth_token=TOKEN, twilio_number=US)
        shop.verify(webhook({"MessageSid": "SM1"}), NOW)
        [call], _ = play(shop.send(outgoing(account="")), TAKEN)
        self.assertEqual(fields_of(call)["From"], US)

    def test_each_mistake_is_one_line_that_names_channel_and_key_and_no_secret(self) -> None:
        hidden = "do-not-show-me"
        for key, given_ in (
            ("account_sid", {"account_sid": None}),
            ("account_sid", {"account_sid": f"{hidden} x"}),
            ("auth_token", {"auth_token": None}),
            ("auth_token", {"auth_token": []}),
            ("auth_token", {"auth_token": [hidden, 5]}),
            ("shared_key", {"shared_key": ""}),
            ("reply", {"reply": "pigeon"}),
            ("api_url", {"api_url": "twilio.com"}),
            ("content_url", {"content_url": "twilio.com"}),
            ("status_callback", {"status_callback": "/webhook"}),
        ):
            with self.subTest(given=given_):
                line = str(self.assertRaises(ConfigError, channel, name="shop", **given_))
                self.assertIn(f"channel 'shop': {key}", line)
                self.assertNotIn(hidden, line)

    def test_repr_shows_the_account_and_no_secret(self) -> None:
        shown_ = repr(channel(shared_key="a-key"))
        self.assertIn(ACCOUNT, shown_)
        for hidden in (TOKEN, "a-key"):
            self.assertNotIn(hidden, shown_)
