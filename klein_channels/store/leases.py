"""
Who lives among the servers of one PostgreSQL database. Each function is one transaction's work.

A server has a row with the time until which it is alive, by the clock of the database, so that no other
clock matters. It renews that; when it does not, any other deletes the row, and what it had begun is
nobody's. What is begun carries the server's number and an attempt: a server that was taken for dead
finds that its attempt is no longer the current one, and changes nothing.
"""

from __future__ import annotations

from .database import Database

_NOW = "extract(epoch FROM clock_timestamp())::float8"
FAR = 3600.0
"""Seconds; a lease that ends so late was given before the database's clock was set back."""


def register(db: Database, name: str, lease: float) -> int:
    """Stand among the living; our number."""
    row = db.execute(
        f"INSERT INTO server (name, lease_until) VALUES (?, {_NOW} + ?) RETURNING id", (name, lease)
    ).fetchone()
    number: int = row["id"]
    return number


def renew(db: Database, server: int, lease: float) -> bool:
    """Live on; False if somebody else has taken us for dead."""
    done = db.execute(f"UPDATE server SET lease_until = {_NOW} + ? WHERE id = ?", (lease, server))
    return done.rowcount == 1


def leave(db: Database, server: int) -> None:
    """Live no more."""
    db.execute("DELETE FROM server WHERE id = ?", (server,))


def bury(db: Database, server: int) -> None:
    """Strike out those whose lease has run out, except us."""
    db.execute(
        f"DELETE FROM server WHERE id <> ? AND (lease_until < {_NOW} OR lease_until > {_NOW} + ?)",
        (server, FAR),
    )


def place_among(db: Database, server: int) -> tuple[int, int]:
    """The how-manieth of how many living servers this is."""
    numbers = [row["id"] for row in db.execute("SELECT id FROM server ORDER BY id")]
    return (numbers.index(server), len(numbers)) if server in numbers else (0, 1)


def take_poll(db: Database, server: int, name: str) -> bool:
    """Whether the poll `name` is ours: it is the first one's who asks, as long as that one lives."""
    row = db.execute("SELECT server FROM poller WHERE name = ?", (name,)).fetchone()
    if row is not None and row["server"] == server:
        return True
    taken = db.execute(
        "INSERT INTO poller (name, server) VALUES (?, ?) ON CONFLICT (name) DO UPDATE"
        " SET server = excluded.server"
        " WHERE NOT EXISTS (SELECT 1 FROM server WHERE server.id = poller.server)",
        (name, server),
    )
    return taken.rowcount == 1


def hold_socket(db: Database, server: int, conversation: str) -> None:
    """The connection to a conversation's other end is ours now."""
    db.execute(
        "INSERT INTO socket (conversation, server) VALUES (?, ?)"
        " ON CONFLICT (conversation) DO UPDATE SET server = excluded.server",
        (conversation, server),
    )


def drop_socket(db: Database, server: int, conversation: str) -> None:
    """The connection is gone, unless it is another server's by now."""
    db.execute("DELETE FROM socket WHERE conversation = ? AND server = ?", (conversation, server))


def socket_elsewhere(db: Database, server: int, conversation: str) -> int | None:
    """The other living server that holds the connection to a conversation's other end, if one does."""
    row = db.execute(
        "SELECT server.id AS holder FROM socket JOIN server ON server.id = socket.server"
        " WHERE conversation = ? AND server.id <> ?",
        (conversation, server),
    ).fetchone()
    return row["holder"] if row else None


def runs_elsewhere(db: Database, server: int, conversation: str) -> int | None:
    """The other server that runs a turn there, if one does."""
    row = db.execute(
        "SELECT server FROM turn WHERE conversation = ? AND state IN ('running', 'retry')"
        " AND state = 'running' AND server <> ?",
        (conversation, server),
    ).fetchone()
    return row["server"] if row else None


def waits_elsewhere(db: Database, server: int, conversation: str, event: str) -> int | None:
    """The other server that holds the webhook whose answer carries the replies to `event`, if one does."""
    row = db.execute(
        "SELECT server FROM exchange WHERE conversation = ? AND event = ? AND state IN ('open', 'ready')"
        " AND server <> ?",
        (conversation, event, server),
    ).fetchone()
    return row["server"] if row else None


def bury_holdings(db: Database) -> None:
    """Forget the connections and polls of the dead."""
    for table in ("socket", "poller"):
        db.execute(
            f"DELETE FROM {table} WHERE NOT EXISTS (SELECT 1 FROM server WHERE server.id = {table}.server)"
        )
