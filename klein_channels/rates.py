"""How often may be sent: rates as platforms and configurations state them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

KINDS = frozenset({"text", "image", "audio", "video", "file", "other"})
"""What a visible send may be, for rates of some kinds only."""


class Rate(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """At most `burst` sends at once, refilled by `count` in `seconds`.

    `per` says who has a bucket: each of our accounts, or each conversation. A rate with `kinds` is
    about sends of these kinds alone, beside the rates for all. In any time of `seconds` no more than
    `count` + `burst` pass; with `strict` no more than `count`, however unevenly they arrive there: a
    send counts from its beginning until `seconds` after its answer. That is for an account's sends of
    all kinds.
    """

    count: float
    seconds: float = 1.0
    burst: float = 1.0
    per: Literal["account", "conversation"] = "account"
    kinds: tuple[str, ...] = ()
    strict: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing would ever be sent."""
        for name, least in (("count", 0.0), ("seconds", 0.0)):
            value = getattr(self, name)
            if not math.isfinite(value) or value <= least:
                raise ValueError(f"{name} must be a number over 0")
        if not math.isfinite(self.burst) or self.burst < 1:
            raise ValueError("burst must be a number of 1 or more")
        if self.strict and (self.kinds or self.per != "account" or self.count < 1):
            raise ValueError("strict is for rates of accounts, for all kinds, with a count of 1 or more")
        if unknown := set(self.kinds) - KINDS:
            raise ValueError(f"kinds: no kind {sorted(unknown)[0]!r} (known: {', '.join(sorted(KINDS))})")

    @property
    def interval(self) -> float:
        """Seconds in which one token comes back."""
        return self.seconds / self.count


def rates_for(rates: Iterable[Rate], kind: str) -> list[Rate]:
    """Those of `rates` that are about sends of `kind` alone."""
    return [rate for rate in rates if kind in rate.kinds]


def kind_of(part: object) -> str:
    """The kind, as in `Rate.kinds`, of a part of a message."""
    name = type(part).__name__.lower()
    return name if name in KINDS else "other"
