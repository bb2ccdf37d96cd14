"""What waits, counted per channel and per conversation, for those who look. Reads only."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import Owner, Value
from .database import Database, Row
from .outbox import OPEN, owner_at
from .selection import like


class Backlog(Value, frozen=True, kw_only=True, omit_defaults=False):
    """What waits in a channel, an account of it, or a conversation; `oldest` is a time."""

    place: str
    waiting_events: int = 0
    oldest: float | None = None
    unsent_replies: int = 0
    dead_turns: int = 0
    dead_replies: int = 0


class ConversationState(Value, frozen=True, kw_only=True, omit_defaults=False):
    """One conversation as an operator sees it, without a word of what was said."""

    key: str
    owner: Owner
    owner_until: float | None
    """When the bot owns it again; None for good."""
    last_at: float | None
    turn: str | None
    """The state of its open turn: running, retry or queued."""
    backlog: Backlog


def backlog_of_places(db: Database, places: Sequence[str]) -> list[Backlog]:
    """What waits in each of `places`, the beginnings of keys."""
    return [_backlog(db, place, "LIKE ? ESCAPE '!'", f"{like(place)}%") for place in places]


def _backlog(db: Database, place: str, condition: str, value: str) -> Backlog:
    def one(sql: str) -> tuple[int, float | None]:
        row = db.execute(f"{sql} AND conversation {condition}", (value,)).fetchone()
        return row["number"], row["oldest"]

    waiting, oldest = one(
        "SELECT count(*) AS number, min(received_at) AS oldest FROM inbox WHERE state = 'waiting'"
    )
    unsent, _ = one(f"SELECT count(*) AS number, NULL AS oldest FROM outbox WHERE state IN {OPEN}")
    turns, _ = one("SELECT count(*) AS number, NULL AS oldest FROM turn WHERE state = 'dead'")
    replies, _ = one("SELECT count(*) AS number, NULL AS oldest FROM outbox WHERE state = 'dead'")
    return Backlog(
        place=place,
        waiting_events=waiting,
        oldest=oldest,
        unsent_replies=unsent,
        dead_turns=turns,
        dead_replies=replies,
    )


def conversations(
    db: Database, place: str, owner: Owner | None, after: str, limit: int, now: float
) -> list[ConversationState]:
    """Conversations whose keys begin with `place`, by key, behind `after`."""
    found: list[ConversationState] = []
    while len(found) < limit:
        rows = db.execute(
            "SELECT key, owner, owner_until, last_at FROM conversation"
            " WHERE key > ? AND key LIKE ? ESCAPE '!' ORDER BY key LIMIT ?",
            (after, f"{like(place)}%", limit),
        ).fetchall()
        found += [_state(db, row["key"], row, now) for row in rows if owner in (None, owner_at(row, now))]
        if len(rows) < limit:
            break
        after = rows[-1]["key"]
    return found[:limit]


def conversation(db: Database, key: str, now: float) -> ConversationState:
    """One conversation; one that nobody has touched is the bot's, with nothing in it."""
    row = db.execute("SELECT owner, owner_until, last_at FROM conversation WHERE key = ?", (key,)).fetchone()
    return _state(db, key, row, now)


def _state(db: Database, key: str, row: Row | None, now: float) -> ConversationState:
    turn = db.execute(
        "SELECT state FROM turn WHERE conversation = ? AND state IN ('running', 'retry')", (key,)
    ).fetchone()
    owner = owner_at(row, now)
    return ConversationState(
        key=key,
        owner=owner,
        owner_until=row["owner_until"] if row is not None and owner != "bot" else None,
        last_at=row["last_at"] if row is not None else None,
        turn=turn["state"] if turn else None,
        backlog=_backlog(db, key, "= ?", key),
    )
