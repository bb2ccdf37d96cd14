"""
What goes into the log and what does not.

`RedactingObserver` stands before all other observers and takes every known secret out of an event,
whoever logged it. `Throttle` keeps a hostile sender from filling the disk with the same line.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.logger import ILogObserver, LogPublisher, formatEvent, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from .errors import KleinChannelsError
from .secret import redact
from .text import clean

LONGEST_REASON = 1000
"""Characters of somebody else's error that are kept."""


class RedactedError(KleinChannelsError):
    """Stands in a log for an error whose own text held a secret."""


@implementer(ILogObserver)
class RedactingObserver:
    """Rewrites events that would show a secret, in place, before anybody writes them down."""

    def __call__(self, event: dict[str, Any]) -> None:
        """Take the secrets out of `event`."""
        text = formatEvent(event)
        redacted = redact(text)
        if redacted != text:
            event.update(
                # What was constant about it, for those who write the fields and not the text.
                log_template=redact(str(event.get("log_format") or "")),
                log_format="{log_text}",
                log_text=redacted,
                message=(redacted,),
                format="%(log_text)s",
            )
        for key, value in event.items():
            # Observers that write JSON show the fields too.
            event[key] = _hidden(value)
        failure = event.get("log_failure")
        if isinstance(failure, Failure):
            traceback = failure.getTraceback()
            redacted = redact(traceback)
            if redacted != traceback:
                event["log_failure"] = event["failure"] = Failure(RedactedError(redacted))


def _hidden(value: Any, depth: int = 4) -> Any:
    """`value` without the secrets in its texts, as deep as a log event is looked into."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict | list | tuple) and depth == 0:
        return redact(repr(value))
    if type(value) is dict:
        return {_hidden(key, depth - 1): _hidden(each, depth - 1) for key, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_hidden(each, depth - 1) for each in value)
    return value


def presentable(text: str) -> str:
    """Somebody else's words as they may be stored and shown: bounded, clean, and without secrets."""
    return redact(clean(text))[:LONGEST_REASON]


def install_redaction(publisher: LogPublisher = globalLogPublisher) -> None:
    """Put one `RedactingObserver` before the observers that `publisher` has."""
    observers = publisher._observers
    if not any(isinstance(observer, RedactingObserver) for observer in observers):
        # The publisher offers only to append; an observer at the end would be too late.
        observers.insert(0, RedactingObserver())


class Throttle:
    """Lets one line of a kind through in `every` seconds, and counts the others."""

    def __init__(self, now: Callable[[], float], every: float = 60.0, kinds: int = 1000) -> None:
        self._now = now
        self._every = every
        self._kinds = kinds
        self._last: dict[object, tuple[float, int]] = {}

    def admit(self, kind: object) -> int | None:
        """How many of this kind were kept back since the last one, or None: keep this one back too."""
        now = self._now()
        at, kept_back = self._last.get(kind, (float("-inf"), 0))
        if 0 <= now - at < self._every:
            self._last[kind] = (at, kept_back + 1)
            return None
        if len(self._last) >= self._kinds:
            self._last.clear()
        self._last[kind] = (now, 0)
        return kept_back
