"""Group commit: what fails fails alone, and what is said to be durable is."""

import sqlite3
import threading
from collections import deque

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import StoreFull, StoreUnavailable
from klein_channels.store.commit import MOST_PER_COMMIT, GroupCommitter, InlineCommitter, SQLiteSession

PATIENCE = 20.0


class Driver(sqlite3.Connection):
    """A connection whose statements are counted and may be told to fail."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.statements = []
        self.failing = {}

    def execute(self, sql, *args):
        self.statements.append(sql)
        if self.failing.get(sql, 0):
            self.failing[sql] -= 1
            raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, *args)

    @property
    def commits(self):
        return self.statements.count("COMMIT")


def connected():
    db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=Driver)
    db.execute("CREATE TABLE t (x INTEGER PRIMARY KEY)")
    return db


def insert(number):
    def work(db):
        db.execute("INSERT INTO t VALUES (?)", (number,))
        return number

    return work


def numbers(db):
    return [row[0] for row in sqlite3.Connection.execute(db, "SELECT x FROM t ORDER BY x")]


class GroupCase(SynchronousTestCase):
    """The thread is real; what it hands back is delivered when the test asks for it."""

    def setUp(self):
        self.db = connected()
        self.calls = deque()
        self.arrived = threading.Semaphore(0)
        self.committer = GroupCommitter(
            SQLiteSession(self.db, "BEGIN IMMEDIATE"), "test", call_from_thread=self.call_from_thread
        )
        self.thread = self.committer._thread
        self.addCleanup(self.end)

    def end(self):
        self.committer.close().addErrback(lambda _: None)
        self.thread.join(PATIENCE)
        self.assertFalse(self.thread.is_alive())

    def call_from_thread(self, function, *args):
        self.calls.append((function, args))
        self.arrived.release()

    def deliver(self):
        """Wait for one commit's results and hand them out."""
        self.assertTrue(self.arrived.acquire(timeout=PATIENCE))
        function, args = self.calls.popleft()
        function(*args)

    def together(self, *works):
        """Have `works` done in one batch."""
        begun, go = threading.Event(), threading.Event()

        def hold(db):
            begun.set()
            go.wait(PATIENCE)

        held = self.committer.run(hold)
        begun.wait(PATIENCE)
        asked = [self.committer.run(work) for work in works]
        go.set()
        self.deliver()
        self.successResultOf(held)
        return asked


