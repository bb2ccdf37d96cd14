"""What the SQLite store promises: order, dedupe, fences, and whose file it is."""

import fcntl
import os
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path

import msgspec
from twisted.trial.unittest import SynchronousTestCase

import klein_channels
from klein_channels.errors import StartError, StoreFull, StoreUnavailable
from klein_channels.model import Echo, Handover, Message, Receipt, Text, Unknown
from klein_channels.store import EndOfTurn, NotNow, Reply, Settlement, StartedTurn
from klein_channels.store.sqlite import VERSION, SQLiteStore
from klein_channels.store.tables import EVENTS_PER_TRANSACTION

from .doubles import NOW, address, arrival, message, opened, said

KEY = str(address())


class StoreCase(SynchronousTestCase):
    """On SQLite, and, in `test_store_postgres`, on PostgreSQL."""

    def setUp(self):
        self.store = self.opened()
        self.addCleanup(self.store.close)

    def opened(self, **settings):
        """An open store of its own."""
        return opened(**settings)

    def get(self, deferred):
        return self.successResultOf(deferred)

    def enqueue(self, *events, now=NOW, **more):
        arrivals = [arrival(event, **more) for event in events]
        return self.get(self.store.enqueue(arrivals, now))

    def start(self, key=KEY, now=NOW, deterministic=False):
        return self.get(self.store.start_turn(key, now, deterministic=deterministic))

    def end(self, turn, state="done", now=NOW, **more):
        return self.get(self.store.end_turn(turn, EndOfTurn(state=state, **more), now))

    def claim(self, key=KEY, now=NOW):
        return self.get(self.store.claim_reply(key, now))

    def settle(self, claim, state="sent", now=NOW, claim_next=False, **more):
        settlement = Settlement(state=state, **more)
        return self.get(self.store.settle_reply(claim, settlement, now, claim_next=claim_next))

    def post(self, *texts, key=None, now=NOW, conversation=KEY):
        rows = [said(text, part=number) for number, text in enumerate(texts)]
        return self.get(self.store.post(conversation, rows, key, now))

    def owner(self, owner, key=KEY):
        self.get(self.store.set_owner(key, owner, NOW))

    def stats(self):
        return self.get(self.store.stats())

    def states(self, table):
        return [row[0] for row in self.rows(f"SELECT state FROM {table} ORDER BY id")]

    def rows(self, query):
        def ask(db):
            return [tuple(row[name] for name in row.keys()) for row in db.execute(query)]  # noqa: SIM118

        return self.get(self.store._write(ask))


class ClaimedAtTheEndTests(StoreCase):
    """The first reply of a turn, claimed in the transaction that ends it."""

    def ended(self, *texts, turn=None, **more):
        self.enqueue(message())
        turn = turn or self.start().turn
        return self.end(
            turn, replies=tuple(said(t, part=n) for n, t in enumerate(texts)), claims=True, **more
        )

    def test_it_is_what_a_claim_would_have_been(self):
        ended = self.ended("a", "b")
        self.assertEqual(
            self.rows("SELECT state, tries FROM outbox ORDER BY id"), [("sending", 1), ("waiting", 0)]
        )
        self.settle(ended.claim, "waiting", due_at=NOW)
        again = self.claim()
        self.assertEqual(again, msgspec.structs.replace(ended.claim, tries=2))

    def test_the_others_follow(self):
        second = self.settle(self.ended("a", "b").claim, claim_next=True)
        self.assertEqual(second.message.parts[0].text, "b")

    def test_nobody_claims_what_was_not_asked_for(self):
        self.enqueue(message())
        self.assertIsNone(self.end(self.start().turn, replies=(said("a"),)).claim)

    def test_what_is_open_goes_before_it(self):
        self.post("first")
        self.assertIsNone(self.ended("a").claim)
        self.assertEqual(self.claim().message.parts[0].text, "first")

    def test_a_conversation_on_another_server_s_connection_is_that_one_s(self):
        self.get(self.store._write(lambda db: db.execute("INSERT INTO socket VALUES (?, 7)", (KEY,))))
        self.assertIsNone(self.ended("a").claim)

    def test_only_the_bot_s_is_claimed(self):
        for owner in ("human", "paused"):
            self.enqueue(message())
            turn = self.start().turn
            self.owner(owner)
            self.assertIsNone(self.ended("a", turn=turn).claim)
            self.owner("bot")
            kept = self.claim()
            self.assertEqual(kept is None, owner == "human")
        self.settle(kept)

    def test_last_words_of_the_bot_go_out_though_they_hand_over(self):
        self.assertIsNone(self.ended("a", owner="human").claim)
        self.assertEqual(self.claim().message.parts[0].text, "a")

    def test_another_attempt_looks_at_what_the_former_one_said(self):
        self.enqueue(message())
        turn = self.start().turn
        self.get(self.store.add_replies(turn, [said("a")], (), NOW))
        self.end(turn, "retry", due_at=NOW)
        self.assertIsNone(self.ended("b", turn=self.start().turn).claim)


