"""Meta's usage headers: slower from 80 %, nothing from 100 %, and no harm from what is none."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.meta.outcomes import graph_outcome
from klein_channels.meta.usage import pace_of
from klein_channels.model import Pace, Retry, Sent
from klein_channels.testing.steps import answered

from .test_outcomes import JSON_VALUES, NOW, PAGE, PERSON

SUCCESS = {"recipient_id": PERSON, "message_id": "m_out"}
HEADERS = ("X-App-Usage", "X-Page-Usage", "X-Business-Use-Case-Usage")


def use(percent: float, **more: Any) -> dict[str, Any]:
    return {"call_count": 3, "total_time": percent, "total_cputime": 5, **more}


def pace(header: str, value: Any) -> Pace | None:
    raw = value if isinstance(value, str) else json.dumps(value)
    return pace_of(answered(body=SUCCESS, **{header: raw}), NOW)


def of_business(percent: float, minutes: Any = 0, kind: str = "messenger") -> dict[str, Any]:
    return {PAGE: [use(percent, type=kind, estimated_time_to_regain_access=minutes)]}


class PaceTests(SynchronousTestCase):
    def test_below_eighty_percent_nothing_is_slowed(self) -> None:
        for header in HEADERS[:2]:
            self.assertEqual(pace(header, use(79)), Pace(share=1.0, until=NOW))
        self.assertEqual(pace(HEADERS[2], of_business(79)), Pace(share=1.0, until=NOW))

    def test_from_eighty_on_it_is_the_slower_the_more_is_used(self) -> None:
        for header in HEADERS[:2]:
            shares = [found.share for percent in (80, 85, 90, 99) if (found := pace(header, use(percent)))]
            self.assertEqual(shares, [1.0, 0.75, 0.5, 0.1])

    def test_at_a_hundred_it_stops_for_as_long_as_is_said_or_an_hour(self) -> None:
        for percent in (100, 130):
            for header in HEADERS[:2]:
                stopped = pace(header, use(percent))
                assert stopped is not None
                self.assertEqual((stopped.share, stopped.until), (0.0, NOW + 3600))
            stopped = pace(HEADERS[2], of_business(percent, 19))
            assert stopped is not None
            self.assertEqual((stopped.share, stopped.until), (0.0, NOW + 19 * 60))

    def test_the_fullest_of_all_counts(self) -> None:
        both = {HEADERS[0]: json.dumps(use(10)), HEADERS[2]: json.dumps(of_business(100, 2))}
        found = pace_of(answered(body=SUCCESS, **both), NOW)
        assert found is not None
        self.assertEqual((found.share, found.until), (0.0, NOW + 120))

    def test_advertising_says_nothing_about_messages(self) -> None:
        self.assertIsNone(pace(HEADERS[2], of_business(100, 5, "ads_management")))

    def test_it_comes_with_every_outcome(self) -> None:
        headers = {"X-Page-Usage": json.dumps(use(100))}
        sent = graph_outcome(answered(body=SUCCESS, **headers), NOW)
        assert isinstance(sent, Sent)
        self.assertEqual((sent.mids, sent.pace and sent.pace.share), (("m_out",), 0.0))
        throttled = graph_outcome(answered(400, {"error": {"code": 32, "message": "x"}}, **headers), NOW)
        assert isinstance(throttled, Retry)
        self.assertEqual((throttled.scope, throttled.pace and throttled.pace.until), ("account", NOW + 3600))

    def test_what_is_malformed_changes_nothing(self) -> None:
        for value in (
            *("", "{", "[]", "null", "100", '"100"', "\ud800", "{}", '{"call_count": "100"}'),
            *('{"call_count": true}', '{"call_count": -100}', '{"call_count": 1e99}', "[" * 100),
            *('{"call_count": NaN}', f'{{"{PAGE}": 100}}', f'{{"{PAGE}": [100, null, "x"]}}'),
        ):
            for header in HEADERS:
                self.assertIsNone(pace(header, value), (header, value))

    @settings(deadline=None, derandomize=True, max_examples=100)
    @given(st.sampled_from(HEADERS), JSON_VALUES | st.dictionaries(st.just(PAGE), st.lists(JSON_VALUES)))
    def test_no_header_keeps_a_message_from_having_been_sent(self, header: str, value: Any) -> None:
        outcome = graph_outcome(answered(body=SUCCESS, **{header: json.dumps(value)}), NOW)
        assert isinstance(outcome, Sent)
        self.assertEqual(outcome.mids, ("m_out",))
