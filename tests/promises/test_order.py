"""One turn at a time per conversation, in order; conversations in parallel."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from klein_channels.model import Address, Text
from klein_channels.policy import Policy
from klein_channels.testing.graph import NEVER, Answer, refusal
from klein_channels.testing.memory import PERSON, HandThreads, conversation

from .case import HeldAgent, PromiseCase, echo_agent

OTHER = "7"


async def talkative(event):
    """Says each word by itself."""
    for word in event.text.split():
        yield word


class TurnOrderTests(PromiseCase):
    def test_one_turn_at_a_time_in_the_order_of_acceptance(self):
        agent = HeldAgent()
        kit = self.serve(agent)
        kit.deliver(*(kit.item(message={"text": text}) for text in ("a", "b")))
        kit.message("c")
        kit.advance(5)
        asked = []
        for _ in "abc":
            asked.append(list(agent.asked))
            agent.answer("re: " + agent.asked[-1])
            kit.settle()
        self.assertEqual(asked, [["a"], ["a", "b"], ["a", "b", "c"]])
        self.assertEqual(kit.sent, ["re: a", "re: b", "re: c"])

    def test_conversations_are_parallel(self):
        agent = HeldAgent()
        kit = self.serve(agent)
        people = [str(number) for number in range(50)]
        for person in people:
            kit.message(f"from {person}", person=person)
        self.assertEqual(len(agent.waiting), 50)
        agent.answer("first again", -1)
        kit.settle()
        self.assertEqual(kit.sent, ["first again"])

    def test_a_retried_turn_holds_only_its_own_conversation(self):
        async def agent(event):
            if event.text == "bad":
                raise ValueError
            return f"re: {event.text}"

        kit = self.serve(agent)
        kit.message("bad")
        kit.message("good")
        kit.message("elsewhere", person=OTHER)
        self.assertEqual(kit.sent, ["re: elsewhere"])
        kit.advance(200)
        self.assertEqual(kit.sent_to(PERSON), [kit.policy.apology, "re: good"])
        self.flushLoggedErrors(ValueError)


class ReplyOrderTests(PromiseCase):
    def test_a_waiting_reply_holds_its_own_conversation_only(self):
        kit = self.serve(talkative)
        kit.graph.answers(refusal(2, "temporarily unavailable", status=500))
        kit.message("one two three")
        kit.message("elsewhere", person=OTHER)
        self.assertEqual(kit.sent, ["elsewhere"])
        kit.advance(5)
        self.assertEqual(kit.sent_to(PERSON), ["one", "two", "three"])

    def test_a_slow_answer_of_the_platform_keeps_the_order(self):
        kit = self.serve(talkative)
        kit.graph.answers(Answer(delay=9.0), Answer(delay=3.0))
        kit.message("one two three")
        self.assertEqual(kit.sent, ["one"])
        kit.advance(13)
        self.assertEqual(kit.sent, ["one", "two", "three"])

    def test_a_dead_letter_lets_the_next_pass(self):
        kit = self.serve(talkative)
        kit.graph.answers(refusal(100, "no such person", 2018001))
        kit.message("one two")
        self.assertEqual((kit.sent, kit.outbox()), (["two"], ["dead", "sent"]))
        letters = self.successResultOf(kit.store.dead_letters(None, 10))
        self.assertEqual([letter.kind for letter in letters], ["reply"])

    def test_an_unknown_outcome_holds_only_its_own_conversation(self):
        kit = self.serve(talkative)
        kit.graph.answers(NEVER)
        kit.message("one two")
        kit.advance(21)
        kit.message("elsewhere", person=OTHER)
        self.assertEqual((kit.sent_to(PERSON), kit.sent_to(OTHER)), (["one"], ["elsewhere"]))

    def test_a_conversation_with_too_many_unsent_replies_waits_and_then_goes_on(self):
        kit = self.serve(policy=Policy(max_unsent_replies=2))
        kit.process.refuses = True
        for number in range(4):
            kit.message(f"{number}")
        self.assertEqual(len(kit.turns()), 2)
        kit.message("elsewhere", person=OTHER)
        self.assertEqual(len(kit.turns()), 3)
        kit.process.refuses = False
        kit.advance(10)
        self.assertEqual(kit.sent_to(PERSON), [f"re: {number}" for number in range(4)])

    def test_a_proactive_message_takes_its_place_in_the_order(self):
        kit = self.serve(echo_agent)
        kit.process.refuses = True
        kit.message("hi")
        address = Address.parse(conversation())
        self.assertTrue(self.successResultOf(kit.service.send(address, "news", key="n1")))
        self.assertFalse(self.successResultOf(kit.service.send(address, "news", key="n1")))
        kit.process.refuses = False
        kit.advance(5)
        self.assertEqual(kit.sent, ["re: hi", "news"])


class SlowAgentTests(PromiseCase):
    def test_a_slow_agent_delays_nobody_while_threads_are_free(self):
        threads = HandThreads()
        kit = self.serve(threads.agent(lambda event: f"re: {event.text}", threads=2))
        kit.message("slow")
        kit.message("quick", person=OTHER)
        threads.finish(1)
        kit.settle()
        self.assertEqual(kit.sent, ["re: quick"])
        threads.finish(0)
        kit.settle()
        self.assertEqual(kit.sent, ["re: quick", "re: slow"])

    def test_turns_wait_in_the_store_for_a_thread(self):
        threads = HandThreads()
        kit = self.serve(threads.agent(lambda event: f"re: {event.text}", threads=2))
        for person in "123":
            kit.message(person, person=person)
        self.assertEqual((len(threads.working), len(kit.turns())), (2, 2))
        threads.finish()
        kit.settle()
        self.assertEqual((len(threads.working), len(kit.turns())), (2, 3))

    def test_a_slow_observer_delays_nobody(self):
        seen = []

        def observer(event):
            seen.append(event.text)
            return Deferred()

        kit = self.serve(observers=[observer])
        kit.message("hi")
        kit.message("there")
        self.assertEqual((kit.sent, seen), (["re: hi", "re: there"], ["hi"]))
        kit.advance(kit.policy.observer_deadline)
        self.assertEqual(seen, ["hi", "there"])
        kit.advance(kit.policy.observer_deadline)
        self.assertEqual(len(self.flushLoggedErrors()), 2)

    def test_a_failing_observer_changes_nothing(self):
        def observer(event):
            raise ValueError

        kit = self.serve(observers=[observer])
        kit.message("hi")
        self.assertEqual(kit.sent, ["re: hi"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_replies_are_shown_while_the_turn_goes_on(self):
        agent = HeldAgent()

        async def first_and_last(event, turn):
            yield Text(text="one moment")
            yield await agent(event, turn)

        kit = self.serve(first_and_last)
        kit.message("hi")
        self.assertEqual(kit.sent, ["one moment"])
        agent.answer("done")
        kit.settle()
        self.assertEqual(kit.sent, ["one moment", "done"])
