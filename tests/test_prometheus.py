"""What is counted, as a parser of Prometheus' own reads it; nobody can make it grow without end."""

import sys
from unittest import mock

from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import StartError
from klein_channels.meter import UNCOUNTED
from klein_channels.metered import failing
from klein_channels.model import Refused, Retry, UnknownOutcome
from klein_channels.prometheus import MOST_ACCOUNTS, OTHER, Prometheus
from klein_channels.testing.graph import Answer, refusal
from klein_channels.testing.memory import PAGE, HandThreads, ServiceInMemory

P = "klein_channels_"
PLACE = {"channel": "facebook", "account": PAGE}


async def echo(event):
    return f"you said: {event.text}"


class MeterCase(SynchronousTestCase):
    def setUp(self):
        self.now = 0.0
        self.meter = Prometheus(lambda: self.now, ["facebook"])

    def served(self, agent=echo, **settings):
        kit = ServiceInMemory(agent, meter=self.meter, **settings)
        self.addCleanup(kit.stop)
        return kit

    def samples(self, name, meter=None):
        """Labels -> value of all series called `name`."""
        page = (meter or self.meter).show(True).decode()
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
            if sample.name == P + name
        }

    def value(self, name, **labels):
        return self.samples(name).get(tuple(sorted(labels.items())))


class CountingTests(MeterCase):
    def test_a_message_from_its_webhook_to_the_platform(self):
        kit = self.served()
        kit.message("hi")
        self.assertEqual(self.value("events_received_total", **PLACE, type="message"), 1)
        self.assertEqual(self.value("turns_total", channel="facebook", outcome="done"), 1)
        self.assertEqual(self.value("messages_sent_total", **PLACE, kind="text"), 1)
        self.assertEqual(self.value("ack_duration_seconds_count", channel="facebook"), 1)
        self.assertEqual(self.value("send_duration_seconds_count", channel="facebook"), 1)
        self.assertEqual(self.value("turn_duration_seconds_count", channel="facebook"), 1)
        self.assertEqual(self.value("events_duplicate_total", channel="facebook"), 0)

    def test_a_redelivery(self):
        kit = self.served()
        kit.message("hi", mid="m_1")
        kit.message("hi", mid="m_1")
        self.assertEqual(self.value("events_duplicate_total", channel="facebook"), 1)
        self.assertEqual(self.value("events_received_total", **PLACE, type="message"), 1)

    def test_what_is_rejected_and_why(self):
        kit = self.served()
        kit.ask(b"{}", signature="sha256=" + "0" * 64)
        kit.ask(b"{no json")
        kit.settle()
        kit.disk.gone = True
        kit.message("hi")
        kit.disk.gone = False
        kit.ask(b"x" * 5_000_000)
        kit.settle()
        found = {dict(labels)["reason"]: n for labels, n in self.samples("events_rejected_total").items()}
        self.assertEqual(found, {"signature": 1, "schema": 1, "store": 1, "size": 1})

    def test_sends_that_fail(self):
        kit = self.served()
        kit.graph.answers(refusal(100, "No matching user found", 2018001), Answer(status=503))
        kit.message("a")
        kit.message("b")
        found = {dict(labels)["class"]: n for labels, n in self.samples("send_errors_total").items()}
        self.assertEqual(sum(found.values()), 2, found)
        self.assertEqual(found["permanent"], 1)

    def test_the_wait_for_a_thread(self):
        threads = HandThreads()
        kit = self.served(threads.agent(lambda event: "x", threads=1))
        for person in "123":
            kit.deliver(kit.item(person=person, message={"text": "hi"}))
        kit.advance(7)
        while threads.working:
            threads.finish()
            kit.settle()
        self.assertEqual(self.value("agent_wait_seconds_count", channel="facebook"), 3)
        self.assertGreaterEqual(self.value("agent_wait_seconds_sum", channel="facebook"), 14)

    def test_how_long_a_turn_took(self):
        answer = Deferred()

        async def slow(event):
            return await answer

        kit = self.served(slow)
        kit.message("hi")
        self.now = 3.0
        answer.callback("done")
        kit.settle()
        self.assertEqual(self.value("turn_duration_seconds_sum", channel="facebook"), 3)

    def test_two_services_count_for_themselves(self):
        other = Prometheus(lambda: 0.0, ["facebook"])
        kit = self.served()
        kit.message("hi")
        self.assertEqual(self.samples("events_received_total", other), {})
        self.assertEqual(len(self.samples("events_received_total")), 1)

    def test_nothing_is_counted_unless_it_is_wanted(self):
        kit = ServiceInMemory(echo)
        self.addCleanup(kit.stop)
        self.assertIs(kit.service._meter, UNCOUNTED)
        self.assertIs(kit.service._pipeline.deliveries._transport, kit.service._pipeline.transport)
        self.assertIsNone(kit.service._pipeline.conversations._lanes._seconds)


class PageTests(MeterCase):
    def test_accounts_that_anybody_names_do_not_grow_without_end(self):
        for number in range(MOST_ACCOUNTS + 50):
            self.meter.received("facebook", f"page-{number}", "message")
        accounts = {dict(labels)["account"] for labels in self.samples("events_received_total")}
        self.assertEqual(len(accounts), MOST_ACCOUNTS + 1)
        self.assertEqual(
            self.value("events_received_total", channel="facebook", account=OTHER, type="message"), 50
        )

    def test_what_the_store_knows_is_shown_as_it_is_now(self):
        page = self.meter.show(
            False, [("queue_depth", ("facebook",), 3), ("paused", ("facebook", "hold"), 1)]
        ).decode()
        self.assertIn('klein_channels_queue_depth{channel="facebook"} 3.0', page)
        self.assertIn("klein_channels_ready 0.0", page)
        self.assertEqual(self.samples("paused"), {})

    def test_the_worst_delay_since_somebody_looked(self):
        self.meter.lagged(0.1)
        self.meter.lagged(0.4)
        self.meter.lagged(0.2)
        self.assertEqual(self.value("reactor_lag_seconds"), 0.4)
        self.assertEqual(self.value("reactor_lag_seconds"), 0)

    def test_without_the_library_one_line_says_what_to_do(self):
        missing = mock.patch.dict(sys.modules, {"prometheus_client": None})
        with missing, self.assertRaises(StartError) as caught:
            Prometheus(lambda: 0.0, [])
        self.assertIn("klein_channels[metrics]", str(caught.exception))

    def test_every_outcome_has_a_word(self):
        self.assertEqual(failing(Retry(reason="x", scope="account")), "rate")
        self.assertEqual(failing(Retry(reason="x")), "network")
        self.assertEqual(failing(Refused(reason="x", scope="account")), "auth")
        self.assertEqual(failing(Refused(reason="x", scope="conversation")), "window")
        self.assertEqual(failing(Refused(reason="x")), "permanent")
        self.assertEqual(failing(UnknownOutcome(reason="x")), "unknown")
