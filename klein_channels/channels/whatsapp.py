"""
WhatsApp, by Meta's Cloud API.

One webhook serves any number of telephone numbers; each is answered with its own token. Facts: Meta,
"WhatsApp Business Platform" (editions of November 2025 to September 2026), Graph API v25.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from zlib import crc32

import msgspec

from ..channel import Capabilities, ChannelOptions, Fetched, Steps
from ..credentials import Credentials
from ..errors import PlatformError
from ..json_fields import lenient_words
from ..meta.graph import GRAPH_VERSION, SEND_DEADLINE, AccountTokens, Graph
from ..meta.outcomes import graph_object
from ..meta.webhook import MetaWebhook
from ..model import (
    Address,
    Attachment,
    Call,
    CallResult,
    Context,
    Custom,
    Outcome,
    Outgoing,
    Received,
    Refused,
    Text,
    Value,
    WebhookRequest,
    read_json,
)
from ..rates import Rate
from ..secret import Secret
from ..signatures import hub_signature
from ..whatsapp.contents import media_id
from ..whatsapp.events import SUBJECT, EventReader
from ..whatsapp.outcomes import send_outcome
from ..whatsapp.people import GROUP
from ..whatsapp.rules import BODY, BUTTON, BUTTONS, ROW_DESCRIPTION, ROW_ID, ROW_TITLE, ROWS, TEXT
from ..whatsapp.sends import addressed, seen_body, send_body, template
from ..whatsapp.uploads import Uploads

WINDOW = 86_400.0
"""Seconds after a person's last word in which anything may be said; then templates only."""
MEDIA_URL = "https://lookaside.fbsbx.com"
"""Where the Graph says that files are; the token goes there."""
TEMPLATE_WORDS = 1024
"""Characters of the words for a variable of a template."""
_NUMBERS = "phone_numbers"
_VERIFY_HINT = "choose a text, and enter the same as the webhook's verify token in the app dashboard"
_SECRET_HINT = "copy the App Secret from Settings, Basic in the app dashboard"  # noqa: S105
_NUMBERS_HINT = "write {phone number id: system user's token} for each number"

CAPABILITIES = Capabilities(
    dialect="own",
    dialects=("whatsapp",),
    text_limit=TEXT,
    buttons=BUTTONS,
    button_title=BUTTON,
    button_text=BODY,
    button_links=False,
    lone_link=True,
    payload_limit=ROW_ID,
    list_rows=ROWS,
    list_title=ROW_TITLE,
    list_description=ROW_DESCRIPTION,
    list_text=TEXT,
    media=frozenset({"image", "audio", "video", "file"}),
    location=True,
    # "Payload up to 3 MB": a few attachments' worth of escapes more than our usual limit.
    max_body=4 << 20,
    malformed_status=200,
    redelivery_horizon=8 * 86_400.0,
    stable_timestamps=True,
    # Whoever changes the app on their telephone may answer with a choice that nobody gave them.
    signed_payloads=False,
    typing_lasts=25.0,
    retry_patience=WINDOW,
    # 80 a second for a number; one in six seconds for a person, of whom it bears bursts of some dozens.
    rates=(Rate(count=78.0, burst=2.0), Rate(count=1.0, seconds=6.0, burst=20.0, per="conversation")),
    # Each message comes back in a status with our id: what nobody tells of was most likely not sent.
    unknown="settle",
)


