"""Known secrets go through everything that can go wrong, and come out nowhere: not in either log, a
traceback, an answer of ours, the metrics, health, what operators are answered, or what is printed."""

from __future__ import annotations

import json
import re

from click.testing import CliRunner
from twisted.logger import Logger, capturedLogs, eventAsJSON
from twisted.python.failure import Failure

from klein_channels.admin import AdminSettings
from klein_channels.agents.deferred import DeferredAgent
from klein_channels.cli import main
from klein_channels.errors import ConfigError
from klein_channels.json_log import JsonLines, LogSettings
from klein_channels.secret import Secret
from klein_channels.service import ChannelService
from klein_channels.testing.graph import refusal
from klein_channels.testing.memory import PAGE, PERSON, ServiceInMemory, messenger

from .case import PromiseCase, written
from .test_secrets import CANARIES, spellings

ADMIN = "canary-admin+token/of=operators"
ALL = {**CANARIES, "admin": ADMIN}
_log = Logger(namespace="klein_channels.canary")


async def leaking_agent(event):
    """Answers with what it should not know, or falls over it."""
    if event.text == "boom":
        raise ValueError(f"GET https://x.test/?token={CANARIES['token']} {ADMIN}")
    return "fine"


class CanaryCase(PromiseCase):
    def serve(self):
        channel = messenger(
            fb_verify=CANARIES["fb_verify"],
            fb_secret=CANARIES["fb_secret"],
            page_tokens={PAGE: CANARIES["token"]},
            debug_mode=True,
        )
        admin = AdminSettings(token=Secret(ADMIN), port=None, metrics=True)
        self.kit = kit = ServiceInMemory(leaking_agent, channel=channel, path=self.mktemp(), admin=admin)
        self.addCleanup(self.end, kit)
        kit.play(CANARIES["token"], CANARIES["fb_secret"])
        self.channel = channel
        return kit

    def say(self, text):
        kit = self.kit
        kit.service.receive(self.channel, self.channel.trigger("text", text, kit.clock.seconds()))
        kit.settle()

    def asked(self, line, body=b"", token=ADMIN, host="localhost"):
        head = f"{line} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
        head += f"Authorization: Bearer {token}\r\nX-Operator: {CANARIES['fb_secret']}\r\n"
        head += f"Content-Length: {len(body)}\r\n\r\n"
        asked = self.kit.raw(head.encode() + body, self.kit.service.admin_site())
        self.kit.settle()
        return asked.answer.decode("utf-8", "replace")

    def assert_hidden(self, text, where):
        for name, secret in ALL.items():
            for spelling in (*spellings(secret), json.dumps(secret)[1:-1]):
                self.assertNotIn(spelling, text, f"{name} in {where}")
        # Each begins with a word of ours and a sign: not even a piece of one is there.
        found = re.search(r".{0,60}canary(-page|-admin|[+]app|/verify).{0,60}", text, re.S)
        self.assertIsNone(found and found[0], where)


class EverywhereTests(CanaryCase):
    def trouble(self):
        """All that goes wrong in a bad week; what operators and others read of it."""
        kit = self.serve()
        self.say("hi")
        self.say("boom")
        kit.advance(300)
        kit.graph.answers(refusal(100, f"Malformed access token {CANARIES['token']}", 2018001))
        self.say("refused")
        kit.advance(5)
        kit.graph.answers(refusal(190, f"Error validating {CANARIES['token']}", 463))
        self.say("token revoked")
        kit.advance(5)
        kit.service._pipeline.not_stored(f"no disk for {CANARIES['fb_secret']}")
        health = kit.raw(b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        kit.settle()
        for secret in ALL.values():
            _log.info("somebody says {reason}", reason=secret, secret=secret)
            _log.failure("and falls over it", Failure(ValueError(f"<{secret}>")))
        pause = {"channel": "facebook", "mode": "hold", "note": f"rotate {CANARIES['token']}"}
        pages = {
            "health": health.answer.decode(),
            "a pause": self.asked("POST /admin/v1/pause", json.dumps(pause).encode()),
            "a wrong order": self.asked(
                "POST /admin/v1/pause", json.dumps({"channel": CANARIES["token"], "mode": ADMIN}).encode()
            ),
            "no JSON": self.asked("POST /admin/v1/pause", b'{"' + ADMIN.encode()),
            "a wrong token": self.asked("GET /admin/v1/status", token=ADMIN + "x"),
            "a wrong host": self.asked("GET /admin/v1/status", host="evil.example"),
            "nothing there": self.asked("GET /admin/v1/dead-letters/nothing"),
        }
        for path in ("status", "accounts", "pauses", "conversations?channel=facebook", "dead-letters",
                     "dead-letters/turn-2", "dead-letters/reply-3", "audit"):  # fmt: skip
            pages[path] = self.asked(f"GET /admin/v1/{path}")
        person = json.dumps({"channel": "facebook", "id": PERSON}).encode()
        pages["export"] = self.asked("POST /admin/v1/people/export", person)
        pages["metrics"] = self.asked("GET /metrics")
        return pages

    def test_no_page_and_no_log_shows_one(self):
        with capturedLogs() as logged:
            pages = self.trouble()
        lines = filter(None, map(JsonLines(LogSettings(format="json", fields=("text",))), logged))
        files = {
            "the log as text": written(logged),
            "the log as JSON": "".join(lines),
            "the log of others": "\n".join(eventAsJSON(event) for event in logged),
        }
        self.assertTrue(self.flushLoggedErrors())
        self.assertIn("events_received_total", pages["metrics"])
        self.assertIn("200 OK", pages["audit"])
        for where, text in {**pages, **files}.items():
            self.assertGreater(len(text), 20, where)
            self.assert_hidden(text, where)

    def test_no_command_prints_one(self):
        kit = self.serve()
        self.say("boom")
        kit.advance(300)
        self.flushLoggedErrors()
        store = f"sqlite:///{kit.store.path}"
        for command in (
            ["dead-letters", "list"],
            ["dead-letters", "list", "--json"],
            ["dead-letters", "show", "turn-1"],
            ["audit"],
            ["conversations", "list"],
        ):
            said = CliRunner().invoke(main, [*command, "--store", store])
            self.assertEqual(said.exit_code, 0, said.output)
            self.assert_hidden(said.output, command)

    def test_no_repr_and_no_error_of_the_settings_shows_one(self):
        settings = AdminSettings(token=Secret(ADMIN))
        self.assert_hidden(repr(settings), "repr")
        short = AdminSettings(token=Secret("canary-shrt"))
        with self.assertRaises(ConfigError) as caught:
            ChannelService([messenger()], DeferredAgent(leaking_agent), admin=short)
        self.assert_hidden(str(caught.exception), "error")
