"""
Reads what Twilio tells about a call: what the caller said or pressed, that it rang, that it is over.

Twilio, "TwiML Voice: <Gather>", "Twilio's request to your application" and "Call resource: status
callbacks" (read November 2026).
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeAlias, TypeVar

from ..model import (
    Address,
    AnyEvent,
    CallEnded,
    CallStarted,
    Dtmf,
    Event,
    Handover,
    MessageReceived,
    PersonEvent,
    Sender,
    Unknown,
)
from .position import Position

Fields: TypeAlias = Mapping[str, str]
E = TypeVar("E", bound=Event)
NOBODY = "anonymous"
ENDS = frozenset({"completed", "busy", "failed", "no-answer", "canceled"})
_STARTS = frozenset({"queued", "ringing", "in-progress"})
_OTHER_REPORTS = (
    "RecordingSid",
    "TranscriptionSid",
    "StreamSid",
    "ConferenceSid",
    "MachineDetectionDuration",
)
"""What is told about a call by requests that no caller waits for."""


class Heard(NamedTuple):
    """What a request brought. `understood` is false where the caller has to be asked again."""

    events: tuple[AnyEvent, ...]
    understood: bool = True
    returned: bool = False
    """Whether the caller is back from a transfer that nobody took."""
    waits: bool = True
    """Whether a caller hears the answer."""


class CallReader:
    """Reads requests for the channel called `channel`.

    `initial_prompt` is what a caller is taken to have said who calls. Speech of less confidence than
    `min_confidence` was not understood; 0 means that Twilio did not say.
    """

    def __init__(self, channel: str, initial_prompt: str, min_confidence: float) -> None:
        self._channel = channel
        self._initial_prompt = initial_prompt
        self._min_confidence = min_confidence

    def address(self, fields: Fields) -> Address:
        """The conversation of a call: our number, the other one, the call itself."""
        ours, theirs = fields.get("To", ""), fields.get("From", "")
        if fields.get("Direction", "inbound").startswith("outbound"):
            ours, theirs = theirs, ours
        return Address(channel=self._channel, account=ours, peer=theirs or NOBODY, thread=fields["CallSid"])

    def read(self, fields: Fields, position: Position, token: str | None) -> Heard:
        """What one request brought; `token` is the same for all tries of it."""
        status = fields.get("CallStatus", "").lower()
        sid = fields["CallSid"]
        id = token or f"{sid}:{status}:{position.turn or 0}"
        if status in ENDS:
            # By a call's own id: several requests tell that it is over.
            timestamp = _moment(fields.get("Timestamp"))
            return Heard(
                (self._event(CallEnded, fields, sid, reason=status, timestamp=timestamp),), waits=False
            )
        if fields.get("CallbackSource") or any(name in fields for name in _OTHER_REPORTS):
            return self._reported(fields, status, token)
        if "DialCallStatus" in fields:
            return self._dialled(fields, id)
        if fields.get("Digits"):
            return Heard((self._event(Dtmf, fields, id, digits=fields["Digits"]),))
        if fields.get("SpeechResult", "").strip():
            return self._said(fields, id)
        if position.turn is not None:
            return Heard((self._told(fields, id, "silence"),), understood=False)
        if status in _STARTS:
            return self._started(fields, id)
        return Heard((self._told(fields, id, "unknown"),), waits=False)

    def _started(self, fields: Fields, id: str) -> Heard:
        if not self._initial_prompt:
            return Heard((self._event(CallStarted, fields, id),))
        return Heard(
            (
                self._event(CallStarted, fields, id, observe_only=True),
                self._event(MessageReceived, fields, id, text=self._initial_prompt),
            )
        )

    def _said(self, fields: Fields, id: str) -> Heard:
        if 0 < _confidence(fields) < self._min_confidence:
            return Heard((self._told(fields, id, "low_confidence"),), understood=False)
        return Heard((self._event(MessageReceived, fields, id, text=fields["SpeechResult"].strip()),))

    def _dialled(self, fields: Fields, id: str) -> Heard:
        """A transfer has ended: somebody talked with the caller, or nobody was there."""
        status = fields["DialCallStatus"].lower()
        answered = status in ("completed", "answered")
        owner = None if answered else "bot"
        event = self._event(Handover, fields, id, action=f"dial {status}", owner=owner)
        return Heard((event,), returned=not answered)

    def _reported(self, fields: Fields, status: str, token: str | None) -> Heard:
        name = next((name for name in _OTHER_REPORTS if name in fields), None)
        number = fields.get("SequenceNumber", "")
        about = fields[name] if name else f"{status}:{number}"
        id = token or f"{fields['CallSid']}:{about}:{fields.get('RecordingStatus', '')}"
        return Heard((self._told(fields, id, name or status),), waits=False)

    def _told(self, fields: Fields, id: str, name: str) -> Unknown:
        return self._event(Unknown, fields, id, name=name, observe_only=True)

    def _event(self, kind: type[E], fields: Fields, id: str, **more: Any) -> E:
        made: dict[str, Any] = {"id": id, "raw": dict(fields), **more}
        address = self.address(fields)
        if issubclass(kind, PersonEvent):
            made["sender"] = Sender(id=address.peer, name=fields.get("CallerName") or None)
        return kind(address=address, **made)


def _confidence(fields: Fields) -> float:
    try:
        return float(fields.get("Confidence", "0"))
    except ValueError:
        return 0.0


def _moment(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except (ValueError, OverflowError):
        return None
