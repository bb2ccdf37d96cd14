"""Every reply gets an outcome that is stored; what waits holds up only what it must."""

from itertools import pairwise

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.delivery import Deliveries
from klein_channels.errors import StoreUnavailable
from klein_channels.model import Context, Refused, Retry, Sent, UnknownOutcome
from klein_channels.policy import Policy
from klein_channels.secret import Secret
from klein_channels.store import STORE_RETRY, EndOfTurn

from .doubles import NOW, Transport, address, arrival, clock_at, message, opened, said
from .test_conversation import FlakyStore

KEY = str(address())
OTHER = str(address("other"))


class DeliveryCase(SynchronousTestCase):
    policy = Policy(
        retry_first=1.0,
        retry_longest=300.0,
        retry_patience=86_400.0,
        unknown_wait=30.0,
        account_probe=60.0,
        max_sends=3,
        typing_cancel=0.3,
    )

    def setUp(self):
        self.clock = clock_at()
        self.inner = opened()
        self.addCleanup(self.inner.close)
        self.store = FlakyStore(self.inner)
        self.settled = []
        self.jitter = 0.0
        self.lines = []
        globalLogPublisher.addObserver(self.lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, self.lines.append)
        self.over(Transport())

    def over(self, transport):
        self.transport = transport
        self.deliveries = Deliveries(
            self.store,
            transport,
            self.policy,
            clock=self.clock,
            now=self.clock.seconds,
            jitter=lambda: self.jitter,
            settled=self.settled.append,
        )
        return transport

    def post(self, *texts, where=None, wake=True):
        where = where or address()
        rows = [said(text, part=n, address=where) for n, text in enumerate(texts)]
        self.successResultOf(self.inner.post(str(where), rows, None, self.clock.seconds()))
        if wake:
            self.deliveries.wake(str(where))

    def poll(self):
        for key in self.successResultOf(self.inner.due(self.clock.seconds(), 100)).replies:
            self.deliveries.wake(key)

    def pass_time(self, seconds, step=1.0):
        for _ in range(int(seconds / step)):
            self.clock.advance(step)
            self.poll()

    def rows(self, columns="state"):
        def ask(db):
            return [tuple(row) for row in db.execute(f"SELECT {columns} FROM outbox ORDER BY id")]

        found = self.successResultOf(self.inner._committer.run(ask))
        return [row[0] for row in found] if "," not in columns else found

    def reasons(self):
        return [letter.reason for letter in self.successResultOf(self.inner.dead_letters(None, 100))]


class ClaimedTests(DeliveryCase):
    """Replies that were claimed for us as their turn ended."""

    def ended(self, *texts):
        """A turn ends with `texts`, and what waits would be sent at once; its claim."""
        self.successResultOf(self.inner.enqueue([arrival(message())], NOW))
        started = self.successResultOf(self.inner.start_turn(KEY, NOW, deterministic=False))
        replies = tuple(said(text, part=number) for number, text in enumerate(texts))
        end = EndOfTurn(state="done", replies=replies, claims=True)
        return self.successResultOf(self.inner.end_turn(started.turn, end, NOW)).claim

    def test_it_is_sent_without_another_look_into_the_store(self):
        claim = self.ended("1", "2")
        self.store.claim_reply = None
        self.deliveries.wake(KEY, claim)
        self.assertEqual((self.transport.texts, self.rows()), (["1", "2"], ["sent", "sent"]))

    def test_a_stop_gives_it_back(self):
        claim = self.ended("1")
        self.deliveries.stop()
        self.deliveries.wake(KEY, claim)
        self.assertEqual((self.transport.texts, self.rows("state, repeated")), ([], [("waiting", 0)]))

    def test_what_does_not_begin_at_once_is_given_back_and_sent_in_its_turn(self):
        gates = [Deferred() for _ in range(3)]
        self.over(Transport(*gates))
        for other in "abc":
            self.post("x", where=address(other, account=other))
        claim = self.ended("1")
        self.deliveries.wake(KEY, claim)
        self.assertEqual(self.rows("state, tries, repeated")[-1], ("waiting", 0, 0))
        gates[0].callback(Sent())
        self.assertEqual((self.transport.texts, self.rows()[-1]), (["x", "x", "x", "1"], "sent"))

    def test_an_account_that_rests_gives_it_back(self):
        self.over(Transport(Retry(at=NOW + 100, scope="account")))
        self.post("x", where=address("other"))
        claim = self.ended("1")
        self.deliveries.wake(KEY, claim)
        self.assertEqual((self.transport.texts, self.rows("state, tries")[-1]), (["x"], ("waiting", 0)))
        self.clock.advance(100)
        self.assertEqual(self.rows()[-1], "sent")

    def test_what_would_be_sent_at_once(self):
        self.assertTrue(self.deliveries.would_send(KEY))
        self.over(Transport(Retry(at=NOW + 100, scope="account")))
        self.post("x", where=address("other"))
        self.assertFalse(self.deliveries.would_send(KEY))
        self.over(Transport(*(Deferred() for _ in range(3))))
        self.post("x")
        self.assertEqual((self.deliveries.would_send(KEY), self.deliveries.would_send(OTHER)), (False, True))
        self.post("x", where=address("a"))
        self.post("x", where=address("b"))
        self.assertFalse(self.deliveries.would_send(OTHER))
        self.deliveries.stop()
        self.assertFalse(self.deliveries.would_send(OTHER))


