"""Accounts that join by OAuth, from the first page to their removal, through a whole service."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Grant
from klein_channels.channels.slack import SlackInput
from klein_channels.model import WebhookRequest
from klein_channels.sealing import Seal
from klein_channels.secret import Secret
from klein_channels.signatures import slack_signature
from klein_channels.testing.harness import ChannelInMemory, clock_of_tests
from klein_channels.testing.slack import SlackStandIn

SIGNING, CLIENT = "signing-secret-of-tests", ("1.2", "client-secret-of-tests")
NEW, TOKEN = "T0NEW", "xoxb-new-token"


async def echo(event: Any) -> str:
    """Say again what was said."""
    return f"you said: {event.text}"


class Server(ChannelInMemory):
    """A service for Slack's workspaces that join, and Slack."""

    def __init__(self, path: str = "", **settings: Any) -> None:
        clock = clock_of_tests()
        codes = {"code-1": (NEW, TOKEN), "code-2": (NEW, "xoxb-newer-token")}
        self.slack = SlackStandIn(
            clock, {}, client=CLIENT, codes=codes, token_lasts=settings.pop("token_lasts", 0)
        )
        self.cookie = ""
        shop = SlackInput(
            slack_signing_secret=SIGNING,
            client_id=CLIENT[0],
            client_secret=settings.pop("client_secret", CLIENT[1]),
            api_url="http://127.0.0.1:9/api",
        )
        settings.setdefault("public_url", "https://bot.example")
        super().__init__(echo, shop, self.slack, path=path, clock=clock, **settings)

    def get(self, target: str, cookie: str = "") -> tuple[int, str, str]:
        """Status, head and body of the answer to a GET."""
        head = f"GET {target} HTTP/1.1\r\nHost: bot.example\r\n"
        head += f"Cookie: klein_channels_install={cookie}\r\n" if cookie else ""
        asked = self.raw(f"{head}\r\n".encode())
        self.settle()
        answer, _, body = bytes(asked.answer).decode().partition("\r\n\r\n")
        return asked.status or 0, answer, body

    def leave(self) -> str:
        """The state with which a browser, whose cookie is kept, is sent to Slack."""
        status, head, _ = self.get("/app/slack/install")
        assert status == 302, head
        self.cookie = re.findall(r"klein_channels_install=(\w+);", head)[0]
        location = re.findall(r"Location: (\S+)", head)[0]
        query = parse_qs(urlsplit(location).query)
        assert query["redirect_uri"] == ["https://bot.example/app/slack/installed"]
        return query["state"][0]

    def back(self, code: str, state: str, cookie: str | None = None) -> tuple[int, str]:
        """The page that the browser comes back to."""
        target = f"/app/slack/installed?code={quote(code)}&state={quote(state)}"
        status, _, body = self.get(target, self.cookie if cookie is None else cookie)
        return status, body

    def join(self, code: str = "code-1") -> None:
        assert self.back(code, self.leave()) == (200, "Installed. You can close this page.\n")

    def event(self, name: str, **fields: Any) -> int | None:
        """One event of the new workspace."""
        now = self.clock.seconds()
        item = {"type": name, "event_ts": f"{now:.6f}", **fields}
        install = {"team_id": NEW, "user_id": "U0BOT", "is_bot": True}
        body = json.dumps(
            {
                "type": "event_callback",
                "team_id": NEW,
                "event_id": f"Ev{now}{name}",
                "event_time": int(now),
                "authorizations": [install],
                "event": item,
            }
        ).encode()
        stamp = str(int(now))
        signed = slack_signature(body, stamp, Secret(SIGNING)).encode()
        headers = (
            (b"content-type", b"application/json"),
            (b"x-slack-request-timestamp", stamp.encode()),
            (b"x-slack-signature", signed),
        )
        status = self.receive(WebhookRequest(method="POST", path="", headers=headers, body=body))
        self.advance(1)
        return status

    def say(self, text: str) -> int | None:
        """A person of the new workspace says something."""
        ts = f"{self.clock.seconds():.6f}"
        return self.event("message", channel="D0DIRECT", channel_type="im", user="U0PERSON", text=text, ts=ts)


