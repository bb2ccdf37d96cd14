"""
Facebook Messenger.

One webhook serves any number of pages; each is answered with its own token. Facts: Meta, "Messenger
Platform" (editions of March to June 2026), Graph API v25.0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from ..channel import Capabilities, ChannelOptions, Steps
from ..credentials import Credentials
from ..meta.channel import MessagingChannel
from ..meta.events import EventReader
from ..meta.graph import GRAPH_VERSION, AccountTokens, Graph
from ..meta.live_check import LiveCheck
from ..meta.messaging import MetaMessaging
from ..meta.profile import Profile, wanted_profile
from ..meta.reuse import AttachmentIds
from ..meta.sends import MESSENGER
from ..meta.setup import Setup
from ..meta.triggers import trigger_request
from ..meta.usage import SEND_RATES
from ..meta.webhook import MetaWebhook
from ..model import (
    Address,
    Sender,
    WebhookRequest,
)
from ..secret import Secret

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
    rates=SEND_RATES,
)


SUBSCRIBED_FIELDS = (
    "messages",
    "messaging_postbacks",
    "message_echoes",
    "message_edits",
    "message_reactions",
    "messaging_account_linking",
    "messaging_handovers",
    "messaging_optins",
    "messaging_policy_enforcement",
    "messaging_referrals",
    "standby",
)
"""What a page sends to the webhook; deliveries and reads are as many again, and nothing here needs them."""
PROFILE = ("get_started", "greeting", "ice_breakers", "persistent_menu")
PERMISSIONS = ("pages_messaging", "pages_manage_metadata")


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
    subscribed_fields: tuple[str, ...] = SUBSCRIBED_FIELDS
    profile: Profile | None = None

    def __post_init__(self) -> None:
        """Hide the secret, whose two forms have no type that a decoder could convert to."""
        hidden = Secret.hiding(self.secret)
        if hidden is not self.secret:
            msgspec.structs.force_setattr(self, "secret", hidden)


class FacebookInput(MessagingChannel):
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
        subscribed_fields: Sequence[str] = SUBSCRIBED_FIELDS,
        profile: Profile | None = None,
        options: ChannelOptions = ChannelOptions(),  # noqa: B008  (immutable)
    ) -> None:
        self.name = name
        self.options = msgspec.structs.replace(options, debug_mode=True) if debug_mode else options
        credentials = Credentials(name)
        verify_token = credentials.one(_VERIFY, fb_verify, _VERIFY_HINT)
        self._secrets = credentials.several(_SECRET, fb_secret, _SECRET_HINT)
        self._tokens = _read_tokens(credentials, name, page_tokens, fb_tokens, fb_access_token)
        graph = Graph(name, graph_url, graph_version, self._secrets[0] if app_secret_proof else None)
        self._messaging = MetaMessaging(
            webhook=MetaWebhook("Messenger", verify_token, self._secrets, allow_sha1=allow_sha1),
            reader=EventReader(name, "page", self._tokens.covers),
            graph=graph,
            tokens=self._tokens,
            format=MESSENGER,
            media=AttachmentIds() if reuse_media else None,
        )

        self._setup = Setup(
            channel=name,
            subject="page",
            graph=graph,
            tokens=self._tokens,
            verify_token=verify_token,
            app_secret=self._secrets[0],
            fields=tuple(subscribed_fields),
            profile=wanted_profile(name, profile, PROFILE),
        )
        self._check = LiveCheck(
            version=graph_version,
            graph=graph,
            tokens=self._tokens,
            app_secret=self._secrets[0],
            fields=self._setup.fields,
            permissions=PERMISSIONS,
        )

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
            subscribed_fields=settings.subscribed_fields,
            profile=settings.profile,
            options=settings,
        )

    def __repr__(self) -> str:
        return f"FacebookInput({self.name!r}, pages={list(self._tokens.accounts)!r})"

    def person(self, sender: Sender, address: Address) -> Steps[Sender | None]:
        """Ask Messenger for a person's name."""
        return self._messaging.person(sender, address, "name,first_name,last_name")

    # Playing Messenger

    def trigger(self, kind: str, text: str, now: float) -> WebhookRequest:
        """A signed notification as Messenger would send it; ValueError names the kinds."""
        page = next(iter(self._tokens.accounts), "1")
        return trigger_request("page", page, kind, text, now, self._secrets[0])


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


channel_class = FacebookInput
