"""
Slack.

One app at Slack serves any number of workspaces; each is answered with its own bot token. Events,
interactions and slash commands all come to the one webhook. Facts: Slack's developer documentation
(docs.slack.dev), read November 2026.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal
from urllib.parse import urlencode
from zlib import crc32

import msgspec

from ..channel import Capabilities, ChannelOptions, Fetched, Grant, Steps
from ..credentials import Credentials
from ..errors import ConfigError, PlatformError, VerificationError
from ..model import (
    Address,
    AnyEvent,
    Attachment,
    CallResult,
    Context,
    Outcome,
    Outgoing,
    Received,
    Refused,
    Sent,
    Unknown,
    WebhookRequest,
)
from ..rates import Rate
from ..secret import Secret
from ..signatures import check_slack_signature, slack_signature
from ..slack.api import SlackApi, response_call
from ..slack.events import EventReader, Listening
from ..slack.files import file_call, is_kept_by_slack, is_page_instead
from ..slack.install import AUTHORIZE_URL, SCOPES, Installation, ends_grant
from ..slack.interactions import InteractionReader
from ..slack.outcomes import answer_of, response_url_outcome, slack_outcome
from ..slack.places import Places
from ..slack.sends import Request, edit_request, send_request
from ..slack.streams import opening_body, piece_body, shows_just
from ..slack.teams import ConfiguredTokens, JoinedTokens, TeamTokens
from ..slack.triggers import TRIGGERS
from ..slack.webhook import WebhookReader

STATUS = "is typing…"
_SECRET, _TOKEN, _TEAMS = "slack_signing_secret", "slack_token", "teams"
_SECRET_HINT = "copy the Signing Secret from Basic Information in the app's settings"  # noqa: S105
_TOKEN_HINT = "copy the Bot User OAuth Token (xoxb-…) from OAuth & Permissions in the app's settings"  # noqa: S105
_TEAMS_HINT = "write {team id: bot token} for each workspace"
_CLIENT_HINT = "copy the Client ID and the Client Secret from Basic Information in the app's settings"
_GRANULARITY: dict[str, Literal["sender", "chat", "thread"]] = {
    "sender": "sender",
    "channel": "chat",
    "thread": "thread",
}

CAPABILITIES = Capabilities(
    dialect="own",
    dialects=("slack",),
    # 40,000 are taken, 4,000 recommended, and an edit of more is refused.
    text_limit=4000,
    buttons=25,
    button_title=75,
    button_text=3000,
    payload_limit=2000,
    cards=10,
    card_title=150,
    card_subtitle=300,
    card_buttons=5,
    media=frozenset({"image", "audio", "video", "file"}),
    malformed_status=200,
    # Three times within an hour, and hourly for a day where delayed events are switched on.
    redelivery_horizon=2 * 86_400.0,
    stable_timestamps=True,
    signed_payloads=True,
    edit_interval=1.5,
    # One message a second in each channel, with short bursts above it (Slack, "Rate limits").
    rates=(Rate(count=1.0, burst=3.0, per="conversation"),),
)


class SlackSettings(ChannelOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands under a channel of the type ``slack`` in the configuration.

    The first nine are Rasa's. Those about retries have no effect: an event is known by its id,
    and one that comes late under the name of a retry is not thrown away.
    """

    slack_token: Secret | None = None
    slack_signing_secret: Any = None
    """The signing secret, or a list of them while one replaces another."""
    slack_channel: str | None = None
    """A channel (its id) in which also what does not mention us is answered, with `mentions_only`."""
    proxy: str | None = None
    slack_retry_reason_header: str | None = None
    slack_retry_number_header: str | None = None
    errors_ignore_retry: Any = None
    use_threads: bool = False
    """Whether a message in a channel begins a thread, in which it is answered."""
    conversation_granularity: Literal["sender", "channel", "thread"] | None = None
    """`conversation` in Rasa's words; it goes before that."""
    teams: dict[str, Secret] | None = None
    """Bot tokens by workspace; `slack_token` is for those that are not named."""
    mentions_only: bool = False
    """Whether in channels only that is answered which mentions us, or replies to us."""
    api_url: str | None = None
    client_id: str | None = None
    client_secret: Secret | None = None
    """With the id: what workspaces are joined with by OAuth."""
    scopes: tuple[str, ...] = SCOPES
    authorize_url: str = AUTHORIZE_URL

    def __post_init__(self) -> None:
        """Hide the secret, whose two forms have no type that a decoder could convert to."""
        hidden = _hidden(self.slack_signing_secret)
        if hidden is not self.slack_signing_secret:
            msgspec.structs.force_setattr(self, "slack_signing_secret", hidden)
        if self.conversation_granularity is not None:
            said = _GRANULARITY[self.conversation_granularity]
            msgspec.structs.force_setattr(self, "conversation", said)


