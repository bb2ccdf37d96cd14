"""What becomes of events that wait for each other, on every engine."""

from klein_channels.model import Postback, Sender
from klein_channels.store import REJECTED, EndOfTurn, NotNow, Queueing

from .doubles import NOW, address, arrival, message, said
from .test_store_sqlite import StoreCase

KEY = str(address())
MERGE = Queueing(double_texting="merge", window=2.0, longest=5.0, together=3)
INTERRUPT = Queueing(double_texting="interrupt", together=3)
REJECT = Queueing(double_texting="reject", busy=(said("busy").message,))


class QueueingCase(StoreCase):
    queueing = Queueing()

    def come(self, *events, now=NOW, **more):
        arrivals = [arrival(event, **{"queueing": self.queueing, **more}) for event in events]
        return self.get(self.store.enqueue(arrivals, now))

    def begin(self, now=NOW):
        return self.get(self.store.start_turn(KEY, now, deterministic=False, queueing=self.queueing))

    def texts(self, started):
        return [event.text for event in started.turn.events]

    def waiting(self):
        return self.get(self.store.stats()).waiting_events

    def unsent(self):
        return self.get(self.store.stats()).open_replies


class TimeTests(QueueingCase):
    def test_an_event_waits_for_its_time_and_those_behind_it_wait_for_it(self):
        self.come(message("a"), due_at=NOW + 3)
        self.come(message("b"))
        self.assertEqual(self.begin(NOW + 2), NotNow(until=NOW + 3))
        self.assertEqual(self.texts(self.begin(NOW + 3)), ["a"])

    def test_the_poll_finds_it_when_its_time_has_come_and_nothing_holds_it_up(self):
        def due(now):
            return self.get(self.store.due(now, 10)).turns

        self.come(message("a"))
        turn = self.begin().turn
        self.come(message("b"), due_at=NOW + 3)
        self.assertEqual(due(NOW + 4), ())
        self.get(self.store.end_turn(turn, EndOfTurn(state="done"), NOW + 5))
        self.assertEqual((due(NOW + 2), set(due(NOW + 5))), ((), {KEY}))


class BoundTests(QueueingCase):
    queueing = Queueing(most=2, busy=(said("busy").message,))

    def test_what_exceeds_the_queue_is_rejected_and_told_once(self):
        numbers = self.come(*[message(str(number)) for number in range(5)])
        self.assertEqual(numbers[2:], [REJECTED] * 3)
        self.assertEqual((self.waiting(), self.unsent()), (2, 1))

    def test_there_is_room_again_when_a_turn_has_begun(self):
        self.come(*[message(str(number)) for number in range(3)])
        self.begin()
        self.assertGreater(self.come(message("more"))[0], 0)

    def test_a_rejected_event_is_no_news_when_it_comes_again(self):
        events = [message(str(number)) for number in range(3)]
        self.come(*events)
        self.assertEqual(self.come(events[2]), [None])

    def test_rejected_events_are_purged_like_others(self):
        self.come(*[message(str(number)) for number in range(4)])
        self.assertGreater(self.get(self.store.purge(NOW + 9, NOW + 9)), 0)


class RejectTests(QueueingCase):
    queueing = REJECT

    def test_what_comes_while_a_turn_runs_or_waits_is_rejected(self):
        self.assertGreater(self.come(message("a"))[0], 0)
        self.assertEqual(self.come(message("b")), [REJECTED])
        turn = self.begin().turn
        self.assertEqual(self.come(message("c")), [REJECTED])
        self.assertEqual(self.unsent(), 1)
        self.get(self.store.end_turn(turn, EndOfTurn(state="done"), NOW))
        self.assertGreater(self.come(message("d"))[0], 0)

    def test_in_a_paused_conversation_events_wait(self):
        self.come(message("a"))
        self.get(self.store.set_owner(KEY, "paused", NOW))
        self.assertGreater(self.come(message("b"))[0], 0)


class MergeTests(QueueingCase):
    queueing = MERGE

    def test_messages_of_one_window_are_one_turn(self):
        self.come(message("a"))
        self.come(message("b"), now=NOW + 1)
        self.assertEqual(self.begin(NOW + 2), NotNow(until=NOW + 3))
        started = self.begin(NOW + 3)
        self.assertEqual((self.texts(started), started.more), (["a", "b"], False))
        self.assertEqual(started.released, (started.turn.events[0].id,))
        self.assertEqual((started.turn.event.text, self.waiting()), ("a\nb", 0))

    def test_there_is_an_end_to_the_waiting_and_to_the_number(self):
        for seconds in (0, 1.9, 3.8):
            self.come(message(str(seconds)), now=NOW + seconds)
        self.assertEqual(len(self.begin(NOW + 3.8).turn.events), 3)

    def test_the_first_waits_no_longer_than_the_longest(self):
        self.come(message("a"))
        self.come(message("b"), now=NOW + 4)
        self.assertEqual(self.texts(self.begin(NOW + 5)), ["a", "b"])

    def test_only_words_of_one_person_join(self):
        anna, ben = Sender(id="anna"), Sender(id="ben")
        self.come(message("a", sender=anna), message("b", sender=ben))
        started = self.begin()
        self.assertEqual((self.texts(started), started.more), (["a"], True))
        self.get(self.store.end_turn(started.turn, EndOfTurn(state="done"), NOW))
        self.come(Postback(id="p", address=address(), payload="P"))
        self.assertEqual(self.texts(self.begin()), ["b"])

    def test_a_second_attempt_has_the_same_events(self):
        self.come(message("a"), message("b"))
        turn = self.begin(NOW + 2).turn
        self.get(self.store.end_turn(turn, EndOfTurn(state="retry", due_at=NOW + 3), NOW + 2))
        self.come(message("c"), now=NOW + 2)
        self.assertEqual(self.texts(self.begin(NOW + 9)), ["a", "b"])


