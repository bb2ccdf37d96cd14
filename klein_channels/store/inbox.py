"""What happens to the tables when events arrive and turns run. Each function is one transaction's work."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..model import JSON, AnyEvent, Message, Owner, Turn, to_json
from . import (
    IN_ORDER,
    REJECTED,
    Arrival,
    Claim,
    Cursor,
    Ended,
    EndOfTurn,
    NotNow,
    Queueing,
    Reply,
    StartedTurn,
)
from .database import Database, Row
from .exchanges import make_ready, open_exchange
from .outbox import (
    HELD,
    OPEN,
    claim_of_row,
    context_of,
    insert_claimed,
    insert_replies,
    owner_at,
    settle_by_event,
)
from .owners import set_owner, withhold, withhold_replies
from .pauses import IS_STILL, its_places
from .persons import people_of
from .queueing import due_of, is_grouped, no_place, one_turn, refuse
from .reading import event_of, events_of
from .streams import hand_stream, insert_stream, leave_stream, stream_of
from .superseding import end_superseded, puts_an_end_to, said_of, superseded_by, take_its_place

OFFERS_KEPT = 60


def enqueue(db: Database, server: int, arrivals: Sequence[Arrival], now: float) -> list[int | None]:
    """Store what is new among `arrivals`; their numbers, None for what was there."""
    return [_enqueue_one(db, server, arrival, now) for arrival in arrivals]


def move_cursor(db: Database, cursor: Cursor) -> None:
    """Note how far a poll has read."""
    db.execute(
        "INSERT INTO cursor (name, value) VALUES (?, ?)"
        " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (cursor.name, cursor.value),
    )


def read_cursor(db: Database, name: str) -> Cursor | None:
    """How far a poll has read."""
    row = db.execute("SELECT value FROM cursor WHERE name = ?", (name,)).fetchone()
    return Cursor(name=name, value=row["value"]) if row else None


def _enqueue_one(db: Database, server: int, arrival: Arrival, now: float) -> int | None:
    new = db.execute("INSERT INTO seen (key, at) VALUES (?, ?) ON CONFLICT DO NOTHING", (arrival.dedupe, now))
    if new.rowcount == 0:
        return None
    event, key = arrival.event, arrival.conversation
    owner: Owner = "bot"
    full = False
    if arrival.by_person or arrival.owner:
        owner, full = _touch(db, arrival, now)
    if arrival.settles is not None:
        settle_by_event(db, arrival, now)
    state = "observed" if not arrival.turn else "withheld" if owner == "human" else "waiting"
    if arrival.exchange != "none" and state == "waiting":
        open_exchange(db, server, key, event.id, arrival.exchange == "only", now)
    told, due_at = None, arrival.due_at
    queues = full or arrival.queueing.double_texting != "enqueue" or is_grouped(event)
    if state == "waiting" and queues:
        told, due_at = no_place(db, arrival, owner, full, now), due_of(db, arrival, now)
        state = "waiting" if told is None else "rejected"
    stored = db.execute(
        "INSERT INTO inbox (conversation, event, received_at, state, due_at) VALUES (?, ?, ?, ?, ?)"
        " RETURNING id",
        (key, to_json(event), now, state, due_at),
    ).fetchone()
    if told is not None:
        refuse(db, arrival, told, now)
        return REJECTED
    number: int = stored["id"]
    return number


def _touch(db: Database, arrival: Arrival, now: float) -> tuple[Owner, bool]:
    """Note what a person or a handover did to the conversation; its owner, and whether its queue is full."""
    most = arrival.queueing.most
    last_id, last_at = (arrival.event.id, now) if arrival.by_person else (None, None)
    row = db.execute(
        "INSERT INTO conversation (key, last_id, last_at) VALUES (:key, :last_id, :last_at)"
        " ON CONFLICT (key) DO UPDATE SET"
        " last_id = coalesce(:last_id, conversation.last_id),"
        " last_at = coalesce(:last_at, conversation.last_at) RETURNING owner, owner_until,"
        f" EXISTS (SELECT 1 FROM outbox WHERE conversation = :key AND {HELD}) AS held,"
        " (SELECT id FROM inbox WHERE conversation = :key AND state = 'waiting' ORDER BY id"
        " LIMIT :bounded OFFSET :before_last) AS last",
        {
            "key": arrival.conversation,
            "last_id": last_id,
            "last_at": last_at,
            "bounded": min(most, 1),
            "before_last": max(most - 1, 0),
        },
    ).fetchone()
    if arrival.by_person and row["held"]:
        # A person is here again: what the platform refused for this conversation may pass now.
        db.execute(
            f"UPDATE outbox SET state = 'waiting', due_at = ? WHERE conversation = ? AND {HELD}",
            (now, arrival.conversation),
        )
    owner = owner_at(row, now)
    if arrival.owner is not None:
        owner = _take(db, arrival, owner, row["owner_until"], now)
    return owner, row["last"] is not None


def _take(db: Database, arrival: Arrival, owner: Owner, ends: float | None, now: float) -> Owner:
    """Let an event set the owner, who was `owner` until the time `ends`; the owner afterwards."""
    new = arrival.owner
    assert new is not None, "the caller looked"
    if arrival.implied and owner != "bot" and (owner != new or ends is None):
        # What somebody said outright is not changed by a conclusion; but a human was here.
        if new == "human":
            withhold(db, arrival.conversation, now)
        return owner
    set_owner(db, arrival.conversation, new, arrival.owner_until, now)
    return new


def start_turn(
    db: Database,
    server: int,
    key: str,
    now: float,
    *,
    deterministic: bool,
    most_unsent: int,
    queueing: Queueing = IN_ORDER,
    only_new: bool = False,
) -> StartedTurn | NotNow | None:
    """Start the next turn of a conversation, the one that was begun before any new one.

    With `only_new` that one is left, and those behind it.
    """
    standing = _standing(db, key)
    conversation = standing if standing["key"] is not None else None
    row = _turn(db, standing["open_turn"])
    events = _oldest_waiting(db, key, max(queueing.together, queueing.grouped) + 1)
    if row is None and not events:
        return None
    if row and row["state"] == "running" and row["server"] != server:
        # Another server, which lives, is at it: what a dead one ran has become a retry.
        return NotNow()
    owner = owner_at(conversation, now)
    if owner == "human":
        withhold(db, key, now)
        _end_interrupted(db, key, now)
        return None
    if owner == "paused" or standing["still"] or (row is not None and only_new):
        return NotNow()
    if row is not None:
        return _gone_on_with(db, server, conversation, row, events, now, deterministic, queueing)
    taken, due_at = one_turn(events, queueing)
    if due_at is not None and due_at > now:
        return NotNow(until=due_at)
    if standing["unsent"] >= most_unsent:
        # From now on it waits for its replies: the clock need not look at it any more.
        if due_at is not None:
            db.execute(
                "UPDATE inbox SET due_at = NULL WHERE conversation = ? AND state = 'waiting' AND due_at <= ?",
                (key, now),
            )
        return NotNow()
    return _started(db, server, conversation, key, events[:taken], now, more=len(events) > taken)


def _gone_on_with(
    db: Database,
    server: int,
    conversation: Row | None,
    row: Row,
    events: list[Row],
    now: float,
    deterministic: bool,
    queueing: Queueing,
) -> StartedTurn | NotNow:
    """The turn in `row` again, when its time has come; or the one of `events` that takes its place."""
    interrupts = queueing.double_texting == "interrupt"
    if interrupts and events and row["state"] != "queued":
        begun = events_of(db, row)
        if puts_an_end_to(events[0], begun, now):
            taken, _ = one_turn(events, queueing)
            end_superseded(db, row, now)
            started = _started(
                db, server, conversation, row["conversation"], events[:taken], now, more=len(events) > taken
            )
            return _in_place_of(db, row, begun, started)
    if row["due_at"] is not None and row["due_at"] > now:
        return NotNow()
    again = _started_again(db, server, conversation, row, now, deterministic)
    return _with_superseded(db, again) if interrupts else again


def let_wait(db: Database, turns: Sequence[int]) -> None:
    """Let turns that were started, and that no agent was asked for, be started again."""
    for turn in turns:
        db.execute(
            "UPDATE turn SET state = 'retry', due_at = started_at WHERE id = ? AND state = 'running'", (turn,)
        )


def _standing(db: Database, key: str) -> Row:
    """All that decides whether a turn may start, and the conversation, if it was ever touched.

    `open_turn` was begun here and has not ended; else it is the first one that is to be replayed.
    """
    row: Row = db.execute(
        "SELECT conversation.*,"
        f" (SELECT count(*) FROM outbox WHERE conversation = :key AND state IN {OPEN}) AS unsent,"
        " coalesce("
        "(SELECT id FROM turn WHERE conversation = :key AND state IN ('running', 'retry')),"
        " (SELECT min(id) FROM turn WHERE conversation = :key AND state = 'queued')) AS open_turn,"
        f" {IS_STILL} AS still"
        " FROM (SELECT 1 AS one) AS one LEFT JOIN conversation ON conversation.key = :key",
        {"key": key, **its_places(key)},
    ).fetchone()
    return row


def _turn(db: Database, number: int | None) -> Row | None:
    if number is None:
        return None
    row: Row | None = db.execute("SELECT * FROM turn WHERE id = ?", (number,)).fetchone()
    return row


def _oldest_waiting(db: Database, key: str, number: int) -> list[Row]:
    """The oldest events that wait: those of one turn, and one behind them as a sign that there are more."""
    return db.execute(
        "SELECT id, event, due_at FROM inbox WHERE conversation = ? AND state = 'waiting'"
        " ORDER BY id LIMIT ?",
        (key, number),
    ).fetchall()


def _unsent(db: Database, key: str) -> int:
    count: int = db.execute(
        f"SELECT count(*) AS count FROM outbox WHERE conversation = ? AND state IN {OPEN}", (key,)
    ).fetchone()["count"]
    return count


def _end_interrupted(db: Database, key: str, now: float) -> None:
    """A turn that nobody runs any more is the human's as well."""
    db.execute(
        "UPDATE turn SET state = 'withheld', ended_at = ? WHERE conversation = ?"
        " AND state IN ('running', 'retry')",
        (now, key),
    )
    db.execute(
        "UPDATE outbox SET state = 'sent', settled_at = ?"
        f" WHERE conversation = ? AND state IN {OPEN} AND state = 'streaming'",
        (now, key),
    )


