"""Every update that is read, and every call that is made, through python-telegram-bot's types."""

from __future__ import annotations

import copy
import inspect
import json
import re
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels.telegram import CAPABILITIES, TelegramInput
from klein_channels.markdown import render, split_markdown
from klein_channels.model import (
    Address,
    AnyPart,
    Audio,
    Button,
    Buttons,
    Card,
    Carousel,
    Custom,
    Edited,
    File,
    Image,
    Location,
    MessageReceived,
    Outgoing,
    PersonEvent,
    Postback,
    QuickReplies,
    QuickReply,
    Text,
    Video,
    WebhookRequest,
)
from klein_channels.telegram.api import MOST_BYTES
from klein_channels.telegram.kinds import UPDATE_KINDS
from klein_channels.telegram.sends import CAPTION_UNITS, Request, draft_of, edit_of, request_of
from klein_channels.testing.steps import answered, play
from tests.markdown.dialects import hostile

from . import missing

REASON = missing("telegram")
FIXTURES = Path(__file__).parent.parent / "fixtures" / "telegram"
MALFORMED = {"malformed_item", "malformed_nothing", "malformed_text"}
LATER = {"stopped_message_generation", "subscription"}
"""Kinds of Bot API 10.3, which the SDK's 10.0 does not know."""
BUTTONS = (Button(title="a", payload="/a"), Button(title="b", url="https://x.example"))
PARTS: tuple[AnyPart, ...] = (
    Text(text="hi"),
    Text(text="**bold** [link](https://x.example) `code`\n\n> quote\n\n```py\nx = 1\n```", format="markdown"),
    Buttons(text="choose", buttons=(*BUTTONS, Button(title="c", phone="+15550100"))),
    QuickReplies(text="choose", replies=(QuickReply(title="a"), QuickReply(title="b"))),
    QuickReplies(text="choose", replies=(QuickReply(title="a", payload="/a"),)),
    QuickReplies(text="phone?", replies=(QuickReply(title="Phone", ask="phone"),)),
    Image(url="https://x.example/a.png"),
    Audio(url="https://x.example/a.mp3"),
    Video(url="https://x.example/a.mp4"),
    File(url="https://x.example/a.pdf", name="a"),
    Location(latitude=1.5, longitude=2.5),
    Location(latitude=1.5, longitude=2.5, title="Here"),
    Carousel(cards=(Card(title="t", subtitle="s", image_url="https://x.example/a.png", buttons=BUTTONS),)),
    Carousel(cards=(Card(title="t", url="https://x.example"),)),
    Custom(json={"method": "sendDice", "emoji": "🎯"}),
    Custom(json={"media": [{"type": "photo", "media": "https://x.example/a.png"}] * 2}),
    Custom(json={"question": "?", "options": ["a", "b"]}),
)
ADDRESSES = (
    Address(channel="telegram", account="123456", peer="1000000001"),
    Address(channel="telegram", account="123456", peer="-1001", thread="7"),
    Address(channel="telegram", account="123456", peer="-1001", thread="direct.9"),
    Address(channel="telegram", account="123456~bc1", peer="1000000001"),
)


def shop() -> TelegramInput:
    return TelegramInput(access_token="123456:AAtoken-of-tests", secret_token="secret")


def outgoing(part: AnyPart, address: Address = ADDRESSES[0], **more: Any) -> Outgoing:
    return Outgoing(id="o-1", address=address, part=part, now=1.0, **more)


def python_name(method: str) -> str:
    """``sendMessage`` as the SDK writes it."""
    return re.sub("[A-Z]", lambda sign: f"_{sign[0].lower()}", method)


class UpdateTests(SynchronousTestCase):
    skip = REASON

    def parsed(self, update: Any) -> Any:
        from telegram import Update

        return Update.de_json(copy.deepcopy(update), None)

    def test_every_update_is_one_to_the_sdk_and_says_the_same_to_us(self) -> None:
        seen = set()
        for path in sorted(FIXTURES.glob("*.json")):
            if path.stem in MALFORMED:
                continue
            body = json.loads(path.read_text("utf-8"))["body"]
            update = self.parsed(body)
            request = WebhookRequest(method="POST", path="/", body=json.dumps(body).encode())
            for event in shop().parse(request).events:
                seen.add(event.kind)
                self.assertEqual(event.id.partition("-")[0], str(update.update_id))
                self.compare(event, update, path.stem)
        self.assertGreater(len(seen), 8)

    def compare(self, event: Any, update: Any, name: str) -> None:
        message = update.effective_message
        if message is not None and isinstance(event, MessageReceived | Edited):
            said = message.text or message.caption or ""
            # A command for this bot by name is read without the name.
            self.assertIn(event.text.split(" ")[0], said, name)
            self.assertEqual(event.mid, str(message.message_id), name)
        if isinstance(event, MessageReceived) and message.date is not None:
            self.assertEqual(event.timestamp, message.date.timestamp(), name)
        if update.effective_chat is not None and event.address.peer:
            self.assertEqual(event.address.peer, str(update.effective_chat.id), name)
        anonymous = message is not None and message.sender_chat is not None
        user = update.effective_user
        if isinstance(event, PersonEvent) and event.sender and user is not None and not anonymous:
            self.assertEqual((event.sender.id, event.sender.username), (str(user.id), user.username), name)
        if isinstance(event, Postback):
            query = update.callback_query
            self.assertEqual(event.payload, query.data or query.game_short_name, name)

    def test_we_ask_for_every_kind_that_there_is(self) -> None:
        from telegram import Update

        self.assertEqual(set(Update.ALL_TYPES) - set(UPDATE_KINDS), set())
        self.assertEqual(set(UPDATE_KINDS) - set(Update.ALL_TYPES), LATER)


