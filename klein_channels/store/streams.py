"""What happens to the row of a text that is seen while it grows. Each function is one transaction's work.

The row is there, in the state ``streaming``, before anything is shown, and knows afterwards what the
platform calls it. The final text takes the row over, whoever says it: this attempt, the next one
after a crash, or the apology. So one reply is seen in the end.
"""

from __future__ import annotations

import msgspec

from ..model import to_json
from . import Claim, Reply
from .database import Database, Row


def stream_of(db: Database, turn: int) -> Row | None:
    """The row that is growing in a turn, or was when its former attempt ended."""
    row: Row | None = db.execute(
        "SELECT * FROM outbox WHERE turn = ? AND state = 'streaming'", (turn,)
    ).fetchone()
    return row


def insert_stream(db: Database, server: int, conversation: str, turn: int, reply: Reply, now: float) -> Row:
    """A row for a text that begins to grow."""
    row: Row = db.execute(
        "INSERT INTO outbox (conversation, address, message, cause, turn, attempt, ordinal, part,"
        " state, due_at, first_at, created_at, server, growing, mids)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'streaming', ?, ?, ?, ?, 1, ?) RETURNING *",
        (
            *(conversation, str(reply.address), to_json(reply.message), reply.cause),
            *(turn, reply.attempt, reply.ordinal, reply.part, now, now, now, server),
            msgspec.json.encode([reply.stream]) if reply.stream is not None else None,
        ),
    ).fetchone()
    return row


def hand_stream(db: Database, server: int, row: int) -> None:
    """Another server goes on with a text that was growing: the former one notes nothing more."""
    db.execute("UPDATE outbox SET server = ? WHERE id = ?", (server, row))


def note_stream(db: Database, server: int, claim: Claim, name: str | None) -> None:
    """Note what the platform calls what it shows; without a name, that it shows nothing."""
    db.execute(
        "UPDATE outbox SET mids = ?, growing = ? WHERE id = ? AND state = 'streaming' AND server = ?",
        (msgspec.json.encode([name]) if name is not None else None, int(name is not None), claim.row, server),
    )


def take_stream(db: Database, turn: int, reply: Reply, now: float) -> bool:
    """Make `reply` the final text of what grew in this turn; False if nothing did.

    If the platform may show something whose name we never learned, it is posted anew, and marked.
    """
    row = stream_of(db, turn)
    if row is None:
        return False
    db.execute(
        "UPDATE outbox SET state = 'waiting', message = ?, attempt = ?, ordinal = ?, part = ?, due_at = ?,"
        " repeated = CASE WHEN growing = 1 AND mids IS NULL THEN 1 ELSE repeated END WHERE id = ?",
        (to_json(reply.message), reply.attempt, reply.ordinal, reply.part, now, row["id"]),
    )
    return True


def leave_stream(db: Database, turn: int, now: float) -> None:
    """The turn is over and nothing took the place of what grew in it: what is seen stays."""
    db.execute(
        "UPDATE outbox SET state = 'sent', settled_at = ? WHERE turn = ? AND state = 'streaming'", (now, turn)
    )