class JoiningTests(SynchronousTestCase):
    def server(self, **settings: Any) -> Server:
        server = Server(**settings)
        self.addCleanup(server.kill)
        return server

    def test_a_workspace_that_joined_is_answered_with_its_token(self) -> None:
        server = self.server()
        server.say("before")
        self.assertEqual(server.turns(), [])
        server.join()
        server.advance(1)
        server.say("hi")
        self.assertEqual([(shown.team, shown.text) for shown in server.slack.sent], [(NEW, "you said: hi")])

    def test_tokens_lie_sealed_in_the_store_and_outlive_the_server(self) -> None:
        path = self.mktemp()
        server = self.server(path=path)
        server.join()
        [(sealed,)] = server.rows("SELECT sealed FROM grants")
        self.assertNotIn(TOKEN.encode(), sealed)
        server.kill()
        with open(path, "rb") as file:
            self.assertNotIn(TOKEN.encode(), file.read())
        server.start()
        server.say("hi")
        self.assertEqual([shown.text for shown in server.slack.sent], ["you said: hi"])

    def test_a_token_of_another_secret_or_another_name_is_not_used(self) -> None:
        path = self.mktemp()
        server = self.server(path=path)
        server.join()
        server.rows("UPDATE grants SET account = 'T0OTHER'")
        server.kill()
        with capturedLogs() as logged:
            server.start()
        self.assertFalse(server.channel.knows_account("T0OTHER"))
        self.assertIn("let it join again", "".join(str(event.get("log_format")) for event in logged))

    def test_a_state_is_good_once_here_in_time_and_in_its_browser(self) -> None:
        server = self.server()
        state = server.leave()
        other = server.leave()
        expires, nonce, signature = state.split(".")
        for code, given, cookie, words in (
            ("code-1", "", nonce, "Please begin at /app/slack/install."),
            ("code-1", "x.y.z", nonce, "not made here"),
            ("code-1", f"{int(expires) + 1}.{nonce}.{signature}", nonce, "not made here"),
            ("code-1", f"{expires}.{'0' * 32}.{signature}", "0" * 32, "not made here"),
            ("code-1", "٣.é.\ud83d".encode("utf-8", "replace").decode(), nonce, "not made here"),
            ("code-1", state, "", "Another browser"),
            ("code-1", state, server.cookie, "Another browser"),
        ):
            status, page = server.back(code, given, cookie)
            self.assertEqual((status, words in page), (400, True), (given, page))
        self.assertEqual(server.back("code-1", state, nonce)[0], 200)
        self.assertIn("used already", server.back("code-2", state, nonce)[1])
        server.advance(601)
        self.assertIn("too long", server.back("code-2", other)[1])
        self.assertEqual(server.rows("SELECT count(*) FROM grants"), [(1,)])

    def test_pages_are_plain_words_that_repeat_nothing(self) -> None:
        server = self.server()
        for target in (
            "/app/slack/installed?error=%3Cscript%3E",
            "/app/slack/installed",
            "/app/slack/installed?code=a&code=b&state=c",
            f"/app/slack/installed?code=%3Cscript%3E&state={quote(server.leave())}",
            "/app/slack/installed?code=" + "x" * 5000 + "&state=c",
        ):
            status, head, body = server.get(target, server.cookie)
            self.assertEqual(status, 400, target)
            self.assertIn("text/plain", head)
            self.assertIn("nosniff", head)
            self.assertIn("no-store", head)
            self.assertNotIn("script", body)
            self.assertNotIn(CLIENT[1], head + body)

    def test_the_way_there_is_bound_to_the_browser_and_says_no_secret(self) -> None:
        status, head, _ = self.server().get("/app/slack/install")
        self.assertEqual(status, 302)
        for part in ("HttpOnly", "Secure", "SameSite=Lax", "Path=/app/slack/"):
            self.assertIn(part, head)
        self.assertNotIn(CLIENT[1], head)

    def test_what_slack_refuses_is_told_to_the_operator_and_not_to_the_person(self) -> None:
        server = self.server()
        with capturedLogs() as logged:
            status, page = server.back("no-code", server.leave())
        self.assertEqual((status, page), (400, "The platform gave no token. Please begin anew.\n"))
        self.assertIn("invalid_code", "".join(str(event.get("error")) for event in logged))

    def test_without_a_public_url_or_an_app_nobody_joins(self) -> None:
        self.assertEqual(self.server(public_url="").get("/app/slack/install")[0], 503)
        server = self.server()
        server.channel.installation = None
        shop = SlackInput(slack_signing_secret=SIGNING, slack_token="xoxb-1")
        closed = ChannelInMemory(echo, shop, SlackStandIn(server.clock, {}))
        self.addCleanup(closed.stop)
        asked = closed.raw(b"GET /app/slack/install HTTP/1.1\r\nHost: bot.example\r\n\r\n")
        closed.settle()
        self.assertEqual(asked.status, 404)

    def test_a_browser_that_hangs_up_has_joined_all_the_same(self) -> None:
        server = self.server()
        state = server.leave()
        finished = server.service._pipeline.installing.finish("slack", "code-1", state, server.cookie)
        finished.addErrback(lambda failure: None)
        finished.cancel()
        server.advance(1)
        self.assertTrue(server.channel.knows_account(NEW))

    def test_before_the_tokens_were_read_no_event_is_taken_for_a_strangers(self) -> None:
        server = self.server()
        server.join()
        server.service._pipeline.installing._looked = False
        self.assertEqual(server.say("hi"), 503)
        server.service._pipeline.installing.refresh()
        server.advance(1)
        self.assertEqual(server.say("hi"), 200)
        self.assertEqual([shown.text for shown in server.slack.sent], ["you said: hi"])


class LeavingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server()
        self.addCleanup(self.server.stop)
        self.server.join()
        self.server.advance(1)

    def test_a_workspace_that_removes_the_app_is_forgotten(self) -> None:
        self.server.event("app_uninstalled")
        self.assertEqual(self.server.rows("SELECT count(*) FROM grants"), [(0,)])
        self.server.advance(1)
        self.server.say("hi")
        self.assertEqual((self.server.turns(), self.server.slack.sent), ([], []))

    def test_so_is_one_that_takes_the_bots_token_back(self) -> None:
        self.server.event("tokens_revoked", tokens={"oauth": ["U0PERSON"]})
        self.assertTrue(self.server.channel.knows_account(NEW))
        self.server.event("tokens_revoked", tokens={"bot": ["U0BOT"]})
        self.assertFalse(self.server.channel.knows_account(NEW))

    def test_it_may_come_back(self) -> None:
        self.server.event("app_uninstalled")
        self.server.join("code-2")
        self.assertTrue(self.server.channel.knows_account(NEW))


class RenewalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = Server(token_lasts=4000)
        self.addCleanup(self.server.stop)
        self.server.join()

    def token(self) -> str:
        token = self.server.channel.tokens.token_for(NEW)
        assert token is not None
        return str(token.reveal())

    def test_a_token_is_renewed_before_it_expires_and_again(self) -> None:
        self.server.advance(350)
        self.assertEqual(self.token(), TOKEN)
        self.server.advance(100)
        self.assertEqual(self.token(), f"{TOKEN}+")
        self.server.advance(450)
        self.assertEqual(self.token(), f"{TOKEN}++")
        self.server.say("hi")
        self.assertEqual([shown.text for shown in self.server.slack.sent], ["you said: hi"])

    def test_of_several_servers_one_renews(self) -> None:
        now = self.server.clock.seconds()
        self.server.advance(1)
        self.server.rows(f"UPDATE grants SET expires_at = {now + 10}, renewing_until = {now + 45}")
        asked = self.server.slack.requests
        self.server.advance(31)
        self.assertEqual(self.server.slack.requests, asked)
        self.server.advance(30)
        self.assertEqual(self.server.slack.requests, asked + 1)

    def test_a_renewal_that_is_refused_is_told_and_tried_again(self) -> None:
        codes, self.server.slack._codes = self.server.slack._codes, {}
        with capturedLogs() as logged:
            self.server.advance(450)
        said = "".join(str(event.get("error")) for event in logged)
        self.assertIn("invalid_refresh_token", said)
        self.assertNotIn("xoxe", said)
        self.server.slack._codes = codes
        self.server.advance(120)
        self.assertEqual(self.token(), f"{TOKEN}+")


class SealTests(SynchronousTestCase):
    def test_only_the_secret_and_the_purpose_open_it(self) -> None:
        seal = Seal(Secret("s" * 20), "a")
        sealed = seal.seal(b"value")
        self.assertEqual(seal.open(sealed), b"value")
        for other in (Seal(Secret("t" * 20), "a"), Seal(Secret("s" * 20), "b")):
            self.assertRaises(ValueError, other.open, sealed)
        self.assertRaises(ValueError, seal.open, sealed[:-1] + b"x")

    def test_a_grant_shows_no_token(self) -> None:
        grant = Grant(account="T1", token=Secret("xoxb-secret"), renewal=Secret("xoxe-secret"))
        self.assertNotIn("-secret", repr(grant))