def _started(
    db: Database,
    server: int,
    conversation: Row | None,
    key: str,
    events: list[Row],
    now: float,
    *,
    more: bool,
) -> StartedTurn:
    """A new turn for `events`."""
    first, last = events[0]["id"], events[-1]["id"]
    turn: int = db.execute(
        "INSERT INTO turn (conversation, first_event, last_event, attempt, state, started_at, server)"
        " VALUES (?, ?, ?, 1, 'running', ?, ?) RETURNING id",
        (key, first, last, now, server),
    ).fetchone()["id"]
    if first == last:
        db.execute("UPDATE inbox SET state = 'taken', turn = ? WHERE id = ?", (turn, first))
    else:
        db.execute(
            "UPDATE inbox SET state = 'taken', turn = ? WHERE conversation = ? AND state = 'waiting'"
            " AND id BETWEEN ? AND ?",
            (turn, key, first, last),
        )
    read = tuple(event_of(row) for row in events)
    for event in read[:-1]:
        make_ready(db, key, event.id)
    return _for_caller(
        conversation,
        Turn(id=turn, conversation=key, events=read, state=_column(conversation, "state")),
        more=more,
        now=now,
        released=tuple(event.id for event in read[:-1]),
    )


def _in_place_of(db: Database, old: Row, events: tuple[AnyEvent, ...], started: StartedTurn) -> StartedTurn:
    """`started` in the place of the turn `old`, which had `events`."""
    released = take_its_place(db, old, started.turn.id, events)
    replaced = _with_superseded(db, started)
    return msgspec.structs.replace(replaced, released=(*released, *started.released))


