"""
What the statements of a store need of its database, so that every engine takes the same ones.

SQL here is what SQLite (3.35) and PostgreSQL (13) both understand: `?` or `:name` for parameters,
``ON CONFLICT``, ``RETURNING``, ``CASE`` in place of a scalar `max`, integers 0 and 1 for flags, and
``x'00'`` for bytes. Rows are read by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

Parameters: TypeAlias = Sequence[Any] | Mapping[str, Any]


class Row(Protocol):
    """One row of an answer."""

    def __getitem__(self, name: str, /) -> Any:
        """The value of a column."""


class Answer(Protocol):
    """What a statement brought: rows, or how many it changed."""

    @property
    def rowcount(self) -> int:
        """How many rows an INSERT, UPDATE or DELETE without ``RETURNING`` changed."""

    def fetchone(self) -> Any:
        """The next row, or None."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""

    def __iter__(self) -> Iterator[Any]:
        """Row after row."""


class Database(Protocol):
    """A connection with a transaction open on it."""

    def execute(self, sql: str, parameters: Parameters = ..., /) -> Answer:
        """Run one statement."""
