"""What comes in: who is believed, and what is read, whatever the bytes are."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import msgspec

from ..channel import Channel
from ..errors import MalformedWebhook
from ..intake import conversation_key, dedupe_key
from ..model import AnyEvent, WebhookRequest, WebhookResponse, from_json, to_json
from .contract_subject import Subject, without
from .hostile import bodies_like, for_all, st, strange_requests


class InboundContract(Subject):
    """The promises of `verify` and `parse`."""

    def test_what_is_authentic_is_believed_and_read(self) -> None:
        """Each of `accepted()` passes, and there are events in them."""
        channel, found = self.make_channel(), 0
        for request in self.accepted():
            self.assertTrue(self.believed(request, channel), _named(request))
            found += len(self.events_of(channel, request))
        self.assertGreater(found, 0)

    def test_what_is_not_authentic_is_refused(self) -> None:
        """Each of `refused()` is refused with a status of 4xx and a line that tells no secret."""
        for request in self.refused():
            self.assertFalse(self.believed(request), _named(request))

    def test_no_request_whatever_is_an_accident_or_believed(self) -> None:
        """`verify` raises `VerificationError` alone, and does for whatever nobody has signed."""
        channel = self.make_channel()

        def check(request: WebhookRequest) -> None:
            believed = self.believed(request, channel)
            self.assertFalse(believed and self.proof_headers, _named(request))

        for_all(check, strange_requests(self.accepted()), examples=200)

    def test_a_proof_counts_only_whole_and_once(self) -> None:
        """A proof that is missing, empty, cut, not ASCII, or contradicted by a double is refused."""
        channel = self.make_channel()
        for request in self._some_signed():
            for name in self.proof_headers:
                [right] = request.header_values(name)
                rest = without(request, name)
                wrong: list[tuple[bytes, ...]] = [(), (b"",), (right[:-1],), (right + b"x",), (right, b"x")]
                wrong += [(b"x", right), (right, b""), (b"\xff" + right[1:],), ("é".encode(),), (b"\0",)]
                for values in wrong:
                    headers = (*rest.headers, *((name, value) for value in values))
                    forged = msgspec.structs.replace(request, headers=headers)
                    self.assertFalse(self.believed(forged, channel), f"{name!r}: {values!r}")

    def test_another_body_is_not_believed(self) -> None:
        """One changed byte anywhere, or one more or less, takes the proof away."""
        if not self.signs_body:
            return
        channel, signed = self.make_channel(), self._some_signed()

        def check(request: WebhookRequest, place: int, change: int) -> None:
            body = bytearray(request.body)
            body[place % len(body)] ^= change
            for other in (bytes(body), request.body + b" ", request.body[:-1]):
                forged = msgspec.structs.replace(request, body=other)
                self.assertFalse(self.believed(forged, channel), _named(forged))

        for_all(check, st.sampled_from(signed), st.integers(0, 1 << 20), st.integers(1, 255))

    def test_every_authentic_body_is_events_or_malformed(self) -> None:
        """`parse` raises `MalformedWebhook` alone, for every body; what it reads can be stored."""
        channel = self.make_channel()

        def check(body: bytes) -> None:
            request = self.signed(body)
            self.assertTrue(self.believed(request, channel), _named(request))
            try:
                self.events_of(channel, request)
            except MalformedWebhook as error:
                self.assert_tells_no_secret(str(error))

        for_all(check, bodies_like(self.bodies()), examples=400)

    def test_a_redelivery_has_the_same_keys(self) -> None:
        """The same bytes give the same events in every process, whenever they come and from where."""
        for body in self.bodies():
            first, again = self.signed(body), self.signed(body)
            again = msgspec.structs.replace(again, received_at=self.now + 3600, client="203.0.113.77")
            one, other = self.make_channel(), self.make_channel()
            try:
                events, repeated = self.events_of(one, first), self.events_of(other, again)
            except MalformedWebhook:
                continue
            self.assertEqual([e.id for e in events], [e.id for e in repeated], _named(first))
            self.assertEqual(_keys(one, events), _keys(other, repeated), _named(first))

    def test_different_events_have_different_keys(self) -> None:
        """What is told by two of `different()` is never taken for one."""
        channel, kinds = self.make_channel(), Counter[str]()
        seen: dict[bytes, bytes] = {}
        for body in self.different():
            events = self.events_of(channel, self.signed(body))
            kinds.update({event.kind for event in events})
            for key in set(_keys(channel, events)):
                self.assertEqual(seen.setdefault(key, body), body, "two events have one key")
        self.assertTrue(any(number > 1 for number in kinds.values()), "different() has no two of one kind")

    # What the checks share

    def _some_signed(self) -> list[WebhookRequest]:
        signed = [self.signed(body) for body in list(self.bodies())[:3]]
        self.assertTrue(signed and all(request.body for request in signed), "bodies() has nothing in it")
        return signed

    def events_of(self, channel: Channel, request: WebhookRequest) -> Sequence[AnyEvent]:
        """The events of an authentic request, each of which is in order."""
        received = channel.parse(request)
        if received.response is not None:
            self.assertIsInstance(received.response, WebhookResponse)
        for event in received.events:
            self.assert_event(channel, event)
        return received.events

    def assert_event(self, channel: Channel, event: AnyEvent) -> None:
        """It has an id, belongs to the channel, survives the store, and can be told to an agent."""
        self.assertIsInstance(event.id, str)
        self.assertTrue(event.id, repr(event))
        self.assertEqual(event.address.channel, channel.name)
        self.assertEqual(type(event.address).parse(str(event.address)), event.address)
        self.assertEqual(from_json(to_json(event)), event)
        for said in (event.kind, event.text, event.describe(), conversation_key(event, channel.options)):
            self.assertIsInstance(said, str)
        if event.timestamp is not None:
            self.assertTrue(math.isfinite(event.timestamp), repr(event))


def _keys(channel: Channel, events: Sequence[AnyEvent]) -> list[bytes]:
    stable = channel.capabilities.stable_timestamps
    return [dedupe_key(event, stable_timestamps=stable) for event in events]


def _named(request: WebhookRequest) -> str:
    return f"{request.method} {request.query} {request.body[:300]!r}"
