from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.backoff import Backoff

DAY = Backoff(first=1.0, longest=300.0, patience=86_400.0)
seconds = st.floats(0, 2e9)
jitters = st.floats(0, 1, exclude_max=True)


class WaitTests(SynchronousTestCase):
    def waits(self, *attempts: int) -> list[float | None]:
        return [DAY.next_attempt(attempt, first_at=0.0, now=0.0) for attempt in attempts]

    def test_doubles_up_to_the_longest(self) -> None:
        self.assertEqual(self.waits(1, 2, 3, 8, 9, 10, 11), [1.0, 2.0, 4.0, 128.0, 256.0, 300.0, 300.0])

    def test_a_million_attempts_overflow_nothing(self) -> None:
        self.assertEqual(self.waits(1023, 1024, 1025, 10**6, 10**400), [300.0] * 5)

    def test_an_attempt_before_the_first_waits_like_the_first(self) -> None:
        self.assertEqual(self.waits(0, -5), [1.0, 1.0])

    def test_jitter_halves_the_wait_at_most(self) -> None:
        at = DAY.next_attempt(4, first_at=0.0, now=100.0, jitter=0.5)
        self.assertEqual(at, 106.0)


class PlatformsWordTests(SynchronousTestCase):
    def test_nothing_is_tried_before_the_platform_allows_it(self) -> None:
        at = DAY.next_attempt(1, first_at=0.0, now=10.0, retry_at=500.0, jitter=0.9)
        self.assertEqual(at, 500.0)

    def test_a_platform_in_a_hurry_does_not_shorten_the_wait(self) -> None:
        self.assertEqual(DAY.next_attempt(3, first_at=0.0, now=10.0, retry_at=11.0), 14.0)

    def test_a_word_that_is_no_time_gives_up_or_is_passed_over(self) -> None:
        self.assertIsNone(DAY.next_attempt(1, first_at=0.0, now=0.0, retry_at=float("inf")))
        self.assertEqual(DAY.next_attempt(1, first_at=0.0, now=0.0, retry_at=float("nan")), 1.0)


class PatienceTests(SynchronousTestCase):
    def test_gives_up_where_the_next_time_lies_past_the_patience(self) -> None:
        self.assertEqual(DAY.next_attempt(1, first_at=0.0, now=86_399.0), 86_400.0)
        self.assertIsNone(DAY.next_attempt(1, first_at=0.0, now=86_399.5))

    def test_gives_up_where_the_platform_asks_for_more_than_the_patience(self) -> None:
        self.assertIsNone(DAY.next_attempt(1, first_at=0.0, now=1.0, retry_at=86_400.1))

    @settings(deadline=None, derandomize=True)
    @given(st.integers(1, 10**7), seconds, seconds, st.none() | seconds, jitters)
    def test_the_next_time_keeps_every_bound(
        self, attempt: int, first_at: float, now: float, retry_at: float | None, jitter: float
    ) -> None:
        at = DAY.next_attempt(attempt, first_at=first_at, now=now, retry_at=retry_at, jitter=jitter)
        earliest = max(now + DAY.first / 2, retry_at or 0.0)
        latest = max(now + DAY.longest, retry_at or 0.0)
        if at is None:
            self.assertGreater(latest, first_at + DAY.patience)
        else:
            self.assertTrue(earliest <= at <= min(latest, first_at + DAY.patience))