def _with_superseded(db: Database, started: StartedTurn) -> StartedTurn:
    """`started` with what is known of the turns whose place it took."""
    turn = started.turn
    events, said = superseded_by(db, turn.id)
    turn = msgspec.structs.replace(turn, interrupted=events, already_said=(*said, *turn.already_said))
    return msgspec.structs.replace(started, turn=turn)


def _started_again(
    db: Database, server: int, conversation: Row | None, row: Row, now: float, deterministic: bool
) -> StartedTurn:
    """The next attempt at a turn, with the events that it had."""
    attempt = row["attempt"] + 1
    db.execute(
        "UPDATE turn SET state = 'running', attempt = ?, due_at = NULL, server = ? WHERE id = ?",
        (attempt, server, row["id"]),
    )
    turn = Turn(
        id=row["id"],
        conversation=row["conversation"],
        events=events_of(db, row),
        attempt=attempt,
        already_said=_already_said(db, row["id"], now, deterministic),
        state=_column(conversation, "state"),
    )
    return _for_caller(
        conversation, turn, failures=row["failures"], first_failure=row["first_failure"], more=True, now=now
    )


def _for_caller(
    conversation: Row | None,
    turn: Turn,
    *,
    failures: int = 0,
    first_failure: float | None = None,
    more: bool,
    now: float,
    released: tuple[str, ...] = (),
) -> StartedTurn:
    return StartedTurn(
        turn=turn,
        address=turn.event.address,
        failures=failures,
        first_failure=first_failure,
        offers=frozenset(_column(conversation, "offers") or ()),
        people=people_of(conversation),
        context=context_of(conversation, now),
        more=more,
        released=released,
    )


def _already_said(db: Database, turn: int, now: float, deterministic: bool) -> tuple[Message, ...]:
    """Withdraw what nobody has begun to send, unless the next attempt says the same; what stays."""
    if not deterministic:
        db.execute(
            # What is seen already cannot be withdrawn: the next attempt takes its place.
            "UPDATE outbox SET state = CASE WHEN growing = 1 THEN 'streaming' ELSE 'withdrawn' END,"
            " settled_at = ? WHERE turn = ? AND state = 'waiting'",
            (now, turn),
        )
    return said_of(db, turn)


