"""A connection to PostgreSQL that is lost, refused, or lies: what is told to those who wait."""

import sys
from contextlib import closing
from unittest.mock import patch

import psycopg
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import ConfigError, StartError, StoreUnavailable
from klein_channels.policy import Policy
from klein_channels.store import NotNow, postgres
from klein_channels.store.dialect import for_postgres, script_for_postgres
from klein_channels.store.dsn import Dsn, read_dsn
from klein_channels.store.opening import store_beside_server, store_for_server
from klein_channels.store.postgres import PostgresStore
from klein_channels.store.session import Piece, PostgresSession

from .doubles import NOW, address, arrival, message, said
from .postgres import connected, new_store_url

KEY = str(address())


class Wire:
    """A connection on which a test can do harm: `at_commit` is called in place of COMMIT."""

    def __init__(self, connection):
        self.connection = connection
        self.at_commit = None

    def execute(self, sql, *args, **more):
        if sql == "COMMIT" and self.at_commit is not None:
            harm, self.at_commit = self.at_commit, None
            return harm(self.connection)
        return self.connection.execute(sql, *args, **more)

    def __getattr__(self, name):
        return getattr(self.connection, name)


def lost_after_the_commit(connection):
    connection.execute("COMMIT")
    connection.close()
    raise psycopg.OperationalError("server closed the connection unexpectedly")


def lost_before_the_commit(connection):
    connection.close()
    raise psycopg.OperationalError("server closed the connection unexpectedly")


class ConnectionCase(SynchronousTestCase):
    def setUp(self):
        self.url = new_store_url(self)
        self.wires = []
        self.store = PostgresStore(self.url, connect=self.connect, grace=0.0, durable=False)
        self.store.open(NOW)
        self.addCleanup(self.store.close)

    def connect(self, dsn):
        self.wires.append(Wire(Dsn.connect(dsn)))
        return self.wires[-1]

    def get(self, deferred):
        return self.successResultOf(deferred)

    def harm(self, what):
        self.wires[-1].at_commit = what

    def enqueue(self, event):
        return self.store.enqueue([arrival(event)], NOW)

    def rows(self, query):
        with closing(connected(self.url)) as db:
            return db.execute(query).fetchall()


class LostTests(ConnectionCase):
    def test_between_two_commits_nobody_notices(self):
        self.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            f" WHERE pid = {self.wires[-1].info.backend_pid}"
        )
        self.assertEqual(self.get(self.enqueue(message())), [1])
        self.assertEqual(len(self.wires), 2)

    def test_in_a_commit_it_is_not_acknowledged_whatever_became_of_it(self):
        for harm, numbers in ((lost_after_the_commit, [None]), (lost_before_the_commit, [3])):
            event = message()
            self.harm(harm)
            failure = self.failureResultOf(self.enqueue(event), StoreUnavailable)
            self.assertIn("while it committed", failure.getErrorMessage())
            # The platform delivers it again.
            self.assertEqual(self.get(self.enqueue(event)), numbers)
        self.assertEqual(self.rows("SELECT count(*) FROM inbox"), [(2,)])
        self.assertEqual(self.get(self.store.due(NOW, 10)).turns, (KEY,))

    def test_a_claim_that_nobody_was_told_of_is_taken_for_begun(self):
        self.get(self.store.post(KEY, [said("x")], None, NOW))
        self.harm(lost_after_the_commit)
        self.failureResultOf(self.store.claim_reply(KEY, NOW), StoreUnavailable)
        self.assertEqual(self.get(self.store.due(NOW, 10)).replies, (KEY,))
        self.assertEqual(self.get(self.store.claim_reply(KEY, NOW)), NotNow())
        again = self.get(self.store.claim_reply(KEY, NOW + 30))
        self.assertEqual((again.tries, again.repeated), (2, True))

    def test_a_commit_that_did_not_wait_for_its_standby_is_none(self):
        def hurried(connection):
            connection.execute("DO $$ BEGIN RAISE WARNING 'canceling wait for the standby'; END $$")
            return connection.execute("COMMIT")

        self.harm(hurried)
        self.failureResultOf(self.enqueue(message()), StoreUnavailable)

    def test_a_database_that_became_a_standby_is_looked_for_anew(self):
        self.wires[-1].connection.execute("SET default_transaction_read_only = on")
        self.assertEqual(self.get(self.enqueue(message())), [1])
        self.assertEqual(len(self.wires), 2)

    def test_where_none_can_be_had_it_is_said_and_not_tried_all_the_time(self):
        tried, seconds = [], [100.0]

        def refuse():
            tried.append(seconds[0])
            raise psycopg.OperationalError("connection refused\nIs the server running?")

        session = PostgresSession(refuse, clock=lambda: seconds[0])
        for now in (100.0, 100.4, 100.5):
            seconds[0] = now
            (failure,) = session.together([lambda db: None])
            self.assertIn("connection refused Is the server running?", failure.getErrorMessage())
        self.assertEqual(tried, [100.0, 100.5])

    def test_a_database_that_is_held_up_is_not_asked_without_end(self):
        self.patch(postgres, "MOST_STORING", 1)
        waiting = Deferred()
        self.patch(self.store, "_write", lambda work, *conversations: waiting)
        self.enqueue(message())
        self.assertIn("keep up", self.failureResultOf(self.enqueue(message())).getErrorMessage())
        waiting.callback([1])
        self.assertEqual(self.get(self.enqueue(message())), [1])

    def test_one_bad_piece_fails_alone(self):
        session = self.store._writers[0]._session
        good = [Piece(lambda db: db.execute("SELECT 1 AS x").fetchone()["x"], (KEY,)) for _ in range(2)]
        first, bad, last = session.together([good[0], Piece(lambda db: db.execute("no SQL")), good[1]])
        self.assertEqual((first, last), (1, 1))
        self.assertIn("the database refused", bad.getErrorMessage())

    def test_a_claim_leaves_a_busy_conversation_for_afterwards(self):
        other = PostgresSession(read_dsn(self.url).connect, seed=lambda: self.store.instance)
        self.addCleanup(other.close)
        order = []

        def busy(db):
            claim = Piece(lambda db: order.append("claim"), (KEY,), claims=True)
            plain = Piece(lambda db: order.append("plain"), ("another",))
            connection = other._connected()
            connection.execute("SET lock_timeout = '50ms'")
            results = other.together([claim, plain])
            order.append(results[0].getErrorMessage()[:20])

        session = self.store._writers[0]._session
        session.together([Piece(busy, (KEY,))])
        self.assertEqual(order, ["plain", "the database refused"])


