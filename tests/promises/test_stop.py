"""Stopping ends within `drain` seconds whatever anybody does; the next server goes on from there."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from klein_channels.testing.graph import NEVER, Answer
from klein_channels.testing.memory import HandThreads, webhook

from .case import HeldAgent, PromiseCase


class StopTests(PromiseCase):
    def stopped_within(self, kit, seconds):
        stopped = kit.stop()
        kit.advance(seconds)
        self.assertTrue(stopped.called, "it did not stop in time")
        return stopped

    def test_at_once_when_nothing_is_at_work(self):
        kit = self.serve()
        kit.message("hi")
        self.stopped_within(kit, 0)

    def test_a_turn_and_its_sends_may_end(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True)
        kit.graph.latency = 1.0
        kit.message("hi")
        stopped = kit.stop()
        kit.advance(2)
        agent.answer("hello")
        self.assertFalse(stopped.called)
        kit.advance(3)
        self.assertTrue(stopped.called)
        kit.start()
        kit.advance(60)
        self.assertEqual((kit.sent, kit.outbox()), (["hello"], ["sent"]))

    def test_a_new_turn_is_left_to_the_next_server(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True)
        kit.message("one")
        kit.message("two")
        kit.stop()
        agent.answer("re: one")
        kit.advance(10)
        self.assertEqual(agent.asked, ["one"])
        kit.start()
        kit.advance(1)
        agent.answer("re: two")
        kit.advance(40)
        self.assertEqual(kit.sent, ["re: one", "re: two"])

    def test_an_agent_that_does_not_end(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True)
        kit.message("hi")
        self.stopped_within(kit, kit.policy.drain)
        self.assert_asked_again(kit, agent)

    def test_an_agent_that_ignores_its_end(self):
        stubborn = []

        async def agent(event):
            while len(stubborn) < 50:
                try:
                    await Deferred()
                except CancelledError:
                    stubborn.append(event)

        kit = self.serve(agent)
        kit.message("hi")
        self.stopped_within(kit, kit.policy.drain)

    def test_a_thread_that_does_not_end(self):
        threads = HandThreads()
        kit = self.serve(threads.agent(lambda event: "never"), durable=True)
        kit.message("hi")
        self.stopped_within(kit, kit.policy.drain)
        kit.start()
        kit.advance(2)
        self.assertEqual(kit.rows("SELECT state, attempt, failures FROM turn"), [("running", 2, 0)])

    def test_a_platform_that_does_not_answer(self):
        kit = self.serve(durable=True)
        kit.graph.answers(NEVER)
        kit.message("hi")
        self.stopped_within(kit, kit.policy.drain)
        kit.start()
        kit.advance(60)
        self.assertEqual(kit.rows("SELECT state, repeated FROM outbox"), [("sent", 1)])

    def test_a_disk_that_does_not_answer(self):
        kit = self.serve()
        kit.disk.held = True
        kit.ask(webhook(kit.item(message={"text": "hi"})))
        kit.settle()
        self.stopped_within(kit, kit.policy.drain)

    def test_a_full_disk(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True)
        kit.message("hi")
        kit.disk.full = True
        agent.answer("lost?")
        kit.advance(1)
        self.stopped_within(kit, kit.policy.drain)
        kit.disk.full = False
        self.assert_asked_again(kit, agent)

    def test_all_of_these_together(self):
        agent = HeldAgent()
        kit = self.serve(agent)
        kit.graph.answers(NEVER, Answer(delay=100.0))
        for person in "123":
            kit.message("hi", person=person)
        agent.answer("a")
        agent.answer("b")
        self.stopped_within(kit, kit.policy.drain)

    def assert_asked_again(self, kit, agent):
        kit.start()
        kit.advance(10)
        agent.answer("hello", -1)
        kit.advance(40)
        self.assertEqual((agent.asked, kit.sent), (["hi", "hi"], ["hello"]))


class EmbeddedTests(PromiseCase):
    def test_a_webhook_while_stopping_is_not_acknowledged_and_forgotten(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True)
        kit.message("one")
        kit.stop()
        status = kit.message("two", "m2")
        kit.advance(kit.policy.drain)
        kit.start()
        kit.advance(10)
        if status != 200:
            kit.message("two", "m2")
        for _ in range(2):
            agent.answer("ok", -1)
            kit.advance(1)
        self.assertEqual(agent.asked[-1], "two")
        self.assertEqual(kit.turns(), ["done", "done"])
