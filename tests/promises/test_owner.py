"""The human goes first."""

from __future__ import annotations

from klein_channels.channel import ChannelOptions
from klein_channels.model import Address, Handoff, Message, Text
from klein_channels.store.sqlite import SQLiteStore
from klein_channels.testing.graph import NEVER
from klein_channels.testing.memory import conversation, messenger

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


class EchoTests(PromiseCase):
    """A human answered in the platform's own inbox."""

    def echo(self, kit, app=INBOX, **message):
        fields = {"is_echo": True, "app_id": int(app), "text": "I am a person", **message}
        item = kit.item(message=fields)
        item["sender"], item["recipient"] = item["recipient"], item["sender"]
        return item

    def owners(self, kit):
        return [row[0] for row in kit.rows("SELECT owner FROM conversation")]

    def test_a_human_who_answers_has_the_conversation(self):
        agent = HeldAgent()
        kit = self.serve(agent)
        kit.message("one")
        kit.message("two")
        kit.deliver(self.echo(kit))
        agent.answer("re: one")
        kit.message("three")
        kit.advance(60)
        self.assertEqual((agent.asked, kit.sent, self.owners(kit)), (["one"], [], ["human"]))

    def test_it_is_the_same_where_each_sender_is_a_conversation(self):
        kit = self.serve(channel=messenger(options=ChannelOptions(conversation="sender")))
        kit.message("one")
        kit.deliver(self.echo(kit))
        kit.message("two")
        kit.deliver(kit.item(pass_thread_control={"new_owner_app_id": "123456"}))
        kit.message("three")
        self.assertEqual(kit.sent, ["re: one", "re: three"])

    def test_our_own_words_are_nobody_s(self):
        kit = self.serve()
        kit.message("hi")
        ours = kit.graph.sent[0].body["message"]["metadata"]
        kit.deliver(self.echo(kit, app="4711", metadata=ours))
        kit.deliver(self.echo(kit, metadata=ours))
        kit.message("there")
        self.assertEqual(kit.sent, ["re: hi", "re: there"])

    def test_another_app_is_no_human_unless_the_channel_says_so(self):
        for whose, sent in (("human", ["re: hi"]), ("any", [])):
            kit = self.serve(channel=messenger(options=ChannelOptions(echo_takes_over=whose)))
            kit.deliver(self.echo(kit, app="4711"))
            kit.message("hi")
            self.assertEqual(kit.sent, sent)

    def test_the_words_of_another_server_of_ours_are_no_human_s(self):
        kit = self.serve(channel=messenger(options=ChannelOptions(echo_takes_over="any")))
        kit.deliver(self.echo(kit, app="4711", metadata="0123abcd-7"))
        kit.message("hi")
        self.assertEqual(kit.sent, ["re: hi"])

    def test_a_channel_may_not_want_it(self):
        kit = self.serve(channel=messenger(options=ChannelOptions(echo_takes_over="never")))
        kit.deliver(self.echo(kit))
        kit.message("hi")
        self.assertEqual(kit.sent, ["re: hi"])

    def test_the_bot_has_it_back_when_the_human_was_silent_for_long(self):
        kit = self.serve(channel=messenger(options=ChannelOptions(human_returns_after=600)))
        kit.deliver(self.echo(kit))
        kit.advance(500)
        kit.deliver(self.echo(kit))
        kit.advance(500)
        kit.message("for the human")
        kit.advance(200)
        kit.message("for the bot")
        kit.advance(60)
        self.assertEqual(kit.sent, ["re: for the bot"])

    def test_it_never_comes_back_where_the_channel_says_so(self):
        kit = self.serve(channel=messenger(options=ChannelOptions(human_returns_after=0)))
        kit.deliver(self.echo(kit))
        kit.clock.advance(90_000)
        kit.advance(2)
        kit.message("hi")
        self.assertEqual(kit.sent, [])

    def test_what_was_begun_before_stays_the_human_s_after_their_time(self):
        agent = HeldAgent()
        kit = self.serve(agent, channel=messenger(options=ChannelOptions(human_returns_after=10)))
        kit.message("one")
        kit.message("two")
        kit.deliver(self.echo(kit))
        kit.advance(20)
        agent.answer("re: one")
        kit.advance(60)
        self.assertEqual((agent.asked, kit.sent, kit.outbox()), (["one"], [], ["withheld"]))

    def test_replies_that_wait_are_the_human_s_after_their_time(self):
        kit = self.serve(channel=messenger(options=ChannelOptions(human_returns_after=10)))
        kit.process.refuses = True
        kit.message("hi")
        kit.advance(40)
        kit.deliver(self.echo(kit))
        kit.process.refuses = False
        kit.advance(600)
        self.assertEqual((kit.sent, kit.outbox()), ([], ["withheld"]))

    def test_what_was_being_sent_is_not_sent_again_after_their_time(self):
        kit = self.serve(channel=messenger(options=ChannelOptions(human_returns_after=10)))
        kit.graph.answers(NEVER)
        kit.message("hi")
        kit.advance(1)
        kit.deliver(self.echo(kit))
        kit.advance(300)
        self.assertEqual((kit.sent, kit.outbox()), (["re: hi"], ["withheld"]))

    def test_what_an_operator_paused_stays_paused(self):
        kit = self.serve()
        self.successResultOf(kit.service.set_owner(conversation(), "paused"))
        kit.message("hi")
        kit.deliver(self.echo(kit))
        kit.clock.advance(90_000)
        kit.advance(2)
        self.assertEqual(self.owners(kit), ["paused"])
        self.successResultOf(kit.service.set_owner(conversation(), "bot"))
        kit.advance(5)
        self.assertEqual(kit.sent, [], "the human answered it")

    def test_what_an_operator_gave_for_good_has_no_end(self):
        kit = self.serve()
        self.successResultOf(kit.service.set_owner(conversation(), "human"))
        kit.deliver(self.echo(kit))
        kit.clock.advance(90_000)
        kit.advance(2)
        kit.message("hi")
        self.assertEqual(kit.sent, [])


