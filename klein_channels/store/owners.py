"""Who answers a conversation: the bot, a human, or nobody for now. Each function is one transaction's work.

A human keeps what came, or was begun, before they took over: it is withheld in the transaction that
takes it, and stays withheld when the bot has the conversation again. An owner may be for a time:
whoever looks after that time sees the bot.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..model import Owner
from . import Conversation, Due
from .database import Database, Row
from .outbox import OPEN, owner_at

_TAKEN_TURNS = (
    "UPDATE inbox SET state = 'withheld' WHERE conversation = :key AND state = 'waiting'",
    "UPDATE turn SET state = 'withheld', ended_at = :now WHERE conversation = :key"
    " AND state IN ('running', 'retry') AND state = 'retry'",
    "UPDATE turn SET state = 'withheld', ended_at = :now WHERE conversation = :key AND state = 'queued'",
    # Its agent may be asked no further question, but it cannot be stopped.
    "UPDATE turn SET taken = 1 WHERE conversation = :key AND state IN ('running', 'retry')"
    " AND state = 'running'",
)
# What is being sent cannot be held back; but once is all that it is sent.
_TAKEN_SENDS = (
    f"UPDATE outbox SET final_word = -1 WHERE conversation = :key AND state IN {OPEN}"
    " AND state = 'sending' AND final_word = 0"
)
_TAKEN_REPLIES = (
    f"UPDATE outbox SET state = 'withheld', settled_at = :now WHERE conversation = :key AND state IN {OPEN}"
    " AND state IN ('waiting', 'unknown', 'held') AND final_word = 0"
)


def set_owner(db: Database, key: str, owner: Owner, until: float | None, now: float) -> None:
    """Give a conversation to `owner`, until a time or for good.

    A bot's is marked, so that a server in another process notices that it may go on.
    """
    if owner == "bot":
        until = now
    db.execute(
        "INSERT INTO conversation (key, owner, owner_until) VALUES (?, ?, ?)"
        " ON CONFLICT (key) DO UPDATE SET owner = excluded.owner, owner_until = excluded.owner_until",
        (key, owner, until),
    )
    if owner == "human":
        withhold(db, key, now)


def rest(db: Database, key: str, now: float, until: float) -> bool:
    """Let a conversation of the bot's rest until a time; False if it is somebody else's."""
    rests = db.execute(
        "UPDATE conversation SET owner = 'paused', owner_until = ? WHERE key = ?"
        " AND (owner = 'bot' OR owner_until <= ?)",
        (until, key, now),
    )
    return rests.rowcount == 1


def withhold(db: Database, key: str, now: float) -> None:
    """Keep from the bot what waits here for it, and what it has not said yet."""
    for statement in (*_TAKEN_TURNS, _TAKEN_SENDS, _TAKEN_REPLIES):
        db.execute(statement, {"key": key, "now": now})


def withhold_replies(db: Database, turn: int, now: float) -> None:
    """Keep back what was said in a turn that a human took over."""
    db.execute(
        "UPDATE outbox SET state = 'withheld', settled_at = ? WHERE turn = ? AND state = 'waiting'"
        " AND final_word = 0",
        (now, turn),
    )


def return_owners(db: Database, now: float, limit: int) -> Due:
    """Give the bot back what was somebody's for a time that is over; whom to wake."""
    rows = db.execute(
        "UPDATE conversation SET owner = 'bot', owner_until = NULL WHERE key IN"
        " (SELECT key FROM conversation WHERE owner_until <= ? ORDER BY owner_until LIMIT ?) RETURNING key",
        (now, limit),
    ).fetchall()
    keys = tuple(row["key"] for row in rows)
    return Due(turns=keys, replies=keys)


def returning(db: Database, now: float) -> bool:
    """Whether there is anything for `return_owners` to do."""
    row = db.execute("SELECT 1 FROM conversation WHERE owner_until <= ? LIMIT 1", (now,)).fetchone()
    return row is not None


def conversations(
    db: Database, owners: Sequence[Owner], after: str | None, limit: int, now: float
) -> list[Conversation]:
    """Conversations in the order of their keys, behind `after`: all, or those of `owners`."""
    listed: list[Conversation] = []
    while len(listed) < limit:
        rows = db.execute(
            "SELECT key, owner, owner_until, last_at FROM conversation WHERE key > ? ORDER BY key LIMIT ?",
            (after or "", limit),
        ).fetchall()
        found = [_conversation(row, now) for row in rows]
        listed += [one for one in found if not owners or one.owner in owners]
        if len(rows) < limit:
            break
        after = rows[-1]["key"]
    return listed[:limit]


def _conversation(row: Row, now: float) -> Conversation:
    owner = owner_at(row, now)
    until = row["owner_until"] if owner != "bot" else None
    return Conversation(key=row["key"], owner=owner, until=until, last_at=row["last_at"])
