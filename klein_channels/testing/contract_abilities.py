"""What only some channels can do, checked where they can."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from ..channel import (
    Answers,
    Edits,
    Fetches,
    KnowsAccounts,
    Live,
    Polled,
    Polls,
    Provisions,
    RenewsKeys,
    Resolves,
    Steps,
    Streams,
    Triggers,
    TriggersAt,
)
from ..errors import ConfigError, PlatformError
from ..model import (
    JSON,
    Attachment,
    Call,
    CallResult,
    Context,
    Outcome,
    Outgoing,
    Sent,
    Text,
    WebhookRequest,
    WebhookResponse,
    to_json,
)
from .contract_inbound import InboundContract
from .contract_outbound import OutboundContract
from .hostile import JSON_VALUES, for_all, results_like, st

_HOOK = "https://bot.example/app/webhook"


class AbilityContract(InboundContract, OutboundContract):
    """The promises of the small protocols beside `Channel`."""

    def test_life_signs_end_whatever_comes_back_and_count_for_nothing(self) -> None:
        """`Live`: no result is an accident, and no call has an effect that would be repeated."""
        channel = self.make_channel()
        if not isinstance(channel, Live):
            return
        address, context = self.address(), Context()
        signs: tuple[Callable[[], Steps[None]], ...] = (
            lambda: channel.show_typing(address, True, context),
            lambda: channel.show_typing(address, False, context),
            lambda: channel.show_seen(address, context),
        )
        for sign in signs:
            calls, _ = self.run_steps(sign(), self.make_platform())
            self.assertFalse(any(call.effect for call in calls))
        self._bears_all(lambda number: signs[number % len(signs)]())

    def test_files_are_fetched_or_not_whatever_comes_back(self) -> None:
        """`Fetches`: a file or a `PlatformError`, the last call saves, and no call has an effect."""
        channel = self.make_channel()
        if not isinstance(channel, Fetches):
            return
        address = self.address()
        found = [
            attachment
            for request in self.accepted()
            for event in channel.parse(request).events
            for attachment in getattr(event, "attachments", ())
        ]

        def check(attachment: Attachment, results: list[CallResult]) -> None:
            waiting = list(results)

            def answer(call: Call) -> CallResult:
                self.assertFalse(call.effect, repr(call))
                return waiting.pop(0) if len(waiting) > 1 else waiting[0]

            try:
                calls, fetched = self.run_steps(channel.fetch(attachment, address), answer)
            except PlatformError as error:
                self.assert_tells_no_secret(str(error))
                return
            if fetched is not None:
                self.assertTrue(calls[-1].save)

        for_all(
            check,
            st.sampled_from(found or [Attachment(kind="image")]),
            st.lists(results_like(self._answers()), min_size=1, max_size=2),
            examples=60,
        )

    def test_a_message_of_ours_can_be_changed(self) -> None:
        """`Edits`: what was sent is edited by its mid; twice does no harm, no result is an accident."""
        channel = self.make_channel()
        if not isinstance(channel, Edits):
            return
        platform = self.make_platform()
        _, sent = self.run_steps(channel.send(self.outgoing()), platform)
        assert isinstance(sent, Sent), sent
        other = self.outgoing(Text(text="something else"), 2)
        for _ in range(2):
            _, edited = self.run_steps(channel.edit(other, sent.mids[0]), platform)
            self.assertIsInstance(edited, Sent)
        self._bears_all(lambda _: channel.edit(other, sent.mids[0]), self.assert_outcome)

    def test_streams_end_whatever_comes_back(self) -> None:
        """`Streams`: opening, growing and closing are outcomes, whatever the platform says."""
        channel = self.make_channel()
        if not isinstance(channel, Streams):
            return
        platform = self.make_platform()
        whole = self.outgoing(Text(text="Hello there"))
        _, opened = self.run_steps(channel.open_stream(self.outgoing(Text(text="Hello"))), platform)
        self.assert_outcome(opened)
        stream = opened.mids[0] if isinstance(opened, Sent) and opened.mids else "1"
        _, grown = self.run_steps(channel.append(whole, stream, " there"), platform)
        _, closed = self.run_steps(channel.close_stream(whole, stream), platform)
        if isinstance(opened, Sent):
            self.assertIsInstance(grown, Sent)
            self.assertIsInstance(closed, Sent)
        streams: tuple[Callable[[], Steps[Outcome]], ...] = (
            lambda: channel.open_stream(whole),
            lambda: channel.append(whole, stream, " there"),
            lambda: channel.close_stream(whole, stream),
        )
        self._bears_all(lambda number: streams[number % len(streams)](), self.assert_outcome)

    def test_a_poll_brings_events_and_a_cursor_or_says_why_not(self) -> None:
        """`Polls`: any result and any cursor give events that can be stored, or `PlatformError`."""
        channel = self.make_channel()
        if not isinstance(channel, Polls):
            return

        def check(polled: Polled) -> None:
            msgspec.json.encode(polled.cursor)
            for event in polled.events:
                self.assert_event(channel, event)

        self._bears_all(lambda _: channel.poll(None), check, (PlatformError,))

        def check_cursor(cursor: JSON) -> None:
            with contextlib.suppress(PlatformError):
                check(self.run_steps(channel.poll(cursor), _nobody_answers)[1])

        for_all(check_cursor, JSON_VALUES, examples=50)

    def test_setting_up_ends_in_lines_or_says_why_not(self) -> None:
        """`Provisions`: a line for each difference, or `PlatformError`, or `ConfigError`."""
        channel = self.make_channel()
        if not isinstance(channel, Provisions):
            return

        def check(lines: tuple[str, ...]) -> None:
            for line in lines:
                self.assert_tells_no_secret(line)

        refusals = PlatformError, ConfigError
        self._bears_all(lambda number: channel.provision(_HOOK, dry_run=number % 2 == 0), check, refusals)

    def test_a_look_up_leaves_the_event_what_it_is(self) -> None:
        """`Resolves`: the event keeps its id, kind and place, whatever was found."""
        channel = self.make_channel()
        if not isinstance(channel, Resolves):
            return
        _, event = self.talking

        def check(resolved: Any) -> None:
            kept = (event.id, event.kind, event.address)
            self.assertEqual((resolved.id, resolved.kind, resolved.address), kept)
            to_json(resolved)

        self._bears_all(lambda _: channel.resolve(event), check, (PlatformError,))

    def test_fetching_keys_ends_whatever_comes_back(self) -> None:
        """`RenewsKeys`: keys that cannot be had leave those that there were."""
        channel = self.make_channel()
        if isinstance(channel, RenewsKeys):
            renewing = channel
            self._bears_all(lambda _: renewing.keys(), may_raise=(PlatformError,))

    def test_answers_are_responses(self) -> None:
        """`Answers`: nothing, one and each part can be said in the answer to the webhook."""
        channel = self.make_channel()
        if not isinstance(channel, Answers):
            return
        request, event = self.talking
        sends = tuple(self.outgoing(part, number) for number, part in enumerate(self._shown_parts()))
        several: tuple[tuple[Outgoing, ...], ...] = ((), *((one,) for one in sends), sends)
        for outgoing in several:
            self.assertIsInstance(channel.answer(request, outgoing), WebhookResponse)
        self.assertLess(channel.answer_later(request, event.id).status, 500)

    def test_accounts_are_known_or_not(self) -> None:
        """`KnowsAccounts`: the one that is talked to is known; no account whatever is an accident."""
        channel = self.make_channel()
        if not isinstance(channel, KnowsAccounts):
            return
        knowing = channel
        self.assertTrue(knowing.knows_account(self.address().account))
        for_all(lambda account: self.assertIn(knowing.knows_account(account), (True, False)), st.text())

    def test_what_it_plays_itself_is_authentic(self) -> None:
        """`Triggers` and `TriggersAt`: each kind is verified and has events, at another moment others."""
        channel = self.make_channel()
        playing = _playing(channel)
        if playing is None:
            return
        self.assertRaises(ValueError, playing, "no such kind", "x", self.now)
        for kind in self.trigger_kinds:
            ids = []
            for now, text in (
                (self.now, "one"),
                (self.now + 1, "one"),
                (self.now + 2, "two\n\u00f6 \U0001f44d"),
            ):
                request = playing(kind, text, now)
                channel.verify(request, now)
                ids += [event.id for event in self.events_of(channel, request) if not event.observe_only]
            self.assertTrue(ids, kind)
            self.assertEqual(len(set(ids)), len(ids), kind)

    def test_what_somebody_types_is_text_and_never_a_payload(self) -> None:
        """`Triggers` and `TriggersAt`: typed intents stay words; the core judges by what was offered."""
        channel = self.make_channel()
        playing = _playing(channel)
        if playing is None or "text" not in self.trigger_kinds:
            return
        for typed in ('/restart{"a": "b"}', "_inform[a=b]", "/x@0.9"):
            for event in self.events_of(channel, playing("text", typed, self.now)):
                payload = getattr(event, "payload", None)
                self.assertEqual((event.text, payload), (typed, None))

    def _bears_all(
        self,
        steps: Callable[[int], Steps[Any]],
        check: Callable[[Any], None] = lambda _: None,
        may_raise: tuple[type[Exception], ...] = (),
    ) -> None:
        """Run `steps(number)` with results of all kinds; what they return goes through `check`."""

        def run(number: int, results: list[CallResult]) -> None:
            waiting = list(results)

            def answer(call: Call) -> CallResult:
                return waiting.pop(0) if len(waiting) > 1 else waiting[0]

            try:
                _, value = self.run_steps(steps(number), answer)
            except may_raise as error:
                self.assert_tells_no_secret(str(error))
            else:
                check(value)

        results = st.lists(results_like(self._answers()), min_size=1, max_size=3)
        for_all(run, st.integers(0, 5), results)


def _nobody_answers(call: Call) -> CallResult:
    return CallResult(outcome="not_sent", error=f"refused\n{call.url}")


def _playing(channel: Any) -> Callable[[str, str, float], WebhookRequest] | None:
    """What plays the platform of `channel`; None where nothing does."""
    if isinstance(channel, TriggersAt):
        return partial(channel.trigger_at, url=_HOOK)
    return channel.trigger if isinstance(channel, Triggers) else None