class OperatorTests(PromiseCase):
    def set_owner(self, kit, owner, seconds=None):
        until = None if seconds is None else kit.clock.seconds() + seconds
        self.successResultOf(kit.service.set_owner(conversation(), owner, until))

    def test_for_a_time(self):
        kit = self.serve()
        self.set_owner(kit, "human", 7200)
        kit.message("for the human")
        kit.advance(7199)
        kit.message("for the human, too")
        kit.advance(2)
        kit.message("for the bot")
        kit.advance(60)
        self.assertEqual(kit.sent, ["re: for the bot"])

    def test_a_pause_that_ends_lets_what_waits_go_on(self):
        kit = self.serve()
        self.set_owner(kit, "paused", 600)
        kit.message("one")
        kit.message("two")
        kit.advance(590)
        self.assertEqual(kit.sent, [])
        kit.advance(15)
        self.assertEqual(kit.sent, ["re: one", "re: two"])

    def test_a_time_that_ends_while_no_server_runs(self):
        kit = self.serve(durable=True)
        self.set_owner(kit, "paused", 600)
        kit.message("one")
        kit.kill()
        kit.clock.advance(700)
        kit.start()
        kit.advance(2)
        self.assertEqual(kit.sent, ["re: one"])

    def test_the_first_message_after_their_time_is_the_bot_s(self):
        """Before anything that runs now and then could have noticed."""
        kit = self.serve(durable=True)
        self.set_owner(kit, "human", 600)
        kit.kill()
        kit.clock.advance(600)
        kit.start()
        kit.message("hi")
        self.assertEqual(kit.sent, ["re: hi"])

    def test_a_turn_that_a_human_took_is_not_begun_again(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True)
        kit.message("hi")
        self.set_owner(kit, "human", 600)
        kit.kill()
        kit.clock.advance(700)
        kit.start()
        kit.advance(60)
        self.assertEqual((agent.asked, kit.turns()), (["hi"], ["withheld"]))

    def test_a_human_gives_back_and_is_not_asked_again(self):
        kit = self.serve()
        self.set_owner(kit, "human", 600)
        self.set_owner(kit, "bot")
        kit.message("hi")
        kit.advance(1000)
        self.assertEqual(kit.sent, ["re: hi"])
        self.assertEqual(kit.rows("SELECT owner, owner_until FROM conversation"), [("bot", None)])

    def test_another_process_gives_it_back(self):
        """As the command line does: the server learns of it from the store alone."""
        kit = self.serve(durable=True)
        self.set_owner(kit, "paused")
        kit.message("hi")
        kit.advance(60)
        beside = SQLiteStore(kit.store.path, shared=True)
        beside.open(kit.clock.seconds())
        self.successResultOf(beside.set_owner(conversation(), "bot", kit.clock.seconds()))
        self.successResultOf(beside.close())
        kit.advance(2)
        self.assertEqual(kit.sent, ["re: hi"])


class PausedTests(PromiseCase):
    def set_owner(self, kit, owner):
        self.successResultOf(kit.store.set_owner(conversation(), owner, kit.clock.seconds()))

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

    def test_the_bot_has_it_back_after_a_time(self):
        async def agent(event):
            return Handoff(to="desk") if event.text == "help" else f"re: {event.text}"

        kit = self.serve(agent, channel=messenger(options=ChannelOptions(human_returns_after=600)))
        kit.message("help")
        kit.message("anybody?")
        kit.advance(610)
        kit.message("thanks")
        kit.advance(60)
        self.assertEqual(kit.sent, ["re: thanks"])

    def test_the_last_words_may_come_with_the_handoff(self):
        async def agent(event):
            return [Message(parts=(Text(text="Goodbye."),)), Handoff(to="desk")]

        kit = self.serve(agent)
        kit.message("help")
        kit.message("anybody?")
        kit.advance(60)
        self.assertEqual(kit.sent, ["Goodbye."])
