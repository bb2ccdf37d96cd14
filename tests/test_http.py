"""`klein_channels.http` and its checks, without a socket: what is written, and what is said of it."""

from __future__ import annotations

import gzip
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address as TCPAddress
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IHostnameResolver, IResolutionReceiver
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from klein_channels import destinations
from klein_channels.destinations import RefusedDestination, is_public, literal_address, read_url
from klein_channels.http import _NO_COOKIES, MAX_CALLS_WITHOUT_TIME, Http
from klein_channels.model import Call, CallResult

BASE = "http://127.0.0.1:5055"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def configured(path="/", **fields):
    return Call(method=fields.pop("method", "POST"), url=BASE + path, trust="configured", **fields)


class Wire(StringTransport):
    """The other side of one connection."""

    aborted = False

    def abortConnection(self):
        self.aborted = True


@implementer(IHostnameResolver)
class NoNames:
    """A resolver whose look-ups are answered by the test, or never."""

    def __init__(self):
        self.asked = []

    def resolveHostName(self, receiver: IResolutionReceiver, hostName, portNumber=0, *args, **kwargs):
        self.asked.append((hostName, receiver))

    def answer(self, *addresses):
        _name, receiver = self.asked.pop(0)
        for address in addresses:
            receiver.addressResolved(TCPAddress("TCP", address, 443))
        receiver.resolutionComplete()


class HttpTestCase(SynchronousTestCase):
    def setUp(self):
        self.reactor = MemoryReactorClock()
        self.resolver = NoNames()
        self.http = Http(self.reactor, resolver=self.resolver, connect_timeout=10.0)

    def accept(self, number=-1):
        """Let the connection attempt succeed; gives the protocol and its wire."""
        factory = self.reactor.tcpClients[number][2]
        protocol = factory.buildProtocol(TCPAddress("TCP", "127.0.0.1", 5055))
        wire = Wire()
        protocol.makeConnection(wire)
        return protocol, wire

    def refuse(self):
        factory = self.reactor.tcpClients[-1][2]
        factory.clientConnectionFailed(self.reactor.connectors[-1], Failure(ConnectionRefusedError()))


class RequestTests(HttpTestCase):
    def sent(self, call):
        self.http.call(call).addErrback(lambda failure: None)
        return self.accept()[1].value()

    def test_body_and_headers_arrive_as_they_are(self):
        head, body = self.sent(
            configured(
                "/a?b=c%20d", headers=(("Content-Type", "application/json"), ("X-Key", "k")), body=b"{}"
            )
        ).split(b"\r\n\r\n")
        self.assertEqual(body, b"{}")
        lines = head.split(b"\r\n")
        self.assertEqual(lines[0], b"POST /a?b=c%20d HTTP/1.1")
        for line in (b"Content-Type: application/json", b"X-Key: k", b"Content-Length: 2"):
            self.assertIn(line, lines)
        self.assertIn(b"Host: 127.0.0.1:5055", lines)

    def test_never_asks_for_a_compressed_answer(self):
        sent = self.sent(configured(headers=(("accept-encoding", "gzip"),)))
        self.assertIn(b"Accept-Encoding: identity\r\n", sent)
        self.assertNotIn(b"gzip", sent)

    def test_a_header_cannot_break_out_of_its_line(self):
        sent = self.sent(configured(headers=(("X-Name", "a\r\nX-Evil: 1\r\n\r\nbody"),)))
        self.assertNotIn(b"\r\nX-Evil", sent)

    def test_cookies_are_not_kept(self):
        first = self.http.call(configured(method="GET"))
        protocol, wire = self.accept()
        protocol.dataReceived(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(first).header("set-cookie"), "a=b; Path=/")
        wire.clear()
        self.http.call(configured(method="GET"))
        self.assertIn(b"GET / HTTP/1.1", wire.value())
        self.assertEqual(list(_NO_COOKIES), [])
        self.assertNotIn(b"ookie", wire.value())

    def test_a_configured_host_may_be_an_ipv6_address(self):
        self.http.call(Call(method="GET", url="http://[::1]:5055/", trust="configured"))
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("::1", 5055))
        self.assertIn(b"Host: [::1]:5055\r\n", self.accept()[1].value())

    def test_a_configured_host_may_be_named_like_a_container(self):
        self.reactor.nameResolver = self.resolver
        self.http.call(Call(method="GET", url="http://action_server:5055/", trust="configured"))
        self.resolver.answer("172.18.0.2")
        self.assertEqual(self.reactor.tcpClients[-1][:2], ("172.18.0.2", 5055))
        self.assertIn(b"Host: action_server:5055\r\n", self.accept()[1].value())


