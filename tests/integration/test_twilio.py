"""Twilio with a real server: replies in the answers to webhooks, the same ones again, and calls."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.web.server import Site

from klein_channels.secret import Secret
from klein_channels.signatures import twilio_signature
from klein_channels.testing.sockets import SocketClient
from klein_channels.testing.twilio import TwilioStandIn, signed_request
from tests.integration.processes import LOOPBACK, ProcessTestCase

SID = "AC" + "0" * 32
TOKEN = "an-auth-token-of-tests-0123456789"
PUBLIC = "https://bot.example.org"
NUMBER = "+15550001"
PERSON = "+15557777"
SLOW = """
from twisted.internet import reactor, task

async def reply(event):
    if event.text == "slow":
        await task.deferLater(reactor, 3)
    yield f"heard {event.text}"
"""


class TwilioTestCase(ProcessTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.api = TwilioStandIn(reactor, SID, TOKEN)
        site = Site(self.api)
        site.log = lambda request: None  # type: ignore[method-assign]
        self._api_port = reactor.listenTCP(0, site, interface=LOOPBACK)
        self.addCleanup(self._api_port.stopListening)

    def twilio(self, agent: str = SLOW) -> Path:
        common = {"account_sid": SID, "auth_token": TOKEN, "number": NUMBER}
        api_url = f"http://{LOOPBACK}:{self._api_port.getHost().port}"
        channels: dict[str, Any] = {
            "twilio": {**common, "api_url": api_url, "default": "yes"},
            "twilio_voice": common,
        }
        return self.configure(agent, public_url=PUBLIC, channels=channels)

    async def post(self, path: str, token: str = TOKEN, **fields: str) -> tuple[int, str]:
        """The status and the body of the answer to a signed webhook."""
        request = signed_request(f"{PUBLIC}{path}", {"AccountSid": SID, **fields}, token)
        head = b"".join(b"%s: %s\r\n" % (name, value) for name, value in request.headers)
        wire = await self.wire()
        wire.send(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n".encode()
            + head
            + b"Content-Length: %d\r\n\r\n" % len(request.body)
            + request.body
        )
        answer = await wire.lost
        top, _, body = answer.partition(b"\r\n\r\n")
        return int(top.split(b" ", 2)[1]), body.decode()


class Messages(TwilioTestCase):
    async def test_the_reply_travels_in_the_answer_and_a_retry_gets_it_again(self) -> None:
        await self.serve(self.twilio())
        sms = {"MessageSid": "SM" + "1" * 32, "From": PERSON, "To": NUMBER, "Body": "hello"}
        first = await self.post("/app/twilio/webhook", **sms)
        self.assertEqual(first[0], 200)
        self.assertIn("heard hello", first[1])
        self.assertEqual(await self.post("/app/twilio/webhook", **sms), first)
        self.assertEqual(self.api.sent, [])

    async def test_a_wrong_token_is_refused(self) -> None:
        await self.serve(self.twilio())
        sms = {"MessageSid": "SM" + "2" * 32, "From": PERSON, "To": NUMBER, "Body": "hello"}
        status, body = await self.post("/app/twilio/webhook", token="another", **sms)
        self.assertEqual((status, body), (403, ""))

    async def test_a_client_that_hung_up_gets_the_reply_by_rest(self) -> None:
        await self.serve(self.twilio())
        fields = {
            "AccountSid": SID,
            "MessageSid": "SM" + "3" * 32,
            "From": PERSON,
            "To": NUMBER,
            "Body": "slow",
        }
        request = signed_request(f"{PUBLIC}/app/twilio/webhook", fields, TOKEN)
        head = b"".join(b"%s: %s\r\n" % (name, value) for name, value in request.headers)
        wire = await self.wire()
        wire.send(
            b"POST /app/twilio/webhook HTTP/1.1\r\nHost: x\r\n"
            + head
            + b"Content-Length: %d\r\n\r\n" % len(request.body)
            + request.body
        )
        await self.until(lambda: self.store.rows("SELECT id FROM turn"))
        wire.hang_up()
        await self.until(lambda: self.api.sent)
        self.assertEqual([message.fields["Body"] for message in self.api.sent], ["heard slow"])


class Triggers(TwilioTestCase):
    async def test_a_server_is_tried_from_the_command_line(self) -> None:
        config = self.twilio()
        await self.serve(config)
        here = f"http://{LOOPBACK}:{self.port}"
        for channel, kind, heard in (
            ("twilio", "text", "heard hello"),
            ("twilio_voice", "speech", "heard hello"),
        ):
            url = f"{here}/app/{channel}/webhook"
            command = ("trigger", channel, kind, "hello", "--url", url, "--config", str(config))
            program = self.run_command("klein-channels", *command)
            self.assertEqual(await self.status(program), 0, program.said)
            self.assertIn(heard, program.stdout)


class Calls(TwilioTestCase):
    async def test_a_call_is_answered_and_what_is_said_is_answered(self) -> None:
        await self.serve(self.twilio())
        call = {"CallSid": "CA" + "1" * 32, "From": PERSON, "To": NUMBER, "Direction": "inbound"}
        status, body = await self.post("/app/twilio_voice/webhook", CallStatus="ringing", **call)
        self.assertEqual(status, 200)
        self.assertIn("<Gather", body)
        action = re.search(r'action="https://bot\.example\.org([^"]+)"', body)
        assert action is not None, body
        path = action.group(1).replace("&amp;", "&")
        status, body = await self.post(
            path, CallStatus="in-progress", SpeechResult="I & you", Confidence="0.9", **call
        )
        self.assertEqual(status, 200)
        self.assertIn("heard I", body)


class Sockets(TwilioTestCase):
    async def test_a_call_is_held_over_a_real_socket_until_the_server_stops(self) -> None:
        config = self.configure(
            SLOW, public_url=PUBLIC, channels={"conversation_relay": {"auth_token": TOKEN}}
        )
        program = await self.serve(config)
        stranger, caller = self.client("no signature"), self.client(None)
        for client in (stranger, caller):
            await connectProtocol(TCP4ClientEndpoint(reactor, LOOPBACK, self.port), client)
        await self.until(lambda: stranger.status and caller.status)
        self.assertEqual((stranger.status, caller.status), (403, 101))
        caller.send(json.dumps({"type": "setup", "callSid": "CA1", "from": PERSON, "to": NUMBER}))
        caller.send(json.dumps({"type": "prompt", "voicePrompt": "hello", "last": True}))
        await self.until(lambda: "heard hello" in self.spoken(caller))
        await self.stop(program)
        await self.until(lambda: caller.closed)
        self.assertEqual(caller.closed, 1012)

    def client(self, signature: str | None) -> SocketClient:
        path = "/app/conversation_relay/socket"
        url = PUBLIC.replace("https", "wss") + path
        right = twilio_signature(url, (), Secret(TOKEN)) if signature is None else signature
        return SocketClient(path, [(b"X-Twilio-Signature", right.encode())])

    def spoken(self, client: SocketClient) -> str:
        return "".join(json.loads(message).get("token", "") for message in client.messages)
