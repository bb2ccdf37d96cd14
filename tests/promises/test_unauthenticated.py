"""Nothing unauthenticated touches an agent, the store, or the text of the log."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from klein_channels.secret import Secret
from klein_channels.signatures import hub_signature
from klein_channels.testing.memory import HOOK, SECRET, messenger, webhook

from .case import HeldAgent, PromiseCase, written

CANARY = "canary-of-a-stranger"
TABLES = ("seen", "inbox", "conversation", "turn", "outbox")


def signature(body, secret=SECRET, method="sha256"):
    return hub_signature(body, Secret(secret), method)


class UnauthenticatedTests(PromiseCase):
    def setUp(self):
        self.agent = HeldAgent()
        self.seen = []

    def serve(self, **settings):
        return super().serve(self.agent, observers=[self.seen.append], **settings)

    def body(self, kit):
        return webhook(kit.item(f"m_{CANARY}", message={"text": CANARY}))

    def assert_untouched(self, kit, asked, statuses=(403,)):
        kit.advance(5)
        self.assertIn(asked.status, statuses)
        self.assertNotIn(CANARY.encode(), asked.answer)
        self.assertEqual((self.agent.asked, self.seen), ([], []))
        for table in TABLES:
            self.assertEqual(kit.rows(f"SELECT * FROM {table}"), [], table)

    def test_no_signature_and_every_wrong_one(self):
        kit = self.serve()
        body = self.body(kit)
        right = signature(body)
        changes = disk_changes(kit)
        with self.captured() as logged:
            for wrong in (
                "",
                "sha256=",
                f"sha256={CANARY}",
                right[:-1],
                right + "0",
                right.upper(),
                right[7:],
                "sha1=" + right[7:],
                signature(body, "another secret"),
                signature(body + b" "),
                signature(body[:-1]),
                signature(b""),
            ):
                asked = kit.ask(body, signature=wrong, headers=f"X-Stranger: {CANARY}\r\n")
                self.assert_untouched(kit, asked)
        self.assertTrue(logged)
        self.assertNotIn(CANARY, written(logged))
        self.assertEqual(disk_changes(kit), changes)

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(st.binary(max_size=200), st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=90))
    @example(b"", "sha256=" + "0" * 64)
    @example(b"{}", "sha256=" + "%s" * 32)
    def test_garbage(self, body, given_signature):
        kit = self.serve()
        asked = kit.ask(CANARY.encode() + body, signature=given_signature)
        self.assert_untouched(kit, asked, statuses=(400, 403))
        self.end(kit)

    def test_two_signatures_that_differ(self):
        kit = self.serve()
        body = self.body(kit)
        for first, second in ((signature(body), "sha256=0"), ("sha256=0", signature(body))):
            asked = kit.ask(body, signature=first, headers=f"X-Hub-Signature-256: {second}\r\n")
            self.assert_untouched(kit, asked)

    def test_the_weaker_signature_alone(self):
        kit = self.serve()
        body = self.body(kit)
        weak = f"X-Hub-Signature: {signature(body, method='sha1')}\r\n"
        self.assert_untouched(kit, kit.ask(body, signature="", headers=weak))

    def test_a_body_that_was_changed_on_the_way(self):
        kit = self.serve()
        body = self.body(kit)
        changed = body.replace(b"sender", b"Sender")
        self.assert_untouched(kit, kit.ask(changed, signature=signature(body)))

    def test_a_handshake_without_the_token(self):
        kit = self.serve()
        for token in ("", CANARY, "verify-token-of-test", "verify-token-of-tests2"):
            query = f"hub.mode=subscribe&hub.challenge={CANARY}&hub.verify_token={token}"
            with self.captured() as logged:
                asked = kit.raw(f"GET {HOOK}?{query} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                self.assert_untouched(kit, asked)
            self.assertNotIn(CANARY, written(logged))

    def test_other_urls_headers_and_methods(self):
        kit = self.serve()
        with self.captured() as logged:
            for line in (
                f"POST /{CANARY}",
                f"DELETE {HOOK}",
                f"GET /app/{CANARY}/webhook",
                f"PUT {HOOK}?{CANARY}",
            ):
                head = f"{line} HTTP/1.1\r\nHost: {CANARY}.test\r\nUser-Agent: {CANARY}\r\n"
                asked = kit.raw(f"{head}Content-Length: 0\r\n\r\n".encode())
                self.assert_untouched(kit, asked, statuses=(403, 404, 405))
        self.assertNotIn(CANARY, written(logged))

    def test_debug_mode_checks_no_less(self):
        kit = self.serve(channel=messenger(debug_mode=True))
        body = self.body(kit)
        with self.captured() as logged:
            for wrong in ("", "sha256=0", signature(body, "another secret")):
                self.assert_untouched(kit, kit.ask(body, signature=wrong))
        self.assertNotIn(CANARY, written(logged))

    def test_a_flood_leaves_a_few_lines(self):
        kit = self.serve()
        with self.captured() as logged:
            for number in range(300):
                kit.ask(b"x", signature=f"sha256={number}")
            kit.settle()
        self.assertLess(len(logged), 5)

    def test_a_flood_keeps_nobody_else_away(self):
        kit = self.serve()
        for number in range(300):
            kit.ask(b"x", signature=f"sha256={number}")
        kit.message("hi")
        self.assertEqual(self.agent.asked, ["hi"])


def disk_changes(kit):
    return kit.disk.connections[0].total_changes