class BegunTests(StoreCase):
    """Turns that are started with the commit of their event."""

    def begun(self, *events, now=NOW, **more):
        """The numbers of `events`, each of which would begin at once; and what nobody needs to ask for."""
        numbers = [self.enqueue(event, now=now, begins=True, **more)[0] for event in events]
        return numbers, list(self.store._begun)

    def test_it_is_what_a_start_would_have_been(self):
        event = message()
        self.assertEqual(self.begun(event)[1], [KEY])
        self.assertEqual((self.states("inbox"), self.states("turn")), (["taken"], ["running"]))
        self.assertEqual(self.stats().waiting_events, 0)
        started = self.start()
        self.assertEqual((started.turn.events, started.turn.attempt, started.more), ((event,), 1, False))
        self.assertIsNone(self.start(KEY + "x"))

    def test_it_is_handed_out_once(self):
        self.begun(message())
        turn = self.start().turn
        self.assertEqual(self.start().turn.attempt, 2)  # whoever asks again has lost the first
        self.assertFalse(self.end(turn))

    def test_a_redelivery_begins_nothing(self):
        event = message()
        self.begun(event)
        self.end(self.start().turn)
        self.assertEqual(self.begun(event), ([None], []))

    def test_what_goes_before_it_is_not_overtaken(self):
        first, second = message(), message()
        self.enqueue(first)
        self.begun(second)
        self.assertEqual(self.start().turn.events, (first,))

    def test_a_turn_that_is_tried_again_is_left_to_those_who_know_how(self):
        self.enqueue(message())
        self.end(self.start().turn, "retry", due_at=NOW)
        self.assertEqual(self.begun(message())[1], [])
        self.assertEqual(self.states("turn"), ["retry"])

    def test_nothing_begins_that_has_to_wait(self):
        for owner in ("human", "paused"):
            self.owner(owner)
            self.assertEqual(self.begun(message())[1], [])
        self.owner("bot")
        self.end(self.start().turn)
        self.assertEqual(self.begun(message(), due_at=NOW + 5)[1], [])
        self.assertEqual(self.begun(Receipt(id="r", address=address(), status="read"), turn=False)[1], [])

    def test_a_full_outbox_lets_it_wait(self):
        self.post(*map(str, range(20)))
        self.assertEqual(self.begun(message())[1], [])

    def test_a_stop_lets_it_wait_for_the_next_server(self):
        self.store = opened(path := self.mktemp())
        self.begun(message())
        self.get(self.store.close())
        self.store = opened(path)
        self.addCleanup(self.store.close)
        again = self.start()
        self.assertEqual((again.failures, again.turn.event.text), (0, "hi"))


class EnqueueTests(StoreCase):
    def test_numbers_grow_in_the_order_of_acceptance(self):
        first = self.enqueue(message("1"), message("2"))
        second = self.enqueue(message("3"))
        self.assertEqual(sorted(first + second), first + second)

    def test_a_duplicate_has_no_number_within_a_batch_and_across(self):
        one = message("x", id="same")
        numbers = self.enqueue(one, one, message("y"))
        self.assertEqual([number is None for number in numbers], [False, True, False])
        self.assertEqual(self.enqueue(one), [None])
        self.assertEqual(self.stats().waiting_events, 2)

    def test_a_duplicate_changes_nothing_else(self):
        event = Handover(id="h", address=address(), action="pass", owner="human")
        self.enqueue(event, owner="human")
        self.owner("bot")
        self.enqueue(event, owner="human")
        self.enqueue(message())
        self.assertIsInstance(self.start(), StartedTurn)

    def test_what_is_no_turn_starts_none(self):
        self.enqueue(Receipt(id="r", address=address(), status="read"))
        self.assertIsNone(self.start())
        self.assertEqual((self.stats().waiting_events, self.states("inbox")), (0, ["observed"]))

    def test_a_long_batch_is_whole_and_in_order(self):
        count = EVENTS_PER_TRANSACTION * 2 + 5
        numbers = self.enqueue(*[message(str(n)) for n in range(count)])
        self.assertEqual(numbers, sorted(set(numbers)))
        self.assertEqual(self.stats().waiting_events, count)

    def test_no_event_at_all(self):
        self.assertEqual(self.enqueue(), [])

    def test_a_human_owns_what_comes_then(self):
        self.owner("human")
        self.enqueue(message())
        self.owner("bot")
        self.assertIsNone(self.start())
        self.assertEqual(self.states("inbox"), ["withheld"])

    def test_one_event_that_cannot_be_written_fails_all_of_its_batch(self):
        bad = Unknown(id="x", address=address(), raw="\ud800")
        failed = self.store.enqueue([arrival(message()), arrival(bad)], NOW)
        self.failureResultOf(failed, UnicodeEncodeError)
        self.assertEqual(self.rows("SELECT count(*) FROM inbox"), [(0,)])
        self.assertEqual(self.rows("SELECT count(*) FROM seen"), [(0,)])

    def test_an_event_of_a_newer_version_reaches_the_agent_whole(self):
        self.enqueue(message("x"))
        self.rows('UPDATE inbox SET event = \'{"type":"hologram","id":"7"}\' RETURNING 1')
        self.assertEqual(self.start().turn.event.name, "hologram")


