"""The limits of `klein_channels.web` against clients on real sockets that mean harm."""

from __future__ import annotations

import select
import socket
import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet import reactor
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import TestCase

from klein_channels.model import WebhookResponse
from klein_channels.policy import Policy
from klein_channels.web import Webhooks
from tests.web_wire import FOUND, NamedChannel, RecordingIntake, post

MEGABYTE = 1 << 20
STATM = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(STATM.read_text().split()[1]) * 4096


def self_signed() -> CertificateOptions:
    """A certificate for a server that nobody needs to trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2120, 1, 1, tzinfo=UTC))
        .sign(key, hashes.SHA256())
    )
    return CertificateOptions(privateKey=key, certificate=certificate)


class Client:
    """A blocking client, for a thread of its own."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)

    def send(self, data: bytes) -> bool:
        """Send `data`; whether the server still took it."""
        try:
            self.socket.sendall(data)
        except OSError:
            return False
        return True

    def answer(self) -> bytes:
        """What the server says until it closes or an answer with a short body is whole."""
        data = b""
        try:
            while b"\r\n\r\n" not in data and (more := self.socket.recv(65_536)):
                data += more
        except ConnectionError:
            pass
        return data

    def has_answer(self) -> bool:
        return bool(select.select([self.socket], [], [], 0)[0])

    def close(self) -> None:
        self.socket.close()


class SocketTestCase(TestCase):
    timeout = 60

    def serve(self, waits: bool = False, tls: Any = None, **policy: Any) -> None:
        self.intake = RecordingIntake(waits)
        web = Webhooks(
            self.intake,
            [NamedChannel("facebook")],
            now=time.time,
            default="facebook",
            policy=Policy(**policy),
        )
        self.site = web.site(reactor)
        options = (tls,) if tls else ()
        listen = reactor.listenSSL if tls else reactor.listenTCP
        self.listening = listen(0, self.site, *options, interface="127.0.0.1")
        self.port = self.listening.getHost().port
        self.addCleanup(self.end)

    async def end(self) -> None:
        await self.listening.stopListening()
        self.site.abort()
        await self.until(lambda: not self.site._open)

    async def until(self, condition: Any) -> None:
        while not condition():
            await deferLater(reactor, 0.01)

    def client(self) -> Client:
        client = Client(self.port)
        self.addCleanup(client.close)
        return client

    def ask(self, data: bytes) -> bytes:
        client = Client(self.port)
        client.send(data)
        answer = client.answer()
        client.close()
        return answer


