"""
Dead letters by what they have in common, and one of them with other words.

Each function is one transaction's work.
"""

from __future__ import annotations

from typing import Literal, cast

import msgspec

from ..errors import StoreError
from ..model import JSON, AnyEvent, Event, Message, Value, from_json, to_json
from . import DeadLetter
from .database import Database
from .letters import LETTERS, dead_letter, letter_of, named
from .outbox import owner_at
from .pauses import is_still


class Selection(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which dead letters are meant: all that fit everything that is said. Times are those of their death."""

    kind: Literal["turn", "reply"] | None = None
    channel: str | None = None
    reason: str | None = None
    """Words that stand in the reason, in any case."""
    before: float | None = None
    since: float | None = None


class Prospect(Value, frozen=True, kw_only=True, omit_defaults=False):
    """What a replay would do now; nothing was changed."""

    id: str
    would: str


def selected(db: Database, which: Selection, after: tuple[float, str, int], limit: int) -> list[DeadLetter]:
    """The dead letters that are meant, oldest first, behind a place in that order."""
    condition, values = _condition(which)
    rows = db.execute(
        f"SELECT * FROM ({LETTERS}) AS letters WHERE (at, kind, id) > (?, ?, ?){condition}"
        " ORDER BY at, kind, id LIMIT ?",
        (*after, *values, limit),
    ).fetchall()
    return [letter_of(db, row) for row in rows]


def _condition(which: Selection) -> tuple[str, list[object]]:
    parts: list[tuple[str, object]] = []
    if which.kind is not None:
        parts.append(("kind = ?", which.kind))
    if which.channel is not None:
        parts.append(("conversation LIKE ? ESCAPE '!'", f"{like(which.channel)}:%"))
    if which.reason is not None:
        parts.append(("lower(coalesce(error, '')) LIKE ? ESCAPE '!'", f"%{like(which.reason.lower())}%"))
    if which.before is not None:
        parts.append(("at <= ?", which.before))
    if which.since is not None:
        parts.append(("at >= ?", which.since))
    return "".join(f" AND {condition}" for condition, _ in parts), [value for _, value in parts]


def like(words: str) -> str:
    """`words` as they stand, for a LIKE whose escape is an exclamation mark."""
    return words.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def place_of_letter(db: Database, letter_id: str | None) -> tuple[float, str, int]:
    """Where a letter is in the order of their death; the beginning if there is none."""
    found = dead_letter(db, letter_id) if letter_id else None
    return (found.at, *named(found.id)) if found else (float("-inf"), "", 0)


def prospect(db: Database, letter: DeadLetter, now: float) -> Prospect:
    """What would become of a letter that were replayed now."""
    row = db.execute(
        "SELECT owner, owner_until FROM conversation WHERE key = ?", (letter.conversation,)
    ).fetchone()
    owner = owner_at(row, now)
    if owner == "human":
        return Prospect(id=letter.id, would="be withheld: a human owns the conversation")
    if owner == "paused" or is_still(db, letter.conversation):
        return Prospect(id=letter.id, would="wait: it is paused")
    return Prospect(id=letter.id, would="ask the agent" if letter.kind == "turn" else "send")


def edit(db: Database, letter_id: str, content: JSON) -> bool:
    """Give a dead letter another content of the same form; False if there is none of that name.

    A reply stays one message with one part, a turn keeps its events with their ids and addresses.
    Raises `StoreError` that says what is wrong with `content`; then nothing is changed.
    """
    letter = dead_letter(db, letter_id)
    if letter is None:
        return False
    number = named(letter_id)[1]
    if letter.kind == "reply":
        body = to_json(_message(content))
        db.execute("UPDATE outbox SET message = ? WHERE id = ? AND state = 'dead'", (body, number))
        return True
    rows = db.execute(
        "SELECT inbox.id AS id FROM inbox JOIN turn ON inbox.id BETWEEN first_event AND last_event"
        " WHERE turn.id = ? AND inbox.turn = turn.id ORDER BY inbox.id",
        (number,),
    ).fetchall()
    events = _events(content, letter.content)
    for row, event in zip(rows, events, strict=True):
        db.execute("UPDATE inbox SET event = ? WHERE id = ?", (to_json(event), row["id"]))
    return True


def _message(content: JSON) -> Message:
    message = _read(content)
    if not isinstance(message, Message) or len(message.parts) != 1:
        raise StoreError("a reply is one message with one part, as `show` has it")
    return message


def _events(content: JSON, old: JSON) -> list[AnyEvent]:
    given = content if isinstance(content, list) else []
    before = old if isinstance(old, list) else []
    kept = ("type", "id", "address")
    if len(given) != len(before) or not all(
        isinstance(new, dict) and isinstance(was, dict) and all(new.get(key) == was.get(key) for key in kept)
        for new, was in zip(given, before, strict=False)
    ):
        raise StoreError("a turn keeps its events, each with its type, id and address, as `show` has them")
    return [_event(one) for one in given]


def _event(content: JSON) -> AnyEvent:
    event = _read(content)
    meant = content.get("type") if isinstance(content, dict) else None
    if not isinstance(event, Event) or event.kind != meant:
        raise StoreError(f"this is no event of the type {meant!r}: a field is missing or of another kind")
    return cast("AnyEvent", event)


def _read(content: JSON) -> object:
    try:
        return from_json(msgspec.json.encode(content))
    except (msgspec.ValidationError, msgspec.DecodeError, TypeError, ValueError) as error:
        raise StoreError(f"this cannot be read: {error}") from None
