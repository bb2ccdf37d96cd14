"""Who the people of a conversation are, as far as their platform told: what one transaction does."""

from __future__ import annotations

import msgspec

from . import Acquaintance
from .database import Database, Row

MOST_KEPT = 50
"""People of one conversation: a group may have thousands."""
_decoder = msgspec.json.Decoder(tuple[Acquaintance, ...])


def people_of(conversation: Row | None) -> tuple[Acquaintance, ...]:
    """Those who are remembered with a conversation."""
    if conversation is None or conversation["people"] is None:
        return ()
    return _decoder.decode(bytes(conversation["people"]))


def note_person(db: Database, key: str, learnt: Acquaintance) -> None:
    """Remember somebody; who was learnt of longest ago makes room."""
    row = db.execute("SELECT people FROM conversation WHERE key = ?", (key,)).fetchone()
    others = [one for one in people_of(row) if one.person.id != learnt.person.id]
    kept = msgspec.json.encode([*others, learnt][-MOST_KEPT:])
    db.execute("UPDATE conversation SET people = ? WHERE key = ?", (kept, key))


def forget_person(db: Database, key: str, person: str) -> None:
    """Remember of a conversation's people all but this one."""
    row = db.execute("SELECT people FROM conversation WHERE key = ?", (key,)).fetchone()
    others = [one for one in people_of(row) if one.person.id != person]
    db.execute(
        "UPDATE conversation SET people = ? WHERE key = ?",
        (msgspec.json.encode(others) if others else None, key),
    )
