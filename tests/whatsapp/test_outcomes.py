"""What WhatsApp's answers mean."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.model import CallResult, Refused, Retry, Sent, UnknownOutcome
from klein_channels.testing.steps import answered
from klein_channels.whatsapp.outcomes import failure_reason, send_outcome

NOW = 1_790_000_000.0


def refused(code: Any, status: int = 400, attempt: int = 1, **more: Any) -> Any:
    error = {"message": f"(#{code}) no", "code": code, "fbtrace_id": "T", **more}
    return send_outcome(answered(status, {"error": error}), NOW, attempt)


class OutcomeTests(SynchronousTestCase):
    def test_what_was_taken_has_its_name(self) -> None:
        good = answered(body={"messages": [{"id": "wamid.1", "message_status": "accepted"}]})
        self.assertEqual(send_outcome(good, NOW), Sent(mids=("wamid.1",)))

    def test_an_answer_that_names_nothing_leaves_it_open(self) -> None:
        for body in ({}, {"messages": []}, {"messages": [{}]}, {"messages": "x"}, []):
            self.assertIsInstance(send_outcome(answered(body=body), NOW), UnknownOutcome)

    def test_nothing_left_or_nobody_knows(self) -> None:
        self.assertIsInstance(send_outcome(CallResult(outcome="not_sent"), NOW), Retry)
        self.assertIsInstance(send_outcome(CallResult(outcome="unknown"), NOW), UnknownOutcome)

    def test_one_person_s_rate_backs_off_by_fours_and_holds_that_conversation_alone(self) -> None:
        for attempt, seconds in ((1, 4), (2, 16), (3, 64), (5, 1024), (6, 3600), (50, 3600)):
            outcome = refused(131056, attempt=attempt)
            self.assertEqual((outcome.at, outcome.scope), (NOW + seconds, "conversation"))

    def test_throttles_hold_the_number(self) -> None:
        for code in (4, 80007, 130429):
            outcome = refused(code)
            self.assertEqual((type(outcome), outcome.scope, outcome.at), (Retry, "account", NOW + 60))

    def test_what_passes_is_tried_again(self) -> None:
        for code in (1, 2, 131000, 131016, 131057, 133004, 135000):
            self.assertIsInstance(refused(code), Retry, str(code))
        self.assertIsInstance(refused(131052), Retry)
        self.assertIsInstance(refused(131052, attempt=2), Refused)

    def test_what_stops_the_number(self) -> None:
        for code in (0, 190, 3, 10, 200, 299, 131005, 131031, 131037, 131042, 131044, 131045, 133010):
            outcome = refused(code)
            self.assertEqual((type(outcome), outcome.scope), (Refused, "account"), str(code))

    def test_what_ends_the_message_has_a_name(self) -> None:
        for code, name in (
            (131047, "window closed"),
            (131026, "undeliverable"),
            (131050, "person stopped marketing messages"),
            (132001, "template not found"),
            (100, "wrong parameter"),
        ):
            outcome = refused(code, error_data={"details": "because\nof this"})
            self.assertEqual(outcome, Refused(reason=f"{name} ({code}): because of this [fbtrace_id T]"))

    def test_codes_that_nobody_knows_end_the_message(self) -> None:
        self.assertEqual(refused(999999).scope, "message")
        self.assertIsInstance(refused(999999, status=500), Retry)
        self.assertIsInstance(refused("x"), Refused)

    def test_why_a_message_failed_later(self) -> None:
        self.assertEqual(
            failure_reason([{"code": 131026, "title": "Undeliverable"}]),
            "undeliverable (131026): Undeliverable",
        )
        self.assertEqual(failure_reason([{"code": 131056, "title": "x"}]), "throttled (131056): x")
        for odd in (None, [], "x", [None], [{}], [{"code": True}], [{"code": "1"}]):
            self.assertTrue(failure_reason(odd).startswith("failed: "))

    def test_usage_headers_ask_for_a_pace_whatever_the_outcome(self) -> None:
        usage = {"X-App-Usage": '{"call_count": 100}'}
        for result in (
            answered(body={"messages": [{"id": "wamid.1"}]}, **usage),
            answered(200, {"messages": []}, **usage),
            answered(400, {"error": {"message": "x", "code": 131047}}, **usage),
            answered(400, {"error": {"message": "x", "code": 131056}}, **usage),
        ):
            pace = send_outcome(result, 1.0).pace
            assert pace is not None, result
            self.assertEqual((pace.share, pace.until), (0.0, 3601.0))
