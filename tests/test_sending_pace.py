"""What an account may send, when; who sends first; what waits costs nothing and holds up nobody else."""

from twisted.internet.defer import Deferred

from klein_channels.model import Context, Message, Pace, Refused, Retry, Sent, Text, UnknownOutcome, Video
from klein_channels.policy import Policy
from klein_channels.rates import Rate
from klein_channels.store import Reply

from .doubles import NOW, Transport, address
from .test_delivery import DeliveryCase


class PaceCase(DeliveryCase):
    policy = Policy(max_sends=90, unknown_wait=30.0, account_probe=60.0, outage_after=3, outage_longest=8.0)

    def crowd(self, count, account="a", first=0, wake=True):
        """One message each to many people."""
        for number in range(first, first + count):
            self.post(f"{account}{number}", where=address(f"p{number}", account=account), wake=wake)

    def sent_at(self, account=None):
        return [
            round(sent.now - NOW, 3)
            for sent in self.transport.sent
            if account in (None, sent.address.account)
        ]

    def run_for(self, seconds):
        """Let time pass, stopping wherever something is due."""
        end = self.clock.seconds() + seconds
        while True:
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            if due >= end:
                break
            self.clock.advance(max(due - self.clock.seconds(), 0.0))
        self.clock.advance(end - self.clock.seconds())

    def state(self, account="a"):
        return next(state for state in self.deliveries.accounts() if state.account == account)


class RateTests(PaceCase):
    def test_an_account_sends_no_faster_than_its_rate(self):
        self.over(Transport(rates=(Rate(count=10, burst=3),)))
        self.crowd(20)
        self.assertEqual(len(self.transport.sent), 3)
        self.run_for(1)
        self.assertEqual(len(self.transport.sent), 13)
        self.run_for(1)
        self.assertEqual(len(self.transport.sent), 20)
        self.assertEqual(self.rows(), ["sent"] * 20)

    def test_a_strict_rate_counts_what_is_on_its_way_and_what_was_answered_lately(self):
        gates = [Deferred() for _ in range(4)]
        self.over(Transport(*gates, rates=(Rate(count=4, burst=4, strict=True),)))
        self.crowd(12)
        self.assertEqual(len(self.transport.sent), 4)
        self.run_for(5)
        self.assertEqual(len(self.transport.sent), 4)
        for gate in gates:
            gate.callback(Sent())
        self.run_for(0.9)
        self.assertEqual(len(self.transport.sent), 4)
        self.run_for(0.2)
        self.assertEqual(len(self.transport.sent), 8)
        self.run_for(1.1)
        self.assertEqual(self.rows(), ["sent"] * 12)

    def test_accounts_have_a_rate_each(self):
        self.over(Transport(rates=(Rate(count=1),)))
        self.crowd(2, "a")
        self.crowd(2, "b")
        self.assertEqual(self.transport.texts, ["a0", "b0"])

    def test_a_chat_has_one_too_and_holds_up_no_other(self):
        self.over(Transport(rates=(Rate(count=1, per="conversation"),)))
        self.post("1", "2", "3")
        self.post("x", where=address("other"))
        self.assertEqual(self.transport.texts, ["1", "x"])
        self.run_for(3)
        self.assertEqual((self.transport.texts, self.sent_at()), (["1", "x", "2", "3"], [0, 0, 1, 2]))

    def test_threads_of_one_chat_share_its_rate(self):
        self.over(Transport(rates=(Rate(count=1, per="conversation"),)))
        self.post("1", where=address("chat", thread="t1"))
        self.post("2", where=address("chat", thread="t2"))
        self.assertEqual(self.transport.texts, ["1"])

    def test_nothing_is_asked_of_the_store_while_all_wait(self):
        self.over(Transport(rates=(Rate(count=1, seconds=100),)))
        self.crowd(50)
        self.store.asked.clear()
        self.run_for(90)
        self.assertEqual(self.store.asked, [])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_kinds_with_a_rate_of_their_own_wait_alone_and_one_after_the_other(self):
        self.over(Transport(rates=(Rate(count=2, kinds=("video",)), Rate(count=100, burst=50))))
        for number in range(6):
            where = address(f"v{number}")
            row = Reply(address=where, message=Message(parts=(Video(url="u"),)))
            self.successResultOf(self.inner.post(str(where), [row], None, self.clock.seconds()))
            self.deliveries.wake(str(where))
        self.crowd(5)
        self.assertEqual(len([sent for sent in self.transport.sent if isinstance(sent.part, Text)]), 5)
        self.run_for(3)
        videos = [round(sent.now - NOW, 2) for sent in self.transport.sent if isinstance(sent.part, Video)]
        self.assertEqual(videos, [0, 0.5, 1, 1.5, 2, 2.5])
        self.assertEqual(set(self.rows("state, tries, repeated")), {("sent", 1, 0)})


