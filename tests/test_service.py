"""The parts joined: what starts and stops in which order, and what is said about it."""

import json
import os
import sqlite3

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import ConfigError, StartError
from klein_channels.model import Address, Message, Text
from klein_channels.policy import Policy
from klein_channels.service import ChannelService
from klein_channels.testing.graph import Answer
from klein_channels.testing.memory import PAGE, PERSON, ServiceInMemory, messenger

from .doubles import PlainChannel

PLACE = Address(channel="facebook", account=PAGE, peer=PERSON)


async def echo(event):
    return f"you said: {event.text}"


class KitCase(SynchronousTestCase):
    def kit(self, agent=echo, **settings):
        kit = ServiceInMemory(agent, **settings)
        self.addCleanup(kit.stop)
        return kit


class WholeTests(KitCase):
    def test_a_message_is_answered(self):
        kit = self.kit()
        self.assertEqual(kit.message("hi"), 200)
        self.assertEqual(kit.sent, ["you said: hi"])

    def test_an_observer_sees_it_and_one_that_fails_changes_nothing(self):
        seen = []

        def broken(event):
            raise ZeroDivisionError

        kit = self.kit(observers=[broken, lambda event: seen.append(event.text)])
        kit.message("hi")
        self.assertEqual((seen, kit.sent), (["hi"], ["you said: hi"]))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_a_human_who_gives_back_lets_waiting_replies_go(self):
        kit = self.kit()
        self.successResultOf(kit.store.set_owner(str(PLACE), "paused", kit.clock.seconds()))
        kit.message("hi")
        self.assertEqual(kit.sent, [])
        kit.deliver(kit.item(pass_thread_control={"new_owner_app_id": "1"}))
        self.successResultOf(kit.store.set_owner(str(PLACE), "bot", kit.clock.seconds()))
        kit.advance(2)
        kit.message("again")
        self.assertEqual(kit.sent, ["you said: hi", "you said: again"])

    def test_a_turn_that_waited_for_unsent_replies_begins_when_they_are_gone(self):
        kit = self.kit(policy=Policy(max_unsent_replies=1))
        kit.graph.answers(Answer(delay=5))
        kit.message("a")
        kit.message("b")
        kit.advance(4)
        self.assertEqual(kit.turns(), ["done"])
        kit.advance(2)
        self.assertEqual(kit.sent, ["you said: a", "you said: b"])


class SendTests(KitCase):
    def send(self, kit, *args, **more):
        done = self.successResultOf(kit.service.send(*args, **more))
        kit.settle()
        return done

    def test_anything_that_an_agent_may_say(self):
        kit = self.kit()
        for message in ("one", {"text": "two"}, Message(parts=(Text(text="three"),)), ["four", "five"]):
            self.assertTrue(self.send(kit, PLACE, message))
        self.assertEqual(kit.sent, ["one", "two", "three", "four", "five"])

    def test_once_under_a_key(self):
        kit = self.kit()
        self.assertTrue(self.send(kit, PLACE, "one", key="k"))
        self.assertFalse(self.send(kit, PLACE, "one again", key="k"))
        self.assertEqual(kit.sent, ["one"])

    def test_it_is_split_as_the_platform_needs_and_stays_in_order(self):
        kit = self.kit()
        self.send(kit, PLACE, "x" * 3000, key="long")
        self.assertEqual([len(text) for text in kit.sent], [2000, 1000])

    def test_a_human_owner_goes_before_it(self):
        kit = self.kit()
        self.successResultOf(kit.store.set_owner(str(PLACE), "human", kit.clock.seconds()))
        self.send(kit, PLACE, "advertisement")
        self.assertEqual((kit.sent, kit.outbox()), ([], ["withheld"]))

    def test_a_channel_that_is_not_there(self):
        kit = self.kit()
        self.assertRaises(ConfigError, kit.service.send, Address(channel="x", account="a", peer="p"), "hi")

    def test_before_the_start_it_says_so(self):
        service = ChannelService([messenger()], echo, store="memory:")
        with self.assertRaises(StartError) as caught:
            service.send(PLACE, "hi")
        self.assertIn("not started", str(caught.exception))


class ReadyTests(KitCase):
    def test_only_while_it_runs(self):
        kit = self.kit()
        self.assertEqual(kit.service.not_ready(), [])
        service = ChannelService([messenger()], echo, store="memory:")
        self.assertEqual(service.not_ready(), ["not started"])
        kit.stop()
        self.assertNotEqual(kit.service.not_ready(), [])

    def test_a_store_that_is_away_is_named_until_it_is_back(self):
        kit = self.kit()
        kit.disk.gone = True
        self.assertEqual(kit.message("hi"), 503)
        kit.advance(2)
        self.assertIn("disk I/O error", " ".join(kit.service.not_ready()))
        kit.disk.gone = False
        kit.advance(2)
        self.assertEqual(kit.message("hi"), 200)
        self.assertEqual(kit.service.not_ready(), [])

    def test_draining_is_not_ready(self):
        gate = Deferred()
        kit = self.kit(_waiting_for(gate))
        kit.message("hi")
        kit.stop()
        self.assertEqual(kit.service.not_ready(), ["stopping"])
        gate.callback(None)
        kit.advance(20)


def _waiting_for(gate):
    async def agent(event):
        await gate

    return agent


