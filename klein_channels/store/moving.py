"""
Copies a whole store into an empty one, of either engine, while no server runs on either of them.

What the copy holds is what the source held: the same ids, keys and states. Only who had begun something
is left out; the first server takes that over as after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from ..errors import StartError
from . import schema

HELD = frozenset({"server", "socket", "poller"})
"""Tables of servers that run: of none, here."""
AT_ONCE = 1000
Rows = Iterator[Sequence[Any]]


class End(Protocol):
    """One of the two stores, alone with it until it is closed."""

    shown: str

    def version(self) -> int:
        """The number of its schema; 0 if there is none yet."""

    def make(self) -> None:
        """Make the tables."""

    def tables(self) -> dict[str, tuple[str, ...]]:
        """The columns of each table."""

    def rows(self, table: str, columns: Sequence[str]) -> Rows:
        """All rows of a table."""

    def write(self, table: str, columns: Sequence[str], rows: Rows) -> None:
        """Add rows to a table."""

    def count(self, table: str) -> int:
        """How many rows a table has."""

    def rename(self, instance: str) -> None:
        """Be the store of that name."""

    def finish(self) -> None:
        """Make what was written durable."""

    def close(self) -> None:
        """Let go."""


def copy(source: End, target: End, tell: Callable[[str], None]) -> None:
    """Copy all of `source` into `target`; raise `StartError` where that would lose or overwrite anything."""
    if (version := source.version()) != schema.newest("sqlite"):
        raise StartError(
            f"store: {source.shown} has schema {version}, not {schema.newest('sqlite')}: migrate it first"
        )
    if target.version() == 0:
        target.make()
    elif target.version() != version:
        raise StartError(f"store: {target.shown} has schema {target.version()}, not {version}")
    columns = {name: names for name, names in source.tables().items() if name not in HELD | {"store"}}
    for table in columns:
        if target.count(table):
            raise StartError(f"store: {target.shown} is not empty: there is something in {table!r}")
    for table, names in columns.items():
        target.write(table, names, _of_nobody(names, source.rows(table, names)))
        written, there = target.count(table), source.count(table)
        if written != there:
            raise StartError(f"store: {table}: {written} rows of {there} were copied; nothing is kept")
        tell(f"{table}: {written}")
    ((instance,),) = source.rows("store", ("instance",))
    target.rename(instance)
    target.finish()


def _of_nobody(names: Sequence[str], rows: Rows) -> Rows:
    if "server" not in names:
        yield from rows
        return
    place = names.index("server")
    for row in rows:
        yield (*row[:place], 0, *row[place + 1 :])
