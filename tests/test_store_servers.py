"""Several servers on one database: who has a conversation, and what becomes of it when one dies."""

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import StoreError
from klein_channels.store import Cursor, EndOfTurn, NotNow, Queueing, Settlement, StartedTurn
from klein_channels.store.postgres import PostgresStore

from .doubles import NOW, address, arrival, message, said
from .postgres import new_store_url

KEY = str(address())
LEASE = 15.0
LATER = NOW + 60


class ServersCase(SynchronousTestCase):
    def setUp(self):
        self.url = new_store_url(self)
        self.seconds = 0.0
        self.first, self.second = self.server(), self.server()

    def server(self, **settings):
        """One more server on the same database."""
        store = PostgresStore(
            self.url, lease=LEASE, monotonic=lambda: self.seconds, durable=False, **settings
        )
        store.open(NOW)
        self.addCleanup(store.close)
        return store

    def get(self, deferred):
        return self.successResultOf(deferred)

    def enqueue(self, store, *texts, **more):
        arrivals = [arrival(message(text), **more) for text in texts]
        return self.get(store.enqueue(arrivals, NOW))

    def start(self, store, now=NOW):
        return self.get(store.start_turn(KEY, now, deterministic=False))

    def end(self, store, turn, *texts, now=NOW):
        replies = tuple(said(text, ordinal=n, attempt=turn.attempt) for n, text in enumerate(texts))
        return self.get(store.end_turn(turn, EndOfTurn(state="done", replies=replies), now))

    def claim(self, store, now=NOW):
        return self.get(store.claim_reply(KEY, now))

    def settle(self, store, claim, now=NOW):
        return self.get(store.settle_reply(claim, Settlement(state="sent"), now, claim_next=False))

    def run_out(self, store):
        """Let the lease of a server run out, by the clock of the database."""
        self.get(
            self.second._write(
                lambda db: db.execute("UPDATE server SET lease_until = 1 WHERE id = ?", (store.server,))
            )
        )

    def rows(self, query):
        def ask(db):
            return [tuple(row.values()) for row in db.execute(query)]

        return self.get(self.second._write(ask))

    def take_over(self, store=None, now=NOW):
        """The first server falls silent, and another one notices."""
        self.run_out(store or self.first)
        self.get(self.second.keep_alive(now))


class ClaimTests(ServersCase):
    def test_a_turn_of_one_is_nobody_elses(self):
        self.enqueue(self.first, "1", "2")
        turn = self.start(self.first).turn
        self.assertEqual(self.start(self.second), NotNow())
        self.assertEqual(self.rows("SELECT attempt FROM turn"), [(1,)])
        self.assertTrue(self.end(self.first, turn))
        self.assertIsInstance(self.start(self.second), StartedTurn)

    def test_who_runs_a_turn_ends_it_for_what_came_to_another(self):
        interrupting = Queueing(double_texting="interrupt")
        self.enqueue(self.first, "1")
        turn = self.start(self.first).turn
        self.enqueue(self.second, "2", queueing=interrupting)
        begin = partial(self.second.start_turn, KEY, NOW, deterministic=False, queueing=interrupting)
        self.assertEqual(self.get(begin()), NotNow())
        self.assertEqual(self.get(self.first.interrupting(turn)), 0.0)
        new = self.get(self.first.start_turn(KEY, NOW, deterministic=False, queueing=interrupting)).turn
        self.assertEqual([event.text for event in (*new.interrupted, *new.events)], ["1", "2"])
        self.assertEqual(self.rows("SELECT state FROM turn ORDER BY id"), [("superseded",), ("running",)])

    def test_a_turn_of_a_dead_server_makes_way_as_well(self):
        interrupting = Queueing(double_texting="interrupt")
        self.enqueue(self.first, "1")
        turn = self.start(self.first).turn
        self.enqueue(self.second, "2", queueing=interrupting)
        self.take_over()
        new = self.get(self.second.start_turn(KEY, NOW, deterministic=False, queueing=interrupting)).turn
        self.assertEqual([event.text for event in (*new.interrupted, *new.events)], ["1", "2"])
        self.assertFalse(self.get(self.first.add_replies(turn, (said("late"),), (), NOW)))

    def test_a_reply_that_one_sends_is_nobody_elses_nor_what_comes_after_it(self):
        self.get(self.first.post(KEY, [said("1"), said("2", part=1)], None, NOW))
        claim = self.claim(self.first)
        self.assertEqual(self.claim(self.second), NotNow())
        self.settle(self.first, claim)
        self.assertEqual(self.claim(self.second).message, said("2").message)

    def test_what_came_to_two_at_once_is_handled_once(self):
        same = arrival(message("x", id="same"))
        numbers = [self.get(store.enqueue([same], NOW)) for store in (self.first, self.second)]
        self.assertEqual([number is None for (number,) in numbers], [False, True])

    def test_each_begins_with_its_own_share(self):
        for person in range(6):
            self.get(self.first.enqueue([arrival(message("x", peer=f"p{person}"))], NOW))
        ours, theirs = (self.get(store.waiting()).turns for store in (self.first, self.second))
        self.assertEqual(set(ours), set(theirs))
        self.assertFalse(set(ours[:3]) & set(theirs[:3]))

    def test_what_its_server_leaves_lying_is_due_for_the_others(self):
        self.enqueue(self.first, "x")
        self.assertEqual(self.get(self.second.due(NOW + 0.5, 10)).turns, ())
        self.assertEqual(self.get(self.second.due(NOW + 1, 10)).turns, (KEY,))
        self.start(self.first)
        self.assertEqual(self.get(self.second.due(NOW + 1, 10)).turns, ())


