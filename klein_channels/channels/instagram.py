"""
Instagram's direct messages.

Accounts are reached in one of two ways: through the Facebook page that they are linked to, with the
page's token at graph.facebook.com, or by Instagram's own login, with a token of 60 days at
graph.instagram.com that is renewed before it ends. Facts: Meta, "Instagram Messaging" and "Instagram
API with Instagram Login" (editions of 2026), Graph API v25.0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import msgspec

from ..channel import Capabilities, ChannelOptions, Renewed, Steps
from ..credentials import Credentials
from ..meta.channel import MessagingChannel
from ..meta.events import EventReader
from ..meta.graph import GRAPH_URL, GRAPH_VERSION, AccountTokens, Graph
from ..meta.live_check import LiveCheck
from ..meta.messaging import MetaMessaging
from ..meta.profile import Profile, wanted_profile
from ..meta.renewal import TokenRenewal
from ..meta.sends import INSTAGRAM
from ..meta.setup import Setup
from ..meta.triggers import trigger_request
from ..meta.usage import SEND_RATES
from ..meta.webhook import MetaWebhook
from ..model import JSON, Address, Sender, WebhookRequest
from ..secret import Secret

INSTAGRAM_GRAPH_URL = "https://graph.instagram.com"
LOGINS = ("page", "instagram")
_VERIFY_HINT = "choose a text, and enter the same as the webhook's verify token in the app dashboard"
_SECRET_HINT = "copy the app secret from the app dashboard; with Instagram's login, Instagram's own"  # noqa: S105
_TOKENS_HINT = "write {Instagram account id: access token} for each account"

CAPABILITIES = Capabilities(
    text_limit=1000,
    text_unit="bytes",
    title_unit="characters",
    payload_unit="characters",
    quick_replies=13,
    quick_reply_asks=False,
    buttons=3,
    button_calls=False,
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
    "message_reactions",
    "messaging_handover",
    "messaging_postbacks",
    "messaging_referral",
    "messaging_seen",
)
PROFILE = ("ice_breakers", "persistent_menu")
PERMISSIONS = ("instagram_basic", "instagram_manage_messages", "pages_manage_metadata")


class InstagramSettings(ChannelOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands under a channel of the type ``instagram`` in the configuration."""

    verify: Secret | None = None
    secret: Any = None
    """The app secret, or a list of them: each of the two logins has one of its own."""
    accounts: dict[str, Secret] | None = None
    login: Literal["page", "instagram"] = "page"
    graph_url: str | None = None
    graph_version: str = GRAPH_VERSION
    app_secret_proof: bool | None = None
    subscribed_fields: tuple[str, ...] = SUBSCRIBED_FIELDS
    profile: Profile | None = None

    def __post_init__(self) -> None:
        """Hide the secret, whose two forms have no type that a decoder could convert to."""
        hidden = Secret.hiding(self.secret)
        if hidden is not self.secret:
            msgspec.structs.force_setattr(self, "secret", hidden)