class FairTests(PaceCase):
    policy = Policy(max_sends=9)

    def test_one_account_s_backlog_leaves_places_for_another(self):
        self.over(Transport())
        self.transport.outcomes.then = lambda outgoing: Deferred()
        self.crowd(20, "a")
        self.assertEqual(len(self.transport.sent), 6)
        self.crowd(1, "b")
        self.crowd(1, "c")
        self.assertEqual(self.transport.texts[6:], ["b0", "c0"])

    def test_accounts_take_turns(self):
        self.policy = Policy(max_sends=1)
        gates = []
        self.over(Transport())

        def gate(outgoing):
            gates.append(Deferred())
            return gates[-1]

        self.transport.outcomes.then = gate
        self.crowd(4, "a")
        self.crowd(2, "b")
        for _ in range(6):
            gates.pop(0).callback(Sent())
        self.assertEqual(self.transport.texts, ["a0", "a1", "b0", "a2", "b1", "a3"])


class BoundTests(PaceCase):
    policy = Policy(max_queued=10)

    def test_no_more_conversations_are_kept_in_mind_and_none_is_forgotten(self):
        self.over(Transport(rates=(Rate(count=10),)))
        self.crowd(60)
        self.assertEqual(self.state().waiting, 10)
        self.run_for(6)
        self.assertEqual(len(self.transport.sent), 60)
        self.assertEqual(len(set(self.transport.texts)), 60)

    def test_those_that_come_while_the_store_is_asked_are_found_too(self):
        self.over(Transport(rates=(Rate(count=10),)))
        self.crowd(30, first=50)
        self.run_for(2)
        self.crowd(30)
        self.run_for(5)
        self.assertEqual(len(self.transport.sent), 60)

    def test_a_store_that_is_away_is_asked_again(self):
        self.over(Transport(rates=(Rate(count=10),)))
        self.store.away["replies_due"] = 2
        self.crowd(30)
        self.run_for(9)
        self.assertEqual(len(self.transport.sent), 30)


class SlowTests(PaceCase):
    def test_an_account_that_is_told_to_slows_down_and_speeds_up_again(self):
        slow = Pace(share=0.5, until=NOW + 2, reason="90 % used")
        self.over(Transport(Sent(pace=slow), rates=(Rate(count=10),)))
        self.crowd(40)
        self.assertEqual((self.state().state, self.state().until), ("slowed", NOW + 2))
        self.run_for(2)
        self.assertLessEqual(len(self.transport.sent), 11)
        self.run_for(1)
        self.assertGreaterEqual(len(self.transport.sent), 20)
        self.assertEqual(self.state().state, "open")

    def test_one_without_rates_slows_down_too(self):
        self.over(Transport(Sent(pace=Pace(share=0.1, until=NOW + 100))))
        self.crowd(1)
        self.crowd(20, first=1)
        self.run_for(5)
        self.assertLessEqual(len(self.transport.sent), 8)

    def test_one_that_is_told_to_stop_sends_nothing_before_its_time(self):
        stop = Pace(share=0, until=NOW + 600, reason="100 % used")
        self.over(Transport(Sent(pace=stop)))
        self.crowd(5)
        self.assertEqual((self.state().state, self.state().until), ("paused", NOW + 600))
        self.pass_time(599)
        self.assertEqual(len(self.transport.sent), 1)
        self.pass_time(2)
        self.assertEqual(self.rows(), ["sent"] * 5)

    def test_no_other_account_notices(self):
        self.over(Transport(Sent(pace=Pace(share=0, until=NOW + 600))))
        self.crowd(2, "a")
        self.crowd(2, "b")
        self.assertEqual(self.transport.texts, ["a0", "b0", "b1"])


