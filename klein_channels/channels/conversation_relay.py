"""
ConversationRelay: the agent on the telephone, word by word over a web socket.

Twilio, or Telnyx, hears and speaks; words go both ways as they are said. A webhook connects the call, and
tells what became of it. Facts: Twilio, "ConversationRelay" (read November 2026).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import msgspec

from ..channel import Capabilities, ChannelOptions, Steps
from ..credentials import Credentials
from ..errors import MalformedWebhook
from ..model import (
    AnyControl,
    AnyPart,
    Custom,
    EndConversation,
    Handoff,
    Handover,
    Outcome,
    Outgoing,
    Received,
    Refused,
    Unknown,
    WebhookRequest,
    WebhookResponse,
)
from ..secret import Secret
from ..twilio.calls import ENDS, CallReader, Heard
from ..twilio.credentials import SID_HINT, hide, read_proof
from ..twilio.forms import idempotency_token, read_fields, xml_response
from ..twilio.position import Position
from ..twilio.relay import Habits, RelaySession
from ..twilio.relay_proof import RelayProof, SignedByTwilio, read_telnyx_proof
from ..twilio.relay_twiml import MOST_SESSIONS, Relay, check_relay, connect, handoff_of
from ..twilio.speaking import Manner, Speaker
from ..twilio.triggers import RELAYED_CALLS, trigger_request
from ..twilio.twiml import NOTHING, document, element

_STARTS = frozenset({"queued", "ringing", "in-progress", ""})

CAPABILITIES = Capabilities(
    dialect="own",
    dialects=("speech",),
    text_limit=100_000,
    media=frozenset({"image", "audio", "video", "file"}),
    location=True,
    redelivery_horizon=86_400.0,
    retry_patience=120.0,
    socket_patience=30.0,
)


class ConversationRelaySettings(ChannelOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands under a channel of the type ``conversation_relay``."""

    account_sid: str | None = None
    auth_token: Any = None
    """The auth token, or a list of them while one replaces another."""
    shared_key: Secret | None = None
    public_key: str | None = None
    """Telnyx's, in place of an auth token of Twilio's."""
    socket_secret: Secret | None = None
    """What the addresses of sockets are signed with for Telnyx."""
    number: str | None = None
    welcome_greeting: str = ""
    """What the platform says first; the agent is then not told that a call begins."""
    welcome_greeting_interruptible: str | None = None
    initial_prompt: str = ""
    """What a caller is taken to say by calling, for agents that know texts only."""
    language: str | None = None
    voice: str | None = None
    interruptible: str | None = None
    """What interrupts the agent: ``none``, ``dtmf``, ``speech`` or ``any``; the platform's default is any."""
    dtmf_detection: bool = True
    attributes: Mapping[str, str] = msgspec.field(default_factory=dict)
    """More attributes of ``<ConversationRelay>``, in Twilio's spelling, like ``ttsProvider``."""
    languages: Mapping[str, Mapping[str, str]] = msgspec.field(default_factory=dict)
    """Languages that may be switched to, each with attributes of ``<Language>``."""
    parameters: Mapping[str, str] = msgspec.field(default_factory=dict)
    """What stands in ``customParameters`` of the setup."""
    num_digits: int | None = None
    finish_on_key: str = "#"
    digits_timeout: float = 2.0
    """Seconds after the last key that end a number."""
    silence_timeout: float = 0.0
    """Seconds of silence after which a caller is asked again; 0 asks never."""
    reprompt: str = "Are you still there?"
    max_reprompts: int = 3
    goodbye: str = ""
    transfer_to: str | None = None
    """Where a `Handoff` goes that names no place."""
    transfer_failed: str = "Nobody is there right now."
    action_url: str | None = None
    """Where the call goes on when the session has ended, if not here."""

    def __post_init__(self) -> None:
        """Hide what is secret, also where it was given as a text."""
        for key in ("auth_token", "shared_key", "socket_secret"):
            hide(self, key)


