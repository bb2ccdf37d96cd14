"""Who people are: asked for once, remembered, never waited for long."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import ChannelOptions, KnowsPeople
from klein_channels.channels.facebook import FacebookInput
from klein_channels.channels.instagram import InstagramInput
from klein_channels.model import Address, CallResult, Sender
from klein_channels.testing.harness import ChannelInMemory
from klein_channels.testing.steps import answered, play

PAGE, PERSON, TOKEN = "104512345678901", "1000000000000001", "a-token-of-tests"


class NameTests(SynchronousTestCase):
    def serve(self, told, **options):
        self.names, self.lookups = [], []

        async def agent(event):
            self.names.append(event.sender.name)
            return "hi"

        def platform(call):
            if call.method == "GET":
                self.lookups.append(call)
                return told() if callable(told) else told
            return answered(body={"message_id": "m_out"})

        options = ChannelOptions(**{"profiles": True, "typing": False, **options})
        channel = FacebookInput("v", "s" * 20, page_tokens={PAGE: TOKEN}, options=options)
        kit = ChannelInMemory(agent, channel, platform)
        self.addCleanup(kit.kill)
        return kit

    def say(self, kit, *texts):
        for text in texts:
            kit.trigger("text", text)
            kit.advance(3)

    def test_the_agent_is_told_and_the_platform_asked_once(self):
        kit = self.serve(answered(body={"name": "Ada L", "id": PERSON}))
        self.say(kit, "one", "two")
        self.assertEqual(self.names, ["Ada L", "Ada L"])
        self.assertEqual(len(self.lookups), 1)
        self.assertIn(f"/{PERSON}?fields=", self.lookups[0].url)

    def test_it_is_asked_again_when_it_is_not_believed_any_more(self):
        kit = self.serve(answered(body={"first_name": "Ada", "last_name": "L"}))
        self.say(kit, "one")
        kit.clock.advance(8 * 86_400)
        self.say(kit, "two")
        self.assertEqual((self.names, len(self.lookups)), (["Ada L", "Ada L"], 2))

    def test_who_may_not_be_asked_for_is_not_asked_for_with_each_message(self):
        for told in (answered(body={}), answered(400, {"error": {"code": 100, "error_subcode": 2018218}})):
            kit = self.serve(told)
            self.say(kit, "one", "two")
            self.assertEqual((self.names, len(self.lookups)), ([None, None], 1))
            kit.clock.advance(3700)
            self.say(kit, "three")
            self.assertEqual(len(self.lookups), 2)

    def test_a_platform_that_is_slow_delays_a_turn_by_a_moment(self):
        kit = self.serve(Deferred)
        kit.trigger("text", "one")
        kit.advance(1.4)
        self.assertEqual(self.names, [])
        kit.advance(0.2)
        self.assertEqual(self.names, [None])

    def test_it_is_off_unless_asked_for(self):
        kit = self.serve(answered(body={"name": "Ada"}), profiles=False)
        self.say(kit, "one")
        self.assertEqual((self.names, self.lookups), ([None], []))

    def test_it_goes_with_the_conversation(self):
        kit = self.serve(answered(body={"name": "Ada L"}))
        self.say(kit, "one")
        self.assertIn("Ada L", str(kit.rows("SELECT people FROM conversation")))


class StepsTests(SynchronousTestCase):
    def test_no_answer_is_an_accident(self):
        sender = Sender(id=PERSON)
        instagram = InstagramInput("v", "s", {"17": TOKEN})
        address = Address(channel="instagram", account="17", peer=PERSON)
        self.assertIsInstance(instagram, KnowsPeople)
        for result in (
            CallResult(outcome="unknown"),
            CallResult(outcome="not_sent"),
            answered(body=[]),
            answered(body={"name": 5, "username": {}}),
            CallResult(outcome="answered", status=200, body=b"<html>"),
        ):
            _, person = play(instagram.person(sender, address), result)
            self.assertIn(person, (None, sender))
        _, person = play(instagram.person(sender, address), answered(body={"username": "ada"}))
        self.assertEqual(person, Sender(id=PERSON, username="ada"))