class TextTests(ConnectionCase):
    def test_what_postgresql_cannot_keep_is_replaced(self):
        event = message("a\0b", id="m\0")
        self.assertEqual(self.get(self.enqueue(event)), [1])
        self.assertEqual(self.get(self.enqueue(event)), [None])
        started = self.get(self.store.start_turn(KEY, NOW, deterministic=False))
        self.assertEqual((started.turn.event.text, started.context.last_event), ("a\0b", "m\ufffd"))

    def test_statements(self):
        for ours, theirs in (
            ("a = ? AND b = :name", "a = %s AND b = %(name)s"),
            ("a LIKE '50%?' -- why?", "a LIKE '50%%?' -- why?"),
            ("key < x'00ff'", r"key < '\x00ff'::bytea"),
            ("?::bigint[] % 2", "%s::bigint[] %% 2"),
        ):
            self.assertEqual(for_postgres(ours), theirs)

    def test_scripts(self):
        script = "CREATE TABLE t (id INTEGER PRIMARY KEY, at REAL, b BLOB) WITHOUT ROWID; -- 100% INTEGER"
        self.assertEqual(
            script_for_postgres(script).rstrip(),
            "CREATE TABLE t (id BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, at DOUBLE PRECISION,"
            " b BYTEA);",
        )


class AddressTests(SynchronousTestCase):
    def test_what_a_connection_always_gets(self):
        dsn = read_dsn("postgresql://u@a,b/db?connect_timeout=2")
        self.assertEqual((dsn.conninfo["host"], dsn.conninfo["connect_timeout"]), ("a,b", "2"))
        self.assertEqual(dsn.conninfo["target_session_attrs"], "read-write")
        self.assertEqual((dsn.writers, dsn.pooled, dsn.listen), (2, False, dsn.conninfo))

    def test_behind_a_pooler(self):
        self.assertIsNone(read_dsn("postgresql://h/db?pooler=transaction").listen)
        dsn = read_dsn("postgresql://h/db?pooler=transaction&listen=postgresql%3A%2F%2Fdirect%2Fdb&writers=4")
        self.assertEqual((dsn.pooled, dsn.writers, dsn.listen["host"]), (True, 4, "direct"))

    def test_what_is_none_is_said_without_its_password(self):
        for url in (
            "postgresql://u:hunter2@h/db?nonsense=1",
            "postgresql://h/db?pooler=statement",
            "postgresql://h/db?writers=0",
        ):
            with self.assertRaises(ConfigError) as caught:
                read_dsn(url)
            self.assertNotIn("hunter2", str(caught.exception))
        self.assertNotIn("hunter2", repr(PostgresStore("postgresql://u:hunter2@h/db")))

    def test_without_psycopg_it_is_said_what_to_install(self):
        missing = patch.dict(sys.modules, {"klein_channels.store.postgres": None})
        missing.start()
        self.addCleanup(missing.stop)
        for opening in (store_beside_server, lambda url: store_for_server(url, Policy(), print)):
            with self.assertRaisesRegex(StartError, r"pip install 'klein_channels\[postgres\]'"):
                opening("postgresql://h/db")

    def test_a_server_that_is_not_there_is_one_line(self):
        with self.assertRaises(StartError) as caught:
            PostgresStore("postgresql://u:hunter2@127.0.0.1:1/db").open(NOW)
        self.assertIn("127.0.0.1/db: the database cannot be reached", str(caught.exception))
        self.assertNotIn("hunter2", str(caught.exception))
        self.assertNotIn("\n", str(caught.exception))
