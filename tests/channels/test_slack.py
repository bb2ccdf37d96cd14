"""Slack: who is believed, what is read out of its three kinds of requests, how its API is called."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import (
    Channel,
    Edits,
    Grant,
    KnowsAccounts,
    Live,
    Streams,
    Triggers,
    find_channel_class,
)
from klein_channels.channels.slack import CAPABILITIES, SlackInput, SlackSettings
from klein_channels.errors import ConfigError, MalformedWebhook, PlatformError, VerificationError
from klein_channels.fit import fit
from klein_channels.intake import conversation_key, dedupe_key
from klein_channels.model import (
    TURN_KINDS,
    Address,
    AnyEvent,
    AnyPart,
    Attachment,
    Audio,
    Button,
    Buttons,
    Call,
    CallResult,
    Card,
    Carousel,
    Context,
    Custom,
    File,
    Image,
    Location,
    Message,
    MessageReceived,
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
from klein_channels.signatures import slack_signature
from klein_channels.slack.triggers import TRIGGERS
from klein_channels.slack.words import read_words, streamable
from klein_channels.testing.contract import ChannelContract
from klein_channels.testing.platforms import Platform, served
from klein_channels.testing.slack import SlackStandIn, no, too_many
from klein_channels.testing.slack_rules import blocks_hold
from klein_channels.testing.steps import answered, play

TEAM, ORGANISATION, BOT = "T0TEAM00001", "E0ORG00001", "U0BOT00001"
PERSON, CHANNEL, DIRECT = "U0PERSON01", "C0CHANNEL1", "D0DIRECT01"
TS, THREAD = "1790000000.000100", "1789999999.000001"
SECRET, OLD_SECRET = "a-signing-secret-of-tests", "the-signing-secret-before"
TOKENS = {TEAM: "xoxb-of-the-team", ORGANISATION: "xoxb-of-the-organisation"}
FIXTURES = Path(__file__).parent.parent / "fixtures" / "slack"
NOW = 1_790_000_000.0
PUBLISHED_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
    b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)


def channel(**more: Any) -> SlackInput:
    given_: dict[str, Any] = {"slack_signing_secret": SECRET, "api_url": "https://slack.test/api"}
    if not more.keys() & {"slack_token", "teams", "tokens", "client_id"}:
        given_["teams"] = TOKENS
    return SlackInput(**{**given_, **more})


def post(
    body: bytes, timestamp: str = "1790000000", secret: str = SECRET, **headers: bytes
) -> WebhookRequest:
    signature = slack_signature(body, timestamp, Secret(secret)).encode()
    pairs = {"x_slack_request_timestamp": timestamp.encode(), "x_slack_signature": signature, **headers}
    named = tuple((name.replace("_", "-").encode(), value) for name, value in pairs.items())
    return WebhookRequest(method="POST", path="/app/webhook", headers=named, body=body)


def body_of(fixture: dict[str, Any]) -> bytes:
    if "form" in fixture:
        return urlencode(fixture["form"]).encode()
    if "payload" in fixture:
        return urlencode({"payload": json.dumps(fixture["payload"])}).encode()
    return json.dumps(fixture["body"]).encode()


def fixture(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_bytes())
    return loaded


def received(body: bytes, **more: Any) -> Received:
    return channel(**more).parse(post(body))


def read(name: str, **more: Any) -> tuple[AnyEvent, ...]:
    return received(body_of(fixture(name)), **more).events


class ContractTests(ChannelContract, SynchronousTestCase):
    secrets = (SECRET, *TOKENS.values())
    base_urls = ("https://slack.test/api", "https://files.slack.com")
    proof_headers = (b"x-slack-request-timestamp", b"x-slack-signature")
    trigger_kinds = tuple(TRIGGERS)

    def make_channel(self) -> SlackInput:
        return channel()

    def make_platform(self) -> Platform:
        clock = Clock()
        return served(SlackStandIn(clock, TOKENS), clock)

    def bodies(self) -> Sequence[bytes]:
        files = sorted(FIXTURES.glob("*.json"), key=lambda file: file.name != "message_direct.json")
        return [body_of(json.loads(file.read_bytes())) for file in files]

    def signed(self, body: bytes) -> WebhookRequest:
        return post(body)

    def refused(self) -> Sequence[WebhookRequest]:
        return [post(self.bodies()[0], "1789999000")]

    def different(self) -> Sequence[bytes]:
        names = (
            "message_direct",
            "message_channel",
            "reaction",
            "deleted",
            "button",
            "command",
            "form",
            "joined",
        )
        return [body_of(fixture(name)) for name in names]


class SignatureTests(SynchronousTestCase):
    BODY = b'{"type":"event_callback"}'

    def accepted(self, request: WebhookRequest, now: float = NOW, **more: Any) -> bool:
        try:
            channel(**more).verify(request, now)
        except VerificationError as error:
            self.assertEqual(error.status, 403)
            self.assertNotIn("\n", str(error))
            return False
        return True

    def test_the_published_vector(self) -> None:
        signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        secret = "8f742231b10e8888abcd99yyyzzz85a5"
        self.assertEqual(slack_signature(PUBLISHED_BODY, "1531420618", Secret(secret)), signature)
        request = post(PUBLISHED_BODY, "1531420618", secret)
        self.assertTrue(self.accepted(request, 1531420618.0, slack_signing_secret=secret))

    def test_only_the_signed_bytes_of_the_signed_moment_are_believed(self) -> None:
        good = post(self.BODY)
        self.assertTrue(self.accepted(good))
        self.assertFalse(self.accepted(msgspec.structs.replace(good, body=self.BODY + b" ")))
        self.assertFalse(self.accepted(post(self.BODY, secret="another")))
        self.assertFalse(self.accepted(post(self.BODY, x_slack_request_timestamp=b"1790000001")))

    def test_five_minutes_either_way_and_no_more(self) -> None:
        for late, good in ((300, True), (-300, True), (300.5, False), (-300.5, False), (1e9, False)):
            self.assertEqual(self.accepted(post(self.BODY), NOW + late), good, late)

    def test_every_secret_counts_while_rotating(self) -> None:
        for secret in (SECRET, OLD_SECRET):
            both = [SECRET, OLD_SECRET]
            self.assertTrue(self.accepted(post(self.BODY, secret=secret), slack_signing_secret=both))
        self.assertFalse(self.accepted(post(self.BODY, secret=OLD_SECRET)))

    def test_doubled_headers_that_differ_are_refused(self) -> None:
        good = post(self.BODY)
        for name, other in ((b"x-slack-signature", b"v0=" + b"0" * 64), (b"x-slack-request-timestamp", b"1")):
            for headers in (((name, other), *good.headers), (*good.headers, (name, other))):
                self.assertFalse(self.accepted(msgspec.structs.replace(good, headers=headers)))
        self.assertTrue(self.accepted(msgspec.structs.replace(good, headers=good.headers * 2)))

    def test_missing_and_malformed_headers_are_refused(self) -> None:
        good = dict(post(self.BODY).headers)
        for name, right in good.items():
            for wrong in (None, b"", b"\xff", right + b"\n", b" " + right, right.upper() + b"x"):
                kept = tuple((key, item) for key, item in {**good, name: wrong}.items() if item is not None)
                request = msgspec.structs.replace(post(self.BODY), headers=kept)
                self.assertFalse(self.accepted(request), (name, wrong))
        for stamp in ("-1", "1e9", "1790000000.0", "٣", "9" * 5000):
            self.assertFalse(self.accepted(post(self.BODY, stamp)), stamp)

    def test_other_methods_are_405(self) -> None:
        for method in ("GET", "PUT", "post"):
            request = msgspec.structs.replace(post(self.BODY), method=method)
            error = self.assertRaises(VerificationError, channel().verify, request, NOW)
            self.assertEqual(error.status, 405)


class FixtureTests(SynchronousTestCase):
    """Every kind of request that Slack sends, one file each."""

    def test_each_fixture_is_read_as_it_expects(self) -> None:
        files = sorted(FIXTURES.glob("*.json"))
        self.assertGreater(len(files), 95)
        for file in files:
            loaded = json.loads(file.read_bytes())
            self.assertTrue(loaded["source"].startswith("Slack, "), file.name)
            events = received(body_of(loaded)).events
            self.assertEqual(len(events), len(loaded["expect"]), file.name)
            for event, expected in zip(events, loaded["expect"], strict=True):
                self.assertEqual(self.shown(event, expected), expected, file.name)

    def shown(self, event: AnyEvent, fields: dict[str, Any]) -> dict[str, Any]:
        special = {"type": event.kind, "address": str(event.address)}
        found = {
            name: special.get(name, msgspec.json.decode(msgspec.json.encode(getattr(event, name, None))))
            for name in fields
        }
        for attachment in found.get("attachments") or ():
            attachment.pop("raw", None)
        return found

    def test_each_event_survives_the_store_and_keeps_its_item_without_the_old_proof(self) -> None:
        for file in FIXTURES.glob("*.json"):
            for event in read(file.stem):
                self.assertEqual(from_json(to_json(event)), event, file.name)
                self.assertTrue(event.id, file.name)
                self.assertNotIn(b"old-proof", to_json(event), file.name)

    def test_neither_our_own_words_nor_those_of_bots_are_turns(self) -> None:
        for name in ("echo_by_app", "echo_by_user", "message_of_other_bot", "message_of_other_app"):
            [event] = read(name)
            self.assertTrue(event.observe_only or event.kind not in TURN_KINDS, name)

    def test_nobody_and_strangers_teams_are_never_answered(self) -> None:
        for file in FIXTURES.glob("*.json"):
            for event in read(file.stem):
                if event.kind in TURN_KINDS and not event.observe_only:
                    self.assertIn(event.address.account, TOKENS, file.name)
                    self.assertTrue(event.address.peer, file.name)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def damaged(value: Any, path: list[int], by: Any) -> Any:
    """`value` with something in it replaced by `by`, chosen by `path`."""
    if not path or not isinstance(value, dict | list) or not value:
        return by
    step, rest = path[0], path[1:]
    if isinstance(value, list):
        step %= len(value)
        return [damaged(item, rest, by) if n == step else item for n, item in enumerate(value)]
    key = sorted(value)[step % len(value)]
    return {name: damaged(item, rest, by) if name == key else item for name, item in value.items()}


class TotalTests(SynchronousTestCase):
    @settings(deadline=None, derandomize=True, max_examples=400)
    @given(
        st.sampled_from(sorted(FIXTURES.glob("*.json"))),
        st.lists(st.integers(0, 20), min_size=1, max_size=5),
        JSON_VALUES,
    )
    def test_no_json_in_any_place_breaks_the_reader(self, file: Path, path: list[int], by: Any) -> None:
        loaded = json.loads(file.read_bytes())
        key = next(key for key in ("body", "payload", "form") if key in loaded)
        loaded[key] = damaged(loaded[key], path, by)
        try:
            events = received(body_of(loaded)).events
        except MalformedWebhook:
            return
        for event in events:
            self.assertEqual(from_json(to_json(event)), event)

    @settings(deadline=None, derandomize=True, max_examples=200)
    @given(st.binary(max_size=80) | st.text(max_size=80).map(lambda text: text.encode("utf-8", "replace")))
    def test_no_bytes_break_the_reader(self, body: bytes) -> None:
        for sent in (body, b"{" + body, b"payload=" + body, b"command=" + body):
            try:
                received(sent)
            except MalformedWebhook as error:
                self.assertNotIn("\n", str(error))

    def test_forms_have_few_fields_and_each_once(self) -> None:
        for body in (b"command=%2Fx" + b"&a=1" * 60, b"command=%2Fx&command=%2Fy", b"", b"[]", b"a=b"):
            self.assertRaises(MalformedWebhook, received, body)


class AnswerTests(SynchronousTestCase):
    def test_the_challenge_is_given_back_as_it_came(self) -> None:
        body = {"token": "x", "challenge": "3eZbrw1a<b>", "type": "url_verification"}
        got = received(json.dumps(body).encode())
        assert got.response is not None
        self.assertEqual((got.events, got.response.body), ((), b"3eZbrw1a<b>"))
        self.assertTrue(got.response.content_type.startswith("text/plain"))
        self.assertIn((b"X-Content-Type-Options", b"nosniff"), got.response.headers)
        self.assertRaises(MalformedWebhook, received, b'{"type":"url_verification","challenge":5}')

    def test_commands_buttons_and_forms_get_an_empty_answer(self) -> None:
        for name in ("command", "button", "form", "shortcut_global", "form_closed"):
            self.assertIsNone(received(body_of(fixture(name))).response, name)

    def test_a_menu_that_asks_for_options_gets_none_as_json(self) -> None:
        response = received(body_of(fixture("options_wanted"))).response
        assert response is not None
        self.assertEqual(json.loads(response.body), {"options": []})
        self.assertTrue(response.content_type.startswith("application/json"))

    def test_the_check_of_the_certificate_is_no_event(self) -> None:
        self.assertEqual(received(b"ssl_check=1&token=x"), Received())


class TwinTests(SynchronousTestCase):
    """The same words come as ``message`` and as ``app_mention``, in any order."""

    def keys(self, names: tuple[str, ...], **more: Any) -> list[tuple[bytes, bool]]:
        events = [read(name, **more)[0] for name in names]
        return [(dedupe_key(event, stable_timestamps=True), event.observe_only) for event in events]

    def test_both_are_one_turn(self) -> None:
        one, other = self.keys(("message_mentions_us", "app_mention"))
        self.assertEqual(one, other)
        self.assertFalse(one[1])

    def test_what_does_not_show_that_it_is_for_us_leaves_the_turn_to_its_twin(self) -> None:
        blind = fixture("message_mentions_us")
        del blind["body"]["authorizations"]
        [event] = received(body_of(blind), mentions_only=True).events
        [(twin, observed)] = self.keys(("app_mention",), mentions_only=True)
        self.assertTrue(event.observe_only)
        self.assertFalse(observed)
        self.assertNotEqual(dedupe_key(event, stable_timestamps=True), twin)

    def test_a_retry_is_known_by_its_id_and_a_late_event_is_not_thrown_away(self) -> None:
        body = body_of(fixture("reaction"))
        first = channel().parse(post(body)).events
        retried = channel().parse(post(body, x_slack_retry_num=b"1", x_slack_retry_reason=b"http_timeout"))
        self.assertEqual(first, retried.events)


class ListeningTests(SynchronousTestCase):
    def answered_(self, name: str, **more: Any) -> bool:
        [event] = read(name, mentions_only=True, **more)
        return not event.observe_only

    def test_with_mentions_only_the_others_talk_among_themselves(self) -> None:
        self.assertFalse(self.answered_("message_channel"))
        self.assertFalse(self.answered_("message_group_direct"))

    def test_mentions_direct_chats_replies_to_us_and_the_one_channel_are_answered(self) -> None:
        for name in ("message_mentions_us", "app_mention", "message_direct", "message_in_thread", "command"):
            self.assertTrue(self.answered_(name), name)
        self.assertTrue(self.answered_("message_channel", slack_channel=CHANNEL))

    def test_use_threads_begins_one_in_channels_only(self) -> None:
        [in_channel], [direct] = (
            read("message_channel", use_threads=True),
            read("message_direct", use_threads=True),
        )
        self.assertEqual((in_channel.address.thread, direct.address.thread), (TS, None))
        [replied] = read("message_in_thread", use_threads=True)
        self.assertEqual(replied.address.thread, THREAD)

    def test_a_press_of_a_button_belongs_to_the_conversation_of_the_message_before(self) -> None:
        shop = channel()
        [said] = read("message_in_thread")
        [pressed] = read("button_in_thread")
        keys = {conversation_key(event, shop.options) for event in (said, pressed)}
        self.assertEqual(len(keys), 1)


class SettingsTests(SynchronousTestCase):
    def made(self, **settings_: Any) -> SlackInput:
        def secret(kind: type, value: Any) -> Any:
            if kind is Secret:
                return Secret(value)
            raise NotImplementedError(kind)

        read_ = msgspec.convert(settings_, SlackSettings, strict=False, dec_hook=secret)
        self.assertNotIn(SECRET, repr(read_))
        return SlackInput.from_settings("shop", read_)

    RASA: ClassVar[dict[str, Any]] = {
        "slack_token": "xoxb-1", "slack_channel": "C1", "slack_signing_secret": SECRET, "proxy": None,
        "slack_retry_reason_header": "x-slack-retry-reason", "slack_retry_number_header": "x-slack-retry-num",
        "errors_ignore_retry": None, "use_threads": "false", "conversation_granularity": "sender",
    }  # fmt: skip

    def test_it_is_found_by_its_name_and_has_its_abilities(self) -> None:
        self.assertIs(find_channel_class("slack"), SlackInput)
        for ability in (Channel, Live, Edits, Streams, KnowsAccounts, Triggers):
            self.assertIsInstance(channel(), ability)

    def test_a_rasa_file_works_as_it_is(self) -> None:
        shop = self.made(**self.RASA)
        [call] = calls(shop)
        self.assertIn(("Authorization", "Bearer xoxb-1"), call.headers)
        shop.verify(post(b"{}"), NOW)

    def test_rasas_granularity_is_what_makes_a_conversation(self) -> None:
        for word, ours in (("sender", "sender"), ("channel", "chat"), ("thread", "thread"), (None, "thread")):
            made = self.made(**{**self.RASA, "conversation_granularity": word})
            self.assertEqual(made.options.conversation, ours)

    def test_a_named_workspace_has_its_own_token_and_the_others_the_general_one(self) -> None:
        shop = channel(slack_token="xoxb-general", teams=TOKENS)
        for team, token in ((TEAM, TOKENS[TEAM]), ("T0OTHER", "xoxb-general")):
            [call] = calls(shop, team=team)
            self.assertIn(("Authorization", f"Bearer {token}"), call.headers)

    def test_each_mistake_is_one_line_that_names_channel_and_key_and_no_secret(self) -> None:
        hidden = "do-not-show-me"
        for key, given_ in (
            ("slack_signing_secret", {"slack_signing_secret": None}),
            ("slack_signing_secret", {"slack_signing_secret": []}),
            ("slack_token", {"slack_token": None}),
            ("slack_token", {"slack_token": f"{hidden}\n"[:-1] + " x"}),
            ("teams", {"teams": {}}),
            ("teams", {"teams": [hidden]}),
            ("teams", {"teams": {"T1": hidden, "T2": hidden}}),
            ("api_url", {"api_url": "slack.com", "teams": TOKENS}),
            ("client_secret", {"client_id": "1.2"}),
            ("client_id", {"client_secret": hidden, "teams": TOKENS}),
        ):
            with self.subTest(given=given_):
                line = str(self.assertRaises(ConfigError, channel, name="shop", **given_))
                self.assertIn(f"channel 'shop': {key}", line)
                self.assertNotIn(hidden, line)

    def test_a_proxy_is_refused_rather_than_passed_by(self) -> None:
        line = str(self.assertRaises(ConfigError, self.made, **{**self.RASA, "proxy": "http://proxy:1"}))
        self.assertIn("channel 'shop': proxy", line)

    def test_repr_shows_teams_and_no_secret(self) -> None:
        shown = repr(channel())
        self.assertIn(TEAM, shown)
        for hidden in (SECRET, *TOKENS.values()):
            self.assertNotIn(hidden, shown)


def outgoing(part: AnyPart = Text(text="hi"), **more: Any) -> Outgoing:  # noqa: B008
    address = Address(
        channel="slack",
        account=more.pop("team", TEAM),
        peer=more.pop("peer", CHANNEL),
        thread=more.pop("thread", None),
    )
    cause = f"{CHANNEL}:{TS}@{PERSON}"
    return Outgoing(**{"id": "inst-7", "address": address, "part": part, "cause": cause, "now": NOW, **more})


SUCCESS = answered(body={"ok": True, "channel": CHANNEL, "ts": "1790000001.000001"})


def calls(slack: SlackInput, part: AnyPart = Text(text="hi"), **more: Any) -> list[Call]:  # noqa: B008
    return play(slack.send(outgoing(part, **more)), SUCCESS)[0]


def asked(part: AnyPart = Text(text="hi"), **more: Any) -> tuple[str, dict[str, Any]]:  # noqa: B008
    [call] = calls(channel(), part, **more)
    return call.url.removeprefix("https://slack.test/api/"), json.loads(call.body)


class CallTests(SynchronousTestCase):
    def test_the_call_goes_to_the_workspace_with_its_token_and_our_id(self) -> None:
        for team, token in TOKENS.items():
            [call] = calls(channel(), team=team)
            self.assertEqual(call.url, "https://slack.test/api/chat.postMessage")
            self.assertIn(("Authorization", f"Bearer {token}"), call.headers)
            self.assertEqual((call.method, call.effect, call.trust), ("POST", True, "configured"))
            body = json.loads(call.body)
            self.assertEqual((body["channel"], body["text"]), (CHANNEL, "hi"))
            self.assertEqual(body["metadata"]["event_payload"], {"id": "inst-7"})
            self.assertNotIn("thread_ts", body)

    def test_the_id_that_a_message_carries_comes_back_in_its_echo(self) -> None:
        _, body = asked()
        echoed = fixture("echo_by_app")
        echoed["body"]["event"]["metadata"] = body["metadata"]
        [event] = received(body_of(echoed)).events
        self.assertEqual(event.metadata, "inst-7")

    def test_a_thread_is_answered_in_and_so_is_a_message(self) -> None:
        self.assertEqual(asked(thread=THREAD)[1]["thread_ts"], THREAD)
        self.assertEqual(asked(reply_to=TS)[1]["thread_ts"], TS)
        self.assertEqual(asked(thread=THREAD, reply_to=TS)[1]["thread_ts"], THREAD)

    def test_a_team_without_token_holds_its_lane_and_names_the_key(self) -> None:
        for steps in (
            channel().send(outgoing(team="T9")),
            channel().edit(outgoing(team="T9"), TS),
            channel().close_stream(outgoing(team="T9"), TS),
        ):
            made, outcome = play(steps)
            assert isinstance(outcome, Refused)
            self.assertEqual((made, outcome.scope), ([], "account"))
            for named in ("'slack'", "'T9'", "teams"):
                self.assertIn(named, outcome.reason)

    def test_ephemeral_messages_are_for_one_person(self) -> None:
        for wish, user in ((PERSON, PERSON), ("U2", "U2"), (True, PERSON)):
            method, body = asked(metadata={"ephemeral": wish})
            self.assertEqual((method, body["user"]), ("chat.postEphemeral", user))
            self.assertNotIn("metadata", body)
        made, outcome = play(channel().send(outgoing(metadata={"ephemeral": True}, cause=None)))
        self.assertEqual((made, type(outcome)), ([], Refused))

    def test_an_ephemeral_message_has_no_name_to_edit_it_by(self) -> None:
        steps = channel().send(outgoing(metadata={"ephemeral": PERSON}))
        _, outcome = play(steps, answered(body={"ok": True, "message_ts": "1790000001.000001"}))
        self.assertEqual(outcome, Sent())

    def test_a_response_url_gets_no_token_and_no_trust(self) -> None:
        url = "https://hooks.slack.com/actions/T/1/x"
        for part, more in (
            (Text(text="hi"), {"metadata": {"response_url": url, "replace_original": True}}),
            (Custom(json={"response_url": url, "text": "hi", "replace_original": True}), {}),
        ):
            steps = channel().send(outgoing(part, **more))
            [call], outcome = play(steps, answered(200, b"ok"))
            self.assertEqual((call.url, call.trust, call.effect), (url, "content", True))
            self.assertNotIn("authorization", {name.lower() for name, _ in call.headers})
            body = json.loads(call.body)
            self.assertEqual((body["text"], body["replace_original"]), ("hi", True))
            self.assertNotIn("response_url", body)
            self.assertEqual(outcome, Sent())

    def test_an_expired_response_url_ends_the_message(self) -> None:
        steps = channel().send(outgoing(metadata={"response_url": "https://hooks.slack.com/x"}))
        _, outcome = play(steps, answered(404, b"expired_url"))
        self.assertIsInstance(outcome, Refused)
        for result, kind in (
            (answered(500, b""), Retry),
            (answered(200, {"ok": False, "error": "used_url"}), Refused),
            (CallResult(outcome="unknown"), UnknownOutcome),
        ):
            steps = channel().send(outgoing(metadata={"response_url": "https://hooks.slack.com/x"}))
            self.assertIsInstance(play(steps, result)[1], kind)

    def test_custom_fields_are_the_body_but_the_chat_stays(self) -> None:
        blocks = [{"type": "divider"}]
        method, body = asked(Custom(json={"blocks": blocks, "channel": "C9", "unfurl_links": False}))
        self.assertEqual(method, "chat.postMessage")
        self.assertEqual((body["blocks"], body["channel"], body["unfurl_links"]), (blocks, CHANNEL, False))
        self.assertEqual(asked(Custom(json=blocks))[1]["blocks"], blocks)
        self.assertIsInstance(play(channel().send(outgoing(Custom(json=5))))[1], Refused)

    def test_a_form_is_opened_and_answers_to_its_conversation(self) -> None:
        view = {"type": "modal", "callback_id": "ticket"}
        method, body = asked(Custom(json={"trigger_id": "1.2.x", "view": view}), thread=THREAD)
        self.assertEqual((method, body["trigger_id"]), ("views.open", "1.2.x"))
        answered_form = fixture("form")
        answered_form["payload"]["view"]["private_metadata"] = body["view"]["private_metadata"]
        [event] = received(body_of(answered_form)).events
        self.assertEqual(event.address, outgoing(thread=THREAD).address)
        self.assertEqual(asked(Custom(json={"view_id": "V1", "view": view}))[0], "views.update")
        self.assertEqual(asked(Custom(json={"user_id": "U1", "view": view}))[0], "views.publish")

    def test_markup_that_shows_nothing_is_shown_as_it_was_written(self) -> None:
        button = Button(title="Go")
        for words in ("[]()", "\x1b"):
            self.assertEqual(asked(Text(text=words, format="markdown"))[1]["text"], words)
            _, body = asked(Buttons(text=words, buttons=(button,), format="markdown"))
            self.assertEqual(body["blocks"][0]["text"]["text"], words)

    def test_a_reaction_goes_on_the_message_that_is_answered(self) -> None:
        method, body = asked(Custom(json={"reaction": "eyes"}))
        self.assertEqual(
            (method, body), ("reactions.add", {"channel": CHANNEL, "timestamp": TS, "name": "eyes"})
        )
        method, body = asked(Custom(json={"reaction": "eyes", "timestamp": THREAD, "remove": True}))
        self.assertEqual((method, body["timestamp"]), ("reactions.remove", THREAD))

    def test_words_to_a_person_can_be_edited_in_the_chat_that_was_opened(self) -> None:
        shop = channel()
        _, outcome = play(
            shop.send(outgoing(peer=PERSON)), answered(body={"ok": True, "channel": DIRECT, "ts": TS})
        )
        assert isinstance(outcome, Sent)
        [call], _ = play(shop.edit(outgoing(peer=PERSON), outcome.mids[0]), SUCCESS)
        body = json.loads(call.body)
        self.assertEqual((body["channel"], body["ts"]), (DIRECT, TS))


class OutcomeTests(SynchronousTestCase):
    def outcome(self, result: CallResult) -> Outcome:
        return play(channel().send(outgoing()), result)[1]

    def test_ok_false_is_no_success_whatever_the_status(self) -> None:
        for status in (200, 400):
            outcome = self.outcome(answered(status, {"ok": False, "error": "channel_not_found", "ts": TS}))
            self.assertEqual(outcome, Refused(reason="refused (channel_not_found)"))

    def test_each_error_has_its_reach(self) -> None:
        for error, kind, scope in (
            ("token_revoked", Refused, "account"),
            ("invalid_auth", Refused, "account"),
            ("account_inactive", Refused, "account"),
            ("missing_scope", Refused, "account"),
            ("not_in_channel", Refused, "message"),
            ("is_archived", Refused, "message"),
            ("msg_too_long", Refused, "message"),
            ("message_not_in_streaming_state", Refused, "message"),
            ("never_heard_of", Refused, "message"),
            ("request_timeout", Retry, "message"),
            ("service_unavailable", Retry, "message"),
            ("ratelimited", Retry, "account"),
            ("team_added_to_org", Retry, "account"),
        ):
            outcome = self.outcome(answered(body={"ok": False, "error": error}))
            assert isinstance(outcome, Refused | Retry)
            self.assertEqual((type(outcome), outcome.scope), (kind, scope), error)
            self.assertIn(error, outcome.reason)

    def test_a_throttled_account_rests_as_long_as_slack_says(self) -> None:
        outcome = self.outcome(answered(429, b"", Retry_After="17"))
        assert isinstance(outcome, Retry)
        self.assertEqual((outcome.at, outcome.scope), (NOW + 17, "account"))
        for strange in ("", "soon", "-1", "٣", "9" * 5000):
            outcome = self.outcome(answered(429, b"", Retry_After=strange))
            assert isinstance(outcome, Retry)
            assert outcome.at is not None
            self.assertTrue(NOW < outcome.at <= NOW + 86_400, strange)

    def test_what_is_not_known_is_not_called_sent(self) -> None:
        for result, kind in (
            (answered(200, b"<html>"), UnknownOutcome),
            (answered(200, {"ts": TS}), UnknownOutcome),
            (answered(200, [1]), UnknownOutcome),
            (answered(200, {"ok": False, "error": "fatal_error"}), UnknownOutcome),
            (answered(500, {"ok": False, "error": "internal_error"}), UnknownOutcome),
            (answered(503, b"busy"), Retry),
            (CallResult(outcome="unknown", error="lost"), UnknownOutcome),
            (CallResult(outcome="not_sent", error="refused"), Retry),
        ):
            self.assertIsInstance(self.outcome(result), kind)

    def test_what_is_so_already_is_done(self) -> None:
        self.assertEqual(self.outcome(answered(body={"ok": False, "error": "already_reacted"})), Sent())

    def test_what_is_missing_is_told_on_one_line(self) -> None:
        more = {"needed": "chat:write", "response_metadata": {"messages": ["[ERROR] a\nb"]}}
        outcome = self.outcome(answered(body={"ok": False, "error": "missing_scope", **more}))
        assert isinstance(outcome, Refused)
        self.assertEqual(outcome.reason, "permission missing (missing_scope: chat:write: [ERROR] a b)")


NASTY = st.lists(
    st.sampled_from([*"<>&|@!#^ \n*_~`:/.a", "channel", "here", "everyone", "U0PERSON01", "subteam",
                     "<!channel>", "https://x.example", "&lt;", "&amp;", "mailto:", "👍🏽"]),
    max_size=20,
).map("".join)  # fmt: skip
_LINKED = re.compile(r"<(?:https?://|mailto:|tel:)[^<>|\s]*(?:\|[^<>|]*)?>")


def marked_up(value: Any, key: str = "") -> list[str]:
    """All texts of a body that Slack reads as markup."""
    if isinstance(value, dict):
        if value.get("type") == "plain_text":
            return []
        return [text for name, item in value.items() for text in marked_up(item, name)]
    if isinstance(value, list):
        return [text for item in value for text in marked_up(item)]
    return [value] if key == "text" and isinstance(value, str) else []


class InjectionTests(SynchronousTestCase):
    """Whatever an agent or a person says, nobody is called by it."""

    @settings(deadline=None, derandomize=True, max_examples=150)
    @given(NASTY, NASTY, st.sampled_from(["plain", "markdown"]))
    def test_no_text_becomes_a_mention_or_a_disguised_link(self, text: str, other: str, format: Any) -> None:
        button = Button(title=other, payload=other or "x")
        for part in (
            Text(text=text, format=format),
            Buttons(text=text, buttons=(button,), format=format),
            QuickReplies(text=text, replies=(QuickReply(title=other),), format=format),
            Carousel(cards=(Card(title=text, subtitle=other, url=other, buttons=(button,)),)),
            Image(url=other, alt=text),
            Image(url="https://x.example/a.png", alt=text),
            File(url=other, name=text),
            File(url="https://x.example/" + other, name=text),
            Audio(url=text),
            Video(url=text),
            Location(latitude=1.0, longitude=2.0, title=text),
        ):
            made, _ = play_all(channel().send(outgoing(part)))
            made += play_all(channel().edit(outgoing(part), TS))[0]
            for call in made:
                body = json.loads(call.body)
                self.assertFalse(body["link_names"])
                for shown in marked_up(body):
                    rest = _LINKED.sub("", shown)
                    self.assertNotIn("<", rest, (part, shown))

    @settings(deadline=None, derandomize=True, max_examples=150)
    @given(st.lists(NASTY, max_size=4))
    def test_no_pieces_of_a_stream_make_one_either(self, pieces: list[str]) -> None:
        shown = "".join(map(streamable, pieces))
        self.assertIsNone(re.search("<[@!#]", shown))
        self.assertEqual(shown.replace("\u200b", ""), "".join(pieces))

    def test_no_cut_through_a_mention_lets_it_through(self) -> None:
        for whole in ("<!channel>", "<@U0PERSON01>", "<#C1>", "<<!here>"):
            for cut in range(len(whole) + 1):
                shown = streamable(whole[:cut]) + streamable(whole[cut:])
                self.assertIsNone(re.search("<[@!#]", shown), whole[:cut])

    def test_an_edit_is_not_read_as_if_a_person_had_typed_it(self) -> None:
        [call], _ = play(channel().edit(outgoing(Text(text="@channel")), TS), SUCCESS)
        self.assertEqual(json.loads(call.body)["parse"], "none")

    def test_plain_words_in_blocks_stay_plain_words(self) -> None:
        _, body = asked(
            Buttons(text="@here, see https://x.example/a?b=1&c=2.", buttons=(Button(title="Go"),))
        )
        [section, _] = body["blocks"]
        self.assertTrue(section["text"]["verbatim"])
        self.assertEqual(section["text"]["text"], "@here, see <https://x.example/a?b=1&amp;c=2>.")

    @settings(deadline=None, derandomize=True, max_examples=150)
    @given(NASTY)
    def test_what_we_write_reads_as_what_was_said(self, text: str) -> None:
        _, body = asked(Text(text=text or "x"))
        self.assertEqual(read_words(body["text"]), text or "x")


def play_all(steps: Any) -> tuple[list[Call], Any]:
    """Drive steps with success for as long as they ask; a part that cannot be shown makes no call."""
    made: list[Call] = []
    try:
        call = next(steps)
        while True:
            made.append(call)
            call = steps.send(SUCCESS)
    except StopIteration as end:
        return made, end.value


class BlockTests(SynchronousTestCase):
    def test_buttons_are_rows_of_elements_with_names_of_their_own(self) -> None:
        buttons = (
            Button(title="Yes", payload="/affirm"),
            Button(title="Page", url="https://x.example"),
            Button(title="Call", phone="+15551234"),
        )
        _, body = asked(Buttons(text="Sure?", buttons=buttons))
        [section, actions] = body["blocks"]
        self.assertEqual(section["text"]["text"], "Sure?")
        yes, page, call = actions["elements"]
        self.assertEqual((yes["value"], yes["text"]["text"]), ("/affirm", "Yes"))
        self.assertEqual((page["url"], call["url"]), ("https://x.example", "tel:+15551234"))
        self.assertEqual(body["text"], "Sure?")

    def test_a_press_brings_back_what_the_button_stands_for_and_a_link_is_no_turn(self) -> None:
        buttons = (Button(title="Yes", payload="/affirm"), Button(title="Page", url="https://x.example"))
        _, body = asked(Buttons(text="Sure?", buttons=buttons))
        pressed = fixture("button")
        pressed["payload"]["actions"] = body["blocks"][1]["elements"]
        one, other = received(body_of(pressed)).events
        self.assertEqual((one.kind, one.payload), ("postback", "/affirm"))
        self.assertTrue(other.observe_only)

    def test_cards_are_sections_with_pictures_and_buttons(self) -> None:
        card = Card(
            title="Tea & more",
            subtitle="Hot",
            image_url="https://x.example/tea.png",
            url="https://x.example/tea",
            buttons=(Button(title="Buy", payload="buy"),),
        )
        _, body = asked(Carousel(cards=(card, Card(title="Plain"))))
        kinds = [block["type"] for block in body["blocks"]]
        self.assertEqual(kinds, ["section", "actions", "divider", "section"])
        section = body["blocks"][0]
        self.assertEqual(section["text"]["text"], "*<https://x.example/tea|Tea &amp; more>*\nHot")
        self.assertEqual(section["accessory"]["image_url"], "https://x.example/tea.png")

    def test_pictures_are_blocks_and_files_are_links(self) -> None:
        [block] = asked(Image(url="https://x.example/a.png", alt="A"))[1]["blocks"]
        self.assertEqual((block["type"], block["alt_text"]), ("image", "A"))
        _, body = asked(File(url="https://x.example/a b|c.pdf", name="Re<port>"))
        self.assertEqual(body["text"], "<https://x.example/a%20b%7Cc.pdf|Re&lt;port&gt;>")

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(st.sampled_from("&a<👍"), st.integers(1, 9000), st.integers(1, 30), st.integers(1, 300))
    def test_whatever_fits_is_within_slacks_limits(
        self, letter: str, long: int, many: int, title: int
    ) -> None:
        buttons = tuple(Button(title=letter * title, payload=letter * 1900) for _ in range(many))
        card = Card(
            title=letter * title,
            subtitle=letter * title,
            url="https://x.example/" + "&" * long,
            image_url="https://x.example/a.png",
            buttons=buttons[:5],
        )
        message = Message(
            parts=(
                Text(text=letter * long),
                Buttons(text=letter * long, buttons=buttons),
                QuickReplies(text="q", replies=tuple(QuickReply(title=b.title) for b in buttons)),
                Carousel(cards=(card,) * min(many, 12)),
            )
        )
        for part in fit(message, CAPABILITIES):
            made, outcome = play_all(channel().send(outgoing(part)))
            self.assertEqual(len(made), 1, outcome)
            body = json.loads(made[0].body)
            self.assertTrue(blocks_hold(body.get("blocks", [])))
            self.assertLessEqual(len(body["text"]), 40_000)

    def test_what_no_fit_has_seen_is_refused_rather_than_cut(self) -> None:
        for part in (
            Buttons(text="x", buttons=(Button(title="x", payload="x" * 2001),)),
            Buttons(text="x", buttons=(Button(title="x", url="javascript:alert(1)"),)),
            Carousel(cards=(Card(title="x"),) * 40),
        ):
            made, outcome = play_all(channel().send(outgoing(part)))
            self.assertEqual((made, type(outcome)), ([], Refused))


class LifeSignTests(SynchronousTestCase):
    def test_typing_is_a_status_of_a_thread_and_nothing_elsewhere(self) -> None:
        shop = channel()
        for on, status in ((True, "is typing…"), (False, "")):
            steps = shop.show_typing(outgoing(thread=THREAD).address, on, Context())
            [call], _ = play(steps, answered(body={"ok": False, "error": "x"}))
            self.assertEqual(call.url, "https://slack.test/api/assistant.threads.setStatus")
            wanted = {"channel_id": CHANNEL, "thread_ts": THREAD, "status": status}
            self.assertEqual((json.loads(call.body), call.effect), (wanted, False))
        self.assertEqual(play(shop.show_typing(outgoing().address, True, Context())), ([], None))
        self.assertEqual(
            play(shop.show_typing(outgoing(team="T9", thread=THREAD).address, True, Context())), ([], None)
        )
        self.assertEqual(play(shop.show_seen(outgoing().address, Context())), ([], None))


class StandInTests(SynchronousTestCase):
    """The channel against something that judges calls as Slack does."""

    def setUp(self) -> None:
        self.slack = SlackStandIn(
            Clock(), TOKENS, client=("1.2", "client-secret"), codes={"code": ("T0NEW", "xoxb-new")}
        )
        self.client = StubTreq(self.slack)
        self.shop = channel(client_id="1.2", client_secret="client-secret", teams=TOKENS)

    def run_(self, steps: Any) -> Any:
        try:
            call = next(steps)
            while True:
                call = steps.send(self.made(call))
        except StopIteration as end:
            return end.value

    def made(self, call: Call) -> CallResult:
        asked_ = self.client.request(call.method, call.url, headers=dict(call.headers), data=call.body)
        response = self.successResultOf(asked_)
        body = self.successResultOf(self.client.content(response))
        retry = response.headers.getRawHeaders("retry-after", [])
        headers = tuple(("Retry-After", value) for value in retry)
        return CallResult(outcome="answered", status=response.code, body=body, headers=headers)

    def test_messages_are_shown_and_edited(self) -> None:
        sent = self.run_(self.shop.send(outgoing(Buttons(text="a & b", buttons=(Button(title="x"),)))))
        self.assertIsInstance(sent, Sent)
        self.assertIsInstance(self.run_(self.shop.edit(outgoing(Text(text="new")), sent.mids[0])), Sent)
        self.assertEqual((self.slack.sent[0].team, self.slack.texts[sent.mids[0]]), (TEAM, "new"))
        self.assertEqual(self.slack.done[-1].body["blocks"], [])

    def test_refusals_and_throttling_come_through(self) -> None:
        self.slack.answers(no("channel_not_found"), too_many(9))
        self.assertIsInstance(self.run_(self.shop.send(outgoing())), Refused)
        self.assertEqual(self.run_(self.shop.send(outgoing())).at, NOW + 9)
        self.assertEqual(self.slack.sent, [])
        self.assertEqual(self.run_(channel(teams={TEAM: "xoxb-wrong"}).send(outgoing())).scope, "account")

    def opened(self) -> str:
        opened = self.run_(self.shop.open_stream(outgoing(Text(text="One "), thread=THREAD)))
        self.assertIsInstance(opened, Sent)
        return str(opened.mids[0])

    def test_a_text_is_seen_while_it_grows(self) -> None:
        stream = self.opened()
        began = self.slack.sent[0].body
        self.assertEqual((began["recipient_user_id"], began["recipient_team_id"]), (PERSON, TEAM))
        whole = outgoing(Text(text="One two three."), thread=THREAD)
        for piece in ("two ", "three."):
            self.assertIsInstance(self.run_(self.shop.append(whole, stream, piece)), Sent)
        self.assertIsInstance(self.run_(self.shop.close_stream(whole, stream)), Sent)
        self.assertEqual(self.slack.texts[stream], "One two three.")
        self.assertEqual(self.slack.done[-1].method, "chat.stopStream")

    def test_what_was_not_shown_when_a_stream_ends_is_shown_by_an_edit(self) -> None:
        stream = self.opened()
        whole = outgoing(Text(text="One two three."), thread=THREAD)
        self.assertIsInstance(self.run_(self.shop.close_stream(whole, stream)), Sent)
        self.assertEqual(self.slack.texts[stream], "One two three.")

    def test_a_stream_that_slack_ended_is_refused_and_its_message_can_be_edited(self) -> None:
        stream = self.opened()
        whole = outgoing(Text(text="One two"), thread=THREAD)
        self.assertIsInstance(self.run_(self.shop.edit(whole, stream)), Refused)
        self.slack.streaming.clear()
        for steps in (self.shop.append(whole, stream, "two"), self.shop.close_stream(whole, stream)):
            refused = self.run_(steps)
            self.assertEqual((type(refused), refused.scope), (Refused, "message"))
            self.assertIn("message_not_in_streaming_state", refused.reason)
        self.assertIsInstance(self.run_(self.shop.edit(whole, stream)), Sent)

    def test_where_there_is_nothing_to_stream_to_nothing_is_called(self) -> None:
        for without in (
            outgoing(),
            outgoing(thread=THREAD, cause=None),
            outgoing(Image(url="https://x.example/a.png"), thread=THREAD),
            outgoing(Text(text="x" * 13_000), thread=THREAD),
        ):
            made, outcome = play(self.shop.open_stream(without))
            self.assertEqual((made, type(outcome)), ([], Refused))
        made, outcome = play(self.shop.append(outgoing(), TS, "x" * 13_000))
        self.assertEqual((made, type(outcome)), ([], Refused))
        self.assertIsInstance(self.run_(self.shop.open_stream(outgoing(peer=DIRECT, thread=THREAD))), Sent)

    def test_a_workspace_is_joined_by_a_code_that_is_good_once(self) -> None:
        joining = self.shop.installation
        assert joining is not None
        url = joining.authorize_url("st&te", "https://us.example/oauth")
        self.assertTrue(
            url.startswith("https://slack.com/oauth/v2/authorize?client_id=1.2&scope=app_mentions")
        )
        self.assertIn("state=st%26te", url)
        self.assertNotIn("client-secret", url)
        grant = self.run_(joining.exchange("code", "https://us.example/oauth", NOW))
        self.assertEqual((grant.account, grant.token.reveal()), ("T0NEW", "xoxb-new"))
        self.assertEqual((grant.renewal, grant.expires_at), (None, None))
        steps = joining.exchange("code", "https://us.example/oauth", NOW)
        error = self.assertRaises(PlatformError, self.run_, steps)
        self.assertIn("channel 'slack': Slack gives no token for the code: invalid_code", str(error))

    def test_tokens_may_come_from_elsewhere(self) -> None:
        class Kept:
            teams = ("T0NEW",)

            def covers(self, team: str) -> bool:
                return team in self.teams

            def token_for(self, team: str) -> Secret | None:
                return Secret("xoxb-new") if self.covers(team) else None

        shop = channel(tokens=Kept())
        self.assertEqual((shop.knows_account("T0NEW"), shop.knows_account(TEAM)), (True, False))
        [call] = calls(shop, team="T0NEW")
        self.assertIn(("Authorization", "Bearer xoxb-new"), call.headers)


class FileTests(SynchronousTestCase):
    PICTURE = "https://files.slack.com/files-pri/T-F/a.png"

    def fetch(self, url: str, kind: str = "image/png", *results: CallResult) -> tuple[Sequence[Call], Any]:
        file = Attachment(kind="file", url=url, raw={"mimetype": kind})
        return play(channel().fetch(file, outgoing().address), *results)

    def test_a_file_is_fetched_with_the_token_of_its_workspace_and_saved(self) -> None:
        [call], fetched = self.fetch(self.PICTURE, "image/png", answered(body=b"png"))
        self.assertEqual((call.url, call.save, call.effect), (self.PICTURE, True, False))
        self.assertIn(("Authorization", f"Bearer {TOKENS[TEAM]}"), call.headers)
        self.assertEqual(fetched.result.status, 200)

    def test_no_other_place_is_shown_a_token(self) -> None:
        for url in (
            "https://drive.example/a.png",
            "http://files.slack.com/a.png",
            "https://files.slack.com.evil.example/a.png",
            "https://files.slack.com@evil.example/a.png",
            "https://evil.example/https://files.slack.com/",
        ):
            self.assertEqual(self.fetch(url), ([], None), url)
        stranger = Address(channel="slack", account="T0NOBODY", peer=CHANNEL)
        file = Attachment(kind="file", url=self.PICTURE)
        self.assertEqual(play(channel().fetch(file, stranger)), ([], None))

    def test_a_page_to_sign_in_at_is_no_file_unless_the_file_is_one(self) -> None:
        page = answered(200, b"<html>", Content_Type="text/html; charset=utf-8")
        self.assertRaises(PlatformError, self.fetch, self.PICTURE, "image/png", page)
        self.assertIsNotNone(self.fetch(self.PICTURE, "text/html", page)[1])


class InstallationTests(SynchronousTestCase):
    def exchange(self, answer: CallResult) -> Grant:
        shop = channel(client_id="1.2", client_secret="client-secret")
        result: Grant = play(shop.join("code", "https://us.example/oauth", NOW), answer)[1]
        return result

    def test_an_organisation_is_joined_as_one(self) -> None:
        answer = {"ok": True, "access_token": "xoxb-1", "team": None, "is_enterprise_install": True}
        grant = self.exchange(answered(body={**answer, "enterprise": {"id": ORGANISATION}}))
        self.assertEqual(grant.account, ORGANISATION)

    def test_a_token_that_expires_comes_with_what_renews_it(self) -> None:
        answer = {"ok": True, "access_token": "xoxe.xoxb-1", "team": {"id": TEAM}}
        answer |= {"refresh_token": "xoxe-1", "expires_in": 43200}
        grant = self.exchange(answered(body=answer))
        assert grant.renewal is not None
        self.assertEqual((grant.renewal.reveal(), grant.expires_at), ("xoxe-1", NOW + 43200))
        shop = channel(client_id="1.2", client_secret="client-secret")
        [call], renewed = play(shop.renew(grant, NOW), answered(body={**answer, "access_token": "xoxe.2"}))
        self.assertEqual((renewed.account, renewed.token.reveal()), (TEAM, "xoxe.2"))
        self.assertEqual(parse_qs(call.body.decode())["grant_type"], ["refresh_token"])
        self.assertRaises(PlatformError, play, shop.renew(Grant(account=TEAM, token=Secret("x")), NOW))

    def test_what_brings_no_usable_token_is_an_error_on_one_line(self) -> None:
        good = {"ok": True, "access_token": "xoxb-1", "team": {"id": TEAM}}
        for answer in (
            answered(body={"ok": False, "error": "invalid_code"}),
            answered(500, b"<html>"),
            answered(body={**good, "access_token": None}),
            answered(body={**good, "team": None}),
            CallResult(outcome="unknown", error="lost"),
        ):
            line = str(self.assertRaises(PlatformError, self.exchange, answer))
            self.assertNotIn("xox", line)
            self.assertNotIn("client-secret", line)

    def test_without_credentials_of_the_app_nobody_joins(self) -> None:
        self.assertIsNone(channel().grants_key)
        self.assertRaises(ConfigError, channel().authorize_url, "state", "https://us.example/oauth")


class TriggerTests(SynchronousTestCase):
    def test_every_kind_is_a_verified_request_of_the_first_team(self) -> None:
        shop = channel()
        kinds = ("text", "channel", "mention", "button", "select", "slash", "shortcut", "form", "reaction")
        for kind in kinds:
            request = shop.trigger(kind, "hello <!here> & co", NOW)
            shop.verify(request, NOW)
            [event] = shop.parse(request).events
            self.assertEqual(event.address.account, TEAM)
            self.assertFalse(event.observe_only, kind)

    def test_two_texts_are_two_messages_and_one_is_the_same_again(self) -> None:
        shop = channel()
        ids = [
            shop.parse(shop.trigger("text", text, NOW + late)).events[0].id
            for text in ("a", "b")
            for late in (0, 0.001)
        ]
        self.assertEqual(len(set(ids)), 4)
        self.assertEqual(shop.trigger("text", "a", NOW), shop.trigger("text", "a", NOW))

    def test_what_is_said_arrives_as_it_was_said(self) -> None:
        shop = channel()
        for kind in ("text", "mention"):
            [event] = shop.parse(shop.trigger(kind, "1 < 2 & <!here>", NOW)).events
            assert isinstance(event, MessageReceived)
            self.assertEqual(event.text, "1 < 2 & <!here>")

    def test_an_unknown_kind_names_the_known_ones(self) -> None:
        self.assertIn("slash", str(self.assertRaises(ValueError, channel().trigger, "smell", "x", NOW)))