def add_replies(
    db: Database, turn: Turn, replies: Sequence[Reply], offers: Sequence[str], now: float
) -> bool:
    """Commit replies of a turn that goes on; False, and nothing, if the turn is not the caller's."""
    running = _running(db, turn)
    if running is None:
        return False
    _say(db, turn, replies, offers, now, taken=running["taken"])
    return True


def _running(db: Database, turn: Turn) -> Row | None:
    row: Row | None = db.execute(
        "SELECT taken FROM turn WHERE id = ? AND attempt = ? AND state = 'running'", (turn.id, turn.attempt)
    ).fetchone()
    return row


def _say(
    db: Database,
    turn: Turn,
    replies: Sequence[Reply],
    offers: Sequence[str],
    now: float,
    taken: int,
) -> None:
    _note_offers(db, turn.conversation, offers)
    insert_replies(db, turn.conversation, replies, now, turn=turn.id)
    if taken:
        withhold_replies(db, turn.id, now)


def end_turn(
    db: Database, server: int, instance: str, turn: Turn, end: EndOfTurn, now: float
) -> Ended | None:
    """End a turn with its last replies; None, and nothing, if the turn is not the caller's."""
    ended: Row | None = db.execute(
        "UPDATE turn SET state = CASE WHEN taken = 1 AND :state = 'retry' THEN 'withheld' ELSE :state END,"
        " due_at = :due_at, error = :error, failures = failures + :failed,"
        " first_failure = coalesce(:first_failure, first_failure, CASE WHEN :failed = 1 THEN :now END),"
        " ended_at = CASE WHEN :state = 'retry' THEN NULL ELSE :now END"
        " WHERE id = :id AND attempt = :attempt AND state = 'running' RETURNING taken",
        {
            "state": end.state,
            "due_at": end.due_at,
            "error": end.error,
            "failed": int(end.failed),
            "first_failure": end.first_failure,
            "now": now,
            "id": turn.id,
            "attempt": turn.attempt,
        },
    ).fetchone()
    if ended is None:
        return None
    claim: Claim | None = None
    replies: Sequence[Reply] = end.replies
    # What may take the place of something, or travel in an answer, goes the way that knows of it.
    plain = turn.attempt == 1 and not (end.owner or end.streamed or end.answers or ended["taken"])
    if replies and end.claims and plain:
        claim, replies = insert_claimed(db, server, instance, turn, replies, now)
    _say(db, turn, replies, end.offers, now, taken=ended["taken"])
    if end.owner is not None:
        # The words with which the bot hands over still go out, whatever the owner is then.
        db.execute(f"UPDATE outbox SET final_word = 1 WHERE turn = ? AND state IN {OPEN}", (turn.id,))
        set_owner(db, turn.conversation, end.owner, end.owner_until, now)
    if end.remember is not None:
        _upsert(db, turn.conversation, "state", end.remember)
    if end.state != "retry" and end.answers is not None:
        make_ready(db, turn.conversation, end.answers)
    if end.state != "retry" and (end.streamed or turn.attempt > 1):
        leave_stream(db, turn.id, now)
    return Ended(claim=claim)


def open_stream(
    db: Database, server: int, instance: str, turn: Turn, reply: Reply, now: float
) -> Claim | NotNow:
    """A row for a text that is shown as it grows, if it is the conversation's turn to show anything."""
    key = turn.conversation
    conversation = db.execute("SELECT * FROM conversation WHERE key = ?", (key,)).fetchone()
    running = _running(db, turn)
    if running is None or running["taken"] or owner_at(conversation, now) != "bot":
        return NotNow()
    row = stream_of(db, turn.id)
    if row is None:
        if _unsent(db, key):
            return NotNow()
        row = insert_stream(db, server, key, turn.id, reply, now)
    elif row["server"] != server:
        hand_stream(db, server, row["id"])
    return claim_of_row(db, instance, row["id"], now)


def _note_offers(db: Database, key: str, offers: Sequence[str]) -> None:
    if not offers:
        return
    row = db.execute("SELECT offers FROM conversation WHERE key = ?", (key,)).fetchone()
    known = [offer for offer in (_column(row, "offers") or []) if offer not in offers]
    _upsert(db, key, "offers", msgspec.json.encode([*known, *offers][-OFFERS_KEPT:]))


def _upsert(db: Database, key: str, column: str, value: object) -> None:
    db.execute(
        f"INSERT INTO conversation (key, {column}) VALUES (?, ?)"
        f" ON CONFLICT (key) DO UPDATE SET {column} = excluded.{column}",
        (key, value),
    )


def _column(row: Row | None, name: str) -> JSON:
    """The JSON in a column of a row that may be missing."""
    return msgspec.json.decode(row[name]) if row is not None and row[name] else None
