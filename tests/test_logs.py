"""No secret reaches the log, whoever logs it; and no line repeats without end."""

import io
import json
import logging

from twisted.internet.task import Clock
from twisted.logger import (
    FileLogObserver,
    Logger,
    LogPublisher,
    STDLibLogObserver,
    eventAsJSON,
    formatEvent,
    formatEventAsClassicLogText,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.logs import RedactingObserver, Throttle, install_redaction
from klein_channels.secret import HIDDEN, Secret

TEXT = "EAAGhunter2hunter2"


class Thing:
    def __init__(self, shown):
        self.shown = shown

    def __repr__(self):
        return self.shown


def fail_with(error, cause=None):
    raise error from cause


class RedactionCase(SynchronousTestCase):
    def setUp(self):
        self.secret = Secret(TEXT)
        self.events = []
        self.publisher = LogPublisher(self.events.append)
        self.text = io.StringIO()
        self.publisher.addObserver(FileLogObserver(self.text, formatEventAsClassicLogText))
        install_redaction(self.publisher)
        self.log = Logger(observer=self.publisher)

    def shown(self):
        """All that any observer could write down."""
        event = self.events[-1]
        legacy = event.get("format", "") % event if event.get("format") else ""
        return "\n".join(
            [
                formatEvent(event),
                self.text.getvalue(),
                str(legacy),
                str(event.get("message")),
                eventAsJSON(event),
            ]
        )

    def assertHidden(self):
        shown = self.shown()
        self.assertNotIn("hunter2", shown)
        self.assertIn(HIDDEN, shown)


class RedactionTests(RedactionCase):
    def test_in_the_format(self):
        self.log.info(f"token {TEXT}")
        self.assertHidden()

    def test_in_a_field(self):
        self.log.info("calling {url}", url=f"https://graph/me?access_token={TEXT}")
        self.assertHidden()

    def test_in_what_an_object_says_of_itself(self):
        self.log.info("calling {thing} {thing.shown}", thing=Thing(TEXT))
        self.assertNotIn("hunter2", formatEvent(self.events[-1]) + self.text.getvalue())

    def test_in_what_is_called_while_formatting(self):
        self.log.info("calling {tell()}", tell=lambda: TEXT)
        self.assertNotIn("hunter2", formatEvent(self.events[-1]) + self.text.getvalue())

    def test_in_fields_that_the_line_does_not_show(self):
        self.log.info("calling", headers={"authorization": [f"Bearer {TEXT}"]}, pair=(TEXT, 1))
        self.assertHidden()

    def test_cut_in_two_by_the_format(self):
        self.log.info("{one}{two}", one=TEXT[:9], two=TEXT[9:])
        self.assertNotIn(TEXT, self.text.getvalue())

    def test_in_a_traceback(self):
        try:
            fail_with(ValueError(f"no page for {TEXT}"))
        except ValueError:
            self.log.failure("sending to {peer}", peer=TEXT)
        self.assertHidden()
        failure = self.events[-1]["log_failure"]
        self.assertIsInstance(failure, Failure)
        self.assertNotIn("hunter2", failure.getTraceback() + failure.getErrorMessage() + repr(failure))

    def test_in_what_an_error_came_from(self):
        try:
            fail_with(ValueError("it failed"), KeyError(TEXT))
        except ValueError:
            self.log.failure("sending")
        self.assertNotIn("hunter2", self.shown())

    def test_an_innocent_failure_stays_itself(self):
        try:
            fail_with(ValueError("nothing special"))
        except ValueError:
            failure = Failure()
        self.log.failure("sending", failure)
        self.assertIs(self.events[-1]["log_failure"], failure)

    def test_an_innocent_event_keeps_its_format_and_fields(self):
        self.log.info("sent {count} to {who}", count=3, who="you")
        event = self.events[-1]
        self.assertEqual(
            (event["log_format"], event["count"], event["who"]), ("sent {count} to {who}", 3, "you")
        )

    def test_braces_of_a_stranger_break_nothing(self):
        self.log.info("said {text}", text=f"{{boom}} {{0.__class__}} {TEXT} {{")
        self.assertHidden()
        self.assertIn("{boom}", self.text.getvalue())

    def test_an_event_without_a_format(self):
        self.publisher({"log_level": None, "isError": 0, "message": (f"old {TEXT}",), "note": TEXT})
        self.assertNotIn("hunter2", json.dumps(self.events[-1], default=repr))

    def test_an_object_that_cannot_be_shown(self):
        class Broken:
            def __repr__(self):
                raise ValueError("no")

        self.log.info("a {broken} and {token}", broken=Broken(), token=TEXT)
        self.assertNotIn("hunter2", self.text.getvalue())

    def test_a_list_that_holds_itself(self):
        around = [TEXT]
        around.append(around)
        self.log.info("a {around}", around=around)
        self.assertNotIn("hunter2", self.text.getvalue())

    def test_the_standard_librarys_logging_gets_clean_events(self):
        records = []
        handler = logging.Handler()
        handler.emit = records.append
        logger = logging.getLogger("twisted")
        logger.addHandler(handler)
        self.addCleanup(logger.removeHandler, handler)
        self.publisher.addObserver(STDLibLogObserver())
        self.log.error("calling {url}", url=TEXT)
        self.assertNotIn("hunter2", records[0].getMessage())


class InstallTests(SynchronousTestCase):
    def test_it_stands_before_those_who_were_there_and_those_who_come(self):
        secret, seen = Secret(TEXT), []
        publisher = LogPublisher(lambda event: seen.append(formatEvent(event)))
        install_redaction(publisher)
        publisher.addObserver(lambda event: seen.append(formatEvent(event)))
        Logger(observer=publisher).info("x {t}", t=TEXT)
        self.assertEqual(seen, [f"x {HIDDEN}"] * 2)
        del secret

    def test_once_is_enough(self):
        publisher = LogPublisher()
        for _ in range(3):
            install_redaction(publisher)
        found = [observer for observer in publisher._observers if isinstance(observer, RedactingObserver)]
        self.assertEqual(len(found), 1)


class ThrottleTests(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.throttle = Throttle(self.clock.seconds, every=60.0, kinds=3)

    def test_one_in_a_while_and_the_number_of_the_others(self):
        self.assertEqual([self.throttle.admit("a") for _ in range(4)], [0, None, None, None])
        self.clock.advance(59.9)
        self.assertIsNone(self.throttle.admit("a"))
        self.clock.advance(0.1)
        self.assertEqual([self.throttle.admit("a"), self.throttle.admit("a")], [4, None])

    def test_kinds_do_not_disturb_each_other(self):
        self.assertEqual([self.throttle.admit(kind) for kind in ("a", "b", "a")], [0, 0, None])

    def test_memory_is_bounded_whatever_comes(self):
        for number in range(1000):
            self.throttle.admit(number)
        self.assertLessEqual(len(self.throttle._last), 3)

    def test_a_clock_set_back_silences_nothing_for_long(self):
        times = iter([1000.0, 10.0, 20.0])
        throttle = Throttle(lambda: next(times), every=60.0)
        self.assertEqual([throttle.admit("a") for _ in range(3)], [0, 0, None])