class BoundTests(StoreCase):
    def setUp(self):
        self.store = self.opened(max_waiting=2, max_unsent=2)
        self.addCleanup(self.store.close)

    def test_a_full_inbox_refuses_with_store_full(self):
        self.enqueue(message(), message())
        self.failureResultOf(self.store.enqueue([arrival(message())], NOW), StoreFull)

    def test_turns_make_room(self):
        self.enqueue(message(), message())
        self.start()
        self.enqueue(message())

    def test_duplicates_do_not_fill_it(self):
        event = message()
        for _ in range(10):
            self.enqueue(event)
        self.enqueue(message())

    def test_what_is_no_turn_does_not_fill_it(self):
        self.enqueue(*[Receipt(id=str(n), address=address(), status="read") for n in range(10)])
        self.enqueue(message())

    def test_the_count_is_set_right_by_stats_and_by_opening(self):
        self.store._waiting = 99
        self.stats()
        self.enqueue(message())

    def test_unsent_replies_hold_the_next_turn_back_and_not_one_that_goes_on(self):
        self.post("1", "2")
        self.enqueue(message())
        self.assertEqual(self.start(), NotNow())
        self.settle(self.claim())
        started = self.start()
        self.assertTrue(
            self.get(self.store.add_replies(started.turn, [said("3"), said("4", part=1)], (), NOW))
        )
        self.end(started.turn, "retry", due_at=NOW)
        self.assertEqual(self.start().turn.attempt, 2)


class TurnTests(StoreCase):
    def test_nothing_waits(self):
        self.assertIsNone(self.start())

    def test_one_event_each_oldest_first(self):
        self.enqueue(message("1"), message("2"), message("3", peer="other"))
        first = self.start()
        self.assertEqual((first.turn.event.text, first.turn.attempt, first.more), ("1", 1, True))
        self.end(first.turn)
        second = self.start()
        self.assertEqual((second.turn.event.text, second.more), ("2", False))

    def test_the_reply_goes_to_the_events_address_not_to_the_key(self):
        where = address(thread="t")
        self.enqueue(message(address=where), conversation=KEY)
        self.assertEqual(self.start().address, where)

    def test_an_ended_turn_takes_nothing_more(self):
        self.enqueue(message())
        turn = self.start().turn
        self.assertTrue(self.end(turn))
        self.assertFalse(self.end(turn, replies=(said("late"),)))
        self.assertFalse(self.get(self.store.add_replies(turn, [said("late")], (), NOW)))
        self.assertEqual(self.states("outbox"), [])

    def test_an_older_attempt_takes_nothing_more(self):
        self.enqueue(message())
        old = self.start().turn
        new = self.start().turn
        self.assertEqual((old.id, old.attempt, new.id, new.attempt), (1, 1, 1, 2))
        self.assertFalse(self.get(self.store.add_replies(old, [said("late")], ("/x{}",), NOW)))
        self.assertFalse(self.end(old, remember=b"1", owner="human"))
        self.assertTrue(self.end(new))
        self.assertEqual(self.rows("SELECT owner, state, offers FROM conversation"), [("bot", None, None)])

    def test_a_retry_waits_for_its_time_and_has_the_same_events(self):
        self.enqueue(message("1"))
        turn = self.start().turn
        self.end(turn, "retry", due_at=NOW + 5, error="x", failed=True)
        self.enqueue(message("2"))
        self.assertEqual(self.start(now=NOW + 4.9), NotNow())
        again = self.start(now=NOW + 5)
        self.assertEqual((again.turn.id, again.turn.events), (turn.id, turn.events))
        self.assertEqual((again.failures, again.first_failure, again.more), (1, NOW, True))

    def test_the_first_failure_is_kept_and_a_stop_is_none(self):
        self.enqueue(message())
        for failed, now in ((False, NOW), (True, NOW + 1), (True, NOW + 2)):
            self.end(self.start(now=now).turn, "retry", now=now, due_at=now, failed=failed)
        again = self.start(now=NOW + 3)
        self.assertEqual((again.failures, again.first_failure), (2, NOW + 1))

    def test_a_second_attempt_withdraws_what_was_not_claimed_and_knows_the_rest(self):
        self.enqueue(message())
        turn = self.start().turn
        self.get(self.store.add_replies(turn, [said("a"), said("b", ordinal=1)], (), NOW))
        self.settle(self.claim())
        again = self.start().turn
        self.assertEqual(self.states("outbox"), ["sent", "withdrawn"])
        self.assertEqual(again.already_said, (Message(parts=(Text(text="a"),)),))

    def test_a_claimed_reply_is_not_withdrawn(self):
        self.enqueue(message())
        turn = self.start().turn
        self.get(self.store.add_replies(turn, [said("a")], (), NOW))
        self.claim()
        self.assertEqual(len(self.start().turn.already_said), 1)
        self.assertEqual(self.states("outbox"), ["sending"])

    def test_a_deterministic_turn_goes_on_where_it_was(self):
        self.enqueue(message())
        turn = self.start(deterministic=True).turn
        rows = [said("a", attempt=0), said("b", attempt=0, ordinal=1), said("c", attempt=0, ordinal=2)]
        self.get(self.store.add_replies(turn, rows[:2], (), NOW))
        again = self.start(deterministic=True).turn
        self.end(again, replies=tuple(rows))
        self.assertEqual(self.states("outbox"), ["waiting"] * 3)

    def test_end_and_last_replies_are_one(self):
        self.enqueue(message())
        turn = self.start().turn
        bad = Reply(address=address(), message=Message(parts=(Text(text="\ud800"),)), ordinal=1)
        failed = self.store.end_turn(turn, EndOfTurn(state="done", replies=(said("a"), bad)), NOW)
        self.failureResultOf(failed, UnicodeEncodeError)
        self.assertEqual((self.states("outbox"), self.states("turn")), ([], ["running"]))

    def test_the_agent_remembers_from_turn_to_turn_and_not_across_conversations(self):
        self.enqueue(message(), message(), message(peer="other"))
        self.end(self.start().turn, remember=b'{"slot":[1,"\xc3\xbc"]}')
        self.assertEqual(self.start().turn.state, {"slot": [1, "ü"]})
        self.assertIsNone(self.start(str(address("other"))).turn.state)

    def test_null_forgets(self):
        self.enqueue(message(), message())
        self.end(self.start().turn, remember=b"1")
        self.end(self.start().turn, remember=b"null")
        self.enqueue(message())
        self.assertIsNone(self.start().turn.state)

    def test_offers_are_kept_the_newest_sixty_of_them_each_once(self):
        self.enqueue(message(), message())
        turn = self.start().turn
        offers = [f"/o{n}" for n in range(70)]
        self.get(self.store.add_replies(turn, (), [*offers, "/o10"], NOW))
        self.get(self.store.add_replies(turn, (), ["/o11"], NOW))
        self.end(turn, offers=("/last",))
        found = self.start().offers
        self.assertEqual(len(found), 60)
        self.assertLessEqual({"/last", "/o11", "/o10", "/o69"}, found)
        self.assertNotIn("/o0", found)

    def test_a_paused_conversation_waits_and_loses_nothing(self):
        self.enqueue(message())
        self.owner("paused")
        self.assertEqual(self.start(), NotNow())
        self.owner("bot")
        self.assertIsInstance(self.start(), StartedTurn)

    def test_a_human_takes_what_waits_and_what_was_begun(self):
        self.enqueue(message("1"), message("2"))
        self.end(self.start().turn, "retry", due_at=NOW)
        self.owner("human")
        self.assertIsNone(self.start())
        self.owner("bot")
        self.assertIsNone(self.start())
        self.assertEqual(self.states("turn"), ["withheld"])


