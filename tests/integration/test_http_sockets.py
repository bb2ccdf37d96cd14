"""`klein_channels.http` over real sockets: outcomes, reuse, TLS, pinned addresses, redirects."""

from __future__ import annotations

import datetime
import ipaddress

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto
from service_identity import CertificateError
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IHostnameResolver, IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import Certificate
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface import implementer

from klein_channels.http import Http
from klein_channels.model import Call


class Scripted(Protocol):
    """A server that reads one request and then does what its factory says."""

    def connectionMade(self):
        self.factory.open.append(self)
        self.received = b""

    def dataReceived(self, data):
        self.received += data
        if b"\r\n\r\n" in self.received and self.received.endswith(self.factory.request_end):
            self.received = b""
            self.factory.requests += 1
            self.factory.react(self.transport)

    def connectionLost(self, reason=None):
        self.factory.open.remove(self)
        if not self.factory.open and self.factory.all_closed is not None:
            self.factory.all_closed.callback(None)
            self.factory.all_closed = None


class Script(Factory):
    protocol = Scripted
    noisy = False
    request_end = b"end"

    def __init__(self, react):
        self.react = react
        self.open = []
        self.requests = 0
        self.connections = 0
        self.all_closed = None

    def buildProtocol(self, addr):
        self.connections += 1
        return super().buildProtocol(addr)

    def closed(self):
        """Fires when no connection is left."""
        self.all_closed = Deferred()
        if not self.open:
            self.all_closed.callback(None)
        return self.all_closed


