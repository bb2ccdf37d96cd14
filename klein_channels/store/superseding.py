"""How a new message puts an end to a turn that goes on. Each function is one transaction's work."""

from __future__ import annotations

from ..model import AnyEvent, Message, Text, Turn, from_json
from .database import Database, Row
from .exchanges import make_ready
from .queueing import joined_with
from .reading import event_of, events_of


def interrupting(db: Database, turn: Turn) -> float | None:
    """When an event that waits puts an end to `turn`: 0 for at once, None if there is none."""
    row = db.execute(
        "SELECT event, due_at FROM inbox WHERE conversation = ? AND state = 'waiting' ORDER BY id LIMIT 1",
        (turn.conversation,),
    ).fetchone()
    if row is None or not puts_an_end_to(row, turn.events, float("inf")):
        return None
    return row["due_at"] or 0.0


def puts_an_end_to(waiting: Row, events: tuple[AnyEvent, ...], now: float) -> bool:
    """Whether the oldest event that waits ends a turn with `events`: it is due, and the same person's."""
    due_at = waiting["due_at"]
    return (due_at is None or due_at <= now) and joined_with(events[-1], event_of(waiting))


def end_superseded(db: Database, turn: Row, now: float) -> None:
    """End a turn whose place another takes: what is unclaimed is withdrawn, what is seen stays."""
    db.execute("UPDATE turn SET state = 'superseded', ended_at = ? WHERE id = ?", (now, turn["id"]))
    db.execute(
        # A text that was seen as it grew is sent once more, in its final form; else it stays as it is.
        "UPDATE outbox SET"
        " state = CASE WHEN state = 'streaming' AND growing = 1 THEN 'sent' ELSE 'withdrawn' END,"
        " settled_at = :now WHERE turn = :turn"
        " AND (state = 'streaming' OR (state = 'waiting' AND (growing = 0 OR mids IS NULL)))",
        {"now": now, "turn": turn["id"]},
    )


def take_its_place(db: Database, old: Row, new: int, events: tuple[AnyEvent, ...]) -> tuple[str, ...]:
    """Note which turn came after `old`, and whose place that had taken; whose webhooks wait no longer."""
    db.execute(
        "UPDATE turn SET superseded_by = :new WHERE id = :old OR superseded_by = :old",
        {"new": new, "old": old["id"]},
    )
    for event in events:
        make_ready(db, old["conversation"], event.id)
    return tuple(event.id for event in events)


def superseded_by(db: Database, turn: int) -> tuple[tuple[AnyEvent, ...], tuple[Message, ...]]:
    """The events of the turns whose place `turn` took, and what was said of them."""
    rows = db.execute("SELECT * FROM turn WHERE superseded_by = ? ORDER BY id", (turn,)).fetchall()
    events = tuple(event for row in rows for event in events_of(db, row))
    said = (message for row in rows for message in said_of(db, row["id"]))
    # A text that was cut off before anybody knew how much of it was seen left nothing to tell.
    return events, tuple(message for message in said if message.parts != (Text(text="", format="markdown"),))


def said_of(db: Database, turn: int) -> tuple[Message, ...]:
    """What was said in a turn and stays: that was sent, or is about to be, or may have been."""
    rows = db.execute(
        "SELECT message FROM outbox WHERE turn = ? AND state NOT IN"
        " ('withdrawn', 'streaming', 'dead', 'discarded') ORDER BY id",
        (turn,),
    )
    return tuple(message for row in rows if isinstance(message := from_json(row["message"]), Message))