class InstagramInput(MessagingChannel):
    """The Instagram channel: professional accounts of one app.

    `accounts` are ``{Instagram account id: token}``: tokens of the linked pages, or, with `login`
    ``instagram``, of the accounts themselves. `secret` is the app secret, or several. Every call proves
    that we know the first of them, where `app_secret_proof` says so or the login is through pages.
    Raises `ConfigError`.
    """

    Settings: ClassVar[type[InstagramSettings]] = InstagramSettings
    capabilities = CAPABILITIES

    def __init__(  # noqa: PLR0913  (each is a key of the configuration)
        self,
        verify: Any = None,
        secret: Any = None,
        accounts: Any = None,
        *,
        login: str = "page",
        name: str = "instagram",
        graph_url: str | None = None,
        graph_version: str = GRAPH_VERSION,
        app_secret_proof: bool | None = None,
        subscribed_fields: Sequence[str] = SUBSCRIBED_FIELDS,
        profile: Profile | None = None,
        options: ChannelOptions = ChannelOptions(),  # noqa: B008  (immutable)
    ) -> None:
        self.name = name
        self.options = options
        credentials = Credentials(name)
        verify_token = credentials.one("verify", verify, _VERIFY_HINT)
        self._secrets = credentials.several("secret", secret, _SECRET_HINT)
        if login not in LOGINS:
            raise credentials.problem("login", f"must be one of {', '.join(LOGINS)}")
        if not isinstance(accounts, dict):
            raise credentials.problem("accounts", f"is missing: {_TOKENS_HINT}")
        tokens = AccountTokens(
            name, "accounts", credentials.tokens_by_account("accounts", accounts, _TOKENS_HINT), ()
        )
        by_page = login == "page"
        proves = by_page if app_secret_proof is None else app_secret_proof
        graph = Graph(
            name,
            graph_url,
            graph_version,
            self._secrets[0] if proves else None,
            GRAPH_URL if by_page else INSTAGRAM_GRAPH_URL,
        )
        self._messaging = MetaMessaging(
            webhook=MetaWebhook("Instagram", verify_token, self._secrets),
            reader=EventReader(name, "instagram", tokens.covers),
            graph=graph,
            tokens=tokens,
            format=INSTAGRAM,
            # The page's token does not say so of an Instagram account, but ``me`` always is the sender.
            node="me",
        )
        self._renewal = None if by_page else TokenRenewal(name, graph, tokens)
        self._setup = Setup(
            channel=name,
            subject="instagram",
            graph=graph,
            tokens=tokens,
            verify_token=verify_token,
            app_secret=self._secrets[0],
            fields=tuple(subscribed_fields),
            profile=wanted_profile(name, profile, PROFILE),
            platform="platform=instagram",
            has_app=by_page,
        )
        self._check = LiveCheck(
            version=graph_version,
            graph=graph,
            tokens=tokens,
            app_secret=self._secrets[0],
            fields=self._setup.fields,
            permissions=PERMISSIONS,
            me_fields="id,name,instagram_business_account" if by_page else "user_id,username",
            has_app=by_page,
        )

    @classmethod
    def from_settings(cls, name: str, settings: InstagramSettings) -> InstagramInput:
        """The channel that the configuration calls `name`."""
        return cls(
            settings.verify,
            settings.secret,
            settings.accounts,
            login=settings.login,
            name=name,
            graph_url=settings.graph_url,
            graph_version=settings.graph_version,
            app_secret_proof=settings.app_secret_proof,
            subscribed_fields=settings.subscribed_fields,
            profile=settings.profile,
            options=settings,
        )

    def __repr__(self) -> str:
        return f"InstagramInput({self.name!r}, accounts={list(self._messaging.tokens.accounts)!r})"

    def person(self, sender: Sender, address: Address) -> Steps[Sender | None]:
        """Ask Instagram for a person's name."""
        return self._messaging.person(sender, address, "name,username")

    # Tokens that end

    @property
    def seal_key(self) -> Secret:
        """Who knows the app secret may read the tokens."""
        return self._secrets[0]

    def renewable(self) -> tuple[str, ...]:
        """The accounts whose tokens end; none where pages' tokens are used."""
        return self._renewal.accounts if self._renewal is not None else ()

    def restore(self, account: str, state: JSON) -> float | None:
        """Go by a token that was stored; when it wants to be renewed, None if it is of no use."""
        return self._renewal.restore(account, state) if self._renewal is not None else None

    def renew(self, account: str, now: float) -> Steps[Renewed]:
        """A token for another 60 days."""
        assert self._renewal is not None
        return self._renewal.renew(account, now)

    # Playing Instagram

    def trigger(self, kind: str, text: str, now: float) -> WebhookRequest:
        """A signed notification as Instagram would send it; ValueError names the kinds."""
        account = self._messaging.tokens.accounts[0]
        return trigger_request("instagram", account, kind, text, now, self._secrets[0])


channel_class = InstagramInput