class OddKeyTests(StoreCase):
    def test_odd_keys_are_only_texts(self):
        for peer in ("'; DROP TABLE inbox; --", "\0", "a:b", "%", "ü" * 5000, ""):
            with self.subTest(peer=peer[:10]):
                event = message(address=address(peer))
                self.enqueue(event)
                self.assertEqual(self.start(str(address(peer))).turn.event, event)


class OutboxTests(StoreCase):
    def test_nothing_to_send(self):
        self.assertIsNone(self.claim())

    def test_in_order_and_one_at_a_time(self):
        self.post("1", "2")
        first = self.claim()
        self.assertEqual((first.message.parts[0].text, first.tries, first.repeated), ("1", 1, False))
        self.assertEqual(self.claim(), NotNow())
        second = self.settle(first, claim_next=True)
        self.assertEqual(second.message.parts[0].text, "2")
        self.assertIsNone(self.settle(second, claim_next=True))

    def test_the_id_is_stable_over_tries_and_no_other_stores(self):
        self.post("1")
        first = self.claim()
        self.settle(first, "waiting", due_at=NOW + 1)
        again = self.claim(now=NOW + 1)
        self.assertEqual((again.id, again.tries, again.first_at), (first.id, 2, NOW))
        self.assertTrue(first.id.startswith(self.store.instance + "-"))
        other = self.opened()
        self.addCleanup(other.close)
        self.assertNotEqual(other.instance, self.store.instance)

    def test_one_that_waits_holds_up_its_own_conversation_only(self):
        self.post("1", "2")
        self.post("x", conversation=str(address("other")))
        self.settle(self.claim(), "waiting", due_at=NOW + 10)
        self.assertEqual(self.claim(now=NOW + 9), NotNow())
        self.assertEqual(self.claim(str(address("other"))).message.parts[0].text, "x")

    def test_a_dead_letter_lets_the_next_pass(self):
        self.post("1", "2")
        following = self.settle(self.claim(), "dead", error="no", claim_next=True)
        self.assertEqual(following.message.parts[0].text, "2")

    def test_an_unknown_outcome_is_tried_once_more_and_marked(self):
        self.post("1")
        self.settle(self.claim(), "unknown", due_at=NOW + 30, error="?")
        self.assertEqual(self.claim(now=NOW + 29), NotNow())
        again = self.claim(now=NOW + 30)
        self.assertTrue(again.repeated)
        self.settle(again, "unknown", due_at=NOW + 60)
        self.assertIsNone(self.claim(now=NOW + 60))
        self.assertEqual(self.states("outbox"), ["dead"])

    def test_the_mark_stays_when_the_repetition_has_to_wait(self):
        self.post("1")
        self.settle(self.claim(), "unknown", due_at=NOW)
        self.settle(self.claim(), "waiting", due_at=NOW)
        self.assertTrue(self.claim().repeated)

    def test_an_old_claim_settles_nothing(self):
        self.post("1")
        old = self.claim()
        self.settle(old, "waiting", due_at=NOW)
        new = self.claim()
        self.settle(old, "dead", error="late")
        self.assertEqual(self.states("outbox"), ["sending"])
        self.settle(new)
        self.settle(new, "dead")
        self.assertEqual(self.states("outbox"), ["sent"])

    def test_an_echo_settles_what_is_under_way_and_only_that(self):
        self.post("1", "2")
        claim = self.claim()
        echo = Echo(id="e", address=address(), mid="m.1")
        self.enqueue(echo, settles=claim.row, mid="m.1")
        self.settle(claim, "unknown", due_at=NOW)
        self.enqueue(Echo(id="e2", address=address()), settles=claim.row + 1)
        self.enqueue(Echo(id="e3", address=address("other")), settles=claim.row, conversation="other")
        self.assertEqual(self.states("outbox"), ["sent", "waiting"])
        self.assertEqual(self.rows("SELECT mids FROM outbox WHERE id = 1"), [(b'["m.1"]',)])

    def test_held_until_a_person_writes_again(self):
        self.post("1")
        self.settle(self.claim(), "held", due_at=NOW + 100, error="window")
        self.assertEqual(self.claim(now=NOW + 50), NotNow())
        self.enqueue(message(), now=NOW + 50)
        self.assertEqual(self.claim(now=NOW + 50).tries, 2)

    def test_held_beyond_patience_is_dead(self):
        self.post("1", "2")
        self.settle(self.claim(), "held", due_at=NOW + 100, error="window")
        self.assertEqual(self.claim(now=NOW + 100).message.parts[0].text, "2")
        self.assertEqual(self.states("outbox"), ["dead", "sending"])
        self.assertIn("window", self.get(self.store.dead_letter("reply-1")).reason)

    def test_under_a_human_replies_are_withheld_and_under_pause_they_wait(self):
        self.post("1", "2")
        self.owner("paused")
        self.assertEqual(self.claim(), NotNow())
        self.owner("human")
        self.assertIsNone(self.claim())
        self.assertEqual(self.states("outbox"), ["withheld", "withheld"])

    def test_the_words_with_which_the_bot_hands_over_are_sent(self):
        self.enqueue(message())
        self.end(self.start().turn, replies=(said("a human comes"),), owner="human")
        self.post("afterwards")
        last = self.claim()
        self.assertEqual(last.message.parts[0].text, "a human comes")
        self.assertEqual(last.context.owner, "human")
        self.assertIsNone(self.settle(last, claim_next=True))

    def test_the_context_is_the_last_person(self):
        self.enqueue(message(id="m-1"), now=NOW - 7)
        self.enqueue(Receipt(id="r", address=address(), status="read"), now=NOW)
        self.post("1")
        context = self.claim().context
        self.assertEqual((context.last_event, context.last_at, context.owner), ("m-1", NOW - 7, "bot"))

    def test_what_was_never_tried_is_due_whatever_the_clock_says(self):
        self.post("1")
        claim = self.claim(now=NOW - 3600)
        self.assertEqual(claim.tries, 1)
        self.settle(claim, "waiting", due_at=NOW - 3500)
        self.assertEqual(self.claim(now=NOW - 3600), NotNow())


