"""The façade: load an agent, talk to it, and hand it to those who serve."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from klein_channels import run as running
from klein_channels.agent import STORE, Agent
from klein_channels.agents.stories import StoriesAgent
from klein_channels.agents.threads import ThreadPoolAgent
from klein_channels.channels import HttpInputChannel
from klein_channels.errors import ConfigError, StartError

from .doubles import PlainChannel
from .test_stories import StoriesTestCase

STORIES = "## s\n* greet\n - utter_hello\n* ask\n - utter_first\n - utter_second\n"


class TalkTests(StoriesTestCase):
    def setUp(self):
        self.agent_ = Agent.load(self.directory(STORIES))

    def test_answers_are_texts(self):
        self.assertEqual(self.agent_.handle_message("/greet"), ["Hello {name}"])
        self.assertEqual(self.agent_.handle_message("/ask"), ["First", "Second"])

    def test_each_sender_has_a_conversation(self):
        self.agent_.handle_message("/greet", "a")
        self.assertEqual(self.agent_.handle_message("/ask", sender_id="a"), ["First", "Second"])
        self.assertEqual(self.agent_.handle_message("/greet", sender_id="b"), ["Hello {name}"])

    def test_a_path_as_text_or_as_a_path(self):
        folder = self.directory(STORIES)
        for path in (folder, str(folder)):
            self.assertEqual(Agent.load(path).handle_message("/greet"), ["Hello {name}"])

    def test_an_interpreter_of_ones_own(self):
        class Always:
            def parse(self, text):
                return {"text": text, "intent": {"name": "greet", "confidence": 1.0}, "entities": []}

        agent = Agent.load(self.directory(STORIES), interpreter=Always())
        self.assertEqual(agent.handle_message("good morning"), ["Hello {name}"])

    def test_what_is_no_agent(self):
        for path in ("/nowhere/at/all", self.mktemp(), __file__):
            self.assertRaises(StartError, Agent.load, path)

    def test_odd_texts_break_nothing(self):
        for text in ("", " ", "/", "/greet{", '/greet{"a":', "\ud800", "\0", "{0.__class__}", "x" * 100_000):
            self.assertIsInstance(self.agent_.handle_message(text), list)


class ServeTests(StoriesTestCase):
    def setUp(self):
        self.agent_ = Agent.load(self.directory(STORIES))
        self.made = []
        self.patch(running, "serve", self.serve)

    def serve(self, make_service):
        self.made.append(make_service())
        return "what serve returns"

    def test_both_ways_serve_what_is_described(self):
        described = HttpInputChannel(5004, "/app", PlainChannel())
        for handle, kind in (
            (self.agent_.handle_asynchronous, StoriesAgent),
            (self.agent_.handle_channel, ThreadPoolAgent),
        ):
            self.assertEqual(handle(described), "what serve returns")
            service = self.made[-1]
            found = (service._port, service._prefix, service._store_spec, list(service.channels))
            self.assertEqual(found, (5004, "/app", STORE, ["plain"]))
            self.assertIsInstance(service._agent_spec, kind)

    def test_nothing_is_written_before_it_is_served(self):
        before = set(Path().iterdir())
        self.agent_.handle_asynchronous(HttpInputChannel(5004, "/app", PlainChannel()))
        self.assertEqual(set(Path().iterdir()), before)

    def test_a_description_without_channels(self):
        self.assertRaises(ConfigError, self.agent_.handle_channel, HttpInputChannel(5004, "/app"))


class DescriptionTests(SynchronousTestCase):
    def test_prefixes_are_tidied(self):
        prefixes = {
            "/app": "/app",
            "app": "/app",
            "/app/": "/app",
            "/a/b/": "/a/b",
            "": "",
            "/": "",
            None: "",
        }
        for given, tidy in prefixes.items():
            self.assertEqual(HttpInputChannel(1, given).prefix, tidy)

    def test_it_shows_what_it_describes(self):
        self.assertEqual(
            repr(HttpInputChannel(5004, "", PlainChannel())), "HttpInputChannel(5004, '/', plain)"
        )
