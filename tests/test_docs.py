"""What people copy from the documentation works, and what it names is there."""

import inspect
import os
import re
import runpy
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import msgspec
from twisted.python.usage import UsageError
from twisted.scripts.twistd import ServerOptions
from twisted.trial.unittest import SynchronousTestCase

from klein_channels import cli, run
from klein_channels.admin import AdminSettings
from klein_channels.agents import AgentBackend
from klein_channels.channel import ChannelOptions, known_types
from klein_channels.channels.facebook import FacebookSettings
from klein_channels.config import Config, read_config
from klein_channels.errors import ConfigError
from klein_channels.json_log import LogSettings
from klein_channels.policy import Policy
from klein_channels.testing.memory import HandThreads, ServiceInMemory

from .snippets import PAGES, ROOT, broken_links, commands, in_language, missing_tests, named_tests, snippets

ORDINARY = {"pip", "git", "bash", "ruff", "mypy", ".", "/opt/mybot/bin/pip"}
"""Commands that are not ours, and that need no looking at here."""
LANGUAGES = {"python", "yaml", "console", "ini", "nginx"}


class PythonTests(SynchronousTestCase):
    """Each block runs by itself, as the scripts of people do; what serves is made and not started."""

    def test_every_block_runs(self):
        blocks = in_language("python")
        self.assertGreater(len(blocks), 10)
        for block in blocks:
            self.ran(block)

    def test_every_agent_says_something(self):
        defined = [self.ran(block) for block in in_language("python")]
        agents = [names["reply"] for names in defined if "reply" in names]
        self.assertGreater(len(agents), 7)
        for agent in agents:
            self.assertTrue(self.answer(agent), agent)

    def ran(self, block):
        """What the block defines; nothing of it listens."""
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        script = Path(folder.name) / "snippet.py"
        script.write_text(block.text, encoding="utf-8")
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(ROOT)
        with mock.patch.object(run, "serve", lambda make_service: make_service()):
            return runpy.run_path(str(script))

    def answer(self, agent):
        """What a person sees who writes to the agent; what a generator on a thread would say."""
        if inspect.isgeneratorfunction(agent):
            return list(agent(None))
        threads = HandThreads()
        asynchronous = inspect.iscoroutinefunction(agent) or inspect.isasyncgenfunction(agent)
        kit = ServiceInMemory(
            agent if asynchronous or isinstance(agent, AgentBackend) else threads.agent(agent)
        )
        self.addCleanup(kit.kill)
        self.assertEqual(kit.message("hello"), 200)
        while threads.working:
            threads.finish()
        kit.settle()
        return kit.sent


class YamlTests(SynchronousTestCase):
    def test_every_configuration_is_read(self):
        blocks = in_language("yaml")
        self.assertGreater(len(blocks), 4)
        for block in blocks:
            self.read(block.text)

    def test_a_platform_of_rasa_s_that_is_here_is_served(self):
        telegram = (
            "telegram: {access_token: '123456:ABC-def', verify: bot, webhook_url: https://bot.example/x}"
        )
        self.assertEqual([one.name for one in self.read(telegram).channels], ["telegram"])

    def test_a_wrong_one_would_be_noticed(self):
        self.assertRaises(ConfigError, self.read, "channels: {facebook: {verfy: x}}")

    def read(self, text):
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "fb_secret").write_text("a secret\n")
        path = folder / "channels.yml"
        path.write_text(text.replace("/run/secrets", str(folder)), encoding="utf-8")
        return read_config(str(path), _Environment())


class _Environment(dict):
    """Has every variable; what is called a token looks like one of a bot's."""

    def get(self, name, default=None):
        return f"{'1234567890:' if name.endswith('TOKEN') else ''}value-of-{name}-{'x' * 24}"


class CommandTests(SynchronousTestCase):
    def test_every_command_is_one(self):
        found = 0
        for block in in_language("console"):
            for words in commands(block):
                found += 1
                self.assertIsNone(problem_of(words), f"{block}: {words}")
        self.assertGreater(found, 20)

    def test_the_unit_for_systemd_starts_a_command(self):
        (unit,) = in_language("ini")
        (start,) = re.findall(r"^ExecStart=(.+)$", unit.text, re.MULTILINE)
        self.assertIsNone(problem_of(start.split()))

    def test_wrong_ones_would_be_noticed(self):
        for line in (
            "klein-channels demmo",
            "klein-channels demo --twice",
            "klein-channels dead-letters list --jsonn",
            "twistd channels --cnfig channels.yml",
            "twistd chanels",
            "python -m twisted.trial tests.test_nothing",
            "rm -rf /",
        ):
            self.assertIsNotNone(problem_of(line.split()), line)


def problem_of(words):
    """What is wrong with a command, None if nothing is."""
    name = words[0].rpartition("/")[2]
    if name == "klein-channels":
        return _problem_of_click(cli.main, words[1:])
    if name == "twistd":
        return _problem_of_twistd(words[1:])
    if name in ("python", "python3"):
        return _problem_of_python(words[1:])
    return None if words[0] in ORDINARY else "nobody knows this command"


