"""
Facebook Messenger.

One webhook serves any number of pages; each is answered with its own token. Facts: Meta, "Messenger
Platform" (editions of March to June 2026), Graph API v25.0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar
from zlib import crc32

import msgspec

from ..channel import Capabilities, ChannelOptions, Steps
from ..credentials import Credentials
from ..meta.events import EventReader
from ..meta.graph import GRAPH_VERSION, SEND_DEADLINE, AccountTokens, Graph
from ..meta.outcomes import graph_outcome
from ..meta.reuse import AttachmentIds
from ..meta.sends import MESSENGER
from ..meta.webhook import MetaWebhook
from ..model import (
    Address,
    CallResult,
    Context,
    Outcome,
    Outgoing,
    Received,
    Refused,
    Video,
    WebhookRequest,
    read_json,
)
from ..rates import Rate
from ..secret import Secret
from ..signatures import hub_signature

VIDEO_DEADLINE = 90.0
"""Seconds; the Graph itself waits 75 s for a video's address before it answers."""
_VERIFY, _SECRET, _TOKENS = "verify (fb_verify)", "secret (fb_secret)", "page_tokens"
_VERIFY_HINT = "choose a text, and enter the same as the webhook's verify token in the app dashboard"
_SECRET_HINT = "copy the App Secret from Settings, Basic in the app dashboard"  # noqa: S105
_TOKENS_HINT = "write {page id: page access token} for each page"

CAPABILITIES = Capabilities(
    # "Less than 2000" in the documentation; the Graph's own error says "less than or equal to 2000".
    text_limit=2000,
    quick_replies=13,
    buttons=3,
    cards=10,
    media=frozenset({"image", "audio", "video", "file"}),
    max_body=4 << 20,
    malformed_status=200,
    redelivery_horizon=8 * 86_400.0,
    stable_timestamps=True,
    signed_payloads=True,
    retry_patience=86_400.0,
    # 300 a second, 10 with audio or video, for a page (Meta, "Rate Limiting", 23 March 2026).
    rates=(
        Rate(count=295.0, burst=5.0),
        Rate(count=9.0, kinds=("audio", "video")),
    ),
)


