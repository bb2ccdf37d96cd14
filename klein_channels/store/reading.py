"""Events as they are read back from the inbox."""

from __future__ import annotations

from typing import cast

from ..model import AnyEvent, from_json
from .database import Database, Row


def event_of(row: Row) -> AnyEvent:
    """The event in a row of the inbox."""
    return cast("AnyEvent", from_json(row["event"]))


def events_of(db: Database, turn: Row) -> tuple[AnyEvent, ...]:
    """The events that a turn took."""
    rows = db.execute(
        "SELECT event FROM inbox WHERE id BETWEEN ? AND ? AND turn = ? ORDER BY id",
        (turn["first_event"], turn["last_event"], turn["id"]),
    )
    return tuple(event_of(row) for row in rows.fetchall())
