"""
How long the writer of a SQLite store with many rows is held by what is not a message.

A file with so many finished messages, each a row of inbox, turn, outbox, seen and exchange, and the purge
going through it; then small transactions beside statistics, listings and polls, which have a connection of
their own. Milliseconds of the writer's own time (CPU): what its neighbours take of a shared machine is not
counted, nor the wait for the disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from pathlib import Path

from klein_channels.store.purging import NO_OTHERS, Purge
from klein_channels.store.sqlite import SQLiteStore

MOST = 5.0
DAY = 86_400.0


def filled(path: str, rows: int) -> SQLiteStore:
    """A store with that many finished messages, one a second."""
    store = SQLiteStore(path)
    store.open(0.0)
    store._committer._session.connection.executescript(
        f"""PRAGMA synchronous = OFF; BEGIN;
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
        INSERT INTO inbox (conversation, event, received_at, state, turn)
          SELECT 'facebook:1:' || (i % 100000), printf('%300s', i), i, 'taken', i FROM n;
        INSERT INTO turn (conversation, first_event, last_event, attempt, state, started_at)
          SELECT conversation, id, id, 1, 'done', received_at FROM inbox;
        INSERT INTO outbox (conversation, address, message, state, due_at, first_at, created_at)
          SELECT conversation, conversation, event, 'sent', received_at, received_at, received_at FROM inbox;
        INSERT INTO exchange (conversation, event, state, answers_only, at)
          SELECT conversation, id, 'answered', 0, received_at FROM inbox;
        INSERT INTO seen (key, at)
          SELECT CAST(x'00000001' || printf('%016d', id) AS BLOB), received_at FROM inbox;
        COMMIT; PRAGMA synchronous = FULL;"""
    )
    return store


def report(name: str, times: list[float]) -> bool:
    """One line about the transactions that took `times` seconds."""
    longest, median = 1000 * max(times), 1000 * statistics.median(times)
    verdict = "reached" if longest <= MOST else "NOT reached"
    print(
        f"  {name:34} {len(times):6} transactions, median {median:6.2f}, longest {longest:6.2f} ({verdict})"
    )
    return longest <= MOST


def timed(store: SQLiteStore, work) -> float:
    """Seconds for which the writer is held: the commit's wait for the disk is not counted."""
    session = store._committer._session
    db = session.connection
    db.execute("BEGIN IMMEDIATE")
    before = time.thread_time()
    work(db)
    held = time.thread_time() - before
    db.execute("COMMIT")
    return held


def main(given: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = filled(str(Path(folder) / "store.db"), given.rows)
        purge = Purge()

        def chunk(before: float):
            return lambda db: purge.chunk(db, b"\0\0\0\1", 0.0, before, NO_OTHERS)

        report("a purge that finds nothing", [timed(store, chunk(0.0)) for _ in range(50)])
        report("a purge at work", [timed(store, chunk(given.rows)) for _ in range(2000)])
        stop = threading.Event()

        def look() -> None:
            reader = SQLiteStore(str(Path(folder) / "store.db"), shared=True)
            reader.open(0.0)
            while not stop.is_set():
                reader.stats()
                reader.dead_letters(None, 100)
                reader.due(1e9, 1000)

        looking = threading.Thread(target=look)
        looking.start()
        times = []
        for number in range(500):
            times.append(
                timed(store, lambda db, number=number: db.execute("UPDATE store SET version = version"))
            )
            time.sleep(0.002)
        stop.set()
        looking.join()
        report("a message beside statistics", times)
        store.close()


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rows", type=int, default=1_000_000)
    main(options.parse_args())
