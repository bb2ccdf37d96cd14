"""What a store URL says about a PostgreSQL database, and the settings that a connection always gets."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row

from ..errors import ConfigError
from .session import Connection

# A host that vanished without a word must not hold a thread for hours.
ALWAYS: dict[str, Any] = {
    "application_name": "klein_channels",
    "connect_timeout": "5",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
    "target_session_attrs": "read-write",
}
WRITERS = 2
MOST_WRITERS = 32


class Dsn(msgspec.Struct, frozen=True, kw_only=True):
    """A database. `pooled`: behind a pooler that gives each transaction another connection.

    `listen` is where LISTEN works; None where nothing is heard. `writers` are the connections that
    write, each with a thread.
    """

    conninfo: dict[str, Any]
    listen: dict[str, Any] | None
    pooled: bool = False
    writers: int = WRITERS

    @property
    def shown(self) -> str:
        """Where it is, without what may be secret."""
        said = self.conninfo
        return f"{said.get('host', '')}/{said.get('dbname', said.get('user', ''))}"

    def __repr__(self) -> str:
        return f"Dsn({self.shown})"

    def connect(self) -> Connection:
        """A new connection; prepared statements only where they outlive their transaction."""
        return _connected(self.conninfo, prepare_threshold=None if self.pooled else 3)

    def connect_to_listen(self) -> Connection:
        """A connection of its own to listen on."""
        assert self.listen is not None
        return _connected(self.listen)


def read_dsn(url: str) -> Dsn:
    """The database that a store URL names; raise `ConfigError`.

    Beside libpq's own parameters it takes ``writers=N``, ``pooler=transaction`` and ``listen=URL``.
    """
    parts = urlsplit(url)
    said = dict(parse_qsl(parts.query, keep_blank_values=True))
    pooler, listen = said.pop("pooler", None), said.pop("listen", None)
    writers = said.pop("writers", str(WRITERS))
    if pooler not in (None, "transaction", "session"):
        raise ConfigError("store: pooler must be transaction or session")
    if not writers.isdecimal() or not 1 <= int(writers) <= MOST_WRITERS:
        raise ConfigError(f"store: writers must be a number from 1 to {MOST_WRITERS}")
    conninfo = _conninfo(urlunsplit(parts._replace(query=urlencode(said, quote_via=quote))))
    pooled = pooler == "transaction"
    heard = _conninfo(listen) if listen else None if pooled else conninfo
    return Dsn(conninfo=conninfo, listen=heard, pooled=pooled, writers=int(writers))


def _conninfo(url: str) -> dict[str, Any]:
    try:
        return {**ALWAYS, **conninfo_to_dict(url)}
    except psycopg.ProgrammingError:
        # The error would show the URL, and the password in it.
        raise ConfigError("store: what follows postgresql:// is no address of a database") from None


def _connected(conninfo: dict[str, Any], **more: Any) -> Connection:
    return psycopg.connect(**conninfo, autocommit=True, row_factory=dict_row, client_encoding="UTF8", **more)
