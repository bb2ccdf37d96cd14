"""Whatever is wrong with a configuration is one line that says where, and never shows a secret."""

import os
from pathlib import Path

from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import known_types
from klein_channels.config import read_config
from klein_channels.errors import ConfigError
from klein_channels.policy import Policy
from klein_channels.rates import Rate
from klein_channels.service import ChannelService

FACEBOOK = """
    verify: open sesame
    secret: s3cr3ts3cr3t
    page_tokens: {1000: EAAGtokentoken}
"""
WHOLE = "channels:\n  facebook:" + FACEBOOK


class ConfigCase(SynchronousTestCase):
    def read(self, text, **environment):
        self.path = self.mktemp()
        Path(self.path).write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_config(self.path, environment)

    def wrong(self, text, **environment):
        with self.assertRaises(ConfigError) as caught:
            self.read(text, **environment)
        line = str(caught.exception)
        self.assertTrue(line.startswith(self.path + ": "), line)
        self.assertNotIn("\n", line)
        return line.removeprefix(self.path + ": ")


class WrongFileTests(ConfigCase):
    def test_each_fault_has_its_line(self):
        with_channel = "channels:\n  facebook:\n    verify: v\n    secret: s\n    page_tokens: {1: t}\n"
        table = {
            "[1, 2]": "must be keys with values",
            "just words": "must be keys with values",
            "chanels: {}\nagent: a:b": "chanels: unknown key (did you mean 'channels'?)",
            "agent: a:b\nzzz: 1": (
                "zzz: unknown key (known: admin, agent, channels, log, media, observers, policy, prefix,"
                " public_url, store, trusted_proxies)"
            ),
            f"{with_channel}    double_texting: merg": (
                "channels.facebook.double_texting: Invalid enum value 'merg' (did you mean 'merge'?)"
            ),
            "policy: {merge_window: 30}": (
                "policy: merge_window must not be over merge_longest, which is the longest wait"
            ),
            "agent: [a]\n": "agent: Expected `str | null`, got `array`",
            "agent: a\nchannels: [facebook]": "channels: must be keys with values",
            "agent: a\nchannels: {facebook: [a]}": "channels.facebook: must be keys with values",
            "agent: a\nchannels: {facebook: yes}": "channels.facebook: must be keys with values",
            "agent: a\nchannels: {Facebook: {type: facebook}}": (
                "channels.Facebook: a name has only lower-case letters, digits, - and _"
            ),
            "agent: a\nchannels: {facebok: {}}": (
                "channels.facebok: no channel type 'facebok' (did you mean 'facebook'?)"
            ),
            "agent: a\nchannels: {mine: {type: facebook, secrt: x}}": (
                "channels.mine.secrt: unknown key (did you mean 'secret'?)"
            ),
            with_channel + "    conversation: person": (
                "channels.facebook.conversation: Invalid enum value 'person' (known: chat, sender, thread)"
            ),
            with_channel + "    default: perhaps": "channels.facebook.default: Expected `bool`, got `str`",
            with_channel + "    turns: optin": "channels.facebook.turns: Expected `array`, got `str`",
            with_channel + "policy: {drain: soon}": "policy.drain: Expected `float`, got `str`",
            with_channel + "policy: {agent_treads: 3}": (
                "policy.agent_treads: unknown key (did you mean 'agent_threads'?)"
            ),
            with_channel + "policy: {max_body: 1.5}": "policy.max_body: Expected `int`, got `str`",
            with_channel + "policy: [1]": "policy: must be keys with values",
            with_channel + "observers: a:b": "observers: Expected `array`, got `str`",
            "agent: a\nagent: b": "is no YAML: line 2: 'agent' stands twice",
            with_channel + "    verify: w": "is no YAML: line 6: 'verify' stands twice",
            "agent: a\n\tb: c": "is no YAML: line 2: found character '\\t' that cannot start any token",
            "agent: 'a": "is no YAML: line 1: found unexpected end of stream",
            "a: b: c": "is no YAML: line 1: mapping values are not allowed here",
            "agent: ${HOME_OF_NOBODY}": "agent: the environment has no HOME_OF_NOBODY",
            "agent: ${file:/nowhere/x}": "agent: /nowhere/x cannot be read: No such file or directory",
            "agent: ${file:/etc}": "agent: /etc cannot be read: Is a directory",
            "observers: [a:b, '${X}']\nagent: x": "observers[1]: the environment has no X",
        }
        for text, line in table.items():
            with self.subTest(text=text):
                self.assertEqual(self.wrong(text), line)

    def test_files_that_cannot_be_read(self):
        self.assertIn("cannot be read: ", self.wrong(b"agent: \xff"))
        for path, why in (("/nowhere/x.yml", "No such file or directory"), ("/", "Is a directory")):
            with self.assertRaises(ConfigError) as caught:
                read_config(path)
            self.assertEqual(str(caught.exception), f"{path}: cannot be read: {why}")

    def test_a_file_that_is_nested_without_end(self):
        for text in ("[" * 100_000, "a: " + "{a: " * 5000, "- " * 5000):
            self.assertIn("is no YAML: ", self.wrong(text))

    def test_no_object_is_ever_made_of_a_tag(self):
        text = 'agent: !!python/object/apply:os.system ["echo owned > owned"]'
        self.wrong(text)
        self.assertFalse(os.path.exists("owned"))

    def test_odd_types(self):
        for spec in (
            ":x",
            "x:",
            ".x",
            "..x",
            "os:",
            "os.path",
            "nowhere.at:All",
            "os:getcwd",
            "a b",
            "__init__",
        ):
            with self.subTest(spec=spec):
                line = self.wrong(f"agent: a\nchannels: {{mine: {{type: '{spec}'}}}}")
                self.assertTrue(line.startswith("channels.mine: "), line)

    def test_a_channel_type_whose_module_is_broken(self):
        folder = self.mktemp()
        os.mkdir(folder)
        Path(folder, "broken_channel_module.py").write_text("def (:\n")
        self.patch(__import__("sys"), "path", [folder, *__import__("sys").path])
        line = self.wrong("agent: a\nchannels: {mine: {type: broken_channel_module:Channel}}")
        self.assertIn("broken_channel_module", line)