class LeaseTests(ServersCase):
    def test_who_renews_keeps_what_it_has(self):
        self.enqueue(self.first, "x")
        turn = self.start(self.first).turn
        self.run_out(self.first)
        self.get(self.first.keep_alive(NOW))
        self.get(self.second.keep_alive(NOW))
        self.assertEqual(self.start(self.second), NotNow())
        self.assertTrue(self.end(self.first, turn))

    def test_a_silent_server_s_turn_is_taken_over_and_it_changes_nothing_more(self):
        self.enqueue(self.first, "x")
        old = self.start(self.first).turn
        self.assertTrue(self.get(self.first.add_replies(old, [said("early")], (), NOW)))
        self.take_over()
        new = self.start(self.second).turn
        self.assertEqual((old.id, old.attempt, new.id, new.attempt), (1, 1, 1, 2))
        self.assertFalse(self.get(self.first.add_replies(old, [said("late")], (), NOW)))
        self.assertFalse(self.end(self.first, old, "late"))
        self.assertTrue(self.end(self.second, new, "new"))
        rows = self.rows("SELECT attempt, state FROM outbox ORDER BY id")
        self.assertEqual(rows, [(1, "withdrawn"), (2, "waiting")])

    def test_between_the_take_over_and_the_next_attempt_it_changes_nothing_either(self):
        self.enqueue(self.first, "x")
        turn = self.start(self.first).turn
        self.take_over()
        self.assertFalse(self.get(self.first.add_replies(turn, [said("late")], (), NOW)))
        self.assertFalse(self.end(self.first, turn, "late"))
        self.assertEqual(self.rows("SELECT count(*) FROM outbox"), [(0,)])

    def test_what_it_was_sending_is_sent_again_later_and_marked(self):
        self.get(self.first.post(KEY, [said("x")], None, NOW))
        claim = self.claim(self.first)
        self.take_over()
        self.assertEqual(self.claim(self.second, NOW + 29), NotNow())
        again = self.claim(self.second, NOW + 30)
        self.assertEqual((again.id, again.tries, again.repeated), (claim.id, 2, True))
        # What the first learns of its own attempt says nothing about this one.
        self.settle(self.first, claim)
        self.assertEqual(self.rows("SELECT state, tries FROM outbox"), [("sending", 2)])

    def test_a_text_that_grew_is_the_next_ones_and_the_first_names_nothing_more(self):
        self.enqueue(self.first, "x")
        turn = self.start(self.first).turn
        old = self.get(self.first.open_stream(turn, said("gro"), NOW))
        self.take_over()
        new = self.start(self.second).turn
        self.get(self.second.open_stream(new, said("gro"), NOW))
        self.get(self.first.note_stream(old, "late"))
        self.assertEqual(self.rows("SELECT mids FROM outbox"), [(None,)])

    def test_who_was_taken_for_dead_lives_on_under_another_number(self):
        number = self.first.server
        self.take_over()
        self.get(self.first.keep_alive(NOW))
        self.assertNotEqual(self.first.server, number)
        self.enqueue(self.first, "x")
        self.assertIsInstance(self.start(self.first), StartedTurn)
        self.get(self.second.keep_alive(NOW))
        self.assertEqual(self.start(self.second), NotNow())

    def test_a_lease_holds_for_its_time_by_the_servers_own_clock(self):
        self.assertTrue(self.first.is_alive())
        self.seconds += LEASE - 0.1
        self.assertTrue(self.first.is_alive())
        self.seconds += 0.1
        self.assertFalse(self.first.is_alive())
        self.get(self.first.keep_alive(NOW))
        self.assertTrue(self.first.is_alive())

    def test_who_was_away_itself_gives_the_others_time_to_come_back(self):
        self.seconds += LEASE
        self.run_out(self.first)
        self.get(self.second.keep_alive(NOW))
        number = self.first.server
        self.get(self.first.keep_alive(NOW))
        self.assertEqual(self.first.server, number)
        self.seconds += LEASE - 1
        self.get(self.second.keep_alive(NOW))
        self.run_out(self.first)
        self.seconds += 1
        self.get(self.second.keep_alive(NOW))
        self.get(self.first.keep_alive(NOW))
        self.assertNotEqual(self.first.server, number)

    def test_a_lease_far_ahead_of_the_clock_is_none(self):
        self.enqueue(self.first, "x")
        self.start(self.first)
        self.rows(f"UPDATE server SET lease_until = 1e12 WHERE id = {self.first.server} RETURNING 1")
        self.get(self.second.keep_alive(NOW))
        self.assertIsInstance(self.start(self.second), StartedTurn)

    def test_who_leaves_needs_not_be_waited_for(self):
        self.enqueue(self.first, "x")
        self.start(self.first)
        self.get(self.first.close())
        self.get(self.second.keep_alive(NOW))
        self.assertIsInstance(self.start(self.second), StartedTurn)

    def test_a_command_beside_them_is_no_server(self):
        beside = self.server(shared=True)
        self.assertEqual(self.rows("SELECT count(*) FROM server"), [(2,)])
        self.get(beside.stats())


