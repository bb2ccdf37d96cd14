"""The human goes first."""

from __future__ import annotations

from klein_channels.model import Address, Handoff, Message, Text
from klein_channels.testing.graph import NEVER
from klein_channels.testing.memory import conversation

from .case import HeldAgent, PromiseCase

INBOX = "263902037430900"


class OwnerTests(PromiseCase):
    def pass_to(self, kit, app):
        return kit.item(pass_thread_control={"new_owner_app_id": app, "metadata": "please"})

    def to_human(self, kit):
        return self.pass_to(kit, INBOX)

    def to_bot(self, kit):
        return self.pass_to(kit, "123456")

    def owner(self, kit):
        return kit.rows("SELECT owner FROM conversation")[0][0]

    def test_what_comes_while_a_human_owns_is_never_answered(self):
        kit = self.serve()
        kit.deliver(self.to_human(kit))
        self.assertEqual(self.owner(kit), "human")
        kit.message("for the human")
        kit.advance(60)
        kit.deliver(self.to_bot(kit))
        kit.advance(60)
        kit.message("for the bot")
        kit.advance(60)
        self.assertEqual(kit.sent, ["re: for the bot"])

    def test_within_one_batch_the_order_counts(self):
        kit = self.serve()
        kit.deliver(
            kit.item(message={"text": "before"}), self.to_human(kit), kit.item(message={"text": "after"})
        )
        kit.advance(60)
        self.assertEqual(kit.sent, [])

    def test_waiting_turns_are_the_human_s_too(self):
        agent = HeldAgent()
        kit = self.serve(agent)
        kit.message("one")
        kit.message("two")
        kit.deliver(self.to_human(kit))
        agent.answer("re: one")
        kit.advance(5)
        kit.deliver(self.to_bot(kit))
        kit.advance(60)
        self.assertEqual((agent.asked, kit.sent), (["one"], []))

    def test_replies_that_are_not_sent_yet_are_withheld(self):
        kit = self.serve()
        kit.process.refuses = True
        kit.message("hi")
        kit.deliver(self.to_human(kit))
        kit.process.refuses = False
        kit.advance(60)
        kit.deliver(self.to_bot(kit))
        kit.advance(60)
        self.assertEqual((kit.sent, kit.outbox()), ([], ["withheld"]))

    def test_a_reply_that_may_have_been_shown_is_not_sent_again(self):
        kit = self.serve()
        kit.graph.answers(NEVER)
        kit.message("hi")
        kit.advance(25)
        kit.deliver(self.to_human(kit))
        kit.advance(60)
        self.assertEqual((kit.sent, kit.outbox()), (["re: hi"], ["withheld"]))

    def test_another_conversation_is_the_bot_s_still(self):
        kit = self.serve()
        kit.deliver(self.to_human(kit))
        kit.message("hi", person="7")
        self.assertEqual(kit.sent, ["re: hi"])

    def test_it_survives_a_restart(self):
        kit = self.serve(durable=True)
        kit.deliver(self.to_human(kit))
        kit.kill()
        kit.start()
        kit.message("hi")
        kit.advance(60)
        self.assertEqual(kit.sent, [])

    def test_proactive_messages_are_withheld_as_well(self):
        kit = self.serve()
        kit.deliver(self.to_human(kit))
        self.successResultOf(kit.service.send(Address.parse(conversation()), "news"))
        kit.advance(5)
        self.assertEqual((kit.sent, kit.outbox()), ([], ["withheld"]))


class PausedTests(PromiseCase):
    def set_owner(self, kit, owner):
        self.successResultOf(kit.store.set_owner(conversation(), owner))

    def test_turns_wait_and_are_answered_afterwards(self):
        kit = self.serve()
        self.set_owner(kit, "paused")
        self.assertEqual(kit.message("hi"), 200)
        kit.advance(600)
        self.assertEqual((kit.sent, kit.turns()), ([], []))
        self.set_owner(kit, "bot")
        kit.message("there")
        kit.advance(5)
        self.assertEqual(kit.sent, ["re: hi", "re: there"])

    def test_replies_wait_too(self):
        agent = HeldAgent()
        kit = self.serve(agent)
        kit.message("hi")
        self.set_owner(kit, "paused")
        agent.answer("hello")
        kit.advance(600)
        self.assertEqual((kit.sent, kit.outbox()), ([], ["waiting"]))
        self.set_owner(kit, "bot")
        kit.advance(2)
        self.assertEqual(kit.sent, ["hello"])


class HandoffTests(PromiseCase):
    def test_the_last_words_still_go_and_nothing_after_them(self):
        async def agent(event):
            yield "A colleague will help you."
            yield Handoff(to="desk")
            yield "Not this."

        kit = self.serve(agent)
        kit.process.refuses = True
        kit.message("help")
        kit.process.refuses = False
        kit.message("anybody?")
        kit.advance(60)
        self.assertEqual(kit.sent, ["A colleague will help you."])
        self.assertEqual(kit.rows("SELECT owner FROM conversation"), [("human",)])

    def test_the_last_words_may_come_with_the_handoff(self):
        async def agent(event):
            return [Message(parts=(Text(text="Goodbye."),)), Handoff(to="desk")]

        kit = self.serve(agent)
        kit.message("help")
        kit.message("anybody?")
        kit.advance(60)
        self.assertEqual(kit.sent, ["Goodbye."])
