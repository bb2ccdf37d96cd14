"""Channels inside somebody else's program: its own reactor, its own site, two services in one process."""

from __future__ import annotations

from tests.integration.processes import (
    ENDED_BY_TERM,
    PAGE,
    TOKEN,
    ProcessTestCase,
    get,
    item,
    message,
    webhook,
)

APPLICATION = """
import sys

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from klein_channels.channels.facebook import FacebookInput
from klein_channels.service import ChannelService
from klein_channels.web import Request

class Home(Resource):
    def render_GET(self, request):
        return b"the home page"

async def shop(event):
    return "shop: " + event.describe()

def help_desk(text, sender_id):
    return "help: " + text

def mounted(name, agent, secret):
    tokens = {PAGE: TOKEN}
    channel = FacebookInput(fb_verify=name, fb_secret=secret, page_tokens=tokens, app_secret_proof=False)
    service = ChannelService([channel], agent, prefix="", store=f"sqlite:///{name}.db")
    root.putChild(name.encode(), service.resource())
    reactor.callWhenRunning(service.startService)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)

root = Resource()
root.putChild(b"", Home())
mounted("shop", shop, "the shop's secret")
mounted("help", help_desk, "the help desk's secret")
reactor.listenTCP(PORT, Site(root, requestFactory=Request), interface="127.0.0.1")
reactor.run()
"""


class EmbeddedTests(ProcessTestCase):
    app_secret = None

    async def test_two_services_under_one_foreign_site_keep_to_themselves(self) -> None:
        constants = f"PORT, PAGE, TOKEN = {self.port}, {PAGE!r}, {TOKEN!r}\n"
        program = self.run_python(str(self.write("application.py", constants + APPLICATION)))
        await self.until_ready(program, "/shop/health/ready")
        await self.until_ready(program, "/help/health/ready")
        self.assertEqual(await self.ask(get("/")), 200)
        same = message("7", "m_1")
        for path, secret, status in (
            ("/shop/webhook", "the shop's secret", 200),
            ("/help/facebook/webhook", "the help desk's secret", 200),
            ("/help/webhook", "the shop's secret", 403),
            ("/shop/webhook", "the shop's secret", 200),
        ):
            self.assertEqual(await self.ask(webhook(same, secret=secret, path=path)), status, path)
        await self.until(lambda: len(self.texts) >= 2)
        self.assertEqual(sorted(self.texts), ["help: hello", "shop: hello"])
        pressed = item("8", postback={"mid": "m_2", "title": "Go", "payload": "go"})
        await self.ask(webhook(pressed, secret="the shop's secret", path="/shop/webhook"))
        await self.until(lambda: self.seen_by("8"))
        self.assertIn(await self.stop(program), ENDED_BY_TERM)
        self.assertEqual(len(self.texts), 3)
        self.assertNotIn("Traceback", program.said)
