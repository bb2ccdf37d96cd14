"""No secret leaves: not in a repr, a log, a traceback, an answer, a dead letter."""

from __future__ import annotations

import base64
import urllib.parse

from twisted.logger import Logger, capturedLogs, eventAsJSON
from twisted.python import log as old_log
from twisted.python.failure import Failure

from klein_channels.channels.facebook import FacebookSettings
from klein_channels.errors import AgentUnreachable
from klein_channels.testing.graph import refusal
from klein_channels.testing.memory import PAGE, TOKEN, messenger

from .case import PromiseCase, echo_agent, written

_log = Logger()
CANARIES = {
    "fb_verify": "canary/verify token+1",
    "fb_secret": "canary+app/secret?2",
    "token": "canary-page/token+3==",
}


def spellings(secret):
    """The ways in which a secret may show in some text."""
    raw = secret.encode()
    yield secret
    yield urllib.parse.quote(secret, safe="")
    yield urllib.parse.quote_plus(secret)
    yield repr(secret)[1:-1]
    yield base64.b64encode(raw).decode()
    yield base64.b64encode(b"user:" + raw).decode()
    yield base64.urlsafe_b64encode(b"ab" + raw).decode()


class SecretCase(PromiseCase):
    def serve(self, agent=echo_agent, **settings):
        self.channel = messenger(
            fb_verify=CANARIES["fb_verify"],
            fb_secret=CANARIES["fb_secret"],
            page_tokens={PAGE: CANARIES["token"]},
            **settings,
        )
        kit = super().serve(agent, channel=self.channel, durable=True)
        kit.play(CANARIES["token"], CANARIES["fb_secret"])
        return kit

    def assert_hidden(self, text):
        for secret in CANARIES.values():
            for spelling in spellings(secret):
                self.assertNotIn(spelling, text)
            self.assertNotIn("canary", text)

    def in_all_files(self, events):
        """The log as every usual observer would write it."""
        lines = [written(events), *(eventAsJSON(event) for event in events)]
        lines += [str(event.get("message", "")) for event in events]
        return "\n".join(lines)


class ReprTests(SecretCase):
    def test_of_everything_that_holds_one(self):
        kit = self.serve()
        settings = FacebookSettings(secret=[CANARIES["fb_secret"]], type="facebook")
        for thing in (
            self.channel,
            self.channel.__dict__,
            self.channel._tokens.__dict__,
            self.channel._messaging.graph.__dict__,
            kit.service,
            kit.service.__dict__,
            settings,
        ):
            self.assert_hidden(repr(thing))
            self.assert_hidden(str(thing))