class CallTests(SynchronousTestCase):
    skip = REASON

    def check(self, method: str, body: dict[str, Any]) -> None:
        """The SDK has the method with these parameters, and its types take their values as they are."""
        import telegram

        function = getattr(telegram.Bot, python_name(method), None)
        assert function is not None, f"the SDK has no {method}"
        known = set(inspect.signature(function).parameters)
        self.assertEqual(set(body) - known, set(), method)
        types: dict[str, Any] = {
            "entities": telegram.MessageEntity,
            "caption_entities": telegram.MessageEntity,
            "reply_parameters": telegram.ReplyParameters,
        }
        for key, kind in types.items():
            for value in body[key] if isinstance(body.get(key), list) else filter(None, [body.get(key)]):
                self.same(kind, value)
        if "reply_markup" in body:
            kinds: dict[str, Any] = {
                "inline_keyboard": telegram.InlineKeyboardMarkup,
                "keyboard": telegram.ReplyKeyboardMarkup,
                "remove_keyboard": telegram.ReplyKeyboardRemove,
                "force_reply": telegram.ForceReply,
            }
            markup = body["reply_markup"]
            self.same(next(kind for key, kind in kinds.items() if key in markup), markup)

    def same(self, kind: Any, value: dict[str, Any]) -> None:
        """Nothing in `value` is unknown to the SDK, and it would send it as we do."""
        if "keyboard" in value:
            from telegram import KeyboardButton

            rows = [[KeyboardButton.de_json(dict(b), None) for b in row] for row in value["keyboard"]]
            made = kind(rows, **{key: item for key, item in value.items() if key != "keyboard"})
        else:
            made = kind.de_json(copy.deepcopy(value), None)
        # What a keyboard of that kind always says the SDK adds by itself.
        self.assertEqual(made.api_kwargs.keys() - {"force_reply", "remove_keyboard"}, set())
        self.assertEqual(json.loads(made.to_json()), value)

    def test_every_part_in_every_place(self) -> None:
        for part in PARTS:
            for address in ADDRESSES:
                if part is PARTS[-1] and address is ADDRESSES[2]:
                    continue  # Telegram takes no polls in the direct messages of a channel.
                for reply_to in (None, "42"):
                    request = request_of(outgoing(part, address, reply_to=reply_to))
                    self.check(request.method, request.body)

    def test_edits_and_drafts(self) -> None:
        requests: list[Request] = [
            edit_of(outgoing(PARTS[1]), "42"),
            edit_of(outgoing(PARTS[2], ADDRESSES[3]), "42"),
            draft_of(outgoing(Text(text="")), 7, "**half"),
        ]
        for request in requests:
            self.check(request.method, request.body)

    def test_all_that_is_asked_beside_sends(self) -> None:
        done = answered(body={"ok": True, "result": {}})
        bot = TelegramInput(access_token="123456:AAtoken-of-tests", polling=True, secret_token="s")
        hook = shop()
        updates = answered(body={"ok": True, "result": []})
        runs: list[tuple[Any, ...]] = [
            (hook.show_typing(ADDRESSES[1], True, None), done),  # type: ignore[arg-type]
            (hook.provision("https://x.example/hook", dry_run=False), done, done),
            (bot.poll({"offset": 3, "answer": ["1"]}), done, updates),
        ]
        for steps, *answers in runs:
            calls, _ = play(steps, *answers)
            for call in calls:
                self.check(call.url.rpartition("/")[2], json.loads(call.body or b"{}"))

    def test_limits_are_the_sdks(self) -> None:
        from telegram import constants

        self.assertEqual(CAPABILITIES.text_limit, constants.MessageLimit.MAX_TEXT_LENGTH)
        self.assertEqual(CAPTION_UNITS, constants.MessageLimit.CAPTION_LENGTH)
        self.assertEqual(CAPABILITIES.payload_limit, constants.InlineKeyboardButtonLimit.MAX_CALLBACK_DATA)
        # Telegram says "20 MB", which may be either.
        self.assertIn(constants.FileSizeLimit.FILESIZE_DOWNLOAD, (MOST_BYTES, 20_000_000))

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(hostile)
    def test_entities_are_where_the_sdk_looks_for_them(self, text: str) -> None:
        from telegram import MessageEntity

        for piece in split_markdown(text, 60, "utf16", ("telegram",)):
            shown = render(piece, "telegram")
            entities = [MessageEntity.de_json(dict(entity), None) for entity in shown.entities]
            for entity, ours in zip(entities, shown.entities, strict=True):
                found = shown.text.encode("utf-16-le")[
                    entity.offset * 2 : (entity.offset + entity.length) * 2
                ]
                self.assertEqual(len(found.decode("utf-16-le").encode("utf-16-le")), 2 * ours["length"])
                self.assertIn(entity.type, {str(kind) for kind in MessageEntity.ALL_TYPES})
