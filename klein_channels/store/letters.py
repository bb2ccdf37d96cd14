"""Dead letters and other listings: what an operator asks for. Reads go over a connection of their own."""

from __future__ import annotations

from typing import Literal

import msgspec

from . import DeadLetter, Due, Stats
from .database import Database, Row
from .outbox import OPEN
from .owners import returning
from .pauses import not_still

LETTERS = """
    SELECT 'turn' AS kind, id, conversation, ended_at AS at, error FROM turn WHERE state = 'dead'
    UNION ALL
    SELECT 'reply', id, conversation, settled_at, error FROM outbox WHERE state = 'dead'
"""


# A thousand paused conversations would fill every page, and nobody else's time would ever come.
_NOT_PAUSED = (
    "NOT EXISTS (SELECT 1 FROM conversation WHERE key = mine.conversation AND conversation.owner = 'paused')"
)
# Only those that no earlier reply of their conversation holds up.
_FOREMOST = (
    "NOT EXISTS (SELECT 1 FROM outbox AS earlier WHERE earlier.conversation = mine.conversation"
    f" AND earlier.state IN {OPEN} AND earlier.id < mine.id)"
)


def dead_letters(db: Database, after: str | None, limit: int) -> list[DeadLetter]:
    """Dead letters by time, behind the one named `after`."""
    start = _place_of(db, after)
    rows = db.execute(
        f"SELECT * FROM ({LETTERS}) AS letters WHERE (at, kind, id) > (?, ?, ?)"
        " ORDER BY at, kind, id LIMIT ?",
        (*start, limit),
    ).fetchall()
    return [letter_of(db, row) for row in rows]


def dead_letter(db: Database, letter_id: str) -> DeadLetter | None:
    """The dead letter of that name."""
    kind, number = named(letter_id)
    row = db.execute(
        f"SELECT * FROM ({LETTERS}) AS letters WHERE kind = ? AND id = ?", (kind, number)
    ).fetchone()
    return letter_of(db, row) if row else None


def redrive(db: Database, letter_id: str, action: Literal["replay", "discard"], now: float) -> bool:
    """Try a dead letter again under its old id, or put it away; False if there is none."""
    kind, number = named(letter_id)
    if action == "discard":
        table = "turn" if kind == "turn" else "outbox"
        done = db.execute(
            f"UPDATE {table} SET state = 'discarded' WHERE id = ? AND state = 'dead'", (number,)
        )
    elif kind == "turn":
        done = db.execute(
            "UPDATE turn SET state = 'queued', due_at = ?, failures = 0, first_failure = NULL,"
            " taken = 0, ended_at = NULL WHERE id = ? AND state = 'dead'",
            (now, number),
        )
    else:
        done = db.execute(
            "UPDATE outbox SET state = 'waiting', due_at = :now, first_at = :now, settled_at = NULL,"
            " repeated = 0, final_word = CASE WHEN final_word < 0 THEN 0 ELSE final_word END"
            " WHERE id = :id AND state = 'dead'",
            {"now": now, "id": number},
        )
    return done.rowcount == 1


def waiting(db: Database) -> Due:
    """All conversations with something open, those that wait longest first."""
    turns = db.execute(
        "SELECT conversation FROM (SELECT conversation, first_event AS first FROM turn"
        " WHERE state IN ('running', 'retry') UNION ALL"
        " SELECT conversation, first_event FROM turn WHERE state = 'queued' UNION ALL"
        " SELECT conversation, min(id) FROM inbox WHERE state = 'waiting' GROUP BY conversation)"
        " AS beginnings GROUP BY conversation ORDER BY min(first)"
    )
    replies = db.execute(
        f"SELECT conversation FROM outbox WHERE state IN {OPEN} GROUP BY conversation ORDER BY min(id)"
    )
    return Due(turns=_firsts(turns.fetchall()), replies=_firsts(replies.fetchall()))


