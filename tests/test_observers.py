"""Observers see everything in order, and nobody waits for them."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.observers import Observers
from klein_channels.policy import Policy

from .doubles import message


class ObserversCase(SynchronousTestCase):
    policy = Policy(observer_queue=3, observer_deadline=10.0)

    def setUp(self):
        self.clock = Clock()
        self.seen = []

    def observers(self, *observers):
        return Observers(observers, self.policy, clock=self.clock, now=self.clock.seconds)

    def see(self, event):
        self.seen.append(event.text)


class OrderTests(ObserversCase):
    def test_in_order_and_each_observer_sees_all(self):
        others = []
        told = self.observers(self.see, lambda event: others.append(event.text))
        for text in "abc":
            told.tell("k", message(text))
        self.assertEqual((self.seen, others), (["a", "b", "c"],) * 2)

    def test_the_next_event_waits_for_the_one_before(self):
        gates = [Deferred(), Deferred()]
        waiting = iter(gates)

        def slow(event):
            self.see(event)
            return next(waiting)

        told = self.observers(slow)
        told.tell("k", message("a"))
        told.tell("k", message("b"))
        self.assertEqual(self.seen, ["a"])
        gates[0].callback(None)
        self.assertEqual(self.seen, ["a", "b"])
        gates[1].callback(None)
        self.assertEqual(told._lanes, {})

    def test_a_slow_conversation_delays_no_other(self):
        gate = Deferred()

        def slow(event):
            self.see(event)
            return gate if event.text == "slow" else None

        told = self.observers(slow)
        told.tell("k", message("slow"))
        told.tell("k", message("behind"))
        told.tell("l", message("other"))
        self.assertEqual(self.seen, ["slow", "other"])
        gate.callback(None)

    def test_events_told_by_an_observer_come_after_those_before(self):
        def telling(event):
            self.see(event)
            if event.text == "a":
                told.tell("k", message("from a"))

        told = self.observers(telling)
        told.tell("k", message("a"))
        told.tell("k", message("b"))
        self.assertEqual(self.seen, ["a", "from a", "b"])

    def test_a_long_lane_needs_no_stack(self):
        self.policy = Policy(observer_queue=5000)
        gate = Deferred()

        def first_waits(event):
            self.see(event)
            return gate if len(self.seen) == 1 else succeed(None)

        told = self.observers(first_waits)
        for number in range(5000):
            told.tell("k", message(str(number)))
        gate.callback(None)
        self.assertEqual(len(self.seen), 5000)


class FailureTests(ObserversCase):
    def test_one_that_raises_keeps_nobody_from_anything(self):
        def broken(event):
            raise ZeroDivisionError

        told = self.observers(broken, self.see)
        told.tell("k", message("a"))
        told.tell("k", message("b"))
        self.assertEqual(self.seen, ["a", "b"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_coroutines_and_failing_deferreds(self):
        async def fine(event):
            self.see(event)

        async def broken(event):
            raise ZeroDivisionError

        told = self.observers(broken, fine)
        told.tell("k", message("a"))
        self.assertEqual(self.seen, ["a"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_one_that_never_ends_is_given_up_at_its_deadline(self):
        cancelled = []

        def hanging(event):
            return Deferred(cancelled.append) if event.text == "a" else None

        told = self.observers(hanging, self.see)
        told.tell("k", message("a"))
        told.tell("k", message("b"))
        self.clock.advance(9.9)
        self.assertEqual(self.seen, [])
        self.clock.advance(0.1)
        self.assertEqual((self.seen, len(cancelled)), (["a", "b"], 1))
        self.flushLoggedErrors()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_lane_is_bounded_and_the_loss_is_told_once(self):
        gate = Deferred()
        told = self.observers(lambda event: self.see(event) or gate)
        for number in range(6):
            told.tell("k", message(str(number)))
        gate.callback(None)
        self.assertEqual(self.seen, ["0", "1", "2"])

    def test_without_observers_nothing_is_kept(self):
        told = self.observers()
        told.tell("k", message("a"))
        self.assertEqual(told._lanes, {})
