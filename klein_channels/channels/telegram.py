"""
Telegram.

One bot in private chats, groups, topics, channels, and in the chats of business accounts that it is
connected to. Its updates come by webhook, or are asked for. Facts: Telegram, "Bot API 10.3"
(24 August 2026).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Generator
from typing import Any, ClassVar
from zlib import crc32

import msgspec

from ..channel import Capabilities, ChannelOptions, Fetched, Polled, Steps
from ..credentials import Credentials
from ..errors import VerificationError
from ..model import (
    JSON,
    Address,
    AnyEvent,
    Attachment,
    Call,
    CallResult,
    Context,
    Outcome,
    Outgoing,
    Received,
    Refused,
    Sent,
    Text,
    WebhookRequest,
    WebhookResponse,
    read_json,
)
from ..rates import Rate
from ..secret import Secret
from ..signatures import one_value
from ..telegram.api import MOST_BYTES, BotApi, error_of, outcome_of
from ..telegram.content import file_id_of
from ..telegram.events import UpdateReader, pressed_button, update_number
from ..telegram.keyboards import MOST_BUTTONS, PAYLOAD_BYTES
from ..telegram.kinds import UPDATE_KINDS
from ..telegram.places import an_object, is_business, is_private, number_or_text, target
from ..telegram.sends import TEXT_UNITS, Request, as_link, draft_of, edit_of, request_of
from ..telegram.webhook import check_username, set_webhook

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105
POLL_SECONDS = 25
"""How long Telegram holds a poll that has nothing to tell."""
POLL_UPDATES = 100
ANSWER_DEADLINE = 5.0
DRAFT_LASTS = 30.0
"""Seconds after its last change in which a draft is seen (Telegram, "sendMessageDraft", 2026)."""
PRIVATE_PACE, GROUP_PACE = 1.1, 3.1
"""Seconds between two changes that chats bear: 1 message a second, 20 a minute in groups (Telegram,
"Bots FAQ", 2026)."""
DRAFT = "draft-"
"""Begins the names of what grows as a draft; all others are messages."""
BOT_RATE = Rate(count=30.0, burst=10.0)
PRIVATE_RATE = Rate(count=1.0, burst=3.0, per="conversation")
GROUP_RATE = Rate(count=20.0, seconds=60.0, burst=5.0, per="conversation")
"""30 messages a second in all, 1 in a chat ("short bursts" may pass), 20 a minute in a group (the same)."""
_SECRET_TEXT = re.compile(r"[A-Za-z0-9_-]{1,256}")
_DERIVED = b"klein_channels: the secret token of Telegram's webhook"
_TOKEN_HINT = "ask @BotFather for it"  # noqa: S105
_SECRET_HINT = (
    "choose 1 to 256 letters, digits, _ and -, and run `klein-channels telegram setup`; or set polling: true"  # noqa: S105
)
_NOT_FETCHED = (
    "failed to get http url content",
    "wrong type of the web page content",
    "wrong file identifier/http url specified",
    "webpage_curl_failed",
    "webpage_media_empty",
    "photo_invalid_dimensions",
    "image_process_failed",
)
"""What Telegram says of an address that it could not show; our link is then sent as text."""

CAPABILITIES = Capabilities(
    dialect="own",
    dialects=("telegram",),
    typing_lasts=5.0,
    text_limit=TEXT_UNITS,
    text_unit="utf16",
    quick_replies=MOST_BUTTONS,
    quick_reply_title=64,
    buttons=MOST_BUTTONS,
    button_title=64,
    button_text=TEXT_UNITS,
    payload_limit=PAYLOAD_BYTES,
    payload_unit="bytes",
    # A card is a picture with a caption of 1,024 units and a keyboard: one at a time.
    cards=1,
    card_title=256,
    card_subtitle=760,
    card_buttons=MOST_BUTTONS,
    media=frozenset({"image", "audio", "video", "file"}),
    location=True,
    # Other than 2xx is delivered again and again, and holds up what is behind it.
    malformed_status=200,
    redelivery_horizon=86_400.0,
    stable_timestamps=True,
    # A changed app can send any data as that of a button (Telegram, "CallbackQuery").
    signed_payloads=False,
    edit_interval=PRIVATE_PACE,
    growth_lasts=DRAFT_LASTS,
    # An album is sent message by message, up to ten of them.
    grouped=10,
    rates=(BOT_RATE, PRIVATE_RATE),
)


class TelegramSettings(ChannelOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands under a channel of the type ``telegram`` in the configuration."""

    access_token: Secret | None = None
    secret_token: Secret | None = None
    verify: str | None = None
    """The bot's user name, with or without @."""
    webhook_url: str | None = None
    api_url: str | None = None
    polling: bool = False
    """Whether updates are asked for; no public URL is then needed."""
    answer_channel_posts: bool = False


