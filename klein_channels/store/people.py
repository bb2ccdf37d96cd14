"""
All that is kept about one person: found, shown, and deleted.

Looking happens over the connection for reading, in chunks; only what was found is deleted, by its
ids, in short transactions. `seen` stays: it holds hashes, and what a platform delivers again after an
erasure must still be known, or the person would be back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ..model import JSON, Address, PersonEvent, Value, from_json
from .database import Database
from .persons import forget_person, people_of
from .selection import like

CHUNK = 2000
"""Rows that are looked at in one go."""
_TABLES = (("inbox", "received_at"), ("turn", "started_at"), ("outbox", "created_at"))


class Person(Value, frozen=True, kw_only=True):
    """Somebody as a channel knows them; `by_sender` where each sender is a conversation of their own."""

    channel: str
    id: str
    by_sender: bool = False

    @property
    def fingerprint(self) -> str:
        """Stands for them in records that outlive them: the same for the same person, and no name."""
        words = f"{self.channel}\0{self.id}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(words, digest_size=8).hexdigest()


class Traces(Value, frozen=True, kw_only=True):
    """Where somebody left something: whole conversations, and rows in those of others."""

    conversations: tuple[str, ...] = ()
    inbox: tuple[int, ...] = ()
    turn: tuple[int, ...] = ()
    outbox: tuple[int, ...] = ()
    exchange: tuple[tuple[str, str], ...] = ()
    spoke_in: tuple[str, ...] = ()
    """Conversations that do not bear their name and in which they said something."""
    known_in: tuple[str, ...] = ()
    """Conversations of others with which it is remembered who they are."""

    def rows(self) -> int:
        """How many rows of the three tables."""
        return len(self.inbox) + len(self.turn) + len(self.outbox)

    def __or__(self, other: Traces) -> Traces:
        """Both."""
        return Traces(
            conversations=_joined(self.conversations, other.conversations),
            inbox=_joined(self.inbox, other.inbox),
            turn=_joined(self.turn, other.turn),
            outbox=_joined(self.outbox, other.outbox),
            exchange=_joined(self.exchange, other.exchange),
            spoke_in=_joined(self.spoke_in, other.spoke_in),
            known_in=_joined(self.known_in, other.known_in),
        )


def _joined(one: Sequence[Any], two: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(dict.fromkeys((*one, *two)))


def in_conversations(db: Database, person: Person, after: str) -> tuple[Traces, str | None]:
    """What the next chunk of conversations has of them: all, or who they are; where to go on, if anywhere."""
    rows = db.execute(
        "SELECT key, people FROM conversation WHERE key > ? AND key LIKE ? ESCAPE '!' ORDER BY key LIMIT ?",
        (after, f"{like(person.channel)}:%", CHUNK),
    ).fetchall()
    theirs = tuple(row["key"] for row in rows if _is_theirs(row["key"], person))
    known = (row["key"] for row in rows if any(one.person.id == person.id for one in people_of(row)))
    found = Traces(conversations=theirs, known_in=tuple(key for key in known if key not in theirs))
    return found, rows[-1]["key"] if len(rows) == CHUNK else None


def _is_theirs(key: str, person: Person) -> bool:
    try:
        address = Address.parse(key)
    except ValueError:
        return False
    if address.channel != person.channel:
        return False
    return address.thread == person.id if person.by_sender else address.peer == person.id


def others_in(db: Database, person: Person, keys: Sequence[str], after: int) -> tuple[set[str], int | None]:
    """Those of `keys` in which others speak too, by the next chunk; where to go on, if anywhere."""
    marks = ", ".join("?" * len(keys))
    rows = db.execute(
        f"SELECT id, conversation, event FROM inbox WHERE id > ? AND conversation IN ({marks})"
        " ORDER BY id LIMIT ?",
        (after, *keys, CHUNK),
    ).fetchall()
    found = {row["conversation"] for row in rows if _speaker(row) not in (None, person.id)}
    return found, rows[-1]["id"] if len(rows) == CHUNK else None


def _speaker(row: Any) -> str | None:
    event = from_json(bytes(row["event"]))
    return event.sender.id if isinstance(event, PersonEvent) and event.sender is not None else None


def traces(
    db: Database, person: Person, table: str, after: int, theirs: Sequence[str] = ()
) -> tuple[Traces, int | None]:
    """What the next chunk of `table` holds of them; where to go on, if anywhere.

    `theirs` are conversations that are found to be theirs alone, though they bear another name.
    """
    rows = db.execute(
        f"SELECT * FROM {table} WHERE id > ? ORDER BY id LIMIT ?",
        (after, CHUNK),
    ).fetchall()
    mine = [row for row in rows if row["conversation"] in theirs or _is_theirs(row["conversation"], person)]
    found = Traces(
        conversations=tuple(dict.fromkeys(row["conversation"] for row in mine)),
        **{table: tuple(row["id"] for row in mine)},
    )
    if table == "inbox":
        known = {row["id"] for row in mine}
        found |= _said(db, [row for row in rows if row["id"] not in known], person)
    return found, rows[-1]["id"] if len(rows) == CHUNK else None


def _said(db: Database, rows: Iterable[Any], person: Person) -> Traces:
    """What they said where others speak too, and what was answered to it."""
    needle = msgspec.json.encode(person.id)
    found = Traces()
    for row in rows:
        if needle not in bytes(row["event"]) or not row["conversation"].startswith(f"{person.channel}:"):
            continue
        event = from_json(bytes(row["event"]))
        if not isinstance(event, PersonEvent) or event.sender is None or event.sender.id != person.id:
            continue
        turns = () if row["turn"] is None else (row["turn"],)
        replies = [
            answer["id"]
            for turn in turns
            for answer in db.execute("SELECT id FROM outbox WHERE turn = ?", (turn,)).fetchall()
        ]
        found |= Traces(
            inbox=(row["id"],),
            turn=turns,
            outbox=tuple(replies),
            exchange=((row["conversation"], event.id),),
            spoke_in=(row["conversation"],),
        )
    return found


def erase(db: Database, found: Traces, person: Person) -> int:
    """Delete what was found; how many rows went.

    A turn that runs loses its row, and with it the right to say anything more; a send under way ends,
    and finds nothing to note its outcome in.
    """
    gone = 0
    for table, _ in _TABLES:
        for number in getattr(found, table):
            gone += db.execute(f"DELETE FROM {table} WHERE id = ?", (number,)).rowcount
    for conversation, event in found.exchange:
        gone += db.execute(
            "DELETE FROM exchange WHERE conversation = ? AND event = ?", (conversation, event)
        ).rowcount
    for key in found.known_in:
        forget_person(db, key, person.id)
    for key in found.conversations:
        gone += db.execute("DELETE FROM exchange WHERE conversation = ?", (key,)).rowcount
        gone += db.execute("DELETE FROM conversation WHERE key = ?", (key,)).rowcount
        # What was done stays on record, but not with whom.
        db.execute("UPDATE audit SET subject = ? WHERE subject = ?", (f"person {person.fingerprint}", key))
    return gone


def chunks_of(found: Traces, size: int) -> Iterable[Traces]:
    """The same in pieces, turns first: from then on nothing new is written for them."""
    for table in ("turn", "inbox", "outbox"):
        ids = getattr(found, table)
        for begin in range(0, len(ids), size):
            yield Traces(**{table: ids[begin : begin + size]})
    if found.exchange or found.conversations or found.known_in:
        yield Traces(exchange=found.exchange, conversations=found.conversations, known_in=found.known_in)


def shown(db: Database, found: Traces) -> JSON:
    """All of it as JSON: events, turns, replies (dead letters are among them), and the state kept."""
    result: dict[str, Any] = {}
    for table, _ in _TABLES:
        result[table] = [
            _readable(row)
            for number in getattr(found, table)
            for row in db.execute(f"SELECT * FROM {table} WHERE id = ?", (number,)).fetchall()
        ]
    result["conversation"] = [
        _readable(row)
        for key in found.conversations
        for row in db.execute("SELECT * FROM conversation WHERE key = ?", (key,)).fetchall()
    ]
    result["known_in"] = list(found.known_in)
    return result


def _readable(row: Any) -> dict[str, Any]:
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118  (a row is no mapping)
    return {
        name: msgspec.json.decode(value) if isinstance(value, bytes | memoryview) else value
        for name, value in values.items()
    }
