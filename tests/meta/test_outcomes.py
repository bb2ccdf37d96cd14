"""What the Graph's answers mean: who waits, for how long, and what is over."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.meta.outcomes import graph_outcome
from klein_channels.model import CallResult, Outcome, Refused, Retry, Sent, UnknownOutcome
from klein_channels.testing.steps import answered

PAGE, PERSON = "104512345678901", "6789012345678901"
NOW = 1_790_000_000.0
SUCCESS = answered(body={"recipient_id": PERSON, "message_id": "m_out"})
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


def graph_outcome_now(result: CallResult, attempt: int = 1) -> Outcome:
    return graph_outcome(result, NOW, attempt)


def refused(code: Any, subcode: Any = None, status: int = 400, **more: Any) -> CallResult:
    error = {"message": "(#1) Said\nthe Graph", "type": "OAuthException", "code": code, "fbtrace_id": "T1"}
    if subcode is not None:
        error["error_subcode"] = subcode
    headers = more.pop("headers", {})
    return answered(status, {"error": {**error, **more}}, **headers)


class OutcomeTests(SynchronousTestCase):
    def refusal(self, result: CallResult, **more: Any) -> Refused:
        found = graph_outcome_now(result, **more)
        assert isinstance(found, Refused), found
        self.assertNotIn("\n", found.reason)
        return found

    def retry(self, result: CallResult, **more: Any) -> Retry:
        found = graph_outcome_now(result, **more)
        assert isinstance(found, Retry), found
        return found

    def test_sent(self) -> None:
        self.assertEqual(graph_outcome_now(SUCCESS), Sent(mids=("m_out",)))
        self.assertEqual(graph_outcome_now(answered(body={"recipient_id": PERSON})), Sent())

    def test_what_may_have_been_shown_is_unknown(self) -> None:
        for result in (
            CallResult(outcome="unknown", error="connection lost"),
            refused(1, 1357046),
            refused(1, 1357046, is_transient=True, status=500),
            answered(200, b"<html>"),
            answered(200, []),
        ):
            self.assertIsInstance(graph_outcome_now(result), UnknownOutcome, result)

    def test_what_was_not_shown_for_now_is_tried_again(self) -> None:
        for result in (
            CallResult(outcome="not_sent", error="refused"),
            answered(500, b""),
            answered(502, b"<html>"),
            answered(404, b"<html>"),
            answered(302, b""),
            refused(1),
            refused(2),
            refused(1200),
            refused(77777, status=500),
            refused(77777, is_transient=True),
        ):
            self.assertEqual((self.retry(result).scope, self.retry(result).at), ("message", None), result)

    def test_throttles_rest_the_whole_page(self) -> None:
        for code in (4, 17, 32, 341, 613, 80001, 80006, "613"):
            self.assertEqual(
                (self.retry(refused(code)).scope, self.retry(refused(code)).at), ("account", NOW + 60)
            )
        for result in (answered(429, b""), refused(77777, status=429)):
            self.assertEqual((self.retry(result).scope, self.retry(result).at), ("account", NOW + 60))
        self.assertEqual(self.retry(refused(368)).at, NOW + 3600)

    def test_the_graph_says_for_how_long(self) -> None:
        usage = json.dumps({PAGE: [{"type": "messenger", "estimated_time_to_regain_access": 19}, 7], "x": 1})
        for headers, wait in (
            ({"Retry_After": "7"}, 7),
            ({"Retry_After": "Tue, 22 Sep 2026 00:00:00 GMT"}, 35_200),
            ({"X_Business_Use_Case_Usage": usage}, 19 * 60),
            ({"X_Business_Use_Case_Usage": "{"}, 60),
            ({"X_Business_Use_Case_Usage": '{"1":[{"estimated_time_to_regain_access":"x"}]}'}, 60),
            ({"Retry_After": "soon"}, 60),
            ({"Retry_After": "-5"}, 60),
            ({"Retry_After": "²"}, 60),
            ({"Retry_After": "9" * 5000}, 60),
        ):
            at = self.retry(refused(4, headers=headers)).at
            assert at is not None
            if wait is not None:
                self.assertEqual(at, NOW + wait, headers)
        self.assertEqual(self.retry(answered(503, b"", Retry_After="7")).at, NOW + 7)

    def test_a_dead_token_holds_the_page_and_says_why(self) -> None:
        for code, subcode, word in (
            (190, 463, "expired"),
            (190, None, "token"),
            (190, 1, "token"),
            (102, None, "token"),
        ):
            found = self.refusal(refused(code, subcode, status=401))
            self.assertEqual(found.scope, "account")
            self.assertIn(word, found.reason)
            self.assertIn(str(code), found.reason)

    def test_what_concerns_the_app_or_page_holds_the_page(self) -> None:
        for code, subcode in (
            (3, None),
            (10, None),
            (200, None),
            (299, None),
            (10, 1893063),
            (2022, None),
            (200, 2534041),
        ):
            self.assertEqual(self.refusal(refused(code, subcode)).scope, "account", (code, subcode))

    def test_another_apps_thread_holds_the_conversation(self) -> None:
        for code, subcode in (
            (2018300, None),
            (10, 2018300),
            (100, 2534037),
            (2018171, None),
            (100, 2018321),
        ):
            found = self.refusal(refused(code, subcode, is_transient=True))
            self.assertEqual(found.scope, "conversation", (code, subcode))

    def test_what_concerns_the_message_ends_it(self) -> None:
        for code, subcode in (
            (100, None), (100, 2018001), (100, 33), (100, 2018109), (10303, None), (77777, None),
            (200, 1545041), (551, None), (551, 1545041), (200, 2018028), (None, None), ("x", [1]),
            (10, 2018278), (10, 2534022), (10, 2018065), (10, 2018108), (10, 99),
            (4, 2018354), (613, 1893016), (1, 2018382),
        ):  # fmt: skip
            self.assertEqual(self.refusal(refused(code, subcode)).scope, "message", (code, subcode))

    def test_the_closed_window_is_named_with_its_codes(self) -> None:
        reason = self.refusal(refused(10, 2018278)).reason
        self.assertEqual(reason, "window closed (10/2018278): (#1) Said the Graph [fbtrace_id T1]")

    def test_media_that_could_not_be_fetched_are_tried_twice(self) -> None:
        self.assertIsNone(self.retry(refused(100, 2018008)).at)
        self.assertEqual(self.refusal(refused(100, 2018008), attempt=2).scope, "message")

    @settings(deadline=None, derandomize=True)
    @given(st.integers(100, 599), JSON_VALUES, st.text(max_size=40), st.text(max_size=40))
    def test_no_answer_breaks_sending(self, status: int, value: Any, usage: str, after: str) -> None:
        headers = {"X_Business_Use_Case_Usage": usage, "Retry_After": after}
        for body in (
            value,
            {"error": value},
            {"error": {"code": value, "error_subcode": value, "message": value}},
        ):
            graph_outcome_now(answered(status, body, **headers))
