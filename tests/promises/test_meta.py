"""Meta: nothing is sent that it would refuse, nothing is lost beside what is malformed, no token ends."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels.facebook import FacebookInput
from klein_channels.channels.instagram import InstagramInput
from klein_channels.model import Address, Call, Custom, Outgoing, Refused, WebhookRequest
from klein_channels.renewal import Renewal
from klein_channels.testing.graph import GraphStandIn
from klein_channels.testing.platforms import FunctionHttp, served
from klein_channels.testing.steps import answered, drive, play

from ..doubles import clock_at, opened

PAGE, TOKEN = "104512345678901", "the-token-of-the-configuration"
DAY = 86_400.0


def facebook(**more: Any) -> FacebookInput:
    return FacebookInput("v", "secret", page_tokens={PAGE: "token"}, graph_url="https://graph.test", **more)


class SendingTests(SynchronousTestCase):
    def test_what_messenger_would_refuse_is_refused_before_it_is_sent(self) -> None:
        address = Address(channel="facebook", account=PAGE, peer="1")
        outgoing = Outgoing(id="o1", address=address, part=Custom(json={"text": "x" * 2001}), cause="m")
        calls, outcome = play(facebook().send(outgoing))
        self.assertEqual(calls, [])
        self.assertIsInstance(outcome, Refused)
        self.assertIn("message.text: 2001 characters, at most 2000", outcome.reason)


class ReadingTests(SynchronousTestCase):
    def test_a_malformed_item_spoils_no_neighbour(self) -> None:
        parties = {"sender": {"id": "1"}, "recipient": {"id": PAGE}}
        items: list[Any] = [{**parties, "message": {"mid": mid, "text": "hi"}} for mid in ("a", "b")]
        items.insert(1, {**parties, "message": {"mid": {"no": "id"}}})
        body = json.dumps({"object": "page", "entry": [{"id": PAGE, "messaging": items}]}).encode()
        events = facebook().parse(WebhookRequest(method="POST", path="", body=body)).events
        self.assertEqual([event.kind for event in events], ["message", "unknown", "message"])


class SetupTests(SynchronousTestCase):
    def test_a_dry_run_changes_nothing(self) -> None:
        graph = served(GraphStandIn(Clock(), {PAGE: "token"}, "secret"))
        channel = facebook()
        for _ in range(2):
            steps = channel.provision("https://bot.example/app/facebook/webhook", dry_run=True)
            calls, lines = drive(steps, graph)
            self.assertTrue(lines)
            self.assertEqual([call.method for call in calls if call.method != "GET"], [])


class TokenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = clock_at()
        self.path = self.mktemp()
        self.asked: list[str] = []

    def test_a_renewed_token_outlives_the_server_that_renewed_it(self) -> None:
        for _ in range(2):
            self.serve()
        self.assertEqual(self.asked, [TOKEN])

    def test_a_token_is_renewed_before_it_ends(self) -> None:
        self.serve(days=31)
        self.assertEqual(self.asked, [TOKEN, "token-1"])

    def serve(self, days: int = 0) -> None:
        """One server's life."""
        store = opened(self.path, self.clock.seconds())
        http = FunctionHttp(self.clock, self.graph, [])
        channel = InstagramInput("v", "s", {"1": TOKEN}, login="instagram", graph_url="https://graph.test")
        renewal = Renewal(store, http, [channel], clock=self.clock, now=self.clock.seconds)
        renewal.start()
        self.clock.pump([0.0, *[DAY / 4] * 4 * days, 0.0])
        renewal.stop()
        self.successResultOf(store.close())

    def graph(self, call: Call) -> Any:
        self.asked.append(dict(call.headers)["Authorization"].removeprefix("Bearer "))
        return answered(body={"access_token": f"token-{len(self.asked)}", "expires_in": 60 * DAY})
