"""
What every channel promises to the rest of the house, as tests that a channel's own tests inherit::

    class PigeonContractTests(ChannelContract, SynchronousTestCase):
        secrets = (TOKEN, SECRET)
        base_urls = ("https://pigeon.example/api",)
        proof_headers = (b"x-pigeon-signature",)

        def make_channel(self): ...
        def make_platform(self): ...
        def bodies(self): ...
        def signed(self, body): ...

`contract_subject` says what each of these is. A test that fails names the promise, and shows the
smallest input that breaks it. Needs the extra ``[test]``.
"""

from __future__ import annotations

from typing import Any

from ..model import Call, CallResult
from .contract_abilities import AbilityContract
from .contract_outbound import nobody
from .harness import ChannelInMemory

__all__ = ["ChannelContract"]


class ChannelContract(AbilityContract):
    """All that is asked of a channel, by itself and with a whole service around it."""

    def test_a_message_is_answered_once_however_often_it_comes(self) -> None:
        """The service acknowledges each delivery; a redelivery makes no second answer, but gets the first."""
        request, _ = self.talking
        kit, answers = self._kit(), set()
        for _ in range(3):
            asked = kit.asked(request)
            self.assertTrue(
                asked.status is not None and 200 <= asked.status < 300, f"answered {asked.status}"
            )
            answers.add(asked.body)
            kit.advance(120)
        self.assertEqual(len(answers), 1)
        if not self.only_answers:
            self.assertEqual((len(kit.shown), kit.outbox()), (1, ["sent"]))

    def test_a_platform_that_was_away_gets_the_answer_later(self) -> None:
        """A reply that could not be sent is sent when it can."""
        if self.only_answers:
            return
        request, _ = self.talking
        platform, away = self.make_platform(), [True]

        def answer(call: Call) -> CallResult:
            return CallResult(outcome="not_sent", error="away") if away[0] else platform(call)

        kit = self._kit(answer)
        kit.receive(request)
        kit.advance(10)
        self.assertNotIn("sent", kit.outbox())
        away[0] = False
        kit.advance(600)
        self.assertEqual(kit.outbox(), ["sent"])

    def test_a_server_takes_each_authentic_request_and_no_other(self) -> None:
        """Over HTTP: 2xx for what is authentic, 4xx for the same with its proof cut off."""
        kit = self._kit()
        for request in self.accepted():
            status = kit.receive(request)
            self.assertTrue(status is not None and status < 500, f"answered {status}: {request.body[:300]!r}")
        for request in self.refused():
            status = kit.receive(request)
            self.assertTrue(
                status is not None and 400 <= status < 500, f"answered {status}: {request.body[:300]!r}"
            )

    def _kit(self, platform: Any = None) -> ChannelInMemory:
        channel = self.make_channel()
        platform = platform or (nobody if self.only_answers else self.make_platform())
        kit = ChannelInMemory(_echo, channel, platform, **self.service_settings)
        kit.advance(self.now - kit.clock.seconds())
        self.addCleanup(kit.kill)
        return kit


async def _echo(event: Any) -> str:
    return f"You said: {event.describe()}"