class SendTests(DeliveryCase):
    def test_in_order_with_all_that_a_channel_wants_to_know(self):
        self.successResultOf(self.inner.enqueue([arrival(message(id="m-1"))], NOW - 5))
        self.post("1", "2")
        self.assertEqual((self.transport.texts, self.rows()), (["1", "2"], ["sent", "sent"]))
        sent = self.transport.sent[0]
        self.assertEqual((sent.address, sent.attempt, sent.now), (address(), 1, NOW))
        self.assertEqual((sent.context.last_event, sent.context.last_at), ("m-1", NOW - 5))
        self.assertEqual(self.rows("mids"), [b'["mid"]'] * 2)
        self.assertEqual(self.settled, [KEY, KEY])

    def test_the_second_waits_for_the_first(self):
        gate = Deferred()
        self.over(Transport(gate))
        self.post("1", "2")
        self.assertEqual(self.transport.texts, ["1"])
        gate.callback(Sent())
        self.assertEqual(self.transport.texts, ["1", "2"])

    def test_a_wake_during_a_send_is_not_lost(self):
        gate = Deferred()
        self.over(Transport(gate))
        self.post("1")
        self.post("2")
        gate.callback(Sent())
        self.assertEqual(self.transport.texts, ["1", "2"])

    def test_a_slow_person_delays_no_other(self):
        self.over(Transport(Deferred()))
        self.post("1")
        self.post("2", where=address("other"))
        self.assertEqual(self.transport.texts, ["1", "2"])

    def test_no_more_at_once_than_the_policy_says(self):
        gates = [Deferred() for _ in range(6)]
        self.over(Transport(*gates))
        for number in range(5):
            self.post(str(number), where=address(str(number), account=str(number)))
        self.assertEqual(self.transport.texts, ["0", "1", "2"])
        gates[1].callback(Sent())
        self.assertEqual(self.transport.texts, ["0", "1", "2", "3"])

    def test_many_conversations_behind_one_need_no_stack(self):
        self.policy = Policy(max_sends=1)
        gate = Deferred()
        self.over(Transport(gate))
        for number in range(1000):
            self.post(str(number), where=address(str(number)))
        gate.callback(Sent())
        self.assertEqual(len(self.transport.sent), 1000)

    def test_what_follows_a_send_at_once_is_sent_once(self):
        def settled(key):
            self.settled.append(key)
            if len(self.settled) == 1:
                self.post("2")

        self.deliveries._settled = settled
        self.post("1")
        self.assertEqual(self.transport.texts, ["1", "2"])

    def test_a_human_keeps_the_bot_silent(self):
        self.successResultOf(self.inner.set_owner(KEY, "human", NOW))
        self.post("1")
        self.assertEqual((self.transport.sent, self.rows()), ([], ["withheld"]))