class SecretTests(ConfigCase):
    SECRET = "EAAGhunter2hunter2"

    def test_no_line_shows_a_secret(self):
        secret = self.SECRET
        faults = [
            f"channels:\n  facebook:\n    secret: *{secret}\n",
            f"channels:\n  facebook:\n    secret: &{secret} a\n    verify: &{secret} b\n",
            f"channels:\n  facebook:\n    secret: !{secret}!x y\n",
            f"channels:\n  facebook:\n    secret: '{secret}\n",
            f'channels:\n  facebook:\n    secret: "{secret}\\q"\n',
            f"channels:\n  facebook:\n    secret: {secret}: x\n",
            f"channels:\n  facebook:\n    secret: {secret}\n   verify: x\n",
            f"channels:\n  facebook:\n    secret: `{secret}\n",
            f"channels:\n  facebook:\n    secret: %{secret}\n",
            f"channels:\n  facebook:\n    secret: {secret}\n    default: {secret}\n",
            f"channels:\n  facebook:\n    secret: {{a: {secret}}}\n    verify: v\n",
            f"channels:\n  facebook:\n    verify: {secret}\n",
            f"channels:\n  facebook:\n    verify: v\n    secret: s\n    page_tokens: {secret}\n",
            f"channels:\n  facebook:\n    verify: v\n    secret: s\n    page_tokens: {{1: [{secret}]}}\n",
            f"channels:\n  facebook:\n    verify: v\n    secret: s\n    page_tokens: {{1: '{secret} x'}}\n",
            f"channels:\n  facebook:\n    verify: v\n    secret: s\n    page_tokens: {{1: {secret}, 2: {secret}}}",  # noqa: E501
            f"channels:\n  facebook: {secret}\n",
            f"channels:\n  - {secret}\n",
            f"{secret}",
            f"agent: a\nstore: {{x: {secret}}}",
            f"\x00agent: {secret}",
        ]
        for text in faults:
            with self.subTest(text=text):
                self.assertNotIn("hunter2", self.wrong(text))

    def test_a_secret_from_the_environment_is_shown_as_little(self):
        text = "channels:\n  facebook:\n    verify: v\n    secret: s\n    default: ${TOKEN}\n"
        self.assertNotIn("hunter2", self.wrong(text, TOKEN=self.SECRET))

    def test_what_was_read_shows_none(self):
        config = self.read(WHOLE)
        for hidden in ("s3cr3t", "EAAG", "sesame"):
            self.assertNotIn(hidden, repr(config))


