"""
The log as lines of JSON, for those who collect it: only fields from a list, and nobody's words.

Our own events are their constant text and their fields. A field that is not on the list is left out,
and so is what a person wrote; conversations are named by a fingerprint, the same in every line. The
text of an exception stays: what an agent's own exceptions repeat is in the agent's hands. Events of
others (Twisted, the agent's own) are one text.
"""

from __future__ import annotations

import hashlib
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from twisted.logger import (
    FileLogObserver,
    Logger,
    LogPublisher,
    formatEvent,
    globalLogPublisher,
)
from twisted.python.failure import Failure

from .secret import redact
from .text import clean

LONGEST = 1000
"""Characters of one field that are kept."""
OURS = __name__.partition(".")[0]
FIELDS = frozenset(
    [
        "account",
        "action",
        "actor",
        "channel",
        "channels",
        "count",
        "error",
        "first",
        "how",
        "id",
        "kept_back",
        "kind",
        "lacks",
        "limit",
        "mode",
        "names",
        "next",
        "observer",
        "path",
        "policy",
        "reason",
        "refused",
        "rest",
        "result",
        "seconds",
        "status",
        "subject",
        "synchronous",
        "turn",
        "turns",
        "what",
    ]
)
"""What our events may show; none of these is a person's."""
CONVERSATIONS = frozenset({"key", "address", "conversation"})
"""The key of a conversation has a person's id in it."""
_log = Logger()


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the log is written; `fields` are shown beside those of the list (``text``: what people wrote)."""

    format: Literal["text", "json"] = "text"
    fields: tuple[str, ...] = ()


def fingerprint(key: str) -> str:
    """Stands for a conversation in the log: the same for the same one, and no name."""
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


class JsonLines:
    """Formats an event as one line of JSON."""

    def __init__(self, settings: LogSettings) -> None:
        self._fields = FIELDS | set(settings.fields)
        self._bare = CONVERSATIONS & set(settings.fields)

    def __call__(self, event: dict[str, Any]) -> str | None:
        """The line, or None for an event without a text."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat("T", "milliseconds"),
            "level": getattr(event.get("log_level"), "name", "info"),
            "from": str(event.get("log_namespace", "-")),
        }
        if line["from"].partition(".")[0] == OURS:
            line["event"] = _bounded(str(event.get("log_template") or event.get("log_format") or ""))
            line.update(self._shown(event))
        else:
            line["event"] = _bounded(formatEvent(event))
        failure = event.get("log_failure")
        if isinstance(failure, Failure):
            line["failure"] = _failure(failure)
        if not line["event"] and "failure" not in line:
            return None
        return msgspec.json.encode(line).decode() + "\n"

    def _shown(self, event: dict[str, Any]) -> Iterable[tuple[str, Any]]:
        for name, value in event.items():
            if name in CONVERSATIONS and name not in self._bare:
                yield "conversation", fingerprint(str(value))
            elif name == "subject" and str(value).count(":") > 1 and name not in self._bare:
                yield name, f"conversation {fingerprint(str(value))}"
            elif name in self._fields or name in self._bare:
                plain = value is None or isinstance(value, bool | int | float)
                yield name, value if plain else _bounded(str(value))


def _bounded(text: str) -> str:
    return redact(clean(text))[:LONGEST]


def _failure(failure: Failure) -> dict[str, Any]:
    """What was raised and where; never a value of a local variable."""
    frames = traceback.extract_tb(failure.getTracebackObject())
    return {
        "type": failure.type.__name__ if failure.type is not None else "",
        "text": _bounded(failure.getErrorMessage()),
        "trace": [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-20:]],
    }


def write_json(settings: LogSettings, publisher: LogPublisher = globalLogPublisher) -> None:
    """Let the files that `publisher` writes have JSON, if `settings` want it."""
    if settings.format != "json":
        return
    lines = JsonLines(settings)
    # The publisher's observers are the process's: who chose them keeps the files, and gets other lines.
    files = [one for one in publisher._observers if isinstance(one, FileLogObserver)]
    for file in files:
        file.formatEvent = lines
    if not files:
        _log.warn(
            "log: format: json changes nothing here: {reason}", reason="the log is not written to a file"
        )