class RetryTests(DeliveryCase):
    def times(self, outcome, seconds, step=1.0):
        """When something was tried, in seconds from the start."""
        self.over(Transport())
        self.transport.outcomes.then = outcome
        self.post("1")
        self.pass_time(seconds, step)
        return [sent.now - NOW for sent in self.transport.sent]

    def test_waits_double_up_to_five_minutes(self):
        times = self.times(Retry(reason="429"), 1500)
        waits = [later - earlier for earlier, later in pairwise(times)]
        self.assertEqual(waits[:11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300])

    def test_jitter_shortens_them_to_as_little_as_half(self):
        self.jitter = 1.0
        times = self.times(Retry(), 30, 0.5)
        self.assertEqual(times[:5], [0, 0.5, 1.5, 3.5, 7.5])

    def test_after_a_day_it_is_a_dead_letter(self):
        times = self.times(Retry(reason="no answer"), 90_000, 300.0)
        self.assertLessEqual(times[-1], 86_400)
        self.assertEqual((self.rows(), self.reasons()), (["dead"], ["given up after 86400 s: no answer"]))

    def test_a_platforms_own_window_goes_before_the_policys(self):
        self.over(Transport(patience=10.0))
        self.transport.outcomes.then = Retry(reason="x")
        self.post("1")
        self.pass_time(12)
        self.assertEqual(self.reasons(), ["given up after 10 s: x"])

    def test_no_earlier_than_the_platform_says(self):
        self.assertEqual(self.times(Retry(at=NOW + 20), 19), [0])
        self.pass_time(1)
        self.assertEqual(len(self.transport.sent), 2)

    def test_a_time_beyond_patience_ends_it(self):
        self.times(Retry(at=NOW + 86_401, reason="tomorrow"), 1)
        self.assertEqual(self.rows(), ["dead"])

    def test_the_id_stays_and_the_attempt_counts(self):
        self.times(Retry(), 4)
        self.assertEqual(len({sent.id for sent in self.transport.sent}), 1)
        self.assertEqual([sent.attempt for sent in self.transport.sent], [1, 2, 3])

    def test_one_that_waits_holds_up_its_own_conversation_only(self):
        self.over(Transport(Retry(scope="conversation", reason="x")))
        self.post("1", "2")
        self.post("x", where=address("other"))
        self.assertEqual(self.transport.texts, ["1", "x"])
        self.pass_time(1)
        self.assertEqual(self.transport.texts, ["1", "x", "1", "2"])


class RefusedTests(DeliveryCase):
    def test_a_message_that_is_refused_lets_the_next_pass(self):
        self.over(Transport(Refused(reason="too long")))
        self.post("1", "2")
        self.assertEqual((self.transport.texts, self.rows()), (["1", "2"], ["dead", "sent"]))
        self.assertEqual(self.reasons(), ["too long"])

    def test_a_conversation_that_is_refused_waits_for_its_person(self):
        self.over(Transport(Refused(reason="window", scope="conversation")))
        self.post("1", "2")
        self.pass_time(1000, 10)
        self.assertEqual((self.transport.texts, self.rows()), (["1"], ["held", "waiting"]))
        self.successResultOf(self.inner.enqueue([arrival(message())], self.clock.seconds()))
        self.poll()
        self.assertEqual(self.transport.texts, ["1", "1", "2"])

    def test_a_conversation_held_beyond_patience_is_dead_and_the_next_is_tried(self):
        self.over(Transport(Refused(reason="window", scope="conversation"), patience=50.0))
        self.post("1", "2")
        self.pass_time(50)
        self.assertEqual((self.transport.texts, self.rows()), (["1", "2"], ["dead", "sent"]))

    def test_an_account_that_is_refused_stops_all_of_it_and_nothing_is_lost(self):
        self.over(Transport(Refused(reason="token", scope="account")))
        self.post("1")
        self.post("2", where=address("other"))
        self.post("x", where=address("p", account="another"))
        self.post("y", where=address("p", channel="another"))
        self.assertEqual(self.transport.texts, ["1", "x", "y"])
        self.pass_time(59)
        self.assertEqual(self.transport.texts, ["1", "x", "y"])
        self.pass_time(1)
        self.assertEqual(sorted(self.transport.texts[3:]), ["1", "2"])
        self.assertEqual(self.rows(), ["sent"] * 4)

    def test_an_account_that_asks_for_time_gets_it_as_a_whole(self):
        self.over(Transport(Retry(at=NOW + 100, scope="account", reason="rate")))
        self.post("1")
        self.post("2", where=address("other"))
        self.pass_time(99)
        self.assertEqual(self.transport.texts, ["1"])
        self.pass_time(2)
        self.assertEqual(sorted(self.transport.texts[1:]), ["1", "2"])

    def test_a_shorter_pause_does_not_end_a_longer_one(self):
        gate = Deferred()
        self.over(Transport(gate, Retry(at=NOW + 500, scope="account")))
        self.post("1")
        self.post("2", where=address("other"))
        gate.callback(Retry(at=NOW + 10, scope="account"))
        self.post("3", where=address("third"))
        self.pass_time(100)
        self.assertEqual(self.transport.texts, ["1", "2"])

    def test_an_account_that_stays_refused_dead_letters_nothing(self):
        self.over(Transport())
        self.transport.outcomes.then = Refused(reason="token", scope="account")
        self.post("1")
        self.pass_time(3 * 86_400, 600)
        self.assertEqual((self.rows(), self.reasons()), (["waiting"], []))


