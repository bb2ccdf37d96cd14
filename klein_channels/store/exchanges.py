"""What happens to a webhook whose answer carries the replies. Each function is one transaction's work.

It opens with the commit of its event. While it is open, the replies to that event wait in the outbox
without a time; the end of the turn makes them one response, which is kept for redeliveries. An exchange
that is closed lets its replies go the channel's other way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from . import Claim, Exchange
from .database import Database
from .outbox import NEVER, OPEN, claim_of_row, owner_at

Render = Callable[[tuple[Claim, ...]], tuple[bytes, int]]
"""Makes the response of replies; how many of them, from the first, it carries. Pure."""


def open_exchange(db: Database, server: int, conversation: str, event: str, only: bool, now: float) -> None:
    """An event came in a webhook that waits for the replies to it."""
    db.execute(
        "INSERT INTO exchange (conversation, event, state, answers_only, at, server)"
        " VALUES (?, ?, 'open', ?, ?, ?) ON CONFLICT DO NOTHING",
        (conversation, event, int(only), now, server),
    )


def read_exchange(db: Database, conversation: str, event: str) -> Exchange | None:
    """How far an exchange is."""
    row = db.execute(
        "SELECT state, response FROM exchange WHERE conversation = ? AND event = ?", (conversation, event)
    ).fetchone()
    return Exchange(state=row["state"], response=row["response"]) if row else None


def make_ready(db: Database, conversation: str, event: str) -> None:
    """The turn of an event has ended: all replies to it are there."""
    db.execute(
        "UPDATE exchange SET state = 'ready' WHERE conversation = ? AND event = ? AND state = 'open'",
        (conversation, event),
    )


def answer_exchange(
    db: Database, instance: str, conversation: str, event: str, render: Render, now: float
) -> Exchange | None:
    """Make one response of the replies to an event whose turn has ended, and keep it.

    What it cannot carry goes the other way. The response that is there already stays; None if there
    never was an exchange.
    """
    found = read_exchange(db, conversation, event)
    if found is None or found.state != "ready":
        return found
    owned = db.execute("SELECT owner, owner_until FROM conversation WHERE key = ?", (conversation,))
    rows = db.execute(
        f"SELECT id, final_word FROM outbox WHERE conversation = ? AND state IN {OPEN}"
        " AND state = 'waiting' AND cause = ? AND due_at = ? ORDER BY id",
        (conversation, event, NEVER),
    ).fetchall()
    if owner_at(owned.fetchone(), now) == "human":
        withheld = [row["id"] for row in rows if not row["final_word"]]
        _end(db, withheld, "withheld", now)
        rows = [row for row in rows if row["final_word"]]
    response, carried = render(tuple(claim_of_row(db, instance, row["id"], now) for row in rows))
    _end(db, [row["id"] for row in rows[:carried]], "sent", now)
    for row in rows[carried:]:
        db.execute("UPDATE outbox SET due_at = ? WHERE id = ?", (now, row["id"]))
    db.execute(
        "UPDATE exchange SET state = 'answered', response = ? WHERE conversation = ? AND event = ?",
        (response, conversation, event),
    )
    return Exchange(state="answered", response=response, carried=tuple(row["id"] for row in rows[:carried]))


def close_exchange(db: Database, server: int, conversation: str, event: str, now: float) -> None:
    """Nobody waits for the answer any more at `server`: the replies go the other way."""
    closed = db.execute(
        "UPDATE exchange SET state = 'closed' WHERE conversation = ? AND event = ?"
        " AND state IN ('open', 'ready') AND answers_only = 0 AND server = ?",
        (conversation, event, server),
    )
    if closed.rowcount:
        db.execute(
            f"UPDATE outbox SET due_at = ? WHERE conversation = ? AND state IN {OPEN} AND cause = ?"
            " AND due_at = ?",
            (now, conversation, event, NEVER),
        )


def recall_answer(db: Database, conversation: str, event: str, carried: Sequence[int], now: float) -> None:
    """Who waited for an answer left while it was stored: nobody got it, and it goes the other way."""
    recalled = db.execute(
        "UPDATE exchange SET state = 'closed', response = NULL WHERE conversation = ? AND event = ?"
        " AND state = 'answered' AND answers_only = 0",
        (conversation, event),
    )
    for row in carried if recalled.rowcount else ():
        db.execute(
            "UPDATE outbox SET state = 'waiting', due_at = ?, settled_at = NULL, tries = tries - 1"
            " WHERE id = ? AND state = 'sent'",
            (now, row),
        )


def close_abandoned(db: Database, now: float, expired_before: float) -> int:
    """Let go of exchanges that nobody can answer: all of a dead server, those that nobody fetched."""
    rows = db.execute(
        "SELECT conversation, event FROM exchange"
        " WHERE state IN ('open', 'ready') AND answers_only = 1 AND at < ?",
        (expired_before,),
    ).fetchall()
    for row in rows:
        db.execute(
            f"UPDATE outbox SET state = 'expired', settled_at = ? WHERE conversation = ? AND state IN {OPEN}"
            " AND cause = ? AND due_at = ?",
            (now, row["conversation"], row["event"], NEVER),
        )
        db.execute(
            "UPDATE exchange SET state = 'closed' WHERE conversation = ? AND event = ?",
            (row["conversation"], row["event"]),
        )
    return len(rows)


def ready(db: Database, server: int) -> tuple[tuple[str, str], ...]:
    """The exchanges whose connections `server` holds and whose replies are there."""
    rows = db.execute(
        "SELECT conversation, event FROM exchange WHERE state IN ('open', 'ready') AND state = 'ready'"
        " AND server = ? ORDER BY at LIMIT 1000",
        (server,),
    )
    return tuple((row["conversation"], row["event"]) for row in rows)


def _end(db: Database, rows: list[int], state: str, now: float) -> None:
    for row in rows:
        db.execute(
            "UPDATE outbox SET state = ?, settled_at = ?, tries = tries + 1 WHERE id = ?", (state, now, row)
        )
