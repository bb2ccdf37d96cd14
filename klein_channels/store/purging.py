"""Deletes what is over, chunk by chunk. Each function is one transaction's work."""

from __future__ import annotations

from ..model import Value
from .database import Database

PURGE_CHUNK = 200
_SEEN = (
    "DELETE FROM seen WHERE key IN"
    " (SELECT key FROM seen WHERE key >= x'00000001' AND key < ? AND at < ? LIMIT ?)"
)
_SEEN_UNTIMED = (
    "DELETE FROM seen WHERE key IN (SELECT key FROM seen WHERE key < x'00000001' AND at < ? LIMIT ?)"
)
_TURNS = (
    "DELETE FROM turn WHERE id IN (SELECT id FROM turn WHERE started_at < ?"
    " AND state IN ('done', 'withheld', 'discarded', 'superseded') ORDER BY id LIMIT ?)"
)
_REPLIES = (
    "DELETE FROM outbox WHERE id IN (SELECT id FROM outbox WHERE created_at < ?"
    " AND state IN ('sent', 'withheld', 'withdrawn', 'expired', 'discarded') ORDER BY id LIMIT ?)"
)
_EXCHANGES = (
    "DELETE FROM exchange WHERE (conversation, event) IN (SELECT conversation, event FROM exchange"
    " WHERE at < ? AND state IN ('answered', 'closed') LIMIT ?)"
)
# An event stays as long as the turn that took it.
_EVENTS = (
    "DELETE FROM inbox WHERE id IN (SELECT id FROM inbox WHERE received_at < ? AND (state IN"
    " ('observed', 'withheld', 'rejected') OR (state = 'taken' AND NOT EXISTS"
    " (SELECT 1 FROM turn WHERE turn.id = inbox.turn))) ORDER BY id LIMIT ?)"
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


def purge(db: Database, seen_hour: bytes, seen_before: float, finished_before: float, own: Cutoffs) -> int:
    """Delete one chunk of what is over; how many rows went."""

    def before(cutoff: float | None) -> float:
        return finished_before if cutoff is None else cutoff

    overs: list[tuple[str, tuple[object, ...]]] = [
        (_SEEN, (seen_hour, seen_before)),
        (_SEEN_UNTIMED, (seen_before,)),
        (_TURNS, (before(own.turns),)),
        (_REPLIES, (before(own.replies),)),
        (_EXCHANGES, (before(own.replies),)),
        (_EVENTS, (before(own.events),)),
    ]
    if own.dead_letters is not None:
        overs += [(query, (own.dead_letters,)) for query in _DEAD]
    if own.audit is not None:
        overs.append((_AUDIT, (own.audit,)))
    return sum(db.execute(query, (*values, PURGE_CHUNK)).rowcount for query, values in overs)