def _hidden(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_hidden(item) for item in value)
    return Secret(value) if isinstance(value, str) else value


class SlackInput:
    """The Slack channel: the workspaces of one Slack app.

    `slack_signing_secret` is the app's (or several, while rotating). The bot tokens come as
    `slack_token`, for every workspace, or as `teams` ``{team id: token}``, or as `tokens`, which
    may have a store behind it. With `client_id` and `client_secret` workspaces can be joined by
    OAuth, see `installation`. Raises `ConfigError`.
    """

    Settings: ClassVar[type[SlackSettings]] = SlackSettings
    capabilities = CAPABILITIES

    def __init__(  # noqa: PLR0913  (the names are Rasa's)
        self,
        slack_token: Any = None,
        slack_channel: str | None = None,
        slack_signing_secret: Any = None,
        *,
        teams: Any = None,
        tokens: TeamTokens | None = None,
        use_threads: bool = False,
        mentions_only: bool = False,
        api_url: str | None = None,
        client_id: str | None = None,
        client_secret: Any = None,
        scopes: tuple[str, ...] = SCOPES,
        authorize_url: str = AUTHORIZE_URL,
        name: str = "slack",
        options: ChannelOptions = ChannelOptions(),  # noqa: B008  (immutable)
    ) -> None:
        self.name = name
        self.options = options
        credentials = Credentials(name)
        self._secrets = credentials.several(_SECRET, slack_signing_secret, _SECRET_HINT)
        self._api = SlackApi(name, api_url)
        self.installation = _read_installation(
            credentials, name, self._api, client_id, client_secret, scopes, authorize_url
        )
        """How workspaces are joined; None without `client_id`."""
        elsewhere = self.installation is not None or tokens is not None
        self._joined = JoinedTokens(_read_tokens(credentials, teams, slack_token, may_be_none=elsewhere))
        self.tokens: TeamTokens = self._joined if tokens is None else tokens
        """The bot tokens."""
        self._listening = Listening(mentions_only, slack_channel or "")
        self._use_threads = use_threads

    @classmethod
    def from_settings(cls, name: str, settings: SlackSettings) -> SlackInput:
        """The channel that the configuration calls `name`."""
        if settings.proxy:
            raise ConfigError(
                f"channel {name!r}: proxy is not supported; let api_url lead to a host that forwards to Slack"
            )
        return cls(
            slack_token=settings.slack_token,
            slack_channel=settings.slack_channel,
            slack_signing_secret=settings.slack_signing_secret,
            teams=settings.teams,
            use_threads=settings.use_threads,
            mentions_only=settings.mentions_only,
            api_url=settings.api_url,
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            scopes=settings.scopes,
            authorize_url=settings.authorize_url,
            name=name,
            options=settings,
        )

    def __repr__(self) -> str:
        return f"SlackInput({self.name!r}, teams={list(self.tokens.teams)!r})"

    # In

    def knows_account(self, account: str) -> bool:
        """Whether there is a token for the workspace `account`."""
        return self.tokens.covers(account)

    def verify(self, request: WebhookRequest, now: float) -> None:
        """Prove that a request is Slack's and of now."""
        if request.method != "POST":
            raise VerificationError("Slack sends POST only", status=405)
        check_slack_signature(
            request.header_values(b"x-slack-request-timestamp"),
            request.header_values(b"x-slack-signature"),
            request.body,
            self._secrets,
            now,
        )

    def parse(self, request: WebhookRequest) -> Received:
        """The events of a delivery, an interaction or a command, and the answer to it."""
        places = Places(self.name, self.tokens, self._use_threads)
        events = EventReader(places, self._listening)
        return WebhookReader(self.name, events, InteractionReader(places)).read(request.body)

    def fetch(self, attachment: Attachment, address: Address) -> Steps[Fetched | None]:
        """Fetch a file with the token of the workspace; None for what lies elsewhere, which gets none."""
        token = self.tokens.token_for(address.account)
        if token is None or attachment.url is None or not is_kept_by_slack(attachment):
            return None
        result = yield file_call(attachment.url, token)
        if is_page_instead(result, attachment):
            raise PlatformError(f"channel {self.name!r}: Slack gave a page, no file: is files:read missing?")
        return Fetched(result=result)

    # Joining

    @property
    def grants_key(self) -> Secret | None:
        """The client secret, where workspaces can join."""
        return self.installation.secret if self.installation is not None else None

    def authorize_url(self, state: str, redirect_uri: str) -> str:
        """Where somebody is sent to install the app."""
        return self._installs().authorize_url(state, redirect_uri)

    def join(self, code: str, redirect_uri: str, now: float) -> Steps[Grant]:
        """The workspace or organisation that a code came from; raises `PlatformError`."""
        return self._installs().exchange(code, redirect_uri, now)

    def renew(self, grant: Grant, now: float) -> Steps[Grant]:
        """The next token of a workspace, where token rotation is on; raises `PlatformError`."""
        return self._installs().renew(grant, now)

    def use_grants(self, grants: Sequence[Grant]) -> None:
        """Answer the workspaces of `grants` with their tokens."""
        self._joined.use({grant.account: grant.token for grant in grants})

    def ends_grant(self, event: AnyEvent) -> bool:
        """Whether a workspace removed the app, or took its bot token back."""
        return isinstance(event, Unknown) and ends_grant(event.name, event.raw)

    def _installs(self) -> Installation:
        if self.installation is None:
            raise ConfigError(f"channel {self.name!r}: client_id is missing, so no workspace can join")
        return self.installation

    # Out

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Show one part in a chat or a thread, or do what a custom part asks for."""
        try:
            request = send_request(outgoing)
        except ValueError as error:
            return Refused(reason=str(error))
        if request.response_url is not None:
            result: CallResult = yield response_call(request.response_url, request.body)
            return response_url_outcome(result, outgoing.now)
        return (yield from self._ask(outgoing, request))

    def edit(self, outgoing: Outgoing, mid: str) -> Steps[Outcome]:
        """Let our message `mid` show the part of `outgoing`."""
        try:
            request = edit_request(outgoing, *_place_of(mid, outgoing.address))
        except ValueError as error:
            return Refused(reason=str(error))
        return (yield from self._ask(outgoing, request))

    def open_stream(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Begin a stream in the thread that is answered; `Refused` where there is none."""
        try:
            request = Request("chat.startStream", opening_body(outgoing))
        except ValueError as error:
            return Refused(reason=str(error))
        return (yield from self._ask(outgoing, request))

    def append(self, outgoing: Outgoing, stream: str, piece: str) -> Steps[Outcome]:
        """Show `piece` behind what was shown."""
        channel, ts = _place_of(stream, outgoing.address)
        try:
            body = {"channel": channel, "ts": ts, **piece_body(piece)}
        except ValueError as error:
            return Refused(reason=str(error))
        return (yield from self._ask(outgoing, Request("chat.appendStream", body)))

    def close_stream(self, outgoing: Outgoing, stream: str) -> Steps[Outcome]:
        """End the stream; what it had not yet shown of the text is shown by an edit."""
        token = self.tokens.token_for(outgoing.address.account)
        if token is None:
            return self._no_token(outgoing.address.account)
        channel, ts = _place_of(stream, outgoing.address)
        body = {"channel": channel, "ts": ts}
        result: CallResult = yield self._api.call(token, "chat.stopStream", body, True)
        outcome = _named(slack_outcome(result, outgoing.now), result, outgoing.address)
        if isinstance(outcome, Sent) and not shows_just(result, outgoing):
            return (yield from self.edit(outgoing, stream))
        return outcome

    def show_typing(self, address: Address, on: bool, context: Context) -> Steps[None]:
        """Show that an answer is being written, which Slack can in threads only."""
        token = self.tokens.token_for(address.account)
        if token is not None and address.thread is not None:
            status = {"channel_id": address.peer, "thread_ts": address.thread, "status": STATUS if on else ""}
            yield self._api.call(token, "assistant.threads.setStatus", status, False)

    def show_seen(self, address: Address, context: Context) -> Steps[None]:
        """Slack has nothing of the kind."""
        yield from ()

    def _ask(self, outgoing: Outgoing, request: Request) -> Steps[Outcome]:
        """Make the one call of a send."""
        token = self.tokens.token_for(outgoing.address.account)
        if token is None:
            return self._no_token(outgoing.address.account)
        result: CallResult = yield self._api.call(token, request.method, request.body, True)
        return _named(slack_outcome(result, outgoing.now), result, outgoing.address)

    def _no_token(self, account: str) -> Refused:
        return Refused(
            reason=f"channel {self.name!r}: no token for {account!r}; add it to {_TEAMS}", scope="account"
        )

    # Playing Slack

    def trigger(self, kind: str, text: str, now: float) -> WebhookRequest:
        """A signed request as Slack would send it; ValueError names the kinds."""
        made = TRIGGERS.get(kind)
        if made is None:
            raise ValueError(f"no kind {kind!r}: {', '.join(TRIGGERS)}")
        team = next(iter(self.tokens.teams), "T1")
        fields = made(team, text, now, f"{crc32(f'{kind} {text}'.encode('utf-8', 'replace')):08x}")
        is_form = "payload" in fields or "command" in fields
        body = urlencode(fields).encode() if is_form else msgspec.json.encode(fields)
        content_type = b"application/x-www-form-urlencoded" if is_form else b"application/json"
        timestamp = str(int(now))
        headers = (
            (b"content-type", content_type),
            (b"x-slack-request-timestamp", timestamp.encode()),
            (b"x-slack-signature", slack_signature(body, timestamp, self._secrets[0]).encode()),
        )
        return WebhookRequest(method="POST", path="", headers=headers, body=body, received_at=now)


