"""The tokens of accounts that joined by OAuth, sealed. Each function is one transaction's work."""

from __future__ import annotations

from ..model import Value
from .database import Database


class SealedGrant(Value, frozen=True, kw_only=True):
    """A grant as it lies in the table; only who has the channel's secret can open it."""

    channel: str
    account: str
    sealed: bytes
    expires_at: float | None = None


def keep(db: Database, grant: SealedGrant, now: float) -> None:
    """Keep a grant in place of the one that its account had."""
    db.execute(
        "INSERT INTO grants (channel, account, sealed, expires_at, changed_at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (channel, account) DO UPDATE SET sealed = excluded.sealed,"
        " expires_at = excluded.expires_at, changed_at = excluded.changed_at, renewing_until = NULL",
        (grant.channel, grant.account, grant.sealed, grant.expires_at, now),
    )


def drop(db: Database, channel: str, account: str) -> bool:
    """Forget the grant of an account; False if there was none."""
    return (
        db.execute("DELETE FROM grants WHERE channel = ? AND account = ?", (channel, account)).rowcount == 1
    )


def grants(db: Database) -> list[SealedGrant]:
    """All there are."""
    rows = db.execute("SELECT channel, account, sealed, expires_at FROM grants ORDER BY channel, account")
    return [
        SealedGrant(
            channel=row["channel"],
            account=row["account"],
            sealed=bytes(row["sealed"]),
            expires_at=row["expires_at"],
        )
        for row in rows
    ]


def begin_renewal(db: Database, channel: str, account: str, now: float, until: float) -> bool:
    """Whether the caller may renew a grant: of several servers one at a time, each until its time is over."""
    return (
        db.execute(
            "UPDATE grants SET renewing_until = ? WHERE channel = ? AND account = ?"
            " AND (renewing_until IS NULL OR renewing_until < ?)",
            (until, channel, account, now),
        ).rowcount
        == 1
    )


def first_use(db: Database, key: bytes, now: float) -> bool:
    """Whether something that is good once is used for the first time; it is remembered like an event."""
    new = db.execute("INSERT INTO seen (key, at) VALUES (?, ?) ON CONFLICT DO NOTHING", (key, now))
    return new.rowcount == 1
