"""What an operator does beside a running server: every answer is readable, every fault is one line."""

import json
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from klein_channels import __version__
from klein_channels.cli import main
from klein_channels.store import EndOfTurn, Settlement

from .doubles import NOW, address, arrival, message, opened, said

KEY = str(address())
CHANNELS = (
    "channels:\n  facebook:\n    verify: v\n    secret: s3cr3ts3cr3t\n    page_tokens: {1: EAAGtoken}\n"
)


class CliCase(SynchronousTestCase):
    def invoke(self, *arguments):
        return CliRunner().invoke(main, arguments)

    def done(self, *arguments):
        result = self.invoke(*arguments)
        self.assertEqual((result.exit_code, result.stderr), (0, ""))
        return result.stdout

    def refused(self, *arguments):
        result = self.invoke(*arguments)
        self.assertEqual(result.exit_code, 1, result.output)
        self.assertEqual(result.stderr.count("\n"), 1)
        self.assertTrue(result.stderr.startswith("Error: "), result.stderr)
        return result.stderr

    def file(self, text=CHANNELS):
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path)


class OtherTests(CliCase):
    def test_the_version(self):
        self.assertIn(__version__, self.done("--version"))

    def test_every_command_explains_itself(self):
        for command in (
            [],
            ["demo"],
            ["trigger"],
            ["check-config"],
            ["dead-letters"],
            ["dead-letters", "list"],
            ["dead-letters", "show"],
            ["dead-letters", "replay"],
            ["dead-letters", "discard"],
            ["dead-letters", "edit"],
            ["conversations", "show"],
            ["pause"],
            ["resume"],
            ["pauses"],
            ["people", "export"],
            ["people", "erase"],
            ["audit"],
        ):
            self.assertIn("Usage:", self.done(*command, "--help"))

    def test_a_configuration_that_is_well(self):
        out = self.done("check-config", self.file())
        self.assertIn("facebook: ", out)
        self.assertTrue(out.endswith("ok\n"))
        self.assertNotIn("s3cr3t", out)
        self.assertNotIn("EAAG", out)

    def test_a_configuration_that_is_not(self):
        self.assertIn("unknown key", self.refused("check-config", self.file("agnet: x\n" + CHANNELS)))
        self.assertIn("cannot be read", self.refused("check-config", "/nowhere.yml"))

    def test_two_channels_without_a_default_are_told_as_the_server_would(self):
        two = CHANNELS + CHANNELS.partition("\n")[2].replace("facebook:", "other:\n    type: facebook")
        self.assertIn("default: true", self.refused("check-config", self.file("agent: a:b\n" + two)))


class TriggerTests(CliCase):
    def test_what_cannot_be_triggered(self):
        path = self.file()
        self.assertIn("no channel 'x'", self.refused("trigger", "x", "text", "--config", path))
        line = self.refused("trigger", "facebook", "song", "--config", path)
        self.assertIn("quick_reply", line)
        self.assertIn("demonstration", self.refused("trigger", "x", "text"))
        url = "http://127.0.0.1:1/app/webhook"
        self.assertIn("no demonstration", self.refused("trigger", "facebook", "text", "--url", url))
        self.assertIn(
            "does not answer", self.refused("trigger", "facebook", "text", "--config", path, "--url", url)
        )

    def test_addresses_that_are_none(self):
        path = self.file()
        for url in (
            "file:///etc/passwd",
            "ftp://x",
            "x",
            "http://",
            "http://[",
            "http://h:port/",
            "http://h:99999/",
        ):
            with self.subTest(url=url):
                self.refused("trigger", "facebook", "text", "--config", path, "--url", url)
                self.refused("trigger", "facebook", "text", "--url", url)


class ConversationTests(CliCase):
    def setUp(self):
        self.path = str(Path(self.mktemp()).absolute())
        self.url = f"sqlite:///{self.path}"
        self.server = opened(self.path)
        self.addCleanup(self.server.close)

    def own(self, *arguments):
        return self.done("conversations", *arguments, "--store", self.url)

    def test_an_owner_is_set_and_listed(self):
        self.successResultOf(self.server.enqueue([arrival(message("hi"))], NOW))
        self.assertEqual(self.own("owner", KEY, "human"), f"{KEY}: human\n")
        other = KEY + "9"
        self.assertIn(f"{other}: paused until 2", self.own("owner", other, "paused", "--for", "2h"))
        first, second = self.own("list").splitlines()
        self.assertEqual(first.split(), ["human", "-", KEY])
        self.assertEqual((second.split()[0], second.split()[2]), ("paused", other))
        self.assertEqual(self.own("list", "--owner", "paused").splitlines(), [second])
        self.assertEqual(self.own("owner", KEY, "bot"), f"{KEY}: bot\n")
        self.assertEqual(self.own("list", "--owner", "human"), "")

    def test_a_human_gets_what_waits(self):
        self.successResultOf(self.server.enqueue([arrival(message("hi"))], NOW))
        self.own("owner", KEY, "human")
        self.own("owner", KEY, "bot")
        self.assertIsNone(self.successResultOf(self.server.start_turn(KEY, NOW, deterministic=False)))

    def test_the_server_is_told_of_what_is_the_bots_again(self):
        self.own("owner", KEY, "paused")
        self.own("owner", KEY, "bot")
        self.assertTrue(self.successResultOf(self.server.due(9e9, 10)).owners)
        self.assertEqual(self.successResultOf(self.server.return_owners(9e9, 10)).turns, (KEY,))
        self.assertFalse(self.successResultOf(self.server.due(9e9, 10)).owners)

    def test_a_long_list_is_whole(self):
        for number in range(603):
            self.successResultOf(self.server.set_owner(f"a:b:{number:04}", "paused", NOW))
        self.assertEqual(len(self.own("list", "--owner", "paused").splitlines()), 603)

    def test_what_is_no_period_no_key_and_no_owner(self):
        def refused(key, owner, *more):
            return self.refused("conversations", "owner", key, owner, *more, "--store", self.url)

        for odd in ("2", "h", "-2h", "2 hours", "0s", "1e9d", "9999999999s"):
            self.assertIn("period", refused(KEY, "human", "--for", odd))
        self.assertIn("no key", refused("x", "human"))
        self.assertIn("no end", refused(KEY, "bot", "--for", "1h"))
        self.assertNotEqual(self.invoke("conversations", "owner", KEY, "me").exit_code, 0)


