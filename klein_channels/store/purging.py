"""Deletes what is over, chunk by chunk. Each function is one transaction's work."""

from __future__ import annotations

from ..model import Value
from .database import Database

PURGE_CHUNK = 200
WINDOW = 100
"""Rows of a table that one transaction looks at."""
_SEEN = (
    "DELETE FROM seen WHERE key IN"
    " (SELECT key FROM seen WHERE key >= x'00000001' AND key < ? AND at < ? LIMIT ?)"
)
_SEEN_UNTIMED = (
    "DELETE FROM seen WHERE key IN (SELECT key FROM seen WHERE key < x'00000001' AND at < ? LIMIT ?)"
)
_TURNS = ("turn", "started_at", "state IN ('done', 'withheld', 'discarded', 'superseded')")
_REPLIES = ("outbox", "created_at", "state IN ('sent', 'withheld', 'withdrawn', 'expired', 'discarded')")
# An event stays as long as the turn that took it.
_EVENTS = (
    "inbox",
    "received_at",
    "(state IN ('observed', 'withheld', 'rejected') OR (state = 'taken'"
    " AND NOT EXISTS (SELECT 1 FROM turn WHERE turn.id = inbox.turn)))",
)
_EXCHANGES = (
    "DELETE FROM exchange WHERE (conversation, event) IN (SELECT conversation, event FROM exchange"
    " WHERE at < ? AND state IN ('answered', 'closed') LIMIT ?)"
)
_DEAD = (
    "DELETE FROM turn WHERE id IN"
    " (SELECT id FROM turn WHERE state = 'dead' AND ended_at < ? ORDER BY id LIMIT ?)",
    "DELETE FROM outbox WHERE id IN"
    " (SELECT id FROM outbox WHERE state = 'dead' AND settled_at < ? ORDER BY id LIMIT ?)",
)
_AUDIT = "DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE at < ? ORDER BY at LIMIT ?)"


class Cutoffs(Value, frozen=True, kw_only=True):
    """The times before which what is over goes, where a table has one of its own.

    Without one, events, turns and replies go with everything that is finished; dead letters and the
    record of the operators stay.
    """

    events: float | None = None
    turns: float | None = None
    replies: float | None = None
    dead_letters: float | None = None
    audit: float | None = None


NO_OTHERS = Cutoffs()


class Purge:
    """Goes through the tables again and again, a window at a time; knows how far it has come.

    A table with an id is looked through in the order of its ids, which is that of its times, and no
    further than to the first row that is too young: what a transaction costs does not grow with the
    table, and no index has to be kept for it with every message.
    """

    def __init__(self) -> None:
        self._looked_at: dict[str, int] = {}

    def chunk(
        self, db: Database, seen_hour: bytes, seen_before: float, finished_before: float, own: Cutoffs
    ) -> int:
        """Delete one chunk of what is over; 0 when all of it is gone."""

        def before(cutoff: float | None) -> float:
            return finished_before if cutoff is None else cutoff

        more = 0
        for table, cutoff in ((_TURNS, own.turns), (_REPLIES, own.replies), (_EVENTS, own.events)):
            more += self._window(db, *table, before(cutoff))
        overs: list[tuple[str, tuple[object, ...]]] = [
            (_SEEN, (seen_hour, seen_before)),
            (_SEEN_UNTIMED, (seen_before,)),
            (_EXCHANGES, (before(own.replies),)),
        ]
        if own.dead_letters is not None:
            overs += [(query, (own.dead_letters,)) for query in _DEAD]
        if own.audit is not None:
            overs.append((_AUDIT, (own.audit,)))
        return more + sum(db.execute(query, (*values, PURGE_CHUNK)).rowcount for query, values in overs)

    def _window(self, db: Database, table: str, time: str, over: str, before: float) -> int:
        """Delete what is over in the next window of a table; 0 when the table is through."""
        start = self._looked_at.pop(table, 0)
        rows = db.execute(
            f"SELECT id, {time} AS at FROM {table} WHERE id > ? ORDER BY id LIMIT ?", (start, WINDOW)
        ).fetchall()
        if not rows:
            return 0
        end = rows[-1]["id"]
        gone = db.execute(
            f"DELETE FROM {table} WHERE id > ? AND id <= ? AND {time} < ? AND {over}", (start, end, before)
        ).rowcount
        if len(rows) == WINDOW and rows[-1]["at"] < before:
            self._looked_at[table] = end
            return 1
        return gone