class WindowTemplate(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The template that goes out when a text comes too late for WhatsApp's 24 hours."""

    name: str
    language: str = "en"
    with_text: bool = False
    """Whether the text is the one variable of the template's body; else the template stands for it."""


class WhatsAppSettings(ChannelOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands under a channel of the type ``whatsapp`` in the configuration."""

    verify: Secret | None = None
    secret: Any = None
    """The app secret, or a list of them while one replaces another; the first is the app's own."""
    phone_numbers: dict[str, Secret] | None = None
    graph_url: str | None = None
    graph_version: str = GRAPH_VERSION
    media_url: str = MEDIA_URL
    upload_media: bool = False
    """Whether we fetch the files that are sent and give them to WhatsApp, in place of their addresses."""
    app_secret_proof: bool = True
    window_template: WindowTemplate | None = None

    def __post_init__(self) -> None:
        """Hide the secret, whose two forms have no type that a decoder could convert to."""
        hidden = _hidden(self.secret)
        if hidden is not self.secret:
            msgspec.structs.force_setattr(self, "secret", hidden)


def _hidden(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_hidden(item) for item in value)
    return Secret(value) if isinstance(value, str) else value


class WhatsAppInput:
    """The WhatsApp channel: telephone numbers of one Meta app, ``{phone number id: token}``.

    `verify` is the verify token of the webhook, `secret` the app secret (or several, the app's own
    first, while rotating). Raises `ConfigError`.
    """

    Settings: ClassVar[type[WhatsAppSettings]] = WhatsAppSettings
    capabilities = CAPABILITIES

    def __init__(  # noqa: PLR0913  (each is a setting)
        self,
        verify: Any = None,
        secret: Any = None,
        phone_numbers: Any = None,
        *,
        name: str = "whatsapp",
        graph_url: str | None = None,
        graph_version: str = GRAPH_VERSION,
        media_url: str = MEDIA_URL,
        upload_media: bool = False,
        app_secret_proof: bool = True,
        window_template: WindowTemplate | None = None,
        options: ChannelOptions = ChannelOptions(),  # noqa: B008  (immutable)
    ) -> None:
        self.name = name
        self.options = options
        credentials = Credentials(name)
        verify_token = credentials.one("verify", verify, _VERIFY_HINT)
        self._secrets = credentials.several("secret", secret, _SECRET_HINT)
        self._webhook = MetaWebhook("WhatsApp", verify_token, self._secrets)
        if not isinstance(phone_numbers, Mapping):
            raise credentials.problem(_NUMBERS, f"is missing: {_NUMBERS_HINT}")
        # One system user's token may be good for all numbers.
        known = credentials.tokens_by_account(_NUMBERS, phone_numbers, _NUMBERS_HINT, shared=True)
        self._tokens = AccountTokens(name, _NUMBERS, known, ())
        self._graph = Graph(name, graph_url, graph_version, self._secrets[0] if app_secret_proof else None)
        if not media_url.startswith("https://"):
            raise credentials.problem("media_url", f"must be an address like {MEDIA_URL}")
        self._media_url = media_url
        self._uploads = Uploads(self._graph) if upload_media else None
        self._reader = EventReader(name, self._tokens.covers)
        self._window_template = window_template

    @classmethod
    def from_settings(cls, name: str, settings: WhatsAppSettings) -> WhatsAppInput:
        """The channel that the configuration calls `name`."""
        return cls(
            verify=settings.verify,
            secret=settings.secret,
            phone_numbers=settings.phone_numbers,
            name=name,
            graph_url=settings.graph_url,
            graph_version=settings.graph_version,
            media_url=settings.media_url,
            upload_media=settings.upload_media,
            app_secret_proof=settings.app_secret_proof,
            window_template=settings.window_template,
            options=settings,
        )

    def __repr__(self) -> str:
        return f"WhatsAppInput({self.name!r}, phone_numbers={list(self._tokens.accounts)!r})"

    # In

    def knows_account(self, account: str) -> bool:
        """Whether the phone number id `account` is configured."""
        return self._tokens.covers(account)

    def verify(self, request: WebhookRequest, now: float) -> None:
        """Prove that a handshake knows the verify token, or a notification the app secret."""
        self._webhook.verify(request)

    def parse(self, request: WebhookRequest) -> Received:
        """The answer to a handshake, or the events of a notification."""
        response = self._webhook.handshake(request)
        if response is not None:
            return Received(response=response)
        return Received(events=self._reader.read(read_json(request.body)))

    def fetch(self, attachment: Attachment, address: Address) -> Steps[Fetched | None]:
        """Fetch a file by its id: the Graph names an address, which wants the token, too."""
        id = media_id(attachment)
        token = yield from self._tokens.token_for(self._graph, address.account, 0.0)
        if id is None or not isinstance(token, Secret):
            return None
        found = graph_object((yield self._graph.get(token, id, "url,mime_type,sha256,file_size"))) or {}
        url = found.get("url")
        if not isinstance(url, str) or not self._is_medias(url):
            raise PlatformError(f"channel {self.name!r}: WhatsApp names no address for the file {id}")
        authorization = ("Authorization", f"Bearer {token.reveal()}")
        result: CallResult = yield Call(
            method="GET", url=url, headers=(authorization,), deadline=60.0, trust="configured", save=True
        )
        return Fetched(
            result=result,
            content_type=lenient_words(found.get("mime_type")),
            sha256=lenient_words(found.get("sha256")),
        )

    def _is_medias(self, url: str) -> bool:
        """Whether the token may go there: below one of the addresses that the operator knows."""
        return any(url.startswith(f"{base.rstrip('/')}/") for base in (self._media_url, self._graph.base))

    # Out

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Show one part to a person or a group, from the number that they wrote to."""
        account = outgoing.address.account
        token = yield from self._tokens.token_for(self._graph, account, outgoing.now)
        if not isinstance(token, Secret):
            return token
        if self._uploads is not None and not _is_late(outgoing):
            given = yield from self._uploads.given(outgoing, token)
            if not isinstance(given, Outgoing):
                return given
            outgoing = given
        try:
            body = self._body(outgoing)
        except ValueError as error:
            return Refused(reason=str(error))
        result: CallResult = yield self._graph.post(token, account, "messages", body, True, SEND_DEADLINE)
        return send_outcome(result, outgoing.now, outgoing.attempt)

    def _body(self, outgoing: Outgoing) -> dict[str, Any]:
        """The body of a send; ValueError if nothing may, or can, be said."""
        if not _is_late(outgoing):
            return send_body(outgoing)
        instead = self._window_template
        if instead is None or not isinstance(outgoing.part, Text):
            raise ValueError(
                "window closed: more than 24 hours after the person's last word WhatsApp takes templates only"
            )
        words = " ".join(outgoing.part.text.split())
        if instead.with_text and len(words) > TEMPLATE_WORDS:
            raise ValueError(f"window closed: the text is too long for the template {instead.name!r}")
        return addressed(
            outgoing, template(instead.name, instead.language, [words] if instead.with_text else ())
        )

    def show_typing(self, address: Address, on: bool, context: Context) -> Steps[None]:
        """Show for up to 25 seconds that an answer is being written; the message is then read, too."""
        if on:
            yield from self._seen(address, context, typing=True)

    def show_seen(self, address: Address, context: Context) -> Steps[None]:
        """Mark the person's last message, and all before it, as read."""
        yield from self._seen(address, context, typing=False)

    def _seen(self, address: Address, context: Context, typing: bool) -> Steps[None]:
        token = yield from self._tokens.token_for(self._graph, address.account, 0.0)
        if isinstance(token, Secret) and context.last_event:
            body = seen_body(context.last_event, typing)
            yield self._graph.post(token, address.account, "messages", body, False)

    # Playing WhatsApp

    def trigger(self, kind: str, text: str, now: float) -> WebhookRequest:
        """A signed notification as WhatsApp would send it; ValueError names the kinds."""
        made = _TRIGGERS.get(kind)
        if made is None:
            raise ValueError(f"no kind {kind!r}: {', '.join(_TRIGGERS)}")
        number = next(iter(self._tokens.accounts))
        mid = f"wamid.{int(now * 1000):x}.{crc32(f'{kind} {text}'.encode('utf-8', 'replace')):08x}"
        message = {"from": TRIGGER_PERSON, "id": mid, "timestamp": str(int(now)), **made(text)}
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15550783881", "phone_number_id": number},
            "contacts": [{"profile": {"name": "Ada"}, "wa_id": TRIGGER_PERSON}],
            "messages": [message],
        }
        change = {"field": "messages", "value": value}
        body = msgspec.json.encode({"object": SUBJECT, "entry": [{"id": "1", "changes": [change]}]})
        signature = hub_signature(body, self._secrets[0]).encode()
        headers = ((b"content-type", b"application/json"), (b"x-hub-signature-256", signature))
        return WebhookRequest(method="POST", path="", headers=headers, body=body, received_at=now)


def _is_late(outgoing: Outgoing) -> bool:
    """Whether the window is known to be closed for what is no template; in groups there is none."""
    last_at = outgoing.context.last_at
    if last_at is None or outgoing.now - last_at <= WINDOW or outgoing.address.peer.startswith(GROUP):
        return False
    part = outgoing.part
    return not (isinstance(part, Custom) and isinstance(part.json, dict) and "template" in part.json)


TRIGGER_PERSON = "16505551234"
_TRIGGERS: dict[str, Any] = {
    "text": lambda text: {"type": "text", "text": {"body": text}},
    "postback": lambda text: {
        "type": "interactive",
        "interactive": {"type": "button_reply", "button_reply": {"id": text, "title": text[:20]}},
    },
    "image": lambda text: {"type": "image", "image": {"id": text, "mime_type": "image/jpeg"}},
}

channel_class = WhatsAppInput
