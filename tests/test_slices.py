"""Long lists in slices: in order, with pauses, and a failure holds up nothing."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.slices import AT_ONCE, PAUSE, SLICE, Slices


class SlicesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.done: list[int] = []
        self.clock = Clock()
        self.slices: Slices[int] = Slices(self.work, clock=self.clock)

    def work(self, thing: int) -> None:
        self.done.append(thing)
        if thing < 0:
            raise ValueError(thing)

    def test_few_are_done_at_once(self) -> None:
        self.slices.take(range(AT_ONCE))
        self.assertEqual(self.done, list(range(AT_ONCE)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_many_are_done_slice_by_slice_and_what_comes_meanwhile_behind_them(self) -> None:
        many = AT_ONCE + SLICE
        self.slices.take(range(many))
        self.assertEqual(self.done, list(range(SLICE)))
        self.slices.take([many])
        self.assertEqual(len(self.done), SLICE)
        self.clock.advance(PAUSE)
        self.assertEqual(len(self.done), 2 * SLICE)
        self.clock.pump([PAUSE] * many)
        self.assertEqual(self.done, list(range(many + 1)))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_at_the_end_the_rest_is_done_at_once(self) -> None:
        self.slices.finish()
        self.slices.take(range(2 * AT_ONCE))
        self.slices.finish()
        self.assertEqual((self.done, self.clock.getDelayedCalls()), (list(range(2 * AT_ONCE)), []))
        self.slices.finish()
        self.assertEqual(len(self.done), 2 * AT_ONCE)

    def test_one_that_fails_is_told_of_and_holds_up_nothing(self) -> None:
        self.slices.take([1, -1, 2])
        self.assertEqual(self.done, [1, -1, 2])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_what_its_own_work_takes_comes_after_it(self) -> None:
        slices: Slices[int] = Slices(lambda thing: self.more(thing, slices), clock=self.clock)
        slices.take([1])
        self.clock.pump([PAUSE] * 5)
        self.assertEqual(self.done, [1, 2, 3])

    def more(self, thing: int, slices: Slices[int]) -> None:
        self.done.append(thing)
        if thing < 3:
            slices.take([thing + 1])