class OutageTests(PaceCase):
    def outage(self, outcome=None):
        self.over(Transport())
        self.transport.outcomes.then = outcome or Retry(reason="HTTP 503")
        self.crowd(30)

    def test_an_account_that_fails_again_and_again_rests_as_a_whole(self):
        self.outage()
        self.assertEqual(len(self.transport.sent), 3)
        self.assertEqual((self.state().state, self.state().alert), ("paused", True))
        self.assertEqual(self.rows()[3:], ["waiting"] * 27)

    def test_it_is_tried_with_one_send_at_growing_intervals(self):
        self.outage()
        self.pass_time(40)
        tried = sorted(set(self.sent_at()))
        self.assertEqual(tried[:6], [0, 1, 3, 7, 15, 23])
        self.assertEqual(len(self.transport.sent), 3 + len(tried) - 1)

    def test_when_it_works_again_all_of_it_goes_out(self):
        self.outage()
        self.pass_time(20)
        self.transport.outcomes.then = Sent()
        self.pass_time(400)
        self.assertEqual(self.rows(), ["sent"] * 30)
        self.assertEqual((self.state().state, self.state().alert), ("open", False))

    def test_timeouts_are_an_outage_too(self):
        self.outage(UnknownOutcome(reason="no answer"))
        self.assertEqual(len(self.transport.sent), 3)

    def test_one_conversation_that_fails_is_none(self):
        self.over(Transport())
        self.transport.outcomes.then = lambda outgoing: (
            Retry(reason="x") if outgoing.address.peer == "p0" else Sent()
        )
        self.crowd(1)
        self.pass_time(60)
        self.crowd(5, first=1)
        self.assertEqual(self.rows()[1:], ["sent"] * 5)

    def test_what_hangs_delays_no_other_account(self):
        self.policy = Policy(max_sends=9, outage_after=3)
        self.over(Transport())
        self.transport.outcomes.then = lambda outgoing: (
            Deferred() if outgoing.address.account == "a" else Sent()
        )
        self.crowd(50, "a")
        self.crowd(50, "b")
        self.assertEqual(self.rows().count("sent"), 50)

    def test_an_operator_sees_a_refused_token_until_something_was_sent(self):
        self.over(Transport(Refused(reason="token refused", scope="account")))
        self.crowd(3)
        self.assertEqual(
            (self.state().state, self.state().alert, self.state().reason), ("paused", True, "token refused")
        )
        self.assertEqual(self.state().until, NOW + 60)
        self.pass_time(61)
        self.assertEqual((self.state().state, self.state().alert, self.state().reason), ("open", False, ""))

    def test_after_a_pause_one_goes_first(self):
        gate = Deferred()
        self.over(Transport(Retry(at=NOW + 10, scope="account"), gate))
        self.crowd(20)
        self.pass_time(12)
        self.assertEqual(len(self.transport.sent), 2)
        gate.callback(Sent())
        self.pass_time(1)
        self.assertEqual(self.rows(), ["sent"] * 20)


