"""What goes out: one visible call for each send, and an outcome whatever comes back."""

from __future__ import annotations

import math

from ..channel import Steps
from ..fit import fit
from ..model import (
    JSON,
    AnyPart,
    Call,
    CallResult,
    Custom,
    Message,
    Outcome,
    Refused,
    Retry,
    Sent,
    UnknownOutcome,
)
from .contract_subject import Subject
from .hostile import (
    GARBAGE,
    JSON_VALUES,
    LONG_WORDS,
    NO_ANSWER,
    NOT_SENT,
    ONE_OF_EACH,
    WORDS,
    for_all,
    is_storable,
    parts,
    results_like,
    st,
)
from .platforms import Platform


class OutboundContract(Subject):
    """The promises of `send`."""

    def test_every_part_is_one_visible_call(self) -> None:
        """What `fit` gives is shown by exactly one call with effect, and is `Sent`."""
        for part in self._sendable():
            self._assert_shown(self.make_platform(), part)

    def test_what_fit_gave_is_never_too_much_for_the_platform(self) -> None:
        """The platform takes every size, number and mixture that `fit` lets through."""
        capabilities = self.make_channel().capabilities
        platform = nobody if capabilities.answers_only else self.make_platform()

        def check(part: AnyPart) -> None:
            for shown in fit(Message(parts=(part,)), capabilities):
                self._assert_shown(platform, shown)

        if not self.only_answers:
            for_all(check, parts(WORDS | LONG_WORDS), examples=200)

    def test_what_did_not_leave_is_tried_again(self) -> None:
        """A visible call that was not sent is a `Retry`."""
        for part in self._sendable():
            _, outcome = self._sent_with(NOT_SENT, part)
            self.assertIsInstance(outcome, Retry, repr(part))

    def test_what_may_have_left_is_not_sent_twice(self) -> None:
        """A visible call without an answer ends the run: `UnknownOutcome`."""
        for part in self._sendable():
            calls, outcome = self._sent_with(NO_ANSWER, part)
            self.assertEqual([call.effect for call in calls].count(True), 1, repr(part))
            self.assertIsInstance(outcome, UnknownOutcome, repr(part))

    def test_a_platform_that_is_busy_or_broken_is_not_called_sent(self) -> None:
        """429 is a `Retry`; 5xx is none of the ends that lose a message, or call it sent."""
        if self.only_answers:
            return
        for status in (429, 500, 502, 503):
            for body in (b"", GARBAGE, b"null", b"[]", b"{}"):
                _, outcome = self._sent_with(CallResult(outcome="answered", status=status, body=body))
                kinds = (Retry,) if status == 429 else (Retry, UnknownOutcome)
                self.assertIsInstance(outcome, kinds, f"{status} {body!r}")

    def test_no_result_whatever_is_an_accident(self) -> None:
        """Every result of every call ends the run with an outcome whose line tells no secret."""
        channel = self.make_channel()

        def check(part: AnyPart, results: list[CallResult]) -> None:
            self.assert_outcome(self._answered_by(results, channel.send(self.outgoing(part))))

        shown = st.sampled_from(self._shown_parts())
        results = st.lists(results_like(self._answers()), min_size=1, max_size=3)
        for_all(check, shown, results, examples=200)

    def test_no_part_whatever_is_an_accident(self) -> None:
        """What `fit` never gives, a hostile address, a custom part of any JSON: still an outcome."""
        channel = self.make_channel()
        urls = st.sampled_from(["", "javascript:alert(1)", "https://files.example\r\nX: y", "//x", "\ud800"])
        strange = parts(WORDS | LONG_WORDS, urls | WORDS) | st.builds(Custom, json=JSON_VALUES)

        def check(part: AnyPart, result: CallResult) -> None:
            outgoing = self.outgoing(part)
            self.assert_outcome(self._answered_by([result], channel.send(outgoing)))

        for_all(check, strange.filter(is_storable), results_like(self._answers()), examples=200)

    def test_no_secret_is_shown(self) -> None:
        """Neither by the channel itself, nor by what it tells of a call that failed."""
        self.assertTrue(all(self.secrets), "secrets has an empty one")
        channel = self.make_channel()
        self.assert_tells_no_secret(f"{channel!r} {channel} {channel.options!r}", one_line=False)
        for part in self._sendable():
            for kind in ("not_sent", "unknown"):
                _, outcome = self.run_steps(channel.send(self.outgoing(part)), _echo_of_url(kind))
                self.assert_outcome(outcome)

    # What the checks share

    def _sendable(self) -> list[AnyPart]:
        """One of each part that `send` can show."""
        return [] if self.only_answers else self._shown_parts()

    def _shown_parts(self) -> list[AnyPart]:
        """One of each part that `fit` can give here."""
        return fit(Message(parts=ONE_OF_EACH), self.make_channel().capabilities)

    def _assert_shown(self, platform: Platform, part: AnyPart) -> None:
        calls, outcome = self.run_steps(self.make_channel().send(self.outgoing(part)), platform)
        self.assertIsInstance(outcome, Sent, f"{part}: {outcome}")
        self.assertEqual([call.effect for call in calls].count(True), 1, repr(part))

    def _sent_with(self, result: CallResult, part: AnyPart = ONE_OF_EACH[0]) -> tuple[list[Call], Outcome]:
        """A send whose visible call ends with `result`; all others are answered well."""
        platform = self.make_platform()

        def answer(call: Call) -> CallResult:
            return result if call.effect else platform(call)

        calls, outcome = self.run_steps(self.make_channel().send(self.outgoing(part)), answer)
        self.assert_outcome(outcome)
        return calls, outcome

    def _answered_by(self, results: list[CallResult], steps: Steps[Outcome]) -> Outcome:
        """How `steps` end whose calls have `results`, the last of them over and over."""
        waiting = list(results)
        return self.run_steps(steps, lambda call: waiting.pop(0) if len(waiting) > 1 else waiting[0])[1]

    def _answers(self) -> list[CallResult]:
        """What the platform says to one of each."""
        answers: list[CallResult] = []
        platform = nobody if self.only_answers else self.make_platform()

        def answer(call: Call) -> CallResult:
            answers.append(platform(call))
            return answers[-1]

        for part in self._sendable():
            self.run_steps(self.make_channel().send(self.outgoing(part)), answer)
        return answers

    def assert_outcome(self, outcome: Outcome) -> None:
        """It is an outcome; times are of this week, reasons one line without a secret."""
        self.assertIsInstance(outcome, Sent | Retry | Refused | UnknownOutcome)
        if isinstance(outcome, Sent):
            self.assertTrue(all(isinstance(mid, str) and mid for mid in outcome.mids), repr(outcome))
            return
        self.assert_tells_no_secret(outcome.reason)
        if isinstance(outcome, Retry) and outcome.at is not None:
            self.assertTrue(math.isfinite(outcome.at), repr(outcome))
            self.assertTrue(self.now <= outcome.at <= self.now + 8 * 86_400, repr(outcome))


def nobody(call: Call) -> CallResult:
    """The platform of a channel that only answers."""
    raise AssertionError(f"a channel that only answers calls {call.url}")


def _echo_of_url(kind: JSON) -> Platform:
    """A network whose errors tell the whole address, as those of some libraries do."""

    def answer(call: Call) -> CallResult:
        return CallResult(outcome=kind, error=f"no way\nto {call.url}")

    return answer