class UnknownTests(DeliveryCase):
    def test_it_is_sent_once_more_and_marked(self):
        self.over(Transport(UnknownOutcome(reason="cut")))
        self.post("1", "2")
        self.pass_time(29)
        self.assertEqual(self.transport.texts, ["1"])
        self.pass_time(1)
        self.assertEqual(self.transport.texts, ["1", "1", "2"])
        self.assertEqual(self.rows("state, repeated"), [("sent", 1), ("sent", 0)])
        self.assertEqual(len([line for line in self.lines if line.get("id") == self.transport.sent[0].id]), 1)

    def test_twice_unknown_is_a_dead_letter(self):
        self.over(Transport())
        self.transport.outcomes.then = UnknownOutcome(reason="cut")
        self.post("1")
        self.pass_time(30)
        self.assertEqual(
            (len(self.transport.sent), self.reasons()), (2, ["its outcome is unknown, twice: cut"])
        )

    def test_a_fault_of_ours_is_a_dead_letter_and_not_repeated(self):
        for error in (ZeroDivisionError("x"), ValueError("\ud800\0")):
            self.over(Transport(fail(error)))
            self.post("1")
        self.pass_time(100)
        self.assertEqual(self.rows(), ["dead", "dead"])
        self.assertEqual(self.reasons()[0], "ZeroDivisionError: x")
        # The log of these tests cannot write the second one down, and says so too.
        logged = {failure.type for failure in self.flushLoggedErrors()}
        self.assertLessEqual({ZeroDivisionError, ValueError}, logged)

    def test_no_reason_shows_a_secret(self):
        secret = Secret("EAAGhunter2hunter2")
        self.over(Transport(Refused(reason=f"bad token {secret.reveal()}")))
        self.post("1")
        self.assertNotIn("hunter2", self.reasons()[0])

    def test_a_platforms_odd_words_can_be_stored(self):
        self.over(Transport(Refused(reason="\ud800 a\0b"), Sent(mids=("\ud800",))))
        self.post("1", "2")
        self.assertEqual(self.rows(), ["dead", "sent"])


