"""What comes while something is answered is merged, or puts an end to what goes on; nothing is lost."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from klein_channels.channel import ChannelOptions
from klein_channels.policy import Policy
from klein_channels.testing.memory import HandThreads, messenger

from .case import HeldAgent, PromiseCase

OTHER = "1111"


def texts(messages):
    return [part.text for message in messages for part in message.parts]


class DoubleTextingCase(PromiseCase):
    mode = "enqueue"
    policy = Policy(merge_window=2.0, merge_longest=5.0, merge_most=5)

    def serve(self, agent, **more):
        options = ChannelOptions(double_texting=self.mode)
        return super().serve(
            agent, channel=messenger(options=options), policy=self.policy, durable=True, **more
        )

    def setUp(self):
        self.agent = HeldAgent()

    def answer(self, kit, reply, number=0):
        self.agent.answer(reply, number)
        kit.settle()


class MergeTests(DoubleTextingCase):
    mode = "merge"

    def test_what_comes_within_the_window_is_one_turn(self):
        kit = self.serve(self.agent)
        for text in ("hi", "one more thing", "?"):
            self.assertEqual(kit.message(text), 200)
            kit.advance(1.5)
        self.assertEqual(self.agent.asked, [])
        kit.advance(0.6)
        self.assertEqual(self.agent.asked, ["hi\none more thing\n?"])
        self.assertEqual([event.text for event in self.agent.turns[0].events], ["hi", "one more thing", "?"])
        self.answer(kit, "hello")
        self.assertEqual((kit.sent, kit.turns()), (["hello"], ["done"]))

    def test_the_first_of_them_does_not_wait_for_ever(self):
        kit = self.serve(self.agent)
        for number in range(4):
            kit.message(f"{number}")
            kit.advance(1.6)
        self.assertEqual(self.agent.asked, ["0\n1\n2\n3"])

    def test_no_more_of_them_than_the_policy_says(self):
        kit = self.serve(self.agent)
        for number in range(6):
            kit.message(f"{number}")
        self.assertEqual(self.agent.asked, ["0\n1\n2\n3\n4"])
        self.answer(kit, None)
        kit.advance(2)
        self.assertEqual(self.agent.asked[1:], ["5"])

    def test_what_comes_while_a_turn_runs_is_one_turn_after_it(self):
        kit = self.serve(self.agent)
        kit.message("a")
        kit.advance(2)
        for text in ("b", "c"):
            kit.message(text)
            kit.advance(3)
        self.answer(kit, "A")
        self.assertEqual(self.agent.asked, ["a", "b\nc"])
        self.answer(kit, "BC")
        self.assertEqual(kit.sent, ["A", "BC"])

    def test_a_restart_forgets_neither_the_messages_nor_their_window(self):
        kit = self.serve(self.agent)
        kit.message("a")
        kit.advance(1)
        kit.message("b")
        kit.kill()
        kit.start()
        kit.advance(1.5)
        self.assertEqual(self.agent.asked, [])
        kit.advance(0.6)
        self.assertEqual(self.agent.asked, ["a\nb"])

    def test_a_second_attempt_has_the_same_messages(self):
        kit = self.serve(self.agent)
        kit.message("a")
        kit.message("b")
        kit.advance(2)
        self.answer(kit, ValueError("once"))
        kit.message("c")
        kit.advance(60)
        self.assertEqual(self.agent.asked, ["a\nb", "a\nb"])
        self.answer(kit, "AB")
        self.assertEqual(self.agent.asked[2:], ["c"])
        self.flushLoggedErrors(ValueError)

    def test_a_button_waits_for_nobody_and_joins_nobody(self):
        kit = self.serve(self.agent)
        kit.message("a")
        kit.deliver(kit.item(postback={"payload": "B", "title": "b"}))
        self.assertEqual(self.agent.asked, ["a"])
        self.answer(kit, None)
        self.assertEqual((self.agent.asked[1:], self.agent.turns[1].event.payload), (["b"], "B"))

    def test_people_do_not_wait_for_each_other(self):
        kit = self.serve(self.agent)
        kit.message("a")
        kit.advance(1)
        kit.message("x", person=OTHER)
        kit.advance(1)
        self.assertEqual(self.agent.asked, ["a"])
        kit.advance(1)
        self.assertEqual(self.agent.asked, ["a", "x"])


class Talker:
    """Says `words` at once and then waits for the end; notes what it was told, and how it ended."""

    def __init__(self, *words):
        self.words = words
        self.turns = []
        self.ends = []

    async def __call__(self, event, turn):
        self.turns.append(turn)
        if turn.interrupted:
            yield f"re: {event.text}"
            return
        for word in self.words:
            yield word
        try:
            await Deferred()
        except BaseException as error:
            self.ends.append(type(error))
            raise


class InterruptTests(DoubleTextingCase):
    mode = "interrupt"

    def test_a_new_message_ends_the_turn_and_the_cancellation_reaches_the_agent(self):
        agent = Talker()
        kit = self.serve(agent)
        kit.message("a")
        kit.message("b")
        self.assertEqual((agent.ends, kit.sent), ([CancelledError], ["re: b"]))
        self.assertEqual(kit.turns(), ["superseded", "done"])

    def test_what_was_said_stays_and_the_agent_is_told(self):
        agent = Talker("one", "two")
        kit = self.serve(agent)
        kit.message("a")
        kit.message("b")
        self.assertEqual(kit.sent, ["one", "two", "re: b"])
        turn = agent.turns[1]
        self.assertEqual([event.text for event in turn.events], ["b"])
        self.assertEqual([event.text for event in turn.interrupted], ["a"])
        self.assertEqual(texts(turn.already_said), ["one", "two"])

    def test_what_was_not_sent_yet_is_withdrawn(self):
        agent = Talker("one", "two")
        kit = self.serve(agent)
        kit.process.refuses = True
        kit.message("a")
        kit.message("b")
        kit.process.refuses = False
        kit.advance(5)
        self.assertEqual(kit.sent, ["re: b"])
        self.assertEqual(kit.outbox(), ["withdrawn", "withdrawn", "sent"])
        self.assertEqual(texts(agent.turns[1].already_said), [])

    def test_what_an_agent_says_after_its_interruption_is_discarded(self):
        said = []

        async def stubborn(event, turn):
            said.append(event.text)
            if event.text == "b":
                yield "B"
                return
            try:
                await Deferred()
            except CancelledError:
                yield "as I was saying"

        kit = self.serve(stubborn)
        kit.message("a")
        kit.message("b")
        kit.advance(120)
        self.assertEqual((said, kit.sent), (["a", "b"], ["B"]))

    def test_each_new_message_ends_the_one_before_and_the_last_knows_all(self):
        kit = self.serve(self.agent)
        for text in ("a", "b", "c"):
            kit.message(text)
        self.assertEqual(self.agent.asked, ["a", "b", "c"])
        self.assertEqual([event.text for event in self.agent.turns[2].interrupted], ["a", "b"])
        self.answer(kit, "all", -1)
        self.assertEqual((kit.sent, kit.turns()), (["all"], ["superseded", "superseded", "done"]))

    def test_what_waits_together_is_answered_together(self):
        kit = self.serve(self.agent)
        kit.deliver(*[kit.item(message={"text": text}) for text in "ab"])
        self.assertEqual((self.agent.asked[-1], kit.turns()), ("a\nb", ["running"]))

    def test_a_second_attempt_is_told_the_same(self):
        kit = self.serve(self.agent)
        kit.message("a")
        kit.message("b")
        self.answer(kit, ValueError("once"), -1)
        kit.advance(60)
        self.assertEqual(self.agent.asked, ["a", "b", "b"])
        self.assertEqual([event.text for event in self.agent.turns[2].interrupted], ["a"])
        self.flushLoggedErrors(ValueError)

    def test_a_turn_that_waits_for_its_next_attempt_is_ended_too(self):
        kit = self.serve(self.agent)
        kit.message("a")
        self.answer(kit, ValueError("once"))
        kit.message("b")
        self.answer(kit, "B")
        kit.advance(200)
        self.assertEqual((self.agent.asked, kit.sent), (["a", "b"], ["B"]))
        self.flushLoggedErrors(ValueError)

    def test_a_kill_between_the_message_and_the_end_of_the_turn_changes_nothing(self):
        kit = self.serve(self.agent)
        kit.message("a")
        commits = kit.disk.commits
        kit.disk.kill_at = lambda number: "after" if number == commits + 1 else None
        kit.message("b")
        self.assertFalse(kit.process.alive)
        kit.disk.kill_at = lambda number: None
        kit.start()
        self.assertEqual(self.agent.asked, ["a", "b"])
        self.answer(kit, "B", -1)
        self.assertEqual((kit.sent, kit.turns()), (["B"], ["superseded", "done"]))

    def test_a_thread_is_waited_for_and_its_result_discarded(self):
        threads = HandThreads()
        kit = self.serve(threads.agent(lambda event: f"re: {event.text}"))
        kit.message("a")
        kit.message("b")
        self.assertEqual((len(threads.working), kit.sent), (1, []))
        threads.finish()
        kit.settle()
        self.assertEqual((len(threads.working), kit.sent), (1, []))
        threads.finish()
        kit.settle()
        self.assertEqual((kit.sent, kit.turns()), (["re: b"], ["superseded", "done"]))

    def test_what_has_to_wait_for_its_rate_interrupts_when_its_time_has_come(self):
        self.policy = Policy(sender_burst=1, sender_rate=0.5)
        kit = self.serve(self.agent)
        kit.message("a")
        kit.message("b")
        self.assertEqual(self.agent.asked, ["a"])
        kit.advance(1.9)
        self.assertEqual(self.agent.asked, ["a"])
        kit.advance(0.2)
        self.assertEqual((self.agent.asked, kit.turns()), (["a", "b"], ["superseded", "running"]))

    def test_a_message_of_somebody_else_interrupts_nobody(self):
        kit = self.serve(self.agent)
        kit.message("a")
        kit.message("x", person=OTHER)
        self.assertEqual(kit.turns(), ["running", "running"])

    def test_a_redelivery_interrupts_nothing(self):
        kit = self.serve(self.agent)
        kit.message("a", mid="m_a")
        kit.message("a", mid="m_a")
        self.answer(kit, "A")
        self.assertEqual((self.agent.asked, kit.sent), (["a"], ["A"]))