class ProactiveTests(StoreCase):
    def test_a_key_counts_once(self):
        self.assertTrue(self.post("1", key="k"))
        self.assertFalse(self.post("other words", key="k"))
        self.assertTrue(self.post("1", key="l"))
        self.assertEqual(self.rows("SELECT count(*) FROM outbox"), [(2,)])

    def test_a_longer_message_under_a_key_that_was_used_is_not_sent_in_part(self):
        self.post("1", key="k")
        self.assertFalse(self.post("1", "2", "3", key="k"))
        self.assertEqual(self.rows("SELECT count(*) FROM outbox"), [(1,)])

    def test_without_a_key_all_are_sent(self):
        self.assertTrue(self.post("1"))
        self.assertTrue(self.post("1"))

    def test_nothing_to_say(self):
        self.assertFalse(self.post(key="k"))


class DueTests(StoreCase):
    def due(self, now=NOW, limit=100):
        return self.get(self.store.due(now, limit))

    def test_retries_and_replies_whose_time_has_come(self):
        self.enqueue(message())
        self.end(self.start().turn, "retry", due_at=NOW + 5)
        self.post("1", conversation="c:a:q", now=NOW + 6)
        self.assertEqual((self.due(NOW + 4).turns, self.due(NOW + 5).turns), ((), (KEY,)))
        self.assertEqual((self.due(NOW + 5).replies, self.due(NOW + 6).replies), ((), ("c:a:q",)))

    def test_rows_that_another_holds_up_are_left_out(self):
        self.post("1", "2", "3")
        self.claim()
        self.assertEqual(self.due().replies, ())
        self.rows("UPDATE outbox SET state = 'waiting', due_at = 9e9 WHERE id = 1 RETURNING 1")
        self.assertEqual(self.due(NOW).replies, ())
        self.rows("UPDATE outbox SET state = 'dead' WHERE id = 1 RETURNING 1")
        self.assertEqual(self.due(NOW).replies, (KEY,))

    def test_each_conversation_once_and_no_more_than_the_limit(self):
        for peer in "abcde":
            self.post("1", conversation=f"c:a:{peer}")
            self.post("2", conversation=f"c:a:{peer}")
        self.assertEqual(len(self.due(limit=3).replies), 3)
        self.assertEqual(len(self.due().replies), 5)

    def test_paused_conversations_take_nobodys_place(self):
        self.enqueue(message(peer="t"))
        self.end(self.start(str(address("t"))).turn, "retry", due_at=NOW)
        self.post("1", conversation="r")
        self.owner("paused", "r")
        self.owner("paused", str(address("t")))
        self.assertEqual((self.due().turns, self.due().replies), ((), ()))
        self.owner("bot", "r")
        self.assertEqual(self.due(limit=1).replies, ("r",))

    def test_the_longest_due_come_first(self):
        for wait, peer in ((3, "c"), (1, "a"), (2, "b")):
            self.post("1", conversation=peer, now=NOW - wait)
        self.assertEqual(self.due().replies, ("c", "b", "a"))

    def test_after_a_start_all_that_is_open_is_waiting(self):
        self.enqueue(message(peer="e"), message(peer="t"))
        self.start(str(address("t")))
        self.post("1", conversation="r")
        self.settle(self.claim("r"), "held", due_at=9e9)
        everything = self.get(self.store.waiting())
        self.assertEqual(set(everything.turns), {str(address("e")), str(address("t"))})
        self.assertEqual(everything.replies, ("r",))