class StoreAwayTests(DeliveryCase):
    def test_an_outcome_is_kept_until_it_can_be_stored(self):
        self.store.away["settle_reply"] = 3
        self.post("1", "2")
        self.assertEqual((self.transport.texts, self.rows()), (["1"], ["sending", "waiting"]))
        for _ in range(3):
            self.clock.advance(STORE_RETRY)
        self.assertEqual((self.transport.texts, self.rows()), (["1", "2"], ["sent", "sent"]))

    def test_before_a_send_the_poll_finds_it_again(self):
        self.store.away["claim_reply"] = 1
        self.post("1")
        self.assertEqual(self.transport.sent, [])
        self.poll()
        self.assertEqual(self.transport.texts, ["1"])
        self.flushLoggedErrors(StoreUnavailable)

    def test_at_the_end_nobody_waits_for_it(self):
        gate = Deferred()
        self.over(Transport(gate))
        self.post("1")
        self.store.away["settle_reply"] = 100
        stopped = self.deliveries.stop()
        gate.callback(Sent())
        self.successResultOf(stopped)
        self.assertEqual(self.rows(), ["sending"])
        self.flushLoggedErrors(StoreUnavailable)


class StopTests(DeliveryCase):
    def test_what_is_under_way_ends_and_nothing_begins(self):
        gate = Deferred()
        self.over(Transport(gate))
        self.post("1", "2")
        stopped = self.deliveries.stop()
        self.post("x", where=address("other"))
        self.assertNoResult(stopped)
        gate.callback(Sent())
        self.successResultOf(stopped)
        self.assertEqual((self.transport.texts, self.rows()), (["1"], ["sent", "waiting", "waiting"]))

    def test_what_is_given_up_stays_under_way_for_the_next_server(self):
        cancelled = []
        self.over(Transport(Deferred(cancelled.append)))
        self.post("1")
        stopped = self.deliveries.stop()
        self.deliveries.give_up()
        self.successResultOf(stopped)
        self.assertEqual((len(cancelled), self.rows()), (1, ["sending"]))

    def test_at_once_where_nothing_is_under_way(self):
        self.successResultOf(self.deliveries.stop())
        self.deliveries.give_up()


class TypingTests(DeliveryCase):
    def setUp(self):
        super().setUp()
        self.cancelled = []
        self.sign = Deferred(self.cancelled.append)
        self.transport.typing_result = lambda: self.sign

    def show(self):
        self.deliveries.show_typing(KEY, address(), True, Context())

    def test_a_reply_waits_for_it_but_not_long(self):
        self.show()
        self.post("1")
        self.clock.advance(0.29)
        self.assertEqual((self.transport.texts, self.cancelled), ([], []))
        self.clock.advance(0.01)
        self.assertEqual((self.transport.texts, len(self.cancelled)), (["1"], 1))

    def test_one_that_ends_by_itself_lets_the_reply_go_at_once(self):
        self.show()
        self.post("1")
        self.sign.callback(None)
        self.assertEqual((self.transport.texts, self.clock.getDelayedCalls()), (["1"], []))

    def test_none_is_shown_while_one_is_or_a_reply_is_on_its_way(self):
        self.show()
        self.show()
        self.assertEqual(len(self.transport.typing), 1)
        self.sign.callback(None)
        self.transport.outcomes.results = [Deferred()]
        self.post("1")
        self.show()
        self.assertEqual(len(self.transport.typing), 1)

    def test_one_that_fails_disturbs_nothing_and_is_not_retried(self):
        self.show()
        self.sign.errback(ValueError("no"))
        self.post("1")
        self.pass_time(10)
        self.assertEqual((self.transport.texts, len(self.transport.typing)), (["1"], 1))

    def test_one_that_is_done_at_once_can_be_shown_again(self):
        self.transport.typing_result = lambda: succeed(None)
        self.show()
        self.show()
        self.assertEqual(self.transport.typing, [(KEY, True)] * 2)

    def test_a_stop_ends_them_and_shows_no_more(self):
        self.show()
        self.successResultOf(self.deliveries.stop())
        self.assertEqual(len(self.cancelled), 1)
        self.show()
        self.assertEqual(len(self.transport.typing), 1)

    def test_given_up_while_a_reply_waits_for_one(self):
        self.show()
        self.post("1")
        for work in list(self.deliveries._lanes._working.values()):
            work.addErrback(lambda failure: failure.trap(CancelledError))
        self.deliveries.give_up()
        self.clock.advance(1)
        self.assertEqual((self.transport.texts, self.rows()), ([], ["sending"]))
