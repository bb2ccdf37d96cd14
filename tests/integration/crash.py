"""
Runs a script of webhooks against the shipped service, and lets it fail at one chosen point.

Only the driver's connection, the clock and what is behind the sockets are replaced. A point is a statement
or the moment at which the platform shows something; what happens there is the process's death before or
after it, an error of the statement, or an error although it was carried out. Then the next process starts,
the platform delivers again what was not acknowledged, and what was promised is checked.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher

from klein_channels.errors import StartError
from klein_channels.policy import Policy
from klein_channels.store.postgres import PostgresStore
from klein_channels.testing.disk import Killed
from klein_channels.testing.memory import ServiceInMemory, conversation, webhook

from ..postgres import connected

PATIENCE = 45.0
"""Seconds in which everything has happened after a restart: more than `unknown_wait`."""
WORDS = ("one", "two")


LASTS = 2.5
"""Seconds in which a run without a fault is over; what comes afterwards is waiting."""


class Steps:
    """Counts the points of a run; at the one whose number is `chosen`, `fault` happens."""

    lasts = LASTS

    def __init__(self, chosen: int = 0, fault: str = "") -> None:
        self.chosen = chosen
        self.fault = fault
        self.count = 0
        self.kinds: list[str] = []
        self.counts = True

    def __call__(self, what: str) -> str | None:
        if not self.counts:
            return None
        self.count += 1
        self.kinds.append(what if what in ("COMMIT", "shown") else "statement")
        return self.fault if self.count == self.chosen else None


class WatchedAgent:
    """Says two things to each message, none of them twice, and takes its time between them."""

    def __init__(self) -> None:
        self.kit: Any = None
        self.running: dict[str, Any] = {}
        self.overlaps: list[str] = []

    async def __call__(self, event: Any, turn: Any) -> Any:
        key, process = str(event.address), self.kit.process
        if self.running.get(key) is process:
            self.overlaps.append(key)
        self.running[key] = process
        try:
            said = {part.text for message in turn.already_said for part in message.parts}
            for word in WORDS:
                text = f"{event.text}: {word}"
                if text not in said:
                    yield text
                    await deferLater(process, 0.5)
        finally:
            if self.running.get(key) is process:
                del self.running[key]


class FaultyService(ServiceInMemory):
    """A service on SQLite whose process and database fail at a chosen point."""

    def __init__(self, steps: Steps, place: str) -> None:
        self.steps = steps
        self.place = place
        self.watched = WatchedAgent()
        self.watched.kit = self
        self.asked: dict[str, tuple[bytes, Any]] = {}
        # Patience with agents is another matter: the deaths of a process must not use it up.
        policy = Policy(agent_tries=100, poll_interval=3.0)
        super().__init__(self.watched, path=place, policy=policy)
        self.graph.on_sent = lambda message: self.shown_now()

    def start(self) -> None:
        """Start a process, which may end before it has begun."""
        self.disk.at = self.steps
        try:
            super().start()
        except Killed:
            return
        except StartError:
            self.kill()

    def shown_now(self) -> None:
        """The platform shows something; nobody was told so far."""
        if self.process.alive and self.steps("shown"):
            # Before the answer of the platform arrives.
            self.clock.callLater(0, self.die, self.process)

    def die(self, process: Any) -> None:
        """Kill a process, unless it is dead."""
        if process.alive:
            self.kill()

    def write(self, number: int, person: str) -> None:
        """A person writes; the platform delivers it."""
        self.live_on(0.0)
        item = self.item(f"m{number}", person, message={"text": f"{number}"})
        self.deliver_again(f"{number}", webhook(item))

    def deliver_again(self, name: str, body: bytes) -> None:
        """The platform delivers a webhook."""
        self.asked[name] = (body, self.ask(body))

    def live_on(self, seconds: float) -> None:
        """Let time pass; who died is started again."""
        while not self.process.alive:
            self.revive()
        self.advance(seconds)
        while not self.process.alive:
            self.revive()

    def revive(self) -> None:
        """Start the next process, and let the platform deliver what was not acknowledged."""
        self.steps.counts = False
        self.start()
        self.advance(1.0)
        for name, (body, asked) in list(self.asked.items()):
            if asked.status != 200:
                self.deliver_again(name, body)
                self.advance(0.1)
        self.steps.counts = True

    def settle_down(self) -> None:
        """Let everything come to its end."""
        self.live_on(self.steps.lasts)
        self.steps.counts = False
        for _ in range(6):
            for name, (body, asked) in list(self.asked.items()):
                if asked.status != 200:
                    self.deliver_again(name, body)
            self.advance(5.0)
            if self.is_over():
                break
            self.advance(PATIENCE)

    def is_over(self) -> bool:
        """Whether nothing is left to do."""
        open_turns = self.query("SELECT count(*) FROM turn WHERE state IN ('running', 'retry')")[0][0]
        waiting = self.query("SELECT count(*) FROM inbox WHERE state = 'waiting'")[0][0]
        unsent = self.query("SELECT count(*) FROM outbox WHERE settled_at IS NULL")[0][0]
        return not (open_turns or waiting or unsent) and {a.status for _, a in self.asked.values()} == {200}

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What the store holds."""
        return self.rows(sql)