class FacebookSettings(ChannelOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands under a channel of the type ``facebook`` in the configuration."""

    verify: Secret | None = None
    secret: Any = None
    """The app secret, or a list of them while one replaces another; the first is the app's own."""
    page_tokens: dict[str, Secret] | None = None
    page_access_token: Secret | None = msgspec.field(default=None, name="page-access-token")
    graph_url: str | None = None
    graph_version: str = GRAPH_VERSION
    allow_sha1: bool = False
    app_secret_proof: bool = True
    reuse_media: bool = False
    """Whether a file that was sent once is sent by its id from then on: for addresses whose content stays."""

    def __post_init__(self) -> None:
        """Hide the secret, whose two forms have no type that a decoder could convert to."""
        hidden = _hidden(self.secret)
        if hidden is not self.secret:
            msgspec.structs.force_setattr(self, "secret", hidden)


def _hidden(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_hidden(item) for item in value)
    return Secret(value) if isinstance(value, str) else value


class FacebookInput:
    """The Messenger channel: pages of one Facebook app.

    `fb_verify` is the verify token of the webhook, `fb_secret` the app secret (or several, the app's
    own first, while rotating). The pages' tokens come as `page_tokens` ``{page id: token}``; `fb_tokens`
    takes the same, a list, or one token, and `fb_access_token` one token. Raises `ConfigError`.
    """

    Settings: ClassVar[type[FacebookSettings]] = FacebookSettings
    capabilities = CAPABILITIES

    def __init__(  # noqa: PLR0913  (the first four are the published signature)
        self,
        fb_verify: Any = None,
        fb_secret: Any = None,
        fb_tokens: Any = None,
        debug_mode: bool = False,
        *,
        page_tokens: Any = None,
        fb_access_token: Any = None,
        name: str = "facebook",
        graph_url: str | None = None,
        graph_version: str = GRAPH_VERSION,
        allow_sha1: bool = False,
        app_secret_proof: bool = True,
        reuse_media: bool = False,
        options: ChannelOptions = ChannelOptions(),  # noqa: B008  (immutable)
    ) -> None:
        self.name = name
        self.options = msgspec.structs.replace(options, debug_mode=True) if debug_mode else options
        credentials = Credentials(name)
        verify_token = credentials.one(_VERIFY, fb_verify, _VERIFY_HINT)
        self._secrets = credentials.several(_SECRET, fb_secret, _SECRET_HINT)
        self._webhook = MetaWebhook("Messenger", verify_token, self._secrets, allow_sha1=allow_sha1)
        self._tokens = _read_tokens(credentials, name, page_tokens, fb_tokens, fb_access_token)
        self._graph = Graph(name, graph_url, graph_version, self._secrets[0] if app_secret_proof else None)
        self._media = AttachmentIds() if reuse_media else None
        self._reader = EventReader(name, "page", self._tokens.covers)

    @classmethod
    def from_settings(cls, name: str, settings: FacebookSettings) -> FacebookInput:
        """The channel that the configuration calls `name`."""
        return cls(
            fb_verify=settings.verify,
            fb_secret=settings.secret,
            page_tokens=settings.page_tokens,
            fb_access_token=settings.page_access_token,
            name=name,
            graph_url=settings.graph_url,
            graph_version=settings.graph_version,
            allow_sha1=settings.allow_sha1,
            app_secret_proof=settings.app_secret_proof,
            reuse_media=settings.reuse_media,
            options=settings,
        )

    def __repr__(self) -> str:
        return f"FacebookInput({self.name!r}, pages={list(self._tokens.accounts)!r})"

    # In

    def knows_account(self, account: str) -> bool:
        """Whether the page `account` is configured, or may be: tokens in a list name no page."""
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

    # Out

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Show one part to a person, as the page that they wrote to."""
        try:
            body = MESSENGER.send_body(outgoing)
        except ValueError as error:
            return Refused(reason=str(error))
        account = outgoing.address.account
        token = yield from self._tokens.token_for(self._graph, account, outgoing.now)
        if not isinstance(token, Secret):
            return token
        if self._media is not None:
            body = self._media.put_into(body, outgoing)
        deadline = VIDEO_DEADLINE if isinstance(outgoing.part, Video) else SEND_DEADLINE
        result: CallResult = yield self._graph.post(token, account, "messages", body, True, deadline)
        outcome = graph_outcome(result, outgoing.now, outgoing.attempt)
        return outcome if self._media is None else self._media.learn(outgoing, body, result, outcome)

    def show_typing(self, address: Address, on: bool, context: Context) -> Steps[None]:
        """Show the dots for up to 20 seconds, or hide them."""
        yield from self._act(address, "typing_on" if on else "typing_off")

    def show_seen(self, address: Address, context: Context) -> Steps[None]:
        """Mark the person's messages as read."""
        yield from self._act(address, "mark_seen")

    def _act(self, address: Address, action: str) -> Steps[None]:
        token = yield from self._tokens.token_for(self._graph, address.account, 0.0)
        if isinstance(token, Secret):
            body = MESSENGER.action_body(address.peer, action)
            yield self._graph.post(token, address.account, "messages", body, False)

    # Playing Messenger

    def trigger(self, kind: str, text: str, now: float) -> WebhookRequest:
        """A signed notification as Messenger would send it; ValueError names the kinds."""
        made = _TRIGGERS.get(kind)
        if made is None:
            raise ValueError(f"no kind {kind!r}: {', '.join(_TRIGGERS)}")
        page = next(iter(self._tokens.accounts), "1")
        milliseconds = int(now * 1000)
        mid = f"m_{milliseconds:x}.{crc32(f'{kind} {text}'.encode('utf-8', 'replace')):08x}"
        item = {
            "sender": {"id": TRIGGER_PERSON},
            "recipient": {"id": page},
            "timestamp": milliseconds,
            **made(mid, text),
        }
        body = msgspec.json.encode(
            {"object": "page", "entry": [{"id": page, "time": milliseconds, "messaging": [item]}]}
        )
        signature = hub_signature(body, self._secrets[0]).encode()
        headers = ((b"content-type", b"application/json"), (b"x-hub-signature-256", signature))
        return WebhookRequest(method="POST", path="", headers=headers, body=body, received_at=now)


def _read_tokens(
    credentials: Credentials, name: str, page_tokens: Any, fb_tokens: Any, fb_access_token: Any
) -> AccountTokens:
    """All tokens, from whichever of the three arguments they come."""
    by_page: dict[str, Secret] = {}
    without_page: list[Secret] = []
    given = {_TOKENS: page_tokens, "fb_tokens": fb_tokens, "page-access-token": fb_access_token}
    for key, value in given.items():
        if isinstance(value, Mapping):
            for page, token in credentials.tokens_by_account(key, value, _TOKENS_HINT).items():
                if by_page.setdefault(page, token) != token:
                    raise credentials.problem(key, f"has another token for the page {page} than {_TOKENS}")
        elif value is not None:
            without_page += credentials.tokens(key, value, _TOKENS_HINT)
    if not by_page and not without_page:
        raise credentials.problem(_TOKENS, f"is missing: {_TOKENS_HINT}")
    return AccountTokens(name, _TOKENS, by_page, without_page)


TRIGGER_PERSON = "1000000000000001"


def _triggered_attachment(kind: str) -> Any:
    return lambda mid, text: {
        "message": {"mid": mid, "attachments": [{"type": kind, "payload": {"url": text}}]}
    }


_TRIGGERS: dict[str, Any] = {
    "text": lambda mid, text: {"message": {"mid": mid, "text": text}},
    "quick_reply": lambda mid, text: {
        "message": {"mid": mid, "text": text, "quick_reply": {"payload": text}}
    },
    "postback": lambda mid, text: {"postback": {"mid": mid, "title": text, "payload": text}},
    "referral": lambda _, text: {"referral": {"ref": text, "source": "SHORTLINK", "type": "OPEN_THREAD"}},
    **{kind: _triggered_attachment(kind) for kind in ("image", "audio", "video", "file")},
}

channel_class = FacebookInput