class LogTests(SecretCase):
    def test_text_of_whoever_logs_it_in_every_spelling(self):
        self.serve()
        for secret in CANARIES.values():
            for spelling in spellings(secret):
                with capturedLogs() as logged:
                    _log.info("a library says {words}", words=f"<{spelling}>")
                    _log.info("and keeps {other}", other={"deep": [f"<{spelling}>"]}, unsaid=spelling)
                    old_log.msg(f"the old way: <{spelling}>")
                self.assertEqual(len(logged), 3)
                self.assertNotIn(spelling, self.in_all_files(logged))

    def test_a_failure_with_its_traceback(self):
        self.serve()
        for secret in CANARIES.values():
            for spelling in spellings(secret):
                with capturedLogs() as logged:
                    failure = Failure(ValueError(f"https://graph.test/?access_token={spelling}"))
                    _log.failure("a library fell over {what}", failure, what=spelling)
                self.assertNotIn(spelling, self.in_all_files(logged))
        self.assertTrue(self.flushLoggedErrors())

    def test_a_failure_without_one_stays_as_it_is(self):
        self.serve()
        _log.failure("something else", Failure(ValueError("harmless")))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_an_agent_that_raises_one(self):
        async def agent(event):
            raise ValueError(f"cannot call https://x.test/?token={CANARIES['token']}")

        with self.captured() as logged:
            kit = self.serve(agent)
            self.send(kit)
            kit.advance(200)
        self.assert_hidden(self.in_all_files(logged))
        self.assertTrue(self.flushLoggedErrors())
        self.assert_letters_hidden(kit)

    def send(self, kit, text="hi"):
        """A message that is signed with the canary."""
        asked = kit.service.receive(self.channel, self.channel.trigger("text", text, kit.clock.seconds()))
        kit.settle()
        return asked

    def test_an_unreachable_agent_that_names_one(self):
        async def agent(event):
            raise AgentUnreachable(f"no answer from {CANARIES['fb_secret']}")

        with self.captured() as logged:
            kit = self.serve(agent)
            self.send(kit)
            kit.advance(1200)
        self.assert_hidden(self.in_all_files(logged))
        self.assert_letters_hidden(kit)

    def test_a_platform_that_repeats_one_in_its_refusal(self):
        with self.captured() as logged:
            kit = self.serve()
            kit.graph.answers(refusal(100, f"Malformed access token {CANARIES['token']}", 2018001))
            self.send(kit)
            kit.advance(5)
        self.assertEqual(kit.outbox(), ["dead"])
        self.assert_hidden(self.in_all_files(logged))
        self.assert_letters_hidden(kit)

    def test_debug_mode(self):
        with self.captured() as logged:
            kit = self.serve(debug_mode=True)
            self.send(kit)
            kit.ask(b"x", signature="sha256=0")
            kit.raw(b"GET /app/webhook?hub.verify_token=x HTTP/1.1\r\nHost: a\r\n\r\n")
            kit.process.refuses = True
            kit.advance(30)
        self.assert_hidden(self.in_all_files(logged))

    def test_starting_and_stopping(self):
        with self.captured() as logged:
            kit = self.serve()
            kit.stop()
            kit.advance(10)
        self.assert_hidden(self.in_all_files(logged))

    def assert_letters_hidden(self, kit):
        for letter in self.successResultOf(kit.store.dead_letters(None, 10)):
            self.assert_hidden(letter.reason)


class AnswerTests(SecretCase):
    def test_an_answer_to_a_fault_of_ours_says_nothing(self):
        kit = self.serve()

        def broken(*_):
            raise ValueError(f"{CANARIES['fb_secret']}")

        self.patch(kit.service, "receive", broken)
        with self.captured() as logged:
            asked = kit.ask(b"x")
            kit.settle()
        self.assertEqual(asked.status, 500)
        self.assert_hidden(asked.answer.decode("latin-1"))
        self.assert_hidden(self.in_all_files(logged))
        self.assertTrue(self.flushLoggedErrors())

    def test_refusals_say_nothing(self):
        kit = self.serve()
        body = b"{}"
        for asked in (
            kit.ask(body, signature="sha256=0"),
            kit.raw(b"GET /app/webhook?hub.mode=subscribe&hub.challenge=1 HTTP/1.1\r\nHost: a\r\n\r\n"),
            kit.raw(b"GET /app/nowhere HTTP/1.1\r\nHost: a\r\n\r\n"),
        ):
            kit.settle()
            self.assertIn(asked.status, (403, 404))
            self.assert_hidden(asked.answer.decode("latin-1"))

    def test_health_says_nothing(self):
        kit = self.serve()
        kit.service._pipeline.not_stored(f"no disk for {CANARIES['token']}")
        asked = kit.raw(b"GET /health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
        kit.settle()
        self.assertEqual(asked.status, 503)
        self.assert_hidden(asked.answer.decode("latin-1"))


class OnTheWireTests(PromiseCase):
    def test_a_token_leaves_in_its_header_only(self):
        kit = self.serve()
        lines = []
        post = kit.graph.render_POST

        def render(request):
            lines.append(request.uri + request.content.getvalue())
            return post(request)

        kit.graph.render_POST = render
        kit.message("hi")
        self.assertTrue(lines)
        for line in lines:
            for spelling in spellings(TOKEN):
                self.assertNotIn(spelling.encode(), line)