class PurgeTests(StoreCase):
    def purge(self, seen_before=NOW + 1e6, finished_before=NOW + 1e6):
        gone = 0
        while count := self.get(self.store.purge(seen_before, finished_before)):
            gone += count
        return gone

    def test_nothing_open_ever_goes(self):
        self.enqueue(message("running"), message("waiting"))
        self.start()
        self.enqueue(message("retry", peer="r"))
        self.end(self.start(str(address("r"))).turn, "retry", due_at=NOW)
        for peer, state in (("w", None), ("u", "unknown"), ("h", "held"), ("d", "dead")):
            self.post("1", conversation=peer)
            if state:
                self.settle(self.claim(peer), state, due_at=NOW)
        self.post("1", conversation="s")
        self.claim("s")
        self.enqueue(message("dead", peer="dead"))
        self.end(self.start(str(address("dead"))).turn, "dead", error="x")
        before = [self.states(table) for table in ("inbox", "turn", "outbox")]
        self.purge(seen_before=NOW + 1e6)
        self.assertEqual([self.states(table) for table in ("inbox", "turn", "outbox")], before)

    def test_what_is_over_goes_with_its_turn(self):
        self.enqueue(message(), Receipt(id="r", address=address(), status="read"))
        self.end(self.start().turn, replies=(said("1"),))
        self.settle(self.claim())
        self.purge()
        self.assertEqual([self.states(table) for table in ("inbox", "turn", "outbox")], [[], [], []])

    def test_nothing_inside_its_horizon_goes(self):
        self.enqueue(message())
        self.end(self.start().turn, replies=(said("1"),))
        self.settle(self.claim())
        self.assertEqual(self.purge(seen_before=NOW, finished_before=NOW), 0)

    def test_an_event_stays_as_long_as_its_dead_turn(self):
        self.enqueue(message())
        self.end(self.start().turn, "dead", error="x")
        self.purge()
        self.assertEqual(len(self.get(self.store.dead_letter("turn-1")).content), 1)
        self.get(self.store.redrive("turn-1", "discard", NOW))
        self.purge()
        self.assertEqual((self.states("inbox"), self.states("turn")), ([], []))

    def test_a_redelivery_is_known_for_the_whole_horizon(self):
        day = 86_400.0
        stamped, plain = message(timestamp=NOW), message()
        self.enqueue(stamped, plain)
        self.purge(seen_before=NOW + 8 * day - 8 * day)
        self.assertEqual(self.enqueue(stamped, plain), [None, None])
        self.purge(seen_before=NOW + 3601)
        self.assertEqual([number is None for number in self.enqueue(stamped, plain)], [False, False])

    def test_a_key_whose_timestamp_is_old_goes_by_when_it_was_accepted(self):
        old = message(timestamp=NOW - 30 * 86_400)
        self.enqueue(old)
        self.purge(seen_before=NOW - 86_400)
        self.assertEqual(self.enqueue(old), [None])

    def test_in_chunks(self):
        self.enqueue(*[Receipt(id=str(n), address=address(), status="read") for n in range(450)])
        self.assertGreater(self.get(self.store.purge(0, NOW + 1)), 0)
        left = len(self.states("inbox"))
        self.assertTrue(0 < left < 450)
        self.purge(seen_before=0)
        self.assertEqual(self.states("inbox"), [])

    def test_old_rows_that_stay_hide_none_behind_them(self):
        self.enqueue(*[message(peer=f"{n}") for n in range(250)])
        self.enqueue(Receipt(id="r", address=address(), status="read"))
        self.purge(seen_before=0)
        self.assertEqual((len(self.states("inbox")), "observed" in self.states("inbox")), (250, False))
        for _ in range(2):
            self.enqueue(Receipt(id=f"r{_}", address=address(), status="read"))
            self.purge(seen_before=0)
            self.assertNotIn("observed", self.states("inbox"))


