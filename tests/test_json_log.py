"""The log as JSON: fields from a list, nobody's words, no secret."""

import io
import json

from twisted.logger import FileLogObserver, Logger, LogLevel, LogPublisher, textFileLogObserver
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.json_log import JsonLines, LogSettings, fingerprint, write_json
from klein_channels.logs import RedactingObserver
from klein_channels.secret import Secret
from klein_channels.testing.memory import PERSON, ServiceInMemory, conversation, messenger

KEY = conversation()


class JsonCase(SynchronousTestCase):
    def line(self, format, namespace="klein_channels.x", level=LogLevel.warn, settings=None, **fields):
        event = {
            "log_format": format,
            "log_namespace": namespace,
            "log_level": level,
            "log_time": 0.0,
            **fields,
        }
        text = JsonLines(settings or LogSettings(format="json"))(event)
        self.assertTrue(text.endswith("\n"))
        self.assertEqual(text.count("\n"), 1)
        return json.loads(text)


class FieldTests(JsonCase):
    def test_an_event_of_ours_is_its_constant_text_and_its_fields(self):
        found = self.line("channel {channel} refused {status}", channel="facebook", status=403)
        self.assertEqual(
            found,
            {
                "time": "1970-01-01T00:00:00.000+00:00",
                "level": "warn",
                "from": "klein_channels.x",
                "event": "channel {channel} refused {status}",
                "channel": "facebook",
                "status": 403,
            },
        )

    def test_what_is_not_on_the_list_is_left_out(self):
        found = self.line("{address}: {text}", text="my card is 4111", other="x", address=KEY)
        self.assertNotIn("4111", json.dumps(found))
        self.assertNotIn("other", found)

    def test_unless_the_operator_wants_it(self):
        settings = LogSettings(format="json", fields=("text", "key"))
        found = self.line("{key}: {text}", settings=settings, text="my card is 4111", key=KEY)
        self.assertEqual((found["text"], found["key"]), ("my card is 4111", KEY))

    def test_a_conversation_has_a_fingerprint_the_same_under_every_name(self):
        for name in ("key", "address", "conversation"):
            found = self.line("x", **{name: KEY})
            self.assertEqual(found["conversation"], fingerprint(KEY))
            self.assertNotIn(PERSON, json.dumps(found))
        self.assertNotIn(PERSON, json.dumps(self.line("x", subject=KEY)))
        self.assertEqual(self.line("x", subject="facebook:")["subject"], "facebook:")

    def test_what_others_log_is_their_text(self):
        found = self.line("hello {name}", namespace="mybot", name="x")
        self.assertEqual((found["event"], "name" in found), ("hello x", False))

    def test_a_failure_with_its_places_and_without_values(self):
        def broken(wish):
            raise ValueError(f"no {len(wish)}")

        try:
            broken("a value of a local")
        except ValueError:
            failure = Failure(captureVars=True)
        found = self.line("it broke", log_failure=failure)["failure"]
        self.assertEqual((found["type"], found["text"]), ("ValueError", "no 18"))
        self.assertIn("test_json_log.py", found["trace"][-1])
        self.assertNotIn("a value of a local", json.dumps(found))

    def test_no_secret_in_any_field_text_or_failure(self):
        secret = Secret('canary "quoted" \\ token')
        failure = Failure(ValueError(secret.reveal()))
        for found in (
            self.line("x", reason=f"<{secret.reveal()}>"),
            self.line(secret.reveal()),
            self.line("{name}", namespace="other", name=secret.reveal()),
            self.line("x", log_failure=failure),
        ):
            self.assertNotIn("canary", json.dumps(found))

    def test_a_secret_in_its_text_does_not_bring_the_words_back(self):
        secret = Secret("canary-token-of-tests")
        event = {"log_format": "{address}: {text}", "address": KEY, "text": f"my wish {secret.reveal()}"}
        event["log_namespace"] = "klein_channels.x"
        RedactingObserver()(event)
        found = JsonLines(LogSettings(format="json"))(event)
        self.assertNotIn("my wish", found)
        self.assertIn("{address}: {text}", found)

    def test_odd_values_are_one_line_all_the_same(self):
        found = self.line("x", reason="a\nb\u2028\ud800" + "x" * 5000, count=None, error=ValueError("\x00"))
        self.assertLessEqual(len(found["reason"]), 1000)
        self.assertIsNone(found["count"])


class InstallTests(SynchronousTestCase):
    def test_the_files_of_a_log_get_json_and_stay_the_same_files(self):
        file = io.StringIO()
        publisher = LogPublisher(textFileLogObserver(file))
        write_json(LogSettings(format="json"), publisher)
        Logger(namespace="klein_channels.x", observer=publisher).info("hello {count}", count=3)
        self.assertEqual(json.loads(file.getvalue())["count"], 3)
        self.assertIsInstance(next(iter(publisher._observers)), FileLogObserver)

    def test_text_changes_nothing(self):
        file = io.StringIO()
        publisher = LogPublisher(textFileLogObserver(file))
        write_json(LogSettings(), publisher)
        Logger(namespace="klein_channels.x", observer=publisher).info("hello {count}", count=3)
        self.assertIn("hello 3", file.getvalue())


class WholeTests(SynchronousTestCase):
    def test_a_day_of_a_server_has_none_of_what_people_wrote(self):
        from twisted.logger import capturedLogs

        async def agent(event):
            if event.text.endswith("boom"):
                raise RuntimeError("the agent's own words")
            return f"you said {event.text}"

        with capturedLogs() as logged:
            kit = ServiceInMemory(agent, channel=messenger(debug_mode=True))
            self.addCleanup(kit.stop)
            for text in ("my secret wish", "my secret boom"):
                kit.message(text)
                kit.advance(200)
            kit.disk.gone = True
            kit.message("my secret again")
            kit.disk.gone = False
            kit.stop()
        self.flushLoggedErrors()
        lines = "".join(filter(None, map(JsonLines(LogSettings(format="json")), logged)))
        self.assertIn("dead letter", lines)
        self.assertNotIn("my secret", lines)
        self.assertNotIn(PERSON, lines)
