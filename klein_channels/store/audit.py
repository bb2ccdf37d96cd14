"""The record of what operators did. Each function is one transaction's work."""

from __future__ import annotations

from ..model import Value
from .database import Database


class Deed(Value, frozen=True, kw_only=True, omit_defaults=False):
    """One thing that an operator did: who, what, about what, and what came of it."""

    id: int = 0
    at: float
    actor: str
    action: str
    subject: str
    result: str


def record(db: Database, deed: Deed) -> None:
    """Write it down, in the transaction of the deed itself."""
    db.execute(
        "INSERT INTO audit (at, actor, action, subject, result) VALUES (?, ?, ?, ?, ?)",
        (deed.at, deed.actor, deed.action, deed.subject, deed.result),
    )


def recorded(db: Database, after: int, limit: int) -> list[Deed]:
    """What was written down, oldest first, behind the one with the number `after`."""
    rows = db.execute("SELECT * FROM audit WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    return [
        Deed(
            id=row["id"],
            at=row["at"],
            actor=row["actor"],
            action=row["action"],
            subject=row["subject"],
            result=row["result"],
        )
        for row in rows
    ]