def _problem_of_click(command, words):
    try:
        with command.make_context(command.name, list(words), resilient_parsing=False) as context:
            rest = [*context._protected_args, *context.args] if hasattr(command, "resolve_command") else []
            if not rest:
                return None
            _, inner, words = command.resolve_command(context, rest)
            return _problem_of_click(inner, words)
    except cli.click.ClickException as error:
        return error.format_message()


def _problem_of_twistd(words):
    options = ServerOptions()
    try:
        options.parseOptions(words)
    except (UsageError, SystemExit) as error:
        return str(error)
    return None if options.subCommand == "channels" else "starts no channels"


def _problem_of_python(words):
    if words[:2] == ["-W", "error"]:
        words = words[2:]
    if words[:2] == ["-m", "twisted.trial"]:
        missing = [name for name in words[2:] if not (ROOT / name.replace(".", "/")).exists()]
        return next((n for n in missing if not (ROOT / f"{n.replace('.', '/')}.py").exists()), None)
    return None if words[:2] == ["-m", "venv"] else "nobody knows this module"


class PageTests(SynchronousTestCase):
    def test_every_link_and_path_leads_somewhere(self):
        for page in PAGES:
            self.assertEqual(broken_links(page), [], page.name)

    def test_every_test_that_is_named_exists(self):
        for page in PAGES:
            self.assertEqual(missing_tests(page), [], page.name)

    def test_every_page_is_in_the_index(self):
        docs = ROOT / "docs"
        index = (docs / "index.rst").read_text(encoding="utf-8")
        for page in docs.rglob("*.rst"):
            if page.name != "index.rst":
                self.assertIn(f"<{page.relative_to(docs)}>", index)

    def test_every_platform_has_a_page(self):
        for name in known_types():
            self.assertTrue((ROOT / "docs" / "channels" / f"{name}.rst").exists(), name)

    def test_every_language_is_looked_at(self):
        self.assertEqual({one.language for page in PAGES for one in snippets(page)}, LANGUAGES)

    def test_every_test_of_a_promise_is_named(self):
        named = named_tests(ROOT / "docs" / "promises.rst")
        for path in (ROOT / "tests" / "promises").glob("test_*.py"):
            name = f"tests.promises.{path.stem}"
            self.assertTrue([one for one in named if one == name or one.startswith(f"{name}.")], name)

    def test_every_promise_names_its_tests(self):
        page = ROOT / "docs" / "promises.rst"
        promises = re.split(r"\n-{10,}\n", page.read_text(encoding="utf-8"))[1:]
        self.assertGreater(len(promises), 8)
        for promise in promises:
            self.assertIn("``tests.", promise)
        self.assertGreater(len(named_tests(page)), len(promises))


class ConfigurationTests(SynchronousTestCase):
    """The tables have every key, with its default."""

    def test_every_number_is_there_with_its_default(self):
        rows = self.rows()
        for field in msgspec.structs.fields(Policy):
            if field.default is None:
                self.assertEqual(rows[field.name], "none", field.name)
            elif field.name != "apology":
                self.assertEqual(float(rows[field.name]), float(field.default), field.name)
        words = " ".join(self.page().split())
        self.assertIn(Policy().apology, words)

    def test_every_key_of_a_channel_is_there(self):
        rows = self.rows()
        for struct in (ChannelOptions, FacebookSettings):
            for field in msgspec.structs.fields(struct):
                self.assertIn(field.encode_name, rows)
        for name in ("default", "allow_structured_text", "typing", "mark_seen", "debug_mode", "allow_sha1"):
            default = next(f.default for f in msgspec.structs.fields(FacebookSettings) if f.name == name)
            self.assertEqual(rows[name], str(default).lower())

    def test_every_key_of_the_file_is_there_and_nothing_else(self):
        structs = (Config, AdminSettings, LogSettings, Policy, ChannelOptions, FacebookSettings)
        known = {field.encode_name for struct in structs for field in msgspec.structs.fields(struct)}
        self.assertEqual(set(self.rows()), known - {"folder"})

    def page(self):
        return (ROOT / "docs" / "configuration.rst").read_text(encoding="utf-8")

    def rows(self):
        """Key -> default, as the tables have them."""
        return {
            found[1]: found[2].strip().strip("`")
            for found in re.finditer(r"^``([\w-]+)`` +(.+?)(?:  +.*)?$", self.page(), re.MULTILINE)
        }


class FragmentTests(SynchronousTestCase):
    def test_every_fragment_has_a_name_that_towncrier_takes(self):
        fragments = [path.name for path in (ROOT / "newsfragments").iterdir() if path.name != "README.rst"]
        name = re.compile(r"(\d+|\+[\w-]+)\.(feature|bugfix|doc|removal|misc)\.rst")
        self.assertEqual([one for one in fragments if not name.fullmatch(one)], [])
