"""What exceeds a rate waits; what exceeds a queue is told and kept; nobody else is delayed by either."""

from __future__ import annotations

from klein_channels.channel import ChannelOptions
from klein_channels.model import Address, Handoff, MessageReceived, Received, Sender
from klein_channels.policy import Policy
from klein_channels.testing.memory import PERSON, conversation, messenger, webhook

from .case import HeldAgent, PromiseCase

OTHER = "1111"


class RateTests(PromiseCase):
    policy = Policy(sender_burst=3, sender_rate=0.5)

    def test_what_exceeds_the_rate_of_a_sender_waits_and_is_answered_in_order(self):
        kit = self.serve(policy=self.policy)
        for number in range(6):
            self.assertEqual(kit.message(f"{number}"), 200)
        self.assertEqual(kit.sent, ["re: 0", "re: 1", "re: 2"])
        kit.advance(1.9)
        self.assertEqual(len(kit.sent), 3)
        kit.advance(0.2)
        self.assertEqual(len(kit.sent), 4)
        kit.advance(4)
        self.assertEqual(kit.sent, [f"re: {number}" for number in range(6)])

    def test_nobody_else_waits_for_it(self):
        kit = self.serve(policy=self.policy)
        for number in range(6):
            kit.message(f"{number}")
        kit.message("hi", person=OTHER)
        self.assertEqual(kit.sent_to(OTHER), ["re: hi"])

    def test_a_restart_forgets_neither_the_events_nor_their_time(self):
        kit = self.serve(policy=self.policy, durable=True)
        for number in range(5):
            kit.message(f"{number}")
        kit.kill()
        kit.start()
        self.assertEqual(len(kit.sent), 3)
        kit.advance(5)
        self.assertEqual(kit.sent, [f"re: {number}" for number in range(5)])

    def test_a_redelivery_takes_nothing_of_the_rate(self):
        kit = self.serve(policy=self.policy)
        for _ in range(9):
            self.assertEqual(kit.message("again", mid="m_again"), 200)
        kit.message("a")
        kit.message("b")
        self.assertEqual(kit.sent, ["re: again", "re: a", "re: b"])

    def test_receipts_give_nothing_back(self):
        kit = self.serve(policy=self.policy)
        receipt = kit.item("r1", read={"watermark": 1})
        for number in range(5):
            kit.message(f"{number}")
            kit.deliver(receipt)
        self.assertEqual(len(kit.sent), 3)

    def test_a_forged_request_takes_nothing_of_the_rate(self):
        kit = self.serve(policy=self.policy)
        for number in range(9):
            forged = webhook(kit.item(message={"text": f"{number}"}))
            asked = kit.ask(forged, signature=f"sha256={number:064}")
            kit.settle()
            self.assertEqual(asked.status, 403)
        for text in "abc":
            kit.message(text)
        self.assertEqual(len(kit.sent), 3)

    def test_a_channel_has_a_rate_too_where_one_is_set(self):
        kit = self.serve(policy=Policy(channel_burst=2, channel_rate=1.0))
        for person in ("1", "2", "3"):
            kit.message("hi", person=person)
        self.assertEqual(len(kit.sent), 2)
        kit.advance(1)
        self.assertEqual(len(kit.sent), 3)

    def test_by_default_a_sender_has_a_hundred_and_twenty_turns_at_once_and_two_a_second(self):
        kit = self.serve(channel=messenger(options=ChannelOptions(rates=())))
        for half in (range(62), range(62, 124)):
            kit.deliver(*[kit.item(message={"text": f"{number}"}) for number in half])
        self.assertEqual(len(kit.sent), 120)
        kit.advance(1)
        self.assertEqual(len(kit.sent), 122)


class QueueTests(PromiseCase):
    policy = Policy(max_queued_turns=2)

    def flooded(self, **more):
        self.agent = HeldAgent()
        kit = self.serve(self.agent, policy=self.policy, **more)
        for number in range(6):
            self.assertEqual(kit.message(f"{number}"), 200)
        return kit

    def states(self, kit):
        return [state for (state,) in kit.rows("SELECT state FROM inbox ORDER BY id")]

    def test_what_exceeds_the_queue_is_kept_and_its_person_told_once(self):
        kit = self.flooded()
        self.assertEqual(self.states(kit), ["taken", "waiting", "waiting", *["rejected"] * 3])
        self.assertEqual(kit.sent, [kit.channel.options.busy_text])

    def test_what_was_accepted_is_answered_and_then_there_is_room_again(self):
        kit = self.flooded()
        for answer in "abc":
            self.agent.answer(answer)
            kit.settle()
        kit.message("later")
        self.agent.answer("d")
        kit.settle()
        self.assertEqual(kit.sent[1:], ["a", "b", "c", "d"])
        self.assertEqual(self.agent.asked, ["0", "1", "2", "later"])

    def test_another_conversation_has_a_queue_of_its_own(self):
        kit = self.flooded()
        kit.message("hi", person=OTHER)
        self.agent.answer("hello", -1)
        kit.settle()
        self.assertEqual((kit.sent_to(OTHER), len(kit.sent_to(PERSON))), (["hello"], 1))

    def test_without_a_text_nobody_is_told(self):
        kit = self.flooded(channel=messenger(options=ChannelOptions(busy_text="")))
        self.assertEqual((kit.sent, self.states(kit)[-1]), ([], "rejected"))

    def test_a_rejected_event_is_shown_to_observers(self):
        seen = []
        self.flooded(observers=[lambda event: seen.append(event.text)])
        self.assertEqual(seen, [f"{number}" for number in range(6)])

    def test_a_redelivery_of_a_rejected_event_changes_nothing(self):
        kit = self.flooded()
        self.agent.answer("a")
        kit.settle()
        self.assertEqual(kit.message("3", mid="m_4"), 200)
        self.assertEqual(self.states(kit).count("rejected"), 3)


