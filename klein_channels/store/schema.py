"""
The tables, as numbered scripts that are applied in order and never backwards.

``0002.sql`` is for every engine; where they need different words it is ``0002.sqlite.sql`` and
``0002.postgres.sql``. A script is never changed once it was released, and leaves what is there in
place: servers of the former version may still run.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from typing import Literal

from ..errors import StartError
from .database import Database

Engine = Literal["sqlite", "postgres"]


@cache
def scripts(engine: Engine) -> dict[int, str]:
    """The script of each number, for an engine; in order, without a gap."""
    found: dict[int, str] = {}
    for file in sorted(files(__package__).iterdir(), key=lambda file: file.name):
        number, _, rest = file.name.partition(".")
        if rest in ("sql", f"{engine}.sql"):
            assert int(number) not in found, f"{number} has two scripts for {engine}"
            found[int(number)] = file.read_text("utf-8")
    assert list(found) == list(range(1, len(found) + 1)), f"a script for {engine} is missing: {list(found)}"
    return found


def newest(engine: Engine) -> int:
    """The version that this klein_channels knows."""
    return max(scripts(engine))


def refuse_newer(shown: str, version: int, engine: Engine) -> None:
    """Raise `StartError` if the store named `shown` was made by a later klein_channels."""
    if version > newest(engine):
        raise StartError(
            f"store: {shown} has schema {version}, this klein_channels knows {newest(engine)}: upgrade it"
        )


def migrate(db: Database, version: int, engine: Engine) -> None:
    """Apply what is newer than `version` (0: there is nothing yet), within the caller's transaction."""
    for number, script in scripts(engine).items():
        if number > version:
            for statement in statements(script):
                db.execute(statement)
    if version == 0:
        db.execute(
            "INSERT INTO store (version, instance) VALUES (?, ?)", (newest(engine), secrets.token_hex(4))
        )
    elif version < newest(engine):
        db.execute("UPDATE store SET version = ?", (newest(engine),))


def statements(script: str) -> Iterator[str]:
    """The statements of a script, each with the comments before it."""
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