class GroupTests(GroupCase):
    def test_all_that_came_meanwhile_share_one_commit(self):
        before = self.db.commits
        asked = self.together(*map(insert, range(50)))
        self.deliver()
        self.assertEqual([self.successResultOf(one) for one in asked], list(range(50)))
        self.assertEqual(self.db.commits - before, 2)

    def test_nothing_fires_before_its_commit(self):
        asked = self.together(insert(1))
        self.assertNoResult(asked[0])
        self.deliver()
        self.successResultOf(asked[0])

    def test_results_come_in_the_order_of_asking(self):
        order = []
        asked = self.together(*map(insert, range(20)))
        for one in asked:
            one.addCallback(order.append)
        self.deliver()
        self.assertEqual(order, list(range(20)))

    def test_a_poisoned_piece_fails_alone(self):
        def poison(db):
            db.execute("INSERT INTO t VALUES (99)")
            raise StoreFull("no more")

        asked = self.together(insert(1), poison, insert(2), lambda db: db.execute("no sql"), insert(3))
        self.deliver()
        self.assertEqual([self.successResultOf(asked[n]) for n in (0, 2, 4)], [1, 2, 3])
        self.assertEqual(str(self.failureResultOf(asked[1], StoreFull).value), "no more")
        self.assertIn("the database refused", str(self.failureResultOf(asked[3], StoreUnavailable).value))
        self.assertEqual(numbers(self.db), [1, 2, 3])

    def test_a_piece_done_again_alone_is_done_once(self):
        asked = self.together(insert(1), insert(1))
        self.deliver()
        self.successResultOf(asked[0])
        self.failureResultOf(asked[1], StoreUnavailable)
        self.assertEqual(numbers(self.db), [1])

    def test_a_commit_that_fails_fails_everybody_and_keeps_nothing(self):
        asked = self.together(insert(1), insert(2))
        self.deliver()
        self.db.failing["COMMIT"] = 100
        asked = self.together_failing(insert(3), insert(4))
        for one in asked:
            self.assertIn("disk is full", str(self.failureResultOf(one, StoreUnavailable).value))
        self.db.failing.clear()
        self.assertEqual(numbers(self.db), [1, 2])
        after = self.committer.run(insert(5))
        self.deliver()
        self.successResultOf(after)

    def together_failing(self, *works):
        asked = [self.committer.run(work) for work in works]
        while not all(one.called for one in asked):
            self.deliver()
        return asked

    def test_a_commit_that_failed_once_is_done_piece_by_piece(self):
        begun, go = threading.Event(), threading.Event()

        def hold(db):
            begun.set()
            go.wait(PATIENCE)
            self.db.failing["COMMIT"] = 0

        held = self.committer.run(hold)
        begun.wait(PATIENCE)
        asked = [self.committer.run(insert(n)) for n in range(3)]
        asked.insert(0, held)
        go.set()
        self.deliver()
        self.deliver()
        self.assertEqual([self.successResultOf(one) for one in asked], [None, 0, 1, 2])

    def test_a_database_that_does_not_begin_is_unavailable_and_comes_back(self):
        self.db.failing["BEGIN IMMEDIATE"] = 1
        failed = self.committer.run(insert(1))
        self.deliver()
        self.failureResultOf(failed, StoreUnavailable)
        fine = self.committer.run(insert(1))
        self.deliver()
        self.assertEqual(self.successResultOf(fine), 1)

    def test_no_transaction_is_longer_than_its_bound(self):
        before = self.db.statements.count("BEGIN IMMEDIATE")
        asked = self.together(*map(insert, range(MOST_PER_COMMIT + 1)))
        self.deliver()
        self.deliver()
        self.assertEqual([self.successResultOf(one) for one in asked], list(range(MOST_PER_COMMIT + 1)))
        self.assertEqual(self.db.statements.count("BEGIN IMMEDIATE") - before, 3)

    def test_a_waiter_that_was_cancelled_disturbs_nobody_and_its_work_is_done(self):
        asked = self.together(insert(1), insert(2))
        asked[0].cancel()
        self.failureResultOf(asked[0], CancelledError)
        self.deliver()
        self.assertEqual(self.successResultOf(asked[1]), 2)
        self.assertEqual(numbers(self.db), [1, 2])

    def test_a_waiter_that_raises_keeps_no_other_from_its_result(self):
        asked = self.together(insert(1), insert(2))
        asked[0].addCallback(lambda _: 1 / 0)
        self.deliver()
        self.failureResultOf(asked[0], ZeroDivisionError)
        self.assertEqual(self.successResultOf(asked[1]), 2)

    def test_a_waiter_may_cancel_the_next_one(self):
        asked = self.together(insert(1), insert(2), insert(3))
        asked[0].addCallback(lambda _: asked[1].cancel())
        self.deliver()
        self.failureResultOf(asked[1], CancelledError)
        self.assertEqual(self.successResultOf(asked[2]), 3)

    def test_work_runs_on_its_own_thread(self):
        asked = self.committer.run(lambda db: threading.current_thread())
        self.deliver()
        self.assertIs(self.successResultOf(asked), self.thread)
        self.assertTrue(self.thread.daemon)


class CloseTests(GroupCase):
    def test_what_was_asked_is_done_first(self):
        asked = [self.committer.run(insert(n)) for n in range(10)]
        closed = self.committer.close()
        while not closed.called:
            self.deliver()
        self.successResultOf(closed)
        self.assertEqual([self.successResultOf(one) for one in asked], list(range(10)))
        with self.assertRaises(sqlite3.ProgrammingError):
            self.db.execute("SELECT 1")

    def test_what_comes_later_fails_at_once(self):
        closed = self.committer.close()
        self.failureResultOf(self.committer.run(insert(1)), StoreUnavailable)
        self.deliver()
        self.successResultOf(closed)
        self.failureResultOf(self.committer.run(insert(1)), StoreUnavailable)

    def test_everybody_who_closes_is_told(self):
        first, second = self.committer.close(), self.committer.close()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.deliver()
        self.successResultOf(second)
        self.successResultOf(self.committer.close())


class InlineTests(SynchronousTestCase):
    def setUp(self):
        self.db = connected()
        self.committer = InlineCommitter(SQLiteSession(self.db, "BEGIN IMMEDIATE"))

    def test_at_once_and_rolled_back_if_it_fails(self):
        self.assertEqual(self.successResultOf(self.committer.run(insert(1))), 1)

        def poison(db):
            insert(2)(db)
            raise ValueError("no")

        self.failureResultOf(self.committer.run(poison), ValueError)
        self.failureResultOf(self.committer.run(insert(1)), StoreUnavailable)
        self.assertEqual(numbers(self.db), [1])

    def test_a_commit_that_fails_keeps_nothing(self):
        self.db.failing["COMMIT"] = 1
        self.failureResultOf(self.committer.run(insert(1)), StoreUnavailable)
        self.assertEqual(numbers(self.db), [])
        self.successResultOf(self.committer.run(insert(1)))

    def test_closed(self):
        self.successResultOf(self.committer.close())
        self.failureResultOf(self.committer.run(insert(1)), StoreUnavailable)
