"""What `klein_channels.web` answers at which URL, and what it hands on."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from treq.testing import StubTreq
from twisted.internet.defer import CancelledError
from twisted.logger import LogLevel, capturedLogs
from twisted.web.resource import Resource
from twisted.web.server import Site as ForeignSite

from klein_channels.errors import ConfigError
from klein_channels.model import WebhookResponse
from klein_channels.secret import Secret
from klein_channels.web import Request, Webhooks
from tests.web_wire import (
    FOUND,
    NamedChannel,
    RecordingIntake,
    Served,
    WebTestCase,
    Wire,
    answers_in,
    post,
    request,
    status_of,
)

SHORT_WAY = "/app/webhook"
LONG_WAY = "/app/webhook/"  # the router takes it, the table of exact paths does not
BOTH_WAYS = (SHORT_WAY, LONG_WAY)


class Urls(WebTestCase):
    def test_each_channel_has_its_urls(self) -> None:
        served = self.serve(NamedChannel("facebook"), NamedChannel("my-bot_2"))
        for path in ("/app/my-bot_2/webhook", "/webhooks/my-bot_2/webhook"):
            self.assertEqual(status_of(served.ask(post(path=path))), 200)
            self.assertEqual(status_of(served.ask(request(f"GET {path}"))), 200)
        self.assertEqual([name for name, _ in served.intake.taken], ["my-bot_2"] * 4)

    def test_the_prefix_alone_is_the_default_channels(self) -> None:
        served = self.serve(NamedChannel("first"), NamedChannel("second"), default="second")
        served.ask(post())
        self.assertEqual(served.intake.taken[0][0], "second")

    def test_without_a_default_the_prefix_alone_is_nobodys(self) -> None:
        served = self.serve(NamedChannel("first"), default=None)
        self.assertEqual(status_of(served.ask(post())), 404)

    def test_a_service_may_live_at_the_root(self) -> None:
        served = self.serve(prefix="")
        for path in ("/webhook", "/facebook/webhook", "/webhooks/facebook/webhook"):
            self.assertEqual(status_of(served.ask(post(path=path))), 200, path)
        self.assertEqual(answers_in(served.ask(request("GET /")))[0][2], b'{"status":"ok"}')

    def test_an_unknown_path_has_a_small_answer(self) -> None:
        served = self.serve()
        for target in (
            "/",
            "/app/nobody/webhook",
            "/app//webhook",
            "/app/a%2Fb/webhook",
            "http://x/app/webhook",
        ):
            status, _, body = answers_in(served.ask(request(f"GET {target}")))[0]
            self.assertEqual((status, body), (404, b"Not Found"), target)
        self.assertEqual(served.intake.taken, [])

    def test_other_methods_are_refused(self) -> None:
        served = self.serve()
        for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "TRACE", "get"):
            head = served.ask(request(f"{method} /app/webhook")).split(b"\r\n\r\n")[0]
            self.assertEqual(status_of(head), 405, method)
            self.assertIn(b"Allow: GET, POST", head)
        self.assertEqual(served.intake.taken, [])

    def test_a_percent_encoded_path_reaches_its_channel(self) -> None:
        served = self.serve()
        self.assertEqual(status_of(served.ask(post(path="/app/f%61cebook/webhook"))), 200)
        self.assertEqual(served.intake.requests[0].path, "/app/f%61cebook/webhook")

    def test_odd_requests_are_refused_without_a_word_in_the_log(self) -> None:
        served = self.serve()
        with capturedLogs() as log:
            for odd in (
                request("GET /%ff"),
                request("GET /app/", "Host: a..b\r\n"),
                request("GET /app/", "Host: \xff\xfe\r\n"),
                post(path="/app/webhook").replace(b"/app", b"/%C3"),
            ):
                self.assertEqual(status_of(served.ask(odd)), 400)
        self.assertEqual([event for event in log if event["log_level"] > LogLevel.info], [])

    def test_names_that_make_no_url_are_refused(self) -> None:
        for settings_ in (
            {"prefix": "/<any>"},
            {"prefix": "/a b"},
            {"default": "nobody"},
            {"prefix": "/webhooks/other"},
        ):
            with self.assertRaises(ConfigError):
                self.serve(NamedChannel("facebook"), NamedChannel("other"), **settings_)
        for name in ("", "Upper", "a/b", "<x>", "é"):
            with self.assertRaises(ConfigError):
                self.serve(NamedChannel(name), default=None)
        with self.assertRaises(ConfigError):
            self.serve(NamedChannel("twice"), NamedChannel("twice"), default=None)

    def test_both_ways_know_the_same_urls(self) -> None:
        served = self.serve(NamedChannel("facebook"), NamedChannel("b"), prefix="x/y/")
        for path in served.web.webhook_urls:
            self.assertEqual(status_of(served.ask(post(path=path))), 200)
            self.assertEqual(status_of(served.ask(post(path=path + "/"))), 200)
        self.assertEqual(len(served.intake.taken), 2 * 5)


class Health(WebTestCase):
    PATHS = ("/app/", "/app", "/webhooks/facebook/", "/health/live", "/app/health/live", "/health/ready")

    def test_a_service_that_works_says_so(self) -> None:
        served = self.serve()
        for path in self.PATHS:
            status, headers, body = answers_in(served.ask(request(f"GET {path}")))[0]
            self.assertEqual((status, body), (200, b'{"status":"ok"}'), path)
            self.assertEqual(headers[b"content-type"], b"application/json")

    def test_a_service_that_cannot_work_says_why(self) -> None:
        served = self.serve(ready=lambda: ["the store is gone"])
        for path in ("/health/ready", "/app/health/ready"):
            status, _, body = answers_in(served.ask(request(f"GET {path}")))[0]
            self.assertEqual(status, 503)
            self.assertEqual(body, b'{"status":"unavailable","reasons":["the store is gone"]}')
        self.assertEqual(status_of(served.ask(request("GET /health/live"))), 200)

    def test_reasons_show_no_secret(self) -> None:
        password = Secret("hunter2-hunter2")
        served = self.serve(ready=lambda: [f"postgresql://u:{password.reveal()}@db"])
        self.assertNotIn(b"hunter2", served.ask(request("GET /health/ready")))

    def test_head_is_get_without_a_body(self) -> None:
        head, _, body = self.serve().ask(request("HEAD /app/health/live")).partition(b"\r\n\r\n")
        self.assertIn(b"Content-Length: 15", head)
        self.assertEqual(body, b"")

    def test_a_check_that_raises_is_a_plain_500(self) -> None:
        def broken() -> list[str]:
            raise RuntimeError("details")

        answer = self.serve(ready=broken).ask(request("GET /health/ready"))
        self.assertEqual(answers_in(answer)[0][::2], (500, b"Internal Server Error"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class WhatIsHandedOn(WebTestCase):
    def test_the_request_is_handed_on_as_it_came(self) -> None:
        for path in BOTH_WAYS:
            served = self.serve()
            served.clock.advance(1_700_000_000.5)
            headers = "X-Sig: one\r\nx-other:  two \r\nX-SIG: three\r\n"
            served.ask(post(b"\x00\xff raw", f"{path}?a=%41&b=&a=c?d", headers))
            taken = served.intake.requests[0]
            self.assertEqual((taken.method, taken.path, taken.query), ("POST", path, "a=%41&b=&a=c?d"))
            self.assertEqual(taken.url, f"https://bot.example{path}?a=%41&b=&a=c?d")
            self.assertEqual(taken.header_values(b"x-sig"), [b"one", b"three"])
            self.assertEqual(taken.header_values(b"x-other"), [b"two"])
            self.assertEqual((taken.body, taken.client), (b"\x00\xff raw", "203.0.113.9"))
            self.assertEqual(taken.received_at, 1_700_000_000.5)

    def test_the_url_never_comes_from_the_host_header(self) -> None:
        served = self.serve(public_url="https://bot.example/behind/")
        served.ask(post(headers="X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\n"))
        self.assertEqual(served.intake.requests[0].url, "https://bot.example/behind/app/webhook")

    def test_a_form_is_not_parsed(self) -> None:
        form = b"a=1&" * 1000
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            served = self.serve()
            answer = served.ask(post(form, headers=f"Content-Type: {kind}\r\n"))
            self.assertEqual(status_of(answer), 200)  # Twisted would refuse this multipart body
            self.assertEqual(served.intake.bodies, [form])

    def test_a_body_in_chunks_is_put_together(self) -> None:
        served = self.serve()
        head = b"POST /app/webhook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        self.assertEqual(status_of(served.ask(head + b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")), 200)
        self.assertEqual(served.intake.bodies, [b"abcde"])

    def test_a_long_body_is_whole(self) -> None:
        body = bytes(range(256)) * 2000
        served = self.serve()
        served.ask(post(body))
        self.assertEqual(served.intake.bodies, [body])

    @given(body=st.binary(max_size=300), cuts=st.lists(st.integers(0, 400), max_size=6))
    @settings(deadline=None, derandomize=True, max_examples=60)
    def test_it_does_not_matter_how_the_network_cuts(self, body: bytes, cuts: list[int]) -> None:
        served = self.serve()
        wire, data = served.wire(), post(body) + post(body[::-1])
        edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
        sent = b"".join(wire.feed(data[a:b]) for a, b in itertools.pairwise(edges) if a < b)
        self.assertEqual(served.intake.bodies, [body, body[::-1]])
        self.assertEqual([status for status, _, _ in answers_in(sent)], [200, 200])


class Answers(WebTestCase):
    def answer(self, response: Any, path: str = SHORT_WAY) -> bytes:
        served = self.serve()
        served.intake.answer = response
        return served.ask(post(path=path))

    def test_status_headers_and_body_are_those_of_intake(self) -> None:
        response = WebhookResponse(
            status=503,
            body=b"later",
            content_type="text/x; charset=utf-8",
            headers=((b"Retry-After", b"7"), (b"X-A", b"1"), (b"X-A", b"2"), (b"Content-Length", b"99")),
        )
        for path in BOTH_WAYS:
            answer = self.answer(response, path)
            self.assertEqual(answer.count(b"X-A: "), 2)
            self.assertEqual(answer.count(b"Content-Length: "), 1)
            status, headers, body = answers_in(answer)[0]
            self.assertEqual((status, body, headers[b"retry-after"]), (503, b"later", b"7"))
            self.assertEqual(headers[b"content-type"], b"text/x; charset=utf-8")

    def test_no_answer_is_chunked(self) -> None:
        for response in (WebhookResponse(), WebhookResponse(status=404), WebhookResponse(status=418)):
            for path in BOTH_WAYS:
                answer = self.answer(response, path)
                self.assertIn(b"Content-Length: 0\r\n", answer)
                self.assertNotIn(b"chunked", answer)

    def test_no_content_has_no_length(self) -> None:
        for path in BOTH_WAYS:
            answer = self.answer(WebhookResponse(status=204, body=b"x"), path)
            self.assertNotIn(b"Content-Length", answer)
            self.assertTrue(answer.endswith(b"\r\n\r\n"))

    def test_an_unknown_error_is_logged_once_and_tells_nothing(self) -> None:
        for path in BOTH_WAYS:
            status, _, body = answers_in(self.answer(ValueError("details"), path))[0]
            self.assertEqual((status, body), (500, b"Internal Server Error"))
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_an_answer_that_cannot_be_written_is_a_500(self) -> None:
        for path in BOTH_WAYS:
            answer = self.answer(WebhookResponse(content_type="text/\N{SNOWMAN}"), path)
            self.assertEqual(answers_in(answer)[0][0], 500)
            self.assertEqual(len(self.flushLoggedErrors(UnicodeEncodeError)), 1)

    def test_an_answer_that_comes_late_goes_out_then(self) -> None:
        for path in BOTH_WAYS:
            served = self.serve(waits=True)
            wire = served.wire()
            self.assertEqual(wire.feed(post(path=path)), b"")
            served.intake.pending[0].callback(WebhookResponse(body=FOUND))
            self.assertEqual(answers_in(wire.take())[0][2], FOUND)

    def test_a_failure_that_comes_late_is_a_500(self) -> None:
        for path in BOTH_WAYS:
            served = self.serve(waits=True)
            wire = served.wire()
            wire.feed(post(path=path))
            served.intake.pending[0].errback(ValueError("details"))
            self.assertEqual(status_of(wire.take()), 500)
            self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_a_commit_that_was_given_up_is_a_503(self) -> None:
        for path in BOTH_WAYS:
            served = self.serve(waits=True)
            wire = served.wire()
            wire.feed(post(path=path))
            served.intake.pending[0].errback(CancelledError())
            status, headers, _ = answers_in(wire.take())[0]
            self.assertEqual((status, b"retry-after" in headers), (503, True))


class TheClientThatHangsUp(WebTestCase):
    def left(self, path: str) -> tuple[Served, Wire]:
        served = self.serve(waits=True)
        wire = served.wire()
        wire.feed(post(path=path))
        wire.hang_up()
        return served, wire

    def test_nothing_is_written_and_nothing_is_logged(self) -> None:
        for path in BOTH_WAYS:
            with capturedLogs() as log:
                served, wire = self.left(path)
                if not served.intake.pending[0].called:
                    served.intake.pending[0].callback(WebhookResponse(body=FOUND))
            self.assertEqual(wire.take(), b"")
            self.assertEqual([event for event in log if event["log_level"] > LogLevel.info], [])
            self.assertEqual(len(served.intake.taken), 1)

    def test_a_failure_is_logged_even_then(self) -> None:
        served, wire = self.left(SHORT_WAY)
        served.intake.pending[0].errback(ValueError("details"))
        self.assertEqual(wire.take(), b"")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)


class InAForeignTree(WebTestCase):
    def setUp(self) -> None:
        self.a, self.b = RecordingIntake(), RecordingIntake()
        deep, root = Resource(), Resource()
        root.putChild(b"a", self.service(self.a).resource())
        root.putChild(b"very", deep)
        deep.putChild(b"deep", self.service(self.b, prefix="").resource())
        self.root = root

    def service(self, intake: RecordingIntake, prefix: str = "/app") -> Webhooks:
        channels = [NamedChannel("facebook")]
        return Webhooks(
            intake, channels, now=lambda: 0.0, default="facebook", prefix=prefix, public_url="https://x"
        )

    def test_two_services_live_at_two_depths(self) -> None:
        web = StubTreq(self.root)
        for url in ("http://h/a/app/webhook?q=1", "http://h/very/deep/facebook/webhook"):
            answer = self.successResultOf(web.post(url, data=b"{}"))
            self.assertEqual(self.successResultOf(web.content(answer)), FOUND)
            self.assertEqual(answer.length, len(FOUND))
        self.assertEqual([r.url for r in self.a.requests], ["https://x/a/app/webhook?q=1"])
        self.assertEqual([r.url for r in self.b.requests], ["https://x/very/deep/facebook/webhook"])
        self.assertEqual(self.successResultOf(web.get("http://h/very/deep/")).code, 200)
        self.assertEqual(self.successResultOf(web.get("http://h/a/nothing")).code, 404)

    def warnings(self, *factory: Any) -> list[str]:
        site = ForeignSite(self.root, *factory, timeout=None)
        with capturedLogs() as log:
            for _ in range(3):
                Wire(site).feed(post(path="/a/app/webhook"))
        return [event["lacks"] for event in log if "lacks" in event]

    def test_it_says_once_which_limits_the_site_lacks(self) -> None:
        (lacks,) = self.warnings()
        for limit in ("deadlines", "connections", "requestFactory"):
            self.assertIn(limit, lacks)

    def test_a_site_with_our_requests_lacks_less(self) -> None:
        (lacks,) = self.warnings(Request)
        self.assertIn("deadlines", lacks)
        self.assertNotIn("requestFactory", lacks)

    def test_a_site_of_ours_lacks_nothing(self) -> None:
        served = self.serve()
        with capturedLogs() as log:
            served.ask(request("GET /app/"))
        self.assertEqual([event for event in log if "lacks" in event], [])

    def test_our_site_may_serve_the_tree(self) -> None:
        root = Resource()
        served = self.serve()
        root.putChild(b"other", Resource())
        root.putChild(b"app", served.web.resource())
        site = served.web.site(served.clock, root=root)
        self.assertEqual(status_of(Wire(site).feed(post())), 200)


class AccessLog(WebTestCase):
    def test_there_is_none_unless_it_is_wanted(self) -> None:
        served = self.serve()
        with capturedLogs() as log:
            served.site.startFactory()
            self.addCleanup(served.site.stopFactory)
            served.ask(post())
        self.assertEqual(log, [])
        served.end()
        self.assertEqual(served.clock.getDelayedCalls(), [])

    def test_it_hides_secrets(self) -> None:
        token = Secret("123456:telegram-token")
        served = self.serve(site={"access_log": True})
        lines: list[str] = []
        served.site.startFactory()
        self.addCleanup(served.site.stopFactory)
        served.site._logFile = type("Lines", (), {"write": lambda _, line: lines.append(line)})()
        served.ask(post(path=f"/app/webhook?token={token.reveal()}"))
        served.site._logFile = None
        self.assertIn("POST /app/webhook?token=[secret]", lines[0])
