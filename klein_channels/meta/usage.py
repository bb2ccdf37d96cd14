"""
How much of what Meta allows is used up, as its usage headers say.

They come with some answers and are missing from most; the numbers are percent (Meta, "Rate Limits",
23 March 2026). What cannot be read is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ..errors import MalformedWebhook
from ..model import JSON, CallResult, Pace, read_json
from ..rates import Rate

SEND_RATES = (
    Rate(count=300.0, burst=10.0, strict=True),
    Rate(count=9.0, kinds=("audio", "video")),
)
"""300 a second, 10 with audio or video, for a page or an Instagram account (Meta, "Rate Limiting", 23 March
2026)."""

SLOW_AT = 80.0
STOP_AT = 100.0
SLOWEST = 0.1
"""The share of its rate that an account keeps just below the end."""
SLOWED_FOR = 300.0
"""Seconds for which a number is believed when no newer one comes."""
ROLLING = 3600.0
"""Seconds that the limits look back: an account that is at the end, and not told for how long, rests so."""
_OF_ALL = ("x-app-usage", "x-page-usage")
_OF_BUSINESSES = "x-business-use-case-usage"
_COUNTS = ("call_count", "total_time", "total_cputime")
_MOST_PERCENT = 10_000
_MOST_MINUTES = 1440.0


class _Use(NamedTuple):
    percent: float
    minutes: float
    """Until it may go on, as far as Meta estimates."""


def pace_of(result: CallResult, now: float) -> Pace | None:
    """The pace that an answer's headers ask for; None if they say nothing."""
    uses = list(_uses(result))
    if not uses:
        return None
    most = max(use.percent for use in uses)
    reason = f"{most:g} % of what Meta allows is used"
    if most >= STOP_AT:
        minutes = max(use.minutes for use in uses if use.percent >= STOP_AT)
        return Pace(share=0.0, until=now + (minutes * 60 or ROLLING), reason=reason)
    if most >= SLOW_AT:
        share = max((STOP_AT - most) / (STOP_AT - SLOW_AT), SLOWEST)
        return Pace(share=share, until=now + SLOWED_FOR, reason=reason)
    return Pace(share=1.0, until=now)


def _uses(result: CallResult) -> Iterator[_Use]:
    for name in _OF_ALL:
        yield from _use(_read(result.header(name)))
    businesses = _read(result.header(_OF_BUSINESSES))
    for uses in businesses.values() if isinstance(businesses, dict) else ():
        for use in uses if isinstance(uses, list) else ():
            # Advertising has limits of its own, which say nothing about messages.
            if isinstance(use, dict) and not str(use.get("type", "")).startswith("ads"):
                yield from _use(use)


def _use(value: JSON) -> Iterator[_Use]:
    if not isinstance(value, dict):
        return
    percents = [number for name in _COUNTS if (number := _number(value.get(name), _MOST_PERCENT)) is not None]
    if percents:
        minutes = _number(value.get("estimated_time_to_regain_access"), _MOST_MINUTES)
        yield _Use(max(percents), minutes or 0.0)


def _number(value: Any, most: float) -> float | None:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and 0 <= value <= most else None


def _read(header: str | None) -> JSON:
    if not header:
        return None
    try:
        return read_json(header.encode("utf-8", "replace"))
    except MalformedWebhook:
        return None
