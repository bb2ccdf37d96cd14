"""What becomes of an event that comes while others wait. Each function is one transaction's work."""

from __future__ import annotations

from . import Arrival, Reply
from .database import Database
from .exchanges import make_ready
from .outbox import insert_replies

TOLD_AGAIN_AFTER = 600
"""Seconds (of the clock: from one multiple to the next) in which a full queue is told of once."""


def place(db: Database, arrival: Arrival, full: bool, now: float) -> str | None:
    """Why an event has no place: a key under which its person is told so once; None where it has one."""
    queueing = arrival.queueing
    if queueing.double_texting == "reject":
        row = db.execute(
            "SELECT coalesce("
            "(SELECT first_event FROM turn WHERE conversation = :key AND state IN ('running', 'retry')),"
            " (SELECT min(id) FROM inbox WHERE conversation = :key AND state = 'waiting')) AS first",
            {"key": arrival.conversation},
        ).fetchone()
        if row["first"] is not None:
            return f"klein_channels:busy:{row['first']}"
    if full:
        return f"klein_channels:full:{int(now // TOLD_AGAIN_AFTER)}"
    return None


def refuse(db: Database, arrival: Arrival, key: str, now: float) -> None:
    """Tell the person of a rejected event that we are busy, if they were not told under this `key`."""
    event = arrival.event
    replies = [
        Reply(
            address=event.address,
            message=message,
            part=number,
            cause=event.id,
            by_answer=arrival.exchange != "none",
        )
        for number, message in enumerate(arrival.queueing.busy)
    ]
    insert_replies(db, arrival.conversation, replies, now, key=key)
    if arrival.exchange != "none":
        make_ready(db, arrival.conversation, event.id)
