"""
Twilio's side of a ConversationRelay call: connects to a server in memory, says what callers say, hears.

It judges each frame as Twilio does (error 64107 for one that it cannot take, "ConversationRelay: WebSocket
messages", 19 August 2026) and keeps the words in the order in which they would be spoken.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ..secret import Secret
from ..signatures import twilio_signature
from .harness import ChannelInMemory
from .sockets import SocketClient

__all__ = ["RelayCall", "problem_with"]

_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "text": {
        "token": (str,),
        "last": (bool,),
        "lang": (str,),
        "interruptible": (bool,),
        "preemptible": (bool,),
    },
    "play": {"source": (str,), "loop": (int,), "interruptible": (bool,), "preemptible": (bool,)},
    "sendDigits": {"digits": (str,)},
    "language": {"ttsLanguage": (str,), "transcriptionLanguage": (str,)},
    "end": {"handoffData": (str,)},
}
_NEEDED = {"text": {"token"}, "play": {"source"}, "sendDigits": {"digits"}}


def problem_with(frame: Any) -> str:
    """What Twilio has against a frame; empty if nothing."""
    if not isinstance(frame, dict) or frame.get("type") not in _FIELDS:
        return "unknown type"
    fields = _FIELDS[frame["type"]]
    for name, value in frame.items():
        if name != "type" and type(value) not in fields.get(name, ()):
            return f"{name} is not expected, or not like this"
    missing = _NEEDED.get(frame["type"], set()) - frame.keys()
    if frame["type"] == "language" and len(frame) == 1:
        return "neither language is named"
    return f"{', '.join(sorted(missing))} is missing" if missing else ""


class RelayCall:
    """One call, over one socket after the other.

    `frames` are all that came over the present one. End it with `hang_up`.
    """

    def __init__(
        self,
        kit: ChannelInMemory,
        *,
        token: str,
        sid: str = "CA1",
        caller: str = "+15550000002",
        us: str = "+15550000001",
        public_url: str = "wss://bot.example",
    ) -> None:
        self.kit = kit
        self.sid = sid
        self._token = token
        self._parties = {"from": caller, "to": us}
        self._sessions = 0
        self._target = f"/app/{kit.channel.name}/socket"
        self._url = public_url + self._target

    def connect(self, *, signature: str | None = None, setup: bool = True, **fields: Any) -> RelayCall:
        """Open a socket, and say whose call it is."""
        right = twilio_signature(self._url, (), Secret(self._token))
        headers = [(b"X-Twilio-Signature", (right if signature is None else signature).encode())]
        self.socket = SocketClient(self._target, headers if signature != "" else ())
        self.kit.connect(self.socket)
        self._sessions += 1
        if setup and self.socket.status == 101:
            self.tell("setup", **{**self._setup(), **fields})
        return self

    def _setup(self) -> dict[str, Any]:
        return {
            "sessionId": f"VX{self.sid}{self._sessions}",
            "accountSid": "AC00000000000000000000000000000001",
            "callSid": self.sid,
            **self._parties,
            "direction": "inbound",
            "callType": "PSTN",
            "callStatus": "RINGING",
            "customParameters": {},
        }

    def tell(self, type: str, **fields: Any) -> None:
        """Send any frame."""
        self.send(msgspec.json.encode({"type": type, **fields}).decode())

    def send(self, message: str | bytes) -> None:
        """Send anything."""
        self.socket.send(message)
        self.kit.settle()

    def say(self, words: str, *, last: bool = True, lang: str = "en-US") -> None:
        """The caller says something."""
        self.tell("prompt", voicePrompt=words, lang=lang, last=last)

    def press(self, keys: str) -> None:
        """The caller presses keys."""
        for key in keys:
            self.tell("dtmf", digit=key)

    def break_in(self, heard: str, milliseconds: int = 460) -> None:
        """The caller breaks in, having heard so much."""
        self.tell("interrupt", utteranceUntilInterrupt=heard, durationUntilInterruptMs=str(milliseconds))

    def hang_up(self) -> None:
        """The caller, or the platform, goes away."""
        self.socket.hang_up()
        self.kit.settle()

    @property
    def frames(self) -> list[dict[str, Any]]:
        """What came, each a frame that Twilio takes."""
        self.kit.settle()
        read = [msgspec.json.decode(message) for message in self.socket.messages]
        wrong = [(frame, problem_with(frame)) for frame in read if problem_with(frame)]
        assert not wrong, wrong
        return read

    @property
    def spoken(self) -> list[str]:
        """The talks: what was said up to each ``last``; the one that goes on ends in ``…``."""
        talks: list[str] = []
        talk = ""
        for frame in self.frames:
            if frame["type"] == "text":
                talk += frame["token"]
                if frame.get("last"):
                    talks, talk = [*talks, talk], ""
        return [*talks, f"{talk}…"] if talk else talks
