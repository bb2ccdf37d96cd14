"""What `klein_channels.web` refuses before anybody reads it: too long, too slow, too many, ambiguous."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Protocol
from twisted.logger import LogLevel, capturedLogs
from twisted.web.server import Site as ForeignSite

from klein_channels.model import WebhookResponse
from klein_channels.policy import Policy
from klein_channels.web import Request
from klein_channels.web.limits import GRACE, IN_MEMORY, LINGER
from tests.web_wire import (
    FOUND,
    NamedChannel,
    Served,
    WebTestCase,
    Wire,
    answers_in,
    post,
    request,
    status_of,
)

LIMIT = 1000
SMALL = Policy(max_body=LIMIT)
CHUNKED = b"POST /app/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def head(length: int, path: str = "/app/webhook", more: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {length}\r\n\r\n".encode()


class LongBodies(WebTestCase):
    def assert_refused(self, served: Served, wire: Wire, answer: bytes) -> None:
        ((status, headers, _),) = answers_in(answer)
        self.assertEqual((status, headers[b"connection"]), (413, b"close"))
        self.assertEqual(served.intake.taken, [])
        served.pass_time(LINGER)
        self.assertTrue(wire.aborted)

    def test_a_length_over_the_limit_is_refused_before_the_body(self) -> None:
        served = self.serve(policy=SMALL)
        wire = served.wire()
        self.assert_refused(served, wire, wire.feed(head(LIMIT + 1)))

    def test_the_limit_itself_passes(self) -> None:
        for data in (post(b"x" * LIMIT), CHUNKED + chunk(b"x" * LIMIT) + b"0\r\n\r\n"):
            served = self.serve(policy=SMALL)
            self.assertEqual(status_of(served.ask(data)), 200)
            self.assertEqual(served.intake.bodies, [b"x" * LIMIT])

    def test_chunks_over_the_limit_are_refused_when_they_pass_it(self) -> None:
        served = self.serve(policy=SMALL)
        wire = served.wire()
        self.assertEqual(wire.feed(CHUNKED + chunk(b"x" * LIMIT)), b"")
        self.assert_refused(served, wire, wire.feed(b"1\r\nx"))

    def test_chunks_that_come_at_once_are_refused_once(self) -> None:
        served = self.serve(policy=SMALL)
        wire = served.wire()
        self.assert_refused(served, wire, wire.feed(CHUNKED + chunk(b"x" * 600) * 4 + b"0\r\n\r\n" + post()))

    def test_what_still_comes_is_discarded(self) -> None:
        served = self.serve(policy=SMALL)
        wire = served.wire()
        wire.feed(head(10_000_000))
        (refused,) = wire.protocol.requests
        for _ in range(50):
            self.assertEqual(wire.feed(b"x" * 65_536), b"")
        self.assertEqual(refused.content.getvalue(), b"")
        self.assertEqual((wire.protocol._buffer, wire.protocol._dataBuffer), (b"", []))

    def test_a_request_hidden_behind_a_refused_one_is_not_served(self) -> None:
        served = self.serve(policy=SMALL)
        wire = served.wire()
        answer = wire.feed(head(LIMIT + 1) + b"x" * (LIMIT + 1) + post())
        self.assert_refused(served, wire, answer)

    def test_a_client_that_asks_first_is_told_no_at_once(self) -> None:
        served = self.serve(policy=SMALL)
        wire = served.wire()
        more = "Expect: 100-continue\r\n"
        self.assert_refused(served, wire, wire.feed(head(LIMIT + 1, more=more)))
        self.assertEqual(served.ask(head(LIMIT, more=more)), b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_a_channel_may_need_more_or_less(self) -> None:
        channels = (NamedChannel("facebook", max_body=5000), NamedChannel("small", max_body=10))
        served = self.serve(*channels, policy=SMALL)
        for path, limit in (
            ("/app/webhook", 5000),
            ("/app/facebook/webhook", 5000),
            ("/webhooks/facebook/webhook", 5000),
            ("/app/small/webhook", 10),
            ("/elsewhere", LIMIT),
        ):
            self.assertNotEqual(served.ask(head(limit, path) + b"x" * limit)[9:12], b"413", path)
            self.assertEqual(status_of(served.ask(head(limit + 1, path + "?a=b"))), 413, path)

    def test_the_former_request_has_its_answer_before(self) -> None:
        served = self.serve(policy=SMALL, waits=True)
        wire = served.wire()
        self.assertEqual(wire.feed(post(b"1") + head(LIMIT + 1)), b"")
        served.intake.pending[0].callback(WebhookResponse(body=FOUND))
        self.assertEqual([status for status, _, _ in answers_in(wire.take())], [200, 413])

    def test_long_bodies_do_not_stay_in_memory(self) -> None:
        served = self.serve()
        wire = served.wire()
        wire.feed(head(IN_MEMORY + 1))
        wire.feed(b"x" * IN_MEMORY)
        self.assertFalse(wire.protocol.requests[0].content._rolled)
        wire = served.wire()
        wire.feed(CHUNKED + chunk(b"x" * (IN_MEMORY + 1)))
        self.assertTrue(wire.protocol.requests[0].content._rolled)


class LongBodiesUnderAForeignSite(WebTestCase):
    def wire(self, served: Served) -> Wire:
        small = type("Small", (Request,), {"max_body": LIMIT})
        return served.wire(site=ForeignSite(served.web.resource(), small, timeout=None, reactor=served.clock))

    def test_both_kinds_are_refused_there_too(self) -> None:
        for data in (
            head(LIMIT + 1) + b"x" * (LIMIT + 1),
            head(LIMIT + 1, more="Expect: 100-continue\r\n"),
            CHUNKED + chunk(b"x" * (LIMIT + 1)) + b"0\r\n\r\n",
        ):
            served = self.serve()
            wire = self.wire(served)
            self.assertEqual([status for status, _, _ in answers_in(wire.feed(data))], [413])
            self.assertTrue(wire.closed)
            wire.hang_up()
            self.assertEqual(served.intake.taken, [])

    def test_the_limit_itself_passes(self) -> None:
        served = self.serve()
        self.assertEqual(status_of(self.wire(served).feed(post(b"x" * LIMIT))), 200)

    def test_the_default_is_the_policys(self) -> None:
        self.assertEqual(Request.max_body, Policy().max_body)


class Deadlines(WebTestCase):
    def drip(self, served: Served, wire: Wire, data: bytes) -> int:
        """Feed a byte a second until the connection is closed; after how many seconds it was."""
        for second in range(200):
            if wire.closed:
                return second
            wire.protocol.dataReceived(data[second : second + 1] or b"x")
            served.pass_time(1)
        return -1

    def test_a_dripped_header_ends_after_its_deadline(self) -> None:
        served = self.serve()
        wire = served.wire()
        self.assertEqual(self.drip(served, wire, b"POST /app/webhook HTTP/1.1\r\nX-Slow: "), 10)
        self.assertEqual(status_of(wire.take()), 408)

    def test_a_dripped_body_ends_after_its_deadline(self) -> None:
        for start in (head(500), CHUNKED + b"500\r\n"):
            served = self.serve()
            wire = served.wire()
            wire.feed(start)
            self.assertEqual(self.drip(served, wire, b""), 30)
            self.assertEqual(status_of(wire.take()), 408)
            wire.hang_up()
            self.assertEqual(served.intake.taken, [])

    def test_the_deadline_of_the_body_begins_after_the_header(self) -> None:
        served = self.serve()
        wire = served.wire()
        data = head(2)
        wire.feed(data[:5])
        served.pass_time(9)
        wire.feed(data[5:])
        served.pass_time(29)
        self.assertEqual(status_of(wire.feed(b"{}")), 200)

    def test_a_connection_without_a_byte_is_closed_without_a_word(self) -> None:
        served = self.serve()
        wire = served.wire()
        served.pass_time(9)
        self.assertFalse(wire.closed)
        served.pass_time(1)
        self.assertTrue(wire.closed)
        self.assertEqual(wire.take(), b"")

    def test_a_connection_that_rests_is_closed_without_a_word(self) -> None:
        served = self.serve()
        wire = served.wire()
        wire.feed(post())
        served.pass_time(59)
        self.assertFalse(wire.closed)
        served.pass_time(1)
        self.assertTrue(wire.closed)
        self.assertEqual(wire.take(), b"")

    def test_every_request_has_a_deadline_of_its_own(self) -> None:
        served = self.serve()
        wire = served.wire()
        for _ in range(5):
            self.assertEqual(status_of(wire.feed(post())), 200)
            served.pass_time(50)
        wire.feed(b"P")
        served.pass_time(10)
        self.assertEqual(status_of(wire.take()), 408)

    def test_the_rest_of_a_read_begins_the_next_request(self) -> None:
        for rest in (b"P", b"POST /app/webhook HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nHost: x\r\n"):
            served = self.serve()
            wire = served.wire()
            self.assertEqual(status_of(wire.feed(request("GET /app/") + rest)), 200)
            served.pass_time(10)
            self.assertEqual(status_of(wire.take()), 408)

    def test_a_handler_may_take_its_time(self) -> None:
        served = self.serve(waits=True)
        wire = served.wire()
        wire.feed(post())
        served.pass_time(500)
        self.assertFalse(wire.closed)
        served.intake.pending[0].callback(WebhookResponse(body=FOUND))
        self.assertEqual(status_of(wire.take()), 200)

    def test_a_client_that_does_not_let_go_is_torn_down(self) -> None:
        for last in (b"P", post(headers="Connection: close\r\n"), b"nonsense\r\n\r\n"):
            served = self.serve()
            wire = served.wire()
            wire.feed(last)
            served.pass_time(10 + GRACE - 1)
            served.pass_time(1)
            self.assertTrue(wire.aborted, last)

    def test_no_clock_runs_without_connections(self) -> None:
        served = self.serve()
        wires = [served.wire() for _ in range(3)]
        self.assertEqual(len(served.clock.getDelayedCalls()), 1)
        for wire in wires:
            wire.feed(post())
            wire.hang_up()
        self.assertEqual(served.clock.getDelayedCalls(), [])
        served.wire()
        self.assertEqual(len(served.clock.getDelayedCalls()), 1)


class Pipelines(WebTestCase):
    def test_answers_come_in_the_order_of_the_requests(self) -> None:
        served = self.serve(waits=True)
        wire = served.wire()
        self.assertEqual(
            wire.feed(post(b"1") + post(b"2", "/app/facebook/webhook/") + request("GET /app/")), b""
        )
        self.assertEqual(served.intake.bodies, [b"1"])
        served.intake.pending[0].callback(WebhookResponse(body=b"first"))
        self.assertEqual(served.intake.bodies, [b"1", b"2"])
        served.intake.pending[1].callback(WebhookResponse(body=b"second"))
        bodies = [body for _, _, body in answers_in(wire.take())]
        self.assertEqual(bodies, [b"first", b"second", b'{"status":"ok"}'])

    def test_many_at_once_are_all_answered(self) -> None:
        served = self.serve()
        data = b"".join(post(b"%d" % n) for n in range(100))
        self.assertEqual(len(answers_in(served.ask(data))), 100)
        self.assertEqual(served.intake.bodies, [b"%d" % n for n in range(100)])

    def test_what_waits_behind_a_slow_request_is_bounded(self) -> None:
        served = self.serve(waits=True)
        wire = served.wire()
        wire.feed(post())
        wire.feed(b"x" * 20_000)
        self.assertEqual(wire.transport.producerState, "paused")

    def test_nothing_is_served_after_the_last_request(self) -> None:
        served = self.serve()
        answer = served.ask(post(headers="Connection: close\r\n") + post(b"smuggled"))
        self.assertEqual(len(answers_in(answer)), 1)
        self.assertEqual(served.intake.bodies, [b"{}"])


class AmbiguousRequests(WebTestCase):
    """Two servers in a row must not see two different requests in the same bytes."""

    HEAD = b"POST /app/webhook HTTP/1.1\r\nHost: x\r\n"

    def test_they_are_refused(self) -> None:
        length, chunked = b"Content-Length: 4\r\n", b"Transfer-Encoding: chunked\r\n"
        for name, lines in {
            "two lengths": length + b"Content-Length: 5\r\n",
            "the same length twice": length * 2,
            "length and chunks": length + chunked,
            "chunks and length": chunked + length,
            "a list of lengths": b"Content-Length: 4, 4\r\n",
            "a signed length": b"Content-Length: +4\r\n",
            "a length in hexadecimal": b"Content-Length: 0x4\r\n",
            "no number": b"Content-Length: \r\n",
            "a number without end": b"Content-Length: " + b"9" * 5000 + b"\r\n",
            "space before the colon": b"Content-Length : 4\r\n",
            "another encoding": b"Transfer-Encoding: gzip, chunked\r\n",
            "chunks twice": chunked * 2,
            "a bare line feed in a value": b"X-A: b\nTransfer-Encoding: chunked\r\n" + length,
            "a bare carriage return": b"X-A: b\rTransfer-Encoding: chunked\r\n" + length,
            "a NUL": b"X-A: b\x00\r\n" + length,
            "no colon": b"nonsense\r\n" + length,
        }.items():
            served = self.serve()
            wire = served.wire()
            ((status, headers, _),) = answers_in(wire.feed(self.HEAD + lines + b"\r\n0\r\n\r\n" + post()))
            self.assertEqual((status, headers[b"connection"]), (400, b"close"), name)
            self.assertTrue(wire.closed, name)
            self.assertEqual(served.intake.taken, [], name)

    def test_bare_line_feeds_end_no_header(self) -> None:
        served = self.serve()
        wire = served.wire()
        self.assertEqual(wire.feed(post().replace(b"\r\n", b"\n")), b"")
        served.pass_time(10)
        self.assertEqual(status_of(wire.take()), 408)
        self.assertEqual(served.intake.taken, [])

    def test_odd_chunks_are_refused(self) -> None:
        for body in (b"-1\r\n", b"0x5\r\n", b"5 \r\n", b"5\r\nabcdeXX", b"zz\r\n", b"f" * 2000):
            served = self.serve()
            self.assertEqual(status_of(served.ask(CHUNKED + body)), 400, body[:10])
            self.assertEqual(served.intake.taken, [])

    def test_long_headers_are_refused(self) -> None:
        for lines in (b"X-A: b\r\n" * 501, b"X-Long: " + b"x" * 17_000, (b"X: " + b"x" * 4000 + b"\r\n") * 5):
            served = self.serve()
            wire = served.wire()
            self.assertIn(status_of(wire.feed(self.HEAD + lines)), (400, 431))
            self.assertTrue(wire.closed)

    def test_what_was_refused_is_not_heard_again(self) -> None:
        # A connection under TLS still delivers what comes after it began to close.
        served = self.serve()
        wire = served.wire()
        self.assertEqual(status_of(wire.feed(b"nonsense\r\n")), 400)
        for line in (post() * 3).splitlines(keepends=True):
            wire.protocol.dataReceived(line)
        self.assertEqual(wire.take(), b"")
        self.assertEqual(served.intake.taken, [])

    def test_nobody_can_write_an_error_into_the_log(self) -> None:
        served = self.serve(policy=SMALL)
        with capturedLogs() as log:
            for data in (
                b"\x16\x03\x01\x02\x00",
                b"nonsense\r\n\r\n",
                head(LIMIT + 1),
                CHUNKED + b"zz\r\n",
                self.HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
            ):
                wire = served.wire()
                wire.feed(data)
                served.pass_time(40)
                wire.hang_up()
        self.assertEqual([event for event in log if event["log_level"] > LogLevel.info], [])


class ManyConnections(WebTestCase):
    def served(self, **site: Any) -> Served:
        return self.serve(policy=Policy(max_connections_per_address=3), site=site)

    def test_one_too_many_is_torn_down_at_once(self) -> None:
        served = self.served()
        wires = [served.wire() for _ in range(4)]
        self.assertEqual([wire.aborted for wire in wires], [False, False, False, True])
        self.assertFalse(served.wire("203.0.113.10").aborted)

    def test_one_that_ends_makes_room_for_one(self) -> None:
        served = self.served()
        wires = [served.wire() for _ in range(4)]
        wires[3].hang_up()
        self.assertTrue(served.wire().aborted)
        wires[0].hang_up()
        self.assertFalse(served.wire().aborted)
        self.assertTrue(served.wire().aborted)

    def test_nothing_is_remembered_of_those_that_left(self) -> None:
        served = self.served()
        for wire in [served.wire(f"203.0.113.{n}") for n in range(9)]:
            wire.hang_up()
        self.assertEqual((dict(served.site._per_address), dict(served.site._open)), ({}, {}))

    def test_trusted_proxies_are_not_counted(self) -> None:
        served = self.served(trusted_proxies=["203.0.113.9", "10.0.0.0/8", "fd00::/8"])
        for peer in ("203.0.113.9", "10.2.3.4", "fd00::1%eth0"):
            self.assertFalse(any(served.wire(peer).aborted for _ in range(5)), peer)
        self.assertTrue(any(served.wire("203.0.113.10").aborted for _ in range(5)))

    def test_a_proxys_header_names_who_is_counted(self) -> None:
        served = self.served()
        for number in range(5):
            wire = served.wire("10.0.0.1")
            wire.transport.peerAddr = type(wire.transport.peerAddr)("TCP", "203.0.113.9", 1)
            self.assertEqual(wire.feed(post())[9:12], b"200" if number < 3 else b"")
            self.assertEqual(wire.aborted, number >= 3)
        self.assertEqual(dict(served.site._per_address), {"203.0.113.9": 3})

    def test_the_log_is_told_once_a_minute(self) -> None:
        served = self.served()
        with capturedLogs() as log:
            for _ in range(50):
                served.wire()
            served.clock.advance(61)
            served.wire()
        self.assertEqual([event["refused"] for event in log if "refused" in event], [1, 47])

    def test_a_socket_that_takes_the_connection_over_is_still_counted(self) -> None:
        served = self.served()
        wire = served.wire()
        socket = Protocol()
        wire.protocol._protocolUpgradeForWebsockets(socket)
        self.assertEqual(served.site._per_address["203.0.113.9"], 1)
        wire.hang_up()
        self.assertEqual(dict(served.site._per_address), {})


class AtTheEnd(WebTestCase):
    def test_draining_closes_what_waits_and_lets_the_rest_be_answered(self) -> None:
        served = self.serve(waits=True)
        resting, busy, sending = served.wire(), served.wire(), served.wire()
        busy.feed(post(b"1"))
        sending.feed(head(1))
        served.site.drain()
        self.assertEqual([wire.closed for wire in (resting, busy, sending)], [True, False, False])
        sending.feed(b"2")
        for wire, pending in zip((busy, sending), served.intake.pending, strict=True):
            pending.callback(WebhookResponse(body=FOUND))
            ((status, headers, _),) = answers_in(wire.take())
            self.assertEqual((status, headers[b"connection"]), (200, b"close"))
            self.assertTrue(wire.closed)

    def test_abort_ends_all(self) -> None:
        served = self.serve(waits=True)
        resting, busy = served.wire(), served.wire()
        busy.feed(post(b"1"))
        served.site.abort()
        self.assertTrue(resting.aborted and busy.aborted)

    def test_only_the_protocol_with_limits_is_offered(self) -> None:
        self.assertEqual(self.serve().site.acceptableProtocols(), [b"http/1.1"])
