"""Channels and accounts that an operator paused. Each function is one transaction's work."""

from __future__ import annotations

import secrets
from typing import Literal

from ..model import Address, Value
from .database import Database

Mode = Literal["hold", "maintenance", "reject"]
AnyMode = Literal[Mode, "over"]
STILL = "('hold', 'reject')"
"""The modes in which no turn begins and no reply goes out."""


class Pause(Value, frozen=True, kw_only=True, omit_defaults=False):
    """A channel, or one account of it, that is paused; `place` is how the keys of its conversations begin."""

    place: str
    mode: AnyMode
    says: str | None = None
    note: str | None = None
    since: float = 0.0
    number: str = ""


def place_of(channel: str, account: str | None) -> str:
    """How the keys of all conversations of a channel, or of an account, begin."""
    if account is None:
        return f"{channel}:"
    return str(Address(channel=channel, account=account, peer=""))


def places_of(conversation: str) -> tuple[str, str]:
    """The two places that a conversation is in: its channel, and its account there."""
    channel, _, rest = conversation.partition(":")
    return f"{channel}:", f"{channel}:{rest.partition(':')[0]}:"


def pause(db: Database, new: Pause) -> None:
    """Pause a place, or change how it is paused."""
    db.execute(
        "INSERT INTO pause (place, mode, says, note, since, number) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (place) DO UPDATE SET mode = excluded.mode, says = excluded.says,"
        " note = excluded.note, since = excluded.since, number = excluded.number",
        (new.place, new.mode, new.says, new.note, new.since, new.number or secrets.token_hex(4)),
    )


def resume(db: Database, place: str, now: float) -> bool:
    """Let a place go on; False if it was not paused.

    The row stays: a server that looks only now must notice that there was a pause, however short,
    since what came under it waits to be told that it is over.
    """
    over = db.execute(
        "UPDATE pause SET mode = 'over', says = NULL, note = NULL, since = ?, number = ?"
        " WHERE place = ? AND mode <> 'over'",
        (now, secrets.token_hex(4), place),
    )
    return over.rowcount == 1


def pauses(db: Database) -> list[Pause]:
    """All there are."""
    return [pause for pause in pauses_ever(db) if pause.mode != "over"]


def pauses_ever(db: Database) -> list[Pause]:
    """All there are, and for each place the last one that is over."""
    rows = db.execute("SELECT place, mode, says, note, since, number FROM pause ORDER BY place")
    return [
        Pause(
            place=row["place"],
            mode=row["mode"],
            says=row["says"],
            note=row["note"],
            since=row["since"],
            number=row["number"],
        )
        for row in rows
    ]


IS_STILL = f"EXISTS (SELECT 1 FROM pause WHERE place IN (:its_channel, :its_account) AND mode IN {STILL})"
"""Whether no turn may begin and no reply go out in a conversation; its parameters are `its_places`."""


def its_places(conversation: str) -> dict[str, str]:
    """The parameters of `IS_STILL`."""
    channel, account = places_of(conversation)
    return {"its_channel": channel, "its_account": account}


def is_still(db: Database, conversation: str) -> bool:
    """Whether no turn may begin and no reply go out in a conversation."""
    still: bool = db.execute(f"SELECT {IS_STILL} AS still", its_places(conversation)).fetchone()["still"]
    return bool(still)


def not_still(db: Database, column: str) -> tuple[str, tuple[str, ...]]:
    """A condition that leaves out what is still, and its parameters; nearly always there is none."""
    places = [
        row["place"] for row in db.execute(f"SELECT place FROM pause WHERE place > '' AND mode IN {STILL}")
    ]
    if not places:
        return "", ()
    conditions = " AND ".join(f"substr({column}, 1, {len(place)}) <> ?" for place in places)
    return f" AND {conditions}", tuple(places)