class AnswerTests(HttpTestCase):
    def after(self, *received, lost=None, call=None):
        """The result of a call whose connection brings `received`."""
        result = self.http.call(call or configured(body=b"x", max_response=10))
        self.protocol, self.wire = self.accept()
        for data in received:
            self.reactor.advance(0.5)
            self.protocol.dataReceived(data)
        if lost is not None:
            self.protocol.connectionLost(Failure(lost))
        return self.successResultOf(result)

    def test_whole_answer(self):
        result = self.after(b"HTTP/1.1 429 Slow down\r\nRetry-After: 3\r\n", b"Content-Length: 2\r\n\r\nno")
        self.assertEqual((result.outcome, result.status, result.body), ("answered", 429, b"no"))
        self.assertEqual((result.header("retry-after"), result.elapsed, result.error), ("3", 1.0, ""))
        self.assertFalse(self.wire.aborted)
        self.assertEqual(self.reactor.seconds(), 1.0)

    def test_an_answer_without_length_ends_with_the_connection(self):
        result = self.after(b"HTTP/1.1 200 OK\r\n\r\nyes", lost=ConnectionDone())
        self.assertEqual((result.outcome, result.body), ("answered", b"yes"))

    def test_lost_before_any_answer_is_unknown(self):
        result = self.after(lost=ConnectionDone())
        self.assertEqual((result.outcome, result.error[:14]), ("unknown", "ConnectionDone"))

    def test_lost_within_the_body_is_unknown(self):
        result = self.after(OK[:-1], lost=ConnectionLost())
        self.assertEqual((result.outcome, result.status), ("unknown", 200))

    def test_an_answer_that_is_not_http_is_unknown_and_not_repeated_in_the_error(self):
        result = self.after(b"EAAB-secret was not understood\r\n")
        self.assertEqual(result.outcome, "unknown")
        self.assertNotIn("EAAB", result.error)

    def test_an_announced_length_over_the_cap_is_not_read(self):
        result = self.after(b"HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n")
        self.assertEqual((result.outcome, result.error), ("unknown", "answer longer than 10 bytes"))
        self.assertTrue(self.wire.aborted)

    def test_a_body_that_grows_over_the_cap_is_cut(self):
        result = self.after(b"HTTP/1.1 200 OK\r\n\r\n1234567890", b"1")
        self.assertEqual((result.outcome, result.error), ("unknown", "answer longer than 10 bytes"))
        self.assertTrue(self.wire.aborted)

    def test_a_body_as_long_as_the_cap_is_whole(self):
        result = self.after(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n1234567890")
        self.assertEqual((result.outcome, result.body), ("answered", b"1234567890"))

    def test_a_compressed_answer_is_not_unpacked(self):
        packed = gzip.compress(b"0" * 1_000_000)
        head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
        result = self.after(head + packed, call=configured(max_response=5000))
        self.assertEqual((result.outcome, result.body), ("answered", packed))
        self.assertEqual(result.header("content-encoding"), "gzip")

    def test_a_redirect_is_an_answer_like_any_other(self):
        result = self.after(b"HTTP/1.1 302 Found\r\nLocation: http://10.0.0.1/\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual((result.outcome, result.status), ("answered", 302))
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_the_next_call_uses_the_same_connection(self):
        self.after(OK)
        self.http.call(configured())
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_an_idle_connection_that_was_closed_is_not_used(self):
        self.after(OK)
        self.protocol.connectionLost(Failure(ConnectionDone()))
        self.http.call(configured())
        self.assertEqual(len(self.reactor.tcpClients), 2)

    def test_a_request_on_a_dying_connection_is_never_repeated(self):
        self.after(OK)
        again = self.http.call(configured(method="GET"))
        self.protocol.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.successResultOf(again).outcome, "unknown")
        self.assertEqual(len(self.reactor.tcpClients), 1)


class NotSentTests(HttpTestCase):
    def test_refused(self):
        result = self.http.call(configured("/?token=EAAB-secret"))
        self.refuse()
        result = self.successResultOf(result)
        self.assertEqual((result.outcome, result.error[:22]), ("not_sent", "ConnectionRefusedError"))

    def test_a_configured_host_without_an_address(self):
        self.reactor.nameResolver = self.resolver
        result = self.http.call(Call(method="GET", url="http://action_server/", trust="configured"))
        self.resolver.answer()
        result = self.successResultOf(result)
        self.assertEqual((result.outcome, result.error[:14]), ("not_sent", "DNSLookupError"))

    def test_no_connection_within_the_connect_timeout(self):
        result = self.http.call(configured(deadline=60.0))
        self.reactor.advance(10)
        result = self.successResultOf(result)
        self.assertEqual((result.outcome, result.elapsed), ("not_sent", 10.0))

    def test_what_cannot_be_a_request(self):
        for call in (
            configured(method="BAD METHOD"),
            configured(method="É"),
            configured(headers=(("bad name", "x"),)),
            Call(method="GET", url="ftp://a/?token=EAAB", trust="configured"),
            Call(method="GET", url="http://user:EAAB@a/", trust="configured"),
            Call(method="GET", url="http://[EAAB/", trust="configured"),
            Call(method="GET", url="", trust="configured"),
            Call(method="GET", url="https://a_b/", trust="configured"),
            configured(deadline=0.0),
        ):
            result = self.successResultOf(self.http.call(call))
            self.assertEqual(result.outcome, "not_sent", call)
            self.assertNotEqual(result.error, "", call)
            self.assertNotIn("EAAB", result.error)


class DeadlineTests(HttpTestCase):
    def test_it_covers_the_body(self):
        result = self.http.call(configured(deadline=3.0))
        protocol, wire = self.accept()
        for _ in range(6):
            self.assertNoResult(result)
            self.reactor.advance(0.5)
            protocol.dataReceived(b"HTTP/1.1 200 OK\r\n\r\n" if self.reactor.seconds() == 0.5 else b".")
        result = self.successResultOf(result)
        self.assertEqual((result.outcome, result.elapsed), ("unknown", 3.0))
        self.assertEqual(result.error, "no whole answer within 3 s")
        self.assertTrue(wire.aborted)

    def test_written_and_not_answered_is_unknown(self):
        result = self.http.call(configured(deadline=3.0))
        _protocol, wire = self.accept()
        self.reactor.advance(3)
        self.assertEqual(self.successResultOf(result).outcome, "unknown")
        self.assertTrue(wire.aborted)

    def test_not_yet_connected_is_not_sent(self):
        result = self.http.call(configured(deadline=3.0))
        self.reactor.advance(3)
        self.assertEqual(self.successResultOf(result).outcome, "not_sent")
        self.assertEqual(self.reactor.connectors[-1].stoppedConnecting, True)

    def test_a_name_that_is_never_resolved(self):
        result = self.http.call(Call(method="GET", url="https://example.com/", deadline=3.0))
        self.reactor.advance(3)
        result = self.successResultOf(result)
        self.assertEqual((result.outcome, result.elapsed), ("not_sent", 3.0))
        self.resolver.answer("8.8.8.8")
        self.assertEqual(self.reactor.tcpClients, [])

    def test_nothing_is_left_over(self):
        result = self.http.call(configured())
        self.accept()[0].dataReceived(OK)
        self.successResultOf(result)
        self.http.close()
        self.reactor.advance(5)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closing_does_not_wait_for_a_peer_for_ever(self):
        result = self.http.call(configured())
        self.accept()[0].dataReceived(OK)
        self.successResultOf(result)
        closed = self.http.close()
        self.assertNoResult(closed)
        self.reactor.advance(5)
        self.successResultOf(closed)


class StepsTests(HttpTestCase):
    def test_steps_without_a_call(self):
        def steps():
            return 7
            yield

        self.assertEqual(self.successResultOf(self.http.run(steps(), 1.0)), 7)

    def test_each_result_is_sent_in_and_the_value_comes_out(self):
        def steps():
            first = yield configured("/1")
            second = yield configured("/2")
            return first.body + second.body

        result = self.http.run(steps(), 9.0)
        protocol, _wire = self.accept()
        protocol.dataReceived(OK)
        protocol.dataReceived(OK)
        self.assertEqual(self.successResultOf(result), b"okok")

    def test_what_steps_raise_comes_out(self):
        def steps():
            yield Call(method="GET", url="", trust="configured")
            raise LookupError("no such page")

        self.failureResultOf(self.http.run(steps(), 1.0), LookupError)

    def test_one_deadline_for_all_calls(self):
        seen = []

        def steps():
            for path in ("/1", "/2", "/3"):
                seen.append((yield configured(path, deadline=60.0)))
            return "own end"

        result = self.http.run(steps(), 5.0)
        protocol, _wire = self.accept()
        self.reactor.advance(3)
        protocol.dataReceived(OK)
        self.reactor.advance(2)
        self.assertEqual(self.successResultOf(result), "own end")
        self.assertEqual([r.outcome for r in seen], ["answered", "unknown", "not_sent"])
        self.assertEqual(len(self.reactor.tcpClients), 1)

    def test_deadline_while_connecting(self):
        def steps():
            return (yield configured())

        result = self.http.run(steps(), 2.0)
        self.reactor.advance(2)
        self.assertEqual(self.successResultOf(result).outcome, "not_sent")

    def test_cancelling_drops_the_call_and_closes_the_steps(self):
        closed = []

        def steps():
            try:
                yield configured()
            finally:
                closed.append(True)

        result = self.http.run(steps(), 9.0)
        _protocol, wire = self.accept()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual((closed, wire.aborted), ([True], True))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_long_run_of_immediate_results(self):
        def steps():
            for _ in range(5000):
                yield Call(method="GET", url="", trust="configured")
            return "done"

        self.assertEqual(self.successResultOf(self.http.run(steps(), 9.0)), "done")

    def test_steps_that_never_end_are_stopped(self):
        asked = []

        def steps():
            while True:
                asked.append((yield configured(deadline=1.0)))

        result = self.http.run(steps(), 2.0)
        self.reactor.pump([1.0, 1.0])
        self.failureResultOf(result, TimeoutError)
        self.assertLessEqual(len(asked), MAX_CALLS_WITHOUT_TIME + 2)

    def test_a_cancelled_call_is_cancelled(self):
        result: Deferred[CallResult] = self.http.call(configured())
        _protocol, wire = self.accept()
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertTrue(wire.aborted)


class ContentTests(HttpTestCase):
    """Where a URL that came from outside may lead."""

    def refused(self, url, *addresses):
        result = self.http.call(Call(method="GET", url=url))
        if addresses:
            self.resolver.answer(*addresses)
        result = self.successResultOf(result)
        self.assertEqual((result.outcome, self.reactor.tcpClients), ("not_sent", []), url)
        return result.error

    def test_only_https(self):
        self.assertIn("not https", self.refused("http://example.com/?token=EAAB"))

    def test_no_credentials(self):
        self.assertNotIn("EAAB", self.refused("https://EAAB:EAAB@example.com/"))

    def test_private_by_name(self):
        for address in ("127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:8.8.8.8", "fd00::1"):
            self.assertIn(
                "not an address of the public Internet", self.refused("https://a.example/", address)
            )

    def test_one_bad_address_among_good_ones(self):
        self.refused("https://a.example/", "8.8.8.8", "1.1.1.1", "9.9.9.9", "8.8.4.4", "192.168.0.1")

    def test_private_by_number(self):
        for host in (
            *("127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "0"),
            *("127.0.0.1.", "①②⑦.⓪.⓪.①", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "8.8.8.08"),
            *(
                "localhost",
                "localhost.",
                "a b.example",
                "-a.example",
                "x.0x7f",
                "a..example",
                "a.example\\@b.c",
            ),
        ):
            self.refused(f"https://{host}/")
            self.assertEqual(self.resolver.asked, [], host)

    def test_no_such_name(self):
        result = self.http.call(Call(method="GET", url="https://a.example/"))
        self.resolver.answer()
        self.assertEqual(self.successResultOf(result).outcome, "not_sent")

    def test_a_resolver_that_fails(self):
        def broken(*args, **kwargs):
            raise RuntimeError("EAAB")

        self.patch(self.resolver, "resolveHostName", broken)
        self.assertNotIn("EAAB", self.refused("https://a.example/"))

    def test_connects_to_the_checked_address_and_asks_for_it_once(self):
        self.http.call(Call(method="GET", url="https://a.example:8443/"))
        self.resolver.answer("8.8.8.8")
        self.assertEqual([c[:2] for c in self.reactor.tcpClients], [("8.8.8.8", 8443)])
        self.assertEqual(self.resolver.asked, [])

    def test_the_next_address_is_tried(self):
        result = self.http.call(Call(method="GET", url="https://a.example/"))
        self.resolver.answer("8.8.8.8", "9.9.9.9")
        self.refuse()
        self.assertEqual(self.reactor.tcpClients[-1][0], "9.9.9.9")
        self.refuse()
        self.assertEqual(self.successResultOf(result).outcome, "not_sent")

    def test_cancelling_tries_no_further_address(self):
        result = self.http.call(Call(method="GET", url="https://a.example/"))
        self.resolver.answer("8.8.8.8", "9.9.9.9")
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(len(self.reactor.tcpClients), 1)


class PublicAddressTests(SynchronousTestCase):
    def test_public(self):
        for address in ("8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.0", "2606:4700::1111", "2a00::1"):
            self.assertTrue(is_public(address), address)

    def test_not_public(self):
        for address in (
            *("0.0.0.0", "10.0.0.1", "100.64.0.1", "100.100.100.200", "127.0.0.1", "169.254.169.254"),
            *("172.16.0.1", "172.31.255.255", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1"),
            *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
            *("168.63.129.16", "::", "::1", "::127.0.0.1", "::ffff:8.8.8.8", "64:ff9b::808:808", "fec0::1"),
            *(
                "64:ff9b:1::1",
                "100::1",
                "2001::1",
                "2001:db8::1",
                "2002:808:808::1",
                "fc00::1",
                "fd00:ec2::254",
            ),
            *("fe80::1", "ff02::1", "2606:4700::1111%eth0", "3fff::1", "5f00::1", "", "example.com", "8.8.8"),
        ):
            self.assertFalse(is_public(address), address)

    @settings(deadline=None, derandomize=True)
    @given(st.ip_addresses())
    @example(ip_address("192.0.0.9"))
    def test_nothing_that_is_not_global_is_public(self, address: IPv4Address | IPv6Address):
        if is_public(str(address)):
            self.assertTrue(address.is_global and not address.is_multicast and not address.is_reserved)

    @settings(deadline=None, derandomize=True)
    @given(st.ip_addresses(v=4), st.sampled_from(("::ffff:{}", "64:ff9b::{}", "::{}", "::ffff:0:{}")))
    def test_no_ipv6_form_carries_an_ipv4_address_through(self, address, form):
        self.assertFalse(is_public(form.replace("{}", str(address))))


class HostTests(SynchronousTestCase):
    @settings(deadline=None, derandomize=True)
    @given(st.text(alphabet="0123456789abcdefx.:[]%-_", min_size=1, max_size=20))
    def test_whatever_ends_in_a_number_is_an_address_or_refused(self, host):
        try:
            found = literal_address(host)
        except RefusedDestination:
            return
        if found is None:
            self.assertRegex(host.rsplit(".", 1)[-1], r"[a-z_-]")
            self.assertNotRegex(host.rsplit(".", 1)[-1], r"^0x[0-9a-f]*$")

    @settings(deadline=None, derandomize=True)
    @given(st.text(max_size=60))
    def test_any_text_is_a_url_or_refused(self, text):
        for url in (text, "https://" + text, "https://a.example/" + text):
            try:
                found, _port = read_url(url)
            except RefusedDestination:
                continue
            self.assertTrue(found.to_text().isascii())

    def test_a_very_long_url_is_refused(self):
        self.assertRaises(RefusedDestination, read_url, "https://a.example/" + "a" * 9000)

    def test_only_harmless_headers_go_to_another_origin(self):
        headers = (("Authorization", "x"), ("cookie", "x"), ("X-Api-Key", "x"), ("PRIVATE-TOKEN", "x"))
        self.assertEqual(
            destinations.harmless((*headers, ("Accept", "image/*"), ("User-Agent", "k"))),
            (("Accept", "image/*"), ("User-Agent", "k")),
        )