class StartTests(SynchronousTestCase):
    def service(self, **settings):
        settings = {"agent": echo, "store": "memory:", "reactor": ReactorDouble(), **settings}
        service = ChannelService([messenger()], settings.pop("agent"), **settings)
        return service

    def refused(self, **settings):
        service = self.service(**settings)
        with self.assertRaises(StartError) as caught:
            service.startService()
        self.assertNotIn("\n", str(caught.exception))
        self.assertEqual(service.not_ready(), ["not started"])
        return str(caught.exception)

    def test_what_is_not_there_is_one_line(self):
        self.assertIn("no module 'nowhere_at_all'", self.refused(agent="nowhere_at_all:x"))
        self.assertIn("cannot be opened", self.refused(store="sqlite:////nowhere/at/all.db"))
        self.assertTrue(self.refused(observers=["os:none_such"]).startswith("observers: 'os:none_such'"))
        for port in ("tcp", "nothing:1", "tcp:x", "systemd:domain=INET:index=0", "tcp:1:backlog=x"):
            self.assertIn("is no number and no endpoint", self.refused(port=port))

    def test_an_observer_that_is_no_function_is_told_at_the_start(self):
        self.refused(observers=["os:sep"])

    def test_a_port_that_is_taken(self):
        reactor = ReactorDouble()
        reactor.taken = True
        self.assertIn("port 5004", self.refused(port=5004, reactor=reactor))

    def test_a_start_that_failed_lets_go_of_the_store(self):
        path = self.mktemp()
        self.refused(store=f"sqlite:///{path}", observers=["os:no_such_observer"])
        with sqlite3.connect(path, timeout=0) as db:
            db.execute("BEGIN EXCLUSIVE")
        db.close()

    def test_a_start_that_failed_lets_go_of_the_port(self):
        reactor = ReactorDouble()
        self.refused(port=5004, reactor=reactor, agent="nowhere_at_all:x")
        self.assertEqual([(port.number, port.closed) for port in reactor.ports], [(5004, True)])

    def test_an_agent_is_loaded_before_the_store_is_touched(self):
        path = self.mktemp()
        self.refused(store=f"sqlite:///{path}", agent="nowhere_at_all:x")
        self.assertFalse(os.path.exists(path))

    def test_a_configuration_that_cannot_be(self):
        for channels in ([], [messenger(), messenger()], [messenger(), PlainChannel()]):
            self.assertRaises(ConfigError, ChannelService, channels, echo)

    def test_nothing_is_opened_by_making_one(self):
        before = set(os.listdir("."))
        ChannelService([messenger()], "nowhere:at_all", store="sqlite:///x.db", port=5004)
        self.assertEqual(set(os.listdir(".")), before)

    def test_the_settings_are_told_without_secrets(self):
        lines = []
        globalLogPublisher.addObserver(lines.append)
        self.addCleanup(globalLogPublisher.removeObserver, lines.append)
        kit = ServiceInMemory(echo, policy=Policy(drain=4.0))
        self.addCleanup(kit.stop)
        told = [line for line in lines if (line.get("log_format") or "").startswith("settings: channels")]
        self.assertEqual((told[0]["channels"], told[0]["policy"]), ("facebook", "drain=4.0"))
        self.assertNotIn("token-of-tests", json.dumps(told, default=repr))


class ReactorDouble(Clock):
    """Listens nowhere."""

    taken = False

    def __init__(self):
        super().__init__()
        self.ports = []

    def callFromThread(self, function, *args, **kwargs):
        function(*args, **kwargs)

    def listenTCP(self, port, factory, backlog=50, interface=""):
        if self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        self.ports.append(PortDouble(port))
        return self.ports[-1]


class PortDouble:
    def __init__(self, number):
        self.number = number
        self.closed = False

    def stopListening(self):
        self.closed = True


class StopTests(KitCase):
    def test_it_takes_no_longer_than_the_drain_whatever_an_agent_does(self):
        kit = self.kit(_waiting_for(Deferred(lambda _: None)), policy=Policy(drain=10.0))
        kit.message("hi")
        stopped = kit.stop()
        began = kit.clock.seconds()
        while not stopped.called:
            kit.clock.advance(0.1)
            self.assertLess(kit.clock.seconds() - began, 10.05)
        self.successResultOf(stopped)

    def test_what_was_not_finished_is_finished_by_the_next(self):
        gate = Deferred()
        kit = self.kit(_waiting_for(gate), path=self.mktemp(), policy=Policy(drain=0.0))
        kit.message("hi")
        kit.stop()
        kit.advance(5)
        kit.agent = echo
        kit.start()
        self.assertEqual(kit.sent, ["you said: hi"])

    def test_twice_and_before_a_start(self):
        service = ChannelService([messenger()], echo, store="memory:")
        self.successResultOf(service.stopService())
        kit = self.kit()
        kit.stop()
        self.successResultOf(kit.service.stopService())

    def test_nothing_is_left_on_the_clock(self):
        kit = self.kit()
        kit.message("hi")
        kit.stop()
        kit.advance(30)
        self.assertEqual([call for call in kit.clock.getDelayedCalls() if call.active()], [])


class EmbedTests(KitCase):
    def test_the_site_is_always_the_same_one(self):
        kit = self.kit()
        self.assertIs(kit.service.site(), kit.service.site())

    def test_two_services_do_not_know_each_other(self):
        one, two = self.kit(), self.kit()
        one.message("a")
        self.assertEqual((one.sent, two.sent), (["you said: a"], []))
