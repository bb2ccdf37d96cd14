"""What becomes of an event that comes while others wait. Each function is one transaction's work."""

from __future__ import annotations

from collections.abc import Sequence

from ..model import AnyEvent, MessageReceived, PersonEvent
from . import Arrival, Queueing, Reply
from .database import Database, Row
from .exchanges import make_ready
from .outbox import insert_replies
from .reading import event_of

GROUP_WINDOW = 1.0
"""Seconds that one of a group waits for the next: platforms send them within moments of each other."""
TOLD_AGAIN_AFTER = 600
"""Seconds (of the clock: from one multiple to the next) in which a full queue is told of once."""


def no_place(db: Database, arrival: Arrival, owner: str, full: bool, now: float) -> str | None:
    """Why an event has no place: a key under which its person is told so once; None where it has one."""
    if is_grouped(arrival.event) and _group_waits(db, arrival):
        return None
    if arrival.queueing.double_texting == "reject" and owner == "bot":
        first = _first_open(db, arrival.conversation)
        if first is not None:
            return f"klein_channels:busy:{first}"
    if full:
        return f"klein_channels:full:{int(now // TOLD_AGAIN_AFTER)}"
    return None


def _first_open(db: Database, key: str) -> int | None:
    """The event with which a conversation is busy: the first one of its turn, or that waits for one."""
    row = db.execute(
        "SELECT first_event AS first FROM turn WHERE conversation = ? AND state IN ('running', 'retry')"
        " UNION ALL SELECT id FROM inbox WHERE conversation = ? AND state = 'waiting' ORDER BY first LIMIT 1",
        (key, key),
    ).fetchone()
    return row["first"] if row else None


def due_of(db: Database, arrival: Arrival, now: float) -> float | None:
    """When the turn of an event may start; one that others may join waits for them, but not for long."""
    queueing = arrival.queueing
    if is_grouped(arrival.event):
        return max(now + GROUP_WINDOW, arrival.due_at or 0.0)
    if queueing.double_texting != "merge" or not _joins(arrival.event):
        return arrival.due_at
    row = db.execute(
        "SELECT received_at FROM inbox WHERE conversation = ? AND state = 'waiting' ORDER BY id LIMIT 1",
        (arrival.conversation,),
    ).fetchone()
    since = row["received_at"] if row else now
    until = max(min(now + queueing.window, since + queueing.longest), now)
    return until if arrival.due_at is None else max(until, arrival.due_at)


def one_turn(waiting: Sequence[Row], queueing: Queueing) -> tuple[int, float | None]:
    """How many of the events that wait, from the oldest on, are one turn; and when it may start."""
    if queueing.together == 1 and queueing.grouped == 1:
        return 1, waiting[0]["due_at"]
    first = event_of(waiting[0])
    if queueing.together == 1 and is_grouped(first):
        return _one_group(waiting, queueing)
    if queueing.together == 1 or not _joins(first):
        return 1, waiting[0]["due_at"]
    for number, row in enumerate(waiting[1 : queueing.together], 1):
        if not (_joins(event := event_of(row)) and joined_with(first, event)):
            # Nothing that comes from now on can join them.
            return number, None
    number = min(len(waiting), queueing.together)
    return number, waiting[number - 1]["due_at"] if number < queueing.together else None


def _one_group(waiting: Sequence[Row], queueing: Queueing) -> tuple[int, float | None]:
    """How many of the oldest events are one group; it waits for what may still belong to it."""
    first, count = event_of(waiting[0]), 1
    for row in waiting[1 : queueing.grouped]:
        if not same_group(first, event_of(row)):
            return count, None
        count += 1
    return count, waiting[count - 1]["due_at"] if count < queueing.grouped else None


def is_grouped(event: AnyEvent) -> bool:
    """Whether an event is one of several that people see as one."""
    return isinstance(event, MessageReceived) and event.group is not None


def same_group(event: AnyEvent, later: AnyEvent) -> bool:
    """Whether two events are of one group."""
    named = [one.group if isinstance(one, MessageReceived) else None for one in (event, later)]
    return named[0] is not None and named[0] == named[1] and joined_with(event, later)


def _group_waits(db: Database, arrival: Arrival) -> bool:
    """Whether the event that came last in a conversation is of the same group, and has a place."""
    row = db.execute(
        "SELECT event FROM inbox WHERE conversation = ? AND state = 'waiting' ORDER BY id DESC LIMIT 1",
        (arrival.conversation,),
    ).fetchone()
    return row is not None and same_group(event_of(row), arrival.event)


def _joins(event: AnyEvent) -> bool:
    """Whether an event may be one turn with others: words, not the choice of a button."""
    return isinstance(event, MessageReceived) and event.payload is None


def joined_with(event: AnyEvent, later: AnyEvent) -> bool:
    """Whether two events are the same person's, at the same place."""
    senders = [
        one.sender.id if isinstance(one, PersonEvent) and one.sender else None for one in (event, later)
    ]
    return senders[0] == senders[1] and event.address == later.address


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
