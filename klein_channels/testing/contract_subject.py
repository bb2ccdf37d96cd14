"""What a channel's own tests tell the contract about it: the part of `ChannelContract` to fill in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from ..channel import Channel, Steps
from ..errors import VerificationError
from ..intake import is_turn
from ..model import Address, AnyEvent, AnyPart, Call, CallResult, Outgoing, WebhookRequest
from .hostile import ONE_OF_EACH
from .platforms import Platform
from .steps import T, drive

if TYPE_CHECKING:
    from unittest import TestCase as Case
else:
    Case = object  # a mix-in: whoever imports it has not imported a test case


class Subject(Case):
    """A channel, what reaches it, and the platform behind it."""

    secrets: Sequence[str]
    """All credentials that `make_channel` gives: none may be shown."""
    base_urls: Sequence[str]
    """The addresses that the operator configures: only calls to them may have the trust ``configured``."""
    proof_headers: Sequence[bytes]
    """The headers (lower case) without which nothing of what `signed` makes is believed; () if none count."""
    signs_body: bool = True
    """Whether the proof covers the body; False for one that only shows a secret."""
    secrets_in_urls: Sequence[str] = ()
    """Those of `secrets` that the platform wants in the address of a call."""
    trigger_kinds: Sequence[str] = ("text",)
    """The kinds that `trigger` knows, if the channel has it."""
    service_settings: Mapping[str, Any] = {"prefix": "/contract"}
    """What a service around the channel is given, like `public_url` where signatures cover the address."""
    now: float = 1_790_000_000.0
    """The time at which what `signed` makes is verified."""

    # To be written

    def make_channel(self) -> Channel:
        """A new channel."""
        raise NotImplementedError

    def make_platform(self) -> Platform:
        """A new platform as a function, which judges calls as the real one does; see `served`."""
        raise NotImplementedError

    def bodies(self) -> Sequence[bytes]:
        """Bodies of webhooks, one of every kind; the first that an agent answers is used for talking."""
        raise NotImplementedError

    def signed(self, body: bytes) -> WebhookRequest:
        """A webhook with any `body` whatever, as the platform would send it at `now`."""
        raise NotImplementedError

    # To be extended

    def accepted(self) -> Sequence[WebhookRequest]:
        """Authentic requests; add those that have no body, like handshakes."""
        return [self.signed(body) for body in self.bodies()]

    def refused(self) -> Sequence[WebhookRequest]:
        """Requests that are not authentic, beside those that the contract makes of `accepted`."""
        return []

    def different(self) -> Sequence[bytes]:
        """Bodies that tell of different events, each of its own; at least two of one kind."""
        return self.bodies()

    def address(self) -> Address:
        """Where to send to: where the first event came from that an agent answers."""
        return self.talking[1].address

    # What the checks share

    @cached_property
    def talking(self) -> tuple[WebhookRequest, AnyEvent]:
        """The first request that is for an agent, and its event."""
        channel = self.make_channel()
        for request in self.accepted():
            for event in channel.parse(request).events:
                if is_turn(event, channel.options):
                    return request, event
        raise AssertionError("none of accepted() has an event that an agent answers")

    @property
    def only_answers(self) -> bool:
        """Whether replies travel in answers alone: then there is no platform to ask."""
        return self.make_channel().capabilities.answers_only

    def believed(self, request: WebhookRequest, channel: Channel | None = None) -> bool:
        """Whether `request` is verified; a refusal is in order, or this fails."""
        try:
            (channel or self.make_channel()).verify(request, self.now)
        except VerificationError as error:
            self.assertTrue(400 <= error.status < 500, f"status {error.status}")
            self.assert_tells_no_secret(str(error))
            return False
        return True

    def outgoing(self, part: AnyPart = ONE_OF_EACH[0], number: int = 1) -> Outgoing:
        """A send of `part` to `address()`."""
        return Outgoing(id=f"contract-{number}", address=self.address(), part=part, now=self.now)

    def run_steps(self, steps: Steps[T], platform: Platform) -> tuple[list[Call], T]:
        """The calls that `steps` make, each of which is in order, and what they return."""

        def answer(call: Call) -> CallResult:
            self.assert_in_order(call)
            return platform(call)

        return drive(steps, answer)

    def assert_in_order(self, call: Call) -> None:
        """Trust is for configured addresses, and credentials for nobody else."""
        url = urlsplit(call.url)
        self.assertIn(url.scheme, ("http", "https"), call.url)
        self.assertTrue(url.netloc, call.url)
        self.assertGreater(call.deadline, 0)
        self.assertGreater(call.max_response, 0)
        if call.trust == "configured":
            self.assertTrue(any(_below(call.url, base) for base in self.base_urls), f"trusted: {call.url}")
        hidden = set(self.secrets) - (set(self.secrets_in_urls) if call.trust == "configured" else set())
        for secret in hidden:
            self.assertNotIn(secret, call.url)
        if call.trust != "configured":
            self.assert_tells_no_secret(repr((call.headers, call.body)), one_line=False)

    def assert_tells_no_secret(self, text: str, one_line: bool = True) -> None:
        """`text` is one line without any of `secrets`."""
        for secret in self.secrets:
            self.assertNotIn(secret, text)
        if one_line:
            self.assertEqual(len(text.splitlines()), 1 if text else 0, text)


def _below(url: str, base: str) -> bool:
    """Whether `url` is `base` or leads below it: a name that only begins like its host does not."""
    plain = base.rstrip("/")
    return url == plain or url.startswith((f"{plain}/", f"{plain}?"))


def without(request: WebhookRequest, name: bytes) -> WebhookRequest:
    """`request` without the header `name`."""
    kept = tuple(pair for pair in request.headers if pair[0] != name)
    return msgspec.structs.replace(request, headers=kept)