class ConversationRelayInput:
    """The ConversationRelay channel: calls to, and from, the numbers of one account. Raises `ConfigError`."""

    Settings: ClassVar[type[ConversationRelaySettings]] = ConversationRelaySettings
    capabilities = CAPABILITIES

    def __init__(
        self,
        *,
        auth_token: Any = None,
        name: str = "conversation_relay",
        options: ConversationRelaySettings | None = None,
        **settings: Any,
    ) -> None:
        given = options or ConversationRelaySettings(auth_token=auth_token, **settings)
        self.name = name
        self.options: ChannelOptions = given
        credentials = Credentials(name)
        if given.account_sid is not None:
            credentials.token("account_sid", given.account_sid, SID_HINT)
        self._proof = _read_proof(credentials, given)
        self._relay = _relay_of(given)
        check_relay(credentials, self._relay)
        self._habits = _habits_of(credentials, given)
        self._reader = CallReader(name, "", 0.0)
        self._transfer_to = given.transfer_to
        self._transfer_failed = given.transfer_failed
        self._manner = Manner(voice=given.voice, language=given.language)

    @classmethod
    def from_settings(cls, name: str, settings: ConversationRelaySettings) -> ConversationRelayInput:
        """The channel that the configuration calls `name`."""
        return cls(name=name, options=settings)

    def __repr__(self) -> str:
        return f"ConversationRelayInput({self.name!r})"

    # In

    def verify(self, request: WebhookRequest, now: float) -> None:
        """Prove that a webhook, or a handshake, is the platform's."""
        if not request.url.startswith("ws"):
            self._proof.check(request, now)
        else:
            self._proof.check_handshake(request, now)

    def session(self, request: WebhookRequest, name: str) -> RelaySession:
        """What is said over one socket."""
        return RelaySession(self.name, name, self._habits)

    def parse(self, request: WebhookRequest) -> Received:
        """Connect a call that begins; let one whose session has ended go on, elsewhere or here, or end."""
        fields = read_fields(request)
        if not fields.get("CallSid"):
            raise MalformedWebhook(f"channel {self.name!r}: a request without CallSid")
        position = Position.of(request)
        token = idempotency_token(request)
        if "SessionId" in fields or "SessionStatus" in fields:
            return self._session_ended(request, fields, position, token)
        status = fields.get("CallStatus", "").lower()
        ours = status in ENDS or "CallbackSource" in fields or "DialCallStatus" in fields
        if not ours and status in _STARTS and not _is_report(fields):
            return self._begun(request, fields, position, token)
        heard = self._reader.read(fields, position, token)
        return Received(events=heard.events, response=self._after_call(request, fields, position, heard))

    def _begun(
        self, request: WebhookRequest, fields: Mapping[str, str], position: Position, token: str | None
    ) -> Received:
        """Connect the call; that it begins the agent learns from its socket."""
        sid = fields["CallSid"]
        event = Unknown(
            id=token or f"{sid}:{fields.get('CallStatus', '')}:{position.turn or 0}",
            address=self._reader.address(fields),
            name="connected",
            raw=dict(fields),
            observe_only=True,
        )
        return Received(events=(event,), response=self._connected(request, fields, position))

    def _connected(
        self,
        request: WebhookRequest,
        fields: Mapping[str, str],
        position: Position,
        greeting: str | None = None,
    ) -> WebhookResponse:
        query = self._proof.query(fields["CallSid"], request.received_at)
        url = _socket_url(request.url, query)
        return xml_response(document([connect(self._relay, position, url, greeting=greeting)]))

    def _session_ended(
        self, request: WebhookRequest, fields: Mapping[str, str], position: Position, token: str | None
    ) -> Received:
        """The session of a socket is over: by our last word, by the caller, or because a server went away."""
        status = fields.get("CallStatus", "").lower()
        if status in ENDS:
            heard = self._reader.read(fields, position, token)
            return Received(events=heard.events, response=xml_response(NOTHING))
        handoff = handoff_of(fields)
        name = fields.get("SessionStatus", "ended")
        event = Handover(
            id=token or f"{fields['CallSid']}:session:{fields.get('SessionId', '')}:{name}",
            address=self._reader.address(fields),
            action=f"session {name}",
            details=handoff or None,
            raw=dict(fields),
        )
        return Received(events=(event,), response=self._after_session(request, fields, position, handoff))

    def _after_session(
        self,
        request: WebhookRequest,
        fields: Mapping[str, str],
        position: Position,
        handoff: Mapping[str, Any],
    ) -> WebhookResponse:
        to = handoff.get("transfer")
        if isinstance(to, str) and to.strip():
            speaker = Speaker(self._manner, position)
            return xml_response(document(speaker.replies([Custom(json={"transfer": to})])))
        if handoff or (position.turn or 0) >= MOST_SESSIONS:
            return xml_response(document([element("Hangup")]))
        # A socket that broke off, or a server that was stopped: the caller is still there.
        return self._connected(request, fields, position)

    def _after_call(
        self, request: WebhookRequest, fields: Mapping[str, str], position: Position, heard: Heard
    ) -> WebhookResponse:
        if not heard.waits:
            return xml_response(NOTHING)
        if heard.returned:
            return self._connected(request, fields, position, greeting=self._transfer_failed)
        return xml_response(document([element("Hangup")]))

    # Out

    def part_for(self, control: AnyControl) -> AnyPart | None:
        """What a control does to the call: it ends, or goes on elsewhere. None for all others."""
        if isinstance(control, EndConversation):
            return Custom(json={"hangup": True})
        if not isinstance(control, Handoff):
            return None
        to = control.to or self._transfer_to
        if not to and not self._relay.action_url:
            return None
        said = {"handoff": True, "transfer": to, "note": control.note}
        return Custom(json={key: value for key, value in said.items() if value})

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Nothing: a caller hears what goes over the socket only."""
        yield from ()
        return Refused(reason="nobody is on the line who would hear it", expired=True)

    # Playing Twilio

    def trigger_at(self, kind: str, text: str, now: float, url: str) -> WebhookRequest:
        """An authentic webhook as Twilio would send it to `url`; ValueError names the kinds."""
        if not isinstance(self._proof, SignedByTwilio):
            reason = f"channel {self.name!r} cannot play Telnyx, whose key it does not have"
            raise ValueError(reason)  # noqa: TRY004  (as for any kind that cannot be played)
        return trigger_request(RELAYED_CALLS, kind, text, now, url, self._proof.token)


def _is_report(fields: Mapping[str, str]) -> bool:
    return any(name in fields for name in ("RecordingSid", "TranscriptionSid", "StreamSid", "ConferenceSid"))


def _read_proof(credentials: Credentials, settings: ConversationRelaySettings) -> RelayProof:
    if settings.public_key is not None:
        return read_telnyx_proof(credentials, settings.public_key, settings.socket_secret)
    return SignedByTwilio(read_proof(credentials, settings.auth_token, settings.shared_key))


def _socket_url(webhook_url: str, query: str) -> str:
    """The URL of our sockets, beside the one that was called."""
    parts = urlsplit(webhook_url)
    path = re.sub(r"/[^/]*\Z", "/socket", parts.path)
    scheme = parts.scheme.replace("http", "ws")
    return parts._replace(scheme=scheme, path=path, query=query, fragment="").geturl()


def _relay_of(settings: ConversationRelaySettings) -> Relay:
    return Relay(**{name: getattr(settings, name) for name in Relay.__struct_fields__})


def _habits_of(credentials: Credentials, settings: ConversationRelaySettings) -> Habits:
    for key in ("digits_timeout", "silence_timeout", "max_reprompts"):
        if not 0 <= getattr(settings, key) <= 3600:
            raise credentials.problem(key, "must be a number from 0 to 3600")
    if settings.num_digits is not None and settings.num_digits < 1:
        raise credentials.problem("num_digits", "must be 1 or more")
    if not re.fullmatch(r"[0-9#*]*", settings.finish_on_key):
        raise credentials.problem("finish_on_key", "must be keys of a telephone")
    shared = {name for name in Habits.__struct_fields__ if hasattr(settings, name)}
    habits = Habits(**{name: getattr(settings, name) for name in shared})
    return msgspec.structs.replace(habits, greets=bool(settings.welcome_greeting.strip()))


channel_class = ConversationRelayInput
