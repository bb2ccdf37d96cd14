"""A deadline fences: what comes after it is discarded, and a thread is never trusted again."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from klein_channels.policy import Policy
from klein_channels.testing.memory import HandThreads

from .case import HeldAgent, PromiseCase

QUICK = Policy(agent_deadline=10.0, stuck_thread_patience=50.0)


class AsynchronousTests(PromiseCase):
    def test_after_a_minute_the_turn_is_over(self):
        agent = HeldAgent()
        kit = self.serve(agent)
        kit.message("hi")
        kit.advance(59)
        self.assertEqual(kit.turns(), ["running"])
        kit.advance(1)
        self.assertEqual((kit.turns(), kit.sent), (["dead"], [kit.policy.apology]))

    def test_it_is_never_tried_again_by_itself(self):
        agent = HeldAgent()
        kit = self.serve(agent, policy=QUICK)
        kit.message("hi")
        kit.advance(3600)
        self.assertEqual((agent.asked, kit.sent), (["hi"], [kit.policy.apology]))

    def test_an_operator_may_replay_it(self):
        agent = HeldAgent()
        kit = self.serve(agent, policy=QUICK)
        kit.message("hi")
        kit.advance(10)
        letter = self.successResultOf(kit.store.dead_letters(None, 1))[0]
        self.assertIn("10 s", letter.reason)
        self.successResultOf(kit.store.redrive(letter.id, "replay", kit.clock.seconds()))
        kit.advance(1)
        agent.answer("at last", -1)
        kit.settle()
        self.assertEqual((agent.asked, kit.sent), (["hi", "hi"], [kit.policy.apology, "at last"]))

    def test_an_agent_that_ignores_its_end_is_not_heard(self):
        stubborn = Deferred()

        async def agent(event):
            try:
                await Deferred()
            except CancelledError:
                await stubborn
            yield "too late"

        kit = self.serve(agent, policy=QUICK)
        kit.message("hi")
        kit.advance(10)
        kit.message("there")
        stubborn.callback(None)
        kit.advance(5)
        self.assertEqual(kit.sent, [kit.policy.apology])

    def test_the_next_turn_goes_on_at_once(self):
        agent = HeldAgent()
        kit = self.serve(agent, policy=QUICK)
        kit.message("hi")
        kit.message("there")
        kit.advance(10)
        self.assertEqual(agent.asked, ["hi", "there"])


class ThreadTests(PromiseCase):
    def held(self, threads=1, **settings):
        """A service whose first thread is over its deadline."""
        self.threads = HandThreads()
        self.asked = []

        def agent(event):
            self.asked.append(event.text)
            yield f"re: {event.text}"
            yield "end"

        kit = self.serve(self.threads.agent(agent, threads=threads, **settings), policy=QUICK)
        kit.message("stuck")
        kit.message("next")
        kit.advance(10)
        return kit

    def test_its_result_is_discarded_and_excused(self):
        kit = self.held()
        self.assertEqual((kit.sent, kit.turns()), ([kit.policy.apology], ["dead"]))
        self.threads.finish()
        kit.settle()
        self.assertEqual(kit.sent, [kit.policy.apology])

    def test_its_conversation_waits_for_the_thread(self):
        kit = self.held(threads=2)
        kit.advance(40)
        self.assertEqual(len(self.threads.working), 1)
        self.threads.finish()
        kit.settle()
        self.assertEqual(len(self.threads.working), 1)
        self.threads.finish()
        kit.settle()
        self.assertEqual(kit.sent, [kit.policy.apology, "re: next", "end"])

    def test_the_thread_still_counts_while_it_is_waited_for(self):
        kit = self.held(threads=1)
        kit.message("elsewhere", person="7")
        kit.advance(30)
        self.assertEqual(len(kit.turns()), 1)

    def test_a_thread_that_does_not_come_back_is_written_off_replaced_and_alarmed(self):
        kit = self.held()
        with self.captured() as logged:
            kit.advance(50)
        self.assertEqual([e["log_level"].name for e in logged], ["critical"])
        self.assertEqual((len(self.threads.working), self.threads.max), (2, 2))
        self.threads.finish(1)
        kit.settle()
        self.assertEqual(kit.sent, [kit.policy.apology, "re: next", "end"])
        self.threads.finish(0)
        kit.settle()
        self.assertEqual(kit.sent, [kit.policy.apology, "re: next", "end"])

    def test_the_patience_with_a_thread_is_five_minutes(self):
        self.assertEqual(Policy().stuck_thread_patience, 300.0)

    def test_replacement_is_bounded(self):
        kit = self.held(threads=2, replaceable=1)
        for person in "123456":
            kit.message(f"more {person}", person=person)
        kit.advance(1000)
        self.assertEqual(len(self.threads.working), 3)
        self.assertEqual(self.threads.max, 3)

    def test_others_go_on_beside_a_stuck_thread(self):
        kit = self.held(threads=2)
        kit.message("elsewhere", person="7")
        self.threads.finish(1)
        kit.settle()
        self.assertEqual(kit.sent_to("7"), ["re: elsewhere", "end"])