class TelegramInput:
    """The Telegram channel: one bot.

    `access_token` is the bot's, `verify` its user name, `secret_token` what Telegram shows to prove
    that a webhook is its own. A `webhook_url` without a `secret_token`, as in a configuration of
    Rasa's, is served with a secret made of the access token. With `polling` the bot asks for its
    updates and has no webhook. Raises `ConfigError`.
    """

    Settings: ClassVar[type[TelegramSettings]] = TelegramSettings
    capabilities = CAPABILITIES

    def __init__(  # noqa: PLR0913  (the first four are those of Rasa's TelegramInput)
        self,
        access_token: Any = None,
        verify: str | None = None,
        webhook_url: str | None = None,
        debug_mode: bool = False,
        *,
        secret_token: Any = None,
        api_url: str | None = None,
        polling: bool = False,
        answer_channel_posts: bool = False,
        name: str = "telegram",
        options: ChannelOptions = ChannelOptions(),  # noqa: B008  (immutable)
    ) -> None:
        self.name = name
        self.options = msgspec.structs.replace(options, debug_mode=True) if debug_mode else options
        credentials = Credentials(name)
        token = credentials.token("access_token", access_token, _TOKEN_HINT)
        self._api = BotApi(name, token, api_url)
        self._username = (verify or "").strip().removeprefix("@")
        self._webhook_url = (webhook_url or "").strip()
        self._polling = polling
        self._secret = self._read_secret(credentials, secret_token, token)
        self._reader = UpdateReader(name, self._api.bot, self._username, answer_channel_posts)

    @classmethod
    def from_settings(cls, name: str, settings: TelegramSettings) -> TelegramInput:
        """The channel that the configuration calls `name`."""
        return cls(
            access_token=settings.access_token,
            verify=settings.verify,
            webhook_url=settings.webhook_url,
            secret_token=settings.secret_token,
            api_url=settings.api_url,
            polling=settings.polling,
            answer_channel_posts=settings.answer_channel_posts,
            name=name,
            options=settings,
        )

    def __repr__(self) -> str:
        return f"TelegramInput({self.name!r}, bot={self._api.bot!r})"

    def _read_secret(self, credentials: Credentials, given: Any, token: Secret) -> Secret | None:
        if given is not None:
            secret = credentials.one("secret_token", given, _SECRET_HINT)
            if not _SECRET_TEXT.fullmatch(secret.reveal()):
                raise credentials.problem("secret_token", f"has a character that it may not: {_SECRET_HINT}")
            return secret
        if self._webhook_url:
            return Secret(hmac.digest(token.reveal().encode(), _DERIVED, "sha256").hex())
        if self._polling:
            return None
        raise credentials.problem("secret_token", f"is missing: {_SECRET_HINT}")

    # In

    def verify(self, request: WebhookRequest, now: float) -> None:
        """Prove by the secret token that a webhook is Telegram's."""
        if request.method != "POST":
            raise VerificationError("Telegram sends POST only", status=405)
        if self._secret is None:
            raise VerificationError(
                "this bot asks for its updates; without a secret_token no webhook is served"
            )
        given = one_value(request.header_values(SECRET_HEADER.lower().encode()), SECRET_HEADER)
        if not self._secret.matches(given):
            raise VerificationError(f"the header {SECRET_HEADER} is not the configured secret_token")

    def parse(self, request: WebhookRequest) -> Received:
        """The events of an update. A pressed button is answered with the answer to the webhook.

        That is sent after the commit, whatever the agent does, and costs no call (Telegram, "Making
        requests when getting updates").
        """
        update = read_json(request.body)
        events = self._reader.read(update)
        query = pressed_button(update)
        return Received(events=events, response=_button_answer(query) if query else None)

    @property
    def polled_account(self) -> str | None:
        """The bot, if it asks for its updates."""
        return self._api.bot if self._polling else None

    def poll(self, cursor: JSON) -> Steps[Polled]:
        """The updates behind `cursor`; raises `PlatformError`.

        What is asked for next tells Telegram that all before is durable. Buttons that were pressed
        are answered by the poll after the one that brought them, so that it is never forgotten.
        """
        before = an_object(cursor)
        yield from self._answer_buttons(before.get("answer"))
        offset = before.get("offset")
        asked: dict[str, Any] = {
            "timeout": POLL_SECONDS,
            "limit": POLL_UPDATES,
            "allowed_updates": UPDATE_KINDS,
        }
        if isinstance(offset, int) and not isinstance(offset, bool):
            asked["offset"] = offset
        found = yield from self._api.ask("getUpdates", asked, deadline=POLL_SECONDS + 15.0)
        updates = found if isinstance(found, list) else []
        numbers = [number for number in map(update_number, updates) if number is not None]
        after: dict[str, Any] = {"offset": max(numbers) + 1} if numbers else {"offset": offset}
        if queries := [query for query in map(pressed_button, updates) if query]:
            after["answer"] = queries
        events: list[AnyEvent] = [event for update in updates for event in self._reader.read_update(update)]
        return Polled(events=tuple(events), cursor=after)

    def _answer_buttons(self, queries: JSON) -> Steps[None]:
        for query in queries if isinstance(queries, list) else ():
            body = {"callback_query_id": query}
            result = yield self._api.call("answerCallbackQuery", body, deadline=ANSWER_DEADLINE)
            if result.outcome != "answered":
                return

    def fetch(self, attachment: Attachment, address: Address) -> Steps[Fetched | None]:
        """Fetch a file by its ``file_id``; raises `PlatformError`."""
        file_id = file_id_of(attachment)
        return (yield from self._api.fetch(file_id)) if file_id else None

    def download(self, file_id: str, most_bytes: int = MOST_BYTES) -> Steps[bytes]:
        """The bytes of an attachment, by the ``file_id`` in its `raw`; raises `PlatformError`."""
        return self._api.download(file_id, most_bytes)

    # Out

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Show one part; in a chat that moved to another id, there."""
        try:
            request = request_of(outgoing)
        except ValueError as error:
            return Refused(reason=str(error))
        result = yield from self._shown(request)
        refusal = error_of(result)
        if refusal is not None and refusal.code == 400 and refusal.says(*_NOT_FETCHED):
            # Refused for certain: nothing was shown, and the link is better than nothing.
            request = as_link(outgoing) or request
            if request.method == "sendMessage":
                result = yield from self._shown(request)
        return outcome_of(result, outgoing.now, ours=request.ours)

    def edit(self, outgoing: Outgoing, mid: str) -> Steps[Outcome]:
        """Let our message `mid` show the part of `outgoing`."""
        try:
            request = edit_of(outgoing, mid)
        except ValueError as error:
            return Refused(reason=str(error))
        result = yield from self._shown(request)
        refusal = error_of(result)
        if refusal is not None and refusal.says("message is not modified"):
            return Sent(mids=(mid,))
        return outcome_of(result, outgoing.now)

    def _shown(self, request: Request) -> Generator[Call, CallResult, CallResult]:
        """What came of a request, sent to the supergroup that a group became if Telegram names it."""
        result = yield self._api.call(request.method, request.body, effect=True)
        error = error_of(result)
        if error is None or not error.migrated_to:
            return result
        moved = {**request.body, "chat_id": number_or_text(error.migrated_to)}
        result = yield self._api.call(request.method, moved, effect=True)
        return result

    def edit_interval(self, address: Address) -> float:
        """Seconds between two edits that the chat of `address` bears."""
        return PRIVATE_PACE if is_private(address) else GROUP_PACE

    def rates(self, address: Address) -> tuple[Rate, ...]:
        """How often the bot may write to the chat of `address`."""
        return (BOT_RATE, PRIVATE_RATE if is_private(address) else GROUP_RATE)

    def open_stream(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Begin a draft, which only private chats show; it vanishes 30 seconds after its last change."""
        address = outgoing.address
        if not is_private(address) or is_business(address):
            return Refused(reason="Telegram shows drafts in private chats with the bot only")
        draft = f"{DRAFT}{crc32(outgoing.id.encode('utf-8', 'surrogatepass')) or 1}"
        words = outgoing.part.text if isinstance(outgoing.part, Text) else ""
        return (yield from self._draft(outgoing, draft, words))

    def append(self, outgoing: Outgoing, stream: str, piece: str) -> Steps[Outcome]:
        """Show the text so far; drafts are always told whole. What was posted is no draft: it is edited."""
        if not stream.startswith(DRAFT):
            return Refused(reason="it is a message")
        words = outgoing.part.text if isinstance(outgoing.part, Text) else ""
        return (yield from self._draft(outgoing, stream, words))

    def close_stream(self, outgoing: Outgoing, stream: str) -> Steps[Outcome]:
        """Send the text for good, which ends the draft."""
        if not stream.startswith(DRAFT):
            return Refused(reason="it is a message")
        return (yield from self.send(outgoing))

    def _draft(self, outgoing: Outgoing, draft: str, words: str) -> Steps[Outcome]:
        request = draft_of(outgoing, int(draft.removeprefix(DRAFT)), words)
        result = yield self._api.call(request.method, request.body, effect=True)
        outcome = outcome_of(result, outgoing.now)
        return Sent(mids=(draft,)) if isinstance(outcome, Sent) else outcome

    def show_typing(self, address: Address, on: bool, context: Context) -> Steps[None]:
        """Show for 5 seconds, or until a message, that one is being written; it cannot be taken back."""
        if on:
            where = target(address)
            where.pop("direct_messages_topic_id", None)
            yield self._api.call("sendChatAction", {**where, "action": "typing"})

    def show_seen(self, address: Address, context: Context) -> Steps[None]:
        """Nothing: whoever writes to a bot sees that it was delivered, and no more."""
        yield from ()

    # Set-up

    def provision(self, webhook_url: str, *, dry_run: bool) -> Steps[tuple[str, ...]]:
        """Let Telegram send its updates to `webhook_url`, or nowhere if the bot asks for them.

        Waiting updates are kept. Raises `ConfigError`, `PlatformError`.
        """
        if self._username:
            yield from check_username(self._api, self._username)
        secret = None if self._polling else self._secret
        url = webhook_url or self._webhook_url
        return (yield from set_webhook(self._api, url, secret, dry_run=dry_run))

    # Playing Telegram

    def trigger(self, kind: str, text: str, now: float) -> WebhookRequest:
        """An authentic webhook as Telegram would send it; ValueError names the kinds."""
        made = _TRIGGERS.get(kind)
        if made is None:
            raise ValueError(f"no kind {kind!r}: {', '.join(_TRIGGERS)}")
        number = int(now * 1000)
        body = msgspec.json.encode({"update_id": number, **made(number % 1_000_000_000, int(now), text)})
        headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
        if self._secret is not None:
            headers += ((SECRET_HEADER.lower().encode(), self._secret.reveal().encode()),)
        return WebhookRequest(method="POST", path="", headers=headers, body=body, received_at=now)


def _button_answer(query: str) -> WebhookResponse:
    body = msgspec.json.encode({"method": "answerCallbackQuery", "callback_query_id": query})
    return WebhookResponse(body=body, content_type="application/json")


TRIGGER_PERSON = {"id": 1000000001, "is_bot": False, "first_name": "Ada"}
_CHAT = {"id": TRIGGER_PERSON["id"], "type": "private", "first_name": "Ada"}


def _triggered_message(mid: int, date: int, **content: Any) -> dict[str, Any]:
    return {"message_id": mid, "from": TRIGGER_PERSON, "chat": _CHAT, "date": date, **content}


_TRIGGERS: dict[str, Any] = {
    "text": lambda mid, date, text: {"message": _triggered_message(mid, date, text=text)},
    "postback": lambda mid, date, text: {
        "callback_query": {
            "id": str(mid),
            "from": TRIGGER_PERSON,
            "message": _triggered_message(mid, date, text="…"),
            "chat_instance": "1",
            "data": text,
        }
    },
}

channel_class = TelegramInput
