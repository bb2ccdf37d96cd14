"""What the operator names becomes a backend, or one line that says why not."""

import functools
import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.agents.choosing import as_backend, load_agent
from klein_channels.agents.deferred import DeferredAgent
from klein_channels.agents.threads import ThreadPoolAgent
from klein_channels.errors import ConfigError, StartError
from klein_channels.policy import Policy


def plain(event):
    return "x"


def generator(event):
    yield "x"


async def coroutine(event):
    return "x"


async def async_generator(event):
    yield "x"


class ChooseTests(SynchronousTestCase):
    def test_what_blocks_goes_to_threads_and_what_waits_to_the_reactor(self):
        class Sync:
            def __call__(self, event):
                pass

            def handle_message(self, text):
                pass

        class Async:
            async def __call__(self, event):
                pass

        class AsyncHandler:
            async def handle_message(self, text):
                pass

        class AsyncGeneratorHandler:
            async def handle_message(self, text):
                yield "x"

        def takes(database, event):
            pass

        async def awaits(database, event):
            pass

        threads = (plain, generator, Sync(), Sync().handle_message, functools.partial(takes, 1), len)
        reactor = (
            coroutine,
            async_generator,
            Async(),
            AsyncHandler(),
            AsyncGeneratorHandler(),
            AsyncHandler().handle_message,
            functools.partial(awaits, 1),
            functools.partial(functools.partial(awaits), 1),
        )
        for agent in threads:
            self.assertIsInstance(as_backend(agent, Policy()), ThreadPoolAgent, repr(agent))
        for agent in reactor:
            self.assertIsInstance(as_backend(agent, Policy()), DeferredAgent, repr(agent))

    def test_threads_have_the_policys_numbers(self):
        backend = as_backend(plain, Policy(agent_threads=3, stuck_threads=1))
        self.assertEqual((backend.capacity, backend._replaceable), (3, 1))

    def test_a_backend_is_itself(self):
        backend = DeferredAgent(coroutine)
        self.assertIs(as_backend(backend, Policy()), backend)

    def test_what_is_no_agent(self):
        class Handler:
            handle_message = "no function"

        for agent in (None, 3, "text", [plain], Handler(), Handler, DeferredAgent, object()):
            with self.subTest(agent=agent), self.assertRaises(ConfigError) as caught:
                as_backend(agent, Policy())
            self.assertIn("agent: ", str(caught.exception))


class LoadTests(SynchronousTestCase):
    def setUp(self):
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.patch(sys, "path", [os.path.abspath(self.folder), *sys.path])
        self.patch(sys, "dont_write_bytecode", True)
        self.names = 0

    def module(self, text):
        LoadTests.count = getattr(LoadTests, "count", 0) + 1
        name = f"agent_module_of_tests_{LoadTests.count}"
        Path(self.folder, f"{name}.py").write_text(text)
        self.addCleanup(sys.modules.pop, name, None)
        return name

    def wrong(self, spec):
        with self.assertRaises(StartError) as caught:
            load_agent(spec)
        line = str(caught.exception)
        self.assertNotIn("\n", line)
        self.assertIn("agent", line)
        return line

    def test_an_attribute_of_a_module_at_any_depth(self):
        name = self.module("class A:\n    class B:\n        reply = staticmethod(len)\n")
        self.assertIs(load_agent(f"{name}:A.B.reply"), len)

    def test_a_module_that_is_not_there(self):
        self.assertIn("no module 'nowhere_at_all'", self.wrong("nowhere_at_all:x"))
        self.assertIn("no module 'nowhere.at.all'", self.wrong("nowhere.at.all:x"))

    def test_a_module_that_a_module_needs_is_named(self):
        line = self.wrong(self.module("import missing_database_driver") + ":reply")
        self.assertIn("missing_database_driver", line)
        self.assertNotIn("among the installed", line)

    def test_a_typo_in_the_attribute(self):
        self.assertIn("did you mean 'reply'?", self.wrong(self.module("reply = len") + ":replay"))

    def test_modules_that_raise(self):
        for text in ("1/0", "raise ValueError('two\\nlines')", "def (", "import sys; sys.exit('bye')", "\0"):
            with self.subTest(text=text):
                self.wrong(self.module(text) + ":reply")

    def test_odd_names(self):
        for spec in (
            "",
            ":",
            ":x",
            "os:",
            "os:.",
            "os:path.",
            ".:x",
            "..up:x",
            "os:path.nothing",
            "a b:c",
            "http://h",
        ):
            with self.subTest(spec=spec):
                self.wrong(spec)

    def test_a_folder_without_an_agent(self):
        self.wrong(self.folder)
        self.wrong("/nowhere/at/all")