class PlaceTests(ConfigCase):
    def agent(self, text, **environment):
        return self.read(f"agent: {text}\n", **environment).agent

    def test_forms(self):
        Path("a-file").write_text("from the file\r\n\n")
        table = {
            "${A}": "1",
            "x${A}y${B}z": "x1y2z",
            "${C:-else}": "else",
            "${EMPTY:-else}": "else",
            "${EMPTY}": "",
            "${A:-else}": "1",
            "'${C:-}'": "",
            "${C:-a:-b}": "a:-b",
            "$${A}": "${A}",
            "$$${A}": "$${A}",
            "$A": "$A",
            "'{A}'": "{A}",
            "'${'": "${",
            "${file:a-file}": "from the file",
        }
        for text, found in table.items():
            with self.subTest(text=text):
                self.assertEqual(self.agent(text, A="1", B="2", EMPTY=""), found)

    def test_what_is_filled_in_is_not_looked_into_again(self):
        self.assertEqual(self.agent("${A}", A="${B}", B="no"), "${B}")
        self.assertEqual(self.agent("${A}", A="{x: [y"), "{x: [y")

    def test_keys_are_left_as_they_are(self):
        self.assertIn("unknown key", self.wrong("agent: a\n${A}: x\n", A="store"))

    def test_the_process_is_the_environment(self):
        self.path = self.mktemp()
        Path(self.path).write_text("agent: ${KLEIN_CHANNELS_TEST_AGENT}")
        os.environ["KLEIN_CHANNELS_TEST_AGENT"] = "a:b"
        self.addCleanup(os.environ.pop, "KLEIN_CHANNELS_TEST_AGENT")
        self.assertEqual(read_config(self.path).agent, "a:b")


class ReadTests(ConfigCase):
    def test_a_whole_file(self):
        config = self.read(
            "agent: bot:reply\nstore: 'memory:'\npublic_url: https://bot.example\nprefix: /x\n"
            "observers: [a:b, c:d]\ntrusted_proxies: [10.0.0.0/8]\npolicy: {drain: 3, agent_threads: 7}\n"
            + WHOLE
        )
        self.assertEqual((config.agent, config.store, config.prefix), ("bot:reply", "memory:", "/x"))
        self.assertEqual((config.observers, config.trusted_proxies), (("a:b", "c:d"), ("10.0.0.0/8",)))
        self.assertEqual(config.policy, Policy(drain=3.0, agent_threads=7))
        self.assertEqual([channel.name for channel in config.channels], ["facebook"])
        self.assertEqual(config.folder, os.path.dirname(os.path.abspath(self.path)))

    def test_an_empty_file_has_the_defaults(self):
        for text in ("", "# nothing\n", "{}", "channels:\n", "policy:\n", "agent: a\nobservers: []\n"):
            with self.subTest(text=text):
                config = self.read(text)
                self.assertEqual((config.channels, config.policy, config.observers), ((), Policy(), ()))

    def test_scalars_are_text_until_their_key_says_otherwise(self):
        config = self.read("agent: +15550100\nstore: 012\npublic_url: yes\nprefix: 1e3\n")
        self.assertEqual(
            (config.agent, config.store, config.public_url, config.prefix), ("+15550100", "012", "yes", "1e3")
        )

    def test_two_channels_of_one_type(self):
        text = f"channels:\n  one:\n    type: facebook{FACEBOOK}  two:\n    type: facebook{FACEBOOK}"
        text += "    default: true\n"
        config = self.read(text)
        self.assertEqual(
            [(c.name, c.options.default) for c in config.channels], [("one", False), ("two", True)]
        )

    def test_two_channels_without_a_default_name_the_url_that_would_die(self):
        text = f"channels:\n  one:\n    type: facebook{FACEBOOK}  two:\n    type: facebook{FACEBOOK}"
        channels = self.read(text).channels
        with self.assertRaises(ConfigError) as caught:
            ChannelService(channels, lambda event: None, prefix="/bots")
        self.assertEqual(
            str(caught.exception),
            "channels one, two: /bots/webhook would lead nowhere; mark one of them `default: true`",
        )

    def test_two_defaults_and_two_of_one_name(self):
        text = f"channels:\n  one:\n    type: facebook{FACEBOOK}    default: true\n"
        one = self.read(text).channels[0]
        two = self.read(text.replace("one", "two")).channels[0]
        for channels in ((one, two), (one, one), ()):
            self.assertRaises(ConfigError, ChannelService, channels, lambda event: None)

    def test_every_known_type_can_be_named(self):
        self.assertIn("facebook", known_types())
        self.assertEqual([name for name in known_types() if name.startswith("_")], [])