class FaultyPostgresService(FaultyService):
    """The same on PostgreSQL; an error of a statement is the loss of its connection."""

    def new_store(self) -> PostgresStore:
        return PostgresStore(
            self.place,
            committer=self.disk.committer,
            connect=lambda dsn: _Connection(dsn.connect(), self.disk),
            max_waiting=self.policy.max_waiting_events,
            max_unsent=self.policy.max_unsent_replies,
            unknown_wait=self.policy.unknown_wait,
            durable=False,
            grace=0.0,
            monotonic=self.clock.seconds,
        )

    def _end(self) -> None:
        self.process.die()
        self.disk.let_go()
        with closing(connected(self.place)) as db:
            # The lease of the dead runs out.
            db.execute("UPDATE server SET lease_until = 1")

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        with closing(connected(self.place)) as db:
            return [tuple(row) for row in db.execute(sql).fetchall()]


class _Connection:
    """A connection of psycopg on which the disk's faults show."""

    def __init__(self, connection: Any, disk: Any) -> None:
        self._connection = connection
        self._disk = disk
        disk.connections.append(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def execute(self, sql: str, *args: Any) -> Any:
        import psycopg

        try:
            return self._disk.execute(lambda: self._connection.execute(sql, *args), sql)
        except sqlite3.OperationalError as error:
            self._connection.close()
            raise psycopg.OperationalError(str(error)) from None

    def close(self) -> None:
        self._connection.close()


def check(case: Any, kit: FaultyService, written: dict[int, str], where: str) -> None:
    """What was promised: `written` are the messages, by number, with who wrote them."""
    case.assertEqual(kit.watched.overlaps, [], f"{where}: two turns of a conversation at once")
    case.assertEqual({asked.status for _, asked in kit.asked.values()}, {200}, where)
    turns = [state for (state,) in kit.query("SELECT state FROM turn")]
    case.assertEqual(turns, ["done"] * len(written), f"{where}: each is handled, and once")
    for person in set(written.values()):
        check_person(case, kit, person, len(written), where)


def check_person(case: Any, kit: FaultyService, person: str, most: int, where: str) -> None:
    key = conversation(person)
    accepted = kit.query(f"SELECT event FROM inbox WHERE conversation = '{key}' ORDER BY id")
    expected = [f"{_text(event)}: {word}" for (event,) in accepted for word in WORDS]
    rows = kit.query(f"SELECT message, state, repeated FROM outbox WHERE conversation = '{key}' ORDER BY id")
    live = [(_text(message), state, repeated) for message, state, repeated in rows if state != "withdrawn"]
    case.assertEqual([text for text, _, _ in live], expected, f"{where}: each reply has one row, in order")
    case.assertEqual({state for _, state, _ in live}, {"sent"}, where)
    seen = kit.sent_to(person)
    case.assertEqual(list(dict.fromkeys(seen)), expected, f"{where}: what is seen, in order")
    for text, _, repeated in live:
        case.assertLessEqual(seen.count(text), 1 + repeated, f"{where}: {text} repeated without a mark")


def _text(stored: Any) -> str:
    import json

    found = json.loads(bytes(stored))
    text = found["text"] if "text" in found else found["parts"][0]["text"]
    return str(text)


def quiet(case: Any) -> None:
    """What fails on purpose shall not be taken for an error of the test."""
    observers = list(globalLogPublisher._observers)
    for observer in observers:
        globalLogPublisher.removeObserver(observer)
        case.addCleanup(globalLogPublisher.addObserver, observer)
