"""Token buckets: what passes at once, what waits, how little is remembered."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.buckets import Buckets

NOW = 1_000.0


class BucketTests(SynchronousTestCase):
    def waits(self, buckets, times, now=NOW, name="anna"):
        return [buckets.take(name, now) for _ in range(times)]

    def test_a_burst_passes_and_what_exceeds_it_waits_its_turn(self):
        buckets = Buckets(3, 2.0)
        self.assertEqual(self.waits(buckets, 6), [0.0, 0.0, 0.0, 0.5, 1.0, 1.5])

    def test_it_is_refilled(self):
        buckets = Buckets(3, 2.0)
        self.waits(buckets, 3)
        self.assertEqual(self.waits(buckets, 2, NOW + 0.5), [0.0, 0.5])
        self.assertEqual(self.waits(buckets, 4, NOW + 100), [0.0, 0.0, 0.0, 0.5])

    def test_each_has_a_bucket_of_its_own(self):
        buckets = Buckets(1, 1.0)
        self.assertEqual([buckets.take(name, NOW) for name in ("a", "b", "a")], [0.0, 0.0, 1.0])

    def test_without_a_rate_there_is_no_limit_and_nothing_is_remembered(self):
        buckets = Buckets(1, 0.0)
        self.assertEqual((set(self.waits(buckets, 1000)), len(buckets)), ({0.0}, 0))

    def test_what_is_given_back_can_be_taken(self):
        buckets = Buckets(1, 1.0)
        buckets.take("a", NOW)
        buckets.take("a", NOW)
        buckets.give_back("a")
        buckets.give_back("unknown")
        self.assertEqual(buckets.take("a", NOW), 1.0)

    def test_few_are_remembered_and_those_with_the_fewest_tokens(self):
        buckets = Buckets(5, 1.0, remembered=100)
        self.waits(buckets, 5, name="flood")
        for number in range(1000):
            buckets.take(number, NOW)
            self.assertLessEqual(len(buckets), 100)
        self.assertEqual(buckets.take("flood", NOW), 1.0)

    def test_full_ones_are_forgotten_first(self):
        buckets = Buckets(5, 1.0, remembered=4)
        for name in ("a", "b", "c"):
            buckets.take(name, NOW)
        self.waits(buckets, 5, NOW + 1, "d")
        buckets.take("e", NOW + 2)
        self.assertEqual((len(buckets), buckets.take("d", NOW + 2)), (2, 0.0))
        self.assertEqual(buckets.take("d", NOW + 2), 1.0)

    def test_names_need_no_order(self):
        buckets = Buckets(5, 1.0, remembered=2)
        for name in (("a", None), ("a", "b"), "c", 3):
            buckets.take(name, NOW)

    def test_a_clock_that_is_set_back_lets_nobody_wait(self):
        buckets = Buckets(1, 1.0)
        buckets.take("a", NOW)
        self.assertEqual(buckets.take("a", NOW - 3600), 0.0)
        self.assertEqual(buckets.take("a", NOW - 3600), 1.0)


class WaitTests(SynchronousTestCase):
    def test_one_can_ask_without_taking(self):
        buckets = Buckets(2, 2.0)
        self.assertEqual([buckets.wait("a", NOW), buckets.wait("a", NOW, need=2)], [0.0, 0.0])
        buckets.take("a", NOW)
        self.assertEqual([buckets.wait("a", NOW), buckets.wait("a", NOW, need=2)], [0.0, 0.5])
        self.assertEqual(buckets.wait("a", NOW + 0.5, need=5), 0.0)

    def test_a_slower_pace_makes_the_waits_longer_and_its_end_makes_them_short_again(self):
        buckets = Buckets(1, 1.0)
        buckets.take("a", NOW, pace=0.1)
        self.assertEqual(buckets.wait("a", NOW, pace=0.1), 10.0)
        self.assertLessEqual(buckets.wait("a", NOW), 2.0)

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(st.floats(0.1, 300), st.integers(1, 50), st.lists(st.floats(0, 2), min_size=1, max_size=60))
    def test_no_second_has_more_than_its_rate_and_one_burst(self, rate, burst, waits):
        now, taken, buckets = 0.0, [], Buckets(burst, rate)
        for wait in waits:
            now += wait
            for _ in range(burst + 2):
                if buckets.wait("a", now) == 0:
                    buckets.take("a", now)
                    taken.append(now)
        for first in taken:
            self.assertLessEqual(len([at for at in taken if first <= at < first + 1]), burst + rate + 1e-6)
