"""Any channel in a service in memory, and platforms as functions."""

import subprocess
import sys

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels import testing
from klein_channels.model import Call, CallResult
from klein_channels.testing import ChannelInMemory, answered, drive, served
from klein_channels.testing.graph import CLOSE, GraphStandIn
from klein_channels.testing.memory import PAGE, PERSON, SECRET, TOKEN, messenger

from .snippets import ROOT

SENT = answered(body={"recipient_id": PERSON, "message_id": "m_1"})


async def echo(event):
    return f"re: {event.text}"


class ChannelInMemoryTests(SynchronousTestCase):
    def kit(self, platform, **settings):
        kit = ChannelInMemory(echo, messenger(), platform, **settings)
        self.addCleanup(lambda: kit.kill() if kit.process.alive else None)
        return kit

    def test_a_message_is_answered_through_the_function(self):
        kit = self.kit(lambda call: SENT)
        self.assertEqual(kit.trigger("text", "hi"), 200)
        [call] = kit.shown
        self.assertIn(b"re: hi", call.body)
        self.assertEqual((kit.outbox(), kit.turns()), (["sent"], ["done"]))

    def test_a_platform_may_take_its_time_but_not_for_ever(self):
        answers = [Deferred(), Deferred()]
        kit = self.kit(lambda call: answers[len(kit.shown) - 1])
        kit.trigger()
        kit.advance(kit.calls[0].deadline - 1)
        self.assertEqual(len(kit.shown), 1)
        kit.advance(1 + kit.policy.unknown_wait)
        self.assertEqual(len(kit.shown), 2)
        answers[1].callback(SENT)
        kit.settle()
        self.assertEqual(kit.outbox(), ["sent"])

    def test_the_next_process_goes_on_where_one_died(self):
        kit = self.kit(lambda call: CallResult(outcome="not_sent", error="away"), path=self.mktemp())
        kit.trigger()
        kit.kill()
        kit.platform = lambda call: SENT
        kit.advance(60)
        self.assertEqual(len(kit.shown), 1)
        kit.start()
        kit.advance(60)
        self.assertEqual((len(kit.shown), kit.outbox()), (2, ["sent"]))

    def test_a_dead_process_hears_no_answer(self):
        kit = self.kit(lambda call: answer, path=self.mktemp())
        answer = Deferred()
        kit.trigger()
        kit.kill()
        answer.callback(SENT)
        kit.platform = lambda call: SENT
        kit.start()
        self.assertNotEqual(kit.outbox(), ["sent"])

    def test_a_resource_is_called_over_the_wire(self):
        clock = testing.harness.clock_of_tests()
        graph = GraphStandIn(clock, {PAGE: TOKEN}, secret=SECRET)
        kit = self.kit(graph, clock=clock)
        kit.trigger("text", "hi")
        self.assertEqual([message.text for message in graph.sent], ["re: hi"])

    def test_an_unsigned_request_is_refused_over_http(self):
        kit = self.kit(lambda call: SENT)
        request = kit.channel.trigger("text", "hi", kit.clock.seconds())
        self.assertEqual(kit.receive(type(request)(method="POST", path="", body=request.body)), 403)
        self.assertEqual(kit.calls, [])


class PlatformTests(SynchronousTestCase):
    def setUp(self):
        self.graph = GraphStandIn(Clock(), {PAGE: TOKEN})
        self.platform = served(self.graph)

    def call(self):
        headers = (("Authorization", f"Bearer {TOKEN}"), ("Content-Type", "application/json"))
        body = b'{"recipient": {"id": "1"}, "message": {"text": "hi"}}'
        url = "https://graph.test/v25.0/me/messages?x=1"
        return Call(method="POST", url=url, headers=headers, body=body)

    def test_a_resource_answers_as_it_does_over_the_wire(self):
        result = self.platform(self.call())
        self.assertEqual((result.outcome, result.status), ("answered", 200))
        self.assertIn(b"message_id", result.body)
        self.assertIn("application/json", result.header("content-type"))
        self.assertEqual(self.graph.sent[0].text, "hi")

    def test_a_closed_connection_is_an_unknown_outcome(self):
        self.graph.answers(CLOSE)
        self.assertEqual(self.platform(self.call()).outcome, "unknown")

    def test_steps_that_never_end_are_told_of(self):
        def steps():
            while True:
                yield self.call()

        self.assertRaises(AssertionError, drive, steps(), self.platform)


class NamesTests(SynchronousTestCase):
    def test_every_public_name_is_there(self):
        for name in testing.__all__:
            self.assertIsNotNone(getattr(testing, name))
        self.assertRaises(AttributeError, lambda: testing.NoSuchThing)

    def test_the_kit_is_light_until_something_is_asked_of_it(self):
        script = "import sys, klein_channels.testing\nprint({'hypothesis', 'klein'} & sys.modules.keys())"
        done = subprocess.run(
            [sys.executable, "-c", script],
            env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        self.assertEqual(done.stdout.strip(), "set()")