class HoldingTests(ServersCase):
    def test_replies_to_a_socket_go_out_from_its_server(self):
        self.get(self.second.hold_socket(KEY))
        self.get(self.first.post(KEY, [said("x")], None, NOW))
        self.assertEqual(self.claim(self.first), NotNow())
        self.assertIsNotNone(self.claim(self.second).row)

    def test_turns_of_a_socket_run_where_its_end_is(self):
        self.get(self.second.hold_socket(KEY))
        self.enqueue(self.first, "x")
        self.assertEqual(self.start(self.first), NotNow())
        self.assertIsInstance(self.start(self.second), StartedTurn)

    def test_a_socket_that_is_gone_binds_nothing(self):
        self.get(self.second.hold_socket(KEY))
        self.get(self.first.drop_socket(KEY))
        self.get(self.first.post(KEY, [said("x"), said("y", part=1)], None, NOW))
        self.assertEqual(self.claim(self.first), NotNow())
        self.get(self.second.drop_socket(KEY))
        self.assertIsNotNone(self.claim(self.first).row)

    def test_a_socket_of_the_dead_binds_nothing(self):
        self.get(self.first.hold_socket(KEY))
        self.get(self.second.post(KEY, [said("x")], None, NOW))
        self.take_over()
        self.assertIsNotNone(self.claim(self.second).row)

    def test_one_polls_and_the_next_when_it_is_dead(self):
        self.assertTrue(self.get(self.first.may_poll("c:a")))
        self.assertFalse(self.get(self.second.may_poll("c:a")))
        self.assertTrue(self.get(self.second.may_poll("c:b")))
        self.take_over()
        self.assertTrue(self.get(self.second.may_poll("c:a")))

    def test_what_was_polled_too_late_is_not_stored(self):
        self.get(self.first.may_poll("c:a"))
        self.take_over()
        self.get(self.second.may_poll("c:a"))
        cursor = Cursor(name="c:a", value=b"7")
        self.failureResultOf(self.first.enqueue([arrival(message())], NOW, cursor), StoreError)
        self.assertIsNone(self.get(self.second.cursor("c:a")))

    def test_an_exchange_is_its_servers_to_answer_and_to_close(self):
        self.enqueue(self.first, "x", exchange="open")
        event = self.start(self.second).turn
        self.get(self.second.end_turn(event, EndOfTurn(state="done", answers=event.event.id), NOW))
        self.get(self.second.close_exchange(KEY, event.event.id, NOW))
        self.assertEqual(self.rows("SELECT state FROM exchange"), [("ready",)])
        self.assertEqual(self.get(self.first.due(NOW, 10)).answers, ((KEY, event.event.id),))
        self.assertEqual(self.get(self.second.due(NOW, 10)).answers, ())
        self.take_over()
        self.assertEqual(self.rows("SELECT state FROM exchange"), [("closed",)])