class TakeOverTests(SynchronousTestCase):
    def setUp(self):
        self.path = self.mktemp()
        self.now = NOW

    def get(self, deferred):
        return self.successResultOf(deferred)

    def crash(self, store):
        """End a server without a word: its files close, nothing else happens."""
        store._committer._session.connection.close()
        store._reader._session.connection.close()
        store._release_lock()

    def test_what_a_dead_server_had_begun_is_taken_over(self):
        first = opened(self.path)
        self.get(first.enqueue([arrival(message("1"))], NOW))
        turn = self.get(first.start_turn(KEY, NOW, deterministic=False)).turn
        self.get(first.post("c:a:r", [said("x")], None, NOW))
        claim = self.get(first.claim_reply("c:a:r", NOW))
        self.crash(first)
        second = opened(self.path, NOW + 5, unknown_wait=30.0)
        self.addCleanup(second.close)
        self.assertEqual(second.instance, first.instance)
        again = self.get(second.start_turn(KEY, NOW + 5, deterministic=False))
        self.assertEqual((again.turn.id, again.turn.attempt, again.failures), (turn.id, 2, 1))
        self.assertFalse(self.get(second.end_turn(turn, EndOfTurn(state="done"), NOW)))
        self.assertEqual(self.get(second.claim_reply("c:a:r", NOW + 34)), NotNow())
        resent = self.get(second.claim_reply("c:a:r", NOW + 35))
        self.assertEqual((resent.id, resent.repeated), (claim.id, True))

    def test_a_send_that_was_repeated_already_is_not_sent_a_third_time(self):
        first = opened(self.path, unknown_wait=0)
        self.get(first.post("r", [said("x")], None, NOW))
        for _ in range(2):
            self.assertIsNotNone(self.get(first.claim_reply("r", NOW)))
            self.crash(first)
            first = opened(self.path, unknown_wait=0)
        self.addCleanup(first.close)
        self.assertIsNone(self.get(first.claim_reply("r", NOW)))

    def test_waiting_events_are_counted_at_the_start(self):
        first = opened(self.path)
        self.get(first.enqueue([arrival(message()), arrival(message())], NOW))
        self.get(first.close())
        second = opened(self.path, max_waiting=2)
        self.addCleanup(second.close)
        self.failureResultOf(second.enqueue([arrival(message())], NOW), StoreFull)

    def test_the_command_line_beside_it_takes_nothing_over(self):
        server = opened(self.path)
        self.addCleanup(server.close)
        self.get(server.post("r", [said("x")], None, NOW))
        claim = self.get(server.claim_reply("r", NOW))
        beside = opened(self.path, shared=True)
        self.get(beside.close())
        self.get(server.settle_reply(claim, Settlement(state="sent"), NOW, claim_next=False))
        self.assertEqual(self.get(server.stats()).open_replies, 0)


