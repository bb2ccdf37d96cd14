"""A PostgreSQL database as one end of a copy: its servers are kept out as long as that takes."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import psycopg
from psycopg import sql
from psycopg.rows import tuple_row

from ..errors import StartError
from . import schema
from .dialect import values_for_postgres
from .dsn import read_dsn
from .moving import AT_ONCE, Rows
from .preparing import Scripts
from .session import PostgresDatabase


class PostgresEnd:
    """A database in one transaction, with no server on it."""

    def __init__(self, url: str) -> None:
        dsn = read_dsn(url)
        self.shown = dsn.shown
        try:
            self._connection = dsn.connect()
            shared = "server" in self.tables()
            self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            if shared:
                self._keep_servers_out()
        except psycopg.Error as error:
            raise StartError(f"store: {self.shown}: {' '.join(str(error).split())}") from None

    def _keep_servers_out(self) -> None:
        """None may start, or say that it lives, until we are done."""
        # What is seen is what was there when the lock was ours.
        self._connection.execute("LOCK TABLE server IN EXCLUSIVE MODE")
        found = self._connection.execute(
            "SELECT name FROM server WHERE lease_until > extract(epoch FROM clock_timestamp())"
        ).fetchone()
        if found is not None:
            self.close()
            raise StartError(f"store: {self.shown} is in use by a server ({found['name']})")

    def version(self) -> int:
        """The number of its schema; 0 if there is none yet."""
        there = self._connection.execute("SELECT to_regclass('store') AS there").fetchone()
        if there is None or there["there"] is None:
            return 0
        found = self._connection.execute("SELECT version FROM store").fetchone()
        return found["version"] if found else 0

    def make(self) -> None:
        """Make the tables."""
        schema.migrate(Scripts(PostgresDatabase(self._connection)), 0, "postgres")

    def tables(self) -> dict[str, tuple[str, ...]]:
        """The columns of each table."""
        found: dict[str, tuple[str, ...]] = {}
        for row in self._connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = current_schema() ORDER BY table_name, ordinal_position"
        ):
            found[row["table_name"]] = (*found.get(row["table_name"], ()), row["column_name"])
        return found

    def rows(self, table: str, columns: Sequence[str]) -> Rows:
        """All rows of a table, a thousand at a time."""
        query = sql.SQL("SELECT {} FROM {}").format(_names(columns), sql.Identifier(table))
        with self._connection.cursor(f"copy_{secrets.token_hex(4)}", row_factory=tuple_row) as cursor:
            cursor.itersize = AT_ONCE
            yield from cursor.execute(query)

    def write(self, table: str, columns: Sequence[str], rows: Rows) -> None:
        """Add rows to a table, and let its next number be behind them."""
        query = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), _names(columns))
        with self._connection.cursor() as cursor, cursor.copy(query) as copying:
            for row in rows:
                copying.write_row(values_for_postgres(row))
        if columns[0] == "id":
            behind = sql.SQL(
                "SELECT setval(pg_get_serial_sequence({}, 'id'), coalesce(max(id), 1), count(*) > 0) FROM {}"
            )
            self._connection.execute(behind.format(sql.Literal(table), sql.Identifier(table)))

    def count(self, table: str) -> int:
        """How many rows a table has."""
        query = sql.SQL("SELECT count(*) AS count FROM {}").format(sql.Identifier(table))
        found = self._connection.execute(query).fetchone()
        return found["count"] if found else 0

    def rename(self, instance: str) -> None:
        """Be the store of that name."""
        self._connection.execute("UPDATE store SET instance = %s", (instance,))

    def finish(self) -> None:
        """Make what was written durable."""
        self._connection.execute("COMMIT")

    def close(self) -> None:
        """Let go."""
        self._connection.close()


def _names(columns: Sequence[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, columns))