class LongBodies(SocketTestCase):
    LENGTH = 300 * MEGABYTE
    LENGTH_HEAD = f"POST /app/webhook HTTP/1.1\r\nHost: x\r\nContent-Length: {LENGTH}\r\n\r\n".encode()
    CHUNKED_HEAD = b"POST /app/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    def flood(self, head: bytes, piece: bytes) -> tuple[bytes, float, int]:
        """Send pieces until there is an answer, and on until the server ends it.

        Returns the answer, the seconds to it, and how many pieces had been sent by then.
        """
        client, started = Client(self.port), time.monotonic()
        client.send(head)
        sent = 0
        while not client.has_answer() and client.send(piece):
            sent += 1
        answer, took = client.answer(), time.monotonic() - started
        for _ in range(self.LENGTH // len(piece)):
            if not client.send(piece):
                break
        client.close()
        return answer, took, sent

    async def flood_and_measure(self, head: bytes, piece: bytes) -> int:
        await deferToThread(self.ask, post())
        self.intake.taken.clear()
        before = resident()
        highest = [before]
        flood = deferToThread(self.flood, head, piece)
        while not flood.called:
            highest.append(resident())
            await deferLater(reactor, 0.005)
        answer, took, sent = await flood
        self.assertIn(b" 413 Content Too Large\r\n", answer)
        self.assertLess(took, 5)
        self.assertLess(max(highest) - before, 40 * MEGABYTE)
        self.assertEqual(self.intake.taken, [])
        return sent

    async def test_300_megabytes_are_refused_at_once_and_memory_stays_flat(self) -> None:
        self.serve()
        sent = await self.flood_and_measure(self.LENGTH_HEAD, b"x" * 65_536)
        self.assertLess(sent, 200)

    async def test_300_megabytes_in_chunks_are_refused_and_memory_stays_flat(self) -> None:
        self.serve()
        sent = await self.flood_and_measure(self.CHUNKED_HEAD, b"10000\r\n" + b"x" * 65_536 + b"\r\n")
        self.assertGreaterEqual(sent, 16)
        self.assertLess(sent, 400)

    async def test_a_client_that_sends_on_can_read_why(self) -> None:
        self.serve()

        def rude() -> bytes:
            client = self.client()
            client.send(self.LENGTH_HEAD)
            for _ in range(100):
                client.send(b"x" * 65_536)
            return client.answer()

        self.assertIn(b" 413 ", await deferToThread(rude))

    async def test_the_server_works_on(self) -> None:
        self.serve()
        flood = deferToThread(self.flood, self.LENGTH_HEAD, b"x" * 65_536)
        for _ in range(20):
            self.assertIn(b" 200 OK", await deferToThread(self.ask, post()))
        await flood


if not STATM.exists():
    LongBodies.skip = "memory is read from /proc, which this system does not have"  # type: ignore[attr-defined]


class SlowClients(SocketTestCase):
    def drip(self, start: bytes) -> tuple[bytes, float]:
        """Send `start`, then a byte now and then; the answer, and the seconds to the end."""
        client, started = Client(self.port), time.monotonic()
        client.send(start)
        while not client.has_answer():
            if not client.send(b"x"):
                break
            time.sleep(0.02)
        answer = client.answer()
        client.close()
        return answer, time.monotonic() - started

    async def test_slow_headers_and_bodies_are_ended(self) -> None:
        self.serve(header_deadline=0.5, body_deadline=0.5)
        for start in (b"POST /app/webhook HTTP/1.1\r\nX-Slow: ", LongBodies.CHUNKED_HEAD + b"fff\r\n"):
            answer, took = await deferToThread(self.drip, start)
            self.assertIn(b" 408 ", answer)
            self.assertLess(took, 10)
        self.assertEqual(self.intake.taken, [])

    async def test_a_client_that_hangs_up_in_mid_commit_leaves_no_trace(self) -> None:
        self.serve(waits=True)
        with capturedLogs() as log:
            for path in ("/app/webhook", "/app/webhook/"):
                client = self.client()
                client.send(post(path=path))
                await self.until(lambda: self.intake.pending)
                client.close()
                await self.until(lambda: not self.site._open)
                (commit,) = self.intake.pending
                if not commit.called:
                    commit.callback(WebhookResponse(body=FOUND))
                self.intake.pending.clear()
        self.assertEqual([event for event in log if event["log_level"] > LogLevel.info], [])


class ManyConnections(SocketTestCase):
    async def test_an_address_has_its_share_and_no_more(self) -> None:
        self.serve(max_connections_per_address=50)
        first = [self.client() for _ in range(50)]
        await self.until(lambda: len(self.site._open) == 50)
        excess = [self.client() for _ in range(10)]
        for client in excess:
            self.assertEqual(await deferToThread(client.answer), b"")
        first[0].close()
        await self.until(lambda: len(self.site._open) == 49)
        self.assertIn(b" 200 OK", await deferToThread(self.ask, post()))


class UnderTls(SocketTestCase):
    def encrypted(self, data: bytes) -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.set_alpn_protocols(["h2", "http/1.1"])
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        with context.wrap_socket(plain) as client:
            client.sendall(data)
            return client.recv(65_536)

    async def test_answers_and_refusals_are_the_same(self) -> None:
        self.serve(tls=self_signed())
        for data, status in (
            (post(), b"200"),
            (LongBodies.LENGTH_HEAD + b"x" * 100_000, b"413"),
            (b"nonsense\r\n\r\n" + post(), b"400"),
        ):
            answer = await deferToThread(self.encrypted, data)
            self.assertEqual(answer.split(b" ", 2)[1], status)
        self.assertEqual(len(self.intake.taken), 1)
