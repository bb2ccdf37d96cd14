"""
Bad bodies that are authentic: 200, and all of it in the store, whatever it is, and no neighbour lost.

Each of Meta's platforms stands behind the same door, on a clock, with a store of its own.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels.facebook import FacebookInput
from klein_channels.channels.instagram import InstagramInput
from klein_channels.channels.whatsapp import WhatsAppInput
from klein_channels.model import AnyEvent, CallResult, WebhookRequest, from_json
from klein_channels.secret import Secret
from klein_channels.signatures import hub_signature
from klein_channels.testing import ChannelInMemory

SECRET = "an-app-secret-of-tests"
ACCOUNT, PERSON = "104512345678901", "6789012345678901"
STRANGE: tuple[Any, ...] = (
    None,
    "",
    "x",
    0,
    -1,
    1.5,
    True,
    [],
    [None],
    [[]],
    {},
    {"a": None},
    "\x00",
    "é" * 999,
)


async def silent(event: Any) -> None:
    """Nothing to say."""


class BadInput:
    """The sentences about bad input, for one platform."""

    subject: str

    def make_channel(self) -> Any:
        """The channel."""
        raise NotImplementedError

    def envelope(self, *items: Any, account: str = ACCOUNT) -> Any:
        """A body with some items."""
        return {"object": self.subject, "entry": [{"id": account, "time": 1, "messaging": list(items)}]}

    def message(self, mid: str, text: Any = "hi", account: str = ACCOUNT) -> Any:
        """A good item."""
        parties = {"sender": {"id": PERSON}, "recipient": {"id": account}}
        return {**parties, "timestamp": 1790000000001, "message": {"mid": mid, "text": text}}

    def setUp(self) -> None:
        self.kit = ChannelInMemory(
            silent, self.make_channel(), lambda call: CallResult(outcome="answered", status=200, body=b"{}")
        )
        self.addCleanup(self.kit.kill)  # type: ignore[attr-defined]

    def stored(self: Any, body: Any) -> list[AnyEvent]:
        """What is in the store of a body that was taken."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        before = self.kit.rows("SELECT max(id) FROM inbox")[0][0] or 0
        headers = (
            (b"x-hub-signature-256", hub_signature(raw, Secret(SECRET)).encode()),
            (b"content-type", b"application/json"),
        )
        request = WebhookRequest(method="POST", path="", headers=headers, body=raw)
        self.assertEqual(self.kit.receive(request), 200, raw[:200])
        found = self.kit.rows(f"SELECT event FROM inbox WHERE id > {before} ORDER BY id")
        return [from_json(bytes(event)) for (event,) in found]  # type: ignore[misc]

    def test_an_unknown_object_is_kept_with_its_raw(self: Any) -> None:
        for subject in ("user", "permissions", "", None, 5, ["page"]):
            body = {"object": subject, "entry": [{"id": "1", "changes": [{"field": "x"}]}]}
            [event] = self.stored(body)
            self.assertEqual((event.kind, event.raw, event.observe_only), ("unknown", body, True))

    def test_a_wrong_account_is_kept_for_observers(self: Any) -> None:
        [event] = self.stored(self.envelope(self.message("m_wrong", account="999"), account="999"))
        self.assertTrue(event.observe_only)
        self.assertEqual(self.kit.turns(), [])

    def test_strange_values_in_every_place_lose_no_neighbour(self: Any) -> None:
        items, good = [], []
        for place in self.places():
            for number, strange in enumerate(STRANGE):
                good.append(f"m_{'.'.join(place)}.{number}")
                items += [self.broken(place, strange), strange, self.message(good[-1])]
        found = self.stored(self.envelope(*items))
        mids = [getattr(event, "mid", None) for event in found]
        self.assertEqual([mid for mid in mids if mid in good], good)

    def broken(self, place: tuple[str, ...], strange: Any) -> Any:
        """A message with something strange in that place."""
        item = inner = json.loads(json.dumps(self.message("m_x")))
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = strange
        return item

    def test_strange_bodies_and_envelopes_are_kept(self: Any) -> None:
        for strange in STRANGE[1::3]:
            for body in (
                strange,
                {"object": self.subject, "entry": strange},
                {"object": self.subject, "entry": [strange]},
                {"object": self.subject, "entry": [{"id": strange, "changes": strange, "standby": strange}]},
                {"object": strange, "entry": [{"id": ACCOUNT}]},
            ):
                for event in self.stored(body):
                    self.assertIn(event.kind, ("unknown", "notice"))

    def test_what_is_no_json_is_kept(self: Any) -> None:
        for raw in (b"", b"{", b"\xff\xfe", b'{"object":"page"', b"[" * 100_000, b"nonsense", b'{"a":1e999}'):
            [event] = self.stored(raw)
            self.assertEqual((event.kind, event.observe_only), ("unknown", True), raw[:20])

    def test_a_body_of_600_kb_is_a_message(self: Any) -> None:
        text = "é" * 100_000
        body = self.envelope(self.message("m_long", text))
        self.assertGreater(len(json.dumps(body)), 600_000)
        [event] = self.stored(body)
        self.assertEqual(event.text, text)

    def test_escapes_of_every_kind_are_read(self: Any) -> None:
        template = json.dumps(self.envelope(self.message("m_MID", "TEXT")))
        for number, (written, meant) in enumerate(
            (
                (r"\u00e4\u00f6", "äö"),
                (r"\u00C4\/\"\\", 'Ä/"\\'),
                (r"\ud83d\ude00", "😀"),
                (r"\ud83d", "\ufffd"),
                (r"\ude00\ud83d", "\ufffd\ufffd"),
                (r"\u0000x", None),
                (r"\n\t\b\f\r", "\n\t\b\f\r"),
                (r"\u003C\u0025\u0040", "<%@"),
                ("👨‍👩‍👧 é", "👨‍👩‍👧 é"),
            )
        ):
            raw = template.replace("m_MID", f"m_{number}").replace("TEXT", written).encode()
            [event] = self.stored(raw)
            if meant is not None:
                self.assertEqual(event.text, meant, written)

    def places(self) -> list[tuple[str, ...]]:
        """Where an item is broken."""
        return [
            ("sender",), ("recipient",), ("timestamp",), ("message",),
            ("sender", "id"), ("recipient", "id"), ("message", "mid"), ("message", "text"),
        ]  # fmt: skip