class SignTests(PaceCase):
    def show(self, peer="q"):
        before = len(self.transport.typing)
        self.deliveries.show_typing(str(address(peer)), address(peer), True, Context())
        return len(self.transport.typing) > before

    def test_life_signs_leave_half_of_the_tokens_to_replies(self):
        self.over(Transport(rates=(Rate(count=1, burst=10),)))
        self.assertEqual([self.show() for _ in range(7)], [True] * 5 + [False] * 2)
        self.crowd(5)
        self.assertEqual(self.rows(), ["sent"] * 5)

    def test_there_are_none_while_replies_wait_or_the_account_is_slowed(self):
        self.over(Transport(rates=(Rate(count=1, burst=2),)))
        self.crowd(3)
        self.assertFalse(self.show())
        self.over(Transport(Sent(pace=Pace(share=0.9, until=NOW + 60)), rates=(Rate(count=100, burst=50),)))
        self.crowd(1, first=10)
        self.assertFalse(self.show())

    def test_the_end_of_one_is_always_shown(self):
        self.over(Transport(rates=(Rate(count=1),)))
        self.crowd(1)
        self.deliveries.show_typing(str(address("q")), address("q"), False, Context())
        self.assertEqual(len(self.transport.typing), 1)

    def test_growth_leaves_less_than_life_signs_and_a_token_of_the_chat(self):
        rates = (Rate(count=1, burst=20), Rate(count=1, burst=3, per="conversation"))
        self.over(Transport(rates=rates))
        signs = self.deliveries.signs
        shown = 0
        while signs.spares(address("q"), 0.25, chat=True):
            shown += 1
        self.assertEqual(shown, 2)
        while self.show():
            pass
        self.assertTrue(signs.spares(address("r"), 0.25, chat=True))


class UnknownTests(PaceCase):
    def test_hold_sends_nothing_again_and_lets_the_next_pass(self):
        self.over(Transport(UnknownOutcome(reason="cut"), unknown="hold"))
        self.post("1", "2")
        self.pass_time(29)
        self.assertEqual((self.transport.texts, self.rows()), (["1"], ["unknown", "waiting"]))
        self.pass_time(2)
        self.assertEqual((self.transport.texts, self.rows()), (["1", "2"], ["dead", "sent"]))
        self.assertEqual(self.rows("repeated, tries")[0], (0, 1))
        self.assertEqual(self.reasons(), ["its outcome is unknown, and it is not sent again by itself"])

    def test_settle_waits_longer_for_its_proof(self):
        self.over(Transport(UnknownOutcome(reason="cut"), unknown="settle"))
        self.post("1")
        self.pass_time(599, 1)
        self.assertEqual(self.rows(), ["unknown"])
        self.pass_time(2)
        self.assertEqual((self.rows(), len(self.transport.sent)), (["dead"], 1))

    def test_what_costs_is_never_repeated(self):
        self.over(Transport(UnknownOutcome(reason="cut", costs=True)))
        self.post("1", "2")
        self.pass_time(100)
        self.assertEqual((self.transport.texts, self.rows()), (["1", "2"], ["dead", "sent"]))

    def test_after_a_kill_too(self):
        gate = Deferred()
        self.over(Transport(gate, unknown="hold"))
        self.post("1")
        self.assertEqual(self.rows(), ["sending"])
        self.successResultOf(
            self.inner._committer.run(
                lambda db: db.execute("UPDATE outbox SET state = 'unknown', due_at = ?", (NOW,)).rowcount
            )
        )
        self.over(Transport(unknown="hold"))
        self.pass_time(2)
        self.assertEqual((self.transport.sent, self.rows()), ([], ["dead"]))

    def test_an_operator_may_replay_it(self):
        self.over(Transport(UnknownOutcome(reason="cut"), unknown="hold"))
        self.post("1")
        self.pass_time(31)
        [letter] = self.successResultOf(self.inner.dead_letters(None, 10))
        self.successResultOf(self.inner.redrive(letter.id, "replay", self.clock.seconds()))
        self.pass_time(1)
        self.assertEqual((self.transport.texts, self.rows()), (["1", "1"], ["sent"]))
