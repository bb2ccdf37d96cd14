"""Credentials that end: renewed before they do, and found again by the next server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.internet.defer import fail
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels.instagram import InstagramInput
from klein_channels.model import Call, CallResult
from klein_channels.renewal import Renewal
from klein_channels.store.sqlite import SQLiteStore
from klein_channels.testing import ChannelInMemory, answered
from klein_channels.testing.platforms import FunctionHttp

from .doubles import clock_at, opened

ACCOUNT, TOKEN = "17841400000000001", "the-token-of-the-configuration"
DAY = 86_400.0


class RenewalTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = str(Path(self.mktemp()).absolute())
        self.clock = clock_at()
        self.answer: CallResult | None = None
        self.asked: list[str] = []
        self.serve(TOKEN)

    def serve(self, token: str, secret: str = "s") -> None:
        """Another server, with that token in its configuration."""
        if self.asked and secret == "s":
            self.end()
        times: Any = {"clock": self.clock, "now": self.clock.seconds}
        self.store = opened(self.path, self.clock.seconds())
        channel = instagram(token, secret)
        http = FunctionHttp(self.clock, self.graph, [])
        self.renewal = Renewal(self.store, http, [channel], **times)
        self.renewal.start()
        self.clock.advance(0)

    def end(self) -> None:
        """Stop the server."""
        self.renewal.stop()
        self.successResultOf(self.store.close())

    def tearDown(self) -> None:
        self.end()

    def graph(self, call: Call) -> CallResult:
        """The Graph, which names each token by its number."""
        self.asked.append(dict(call.headers)["Authorization"].removeprefix("Bearer "))
        new = {"access_token": f"token-{len(self.asked)}", "token_type": "bearer", "expires_in": 60 * DAY}
        return self.answer or answered(body=new)

    def pass_days(self, days: int) -> None:
        for _ in range(days * 24):
            self.clock.advance(DAY / 24)
            self.clock.advance(0)

    def test_one_that_nobody_renewed_yet_is_renewed_at_the_start_and_then_at_half_its_life(self) -> None:
        self.pass_days(29)
        self.assertEqual(self.asked, [TOKEN])
        self.pass_days(2)
        self.assertEqual(self.asked, [TOKEN, "token-1"])

    def test_the_next_server_goes_on_with_what_was_stored(self) -> None:
        self.serve(TOKEN)
        self.pass_days(29)
        self.assertEqual(self.asked, [TOKEN])
        self.pass_days(2)
        self.assertEqual(self.asked, [TOKEN, "token-1"])

    def test_a_token_that_the_operator_replaced_is_the_one_that_counts(self) -> None:
        self.serve("a-new-one")
        self.assertEqual(self.asked, [TOKEN, "a-new-one"])

    def test_a_refusal_is_alarmed_without_the_token_and_tried_again_the_next_day(self) -> None:
        self.answer = answered(400, {"error": {"code": 190, "message": "bad token"}})
        with capturedLogs() as logs:
            self.serve("a-new-one")
            self.pass_days(3)
        alarms = [event["trouble"] for event in logs if event["log_level"] is LogLevel.error]
        self.assertEqual(len(alarms), 3, alarms)
        for alarm in alarms:
            self.assertIn(f"the token of {ACCOUNT} was not renewed: token refused (190)", alarm)
        self.assertEqual(self.asked[1:], ["a-new-one"] * 3)

    def test_what_could_not_be_stored_is_asked_for_again(self) -> None:
        self.patch(self.store, "operate", self.store_is_full)
        self.pass_days(31)
        self.assertEqual(self.asked, [TOKEN])
        self.flushLoggedErrors()
        self.store.operate = SQLiteStore.operate.__get__(self.store)
        self.pass_days(1)
        self.assertEqual(self.asked, [TOKEN, "token-1"])

    def test_of_two_servers_one_renews(self) -> None:
        first = self.renewal
        channel = instagram(TOKEN)
        http = FunctionHttp(self.clock, self.graph, [])
        second = Renewal(self.store, http, [channel], clock=self.clock, now=self.clock.seconds)
        second.start()
        self.addCleanup(second.stop)
        self.clock.advance(0)
        self.assertEqual(self.asked, [TOKEN])
        self.pass_days(40)
        self.assertEqual(self.asked, [TOKEN, "token-1"])
        self.assertIsNot(first, second)

    def test_what_was_sealed_with_another_secret_is_of_no_use(self) -> None:
        self.end()
        self.serve(TOKEN, secret="another-app-secret")
        self.assertEqual(self.asked, [TOKEN, TOKEN])

    def store_is_full(self, *args: Any) -> Any:
        return fail(OSError("the disk is full"))


class ServiceTests(SynchronousTestCase):
    def test_a_server_renews_what_it_serves(self) -> None:
        asked: list[Call] = []

        def graph(call: Call) -> CallResult:
            asked.append(call)
            return answered(body={"access_token": "a-token-of-another-60-days", "expires_in": 60 * DAY})

        async def silent(event: Any) -> None:
            """Nothing to say."""

        kit = ChannelInMemory(silent, instagram(TOKEN), graph)
        self.addCleanup(kit.kill)
        kit.advance(1)
        [call] = asked
        self.assertEqual(
            call.url, "https://graph.test/v25.0/refresh_access_token?grant_type=ig_refresh_token"
        )
        [(account, sealed)] = kit.rows("SELECT account, sealed FROM grants")
        self.assertEqual(account, ACCOUNT)
        self.assertNotIn(b"a-token-of-another-60-days", bytes(sealed))


def instagram(token: str, secret: str = "s") -> InstagramInput:
    return InstagramInput("v", secret, {ACCOUNT: token}, login="instagram", graph_url="https://graph.test")
