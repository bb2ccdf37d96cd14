"""Messenger's events: each has one identity, and no JSON value is too strange to be read."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import MalformedWebhook
from klein_channels.meta.events import EventReader
from klein_channels.model import AnyEvent, read_json, to_json

PAGE, PERSON = "104512345678901", "6789012345678901"
FIXTURES = Path(__file__).parent.parent / "fixtures" / "facebook"
BODIES = [json.loads(file.read_bytes())["body"] for file in sorted(FIXTURES.glob("*.json"))]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=20,
)


def read(body: Any, is_ours: Callable[[str], bool] = PAGE.__eq__) -> tuple[AnyEvent, ...]:
    return EventReader("facebook", "page", is_ours).read(body)


def read_raw(body: bytes) -> tuple[AnyEvent, ...]:
    return read(read_json(body))


def one_message(**item: Any) -> dict[str, Any]:
    item = {"sender": {"id": PERSON}, "recipient": {"id": PAGE}, "timestamp": 1790000000001, **item}
    return {"object": "page", "entry": [{"id": PAGE, "time": 1790000000123, "messaging": [item]}]}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Each (container, key) of a JSON value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        yield value, key
        yield from places(inner)


class IdentityTests(SynchronousTestCase):
    def test_a_redelivery_in_another_batch_has_the_same_id(self) -> None:
        item = {"sender": {"id": PERSON}, "recipient": {"id": PAGE}, "read": {"watermark": 1790000004000}}
        other = {"sender": {"id": "5"}, "recipient": {"id": PAGE}, "read": {"watermark": 1}}
        alone, again = one_message(**item), one_message(**other)
        again["entry"][0]["messaging"].append(dict(reversed(alone["entry"][0]["messaging"][0].items())))
        again["entry"][0]["time"] += 1
        [first], [different, second] = read(alone), read(again)
        self.assertEqual(first.id, second.id)
        self.assertNotEqual(first.id, different.id)

    def test_while_pages_are_not_known_every_page_may_be_ours(self) -> None:
        [event] = read(one_message(message={"mid": "m", "text": "x"}), is_ours=lambda _: True)
        self.assertFalse(event.observe_only)

    def test_an_echo_under_the_persons_entry_has_its_parties_in_order(self) -> None:
        body = one_message(
            sender={"id": PAGE}, recipient={"id": PERSON}, message={"mid": "m", "is_echo": True}
        )
        body["entry"][0]["id"] = PERSON  # some Instagram examples
        [event] = read(body)
        self.assertEqual((event.kind, event.address.account, event.address.peer), ("echo", PAGE, PERSON))

    def test_while_pages_are_not_known_an_echo_is_still_an_echo(self) -> None:
        body = one_message(message={"mid": "m", "text": "x", "is_echo": True})
        for swap in (False, True):
            item = body["entry"][0]["messaging"][0]
            if swap:
                item["sender"], item["recipient"] = item["recipient"], item["sender"]
            [event] = read(body, is_ours=lambda _: True)
            self.assertEqual((event.kind, event.address.account, event.address.peer), ("echo", PAGE, PERSON))


class TotalityTests(SynchronousTestCase):
    """Whatever is signed is answered 200: no JSON value makes the parser raise anything unforeseen."""

    def check(self, body: Any) -> tuple[AnyEvent, ...]:
        try:
            events = read(body)
        except MalformedWebhook:
            self.assertNotIsInstance(body, dict)
            return ()
        self.assertTrue(events)
        for event in events:
            to_json(event)
        return events

    @settings(deadline=None, derandomize=True)
    @given(JSON_VALUES)
    def test_any_json(self, value: Any) -> None:
        self.check(value)
        self.check({"object": "page", "entry": value})
        self.check({"object": "page", "entry": [value]})
        self.check({"object": "page", "entry": [{"id": PAGE, "messaging": [value], "changes": value}]})

    @settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), max_examples=300)
    @given(st.sampled_from(BODIES), st.randoms(use_true_random=False), JSON_VALUES)
    def test_real_bodies_with_one_value_exchanged(self, body: Any, random: Any, value: Any) -> None:
        mutated = copy.deepcopy(body)
        container, key = random.choice(list(places(mutated)))
        container[key] = value
        self.check(mutated)

    @settings(deadline=None, derandomize=True)
    @given(st.dictionaries(st.sampled_from(["sender", "message", "postback", "read"]), JSON_VALUES))
    def test_a_bad_item_never_spoils_its_neighbours(self, bad: dict[str, Any]) -> None:
        body = one_message(message={"mid": "m_good", "text": "hi"})
        items = body["entry"][0]["messaging"]
        before, _, after = events = self.check(
            {"object": "page", "entry": [{"id": PAGE, "messaging": [*items, bad, *items]}]}
        )
        self.assertEqual(len(events), 3)
        self.assertEqual((before.id, after.id), ("m_good", "m_good"))

    def test_bytes_that_are_no_json_are_malformed(self) -> None:
        for body in (b"", b"{", b"\xff", b"[1]", b'"x"', b"7", b"null", b"[" * 100_000, b"1" * 10_000):
            self.assertRaises(MalformedWebhook, read_raw, body)

    def test_long_and_strange_texts_are_read(self) -> None:
        text = "\U0001f468\u200d\U0001f469" * 100_000
        [event] = read(one_message(message={"mid": "m", "text": text}))
        self.assertEqual(event.text, text)
        raw = json.dumps(one_message(message={"mid": "m", "text": "Q"})).replace('"Q"', r'"\ud83d"')
        [event] = read_raw(raw.encode())
        self.assertEqual(event.text, "\ufffd")
