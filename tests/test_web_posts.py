"""POSTs that are read at a glance: they are understood as twisted.web understands them in pieces."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from hypothesis import example, given, settings
from hypothesis import strategies as st

from klein_channels.model import WebhookResponse
from klein_channels.policy import Policy
from klein_channels.web import limits
from klein_channels.web.posts import answer_to_post, read_post
from tests.web_wire import FOUND, Served, WebTestCase, answers_in, post, status_of

_NAMES = "Host|host|X-Hub-Signature-256|x-empty|Cookie|Accept|Connection|Content-Length|Transfer-Encoding"
_ODD_NAMES = "Expect|Upgrade|bad name|ümlaut||X-A | X-Continued"
_VALUES = "x|| two  words |keep-alive|close|Keep-Alive|0|2|02|+2|2 |chunked|identity|100-continue|websocket"
_ODD_VALUES = "a\tb|\x0cform|ü|nul\x00|bare\rcr"
_TARGETS = "/app/webhook|/app/webhook?a=b&a=%20|/app/webhook?|/app/webhook/|/app/webhook#x|/app/webhook?ü"
_ODD_TARGETS = "*|/app/%77ebhook|http://x/app/webhook|/app/webhook x"
_LINES = "POST {} HTTP/1.1|POST {} HTTP/1.0|post {} HTTP/1.1|POST  {} HTTP/1.1|PUT {} HTTP/1.1"
_ODD_LINES = "POST {} HTTP/1.1 |POST {} HTTP/2.0|GET {} HTTP/1.1"


def one_of(*lists: str) -> st.SearchStrategy[str]:
    return st.sampled_from([word for words in lists for word in words.split("|")])


_headers = st.lists(st.tuples(one_of(_NAMES, _ODD_NAMES), one_of(_VALUES, _ODD_VALUES)), max_size=4)
_targets = one_of(_TARGETS, _ODD_TARGETS)
_lines = one_of(_LINES, _ODD_LINES)


def outcome(served: Served, *pieces: bytes) -> tuple[Any, ...]:
    """What the intake was given, without the order of its headers, and what the client was answered."""
    wire = served.wire()
    answers = b"".join(wire.feed(piece) for piece in pieces)
    requests = [
        (r.method, r.path, r.query, sorted(r.headers), r.body, r.url, r.client)
        for r in served.intake.requests
    ]
    heads = [
        (status, {k: v for k, v in headers.items() if k != b"date"}, body)
        for status, headers, body in answers_in(answers.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b""))
    ]
    return requests, heads, wire.closed


def bytewise(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


class OneOpinion(WebTestCase):
    @given(_lines, _targets, _headers, st.sampled_from(["2", "0", "3", None]), st.sampled_from([b"{}", b""]))
    @example("POST {} HTTP/1.1", "/app/webhook", [("Host", "x")], "2", b"{}")
    @settings(max_examples=150, deadline=None)
    def test_whole_or_byte_by_byte_is_the_same(
        self, line: str, target: str, headers: Any, length: str | None, body: bytes
    ) -> None:
        more = [*headers, ("Content-Length", length)] if length is not None else headers
        head = "\r\n".join([line.format(target), *(f"{name}: {value}" for name, value in more)])
        data = head.encode("latin-1") + b"\r\n\r\n" + body
        whole, pieces = self.serve(), self.serve()
        self.assertEqual(outcome(whole, data), outcome(pieces, *bytewise(data)))
        for served in (whole, pieces):
            served.end()

    def test_it_is_the_short_way_that_is_taken(self) -> None:
        served = self.serve()
        with patch.object(limits.HTTPChannel, "lineReceived") as parser:
            self.assertEqual(status_of(served.ask(post(b"{}", headers="Connection: Keep-Alive\r\n"))), 200)
            parser.assert_not_called()
            served.ask(post(b"{}", path="/app/webhook/"))
            parser.assert_called()

    def test_with_an_access_log_all_are_written_there(self) -> None:
        served = self.serve(site={"access_log": True})
        self.assertIsNone(served.site.hot_limit(b"/app/webhook"))
        self.assertEqual(self.serve().site.hot_limit(b"/app/webhook"), Policy().max_body)

    def test_heads_at_their_limits(self) -> None:
        for count, size in ((499, 1), (502, 1), (2, 16_000), (2, 17_000)):
            with self.subTest(count=count, size=size):
                lines = "".join(f"X-{number}: {'v' * size}\r\n" for number in range(count))
                data = post(b"{}", headers=lines[: 40_000 if size > 1 else None])
                whole, pieces = self.serve(), self.serve()
                self.assertEqual(outcome(whole, data), outcome(pieces, data[:30], data[30:]))


class Connections(WebTestCase):
    def test_what_comes_behind_waits_its_turn(self) -> None:
        served = self.serve(waits=True)
        wire = served.wire()
        wire.feed(post(b"1") + post(b"2")[:20])
        wire.feed(post(b"2")[20:] + post(b"3"))
        for number, body in enumerate((b"1", b"2", b"3"), 1):
            self.assertEqual((len(served.intake.bodies), served.intake.bodies[-1]), (number, body))
            self.assertEqual(wire.take(), b"")
            served.intake.pending[-1].callback(WebhookResponse(body=body))
            self.assertEqual([found for _, _, found in answers_in(wire.take())], [body])

    def test_thousands_in_one_piece_are_answered(self) -> None:
        served = self.serve()
        self.assertEqual(len(answers_in(served.ask(post() * 3000))), 3000)

    def test_an_answer_to_nobody_is_not_written(self) -> None:
        served = self.serve(waits=True)
        wire = served.wire()
        wire.feed(post())
        wire.hang_up()
        served.intake.pending[0].callback(WebhookResponse())
        self.assertEqual((wire.take(), served.intake.cancelled), (b"", 0))

    def test_the_last_answer_of_a_connection_says_so(self) -> None:
        served = self.serve(waits=True)
        wire = served.wire()
        wire.feed(post())
        served.site.drain()
        served.intake.pending[0].callback(WebhookResponse(body=FOUND))
        ((status, headers, body),) = answers_in(wire.take())
        self.assertEqual((status, headers[b"connection"], body), (200, b"close", FOUND))
        self.assertTrue(wire.closed)

    def test_a_client_that_waits_has_no_deadline(self) -> None:
        served = self.serve(waits=True)
        wire = served.wire()
        wire.feed(post())
        served.pass_time(120)
        self.assertFalse(wire.closed)
        served.intake.pending[0].callback(WebhookResponse())
        served.pass_time(Policy().idle_timeout + 2)
        self.assertTrue(wire.closed)


class Heads(WebTestCase):
    def test_no_header_breaks_out_of_its_line(self) -> None:
        answer = answer_to_post(
            WebhookResponse(headers=((b"X-A", b"1\r\nX-B: 2"), (b"content-length", b"99"))), 0.0, last=False
        )
        ((_, headers, _),) = answers_in(answer)
        self.assertEqual((headers[b"x-a"], headers[b"content-length"]), (b"1 X-B: 2", b"0"))
        self.assertNotIn(b"x-b", headers)

    def test_the_date_is_that_of_the_answer(self) -> None:
        for now, date in ((0.9, b"00:00:00"), (1.0, b"00:00:01")):
            self.assertIn(date, answer_to_post(WebhookResponse(), now, last=False))

    def test_a_path_that_is_not_hot_is_left(self) -> None:
        self.assertIsNone(read_post(post(), lambda path: None))
        found = read_post(post(b"12345") + b"more", {b"/app/webhook": 5}.get)
        assert found is not None
        self.assertEqual((found.body, found.rest), (b"12345", b"more"))
        self.assertIsNone(read_post(post(b"123456"), {b"/app/webhook": 5}.get))
