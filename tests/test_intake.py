"""The one door: what is acknowledged is stored, what is refused touched nothing."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import ChannelOptions
from klein_channels.errors import (
    MalformedWebhook,
    StoreFull,
    StoreUnavailable,
    UnknownKey,
    VerificationError,
)
from klein_channels.intake import Intake, conversation_key, dedupe_key, is_turn
from klein_channels.model import (
    CallResult,
    Echo,
    Handover,
    MessageReceived,
    Postback,
    Reaction,
    Receipt,
    Received,
    Referral,
    Sender,
    Unknown,
    WebhookResponse,
)
from klein_channels.policy import Policy
from klein_channels.store import Cursor

from .doubles import NOW, PlainChannel, Scripted, address, clock_at, message, opened, request


class StoreDouble:
    """Commits when the test says so."""

    instance = "0a1b2c3d"

    def __init__(self, *results):
        self.enqueue = Scripted(*results, then=lambda arrivals, now: succeed(list(range(len(arrivals)))))

    @property
    def arrivals(self):
        return [arrival for asked in self.enqueue.asked for arrival in asked[0]]


class IntakeCase(SynchronousTestCase):
    def setUp(self):
        self.clock = clock_at()
        self.channel = PlainChannel()
        self.committed = []
        self.troubles = []
        self.fetches = []
        self.made(StoreDouble())
        self.lines = []
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)

    def made(self, store):
        self.store = store
        self.intake = Intake(
            store,
            Policy(ack_deadline=10.0),
            clock=self.clock,
            now=self.clock.seconds,
            run_steps=self.run_steps,
            after_commit=self.committed.extend,
            not_stored=self.troubles.append,
        )

    def run_steps(self, steps):
        list(steps)
        done = Deferred()
        self.fetches.append(done)
        return done

    def brings(self, *events, response=None):
        self.channel.reading = lambda request: Received(events=events, response=response)

    def receive(self, body=b"{}"):
        return self.intake.receive(self.channel, request(body))

    def status(self, answer=None):
        return self.successResultOf(answer or self.receive()).status

    def logged(self, words):
        return [line for line in self.lines if words in (line.get("log_format") or "")]


class AcceptTests(IntakeCase):
    def test_stored_then_answered_then_told(self):
        commit = Deferred()
        self.made(StoreDouble(commit))
        self.brings(message("a"), message("b"))
        answer = self.receive()
        self.assertNoResult(answer)
        self.assertEqual(self.committed, [])
        commit.callback([1, 2])
        self.assertEqual(self.status(answer), 200)
        self.assertEqual([arrival.event.text for arrival in self.committed], ["a", "b"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_only_what_was_new_is_told(self):
        self.made(StoreDouble(succeed([None, 7, None])))
        self.brings(message("a"), message("b"), message("c"))
        self.assertEqual(self.status(), 200)
        self.assertEqual([arrival.event.text for arrival in self.committed], ["b"])

    def test_a_batch_of_duplicates_tells_nothing(self):
        self.made(StoreDouble(succeed([None])))
        self.brings(message())
        self.assertEqual((self.status(), self.committed), (200, []))

    def test_the_channels_own_answer_is_given(self):
        own = WebhookResponse(status=202, body=b"mine")
        for events in ((), (message(),)):
            self.brings(*events, response=own)
            self.assertIs(self.successResultOf(self.receive()), own)

    def test_without_events_the_store_is_not_asked(self):
        self.assertEqual((self.status(), self.store.enqueue.asked), (200, []))

    def test_what_is_decided_about_an_event(self):
        self.brings(
            message("hi"),
            Receipt(id="r", address=address(), status="read"),
            Handover(id="h", address=address(), action="take", owner="human"),
            message("standby", observe_only=True),
        )
        self.receive()
        found = [(arrival.turn, arrival.by_person, arrival.owner) for arrival in self.store.arrivals]
        self.assertEqual(
            found, [(True, True, None), (False, False, None), (False, False, "human"), (False, False, None)]
        )

    def test_an_echo_settles_only_a_row_of_this_store(self):
        mine = self.store.instance
        metadata = [f"{mine}-7", "ffffffff-7", "-7", "7", "", None, f"{mine}-", f"{mine}-x", f"{mine}--7"]
        metadata += [f"{mine}-²", f"{mine}-{'9' * 30}", f"{mine}-7 "]
        self.brings(
            *[Echo(id=str(n), address=address(), mid="m", metadata=m) for n, m in enumerate(metadata)]
        )
        self.receive()
        self.assertEqual([arrival.settles for arrival in self.store.arrivals], [7] + [None] * 11)
        self.assertEqual(self.store.arrivals[0].mid, "m")


class NotStoredTests(IntakeCase):
    def test_whatever_the_store_says_no_200(self):
        for error in (StoreUnavailable("disk full"), StoreFull("9 wait"), ValueError("a fault")):
            with self.subTest(error=error):
                self.made(StoreDouble(fail(error)))
                self.brings(message())
                answer = self.successResultOf(self.receive())
                self.assertEqual((answer.status, dict(answer.headers)[b"retry-after"]), (503, b"5"))
                self.assertEqual(self.troubles.pop(), str(error))
        self.assertEqual(self.committed, [])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_also_when_it_says_so_later(self):
        commit = Deferred()
        self.made(StoreDouble(commit))
        self.brings(message())
        answer = self.receive()
        commit.errback(StoreUnavailable("gone"))
        self.assertEqual((self.status(answer), self.clock.getDelayedCalls()), (503, []))

    def test_the_log_is_told_once_a_minute(self):
        self.made(StoreDouble(*[fail(StoreUnavailable("gone")) for _ in range(4)]))
        self.brings(message())
        for _ in range(3):
            self.assertEqual(self.status(), 503)
        self.assertEqual(len(self.logged("answered 503")), 1)
        self.clock.advance(60)
        self.receive()
        self.assertEqual([line["kept_back"] for line in self.logged("answered 503")], [0, 2])


class PausedTests(IntakeCase):
    def test_what_is_polled_from_a_place_that_rejects_is_asked_for_again(self):
        self.made(opened())
        self.addCleanup(self.store.close)
        self.intake._refuses = lambda events: True
        cursor = Cursor(name="plain:a", value=b"7")
        self.assertFalse(self.successResultOf(self.intake.take(self.channel, [message()], cursor)))
        self.assertIsNone(self.successResultOf(self.store.cursor("plain:a")))
        self.intake._refuses = lambda events: False
        self.assertTrue(self.successResultOf(self.intake.take(self.channel, [message()], cursor)))


class ShieldTests(IntakeCase):
    def setUp(self):
        super().setUp()
        self.commit = Deferred()
        self.made(StoreDouble(self.commit))
        self.brings(message("late"))
        self.answer = self.receive()

    def test_too_long_is_503_and_the_commit_still_counts(self):
        self.clock.advance(9.9)
        self.assertNoResult(self.answer)
        self.clock.advance(0.1)
        self.assertEqual(self.status(self.answer), 503)
        self.commit.callback([1])
        self.assertEqual([arrival.event.text for arrival in self.committed], ["late"])

    def test_too_long_and_then_a_failure(self):
        self.clock.advance(10)
        self.assertEqual(self.status(self.answer), 503)
        self.commit.errback(StoreUnavailable("gone"))
        self.assertEqual((self.committed, self.troubles), ([], ["gone"]))

    def test_a_client_that_hangs_up_leaves_the_commit_alone(self):
        cancelled = []
        self.commit.addErrback(cancelled.append)
        self.answer.cancel()
        self.failureResultOf(self.answer, CancelledError)
        self.assertEqual((cancelled, self.clock.getDelayedCalls()), ([], []))
        self.commit.callback([1])
        self.assertEqual([arrival.event.text for arrival in self.committed], ["late"])

    def test_a_client_that_hangs_up_before_a_failure(self):
        self.answer.cancel()
        self.failureResultOf(self.answer, CancelledError)
        self.commit.errback(StoreUnavailable("gone"))
        self.assertEqual(self.troubles, ["gone"])

    def test_a_fault_behind_the_commit_does_not_leave_the_client_waiting(self):
        self.intake._after_commit = lambda arrivals: 1 / 0
        self.commit.callback([1])
        self.assertEqual(self.status(self.answer), 200)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class FaultBehindACommitTests(IntakeCase):
    def test_what_is_stored_is_acknowledged_whatever_comes_after(self):
        self.brings(message())
        self.intake._after_commit = lambda arrivals: 1 / 0
        self.assertEqual(self.status(), 200)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class RefusedTests(IntakeCase):
    def refuse(self, error):
        self.channel.refusal = error

    def test_the_status_is_the_errors_and_nothing_is_touched(self):
        self.brings(message())
        for status in (401, 403, 405):
            self.refuse(VerificationError("no", status))
            self.assertEqual(self.status(), status)
        self.assertEqual((self.store.enqueue.asked, self.committed), ([], []))

    def test_the_answer_does_not_say_why(self):
        self.refuse(VerificationError("signature is 3c9f"))
        self.assertEqual(self.successResultOf(self.receive()).body, b"")

    def test_a_flood_of_refusals_is_a_line_a_minute(self):
        self.refuse(VerificationError("no signature"))
        for _ in range(500):
            self.receive()
        self.assertEqual(len(self.logged("refused a request")), 1)
        self.clock.advance(60)
        self.receive()
        self.assertEqual(self.logged("refused a request")[1]["kept_back"], 499)

    def test_the_log_holds_nothing_of_the_stranger(self):
        self.refuse(VerificationError("no signature"))
        self.intake.receive(self.channel, request(b"stranger danger", headers=((b"x-evil", b"stranger"),)))
        self.assertNotIn("stranger", repr(self.logged("refused a request")))


class KeyTests(IntakeCase):
    """A channel whose keys are fetched."""

    class Renewing(PlainChannel):
        def keys(self):
            self.asked = getattr(self, "asked", 0) + 1
            return
            yield CallResult(outcome="answered")

    def setUp(self):
        super().setUp()
        self.channel = self.Renewing()
        self.channel.refusal = UnknownKey("key 7 is not known")
        self.brings(message("signed"))

    def test_with_the_new_key_the_request_is_taken(self):
        answer = self.receive()
        self.assertNoResult(answer)
        self.channel.refusal = None
        self.fetches[0].callback(None)
        self.assertEqual(self.status(answer), 200)
        self.assertEqual(len(self.committed), 1)

    def test_without_it_the_request_is_refused(self):
        answer = self.receive()
        self.fetches[0].callback(None)
        self.assertEqual((self.status(answer), self.committed), (403, []))

    def test_when_the_keys_cannot_be_fetched_the_request_is_refused(self):
        answer = self.receive()
        self.fetches[0].errback(ValueError("no network"))
        self.assertEqual((self.status(answer), self.committed), (403, []))

    def test_strangers_cannot_make_us_fetch_more_than_once_a_minute(self):
        first = self.receive()
        self.assertEqual([self.status(self.receive()) for _ in range(50)], [403] * 50)
        self.fetches[0].callback(None)
        self.assertEqual(self.status(first), 403)
        self.assertEqual(len(self.fetches), 1)
        self.clock.advance(60)
        self.receive()
        self.assertEqual(len(self.fetches), 2)

    def test_a_channel_without_keys_refuses(self):
        self.channel = PlainChannel()
        self.channel.refusal = UnknownKey("?")
        self.assertEqual((self.status(), self.fetches), (403, []))


class MalformedTests(IntakeCase):
    def malformed(self, error, body=b"\xff{"):
        self.channel.reading = Scripted(then=error)
        status = self.status(self.receive(body))
        return status, self.store.arrivals[-1]

    def test_it_is_kept_for_observers_and_answered_as_the_platform_wants(self):
        status, arrival = self.malformed(MalformedWebhook("not JSON"))
        self.assertEqual((status, arrival.turn, arrival.by_person), (422, False, False))
        self.assertEqual((arrival.event.kind, arrival.event.name), ("unknown", "malformed"))
        self.assertEqual(arrival.event.raw, {"reason": "not JSON", "body": "\\xff{"})

    def test_a_fault_of_the_channel_is_ours_and_logged(self):
        for error in (KeyError("entry"), RecursionError(), UnicodeDecodeError("utf-8", b"", 0, 1, "x")):
            with self.subTest(error=error):
                status, arrival = self.malformed(error)
                self.assertEqual((status, arrival.event.raw["reason"]), (422, "not understood"))
                self.assertEqual(len(self.flushLoggedErrors(type(error))), 1)

    def test_the_same_body_is_the_same_event_and_another_is_another(self):
        keys = [self.malformed(MalformedWebhook("x"), body)[1].dedupe for body in (b"a", b"b", b"a")]
        self.assertEqual((keys[0] == keys[2], keys[0] == keys[1]), (True, False))

    def test_it_can_be_stored(self):
        store = opened()
        self.addCleanup(store.close)
        self.made(store)
        self.channel.reading = Scripted(then=MalformedWebhook("x"))
        for body in (b"\xff\xfe\x00", b"", "\ud800".encode("utf-8", "surrogatepass"), b"x" * 100_000):
            self.assertEqual(self.status(self.receive(body)), 422)

    def test_a_handshake_that_cannot_be_read(self):
        self.channel.reading = Scripted(then=MalformedWebhook("x"))
        answer = self.intake.receive(self.channel, request(b"", method="GET"))
        self.assertEqual(self.status(answer), 422)


class ConversationTests(SynchronousTestCase):
    def key(self, setting, event):
        return conversation_key(event, ChannelOptions(conversation=setting))

    def test_what_makes_a_conversation(self):
        threaded = message(address=address(thread="t"), sender=Sender(id="s"))
        plain = message(sender=Sender(id="s"))
        nobody = Receipt(id="r", address=address(thread="t"), status="read")
        self.assertEqual(
            [
                [self.key(setting, event) for event in (threaded, plain, nobody)]
                for setting in ("thread", "chat", "sender")
            ],
            [
                ["plain:a:p:t", "plain:a:p", "plain:a:p:t"],
                ["plain:a:p", "plain:a:p", "plain:a:p"],
                ["plain:a:p:s", "plain:a:p:s", "plain:a:p:p"],
            ],
        )

    def test_senders_of_a_group_do_not_share_one(self):
        keys = {self.key("sender", message(sender=Sender(id=name))) for name in ("a", "b", "a:b", "a%3Ab")}
        self.assertEqual(len(keys), 4)

    def test_an_agent_answers_the_usual_and_what_the_channel_names(self):
        referral = Referral(id="1", address=address())
        reaction = Reaction(id="1", address=address())
        more = ChannelOptions(turns=("referral",))
        self.assertEqual(
            [is_turn(event, more) for event in (message(), referral, reaction)], [True, True, False]
        )
        self.assertFalse(is_turn(referral, ChannelOptions()))
        self.assertFalse(is_turn(Unknown(id="1", address=address(), name="message"), more))

    def test_what_is_only_to_be_observed_is_never_a_turn(self):
        for event in (message(observe_only=True), Referral(id="1", address=address(), observe_only=True)):
            self.assertFalse(is_turn(event, ChannelOptions(turns=("referral",))))


EVENTS = st.builds(
    lambda cls, id, channel, timestamp: cls(id=id, address=address(channel=channel), timestamp=timestamp),
    st.sampled_from([MessageReceived, Postback, Reaction, Referral]),
    st.text(st.characters(), max_size=4),
    st.text(st.characters(), max_size=4),
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)


class DedupeTests(SynchronousTestCase):
    @given(EVENTS, EVENTS)
    @settings(deadline=None, derandomize=True, max_examples=300)
    def test_same_channel_kind_and_id_same_key(self, one, other):
        def identity(event):
            return event.address.channel, event.kind, event.id

        keys = {dedupe_key(event, stable_timestamps=False) for event in (one, other)}
        self.assertEqual(len(keys), len({identity(one), identity(other)}))

    @given(EVENTS, st.booleans())
    @settings(deadline=None, derandomize=True, max_examples=300)
    def test_keys_have_one_length_and_lie_by_the_hour(self, event, stable):
        key = dedupe_key(event, stable_timestamps=stable)
        self.assertEqual(len(key), 16)
        hour = int.from_bytes(key[:4], "big")
        if not stable or event.timestamp is None or event.timestamp < 3600:
            self.assertEqual(hour, 0)
        else:
            self.assertEqual(hour, min(event.timestamp // 3600, 2**32 - 1))

    def test_the_id_of_one_channel_is_not_that_of_another(self):
        pairs = [("ab", "c"), ("a", "bc"), ("", "abc"), ("a\0message\0b", "c")]
        keys = {
            dedupe_key(message(id=id, address=address(channel=channel)), stable_timestamps=False)
            for channel, id in pairs
        }
        self.assertEqual(len(keys), len(pairs))

    def test_where_redeliveries_have_new_timestamps_these_do_not_count(self):
        first, again = (message(id="1", timestamp=t) for t in (NOW, NOW + 7200))
        self.assertEqual(
            dedupe_key(first, stable_timestamps=False), dedupe_key(again, stable_timestamps=False)
        )
        self.assertNotEqual(
            dedupe_key(first, stable_timestamps=True), dedupe_key(again, stable_timestamps=True)
        )

    def test_timestamps_that_are_no_time(self):
        for timestamp in (float("inf"), float("-inf"), float("nan"), -1.0, 1e300):
            key = dedupe_key(message(id="1", timestamp=timestamp), stable_timestamps=True)
            self.assertEqual(len(key), 16)


class WholeTests(IntakeCase):
    def test_a_redelivery_is_handled_once(self):
        store = opened()
        self.addCleanup(store.close)
        self.made(store)
        event = message("hi", timestamp=NOW)
        self.brings(event)
        for _ in range(3):
            self.assertEqual(self.status(), 200)
        self.assertEqual([arrival.event for arrival in self.committed], [event])
