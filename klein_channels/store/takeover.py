"""
What is done with what a dead server had begun.

A server that does not stand in the table `server` is dead. In SQLite none ever stands there: the lock
of its file says the same.
"""

from __future__ import annotations

from . import exchanges, outbox
from .database import Database


def take_over(db: Database, now: float, unknown_until: float) -> None:
    """Make what was begun by no living server nobody's."""
    db.execute(
        "UPDATE outbox SET state = 'unknown', due_at = ?"
        f" WHERE state IN {outbox.OPEN} AND state = 'sending' AND {_of_the_dead('outbox')}",
        (unknown_until,),
    )
    db.execute(
        "UPDATE turn SET state = CASE WHEN taken = 1 THEN 'withheld' ELSE 'retry' END,"
        " due_at = :now, failures = failures + 1,"
        " first_failure = coalesce(first_failure, :now), error = 'the server ended during this turn'"
        f" WHERE state IN ('running', 'retry') AND state = 'running' AND {_of_the_dead('turn')}",
        {"now": now},
    )
    rows = db.execute(
        "SELECT conversation, event, server FROM exchange"
        f" WHERE state IN ('open', 'ready') AND answers_only = 0 AND {_of_the_dead('exchange')}"
    ).fetchall()
    for row in rows:
        exchanges.close_exchange(db, row["server"], row["conversation"], row["event"], now)


def _of_the_dead(table: str) -> str:
    return f"NOT EXISTS (SELECT 1 FROM server WHERE server.id = {table}.server)"
