"""Every kind of message that Meta's platforms take, and the limits of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels.facebook import FacebookInput
from klein_channels.channels.instagram import InstagramInput
from klein_channels.meta.reuse import LIFETIME
from klein_channels.model import Address, Image, Outgoing, Refused, Retry, Sent
from klein_channels.testing.graph import GraphStandIn, refusal
from klein_channels.testing.graph_instagram import InstagramAccounts
from klein_channels.testing.platforms import served
from klein_channels.testing.steps import drive

from .outbound import NOW, PERSON, OutboundFixtures

FIXTURES = Path(__file__).parent.parent / "fixtures"
PAGE = "104512345678901"


class MessengerTests(OutboundFixtures, SynchronousTestCase):
    folder = FIXTURES / "facebook_out"
    account = PAGE
    mark: ClassVar[dict[str, Any]] = {"metadata": "o1"}

    def make_channel(self) -> FacebookInput:
        return FacebookInput("v", "s", page_tokens={PAGE: "token"}, graph_url="https://graph.test")

    def make_graph(self) -> GraphStandIn:
        graph = GraphStandIn(Clock(), {PAGE: "token"}, "s")
        graph.pages.attachments["KEPT"] = (PAGE, {})
        return graph


class InstagramTests(OutboundFixtures, SynchronousTestCase):
    folder = FIXTURES / "instagram_out"
    account = "17841400000000001"
    person = "5551234567890123"

    def make_channel(self) -> InstagramInput:
        return InstagramInput("v", "s", {self.account: "token"}, graph_url="https://graph.test")

    def make_graph(self) -> GraphStandIn:
        return GraphStandIn(Clock(), None, "s", products=[InstagramAccounts({self.account: "token"})])


class ReuseTests(SynchronousTestCase):
    """Files that Meta has fetched once, where the configuration wants them reused."""

    def setUp(self) -> None:
        self.channel = FacebookInput(
            "v",
            "s",
            page_tokens={PAGE: "token", "2": "other"},
            graph_url="https://graph.test",
            reuse_media=True,
        )
        self.graph = GraphStandIn(Clock(), {PAGE: "token", "2": "other"})

    def send(self, now: float = NOW, page: str = PAGE, url: str = "https://x.example/hat.png") -> Any:
        address = Address(channel="facebook", account=page, peer=PERSON)
        outgoing = Outgoing(id="o1", address=address, part=Image(url=url), cause="m", now=now)
        return drive(self.channel.send(outgoing), served(self.graph))[1]

    def payloads(self) -> list[Any]:
        return [kept.body["message"]["attachment"]["payload"] for kept in self.graph.sent]

    def test_the_second_time_the_id_is_sent(self) -> None:
        for _ in range(2):
            self.assertIsInstance(self.send(), Sent)
        [id] = self.graph.pages.attachments
        first = {"url": "https://x.example/hat.png", "is_reusable": True}
        self.assertEqual(self.payloads(), [first, {"attachment_id": id}])

    def test_an_id_is_good_for_its_page_and_its_address_only(self) -> None:
        self.send()
        self.send(page="2")
        self.send(url="https://x.example/other.png")
        self.assertEqual([("url" in payload) for payload in self.payloads()], [True, True, True])

    def test_it_is_forgotten_before_meta_forgets_it(self) -> None:
        self.send()
        self.send(now=NOW + LIFETIME)
        self.assertEqual([("url" in payload) for payload in self.payloads()], [True, True])
        self.assertLess(LIFETIME, 90 * 86_400)

    def test_an_id_that_meta_forgot_is_replaced_at_once(self) -> None:
        self.send()
        self.graph.pages.attachments.clear()
        outcome = self.send(now=NOW + 5)
        self.assertIsInstance(outcome, Retry)
        self.assertEqual((outcome.at, outcome.scope), (NOW + 5, "message"))
        self.assertIsInstance(self.send(now=NOW + 5), Sent)
        self.assertEqual([("url" in payload) for payload in self.payloads()], [True, True])

    def test_other_refusals_keep_it(self) -> None:
        self.send()
        self.graph.answers(refusal(551, "away"))
        self.assertIsInstance(self.send(), Refused)
        self.send()
        self.assertIn("attachment_id", self.payloads()[-1])

    def test_without_the_setting_nothing_is_kept(self) -> None:
        self.channel = FacebookInput("v", "s", page_tokens={PAGE: "token"}, graph_url="https://graph.test")
        self.send()
        self.send()
        self.assertEqual(self.payloads(), [{"url": "https://x.example/hat.png"}] * 2)
