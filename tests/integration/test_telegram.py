"""Telegram with a real server and a Bot API on a socket: set up, asked by polls, pushed by webhooks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.web.server import Site

from klein_channels.testing.telegram import BotApiStandIn
from tests.integration.processes import LOOPBACK, ProcessTestCase

TOKEN = "123456789:AAtokenAAtokenAAtokenAAtokenAAtoken"
WEBHOOK_SECRET = "a_webhook_secret"
PERSON = {"id": 42, "is_bot": False, "first_name": "Ada"}
CHAT = {"id": 42, "type": "private", "first_name": "Ada"}
STREAMING = """
from klein_channels.model import Delta

async def reply(event):
    for word in ("You ", "said ", event.text):
        yield Delta(text=word)
"""


def update(number: int, text: str) -> dict[str, Any]:
    return {"message_id": number, "date": 1_790_000_000, "from": PERSON, "chat": CHAT, "text": text}


class TelegramTestCase(ProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.api = BotApiStandIn(reactor, TOKEN, chats={42: "private"})
        site = Site(self.api)
        site.log = lambda request: None  # type: ignore[method-assign]
        self._api_port = reactor.listenTCP(0, site, interface=LOOPBACK)
        self.addCleanup(self._api_port.stopListening)

    def telegram(self, agent: str | None = None, **settings: str) -> Path:
        channel = {
            "access_token": TOKEN,
            "secret_token": WEBHOOK_SECRET,
            "api_url": f"http://{LOOPBACK}:{self._api_port.getHost().port}",
            **settings,
        }
        more: dict[str, Any] = {"public_url": "https://bot.example.org", "channels": {"telegram": channel}}
        return self.configure(agent, **more) if agent else self.configure(**more)

    def shown(self) -> list[str]:
        return [message.text for message in self.api.sent]


class Polls(TelegramTestCase):
    async def test_a_message_is_fetched_answered_and_never_asked_for_again(self) -> None:
        server = await self.serve(self.telegram(polling="yes"))
        self.api.happens(message=update(1, "hello"))
        await self.until(lambda: len(self.shown()) == 1)
        await self.until(lambda: not self.api.waiting)
        self.assertEqual(len(self.shown()), 1)
        await self.stop(server)

    async def test_what_was_fetched_and_killed_is_answered_once_by_the_next_server(self) -> None:
        config = self.telegram(polling="yes")
        server = await self.serve(config)
        for number in range(1, 6):
            self.api.happens(message=update(number, f"text {number}"))
        await self.until(self.shown)
        self.kill(server)
        await self.until(lambda: server.is_gone)
        await self.serve(config)
        await self.until(lambda: {text.split()[-1] for text in self.shown()} >= set("12345"))

    async def test_a_server_starts_while_telegram_is_away(self) -> None:
        config = self.telegram(polling="yes", api_url=f"http://{LOOPBACK}:1")
        server = await self.serve(config)
        await self.stop(server)


class Webhooks(TelegramTestCase):
    async def test_an_update_with_the_secret_is_answered_and_one_without_is_refused(self) -> None:
        await self.serve(self.telegram())
        body = json.dumps({"update_id": 7, "message": update(1, "hello")}).encode()
        self.assertEqual(await self.push(body, WEBHOOK_SECRET), 200)
        self.assertEqual(await self.push(body, "another secret"), 403)
        await self.until(self.shown)
        self.assertEqual(len(self.shown()), 1)

    async def test_a_growing_text_ends_as_one_whole_message(self) -> None:
        await self.serve(self.telegram(STREAMING))
        body = json.dumps({"update_id": 8, "message": update(1, "hello")}).encode()
        self.assertEqual(await self.push(body, WEBHOOK_SECRET), 200)
        await self.until(self.shown)
        self.assertEqual(self.shown(), ["You said hello"])

    async def push(self, body: bytes, secret: str) -> int | None:
        head = (
            "POST /app/webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            "Content-Type: application/json\r\n"
            f"X-Telegram-Bot-Api-Secret-Token: {secret}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return await self.ask(head.encode() + body)


class SetUp(TelegramTestCase):
    async def set_up(self, *arguments: str) -> str:
        config = str(self.telegram())
        program = self.run_command("klein-channels", "telegram", "setup", "--config", config, *arguments)
        self.assertEqual((await self.status(program), program.stderr), (0, ""))
        return program.stdout

    async def test_it_tells_telegram_the_url_and_the_secret(self) -> None:
        said = await self.set_up()
        self.assertEqual(self.api.webhook["url"], "https://bot.example.org/app/telegram/webhook")
        self.assertEqual(self.api.webhook["secret_token"], WEBHOOK_SECRET)
        self.assertIn("https://bot.example.org/app/telegram/webhook", said)
        self.assertNotIn(WEBHOOK_SECRET, said)

    async def test_a_dry_run_changes_nothing(self) -> None:
        await self.set_up("--dry-run")
        self.assertEqual(self.api.webhook["url"], "")
