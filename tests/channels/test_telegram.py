"""Telegram: who is believed, what is read out of an update, how the Bot API is called."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import (
    Channel,
    Edits,
    Live,
    Polls,
    Provisions,
    Streams,
    Triggers,
    find_channel_class,
)
from klein_channels.channels.telegram import GROUP_PACE, PRIVATE_PACE, TelegramInput, TelegramSettings
from klein_channels.errors import ConfigError, MalformedWebhook, PlatformError, VerificationError
from klein_channels.fit import fit
from klein_channels.model import (
    TURN_KINDS,
    Address,
    AnyEvent,
    AnyPart,
    Audio,
    Button,
    Buttons,
    Call,
    CallResult,
    Card,
    Carousel,
    Context,
    Custom,
    Delta,
    File,
    Image,
    Location,
    Message,
    Outcome,
    Outgoing,
    QuickReplies,
    QuickReply,
    Refused,
    Retry,
    Sent,
    Text,
    UnknownOutcome,
    Video,
    WebhookRequest,
    from_json,
    read_json,
    to_json,
)
from klein_channels.secret import Secret
from klein_channels.telegram.kinds import UPDATE_KINDS
from klein_channels.testing.contract import ChannelContract
from klein_channels.testing.harness import ChannelInMemory, clock_of_tests
from klein_channels.testing.platforms import Platform, served
from klein_channels.testing.steps import answered, play
from klein_channels.testing.telegram import BotApiStandIn
from klein_channels.text import measure

TOKEN, SECRET = "123456:AAE-token-of-tests", "secret-token-of-tests"
FIXTURES = Path(__file__).parent.parent / "fixtures" / "telegram"
HEADER = b"x-telegram-bot-api-secret-token"
PERSON, GROUP = "1000000001", "-1001234567890"
NOW = 1_790_000_000.0


def channel(**more: Any) -> TelegramInput:
    given_ = {"access_token": TOKEN, "secret_token": SECRET, "verify": "shop_bot"}
    return TelegramInput(**{**given_, "api_url": "https://bots.test", **more})


def post(body: bytes, *secrets: bytes) -> WebhookRequest:
    return WebhookRequest(method="POST", path="/", headers=tuple((HEADER, s) for s in secrets), body=body)


def read(update: Any, **more: Any) -> tuple[AnyEvent, ...]:
    return channel(**more).parse(post(json.dumps(update).encode())).events


class ContractTests(ChannelContract, SynchronousTestCase):
    secrets = (TOKEN, SECRET)
    base_urls = ("https://bots.test",)
    proof_headers = (HEADER,)
    signs_body = False
    secrets_in_urls = (TOKEN,)
    trigger_kinds = ("text", "postback")

    def make_channel(self) -> TelegramInput:
        return channel(polling=True)

    def make_platform(self) -> Platform:
        clock = Clock()
        return served(BotApiStandIn(clock, TOKEN, username="shop_bot"), clock)

    def bodies(self) -> Sequence[bytes]:
        files = sorted(FIXTURES.glob("*.json"), key=lambda file: file.name != "message_text.json")
        return [json.dumps(json.loads(file.read_bytes())["body"]).encode() for file in files]

    def signed(self, body: bytes) -> WebhookRequest:
        return post(body, SECRET.encode())

    def different(self) -> Sequence[bytes]:
        bodies = [json.loads(body) for body in self.bodies()]
        kinds = {next(iter(body.keys() - {"update_id"}), ""): body for body in bodies if "update_id" in body}
        told = [*kinds.values(), *kinds.values()]
        return [json.dumps({**body, "update_id": n}).encode() for n, body in enumerate(told, 1)]


class SecretTests(SynchronousTestCase):
    def accepted(self, *secrets: bytes, **more: Any) -> bool:
        try:
            channel(**more).verify(post(b"{}", *secrets), NOW)
        except VerificationError as error:
            self.assertEqual(error.status, 403)
            self.assertNotIn(SECRET, str(error))
            return False
        return True

    def test_only_the_configured_secret_is_believed(self) -> None:
        good = SECRET.encode()
        self.assertTrue(self.accepted(good))
        for bad in (b"", good[:-1], good + b" ", good.upper(), b"\xff\x00", "é".encode(), b"x" * 100_000):
            self.assertFalse(self.accepted(bad), bad[:50])
        self.assertFalse(self.accepted())

    def test_doubles_count_only_if_they_agree(self) -> None:
        self.assertTrue(self.accepted(SECRET.encode(), SECRET.encode()))
        self.assertFalse(self.accepted(SECRET.encode(), b"another"))
        self.assertFalse(self.accepted(b"another", SECRET.encode()))

    def test_debug_mode_checks_no_less(self) -> None:
        self.assertFalse(self.accepted(b"another", debug_mode=True))

    def test_a_bot_that_polls_without_a_secret_takes_no_webhook(self) -> None:
        for given_ in ((), (b"",), (b"None",)):
            self.assertFalse(self.accepted(*given_, secret_token=None, polling=True))

    def test_other_methods_are_405(self) -> None:
        for method in ("GET", "PUT", "HEAD", "post", ""):
            request = msgspec.structs.replace(post(b"{}", SECRET.encode()), method=method)
            error = self.assertRaises(VerificationError, channel().verify, request, NOW)
            self.assertEqual(error.status, 405)

    @settings(deadline=None, derandomize=True)
    @given(st.lists(st.binary(max_size=70), max_size=3))
    def test_no_header_is_an_accident(self, values: list[bytes]) -> None:
        self.assertFalse(self.accepted(*values))


class FixtureTests(SynchronousTestCase):
    """Every kind of update that Telegram sends, one file each or more."""

    def test_each_fixture_is_read_as_it_expects(self) -> None:
        files = sorted(FIXTURES.glob("*.json"))
        self.assertGreater(len(files), 95)
        for file in files:
            fixture = json.loads(file.read_bytes())
            events = read(fixture["body"])
            self.assertEqual(len(events), len(fixture["expect"]), file.name)
            for event, expected in zip(events, fixture["expect"], strict=True):
                self.assertEqual(self.shown(event, expected), expected, file.name)
                self.assertEqual(event.raw, fixture["body"], file.name)
                self.assertEqual(from_json(to_json(event)), event, file.name)

    def shown(self, event: AnyEvent, fields: dict[str, Any]) -> dict[str, Any]:
        special = {"type": event.kind, "address": str(event.address)}
        return {
            name: special.get(name, msgspec.json.decode(msgspec.json.encode(getattr(event, name, None))))
            for name in fields
        }

    def test_there_is_one_for_every_kind(self) -> None:
        bodies = [json.loads(file.read_bytes())["body"] for file in FIXTURES.glob("*.json")]
        self.assertEqual(set(UPDATE_KINDS) - {kind for body in bodies for kind in body}, set())

    def test_nobody_and_no_machine_is_ever_answered(self) -> None:
        for file in FIXTURES.glob("*.json"):
            for event in read(json.loads(file.read_bytes())["body"]):
                if event.kind in TURN_KINDS and not event.observe_only:
                    self.assertTrue(event.address.peer, file.name)
                    self.assertFalse(event.sender.is_bot, file.name)  # type: ignore[union-attr]

    def test_channel_posts_are_turns_only_where_asked_for(self) -> None:
        body = json.loads((FIXTURES / "channel_post.json").read_bytes())["body"]
        [kept], [answered_] = read(body), read(body, answer_channel_posts=True)
        self.assertEqual((kept.observe_only, answered_.observe_only), (True, False))

    def test_a_polled_update_is_the_same_event_as_a_delivered_one(self) -> None:
        bodies = [json.loads(file.read_bytes())["body"] for file in sorted(FIXTURES.glob("*.json"))]
        _, polled = play(channel().poll(None), answered(body={"ok": True, "result": bodies}))
        self.assertEqual(polled.events, tuple(event for body in bodies for event in read(body)))


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


WORDS = st.sampled_from(
    sorted(set().union(*(keys_of(json.loads(f.read_bytes())["body"]) for f in FIXTURES.glob("*.json"))))
)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["restricted", "emoji", "/a@b", "/start x", 5, 0]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
LIKELY = st.dictionaries(WORDS, JSON_VALUES, max_size=6).map(
    lambda item: {"chat": {"id": 5}, "from": {"id": 5}, "message_id": 1, **item}
)


class TotalityTests(SynchronousTestCase):
    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(
        st.sampled_from(UPDATE_KINDS),
        LIKELY | st.dictionaries(WORDS, JSON_VALUES, max_size=6),
        JSON_VALUES,
    )
    def test_any_update_becomes_events_that_can_be_stored(self, kind: str, item: Any, number: Any) -> None:
        for body in ({"update_id": number, kind: item}, {"update_id": 7, kind: item}, {kind: number}):
            try:
                update = read_json(json.dumps(body).encode())
            except MalformedWebhook:
                continue
            events = channel().parse(post(json.dumps(update).encode())).events
            self.assertTrue(events)
            self.assertEqual(len({(e.kind, e.id) for e in events}), len(events))
            for event in events:
                self.assertTrue(event.id)
                self.assertEqual(from_json(to_json(event)), event)

    @settings(deadline=None, derandomize=True)
    @given(st.binary(max_size=60) | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
    def test_bytes_are_events_or_malformed(self, body: bytes) -> None:
        with contextlib.suppress(MalformedWebhook):
            self.assertTrue(channel().parse(post(body)).events)

    @settings(deadline=None, derandomize=True)
    @given(st.lists(JSON_VALUES, max_size=4) | JSON_VALUES, JSON_VALUES)
    def test_a_poll_bears_any_result_and_any_cursor(self, result: Any, cursor: Any) -> None:
        steps = channel().poll(cursor)
        answer = answered(body={"ok": True, "result": result})
        try:
            call = next(steps)
            while True:
                call = steps.send(answer)
        except StopIteration as end:
            self.assertIsNotNone(end.value)
        except PlatformError:
            self.assertIn("getUpdates", call.url)


class ButtonAnswerTests(SynchronousTestCase):
    BODY = json.loads((FIXTURES / "callback_query.json").read_bytes())["body"]

    def test_a_webhook_is_answered_with_the_answer_to_the_button(self) -> None:
        response = channel().parse(post(json.dumps(self.BODY).encode())).response
        assert response is not None
        self.assertEqual((response.status, response.content_type), (200, "application/json"))
        self.assertEqual(
            json.loads(response.body), {"method": "answerCallbackQuery", "callback_query_id": "4242"}
        )

    def test_no_other_update_is(self) -> None:
        for file in FIXTURES.glob("*.json"):
            if not file.name.startswith("callback_query"):
                body = json.dumps(json.loads(file.read_bytes())["body"]).encode()
                self.assertIsNone(channel().parse(post(body)).response, file.name)

    def test_a_polled_one_is_answered_by_the_next_poll_which_its_cursor_makes_do_it(self) -> None:
        telegram = channel(polling=True)
        _, polled = play(telegram.poll(None), answered(body={"ok": True, "result": [self.BODY]}))
        cursor = json.loads(json.dumps(polled.cursor))
        made, after = play(
            telegram.poll(cursor), answered(body={"ok": True}), answered(body={"ok": True, "result": []})
        )
        self.assertEqual(
            [call.url.rpartition("/")[2] for call in made], ["answerCallbackQuery", "getUpdates"]
        )
        self.assertEqual(json.loads(made[0].body), {"callback_query_id": "4242"})
        self.assertFalse(made[0].effect)
        self.assertEqual(after.cursor, {"offset": self.BODY["update_id"] + 1})

    def test_one_that_is_too_old_does_not_keep_updates_from_coming(self) -> None:
        refused = answered(400, {"ok": False, "error_code": 400, "description": "query is too old"})
        cursor = {"offset": 1, "answer": ["1", "2"]}
        made, _ = play(channel().poll(cursor), refused, refused, answered(body={"ok": True, "result": []}))
        self.assertEqual(len(made), 3)


class PollTests(SynchronousTestCase):
    def test_all_kinds_are_asked_for_behind_the_last_update(self) -> None:
        updates = [{"update_id": number, "message": {}} for number in (7, 9, 8)]
        [first], polled = play(channel().poll(None), answered(body={"ok": True, "result": updates}))
        self.assertNotIn("offset", json.loads(first.body))
        self.assertEqual(tuple(json.loads(first.body)["allowed_updates"]), UPDATE_KINDS)
        self.assertEqual(polled.cursor, {"offset": 10})
        [second], again = play(channel().poll(polled.cursor), answered(body={"ok": True, "result": []}))
        self.assertEqual(json.loads(second.body)["offset"], 10)
        self.assertEqual((again.cursor, again.events), (polled.cursor, ()))

    def test_the_call_outlasts_the_time_for_which_telegram_holds_it(self) -> None:
        [call], _ = play(channel().poll(None), answered(body={"ok": True, "result": []}))
        self.assertGreater(call.deadline, json.loads(call.body)["timeout"] + 5)

    def test_a_failure_is_raised_and_shows_no_token(self) -> None:
        conflict = {"ok": False, "error_code": 409, "description": "Conflict: webhook is active"}
        for result in (
            CallResult(outcome="not_sent", error=f"https://bots.test/bot{TOKEN}/getUpdates refused"),
            CallResult(outcome="unknown", error="cut"),
            answered(409, conflict),
            answered(502, b"<html>Bad Gateway</html>"),
            answered(200, b"[]"),
        ):
            error = self.failureResultOf(
                _deferred(lambda r=result: play(channel().poll(None), r)), PlatformError
            )
            self.assertNotIn(TOKEN, str(error.value))
            self.assertNotIn("\n", str(error.value))

    def test_only_a_bot_that_polls_has_an_account_to_poll(self) -> None:
        self.assertEqual(channel(polling=True).polled_account, "123456")
        self.assertIsNone(channel().polled_account)


def _deferred(function: Any) -> Any:
    from twisted.internet.defer import maybeDeferred

    return maybeDeferred(function)


def outgoing(part: AnyPart = Text(text="hi"), peer: str = PERSON, **more: Any) -> Outgoing:  # noqa: B008
    address = Address(
        channel="telegram",
        account=more.pop("account", "123456"),
        peer=peer,
        thread=more.pop("thread", None),
    )
    return Outgoing(**{"id": "o-1", "address": address, "part": part, "now": NOW, **more})


SUCCESS = answered(body={"ok": True, "result": {"message_id": 501}})


def refused(code: int, description: str, **parameters: Any) -> CallResult:
    body = {"ok": False, "error_code": code, "description": description, "parameters": parameters}
    return answered(code, body)


def sent(part: AnyPart = Text(text="hi"), **more: Any) -> tuple[str, dict[str, Any]]:  # noqa: B008
    """Method and body of the one call that shows `part`."""
    [call], outcome = play(channel().send(outgoing(part, **more)), SUCCESS)
    assert outcome == Sent(mids=("501",)), outcome
    assert (call.effect, call.trust, call.method) == (True, "configured", "POST")
    return call.url.removeprefix(f"https://bots.test/bot{TOKEN}/"), json.loads(call.body)


def outcome_of(*results: CallResult, part: AnyPart = Text(text="hi"), **more: Any) -> Outcome:  # noqa: B008
    return play(channel().send(outgoing(part, **more)), *results)[1]


class SendTests(SynchronousTestCase):
    def test_a_text_goes_where_the_address_says(self) -> None:
        for more, where in (
            ({}, {"chat_id": 1000000001}),
            ({"peer": GROUP}, {"chat_id": int(GROUP)}),
            ({"peer": GROUP, "thread": "5"}, {"chat_id": int(GROUP), "message_thread_id": 5}),
            ({"peer": GROUP, "thread": "direct.88"}, {"chat_id": int(GROUP), "direct_messages_topic_id": 88}),
            ({"account": "123456~conn-1"}, {"chat_id": 1000000001, "business_connection_id": "conn-1"}),
            ({"peer": "@news"}, {"chat_id": "@news"}),
        ):
            self.assertEqual(sent(**more), ("sendMessage", {"text": "hi", **where}))

    def test_what_is_read_in_a_place_is_answered_in_that_place(self) -> None:
        for name in ("topic_message", "direct_messages_of_a_channel", "business_message", "anonymous_admin"):
            update = json.loads((FIXTURES / f"{name}.json").read_bytes())["body"]
            [item] = [value for key, value in update.items() if key != "update_id"]
            [event] = read(update)
            [call], _ = play(
                channel().send(msgspec.structs.replace(outgoing(), address=event.address)), SUCCESS
            )
            body = json.loads(call.body)
            self.assertEqual(body["chat_id"], item["chat"]["id"], name)
            self.assertEqual(body.get("business_connection_id"), item.get("business_connection_id"), name)
            self.assertEqual(body.get("message_thread_id"), item.get("message_thread_id"), name)

    def test_a_reply_survives_the_deletion_of_what_it_answers(self) -> None:
        _, body = sent(reply_to="77")
        self.assertEqual(body["reply_parameters"], {"message_id": 77, "allow_sending_without_reply": True})

    def test_media_go_by_their_address(self) -> None:
        url = "https://x.example/f"
        for part, method, key in (
            (Image(url=url), "sendPhoto", "photo"),
            (Audio(url=url), "sendAudio", "audio"),
            (Video(url=url), "sendVideo", "video"),
            (File(url=url, name="f.pdf"), "sendDocument", "document"),
        ):
            self.assertEqual(sent(part), (method, {"chat_id": 1000000001, key: url}))

    def test_places_with_and_without_a_title(self) -> None:
        self.assertEqual(sent(Location(latitude=1.5, longitude=2))[0], "sendLocation")
        method, body = sent(Location(latitude=1.5, longitude=2, title="Home"))
        self.assertEqual((method, body["title"], body["address"]), ("sendVenue", "Home", "1.50000, 2.00000"))

    def test_a_card_is_a_picture_with_words_and_buttons(self) -> None:
        card = Card(
            title="👒 Hat",
            subtitle="blue",
            url="https://x.example",
            image_url="https://x.example/i.jpg",
            buttons=(Button(title="Buy", payload="/buy"),),
        )
        method, body = sent(Carousel(cards=(card,)))
        self.assertEqual(
            (method, body["photo"], body["caption"]), ("sendPhoto", card.image_url, "👒 Hat\nblue")
        )
        self.assertEqual([(e["offset"], e["length"]) for e in body["caption_entities"]], [(0, 6), (0, 6)])
        self.assertEqual(body["reply_markup"]["inline_keyboard"][0][0]["callback_data"], "/buy")
        plain, words = sent(Carousel(cards=(msgspec.structs.replace(card, image_url=None),)))
        self.assertEqual((plain, words["text"]), ("sendMessage", "👒 Hat\nblue"))

    def test_every_card_that_fit_lets_through_fits_a_caption(self) -> None:
        card = Card(title="👒" * 300, subtitle="b" * 2000, image_url="https://x.example/i.jpg")
        *_, last = fit(Message(parts=(Carousel(cards=(card,)),)), channel().capabilities)
        method, body = sent(last)
        self.assertEqual(method, "sendPhoto")
        self.assertLessEqual(measure(body["caption"], "utf16"), 1024)


class KeyboardTests(SynchronousTestCase):
    def markup(self, part: AnyPart, **more: Any) -> dict[str, Any]:
        markup: dict[str, Any] = sent(part, **more)[1]["reply_markup"]
        return markup

    def test_buttons_are_under_the_message(self) -> None:
        buttons = (
            Button(title="Yes", payload="/yes"),
            Button(title="Site", url="https://x.example"),
            Button(title="Call", phone="+431"),
            Button(title="A title that takes all of a row", payload="x"),
        )
        self.assertEqual(
            self.markup(Buttons(text="?", buttons=buttons))["inline_keyboard"],
            [
                [
                    {"text": "Yes", "callback_data": "/yes"},
                    {"text": "Site", "url": "https://x.example"},
                    {"text": "Call", "copy_text": {"text": "+431"}},
                ],
                [{"text": "A title that takes all of a row", "callback_data": "x"}],
            ],
        )

    def test_quick_replies_take_the_place_of_the_persons_keyboard(self) -> None:
        part = QuickReplies(
            text="?", replies=(QuickReply(title="Red"), QuickReply(title="Blue", payload="Blue"))
        )
        markup = self.markup(part)
        self.assertEqual(markup["keyboard"], [[{"text": "Red"}, {"text": "Blue"}]])
        self.assertTrue(markup["one_time_keyboard"])

    def test_where_payloads_matter_they_come_back(self) -> None:
        part = QuickReplies(
            text="?", replies=(QuickReply(title="Red", payload="/red"), QuickReply(title="Blue"))
        )
        [row] = self.markup(part)["inline_keyboard"]
        self.assertEqual([button["callback_data"] for button in row], ["/red", "Blue"])

    def test_a_telephone_number_is_asked_for_in_private_chats_alone(self) -> None:
        part = QuickReplies(text="?", replies=(QuickReply(ask="phone"), QuickReply(ask="email")))
        self.assertEqual(self.markup(part)["keyboard"], [[{"text": "☎", "request_contact": True}]])
        self.assertTrue(self.markup(part, peer=GROUP)["force_reply"])

    def test_a_payload_that_telegram_has_no_room_for_never_reaches_it(self) -> None:
        able = channel().capabilities
        for payload, fits in (("x" * 64, True), ("x" * 65, False), ("é" * 32, True), ("é" * 33, False)):
            part = Buttons(text="?", buttons=(Button(title="A", payload=payload),))
            shown = fit(Message(parts=(part,)), able)
            self.assertEqual(any(isinstance(one, Buttons) for one in shown), fits, payload)
            if not fits:
                made, outcome = play(channel().send(outgoing(part)))
                self.assertEqual((made, type(outcome)), ([], Refused))

    @settings(deadline=None, derandomize=True)
    @given(st.lists(st.text(min_size=1, max_size=40), min_size=1, max_size=100))
    def test_every_button_is_in_a_row_once_and_in_order(self, titles: list[str]) -> None:
        part = Buttons(text="?", buttons=tuple(Button(title=title, payload="x") for title in titles))
        rows = self.markup(part)["inline_keyboard"]
        self.assertEqual([button["text"] for row in rows for button in row], titles)
        self.assertTrue(all(1 <= len(row) <= 8 for row in rows))


class CustomTests(SynchronousTestCase):
    def test_a_method_by_its_name(self) -> None:
        part = Custom(json={"method": "sendDice", "emoji": "🎯", "chat_id": 666})
        self.assertEqual(sent(part), ("sendDice", {"emoji": "🎯", "chat_id": 1000000001}))

    def test_rasas_forms(self) -> None:
        for json_, method in (
            ({"text": "a"}, "sendMessage"),
            ({"sticker": "a"}, "sendSticker"),
            ({"media": [{"type": "photo", "media": "u"}] * 2}, "sendMediaGroup"),
            ({"latitude": 1, "longitude": 2}, "sendLocation"),
            ({"latitude": 1, "longitude": 2, "title": "a", "address": "b"}, "sendVenue"),
            ({"phone_number": "1", "first_name": "a"}, "sendContact"),
        ):
            self.assertEqual(sent(Custom(json=json_)), (method, {**json_, "chat_id": 1000000001}))

    def test_an_album_has_the_mids_of_all_its_pictures(self) -> None:
        result = answered(body={"ok": True, "result": [{"message_id": 1}, {"message_id": 2}]})
        self.assertEqual(outcome_of(result, part=Custom(json={"media": []})), Sent(mids=("1", "2")))

    def test_nothing_that_would_end_the_channel_or_leave_the_path(self) -> None:
        for json_ in (
            {"method": "setWebhook", "url": ""},
            {"method": "DELETEwebhook"},
            {"method": "logOut"},
            {"method": "getUpdates", "offset": -1},
            {"method": "../sendMessage"},
            {"method": "a" * 100},
            {"method": 5},
            {"nothing": "known"},
            ["a list"],
            "text",
        ):
            made, outcome = play(channel().send(outgoing(Custom(json=json_))))
            self.assertEqual((made, type(outcome)), ([], Refused), json_)


class OutcomeTests(SynchronousTestCase):
    def test_too_many_requests_hold_the_chat_for_as_long_as_telegram_says(self) -> None:
        outcome = outcome_of(refused(429, "Too Many Requests: retry after 41", retry_after=41))
        self.assertEqual((outcome.at, outcome.scope), (NOW + 41, "conversation"))  # type: ignore[union-attr]
        vague = outcome_of(refused(429, "Too Many Requests", retry_after="soon"))
        self.assertGreater(vague.at, NOW)  # type: ignore[union-attr, operator]

    def test_what_ends_a_message_what_stops_the_bot_what_passes(self) -> None:
        for result, kind, scope in (
            (refused(403, "Forbidden: bot was blocked by the user"), Refused, "message"),
            (refused(400, "Bad Request: chat not found"), Refused, "message"),
            (refused(413, "Request Entity Too Large"), Refused, "message"),
            (refused(401, "Unauthorized"), Refused, "account"),
            (refused(404, "Not Found"), Refused, "account"),
            (refused(409, "Conflict"), Retry, "account"),
            (refused(500, "Internal Server Error"), Retry, "message"),
            (answered(502, b"<html>Bad Gateway</html>"), Retry, "message"),
            (CallResult(outcome="not_sent", error="refused"), Retry, "message"),
        ):
            outcome = outcome_of(result)
            self.assertEqual((type(outcome), outcome.scope), (kind, scope), result)  # type: ignore[union-attr]

    def test_no_such_method_is_the_agents_fault_and_stops_nobody(self) -> None:
        part = Custom(json={"method": "sendNonsense"})
        outcome = outcome_of(refused(404, "Not Found: method not found"), part=part)
        self.assertEqual(outcome, Refused(reason="Not Found: method not found"))

    def test_an_answer_that_is_not_telegrams_leaves_it_open(self) -> None:
        for result in (
            answered(200, b"<html>proxy</html>"),
            answered(200, {"message": 1}),
            answered(200, b""),
            CallResult(outcome="unknown", error="cut"),
        ):
            self.assertIsInstance(outcome_of(result), UnknownOutcome)

    def test_a_group_that_moved_is_found_in_the_same_run(self) -> None:
        moved = refused(400, "group chat was upgraded to a supergroup chat", migrate_to_chat_id=-100777)
        made, outcome = play(channel().send(outgoing(peer="-42")), moved, SUCCESS)
        self.assertEqual([json.loads(call.body)["chat_id"] for call in made], [-42, -100777])
        self.assertEqual(outcome, Sent(mids=("501",)))
        # A chat that moves for ever is not followed for ever.
        self.assertIsInstance(play(channel().send(outgoing(peer="-42")), moved, moved)[1], Refused)

    def test_a_file_that_telegram_cannot_fetch_is_given_as_a_link(self) -> None:
        url = "https://x.example/report.docx"
        failed = refused(400, "Bad Request: failed to get HTTP URL content")
        card = Carousel(cards=(Card(title="Hat", image_url=url),))
        for part, words in (
            (File(url=url, name="report.docx"), f"report.docx\n{url}"),
            (Image(url=url), url),
            (card, "Hat"),
        ):
            made, outcome = play(channel().send(outgoing(part, thread="5")), failed, SUCCESS)
            body = json.loads(made[1].body)
            self.assertEqual((body["text"], body["message_thread_id"]), (words, 5))
            self.assertEqual(outcome, Sent(mids=("501",)))
        self.assertIsInstance(outcome_of(failed, part=Custom(json={"photo": url})), Refused)

    def test_no_outcome_shows_the_token(self) -> None:
        path = f"https://bots.test/bot{TOKEN}/sendMessage"
        for result in (
            CallResult(outcome="not_sent", error=f"{path} refused"),
            CallResult(outcome="unknown", error=f"{path} cut"),
            refused(400, f"Bad Request: {path}"),
        ):
            self.assertNotIn(TOKEN.partition(":")[2], outcome_of(result).reason)  # type: ignore[union-attr]


class LiveTests(SynchronousTestCase):
    def test_an_edit_changes_the_message(self) -> None:
        [call], outcome = play(channel().edit(outgoing(Text(text="more"), thread="5"), "501"), SUCCESS)
        self.assertTrue(call.url.endswith("/editMessageText"))
        self.assertEqual(json.loads(call.body), {"chat_id": 1000000001, "message_id": 501, "text": "more"})
        self.assertEqual(outcome, Sent(mids=("501",)))

    def test_an_edit_that_changes_nothing_is_done(self) -> None:
        same = refused(400, "Bad Request: message is not modified: specified new message content …")
        self.assertEqual(play(channel().edit(outgoing(), "501"), same)[1], Sent(mids=("501",)))

    def test_what_cannot_be_edited_is_refused_without_a_call(self) -> None:
        replies = QuickReplies(text="?", replies=(QuickReply(title="a"),))
        for part in (Image(url="https://x.example"), replies):
            made, outcome = play(channel().edit(outgoing(part), "501"))
            self.assertEqual((made, type(outcome)), ([], Refused))

    def test_a_draft_grows_and_ends_as_a_message(self) -> None:
        telegram, done = channel(), answered(body={"ok": True, "result": True})
        [opened], stream = play(telegram.open_stream(outgoing(Text(text="He"))), done)
        assert isinstance(stream, Sent)
        [name] = stream.mids
        [grown], _ = play(telegram.append(outgoing(Text(text="Hello")), name, "llo"), done)
        for call, text in ((opened, "He"), (grown, "Hello")):
            self.assertTrue(call.url.endswith("/sendMessageDraft"))
            self.assertEqual(json.loads(call.body)["text"], text)
        drafts = {json.loads(call.body)["draft_id"] for call in (opened, grown)}
        self.assertEqual(len(drafts), 1)
        self.assertNotIn(0, drafts)
        [closed], outcome = play(telegram.close_stream(outgoing(Text(text="Hello!")), name), SUCCESS)
        self.assertTrue(closed.url.endswith("/sendMessage"))
        self.assertEqual(outcome, Sent(mids=("501",)))

    def test_a_draft_is_never_longer_than_telegram_bears(self) -> None:
        done = answered(body={"ok": True, "result": True})
        [call], _ = play(channel().append(outgoing(Text(text="👒" * 5000)), "draft-1", "x"), done)
        self.assertLessEqual(measure(json.loads(call.body)["text"], "utf16"), 4096)

    def test_groups_and_business_chats_have_no_drafts(self) -> None:
        for more in ({"peer": GROUP}, {"account": "123456~conn-1"}):
            made, outcome = play(channel().open_stream(outgoing(**more)))
            self.assertEqual((made, type(outcome)), ([], Refused))

    def test_what_was_posted_is_no_draft_and_is_edited(self) -> None:
        for steps in (
            channel().append(outgoing(Text(text="Hello")), "501", "llo"),
            channel().close_stream(outgoing(Text(text="Hello")), "501"),
        ):
            made, outcome = play(steps)
            self.assertEqual((made, type(outcome)), ([], Refused))

    def test_a_text_grows_in_a_group_by_edits_and_is_one_message_in_the_end(self) -> None:
        clock = clock_of_tests()

        async def agent(event: Any) -> Any:
            for word in ("One ", "two ", "three ", "four."):
                yield Delta(text=word)
                await deferLater(clock, 2.0, lambda: None)

        bot = BotApiStandIn(clock, TOKEN)
        kit = ChannelInMemory(agent, channel(api_url="http://127.0.0.1:9"), bot, clock=clock)
        self.addCleanup(kit.kill)
        request = kit.channel.trigger("text", "hi", clock.seconds())
        private = b'{"id":1000000001,"type":"private","first_name":"Ada"}'
        group = b'{"id":%s,"type":"supergroup","title":"Us"}' % GROUP.encode()
        self.assertIn(private, request.body)
        kit.receive(msgspec.structs.replace(request, body=request.body.replace(private, group)))
        kit.advance(20)
        self.assertEqual([one.text for one in bot.sent], ["One"])
        self.assertGreaterEqual(len(bot.edits), 2)
        self.assertEqual((bot.edits[-1].text, kit.outbox()), ("One two three four.", ["sent"]))

    def test_typing_is_shown_in_the_topic_and_is_no_effect(self) -> None:
        address = outgoing(peer=GROUP, thread="5").address
        [call], _ = play(channel().show_typing(address, True, Context()), answered(400, {"ok": False}))
        self.assertEqual(
            json.loads(call.body), {"chat_id": int(GROUP), "message_thread_id": 5, "action": "typing"}
        )
        self.assertFalse(call.effect)
        self.assertEqual(play(channel().show_typing(address, False, Context()))[0], [])
        self.assertEqual(play(channel().show_seen(address, Context()))[0], [])

    def test_groups_are_edited_at_a_slower_pace(self) -> None:
        paces = [channel().edit_interval(outgoing(peer=peer).address) for peer in (PERSON, GROUP)]
        self.assertEqual(paces, [PRIVATE_PACE, GROUP_PACE])


class ProvisionTests(SynchronousTestCase):
    URL = "https://chat.example.com/webhooks/telegram/webhook"
    ME = answered(body={"ok": True, "result": {"id": 123456, "username": "Shop_Bot"}})
    DONE = answered(body={"ok": True, "result": True})

    def info(self, **fields: Any) -> CallResult:
        return answered(body={"ok": True, "result": {"url": "", **fields}})

    def bodies(self, calls: list[Call]) -> list[tuple[str, Any]]:
        return [(call.url.rpartition("/")[2], json.loads(call.body)) for call in calls[2:]]

    def test_the_webhook_is_set_with_exactly_the_secret_that_is_checked(self) -> None:
        for more in ({}, {"secret_token": None, "webhook_url": self.URL}):
            telegram = channel(**more)
            made, lines = play(telegram.provision(self.URL, dry_run=False), self.ME, self.info(), self.DONE)
            [(method, body)] = self.bodies(made)
            self.assertEqual((method, body["url"]), ("setWebhook", self.URL))
            self.assertEqual(tuple(body["allowed_updates"]), UPDATE_KINDS)
            self.assertNotIn("drop_pending_updates", body)
            telegram.verify(post(b"{}", body["secret_token"].encode()), NOW)
            self.assertEqual(lines[0], f"webhook: none -> {self.URL}")
            self.assertFalse(any(call.effect for call in made))

    def test_a_dry_run_only_looks(self) -> None:
        made, lines = play(channel().provision(self.URL, dry_run=True), self.ME, self.info(url="https://old"))
        self.assertEqual(self.bodies(made), [])
        self.assertEqual(lines[0], f"webhook: https://old -> {self.URL}")

    def test_without_differences_there_are_no_lines_and_the_secret_is_set_all_the_same(self) -> None:
        info = self.info(url=self.URL, allowed_updates=list(UPDATE_KINDS))
        made, lines = play(channel().provision(self.URL, dry_run=False), self.ME, info, self.DONE)
        self.assertEqual((lines, [method for method, _ in self.bodies(made)]), ((), ["setWebhook"]))

    def test_a_bot_that_polls_has_its_webhook_taken_away_and_keeps_what_waits(self) -> None:
        telegram = channel(polling=True)
        made, _ = play(telegram.provision("", dry_run=False), self.ME, self.info(url=self.URL), self.DONE)
        self.assertEqual(self.bodies(made), [("deleteWebhook", {})])
        self.assertEqual(play(telegram.provision("", dry_run=False), self.ME, self.info())[1], ())

    def test_another_bots_token_is_noticed(self) -> None:
        other = answered(body={"ok": True, "result": {"username": "other_bot"}})
        error = self.failureResultOf(
            _deferred(lambda: play(channel().provision(self.URL, dry_run=False), other)), PlatformError
        )
        self.assertIn("@other_bot", str(error.value))

    def test_addresses_that_telegram_does_not_take_are_errors_that_say_so(self) -> None:
        for url in (
            "",
            "http://x.example/",
            "https://x.example:8080/",
            "https://x:y/",
            "ftp://x",
            "https://[",
        ):
            error = self.failureResultOf(
                _deferred(lambda u=url: play(channel(verify=None).provision(u, dry_run=True))), ConfigError
            )
            self.assertIn("channel 'telegram'", str(error.value))


class DownloadTests(SynchronousTestCase):
    def file(self, **fields: Any) -> CallResult:
        return answered(body={"ok": True, "result": {"file_path": "photos/a b.jpg", **fields}})

    def test_a_file_is_fetched_by_its_id_under_a_cap(self) -> None:
        made, content = play(
            channel().download("AgAC1", 1000), self.file(file_size=5), answered(200, b"12345")
        )
        self.assertEqual(content, b"12345")
        self.assertEqual(made[1].url, f"https://bots.test/file/bot{TOKEN}/photos/a%20b.jpg")
        self.assertEqual(made[1].max_response, 1000)
        self.assertFalse(any(call.effect for call in made))

    def test_what_is_too_big_is_not_fetched_and_no_path_leaves_its_place(self) -> None:
        for fields in (
            {"file_size": 1001},
            {"file_path": None},
            {"file_path": "/etc/passwd"},
            {"file_path": "a/../../b"},
        ):
            file = self.file(**fields)
            self.failureResultOf(
                _deferred(lambda f=file: play(channel().download("x", 1000), f)), PlatformError
            )

    def test_a_failed_fetch_shows_no_token(self) -> None:
        lost = CallResult(outcome="unknown", error=f"https://bots.test/file/bot{TOKEN}/a cut")
        error = self.failureResultOf(
            _deferred(lambda: play(channel().download("x"), self.file(), lost)), PlatformError
        )
        self.assertNotIn(TOKEN, str(error.value))


class SettingsTests(SynchronousTestCase):
    def made(self, **settings_: Any) -> TelegramInput:
        def secret(kind: type, value: Any) -> Any:
            if kind is Secret:
                return Secret(value)
            raise NotImplementedError(kind)

        read_ = msgspec.convert(settings_, TelegramSettings, strict=False, dec_hook=secret)
        self.assertNotIn(TOKEN, repr(read_))
        return TelegramInput.from_settings("shop", read_)

    def test_it_is_found_by_its_name_and_has_its_abilities(self) -> None:
        self.assertIs(find_channel_class("telegram"), TelegramInput)
        for ability in (Channel, Live, Edits, Streams, Polls, Provisions, Triggers):
            self.assertIsInstance(channel(), ability)

    def test_a_rasa_file_works_as_it_is(self) -> None:
        url = "https://host.example/webhooks/telegram/webhook"
        shop = self.made(access_token=TOKEN, verify="shop_bot", webhook_url=url)
        self.assertRaises(VerificationError, shop.verify, post(b"{}"), NOW)
        shop.verify(shop.trigger("text", "hi", NOW), NOW)

    def test_a_derived_secret_is_the_same_after_each_start_and_tells_nothing_of_the_token(self) -> None:
        first, second = (
            channel(secret_token=None, webhook_url="https://x.example").trigger("text", "", NOW) for _ in "ab"
        )
        [given_] = first.header_values(HEADER)
        self.assertEqual([given_], second.header_values(HEADER))
        self.assertRegex(given_.decode(), r"\A[A-Za-z0-9_-]{64}\Z")
        self.assertNotIn(TOKEN.partition(":")[2].encode(), given_)

    def test_each_mistake_is_one_line_that_names_channel_and_key_and_no_secret(self) -> None:
        hidden = "do-not-show-me"
        for key, given_ in (
            ("access_token", {"access_token": None}),
            ("access_token", {"access_token": ""}),
            ("access_token", {"access_token": hidden}),
            ("access_token", {"access_token": f"12:{hidden}/../x"}),
            ("access_token", {"access_token": f"12:{hidden}\n"[:-1] + " x"}),
            ("secret_token", {"secret_token": None}),
            ("secret_token", {"secret_token": "  "}),
            ("secret_token", {"secret_token": f"{hidden}!"}),
            ("secret_token", {"secret_token": hidden * 30}),
            ("api_url", {"api_url": "api.telegram.org"}),
        ):
            with self.subTest(given=given_):
                line = str(self.assertRaises(ConfigError, channel, name="shop", **given_))
                self.assertIn(f"channel 'shop': {key}", line)
                self.assertNotIn(hidden, line)
                self.assertNotIn("\n", line)

    def test_without_secret_the_error_names_the_ways_out(self) -> None:
        line = str(self.assertRaises(ConfigError, channel, secret_token=None))
        for way in ("telegram setup", "polling: true"):
            self.assertIn(way, line)

    def test_repr_shows_the_bot_and_no_secret(self) -> None:
        shown = repr(channel())
        self.assertIn("123456", shown)
        self.assertNotIn("token", shown)

    def test_every_triggered_kind_is_a_verified_turn(self) -> None:
        for kind in ("text", "postback"):
            request = channel().trigger(kind, "hi", NOW)
            channel().verify(request, NOW)
            [event] = channel().parse(request).events
            self.assertEqual((event.text, event.observe_only), ("hi", False))
        self.assertIn("postback", str(self.assertRaises(ValueError, channel().trigger, "smell", "x", NOW)))