class StoreCase(CliCase):
    """A store that a server has open, and letters in it."""

    def setUp(self):
        self.path = str(Path(self.mktemp()).absolute())
        self.url = f"sqlite:///{self.path}"
        self.server = opened(self.path)
        self.addCleanup(self.server.close)

    def get(self, deferred):
        return self.successResultOf(deferred)

    def dead_turn(self, text="hi", reason="ValueError: x"):
        self.get(self.server.enqueue([arrival(message(text))], NOW))
        turn = self.get(self.server.start_turn(KEY, NOW, deterministic=False)).turn
        self.get(self.server.end_turn(turn, EndOfTurn(state="dead", error=reason), NOW))
        return f"turn-{turn.id}"

    def dead_reply(self, text="hi", reason="refused"):
        self.get(self.server.post(KEY, [said(text)], None, NOW))
        claim = self.get(self.server.claim_reply(KEY, NOW))
        self.get(
            self.server.settle_reply(claim, Settlement(state="dead", error=reason), NOW, claim_next=False)
        )
        return f"reply-{claim.row}"


class LetterTests(StoreCase):
    def letters(self, *arguments):
        return self.done("dead-letters", *arguments, "--store", self.url)

    def test_the_list_beside_a_running_server(self):
        names = [self.dead_turn(), self.dead_reply()]
        lines = self.letters("list").splitlines()
        self.assertEqual([line.split()[0] for line in lines], sorted(names))
        self.assertEqual(lines[1], f"turn-1  2027-01-15T08:00:00Z  {KEY}  ValueError: x")

    def test_a_long_list_is_whole(self):
        for _ in range(120):
            self.dead_reply()
        lines = self.letters("list").splitlines()
        self.assertEqual(len({line.split()[0] for line in lines}), 120)

    def test_no_letters(self):
        self.assertEqual(self.letters("list"), "")

    def test_a_strangers_words_do_not_reach_the_terminal_as_orders(self):
        self.dead_reply(reason="no\nturn-9  forged\x1b[2J\r\x07\u202e\x9b1m")
        lines = self.letters("list").splitlines()
        self.assertEqual(len(lines), 1)
        self.assertEqual([c for c in lines[0] if not c.isprintable()], [])

    def test_all_of_one(self):
        name = self.dead_turn("wörds \x1b[2J")
        line, _, content = self.letters("show", name).partition("\n")
        self.assertTrue(line.startswith(name))
        self.assertNotIn("\x1b", content)
        self.assertEqual(json.loads(content)[0]["text"], "wörds \x1b[2J")

    def test_tried_again_and_put_away(self):
        turn, reply, third = self.dead_turn(), self.dead_reply(), self.dead_reply()
        out = self.letters("replay", turn, reply)
        self.assertEqual(out, f"{turn} will be tried again\n{reply} will be tried again\n")
        self.assertEqual(self.letters("discard", third), f"{third} is put away\n")
        self.assertEqual(self.letters("list"), "")
        due = self.get(self.server.due(9e9, 10))
        self.assertEqual((due.turns, due.replies), ((KEY,), (KEY,)))

    def test_names_of_nobody(self):
        name = self.dead_turn()
        for odd in ("turn-99", "x", "turn-" + "9" * 40, "reply-1; DROP TABLE turn"):
            self.assertIn("no dead letter", self.refused("dead-letters", "show", odd, "--store", self.url))
            result = self.invoke("dead-letters", "replay", name, odd, "--store", self.url)
            self.assertEqual(result.exit_code, 1)
            self.assertIn("no dead letter", result.stderr)
        self.assertIn(
            name, CliRunner().invoke(main, ["dead-letters", "list", "--store", self.url]).stdout + name
        )

    def test_the_store_may_be_named_by_the_configuration(self):
        self.dead_turn()
        path = self.file(f"agent: a:b\nstore: {self.url}\n" + CHANNELS)
        self.assertIn("turn-1", self.done("dead-letters", "list", "--config", path))

    def test_stores_that_are_none(self):
        self.assertIn("--store", self.refused("dead-letters", "list"))
        for url in ("memory:", "bot.db", "sqlite:////nowhere/x.db", "postgresql://h/db"):
            self.refused("dead-letters", "list", "--store", url)
        self.assertFalse(Path("bot.db").exists())
