"""What operators do by command: the same as at their endpoint, and beside a running server."""

import json
from pathlib import Path

from click.testing import CliRunner

from klein_channels.cli import main
from klein_channels.store.pauses import pauses

from .doubles import NOW, address, arrival, message
from .test_cli import KEY, StoreCase

CHANNELS = "store: {url}\nchannels:\n  plain:\n    type: facebook\n    verify: v\n    secret: s3cr3ts3cr3t\n"
CHANNELS += "    page_tokens: {{1: EAAGtoken}}\n"


class OperatorCase(StoreCase):
    def setUp(self):
        super().setUp()
        path = Path(self.mktemp())
        path.write_text(CHANNELS.format(url=self.url))
        self.config = str(path)

    def run_on(self, *arguments, given=None):
        result = CliRunner().invoke(main, [*arguments, "--config", self.config], input=given)
        self.assertEqual((result.exit_code, result.stderr), (0, ""), result.output)
        return result.stdout

    def refused_on(self, *arguments):
        return self.refused(*arguments, "--config", self.config)


class LettersTests(OperatorCase):
    def test_chosen_by_what_they_have_in_common(self):
        turn, reply = self.dead_turn(reason="ValueError: x"), self.dead_reply(reason="no such person")
        self.assertIn(reply, self.run_on("dead-letters", "list", "--reason", "SUCH"))
        self.assertNotIn(turn, self.run_on("dead-letters", "list", "--reason", "SUCH"))
        self.assertNotIn(reply, self.run_on("dead-letters", "list", "--kind", "turn"))
        self.assertEqual(self.run_on("dead-letters", "list", "--channel", "other"), "")
        self.assertEqual(self.run_on("dead-letters", "list", "--older", "9999d"), "")
        lines = self.run_on("dead-letters", "list", "--json").splitlines()
        self.assertEqual({json.loads(line)["id"] for line in lines}, {turn, reply})
        self.assertIn("period", self.refused_on("dead-letters", "list", "--since", "yesterday"))

    def test_all_at_once_but_never_by_mistake(self):
        names = [self.dead_reply(), self.dead_reply()]
        self.assertIn("--all", self.refused_on("dead-letters", "discard"))
        self.assertIn("--all", self.refused_on("dead-letters", "discard", names[0], "--all"))
        self.assertIn("one of both", self.refused_on("dead-letters", "discard", names[0], "--kind", "turn"))
        would = self.run_on("dead-letters", "replay", "--all", "--dry-run")
        self.assertEqual(would.splitlines(), [f"{name} would send" for name in names])
        self.assertEqual(len(self.run_on("dead-letters", "list").splitlines()), 2)
        self.run_on("dead-letters", "discard", "--all", "--kind", "reply")
        self.assertEqual(self.run_on("dead-letters", "list"), "")

    def test_edited_from_what_show_said(self):
        name = self.dead_reply("hi")
        shown = self.run_on("dead-letters", "show", name).partition("\n")[2]
        content = shown.replace('"hi"', '"hello"')
        self.assertIn("is changed", self.run_on("dead-letters", "edit", name, "-", given=content))
        self.assertIn('"hello"', self.run_on("dead-letters", "show", name))
        path = Path(self.mktemp())
        path.write_text("{}")
        self.assertIn("one part", self.refused_on("dead-letters", "edit", name, str(path)))
        path.write_text("{")
        self.assertIn("no JSON", self.refused_on("dead-letters", "edit", name, str(path)))
        self.assertIn("cannot be read", self.refused_on("dead-letters", "edit", name, "/nowhere.json"))


class PauseTests(OperatorCase):
    def test_a_running_server_sees_it(self):
        self.assertEqual(self.run_on("pause", "plain", "--note", "deploy"), "plain: hold\n")
        (found,) = self.get(self.server.look(pauses))
        self.assertEqual((found.place, found.mode, found.note), ("plain:", "hold", "deploy"))
        self.get(self.server.enqueue([arrival(message("hi"))], NOW))
        self.assertEqual(
            type(self.get(self.server.start_turn(KEY, NOW, deterministic=False))).__name__, "NotNow"
        )
        self.assertIn("plain:  hold  2", self.run_on("pauses"))
        self.assertEqual(self.run_on("resume", "plain"), "plain: goes on\n")
        self.assertEqual(self.run_on("pauses"), "")
        self.assertIn("not paused", self.refused_on("resume", "plain"))

    def test_one_account(self):
        out = self.run_on("pause", "plain", "--account", "a:b", "--mode", "maintenance", "--says", "Soon.")
        self.assertEqual(out, "plain, account a:b: maintenance\n")
        self.assertIn("plain:a%3Ab:", self.run_on("pauses"))
        self.run_on("resume", "plain", "--account", "a:b")

    def test_what_is_refused(self):
        self.assertIn("no channel 'plian'", self.refused_on("pause", "plian"))
        self.assertIn("text", self.refused_on("pause", "plain", "--mode", "maintenance"))


class PeopleTests(OperatorCase):
    def test_shown_and_erased(self):
        self.get(self.server.enqueue([arrival(message("secret"))], NOW))
        shown = json.loads(self.run_on("people", "export", "plain", "p"))
        self.assertEqual(shown["tables"]["inbox"][0]["event"]["text"], "secret")
        result = CliRunner().invoke(
            main, ["people", "erase", "plain", "p", "--config", self.config], input="n\n"
        )
        self.assertEqual(result.exit_code, 1)
        self.assertIn("rows are gone", self.run_on("people", "erase", "plain", "p", "--yes"))
        shown = json.loads(self.run_on("people", "export", "plain", "p"))
        self.assertEqual(shown["tables"]["inbox"], [])

    def test_without_a_configuration_nobody_knows_what_is_theirs(self):
        line = self.refused("people", "erase", "plain", "p", "--yes", "--store", self.url)
        self.assertIn("--config", line)


class RecordTests(OperatorCase):
    def test_what_waits(self):
        self.get(self.server.enqueue([arrival(message("hi"))], NOW))
        self.dead_reply()
        said = self.run_on("backlog")
        self.assertEqual(
            said, "plain: 1 events wait (since 2027-01-15T08:00:00Z), 0 replies, 1 dead letters\n"
        )
        self.assertIn("--config", self.refused("backlog", "--store", self.url))

    def test_conversations_and_all_that_was_done(self):
        self.get(self.server.enqueue([arrival(message("hi"))], NOW))
        self.run_on("conversations", "owner", KEY, "human")
        shown = json.loads(self.run_on("conversations", "show", str(address())))
        self.assertEqual((shown["owner"], shown["backlog"]["waiting_events"]), ("human", 0))
        self.run_on("pause", "plain")
        lines = self.run_on("audit").splitlines()
        self.assertEqual(len(lines), 2)
        self.assertRegex(lines[0], rf"^2\S+Z  command line \(.+\)  set owner  {KEY}  human$")
        self.assertRegex(lines[1], r"  pause  plain:  hold$")
