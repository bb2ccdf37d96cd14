"""Serving from a script: where it can be done, and one line where it cannot."""

import threading
import types

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from klein_channels import run as running
from klein_channels.errors import ReactorError, StartError
from klein_channels.run import run, serve


class ServiceDouble(Service):
    def __init__(self, calls, error=None):
        self.calls = calls
        self.error = error

    def privilegedStartService(self):
        self.calls.append("bind")

    def startService(self):
        self.calls.append("start")
        if self.error is not None:
            raise self.error

    def stopService(self):
        self.calls.append("stop")


class ReactorDouble:
    def __init__(self, calls, running=False, ran_before=False):
        self.calls = calls
        self.running = running
        self._startedBefore = ran_before
        self.triggers = []

    def addSystemEventTrigger(self, phase, event, function):
        self.triggers.append((phase, event, function))

    def callWhenRunning(self, function):
        self.when_running = function

    def run(self):
        self.calls.append("run")
        for _, _, function in self.triggers:
            function()


class RunCase(SynchronousTestCase):
    def setUp(self):
        self.calls = []
        self.patch(running, "_start_logging", lambda: self.calls.append("log"))

    def on(self, **state):
        reactor = ReactorDouble(self.calls, **state)
        self.patch(running, "chosen_reactor", lambda: reactor)
        return reactor

    def service(self, error=None):
        return ServiceDouble(self.calls, error)


class ServeTests(RunCase):
    def test_a_script_logs_binds_starts_runs_and_stops(self):
        reactor = self.on()
        self.assertIsNone(serve(self.service))
        self.assertEqual(self.calls, ["log", "bind", "start", "run", "stop"])
        self.assertEqual([trigger[:2] for trigger in reactor.triggers], [("before", "shutdown")])

    def test_a_failed_start_is_raised_and_nothing_runs(self):
        self.on()
        self.assertRaises(StartError, serve, lambda: self.service(StartError("no")))
        self.assertNotIn("run", self.calls)

    def test_inside_a_running_reactor_it_returns_the_service(self):
        self.on(running=True)
        served = serve(self.service)
        self.assertIsInstance(self.successResultOf(served), ServiceDouble)
        self.assertEqual(self.calls, ["bind", "start"])

    def test_inside_a_running_reactor_a_failed_start_is_a_failure(self):
        self.on(running=True)
        served = serve(lambda: self.service(StartError("no")))
        self.assertIsInstance(served, Deferred)
        self.failureResultOf(served, StartError)

    def test_a_second_time_names_the_way_out(self):
        self.on(ran_before=True)
        with self.assertRaises(ReactorError) as caught:
            serve(self.service)
        self.assertIn("ChannelService", str(caught.exception))
        self.assertEqual(self.calls, [])

    def test_off_the_main_thread_names_the_way_out(self):
        self.on()
        raised = []

        def elsewhere():
            try:
                serve(self.service)
            except ReactorError as error:
                raised.append(str(error))

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join()
        self.assertIn("main thread", raised[0])
        self.assertEqual(self.calls, [])

    def test_in_a_file_that_twistd_loads_names_the_way_out(self):
        self.on()
        for loader in ("twisted.application.app", "twisted.persisted.sob", "twisted.scripts.twistd"):
            module = types.ModuleType(loader)
            exec("def load(function): return function()", module.__dict__)
            with self.assertRaises(ReactorError) as caught:
                module.load(lambda: serve(self.service))
            self.assertIn("twistd channels", str(caught.exception))
        self.assertEqual(self.calls, [])

    def test_in_a_test_runner_of_twisted_it_can_be_done(self):
        self.on(running=True)
        module = types.ModuleType("twisted.trial.runner")
        exec("def load(function): return function()", module.__dict__)
        self.successResultOf(module.load(lambda: serve(self.service)))


class RunningReactorTests(TestCase):
    """In the reactor of these tests."""

    async def test_an_application_that_twistd_runs_may_serve(self):
        calls = []
        module = types.ModuleType("twisted.application.app")
        exec("def run(function): return function()", module.__dict__)
        from twisted.internet import reactor

        await deferLater(reactor, 0)  # the first steps of a test come before the reactor runs
        self.assertIsInstance(await module.run(lambda: serve(lambda: ServiceDouble(calls))), ServiceDouble)
        self.assertEqual(calls, ["bind", "start"])


class RunTests(RunCase):
    def test_what_is_to_happen_when_it_runs(self):
        reactor = ReactorDouble(self.calls)
        run(reactor, self.service(), when_running=len)
        self.assertIs(reactor.when_running, len)

    def test_without_anything_to_happen(self):
        reactor = ReactorDouble(self.calls)
        run(reactor, self.service())
        self.assertFalse(hasattr(reactor, "when_running"))
