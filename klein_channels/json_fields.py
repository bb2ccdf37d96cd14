"""
Reads single fields of a platform's JSON, whose types are not what the documentation says.

What an event stands on (ids, its words) is read strictly: `MalformedItem` if it cannot be.
Decoration is read by the `lenient_` functions, which then find nothing.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from .model import JSON

_EARLIEST, _LATEST = 1_075_852_800.0, 4_102_444_800.0  # February 2004 and January 2100
_LONGEST_ID = 1000
_encoder = msgspec.json.Encoder(order="deterministic")


class MalformedItem(Exception):
    """An item that is not what its keys say."""


def an_object(value: JSON) -> dict[str, Any]:
    """`value`, which is an object."""
    if not isinstance(value, dict):
        raise MalformedItem
    return value


def identifier(value: JSON) -> str | None:
    """An id, which some senders write as a number; a float has lost digits and names nobody."""
    if value is None or value == "":
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 128:
        return str(value)
    if isinstance(value, str) and len(value) <= _LONGEST_ID:
        return value
    raise MalformedItem


def words(value: JSON) -> str | None:
    """A text; some senders write one of digits only as a number."""
    if value is None or isinstance(value, str):
        return value
    return identifier(value)


def lenient_identifier(value: JSON) -> str:
    """The id, or nothing."""
    try:
        return identifier(value) or ""
    except MalformedItem:
        return ""


def lenient_words(value: JSON) -> str | None:
    """The text, or nothing."""
    return value if isinstance(value, str) else None


def flag(value: JSON) -> bool:
    """Whether something is so; some senders write all values as texts."""
    return bool(value) and value != "false"


def seconds(value: JSON) -> float | None:
    """A time in seconds since 1970: most are milliseconds, some seconds, some digits in quotes.

    What no platform of ours can have meant, being before 2004 or after 2099, is None.
    """
    if isinstance(value, str) and len(value) <= 16 and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 63:
        return None
    found = value / 1000 if value >= 100_000_000_000 else float(value)
    return found if _EARLIEST <= found < _LATEST else None


def digest(*json: JSON) -> str:
    """An id out of content: the same for equal JSON, whatever the order of its keys."""
    return hashlib.sha256(_encoder.encode(json)).hexdigest()[:32]