def _named(outcome: Outcome, result: CallResult, address: Address) -> Outcome:
    """The outcome with a name that leads back to the message.

    Whoever writes to a person's id is answered with the chat that was opened; an edit needs that.
    """
    channel = (answer_of(result) or {}).get("channel")
    if isinstance(outcome, Sent) and outcome.mids and isinstance(channel, str) and channel != address.peer:
        return Sent(mids=tuple(f"{channel}:{mid}" for mid in outcome.mids))
    return outcome


def _place_of(mid: str, address: Address) -> tuple[str, str]:
    """The channel and the ``ts`` in a name that `_named` made."""
    channel, _, ts = mid.rpartition(":")
    return channel or address.peer, ts


def _read_tokens(
    credentials: Credentials, teams: Any, slack_token: Any, *, may_be_none: bool
) -> ConfiguredTokens:
    """The tokens of the configuration."""
    if teams is not None and not isinstance(teams, Mapping):
        raise credentials.problem(_TEAMS, f"must be keys with values: {_TEAMS_HINT}")
    by_team = credentials.tokens_by_account(_TEAMS, teams, _TEAMS_HINT) if teams is not None else {}
    if slack_token is None and (by_team or may_be_none):
        return ConfiguredTokens(by_team)
    return ConfiguredTokens(by_team, credentials.token(_TOKEN, slack_token, _TOKEN_HINT))


def _read_installation(
    credentials: Credentials,
    name: str,
    api: SlackApi,
    client_id: Any,
    client_secret: Any,
    scopes: tuple[str, ...],
    authorize_url: str,
) -> Installation | None:
    """What workspaces are joined with, if the app's own credentials are there."""
    if client_id is None and client_secret is None:
        return None
    secret = credentials.one("client_secret", client_secret, _CLIENT_HINT)
    public = credentials.one("client_id", client_id, _CLIENT_HINT).reveal()
    return Installation(name, api, public, secret, scopes, authorize_url)


channel_class = SlackInput