class PolicyTests(ConfigCase):
    def policy(self, **values):
        return self.read(
            "policy: {" + ", ".join(f"{key}: '{value}'" for key, value in values.items()) + "}"
        ).policy

    def test_numbers_are_read_by_the_type_of_their_key(self):
        policy = self.policy(max_body="2048", drain="2.5", apology="5", agent_tries="4")
        self.assertEqual(policy, Policy(max_body=2048, drain=2.5, apology="5", agent_tries=4))

    def test_the_apology_may_be_nothing(self):
        self.assertEqual(self.policy(apology="").apology, "")

    def test_numbers_that_would_stop_the_service_in_silence(self):
        table = {
            "agent_threads": ("0", "-1"),
            "max_turns": ("0",),
            "max_sends": ("0",),
            "agent_tries": ("0",),
            "max_unsent_replies": ("0",),
            "max_waiting_events": ("0", "-5"),
            "max_body": ("0",),
            "drain": ("-1", "nan", "inf"),
            "agent_deadline": ("0", "nan", "-3"),
            "poll_interval": ("0", "nan"),
            "purge_interval": ("0",),
            "typing_every": ("0",),
            "retry_first": ("0", "-1"),
        }
        for key, values in table.items():
            for value in values:
                with self.subTest(key=key, value=value):
                    line = self.wrong(f"policy: {{{key}: '{value}'}}")
                    self.assertTrue(line.startswith("policy"), line)
                    self.assertIn(key, line)

    def test_numbers_that_switch_something_off(self):
        off = {
            "stuck_threads": "0",
            "drain": "0",
            "unknown_wait": "0",
            "agent_patience": "0",
            "typing_after": "0",
        }
        self.assertEqual(self.policy(**off).drain, 0)


class RasaTests(ConfigCase):
    def test_credentials_as_they_are(self):
        events = []
        globalLogPublisher.addObserver(events.append)
        self.addCleanup(globalLogPublisher.removeObserver, events.append)
        config = self.read(
            "rest:\n#  you don't need to provide anything here\n\n"
            "socketio:\n  user_message_evt: user_uttered\n\n"
            'facebook:\n  verify: "rasa-bot"\n  secret: "3e34709d01ea89032asdebfe5a74518"\n'
            '  page-access-token: "EAAbHPa7H9rEBAAuFk4Q3gPKbDedQnx4djJJ1JmQ7CAqO4iJKrQcNT0wtD"\n'
            'rasa:\n  url: "http://localhost:5002/api"\n'
        )
        self.assertEqual([channel.name for channel in config.channels], ["facebook"])
        left_out = {
            event["name"] for event in events if "is not served here" in (event.get("log_format") or "")
        }
        self.assertLessEqual({"rasa"}, left_out)

    def test_a_channel_by_its_class(self):
        config = self.read(
            "klein_channels.channels.facebook.FacebookInput:\n"
            "  verify: v\n  secret: s\n  page-access-token: t\n"
        )
        self.assertEqual([channel.name for channel in config.channels], ["facebookinput"])

    def test_a_typo_is_a_line(self):
        self.assertIn("did you mean 'facebook'", self.wrong("facebok:\n  verify: v\n"))


class RatesTests(ConfigCase):
    def test_rates_of_a_channel(self):
        text = (
            WHOLE
            + "    rates:\n      - {count: 2, burst: 3}\n      - {count: 1, seconds: 6, per: conversation}\n"
        )
        [channel] = self.read(text + "    unknown: hold\n").channels
        rates = (Rate(count=2, burst=3), Rate(count=1, seconds=6, per="conversation"))
        self.assertEqual((channel.options.rates, channel.options.unknown), (rates, "hold"))
        [channel] = self.read(WHOLE + "    rates: []\n").channels
        self.assertEqual(channel.options.rates, ())

    def test_what_is_wrong_with_one_has_its_line(self):
        for given, line in {
            "[{count: 0}]": "channels.facebook.rates[0]: count must be a number over 0",
            "[{count: 1, per: chat}]": "channels.facebook.rates[0].per: Invalid enum value 'chat'",
            "[{count: 1, kinds: [vidoe]}]": "kinds: no kind 'vidoe'",
            "[{bust: 1}]": "channels.facebook.rates[0]: Object contains unknown field `bust`",
        }.items():
            self.assertIn(line, self.wrong(WHOLE + f"    rates: {given}\n"))
