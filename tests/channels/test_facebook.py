"""Messenger: who is believed, what is read out of a webhook, how the Graph is called."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Channel, Live, Triggers, find_channel_class
from klein_channels.channels.facebook import FacebookInput, FacebookSettings
from klein_channels.errors import ConfigError, VerificationError
from klein_channels.model import (
    TURN_KINDS,
    Address,
    AnyEvent,
    AnyPart,
    Call,
    Context,
    Outgoing,
    Text,
    Video,
    WebhookRequest,
    from_json,
    to_json,
)
from klein_channels.secret import Secret
from klein_channels.signatures import appsecret_proof, hub_signature
from klein_channels.testing.contract import ChannelContract
from klein_channels.testing.graph import GraphStandIn
from klein_channels.testing.platforms import Platform, served
from klein_channels.testing.steps import answered, play

PAGE, OTHER_PAGE, PERSON = "104512345678901", "104512345678902", "6789012345678901"
SECRET, OLD_SECRET = "an-app-secret-of-tests", "the-app-secret-before"
PAGES = {PAGE: "token-of-the-first-page", OTHER_PAGE: "token-of-the-second-page"}
FIXTURES = Path(__file__).parent.parent / "fixtures" / "facebook"
NOW = 1_790_000_000.0


def channel(**more: Any) -> FacebookInput:
    given: dict[str, Any] = {
        "fb_verify": "open sesame",
        "fb_secret": SECRET,
        "graph_url": "https://graph.test",
    }
    if not more.keys() & {"page_tokens", "fb_tokens", "fb_access_token"}:
        given["page_tokens"] = PAGES
    return FacebookInput(**{**given, **more})


def post(body: bytes, *signatures: bytes, header: bytes = b"x-hub-signature-256") -> WebhookRequest:
    headers = tuple((header, signature) for signature in signatures)
    return WebhookRequest(method="POST", path="/app/webhook", headers=headers, body=body)


def signed(body: bytes, secret: str = SECRET) -> WebhookRequest:
    return post(body, hub_signature(body, Secret(secret)).encode())


def read(body: Any, **more: Any) -> tuple[AnyEvent, ...]:
    return channel(**more).parse(signed(json.dumps(body).encode())).events


def one_message(**item: Any) -> dict[str, Any]:
    item = {"sender": {"id": PERSON}, "recipient": {"id": PAGE}, "timestamp": 1790000000001, **item}
    return {"object": "page", "entry": [{"id": PAGE, "time": 1790000000123, "messaging": [item]}]}


class ContractTests(ChannelContract, SynchronousTestCase):
    secrets = (SECRET, "open sesame", *PAGES.values())
    base_urls = ("https://graph.test",)
    proof_headers = (b"x-hub-signature-256",)
    trigger_kinds = ("text", "quick_reply", "postback", "referral", "image", "audio", "video", "file")

    def make_channel(self) -> FacebookInput:
        return channel()

    def make_platform(self) -> Platform:
        clock = Clock()
        return served(GraphStandIn(clock, PAGES, SECRET), clock)

    def bodies(self) -> Sequence[bytes]:
        files = sorted(FIXTURES.glob("*.json"), key=lambda file: file.name != "message_text.json")
        return [json.dumps(json.loads(file.read_bytes())["body"]).encode() for file in files]

    def signed(self, body: bytes) -> WebhookRequest:
        return signed(body)

    def accepted(self) -> Sequence[WebhookRequest]:
        handshake = WebhookRequest(method="GET", path="/app/webhook", query=HandshakeTests.GOOD)
        return [*super().accepted(), handshake]

    def refused(self) -> Sequence[WebhookRequest]:
        return [WebhookRequest(method="GET", path="", query=HandshakeTests.GOOD.replace("open", "close"))]

    def different(self) -> Sequence[bytes]:
        made = [one_message(message={"mid": mid, "text": "same"}) for mid in ("m_1", "m_2")]
        made += [
            one_message(read={"watermark": 1790000000001}),
            one_message(delivery={"watermark": 1790000000001}),
        ]
        made += [one_message(timestamp=t, referral={"ref": "x"}) for t in (1790000000001, 1790000000002)]
        return [json.dumps(body).encode() for body in made]


class HandshakeTests(SynchronousTestCase):
    GOOD = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=open%20sesame"

    def ask(self, query: str) -> tuple[int, bytes]:
        request = WebhookRequest(method="GET", path="/app/webhook", query=query)
        facebook = channel()
        try:
            facebook.verify(request, NOW)
        except VerificationError as error:
            self.assertRaises(VerificationError, facebook.parse, request)
            return error.status, b""
        response = facebook.parse(request).response
        assert response is not None
        self.assertTrue(response.content_type.startswith("text/plain"))
        self.assertIn((b"X-Content-Type-Options", b"nosniff"), response.headers)
        return response.status, response.body

    def test_the_right_token_gets_the_challenge_and_nothing_else(self) -> None:
        self.assertEqual(self.ask(self.GOOD), (200, b"1158201444"))
        self.assertEqual(
            self.ask(self.GOOD.replace("1158201444", "CHALLENGE_%3Cb%3E")), (200, b"CHALLENGE_<b>")
        )

    def test_order_and_percent_encoding_of_names_do_not_matter(self) -> None:
        query = "hub%2Everify_token=open+sesame&hub%2Echallenge=7&hub%2Emode=subscribe"
        self.assertEqual(self.ask(query), (200, b"7"))

    def test_everything_else_is_403(self) -> None:
        good = self.GOOD
        for query in (
            "",
            good.replace("open", "close"),
            good.replace("open%20sesame", ""),
            good.replace("open%20sesame", "%ff%00"),
            good.replace("subscribe", "unsubscribe"),
            "hub.challenge=1&hub.verify_token=open%20sesame",
            "hub.mode=subscribe&hub.verify_token=open%20sesame",
            good + "&hub.verify_token=open%20sesame",
            good + "&hub%2Echallenge=2",
            good + "&a" * 100,
        ):
            self.assertEqual(self.ask(query), (403, b""), query)

    def test_other_methods_are_405(self) -> None:
        for method in ("PUT", "HEAD", "DELETE", "get", ""):
            request = WebhookRequest(method=method, path="", query=self.GOOD)
            error = self.assertRaises(VerificationError, channel().verify, request, NOW)
            self.assertEqual(error.status, 405)


class SignatureTests(SynchronousTestCase):
    BODY = b'{"object":"page","entry":[]}'

    def accepted(self, request: WebhookRequest, **more: Any) -> bool:
        try:
            channel(**more).verify(request, NOW)
        except VerificationError as error:
            self.assertEqual(error.status, 403)
            return False
        return True

    def test_only_the_signed_bytes_are_believed(self) -> None:
        good = signed(self.BODY)
        self.assertTrue(self.accepted(good))
        self.assertFalse(self.accepted(msgspec.structs.replace(good, body=self.BODY + b" ")))
        self.assertFalse(self.accepted(post(self.BODY)))
        self.assertFalse(self.accepted(signed(self.BODY, "another secret")))

    def test_debug_mode_checks_no_less(self) -> None:
        self.assertFalse(self.accepted(post(self.BODY), debug_mode=True))

    def test_every_secret_counts_while_rotating(self) -> None:
        for secret in (SECRET, OLD_SECRET):
            self.assertTrue(self.accepted(signed(self.BODY, secret), fb_secret=[SECRET, OLD_SECRET]))
        self.assertFalse(self.accepted(signed(self.BODY, OLD_SECRET)))

    def test_sha1_alone_counts_only_where_it_is_allowed(self) -> None:
        weak = post(
            self.BODY, hub_signature(self.BODY, Secret(SECRET), "sha1").encode(), header=b"x-hub-signature"
        )
        self.assertFalse(self.accepted(weak))
        self.assertTrue(self.accepted(weak, allow_sha1=True))

    def test_sha1_never_repairs_a_bad_sha256(self) -> None:
        weak = hub_signature(self.BODY, Secret(SECRET), "sha1").encode()
        headers = ((b"x-hub-signature-256", b"sha256=" + b"0" * 64), (b"x-hub-signature", weak))
        self.assertFalse(
            self.accepted(msgspec.structs.replace(post(self.BODY), headers=headers), allow_sha1=True)
        )

    @settings(deadline=None, derandomize=True)
    @given(st.lists(st.binary(max_size=70), max_size=3), st.booleans())
    def test_no_header_is_an_accident(self, values: list[bytes], sha1: bool) -> None:
        header = b"x-hub-signature" if sha1 else b"x-hub-signature-256"
        self.assertFalse(self.accepted(post(self.BODY, *values, header=header), allow_sha1=True))


class FixtureTests(SynchronousTestCase):
    """Every kind of event that Messenger sends, one file each."""

    def test_each_fixture_is_read_as_it_expects(self) -> None:
        files = sorted(FIXTURES.glob("*.json"))
        self.assertGreater(len(files), 70)
        for file in files:
            fixture = json.loads(file.read_bytes())
            self.assertTrue(fixture["source"].startswith("Meta, "), file.name)
            events = read(fixture["body"])
            self.assertEqual(len(events), len(fixture["expect"]), file.name)
            for event, expected in zip(events, fixture["expect"], strict=True):
                self.assertEqual(self.shown(event, expected), expected, file.name)

    def shown(self, event: AnyEvent, fields: dict[str, Any]) -> dict[str, Any]:
        special = {"type": event.kind, "address": str(event.address)}
        return {
            name: special.get(name, msgspec.json.decode(msgspec.json.encode(getattr(event, name, None))))
            for name in fields
        }

    def test_each_event_survives_the_store_and_keeps_its_item(self) -> None:
        for file in FIXTURES.glob("*.json"):
            for event in read(json.loads(file.read_bytes())["body"]):
                self.assertEqual(from_json(to_json(event)), event, file.name)
                self.assertTrue(event.id, file.name)

    def test_nothing_that_we_said_is_a_turn(self) -> None:
        for file in FIXTURES.glob("echo_*.json"):
            for event in read(json.loads(file.read_bytes())["body"]):
                self.assertNotIn(event.kind, TURN_KINDS, file.name)

    def test_nobody_and_strangers_pages_are_never_answered(self) -> None:
        for file in FIXTURES.glob("*.json"):
            for event in read(json.loads(file.read_bytes())["body"]):
                if event.kind in TURN_KINDS and not event.observe_only:
                    self.assertIn(event.address.account, PAGES, file.name)
                    self.assertTrue(event.address.peer, file.name)


class SettingsTests(SynchronousTestCase):
    def made(self, **settings_: Any) -> FacebookInput:
        def secret(kind: type, value: Any) -> Any:
            if kind is Secret:
                return Secret(value)
            raise NotImplementedError(kind)

        read_ = msgspec.convert(settings_, FacebookSettings, strict=False, dec_hook=secret)
        self.assertNotIn(SECRET, repr(read_))
        return FacebookInput.from_settings("shop", read_)

    def test_it_is_found_by_its_name_and_has_its_abilities(self) -> None:
        self.assertIs(find_channel_class("facebook"), FacebookInput)
        for ability in (Channel, Live, Triggers):
            self.assertIsInstance(channel(), ability)

    def test_all_scalars_may_be_texts(self) -> None:
        shop = self.made(
            verify="v", secret=SECRET, page_tokens=PAGES, debug_mode="true", app_secret_proof="false",
            allow_sha1="true", graph_version="v26.0", graph_url="https://graph.test/", turns=["referral"],
        )  # fmt: skip
        self.assertEqual(
            (shop.name, shop.options.debug_mode, shop.options.turns), ("shop", True, ("referral",))
        )
        [call] = calls(shop)
        self.assertEqual(call.url, f"https://graph.test/v26.0/{PAGE}/messages")

    def test_a_rasa_file_works_as_it_is(self) -> None:
        shop = self.made(**{"verify": "v", "secret": SECRET, "page-access-token": "a-token"})
        [call] = calls(shop)
        self.assertIn(("Authorization", "Bearer a-token"), call.headers)

    def test_a_list_of_secrets(self) -> None:
        shop = self.made(verify="v", secret=[SECRET, OLD_SECRET], page_tokens=PAGES)
        shop.verify(signed(b"{}", OLD_SECRET), NOW)

    def test_every_form_of_tokens_sends_with_the_right_one(self) -> None:
        for more in (
            {"fb_tokens": PAGES},
            {"fb_tokens": {int(page): token for page, token in PAGES.items()}},
            {"page_tokens": PAGES},
            {"fb_tokens": PAGES[PAGE]},
            {"fb_tokens": [PAGES[PAGE]]},
            {"fb_access_token": PAGES[PAGE]},
            {"page_tokens": {PAGE: PAGES[PAGE]}, "fb_access_token": PAGES[PAGE]},
        ):
            [call] = calls(channel(**more))
            self.assertIn(("Authorization", f"Bearer {PAGES[PAGE]}"), call.headers, more)

    def test_the_environment_names_the_graph_unless_the_settings_do(self) -> None:
        self.patch(os, "environ", {"KLEIN_CHANNELS_GRAPH_URL": "http://127.0.0.1:9"})
        self.assertTrue(calls(channel(graph_url=None))[0].url.startswith("http://127.0.0.1:9/v25.0/"))
        self.assertTrue(calls(channel())[0].url.startswith("https://graph.test/"))

    def test_each_mistake_is_one_line_that_names_channel_and_key_and_no_secret(self) -> None:
        hidden = "do-not-show-me"
        for key, given_ in (
            ("verify", {"fb_verify": None}),
            ("verify", {"fb_verify": "  "}),
            ("verify", {"fb_verify": 5}),
            ("secret", {"fb_secret": None}),
            ("secret", {"fb_secret": []}),
            ("secret", {"fb_secret": [hidden, ""]}),
            ("secret", {"fb_secret": {"a": hidden}}),
            ("page_tokens", {"page_tokens": None}),
            ("page_tokens", {"page_tokens": {}}),
            ("page_tokens[1]", {"page_tokens": {"1": ""}}),
            ("page_tokens", {"page_tokens": {"1": hidden, "2": hidden}}),
            ("page_tokens", {"page_tokens": {None: hidden}}),
            ("page_tokens", {"page_tokens": {True: hidden}}),
            ("page_tokens[1]", {"page_tokens": {"1": f"{hidden}\n{hidden}"}}),
            ("fb_tokens", {"fb_tokens": []}),
            ("fb_tokens", {"fb_tokens": 7}),
            ("fb_tokens", {"fb_tokens": b"bytes"}),
            ("fb_tokens", {"fb_tokens": {PAGE: hidden}, "page_tokens": PAGES}),
            ("graph_url", {"graph_url": "graph.facebook.com"}),
            ("graph_version", {"graph_version": "25"}),
        ):
            with self.subTest(given=given_):
                line = str(self.assertRaises(ConfigError, channel, name="shop", **given_))
                self.assertIn(f"channel 'shop': {key}", line)
                self.assertNotIn(hidden, line)
                self.assertNotIn("\n", line)

    def test_repr_shows_pages_and_no_secret(self) -> None:
        shown = repr(channel())
        self.assertIn(PAGE, shown)
        for hidden in (SECRET, "open sesame", *PAGES.values()):
            self.assertNotIn(hidden, shown)


def outgoing(part: AnyPart = Text(text="hi"), page: str = PAGE, **more: Any) -> Outgoing:  # noqa: B008
    address = Address(channel="facebook", account=page, peer=more.pop("peer", PERSON))
    return Outgoing(**{"id": "o1", "address": address, "part": part, "cause": "m_1", "now": NOW, **more})


SUCCESS = answered(body={"recipient_id": PERSON, "message_id": "m_out"})


def calls(facebook: FacebookInput, part: AnyPart = Text(text="hi"), **more: Any) -> list[Call]:  # noqa: B008
    return play(facebook.send(outgoing(part, **more)), SUCCESS)[0]


class CallTests(SynchronousTestCase):
    def test_the_call_goes_to_the_page_with_its_token_and_proof(self) -> None:
        for page, token in PAGES.items():
            [call] = calls(channel(), page=page)
            proof = appsecret_proof(Secret(token), Secret(SECRET))
            self.assertEqual(call.url, f"https://graph.test/v25.0/{page}/messages?appsecret_proof={proof}")
            self.assertIn(("Authorization", f"Bearer {token}"), call.headers)
            self.assertEqual((call.method, call.effect, call.trust), ("POST", True, "configured"))
            self.assertNotIn(token, call.url + call.body.decode())

    def test_the_proof_is_made_with_the_first_secret(self) -> None:
        [call] = calls(channel(fb_secret=[SECRET, OLD_SECRET]))
        self.assertIn(appsecret_proof(Secret(PAGES[PAGE]), Secret(SECRET)), call.url)

    def test_a_strange_account_cannot_change_the_path(self) -> None:
        strange = "../1/x?y#z"
        [call] = calls(channel(page_tokens={strange: "a-token"}), page=strange)
        self.assertIn("/v25.0/..%2F1%2Fx%3Fy%23z/messages", call.url)

    def test_a_page_without_token_holds_its_lane_and_names_the_key(self) -> None:
        made, outcome = play(channel().send(outgoing(page="999")))
        self.assertEqual(made, [])
        self.assertEqual(outcome.scope, "account")
        for named in ("'facebook'", "'999'", "page_tokens"):
            self.assertIn(named, outcome.reason)

    def test_a_video_may_take_as_long_as_the_graph_waits_for_it(self) -> None:
        [call] = calls(channel(), Video(url="https://x.example/v.mp4"))
        self.assertGreater(call.deadline, 75)


class PageIdTests(SynchronousTestCase):
    def test_until_the_graph_said_whose_a_list_is_every_page_may_be_ours(self) -> None:
        facebook = channel(fb_tokens=list(PAGES.values()))
        body = json.dumps(one_message(recipient={"id": "999"}, message={"mid": "m", "text": "x"})).encode()
        body = body.replace(PAGE.encode(), b"999")
        [before] = facebook.parse(signed(body)).events
        owners = [answered(body={"id": page}) for page in PAGES]
        play(facebook.send(outgoing(page=OTHER_PAGE)), *owners, SUCCESS)
        [after] = facebook.parse(signed(body)).events
        self.assertEqual((before.observe_only, after.observe_only), (False, True))


class LifeSignTests(SynchronousTestCase):
    def test_they_are_sender_actions_without_effect(self) -> None:
        facebook, address = channel(), outgoing().address
        for steps, action in (
            (facebook.show_typing(address, True, Context()), "typing_on"),
            (facebook.show_typing(address, False, Context()), "typing_off"),
            (facebook.show_seen(address, Context()), "mark_seen"),
        ):
            [call], _ = play(steps, answered(400, {"error": {"code": 100}}))
            self.assertEqual(json.loads(call.body), {"recipient": {"id": PERSON}, "sender_action": action})
            self.assertFalse(call.effect)

    def test_seen_is_off_unless_asked_for(self) -> None:
        self.assertFalse(channel().options.mark_seen)

    def test_a_page_without_token_shows_nothing(self) -> None:
        address = Address(channel="facebook", account="999", peer=PERSON)
        self.assertEqual(play(channel().show_typing(address, True, Context())), ([], None))


class TriggerTests(SynchronousTestCase):
    def test_every_kind_is_a_verified_webhook_of_the_first_page(self) -> None:
        facebook = channel()
        for kind in ("text", "quick_reply", "postback", "referral", "image", "audio", "video", "file"):
            request = facebook.trigger(kind, "https://x.example", NOW)
            facebook.verify(request, NOW)
            [event] = facebook.parse(request).events
            self.assertEqual((event.address.account, event.timestamp), (PAGE, NOW))
            self.assertFalse(event.observe_only)

    def test_two_calls_are_two_messages(self) -> None:
        facebook = channel(fb_tokens=["a-token", "b-token"])
        ids = {
            facebook.parse(facebook.trigger("text", text, NOW + late)).events[0].id
            for text in ("a", "b")
            for late in (0, 0.001)
        }
        self.assertEqual(len(ids), 4)

    def test_an_unknown_kind_names_the_known_ones(self) -> None:
        self.assertIn("quick_reply", str(self.assertRaises(ValueError, channel().trigger, "smell", "x", NOW)))
