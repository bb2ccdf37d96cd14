"""
What the store costs by itself, in both engines: no HTTP, no agent, no platform.

``rates`` asks as servers do, in threads of their own with group commit: enqueue to commit, and whole turns
(enqueue, start, end with a reply, claim, settle). ``sizes`` fills the tables and compares what an
enqueue and the claims of a turn cost in an empty store and in a full one. Run from anywhere::

    python benchmarks/store.py rates --store sqlite:////tmp/b.db --seconds 5
    python benchmarks/store.py rates --store postgresql:///test --processes 2
    python benchmarks/store.py sizes --store sqlite:////tmp/b.db --conversations 1000000 --seen 10000000
    python benchmarks/store.py recovery --store postgresql:///test --events 100000
"""

from __future__ import annotations

import argparse
import os
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]

from measure import Graph, ours  # noqa: E402
from twisted.internet import reactor  # noqa: E402
from twisted.internet.defer import Deferred, DeferredList  # noqa: E402
from wire import TOKENS  # noqa: E402

from klein_channels.model import Address, Message, MessageReceived, Text  # noqa: E402
from klein_channels.policy import Policy  # noqa: E402
from klein_channels.store import Arrival, EndOfTurn, Reply, Settlement, StartedTurn  # noqa: E402
from klein_channels.store.opening import store_for_server  # noqa: E402

SENT = Settlement(state="sent", mids=("m",))


def address(person: int) -> Address:
    return Address(channel="facebook", account=next(iter(TOKENS)), peer=f"p{person}")