class FileTests(SynchronousTestCase):
    def setUp(self):
        self.path = self.mktemp()

    def refused(self, path=None, **settings):
        store = SQLiteStore(path or self.path, **settings)
        with self.assertRaises(StartError) as caught:
            store.open(NOW)
        text = str(caught.exception)
        self.assertIn(store.path, text)
        self.assertNotIn("\n", text)
        return text

    def foreign(self, script):
        with sqlite3.connect(self.path) as db:
            db.executescript(script)
        db.close()

    def test_a_second_server_is_refused_and_the_first_goes_on(self):
        first = opened(self.path)
        self.assertIn("another server", self.refused())
        self.successResultOf(first.enqueue([arrival(message())], NOW))
        self.successResultOf(first.close())
        self.successResultOf(opened(self.path).close())

    def test_a_second_server_in_another_process_is_refused(self):
        first = opened(self.path)
        self.addCleanup(first.close)
        script = (
            "import sys; from klein_channels.store.sqlite import SQLiteStore\n"
            "try: SQLiteStore(sys.argv[1]).open(0.0)\n"
            "except Exception as error: print(type(error).__name__, error)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, os.path.abspath(self.path)],
            env={"PYTHONPATH": str(Path(klein_channels.__file__).parent.parent)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertIn("StartError", done.stdout)
        self.assertIn("another server", done.stdout)

    def test_the_lock_is_never_on_the_database(self):
        store = opened(self.path)
        self.addCleanup(store.close)
        with open(self.path) as database:
            fcntl.flock(database, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def test_the_command_line_does_not_make_a_store(self):
        self.refused(shared=True)
        self.assertFalse(os.path.exists(self.path))

    def test_the_command_line_writes_beside_a_server(self):
        server, beside = opened(self.path), opened(self.path, shared=True)
        self.addCleanup(server.close)
        self.successResultOf(beside.post("r", [said("x")], None, NOW))
        self.successResultOf(beside.close())
        self.assertEqual(self.successResultOf(server.stats()).open_replies, 1)

    def test_an_older_schema_is_brought_up_to_date_with_what_is_in_it(self):
        first = files("klein_channels.store").joinpath("0001.sql").read_text("utf-8")
        old = "INSERT INTO store VALUES (1, 'abcd'); INSERT INTO conversation (key) VALUES ('r');"
        self.foreign(first + old)
        store = opened(self.path)
        [found] = self.successResultOf(store.conversations((), None, 10, NOW))
        self.assertEqual((found.key, found.owner, store.instance), ("r", "bot", "abcd"))
        self.successResultOf(store.close())
        with closing(sqlite3.connect(self.path)) as db:
            self.assertEqual(db.execute("SELECT version FROM store").fetchall(), [(VERSION,)])

    def test_a_newer_schema_is_left_alone(self):
        self.successResultOf(opened(self.path).close())
        self.foreign(f"UPDATE store SET version = {VERSION + 1}")
        self.assertIn(f"schema {VERSION + 1}", self.refused())

    def test_somebody_elses_database_is_left_as_it_was(self):
        for script in (
            "CREATE TABLE wages (x)",
            "CREATE TABLE store (id, name)",
            "CREATE TABLE store (version, instance)",
        ):
            with self.subTest(script=script):
                self.path = self.mktemp()
                self.foreign(script)
                before = Path(self.path).read_bytes()
                self.refused()
                self.assertEqual(Path(self.path).read_bytes(), before)

    def test_a_refused_start_lets_go_of_the_lock(self):
        self.foreign("CREATE TABLE wages (x)")
        store = SQLiteStore(self.path)
        self.assertRaises(StartError, store.open, NOW)
        self.foreign("DROP TABLE wages")
        self.successResultOf(opened(self.path).close())

    def test_what_is_no_database_is_left_as_it_was(self):
        Path(self.path).write_bytes(b"The quick brown fox " * 500)
        self.assertIn("cannot be opened", self.refused())
        self.assertEqual(Path(self.path).read_bytes(), b"The quick brown fox " * 500)

    def test_a_torn_file_is_refused(self):
        self.successResultOf(opened(self.path).close())
        content = Path(self.path).read_bytes()
        Path(self.path).write_bytes(content[:4096] + os.urandom(len(content) - 4096))
        self.refused()

    def test_places_where_no_file_can_be(self):
        self.refused("/nowhere/at/all/x.db")
        self.refused("/dev/null/x.db")
        os.mkdir(self.path)
        self.refused(self.path)

    def test_a_folder_that_is_read_only(self):
        os.mkdir(self.path)
        os.chmod(self.path, 0o555)
        with without_privileges():
            self.refused(f"{self.path}/x.db")

    def test_a_path_with_signs_of_a_url(self):
        os.mkdir(self.path)
        path = f"{self.path}/a?b#c%41 ü.db"
        self.successResultOf(opened(path).close())
        self.assertIn("a?b#c%41 ü.db", os.listdir(self.path))

    def test_commits_survive_a_loss_of_power(self):
        store = opened(self.path)
        self.addCleanup(store.close)
        asked = store._committer.run(lambda db: (tuple(db.execute("PRAGMA synchronous").fetchone()), db))
        self.assertEqual(self.successResultOf(asked)[0], (2,))
        journal = store._reader.run(lambda db: tuple(db.execute("PRAGMA journal_mode").fetchone()))
        self.assertEqual(self.successResultOf(journal), ("wal",))

    def test_listings_cannot_write(self):
        store = opened(self.path)
        self.addCleanup(store.close)
        failed = store._reader.run(lambda db: db.execute("DELETE FROM inbox"))
        self.failureResultOf(failed, StoreUnavailable)

    def test_after_close_everything_fails_with_store_unavailable(self):
        store = opened(self.path)
        self.successResultOf(store.close())
        for asked in (store.enqueue([arrival(message())], NOW), store.stats(), store.purge(0, 0)):
            self.failureResultOf(asked, StoreUnavailable)

    def test_memory_leaves_nothing_behind(self):
        before = set(os.listdir("."))
        store = opened()
        self.successResultOf(store.enqueue([arrival(message())], NOW))
        self.successResultOf(store.close())
        self.assertEqual(set(os.listdir(".")), before)


@contextmanager
def without_privileges():
    """As a user to whom permissions apply."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