def due(db: Database, now: float, limit: int, *, fresh: float) -> Due:
    """Conversations with a retry, a replay or a reply whose time has come.

    Replies that were made after `fresh` are left to the server that made them.
    """
    moving, places = not_still(db, "mine.conversation")
    turns = db.execute(
        "SELECT conversation FROM turn AS mine WHERE state IN ('retry', 'queued') AND due_at <= ?"
        f" AND {_NOT_PAUSED}{moving} ORDER BY due_at LIMIT ?",
        (now, *places, limit),
    )
    events = db.execute(
        # Only those that no open turn of their conversation holds up.
        "SELECT conversation FROM inbox AS mine WHERE state = 'waiting' AND due_at <= ? AND NOT EXISTS"
        " (SELECT 1 FROM turn WHERE turn.conversation = mine.conversation"
        f" AND turn.state IN ('running', 'retry')) AND {_NOT_PAUSED} ORDER BY due_at LIMIT ?",
        (now, limit),
    )
    replies = db.execute(
        # The latest first: those that were due before are known already, and wait for their account.
        "SELECT conversation FROM outbox AS mine WHERE state IN ('waiting', 'unknown', 'held')"
        f" AND due_at <= ? AND created_at <= ? AND {_FOREMOST} AND {_NOT_PAUSED}{moving}"
        " ORDER BY due_at DESC LIMIT ?",
        (now, fresh, *places, limit),
    )
    return Due(
        turns=_firsts([*turns.fetchall(), *events.fetchall()]),
        replies=_firsts(replies.fetchall()[::-1]),
        owners=returning(db, now),
    )


def replies_due(db: Database, prefix: str, after: str, now: float, limit: int) -> tuple[str, ...]:
    """Conversations of one account, behind `after`, with a reply whose time has come."""
    moving, places = not_still(db, "mine.conversation")
    rows = db.execute(
        f"SELECT conversation FROM outbox AS mine WHERE state IN {OPEN} AND conversation > ?"
        " AND substr(conversation, 1, length(?)) = ? AND state IN ('waiting', 'unknown', 'held')"
        f" AND due_at <= ? AND {_FOREMOST} AND {_NOT_PAUSED}{moving} ORDER BY conversation LIMIT ?",
        (after, prefix, prefix, now, *places, limit),
    )
    return _firsts(rows.fetchall())


def left_lying(db: Database, before: float, limit: int) -> tuple[str, ...]:
    """Conversations with events that came before `before` and that nobody has begun to answer."""
    moving, places = not_still(db, "mine.conversation")
    rows = db.execute(
        "SELECT conversation FROM inbox AS mine WHERE state = 'waiting' AND received_at <= ?"
        " AND (due_at IS NULL OR due_at <= ?)"
        " AND NOT EXISTS (SELECT 1 FROM turn WHERE turn.conversation = mine.conversation"
        f" AND turn.state IN ('running', 'retry')) AND {_NOT_PAUSED}{moving}"
        " GROUP BY conversation ORDER BY min(id) LIMIT ?",
        (before, before, *places, limit),
    )
    return _firsts(rows.fetchall())


def stats(db: Database) -> Stats:
    """How much waits."""
    events = db.execute(
        "SELECT count(*) AS count, min(received_at) AS oldest FROM inbox WHERE state = 'waiting'"
    ).fetchone()
    replies = db.execute(f"SELECT count(*) AS count FROM outbox WHERE state IN {OPEN}").fetchone()
    dead = db.execute(f"SELECT count(*) AS count FROM ({LETTERS}) AS letters").fetchone()
    return Stats(
        waiting_events=events["count"],
        open_replies=replies["count"],
        dead_letters=dead["count"],
        oldest=events["oldest"],
    )


def named(letter_id: str) -> tuple[str, int]:
    """The kind and the number in a letter's name; of no kind where it is no name."""
    kind, _, number = letter_id.partition("-")
    named = kind in ("turn", "reply") and number.isdecimal() and len(number) < 19
    return (kind, int(number)) if named else ("", 0)


def _place_of(db: Database, letter_id: str | None) -> tuple[float, str, int]:
    found = dead_letter(db, letter_id) if letter_id else None
    return (found.at, *named(found.id)) if found else (float("-inf"), "", 0)


def letter_of(db: Database, row: Row) -> DeadLetter:
    """A row of `LETTERS` with what it was about."""
    if row["kind"] == "turn":
        bodies = db.execute(
            "SELECT event FROM inbox JOIN turn ON inbox.id BETWEEN first_event AND last_event"
            " WHERE turn.id = :turn AND inbox.turn = :turn ORDER BY inbox.id",
            {"turn": row["id"]},
        )
        content = [msgspec.json.decode(body["event"]) for body in bodies]
    else:
        body = db.execute("SELECT message FROM outbox WHERE id = ?", (row["id"],)).fetchone()
        content = msgspec.json.decode(body["message"])
    return DeadLetter(
        id=f"{row['kind']}-{row['id']}",
        kind=row["kind"],
        conversation=row["conversation"],
        at=row["at"],
        reason=row["error"] or "",
        content=content,
    )


def _firsts(rows: list[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row["conversation"] for row in rows))
