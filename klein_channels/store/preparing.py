"""Makes a PostgreSQL database a store of ours, or sees that it is one."""

from __future__ import annotations

from typing import Any

from ..errors import StartError
from . import schema
from .database import Database
from .dialect import script_for_postgres

OLDEST = 130000
_MIGRATION_LOCK = 0x6B6C65696E


def prepare(db: Database, shown: str) -> str:
    """Bring the tables up to date, one server at a time; the name of the store. Raise `StartError`."""
    settings = db.execute(
        "SELECT current_setting('server_version_num')::int AS version,"
        " current_setting('server_encoding') AS encoding"
    ).fetchone()
    if settings["version"] < OLDEST:
        raise StartError(f"store: {shown}: PostgreSQL 13 or later is needed")
    if settings["encoding"] != "UTF8":
        raise StartError(f"store: {shown} has the encoding {settings['encoding']}, not UTF8")
    db.execute("SELECT pg_advisory_xact_lock(?)", (_MIGRATION_LOCK,))
    version = 0
    if db.execute("SELECT to_regclass('store') AS there").fetchone()["there"] is not None:
        version = db.execute("SELECT version FROM store").fetchone()["version"]
        schema.refuse_newer(shown, version, "postgres")
    schema.migrate(Scripts(db), version, "postgres")
    instance: str = db.execute("SELECT instance FROM store").fetchone()["instance"]
    return instance


class Scripts:
    """A `Database` for numbered scripts."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def execute(self, sql: str, parameters: Any = (), /) -> Any:
        """Run one statement."""
        return self._db.execute(sql if parameters else script_for_postgres(sql), parameters)