class InterruptTests(QueueingCase):
    queueing = INTERRUPT

    def begun(self, *replies):
        self.come(message("a"))
        turn = self.begin().turn
        if replies:
            self.get(self.store.add_replies(turn, replies, (), NOW))
        return turn

    def test_the_new_turn_takes_the_place_of_the_old_one(self):
        old = self.begun(said("sent"), said("not sent", ordinal=1))
        self.get(self.store.claim_reply(KEY, NOW))
        self.come(message("b"))
        self.assertEqual(self.get(self.store.interrupting(old)), 0.0)
        new = self.begin().turn
        self.assertEqual([event.text for event in new.interrupted], ["a"])
        self.assertEqual([part.text for told in new.already_said for part in told.parts], ["sent"])
        self.assertEqual(self.unsent(), 1)

    def test_the_old_one_says_nothing_more(self):
        old = self.begun()
        self.come(message("b"))
        self.begin()
        self.assertFalse(self.get(self.store.add_replies(old, (said("late"),), (), NOW)))
        self.assertFalse(self.get(self.store.end_turn(old, EndOfTurn(state="done"), NOW)))

    def test_without_a_new_message_nothing_is_interrupted(self):
        old = self.begun()
        self.assertIsNone(self.get(self.store.interrupting(old)))

    def test_what_is_not_due_interrupts_later(self):
        old = self.begun()
        self.come(message("b"), due_at=NOW + 5)
        self.assertEqual(self.get(self.store.interrupting(old)), NOW + 5)
        self.assertEqual(self.begin(NOW + 4).turn.id, old.id)
        self.assertEqual(self.texts(self.begin(NOW + 5)), ["b"])

    def test_somebody_else_does_not_interrupt(self):
        old = self.begun()
        self.come(message("x", sender=Sender(id="ben")))
        self.assertIsNone(self.get(self.store.interrupting(old)))

    def test_a_chain_is_told_whole_and_again_at_the_next_attempt(self):
        self.begun()
        for text in ("b", "c"):
            self.come(message(text))
            turn = self.begin().turn
        self.assertEqual([event.text for event in turn.interrupted], ["a", "b"])
        self.get(self.store.end_turn(turn, EndOfTurn(state="retry", due_at=NOW), NOW))
        self.assertEqual([event.text for event in self.begin().turn.interrupted], ["a", "b"])

    def test_a_turn_that_waits_for_its_next_attempt_is_over_too(self):
        old = self.begun()
        self.get(self.store.end_turn(old, EndOfTurn(state="retry", due_at=NOW + 60), NOW))
        self.assertEqual(self.begin(), NotNow())
        self.come(message("b"))
        self.assertEqual(self.texts(self.begin()), ["b"])


class RestTests(QueueingCase):
    def test_the_bot_s_conversation_rests_until_a_time(self):
        self.come(message("a"))
        self.assertTrue(self.get(self.store.rest(KEY, NOW, NOW + 60)))
        self.assertEqual(self.begin(NOW + 59), NotNow())
        self.assertEqual(self.texts(self.begin(NOW + 60)), ["a"])

    def test_a_human_s_does_not(self):
        self.come(message("a"))
        self.get(self.store.set_owner(KEY, "human", NOW))
        self.assertFalse(self.get(self.store.rest(KEY, NOW, NOW + 60)))


class OffTheClockTests(StoreCase):
    """On SQLite alone: with several servers every poll looks at all that waits."""

    def test_a_full_outbox_takes_it_off_the_clock(self):
        self.enqueue(message("a"))
        turn = self.start(KEY).turn
        replies = tuple(said("x", ordinal=number) for number in range(20))
        self.get(self.store.end_turn(turn, EndOfTurn(state="done", replies=replies), NOW))
        self.enqueue(message("b"), due_at=NOW + 1)
        self.assertEqual(self.start(KEY, NOW + 2), NotNow())
        self.assertEqual(self.get(self.store.due(NOW + 3, 10)).turns, ())