class RejectTests(PromiseCase):
    def serve_rejecting(self, agent, **more):
        options = ChannelOptions(**{"double_texting": "reject", "busy_text": "Just a moment.", **more})
        return self.serve(agent, channel=messenger(options=options), durable=True)

    def test_what_comes_while_a_turn_runs_is_rejected_and_told_once(self):
        agent = HeldAgent()
        kit = self.serve_rejecting(agent)
        for text in ("a", "b", "c"):
            self.assertEqual(kit.message(text), 200)
        agent.answer("A")
        kit.settle()
        self.assertEqual((kit.sent, agent.asked), (["Just a moment.", "A"], ["a"]))
        kit.message("d")
        kit.message("e")
        agent.answer("D")
        kit.settle()
        self.assertEqual(kit.sent[2:], ["Just a moment.", "D"])
        self.assertEqual(
            [state for (state,) in kit.rows("SELECT state FROM inbox ORDER BY id")],
            ["taken", "rejected", "rejected", "taken", "rejected"],
        )

    def test_a_restart_does_not_answer_what_was_rejected(self):
        agent = HeldAgent()
        kit = self.serve_rejecting(agent)
        kit.message("a")
        kit.message("b")
        kit.kill()
        kit.start()
        kit.advance(5)
        agent.answer("A", -1)
        kit.advance(40)
        self.assertEqual((agent.asked, kit.turns()), (["a", "a"], ["done"]))
        self.assertIn("A", kit.sent)

    def test_without_a_text_nothing_is_said(self):
        agent = HeldAgent()
        kit = self.serve_rejecting(agent, busy_text="")
        kit.message("a")
        kit.message("b")
        self.assertEqual(kit.sent, [])


class LoopTests(PromiseCase):
    policy = Policy(loop_turns=5, loop_window=100.0, loop_pause=50.0)

    def looping(self, turns):
        self.kit = self.serve(policy=self.policy)
        with self.captured() as logged:
            for number in range(turns):
                self.kit.message(f"{number}")
        return [event for event in logged if "two bots" in event["log_format"]]

    def test_a_conversation_that_does_not_end_is_paused_and_the_operator_told(self):
        told = self.looping(9)
        self.assertEqual(len(told), 1)
        self.assertEqual((told[0]["log_level"].name, told[0]["key"]), ("critical", conversation()))
        self.assertEqual(len(self.kit.turns()), 6)

    def test_nothing_of_it_is_lost(self):
        self.looping(9)
        self.kit.advance(60)
        self.assertEqual(self.kit.sent, [f"re: {number}" for number in range(9)])

    def test_it_goes_on_when_it_is_given_back(self):
        self.looping(9)
        self.successResultOf(self.kit.service.set_owner(conversation(), "bot"))
        self.kit.advance(2)
        self.assertEqual(len(self.kit.sent), 9)

    def test_people_are_not_taken_for_bots(self):
        kit = self.serve(policy=self.policy)
        for number in range(12):
            kit.message(f"{number}")
            kit.advance(20)
        self.assertEqual((len(kit.sent), set(kit.turns())), (12, {"done"}))

    def test_another_conversation_goes_on(self):
        self.looping(9)
        self.kit.message("hi", person=OTHER)
        self.kit.advance(5)
        self.assertEqual(self.kit.sent_to(OTHER), ["re: hi"])

    def test_a_human_keeps_the_conversation(self):
        async def handing_over(event):
            return ["a human comes", Handoff()] if event.text == "5" else f"re: {event.text}"

        kit = self.serve(handing_over, policy=self.policy)
        for number in range(9):
            kit.message(f"{number}")
        kit.advance(100)
        self.assertEqual(kit.rows("SELECT owner FROM conversation"), [("human",)])

    def test_another_bot_is_never_answered(self):
        heard = []
        kit = self.serve(observers=[heard.append])
        event = MessageReceived(
            id="b1", address=Address.parse(conversation()), text="beep", sender=Sender(id="9", is_bot=True)
        )
        kit.channel.parse = lambda request: Received(events=(event,))
        self.assertEqual(kit.message("beep"), 200)
        self.assertEqual((heard, kit.turns()), ([event], []))