class MessengerTests(BadInput, SynchronousTestCase):
    subject = "page"

    def make_channel(self) -> FacebookInput:
        return FacebookInput("v", SECRET, page_tokens={ACCOUNT: "token"}, graph_url="https://graph.test")


class InstagramTests(BadInput, SynchronousTestCase):
    subject = "instagram"

    def make_channel(self) -> InstagramInput:
        return InstagramInput("v", SECRET, {ACCOUNT: "token"}, graph_url="https://graph.test")


class WhatsAppTests(BadInput, SynchronousTestCase):
    subject = "whatsapp_business_account"

    def make_channel(self) -> WhatsAppInput:
        return WhatsAppInput("v", SECRET, {ACCOUNT: "token"}, graph_url="https://graph.test")

    def envelope(self, *items: Any, account: str = ACCOUNT) -> Any:
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"phone_number_id": account},
            "messages": list(items),
        }
        change = {"field": "messages", "value": value}
        return {"object": self.subject, "entry": [{"id": "1", "changes": [change]}]}

    def message(self, mid: str, text: Any = "hi", account: str = ACCOUNT) -> Any:
        return {
            "from": "16505551234",
            "id": mid,
            "timestamp": "1790000000",
            "type": "text",
            "text": {"body": text},
        }

    def places(self) -> list[tuple[str, ...]]:
        return [("from",), ("id",), ("timestamp",), ("type",), ("text",), ("text", "body")]
