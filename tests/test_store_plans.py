"""No statement that runs with every message may look through a table: its cost would grow with the store."""

from __future__ import annotations

import sqlite3
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.model import Address, Message, MessageReceived, Text
from klein_channels.store import Arrival, Claim, EndOfTurn, Queueing, Reply, Settlement, StartedTurn
from klein_channels.store.sqlite import SQLiteStore

ADDRESS = Address(channel="facebook", account="1", peer="2")
KEY = str(ADDRESS)


class Planned(sqlite3.Connection):
    """Notes how SQLite would go about each statement."""

    plans: dict[str, list[str]]

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:  # type: ignore[override]
        if sql.split(maxsplit=1)[0] in ("SELECT", "INSERT", "UPDATE", "DELETE"):
            rows = super().execute(f"EXPLAIN QUERY PLAN {sql}", parameters).fetchall()
            self.plans[sql] = [row[3] for row in rows]
        return super().execute(sql, parameters)


class PlanTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.plans: dict[str, list[str]] = {}
        factory = type("Connection", (Planned,), {"plans": self.plans})
        self.store = SQLiteStore("", connect=partial(sqlite3.connect, factory=factory))
        self.store.open(0.0)
        self.addCleanup(self.store.close)
        self.plans.clear()

    def result(self, deferred: Deferred[Any]) -> Any:
        return self.successResultOf(deferred)

    def started(self) -> StartedTurn:
        event = MessageReceived(id="m1", address=ADDRESS, text="hi")
        arrival = Arrival(event=event, conversation=KEY, dedupe=b"m1", turn=True, by_person=True)
        self.result(self.store.enqueue([arrival], 1.0))
        found = self.result(self.store.start_turn(KEY, 1.0, deterministic=False))
        assert isinstance(found, StartedTurn)
        return found

    def assert_searched(self) -> None:
        """Every table was entered through a key or an index that has few rows to offer."""
        self.assertTrue(self.plans)
        whole_tables = {sql: [step for step in plan if "SCAN" in step] for sql, plan in self.plans.items()}
        looked_through = {
            sql: steps
            for sql, steps in whole_tables.items()
            if set(steps) - {"SCAN CONSTANT ROW", "SCAN one"}
        }
        self.assertEqual(looked_through, {})

    def test_a_message_and_its_reply(self) -> None:
        reply = Reply(address=ADDRESS, message=Message(parts=(Text(text="hello"),)))
        turn = self.started().turn
        self.assertTrue(
            self.result(self.store.end_turn(turn, EndOfTurn(state="done", replies=(reply,)), 2.0))
        )
        claim = self.result(self.store.claim_reply(KEY, 2.0))
        assert isinstance(claim, Claim)
        self.result(self.store.settle_reply(claim, Settlement(state="sent"), 3.0, claim_next=True))
        self.assert_searched()

    def test_a_turn_that_is_tried_again(self) -> None:
        turn = self.started().turn
        self.result(self.store.end_turn(turn, EndOfTurn(state="retry", due_at=2.0), 2.0))
        again = self.result(self.store.start_turn(KEY, 3.0, deterministic=False))
        self.assertEqual([event.id for event in again.turn.events], ["m1"])
        self.assert_searched()

    def test_a_conversation_that_waits(self) -> None:
        self.started()
        self.result(self.store.set_owner(KEY, "human", 1.0))
        self.result(self.store.start_turn(KEY, 1.0, deterministic=False))
        self.assert_searched()

    def came(self, number: int, **queueing: Any) -> None:
        event = MessageReceived(id=f"m{number}", address=ADDRESS, text="hi")
        arrival = Arrival(
            event=event, conversation=KEY, dedupe=b"%d" % number, turn=True, by_person=True,
            exchange="open", queueing=Queueing(**queueing),
        )  # fmt: skip
        self.result(self.store.enqueue([arrival], 1.0))

    def test_messages_that_are_merged(self) -> None:
        merged: dict[str, Any] = {"double_texting": "merge", "window": 2.0, "longest": 9.0, "together": 9}
        self.came(1, **merged)
        self.came(2, **merged)
        found = self.result(self.store.start_turn(KEY, 5.0, deterministic=False, queueing=Queueing(**merged)))
        self.assertEqual(len(found.turn.events), 2)
        self.assert_searched()

    def test_a_turn_that_is_interrupted(self) -> None:
        interrupting = Queueing(double_texting="interrupt", together=9)
        turn = self.started().turn
        self.came(2, double_texting="interrupt")
        self.assertEqual(self.result(self.store.interrupting(turn)), 0.0)
        found = self.result(self.store.start_turn(KEY, 2.0, deterministic=False, queueing=interrupting))
        self.assertEqual([event.id for event in found.turn.interrupted], ["m1"])
        self.assert_searched()

    def test_an_event_that_is_rejected(self) -> None:
        self.came(1, double_texting="reject", most=1)
        for number in (2, 3):
            self.came(number, double_texting="reject", most=1, busy=(Message(parts=(Text(text="busy"),)),))
        self.came(4, most=1)
        self.assertEqual(self.result(self.store.stats()).waiting_events, 1)
        self.plans = {sql: plan for sql, plan in self.plans.items() if "count(*)" not in sql}
        self.assert_searched()

    def test_the_poll(self) -> None:
        self.result(self.store.due(5.0, 100))
        self.assert_searched()


class HeldTests(SynchronousTestCase):
    """How long the writer is held by work beside the messages, in steps of SQLite's machine."""

    def fill(self, count: int) -> None:
        """A store with `count` finished messages, all accepted within a second."""
        self.store = SQLiteStore("")
        self.store.open(0.0)
        self.addCleanup(self.store.close)
        self.db: sqlite3.Connection = self.store._committer._session.connection  # type: ignore[attr-defined]
        self.db.executescript(
            f"""WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})
            INSERT INTO inbox (conversation, event, received_at, state, turn)
              SELECT 'facebook:1:' || (i % 1000), '{{}}', 1000 + i * 1e-6, 'taken', i FROM n;
            INSERT INTO turn (conversation, first_event, last_event, attempt, state, started_at)
              SELECT conversation, id, id, 1, 'done', received_at FROM inbox;
            INSERT INTO outbox (conversation, address, message, state, due_at, first_at, created_at)
              SELECT conversation, conversation, '{{}}', 'sent', 1000, 1000, received_at FROM inbox;
            INSERT INTO exchange (conversation, event, state, answers_only, at)
              SELECT conversation, id, 'answered', 0, received_at FROM inbox;
            INSERT INTO seen (key, at)
              SELECT x'00000001' || CAST(printf('%016d', id) AS BLOB), received_at FROM inbox;"""
        )

    def steps(self, work: Any) -> int:
        """How many hundreds of steps `work` takes."""
        count = 0

        def step() -> int:
            nonlocal count
            count += 1
            return 0

        self.db.set_progress_handler(step, 100)
        self.successResultOf(work())
        self.db.set_progress_handler(None, 0)
        return count

    def costs(self, count: int, finished_before: float) -> tuple[int, int]:
        """Of a purge and of a look at exchanges, among `count` messages."""
        self.fill(count)
        purge = self.steps(lambda: self.store.purge(0.0, finished_before))
        return purge, self.steps(lambda: self.store.close_abandoned(1000.0, 900.0))

    def test_they_cost_the_same_with_many_rows_whether_there_is_something_to_do_or_not(self) -> None:
        for finished_before in (900.0, 2000.0):
            few, many = self.costs(500, finished_before), self.costs(8000, finished_before)
            for small, large in zip(few, many, strict=True):
                self.assertLessEqual(large, 2 * small + 5)