def arrival(person: int, number: int) -> Arrival:
    where = address(person)
    hour = int(time.time() // 3600).to_bytes(4, "big")
    return Arrival(
        event=MessageReceived(
            id=f"m_{person}.{number}", address=where, text=f"message {person} hello, how are you?"
        ),
        conversation=str(where),
        dedupe=hour + secrets.token_bytes(12),
        turn=True,
        by_person=True,
    )


async def enqueue(store: Any, person: int, number: int) -> None:
    """One webhook's part."""
    await store.enqueue([arrival(person, number)], time.time())


async def whole_turn(store: Any, person: int, number: int) -> None:
    """All that the store does for a message that is answered with one reply."""
    await enqueue(store, person, number)
    key = str(address(person))
    started = await store.start_turn(key, time.time(), deterministic=False)
    assert isinstance(started, StartedTurn), started
    reply = Reply(address=started.address, message=Message(parts=(Text(text="fine, and you?"),)))
    ended = await store.end_turn(
        started.turn, EndOfTurn(state="done", replies=(reply,), claims=True), time.time()
    )
    claim = ended.claim or await store.claim_reply(key, time.time())
    await store.settle_reply(claim, SENT, time.time(), claim_next=True)


async def _lane(store: Any, work: Any, person: int, ends: float, waits: list[float]) -> None:
    number = 0
    while (began := time.perf_counter()) < ends:
        await work(store, person, number)
        waits.append(time.perf_counter() - began)
        number += 1


def run(url: str, work: Any, lanes: int, seconds: float, first: int) -> tuple[int, float, list[float]]:
    """How many were done in `lanes` at once, the CPU seconds that they took here, and the waits."""
    store: Any = store_for_server(url, Policy(), reactor.callFromThread)
    store.open(time.time())
    waits: list[float] = []
    result: list[Any] = []

    def start() -> None:
        ends = time.perf_counter() + seconds
        running = [
            Deferred.fromCoroutine(_lane(store, work, first + lane, ends, waits)) for lane in range(lanes)
        ]
        done = DeferredList(running, fireOnOneErrback=True, consumeErrors=True)
        done.addBoth(result.append)
        done.addCallback(lambda _: store.close())
        done.addBoth(lambda _: reactor.stop())

    began = time.process_time()
    reactor.callWhenRunning(start)
    reactor.run()
    if not isinstance(result[0], list):
        result[0].raiseException()
    return len(waits), time.process_time() - began, waits


WORKS = {"enqueue": enqueue, "turn": whole_turn}


def one(options: argparse.Namespace) -> None:
    """The part of one process: print what it did."""
    first = os.getpid() * 100_000
    count, cpu, waits = run(options.store, WORKS[options.work], options.lanes, options.seconds, first)
    waits.sort()
    print(count, cpu, waits[len(waits) // 2], waits[len(waits) * 99 // 100])


def rates(options: argparse.Namespace) -> None:
    """A table of rates: each work with each number of lanes and processes."""
    print(
        f"{'work':8} {'lanes':>5} {'processes':>9} {'per second':>10} {'CPU us each':>11}"
        f" {'p50 ms':>7} {'p99 ms':>7}"
    )
    for work in WORKS:
        for lanes in (1, 64):
            for processes in range(1, options.processes + 1):
                print(f"{work:8} {lanes:5} {processes:9} {_rated(options, work, lanes, processes)}")


def _rated(options: argparse.Namespace, work: str, lanes: int, processes: int) -> str:
    command = [sys.executable, __file__, "one", "--store", options.store, "--work", work]
    command += ["--lanes", str(lanes), "--seconds", str(options.seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)]
    parts = [[float(word) for word in one.communicate()[0].split()] for one in running]
    count, cpu = sum(part[0] for part in parts), sum(part[1] for part in parts)
    p50, p99 = (max(part[place] for part in parts) * 1000 for place in (2, 3))
    return f"{count / options.seconds:10.0f} {cpu / count * 1e6:11.0f} {p50:7.1f} {p99:7.1f}"


# -- full tables


def sizes(options: argparse.Namespace) -> None:
    """What an enqueue and a whole turn take in an empty store and in a full one, one after the other."""
    empty = _costs(options)
    began = time.perf_counter()
    fill(options.store, options.conversations, options.seen)
    took = time.perf_counter() - began
    print(f"filled: {options.conversations} conversations, {options.seen} seen, {took:.0f} s")
    full = _costs(options)
    for work in WORKS:
        for place, what in enumerate(("CPU here", "time")):
            before, after = empty[work][place] * 1e6, full[work][place] * 1e6
            print(
                f"{work:8} {what:8}: empty {before:6.0f} us, full {after:6.0f} us, {after / before:.2f} times"
            )


def _costs(options: argparse.Namespace) -> dict[str, tuple[float, float]]:
    """CPU seconds of this process, which SQLite is a part of, and seconds, for one of each work: medians.

    The time is mostly the disk's, which a full store keeps busy for a while: put it on a RAM disk.
    """
    found = {}
    for work in WORKS:
        rounds = []
        for _ in range(options.rounds):
            command = [sys.executable, __file__, "one", "--store", options.store, "--work", work]
            command += ["--lanes", "1", "--seconds", str(options.seconds)]
            said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
            rounds.append((float(said[1]) / float(said[0]), float(said[2])))
        found[work] = tuple(map(statistics.median, zip(*rounds, strict=True)))
    return found


def seen_rows(count: int, now: float) -> Iterator[tuple[bytes, float]]:
    """Keys of two weeks, as they come: hour by hour, at random within one."""
    hours = 14 * 24
    for number in range(count):
        hour = int(now // 3600) - hours + number * hours // count
        yield hour.to_bytes(4, "big") + secrets.token_bytes(12), hour * 3600.0


def conversation_rows(count: int, now: float) -> Iterator[tuple[str, str, str, float]]:
    for number in range(count):
        yield str(address(number)), "bot", "m_1", now


def fill(url: str, conversations: int, seen: int) -> None:
    """Put rows into the tables of a store that is there."""
    now = time.time()
    tables: dict[str, tuple[str, Any]] = {
        "seen": ("key, at", seen_rows(seen, now)),
        "conversation": ("key, owner, last_id, last_at", conversation_rows(conversations, now)),
    }
    scheme, _, path = url.partition(":///")
    if scheme == "sqlite":
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("BEGIN")
            for table, (columns, rows) in tables.items():
                marks = ", ".join("?" * len(columns.split(",")))
                db.executemany(
                    f"INSERT INTO {table} ({columns}) VALUES ({marks}) ON CONFLICT DO NOTHING", rows
                )
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return
    import psycopg

    with closing(psycopg.connect(url, autocommit=True)) as pg:
        for table, (columns, rows) in tables.items():
            with pg.cursor() as cursor, cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copying:
                for row in rows:
                    copying.write_row(row)
        pg.execute("VACUUM ANALYZE")


# -- recovery


def recovery(options: argparse.Namespace) -> None:
    """From the start of a server, on a store with many waiting events, to its first reply and the last."""
    store: Any = store_for_server(options.store, Policy(max_waiting_events=10**9), reactor.callFromThread)
    store.open(time.time())
    filled = Deferred.fromCoroutine(_fill_waiting(store, options.events))
    filled.addBoth(lambda _: store.close()).addBoth(lambda _: reactor.stop())
    reactor.run()
    with tempfile.TemporaryDirectory(prefix="klein-channels-benchmark-") as folder:
        graph = Graph(Path(folder), 0.0)
        began = time.monotonic()
        server = ours(Path(folder), "echo", graph.url, options.store)
        try:
            server.wait()
            print(f"listening after {time.monotonic() - began:.2f} s")
            for count in (1, 100):
                graph.wait_for(count)
                took = time.monotonic() - began
                print(f"{count} replies after {took:.2f} s; {server.cpu():.2f} s of CPU since the start")
        finally:
            server.stop()
            graph.stop()


async def _fill_waiting(store: Any, events: int) -> None:
    for start in range(0, events, 1000):
        await store.enqueue([arrival(n, 0) for n in range(start, min(start + 1000, events))], time.time())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    for function in (rates, sizes, recovery, one):
        command = commands.add_parser(function.__name__)
        command.set_defaults(function=function)
        command.add_argument("--store", required=True)
        command.add_argument("--seconds", type=float, default=3.0)
        command.add_argument("--processes", type=int, default=2)
        command.add_argument("--rounds", type=int, default=5)
        command.add_argument("--lanes", type=int, default=64)
        command.add_argument("--work", choices=WORKS, default="turn")
        command.add_argument("--conversations", type=int, default=1_000_000)
        command.add_argument("--seen", type=int, default=10_000_000)
        command.add_argument("--events", type=int, default=100_000)
    options = parser.parse_args()
    options.function(options)


if __name__ == "__main__":
    main()
