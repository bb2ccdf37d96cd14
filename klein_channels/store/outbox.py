"""What happens to the outbox. Each function is one transaction's work."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ..model import Address, Context, Message, Owner, Turn, from_json, to_json
from . import Arrival, Claim, NotNow, Reply, Settlement
from .database import Database, Row
from .pauses import IS_STILL, is_still, its_places
from .streams import take_stream

OPEN = "('waiting', 'sending', 'streaming', 'unknown', 'held')"
# An index of open rows is used only by conditions that repeat its own.
HELD = f"state IN {OPEN} AND state = 'held'"
WAITING = f"state IN {OPEN} AND state = 'waiting'"
_WITH_CONVERSATION = (
    "SELECT outbox.*, owner, owner_until, last_id, last_at, reference"
    " FROM outbox LEFT JOIN conversation ON conversation.key = outbox.conversation"
)
# Who reads the chat of several people is no conversation of theirs, but it is where the row went.
_THERE = "(conversation = ? OR address = ?)"
NEVER = 1e15
"""A time that does not come: the answer to a webhook decides."""


def insert_replies(
    db: Database,
    conversation: str,
    replies: Sequence[Reply],
    now: float,
    *,
    turn: int | None = None,
    key: str | None = None,
) -> int:
    """Store rows to be sent; how many were new (a place or key that is taken keeps what it has)."""
    if key is not None and _is_taken(db, conversation, key):
        return 0
    new = 0
    if replies and replies[0].takes_stream and turn is not None and take_stream(db, turn, replies[0], now):
        new, replies = 1, replies[1:]
    due_at = now
    if replies and replies[0].by_answer and is_open(db, conversation, replies[0].cause):
        due_at = NEVER
    for reply in replies:
        row = _insert(db, conversation, reply, now, turn=turn, key=key, due_at=due_at)
        new += row is not None
    return new


def _insert(
    db: Database,
    conversation: str,
    reply: Reply,
    now: float,
    *,
    turn: int | None,
    due_at: float,
    key: str | None = None,
    claimed_by: int | None = None,
) -> int | None:
    """The number of a new row; None if its place or key is taken."""
    row = db.execute(
        "INSERT INTO outbox (conversation, address, message, cause, turn, attempt, ordinal, part, key,"
        " state, tries, server, due_at, first_at, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING RETURNING id",
        (
            *(conversation, str(reply.address), to_json(reply.message), reply.cause),
            *(turn, reply.attempt, reply.ordinal, reply.part, key),
            *(("waiting", 0, 0) if claimed_by is None else ("sending", 1, claimed_by)),
            *(due_at, now, now),
        ),
    ).fetchone()
    return row["id"] if row else None


def insert_claimed(
    db: Database, server: int, instance: str, turn: Turn, replies: Sequence[Reply], now: float
) -> tuple[Claim | None, Sequence[Reply]]:
    """Store the first reply of a turn as claimed, and return the others; all, where it has to wait.

    It has to where something open goes before it, where the conversation is not the bot's, and where
    it is seen through a connection to another server.
    """
    key, first = turn.conversation, replies[0]
    conversation = db.execute(
        "SELECT owner, owner_until, last_id, last_at, reference,"
        f" EXISTS (SELECT 1 FROM outbox WHERE conversation = :key AND state IN {OPEN}) AS busy,"
        " EXISTS (SELECT 1 FROM socket WHERE conversation = :key AND server <> :server) AS elsewhere,"
        f" {IS_STILL} AS still FROM conversation WHERE key = :key",
        {"key": key, "server": server, **its_places(key)},
    ).fetchone()
    if conversation is None or conversation["busy"] or conversation["elsewhere"] or conversation["still"]:
        return None, replies
    if owner_at(conversation, now) != "bot":
        return None, replies
    number = _insert(db, key, first, now, turn=turn.id, due_at=now, claimed_by=server)
    if number is None:
        return None, replies
    claim = Claim(
        row=number,
        id=f"{instance}-{number}",
        conversation=key,
        address=first.address,
        message=first.message,
        cause=first.cause,
        context=context_of(conversation, now),
        tries=1,
        first_at=now,
    )
    return claim, replies[1:]


def _is_taken(db: Database, conversation: str, key: str) -> bool:
    row = db.execute(
        "SELECT 1 FROM outbox WHERE conversation = ? AND key = ?", (conversation, key)
    ).fetchone()
    return row is not None


def is_open(db: Database, conversation: str, event: str | None) -> bool:
    """Whether the replies to an event still travel in the answer to its webhook."""
    row = db.execute(
        "SELECT 1 FROM exchange WHERE conversation = ? AND event = ? AND state IN ('open', 'ready')",
        (conversation, event),
    ).fetchone()
    return row is not None


def claim_reply(db: Database, server: int, instance: str, key: str, now: float) -> Claim | NotNow | None:
    """Take the oldest open reply of a conversation, if it is its time and a bot's to send."""
    while True:
        row = db.execute(
            f"{_WITH_CONVERSATION} WHERE outbox.conversation = ? AND outbox.state IN {OPEN}"
            " ORDER BY id LIMIT 1",
            (key,),
        ).fetchone()
        if row is None:
            return None
        # What was never tried is due from its commit on, though the clock may have been set back since.
        due = row["due_at"] <= now or (row["tries"] == 0 and row["due_at"] < NEVER)
        if row["state"] in ("sending", "streaming") or not due:
            return NotNow()
        owner = owner_at(row, now)
        if owner == "paused" or is_still(db, key):
            return NotNow()
        if row["final_word"] < 0 or (owner == "human" and not row["final_word"]):
            _close(db, row, "withheld", now)
        elif row["state"] == "unknown" and row["repeated"]:
            _close(db, row, "dead", now, "its outcome is unknown, twice")
        elif row["state"] == "held":
            _close(db, row, "dead", now, f"held until its patience ended: {row['error']}")
        else:
            return _claimed(db, server, instance, row, now)