class SocketTestCase(TestCase):
    timeout = 20

    def setUp(self):
        self.http = Http(reactor)
        self.addCleanup(self.http.close)

    def listen(self, factory, context=None):
        """The port of a new server on this machine."""
        if context is None:
            port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        else:
            port = reactor.listenSSL(0, factory, context, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        return port.getHost().port

    def serve(self, react):
        self.script = Script(react)
        return self.listen(self.script)

    def post(self, port, **fields):
        fields = {"body": b"...end", "deadline": 5.0, **fields}
        url = f"http://127.0.0.1:{port}/?access_token=EAAB"
        return self.http.call(Call(method="POST", url=url, trust="configured", **fields))


class OutcomeTests(SocketTestCase):
    async def test_refused_is_not_sent(self):
        port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
        number = port.getHost().port
        await port.stopListening()
        result = await self.post(number)
        self.assertEqual((result.outcome, result.error[:22]), ("not_sent", "ConnectionRefusedError"))
        self.assertNotIn("EAAB", result.error)

    async def test_never_answered_is_unknown_at_the_deadline(self):
        result = await self.post(self.serve(lambda wire: None), deadline=0.2)
        self.assertEqual((result.outcome, self.script.requests), ("unknown", 1))
        self.assertGreaterEqual(result.elapsed, 0.19)
        await self.script.closed()

    async def test_closed_after_reading_is_unknown(self):
        result = await self.post(self.serve(lambda wire: wire.loseConnection()))
        self.assertEqual((result.outcome, self.script.requests), ("unknown", 1))

    async def test_reset_after_reading_is_unknown(self):
        result = await self.post(self.serve(lambda wire: wire.abortConnection()))
        self.assertEqual((result.outcome, self.script.requests), ("unknown", 1))

    async def test_half_an_answer_is_unknown(self):
        def react(wire):
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            wire.loseConnection()

        result = await self.post(self.serve(react))
        self.assertEqual((result.outcome, result.status, result.body), ("unknown", 200, b"half"))

    async def test_half_a_chunked_answer_is_unknown(self):
        def react(wire):
            wire.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
            wire.loseConnection()

        self.assertEqual((await self.post(self.serve(react))).outcome, "unknown")

    async def test_garbage_is_unknown_and_the_connection_is_left(self):
        for garbage in (
            b"\x16\x03\x01\x00\xa5\x00\xff\r\n\r\n",
            b"HTTP/1.1 two hundred\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
            b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: br\r\n\r\n12345",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n12345",
            b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000,
        ):
            result = await self.post(self.serve(lambda wire, garbage=garbage: wire.write(garbage)))
            self.assertEqual(result.outcome, "unknown", garbage[:60])
            self.assertNotEqual(result.error, "")
            await self.script.closed()

    async def test_a_huge_body_is_cut_and_the_connection_left(self):
        def react(wire):
            wire.write(b"HTTP/1.1 200 OK\r\n\r\n" + b"0" * 3_000_000)

        result = await self.post(self.serve(react), max_response=100_000)
        self.assertEqual((result.outcome, result.error), ("unknown", "answer longer than 100000 bytes"))
        self.assertLessEqual(len(result.body), 100_000)
        await self.script.closed()

    async def test_a_dripping_body_is_cut_at_the_deadline(self):
        def drip(wire):
            if wire.connected:
                wire.write(b".")
                reactor.callLater(0.02, drip, wire)

        def react(wire):
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            drip(wire)

        result = await self.post(self.serve(react), deadline=0.3)
        self.assertEqual((result.outcome, result.status), ("unknown", 200))
        self.assertLess(result.elapsed, 3)
        await self.script.closed()
        await deferLater(reactor, 0.03, lambda: None)

    async def test_a_redirect_of_a_configured_host_is_not_followed(self):
        elsewhere = Script(lambda wire: None)
        number = self.listen(elsewhere)
        answer = b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % number
        result = await self.post(self.serve(lambda wire: wire.write(answer)))
        self.assertEqual((result.outcome, result.status, elsewhere.connections), ("answered", 307, 0))


class ReuseTests(SocketTestCase):
    async def test_one_connection_serves_many_calls(self):
        port = self.serve(lambda wire: wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        for _ in range(5):
            self.assertEqual((await self.post(port)).outcome, "answered")
        self.assertEqual((self.script.connections, self.script.requests), (1, 5))

    async def test_errors_with_a_body_keep_the_connection(self):
        port = self.serve(lambda wire: wire.write(b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"))
        await self.post(port)
        await self.post(port)
        self.assertEqual(self.script.connections, 1)

    async def test_a_server_that_closes_idle_connections(self):
        port = self.serve(lambda wire: wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        await self.post(port)
        for idle in list(self.script.open):
            idle.transport.loseConnection()
        await self.script.closed()
        await deferLater(reactor, 0.05, lambda: None)
        self.assertEqual((await self.post(port)).outcome, "answered")
        self.assertEqual(self.script.connections, 2)

    async def test_parallel_calls_each_have_a_connection_and_keep_it(self):
        port = self.serve(
            lambda wire: reactor.callLater(
                0.05, wire.write, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            )
        )
        for _ in range(2):
            for call in [self.post(port) for _ in range(8)]:
                self.assertEqual((await call).outcome, "answered")
        self.assertEqual((self.script.connections, self.script.requests), (8, 16))

    async def test_a_large_body_arrives_whole(self):
        received = []

        class Count(Resource):
            isLeaf = True

            def render_POST(self, request):
                received.append(len(request.content.read()))
                return b"ok"

        body = b"0" * 5_000_000
        result = await self.post(self.listen(Site(Count())), body=body)
        self.assertEqual((result.outcome, received), ("answered", [5_000_000]))


@implementer(IOpenSSLServerConnectionCreator)
class ServerContext:
    """The TLS settings of one server."""

    def __init__(self, key, certificate):
        self._context = SSL.Context(SSL.TLS_SERVER_METHOD)
        self._context.use_privatekey(key)
        self._context.use_certificate(certificate)

    def allow_at_most(self, version):
        self._context.set_max_proto_version(version)

    def serverConnectionForTLS(self, tlsProtocol):
        return SSL.Connection(self._context, None)


class Authority:
    """A certificate authority of our own, alive for one test."""

    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=None))

    def policy(self):
        """Whom a client trusts that trusts this authority only."""
        trusted = crypto.X509.from_cryptography(self.certificate)
        return BrowserLikePolicyForHTTPS(trustRoot=Certificate(trusted))

    def server_for(self, *names):
        """The TLS side of a server called `names`."""
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName(
            [x509.IPAddress(ipaddress.ip_address(n)) if n[0].isdigit() else x509.DNSName(n) for n in names]
        )
        return self._server(names[0], key, alternatives)

    def server_without_names(self, common_name):
        """The TLS side of a server whose certificate names nobody, but for the subject's old field."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._server(common_name, key, x509.BasicConstraints(ca=False, path_length=None))

    def _server(self, common_name, key, extension):
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        return ServerContext(key, self._sign(subject, key, extension))

    def _sign(self, subject, key, extension):
        now = datetime.datetime.now(datetime.UTC)
        builder = x509.CertificateBuilder(
            self._name,
            subject,
            key.public_key(),
            x509.random_serial_number(),
            now - datetime.timedelta(days=1),
            now + datetime.timedelta(days=1),
        )
        return builder.add_extension(extension, critical=False).sign(self._key, hashes.SHA256())


@implementer(IHostnameResolver)
class Names:
    """A resolver that knows a few names; each look-up gets the next of a name's answers."""

    def __init__(self, **answers):
        self.answers = {name.replace("_", "."): list(each) for name, each in answers.items()}
        self.asked = []

    def resolveHostName(self, receiver, hostName, portNumber=0, *args, **kwargs):
        self.asked.append(hostName)
        answers = self.answers.get(hostName, [()])
        for address in answers.pop(0) if len(answers) > 1 else answers[0]:
            receiver.addressResolved(IPv4Address("TCP", address, portNumber))
        receiver.resolutionComplete()


class Shelf(Resource):
    """Answers ``/file``, and sends elsewhere what is asked for under ``/to``."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.seen = []

    def render_GET(self, request):
        self.seen.append(request)
        if request.path == b"/to":
            request.setResponseCode(int(request.args.get(b"status", [b"302"])[0]))
            request.setHeader(b"Location", request.args[b"url"][0])
            return b"elsewhere"
        if request.path == b"/silent":
            return NOT_DONE_YET
        return b"a file"

    render_POST = render_GET


class ContentTestCase(SocketTestCase):
    """The "public" addresses of these tests all lead to servers on this machine."""

    def setUp(self):
        super().setUp()
        self.authority = Authority()
        self.connected = []
        self.names = Names(a_example=[["8.8.8.8"]], b_example=[["9.9.9.9"]], lan_example=[["10.0.0.1"]])
        self.shelf = Shelf()
        self.site = Site(self.shelf)
        self.port = self.listen(self.site, self.authority.server_for("a.example", "b.example"))
        self.http = self.http_with()

    def http_with(self, **fields):
        fields = {"https_policy": self.authority.policy(), "resolver": self.names, **fields}
        http = Http(reactor, endpoint_for=self.lead_home, **fields)
        self.addCleanup(http.close)
        return http

    def lead_home(self, clock, address, port, timeout):
        self.connected.append((address, port))
        return TCP4ClientEndpoint(clock, "127.0.0.1", self.port, timeout=timeout)

    def get(self, url, **fields):
        return self.http.call(Call(**{"method": "GET", "url": url, "deadline": 5.0, **fields}))


class CertificateTests(ContentTestCase):
    async def test_a_public_host_is_asked(self):
        result = await self.get("https://a.example/file")
        self.assertEqual((result.outcome, result.body), ("answered", b"a file"))
        self.assertEqual(self.connected, [("8.8.8.8", 443)])
        self.assertEqual(self.shelf.seen[0].requestHeaders.getRawHeaders("host"), ["a.example"])

    async def test_a_certificate_for_another_name_is_not_sent(self):
        self.names.answers["c.example"] = [["8.8.8.8"]]
        result = await self.get("https://c.example/file?token=EAAB")
        self.assertEqual((result.outcome, self.shelf.seen), ("not_sent", []))
        self.assertIn("VerificationError", result.error)
        self.assertNotIn("EAAB", result.error)

    async def test_nor_is_it_sent_over_an_older_tls(self):
        context = self.authority.server_for("b.example")
        context.allow_at_most(SSL.TLS1_2_VERSION)
        self.port = self.listen(self.site, context)
        result = await self.get("https://a.example/file")
        self.assertEqual((result.outcome, self.shelf.seen), ("not_sent", []))
        self.assertIn("VerificationError", result.error)

    async def test_a_certificate_for_no_name_at_all_is_not_sent(self):
        self.port = self.listen(self.site, self.authority.server_without_names("a.example"))
        result = await self.get("https://a.example/file")
        self.assertEqual((result.outcome, self.shelf.seen), ("not_sent", []))
        self.assertIn("subjectAltName", result.error)
        result = await self.get(f"https://127.0.0.1:{self.port}/file", trust="configured")
        self.assertEqual((result.outcome, self.shelf.seen), ("not_sent", []))
        self.flushLoggedErrors(CertificateError)

    async def test_a_certificate_that_nobody_vouches_for_is_not_sent(self):
        self.http = self.http_with(https_policy=Authority().policy())
        result = await self.get("https://a.example/file")
        self.assertEqual((result.outcome, self.shelf.seen), ("not_sent", []))
        self.assertIn("certificate verify failed", result.error)

    async def test_a_server_without_tls_is_not_sent(self):
        self.port = self.serve(lambda wire: None)
        self.script.request_end = b""
        self.script.protocol = Talker
        result = await self.get("https://a.example/file")
        self.assertEqual(result.outcome, "not_sent")

    async def test_a_handshake_that_never_ends_is_not_sent(self):
        self.port = self.serve(lambda wire: None)
        result = await self.get("https://a.example/file", deadline=0.3)
        self.assertEqual(result.outcome, "not_sent")
        await self.script.closed()

    async def test_configured_hosts_are_held_to_their_certificates_too(self):
        for names, outcome in ((["127.0.0.1"], "answered"), (["a.example"], "not_sent")):
            port = self.listen(self.site, self.authority.server_for(*names))
            result = await self.get(f"https://127.0.0.1:{port}/file", trust="configured")
            self.assertEqual(result.outcome, outcome, result.error)

    async def test_a_connection_of_a_configured_host_is_used_again(self):
        script = Script(lambda wire: wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        port = self.listen(script, self.authority.server_for("127.0.0.1"))
        for _ in range(3):
            result = await self.get(
                f"https://127.0.0.1:{port}/", trust="configured", method="POST", body=b"end"
            )
            self.assertEqual((result.outcome, result.body), ("answered", b"ok"))
        self.assertEqual(script.connections, 1)

    async def test_what_is_lost_after_the_handshake_is_unknown(self):
        half = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"
        for react in (
            lambda wire: wire.loseConnection(),
            lambda wire: wire.abortConnection(),
            lambda wire: (wire.write(half), wire.loseConnection()),
            lambda wire: None,
        ):
            script = Script(react)
            script.request_end = b""
            self.port = self.listen(script, self.authority.server_for("a.example"))
            result = await self.get("https://a.example/file", deadline=0.5)
            self.assertEqual((result.outcome, script.requests), ("unknown", 1))
            await script.closed()


class Talker(Protocol):
    """Says something at once that is no TLS."""

    def connectionMade(self):
        self.factory.open.append(self)
        self.transport.write(b"220 mail.example ESMTP\r\n")

    def connectionLost(self, reason=None):
        self.factory.open.remove(self)


class PinningTests(ContentTestCase):
    async def test_a_second_look_at_the_name_cannot_change_where_we_connect(self):
        self.names.answers["a.example"] = [["8.8.8.8"], ["127.0.0.1"]]
        result = await self.get("https://a.example/file")
        self.assertEqual((result.outcome, self.connected), ("answered", [("8.8.8.8", 443)]))
        self.assertEqual(self.names.asked, ["a.example"])
        result = await self.get("https://a.example/file")
        self.assertEqual((result.outcome, len(self.connected)), ("not_sent", 1))

    async def test_no_connection_is_kept(self):
        script = Script(lambda wire: wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"))
        script.request_end = b""
        self.port = self.listen(script, self.authority.server_for("a.example"))
        self.assertEqual((await self.get("https://a.example/")).body, b"ok")
        await script.closed()

    async def test_a_server_that_ignores_the_farewell_is_left_anyway(self):
        def murmur(wire):
            if wire.connected:
                wire.write(b".")
                reactor.callLater(0.02, murmur, wire)

        def react(wire):
            wire.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            wire.pauseProducing()
            reactor.callLater(0.02, murmur, wire)

        script = Script(react)
        script.request_end = b""
        self.port = self.listen(script, self.authority.server_for("a.example"))
        self.assertEqual((await self.get("https://a.example/")).body, b"ok")
        await script.closed()
        await deferLater(reactor, 0.03, lambda: None)

    async def test_endless_headers_are_cut(self):
        def flood(wire):
            if wire.connected:
                wire.write(b"X-More: " + b"x" * 8000 + b"\r\n")
                reactor.callLater(0, flood, wire)

        script = Script(lambda wire: (wire.write(b"HTTP/1.1 200 OK\r\n"), flood(wire)))
        script.request_end = b""
        self.port = self.listen(script, self.authority.server_for("a.example"))
        result = await self.get("https://a.example/", max_response=1000)
        self.assertEqual(result.outcome, "unknown")
        self.assertLess(result.elapsed, 4)
        await script.closed()
        await deferLater(reactor, 0.01, lambda: None)


class RedirectTests(ContentTestCase):
    def seen_headers(self, number):
        return self.shelf.seen[number].requestHeaders

    async def test_followed_to_another_public_host_without_credentials(self):
        result = await self.get(
            "https://a.example/to?url=https://b.example/file",
            headers=(("Authorization", "Bearer EAAB"), ("X-Api-Key", "EAAB"), ("Accept", "image/*")),
        )
        self.assertEqual((result.outcome, result.body), ("answered", b"a file"))
        self.assertEqual(self.connected, [("8.8.8.8", 443), ("9.9.9.9", 443)])
        self.assertEqual(self.seen_headers(0).getRawHeaders("authorization"), ["Bearer EAAB"])
        self.assertNotIn("EAAB", repr(list(self.seen_headers(1).getAllRawHeaders())))
        self.assertEqual(self.seen_headers(1).getRawHeaders("accept"), ["image/*"])
        self.assertEqual(self.seen_headers(1).getRawHeaders("host"), ["b.example"])

    async def test_credentials_stay_within_the_origin(self):
        for status in (301, 302, 303, 307, 308):
            self.shelf.seen.clear()
            url = f"https://a.example/to?status={status}&url=/file"
            result = await self.get(url, headers=(("Authorization", "Bearer EAAB"),))
            self.assertEqual(result.body, b"a file")
            self.assertEqual(self.seen_headers(1).getRawHeaders("authorization"), ["Bearer EAAB"])

    async def test_another_port_is_another_origin(self):
        url = "https://a.example/to?url=https://a.example:8443/file"
        await self.get(url, headers=(("Authorization", "Bearer EAAB"),))
        self.assertEqual(self.connected[1], ("8.8.8.8", 8443))
        self.assertIsNone(self.seen_headers(1).getRawHeaders("authorization"))

    async def test_never_into_the_own_network_nor_away_from_https(self):
        for target in (
            *("https://lan.example/", "https://127.0.0.1/", "https://169.254.169.254/latest/meta-data/"),
            *("http://b.example/file", "file:///etc/passwd", "//lan.example/", "https://u:p@b.example/"),
            *("https://2130706433/", "https://[::1]/", "gopher://b.example", "javascript:1"),
        ):
            self.connected.clear()
            result = await self.get(f"https://a.example/to?url={target}")
            self.assertEqual((result.outcome, self.connected), ("not_sent", [("8.8.8.8", 443)]), target)
            self.assertNotEqual(result.error, "")

    async def test_five_and_no_more(self):
        here = "https://a.example/to?url=/to%3Furl=/to%253Furl=/to"
        result = await self.get("https://a.example/to?url=/to%3Furl%3D/file")
        self.assertEqual((result.outcome, result.body), ("answered", b"a file"))
        self.shelf.render_GET = self.shelf.render_HEAD = self.shelf_in_a_circle
        result = await self.get(here)
        self.assertEqual((result.outcome, result.status, len(self.shelf.seen)), ("answered", 302, 3 + 6))

    def shelf_in_a_circle(self, request):
        self.shelf.seen.append(request)
        request.setResponseCode(302)
        request.setHeader(b"Location", b"/again")
        return b""

    async def test_what_changes_something_is_never_redirected(self):
        result = await self.get("https://a.example/to?url=/file", method="POST", body=b"x")
        self.assertEqual((result.outcome, result.status, len(self.shelf.seen)), ("answered", 302, 1))

    async def test_one_deadline_for_the_whole_way(self):
        result = await self.get("https://a.example/to?url=/silent", deadline=0.4)
        self.assertEqual((result.outcome, len(self.shelf.seen)), ("unknown", 2))
        self.assertLess(result.elapsed, 3)

    async def test_a_redirect_with_an_endless_body_is_followed(self):
        script = Script(
            lambda wire: wire.write(b"HTTP/1.1 302 Go\r\nLocation: https://b.example/file\r\n\r\nmore")
        )
        script.request_end = b""
        home, self.port = self.port, self.listen(script, self.authority.server_for("a.example"))
        lead_home = self.lead_home

        def lead(clock, address, port, timeout):
            self.port = home if address == "9.9.9.9" else self.port
            return lead_home(clock, address, port, timeout)

        self.http._endpoint_for = lead
        result = await self.get("https://a.example/")
        self.assertEqual((result.outcome, result.body), ("answered", b"a file"))
        await script.closed()