def _close(db: Database, row: Row, state: str, now: float, error: str | None = None) -> None:
    db.execute(
        "UPDATE outbox SET state = ?, settled_at = ?, error = coalesce(?, error) WHERE id = ?",
        (state, now, error, row["id"]),
    )


def _claimed(db: Database, server: int, instance: str, row: Row, now: float) -> Claim:
    repeated = row["state"] == "unknown"
    db.execute(
        "UPDATE outbox SET state = 'sending', tries = tries + 1, repeated = ?, server = ? WHERE id = ?",
        (int(repeated or row["repeated"]), server, row["id"]),
    )
    claim = _claim_of(row, instance, now)
    return msgspec.structs.replace(
        claim, tries=claim.tries + 1, repeated=claim.repeated or repeated, unsure=repeated
    )


def claim_of_row(db: Database, instance: str, number: int, now: float) -> Claim:
    """The row `number` as its sender gets it, without a change."""
    row = db.execute(f"{_WITH_CONVERSATION} WHERE outbox.id = ?", (number,)).fetchone()
    return _claim_of(row, instance, now)


def _claim_of(row: Row, instance: str, now: float) -> Claim:
    """A row with its conversation; what of it is seen already, it takes the place of."""
    message = from_json(row["message"])
    assert isinstance(message, Message), "the outbox holds messages"
    seen = msgspec.json.decode(row["mids"]) if row["growing"] and row["mids"] else ()
    return Claim(
        row=row["id"],
        id=f"{instance}-{row['id']}",
        conversation=row["conversation"],
        address=Address.parse(row["address"]),
        message=message,
        cause=row["cause"],
        context=context_of(row, now),
        tries=row["tries"],
        first_at=row["first_at"],
        repeated=bool(row["repeated"]),
        replaces=seen[0] if seen else None,
    )


def owner_at(conversation: Row | None, now: float) -> Owner:
    """The owner that the columns of `conversation` name at `now`: the bot, when another's time is over."""
    if conversation is None or conversation["owner"] is None:
        return "bot"
    until = conversation["owner_until"]
    owner: Owner = conversation["owner"]
    return owner if until is None or until > now else "bot"


def context_of(conversation: Row | None, now: float) -> Context:
    """What the columns of `conversation` say to those who send there."""
    if conversation is None:
        return Context()
    reference = conversation["reference"]
    return Context(
        last_event=conversation["last_id"],
        last_at=conversation["last_at"],
        owner=owner_at(conversation, now),
        reference=msgspec.json.decode(reference) if reference else None,
    )


def doubt(db: Database, server: int, key: str, until: float) -> None:
    """A commit of ours did not answer: if it claimed a reply, nobody knows whether that is being sent."""
    db.execute(
        "UPDATE outbox SET state = 'unknown', due_at = ?"
        f" WHERE conversation = ? AND state IN {OPEN} AND state = 'sending' AND server = ?",
        (until, key, server),
    )


def settle_reply(db: Database, claim: Claim, settlement: Settlement, now: float) -> None:
    """Record the outcome, unless an echo has settled the row already."""
    ended = settlement.state in ("sent", "expired", "dead")
    db.execute(
        "UPDATE outbox SET state = ?, due_at = ?, mids = coalesce(?, mids), error = coalesce(?, error),"
        " settled_at = ?, tries = ?, repeated = ? WHERE id = ? AND state = 'sending' AND tries = ?",
        (
            *(settlement.state, settlement.due_at),
            msgspec.json.encode(settlement.mids) if settlement.mids else None,
            *(settlement.error, now if ended else None, claim.tries - settlement.unsent),
            # What was not sent was not repeated either.
            *(int(claim.repeated and not (settlement.unsent and claim.unsure)), claim.row, claim.tries),
        ),
    )
    if settlement.anew:
        db.execute("UPDATE outbox SET growing = 0, mids = NULL, anew = 1 WHERE id = ?", (claim.row,))


def settle_by_event(db: Database, arrival: Arrival, now: float) -> None:
    """Believe the platform that it showed a row, or that it took it and could not show it after all."""
    mids = msgspec.json.encode([arrival.mid] if arrival.mid else [])
    there = (arrival.conversation, str(arrival.event.address))
    if arrival.failure is not None:
        db.execute(
            "UPDATE outbox SET state = 'dead', mids = ?, settled_at = ?, error = ?"
            f" WHERE id = ? AND {_THERE} AND state IN ('sending', 'unknown', 'sent')",
            (mids, now, arrival.failure, arrival.settles, *there),
        )
        return
    db.execute(
        "UPDATE outbox SET state = 'sent', mids = ?, settled_at = ?"
        f" WHERE id = ? AND {_THERE} AND state IN ('sending', 'unknown')",
        (mids, now, arrival.settles, *there),
    )


def hasten(db: Database, key: str, now: float) -> None:
    """Let the open replies of a conversation be tried now, unless they wait for a webhook's answer."""
    db.execute(
        f"UPDATE outbox SET due_at = :now WHERE conversation = :key AND {WAITING}"
        " AND due_at > :now AND due_at < :never",
        {"now": now, "key": key, "never": NEVER},
    )
