"""The stand-in for the Graph: judges like it, answers in its shapes, misbehaves as told."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels.facebook import FacebookInput
from klein_channels.model import (
    Address,
    Call,
    CallResult,
    Outcome,
    Outgoing,
    Refused,
    Retry,
    Sent,
    Text,
    UnknownOutcome,
)
from klein_channels.testing.graph import CLOSE, GARBAGE, NEVER, Answer, GraphStandIn, refusal
from klein_channels.testing.graph_answers import Asked, Done

PAGES = {"104512345678901": "page-token-one", "104512345678902": "page-token-two"}
PAGE = "104512345678901"
URL = f"http://graph.test/v25.0/{PAGE}/messages"
HI: dict[str, Any] = {"recipient": {"id": "6789"}, "message": {"text": "hi"}}


class StandInTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.graph = GraphStandIn(self.clock, PAGES)
        self.client = StubTreq(self.graph)

    def request(
        self, method: str = "POST", url: str = URL, body: Any = HI, token: str = "page-token-one"
    ) -> Deferred[Any]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.request(method, url, headers={"Authorization": f"Bearer {token}"}, data=data)

    def answer(self, *args: Any, **more: Any) -> tuple[int, Any]:
        response = self.successResultOf(self.request(*args, **more))
        return response.code, json.loads(self.successResultOf(self.client.content(response)))

    def error(self, **more: Any) -> tuple[int, int | None]:
        status, body = self.answer(**more)
        self.assertEqual(status, 400)
        self.assertEqual(self.graph.sent, [])
        return body["error"]["code"], body["error"].get("error_subcode")


class JudgementTests(StandInTestCase):
    def test_a_good_message_is_shown_and_named(self) -> None:
        self.clock.advance(5)
        status, body = self.answer()
        [shown] = self.graph.sent
        self.assertEqual((status, body), (200, {"recipient_id": "6789", "message_id": shown.mid}))
        self.assertEqual((shown.page, shown.text, shown.at), (PAGE, "hi", 5.0))

    def test_each_message_has_its_own_name(self) -> None:
        self.assertNotEqual(self.answer()[1]["message_id"], self.answer()[1]["message_id"])

    def test_another_pages_token_and_no_token_are_refused(self) -> None:
        self.assertEqual(self.error(token="nobody's"), (190, None))
        self.assertEqual(self.error(token="page-token-two"), (190, None))

    def test_a_version_is_demanded(self) -> None:
        self.assertEqual(self.error(url=f"http://graph.test/{PAGE}/messages"), (100, 33))

    def test_what_the_graph_would_not_show_is_refused(self) -> None:
        for body in (
            b"{",
            [],
            {"message": {"text": "hi"}},
            {"recipient": {"id": "1"}},
            {"recipient": {"id": "1"}, "message": {}},
            {"recipient": {"id": "1"}, "message": {"text": ""}},
            {"recipient": {"id": "1"}, "message": {"text": 5}},
            {"recipient": {"id": "1"}, "message": {"text": "x" * 2001}},
            {"recipient": {"id": "1"}, "message": {"text": "x", "quick_replies": [{}] * 14}},
            {"recipient": {"id": "1"}, "message": {"attachment": {"payload": {"buttons": [{}] * 4}}}},
            {"recipient": {"id": "1"}, "message": {"attachment": {"payload": {"elements": [{}] * 11}}}},
            {"recipient": {"id": "1"}, "message": {"text": "x"}, "sender_action": "typing_on"},
        ):
            self.assertEqual(self.error(body=body)[0], 100)

    def test_text_of_2000_is_shown(self) -> None:
        self.assertEqual(
            self.answer(body={"recipient": {"id": "1"}, "message": {"text": "x" * 2000}})[0], 200
        )

    def test_sender_actions_are_kept_apart(self) -> None:
        body = {"recipient": {"id": "6789"}, "sender_action": "typing_on"}
        self.assertEqual(self.answer(body=body), (200, {"recipient_id": "6789"}))
        self.assertEqual((len(self.graph.sent), len(self.graph.actions)), (0, 1))

    def test_me_is_the_page_of_the_token(self) -> None:
        url = "http://graph.test/v25.0/me?fields=id,name"
        status, body = self.answer("GET", url, b"", "page-token-two")
        self.assertEqual((status, body["id"]), (200, "104512345678902"))

    def test_a_missing_or_wrong_proof_is_refused_where_the_secret_is_known(self) -> None:
        self.graph = GraphStandIn(self.clock, PAGES, secret="app-secret")
        self.client = StubTreq(self.graph)
        self.assertEqual(self.error(), (100, None))
        self.assertEqual(self.error(url=f"{URL}?appsecret_proof=0"), (100, None))


class PeopleTests(StandInTestCase):
    def write(self, seconds: float, **body: Any) -> tuple[int, int | None]:
        """What happens to a message, that long after somebody wrote."""
        self.graph.pages.people.heard(PAGE, "6789", self.clock.seconds())
        self.clock.advance(seconds)
        status, answer = self.answer(body={**HI, **body})
        error = answer.get("error", {})
        return error.get("code", status), error.get("error_subcode")

    def test_a_stranger_is_nobody_once_somebody_wrote(self) -> None:
        self.assertEqual(self.answer()[0], 200)
        self.graph.pages.people.heard(PAGE, "1", 0.0)
        self.graph.sent.clear()
        self.assertEqual(self.error(), (100, 2018001))

    def test_the_window_closes_after_a_day_and_for_humans_after_seven(self) -> None:
        self.assertEqual(self.write(86_400), (200, None))
        self.assertEqual(self.write(86_401), (10, 2018278))
        tag = {"messaging_type": "MESSAGE_TAG", "tag": "HUMAN_AGENT"}
        self.assertEqual(self.write(7 * 86_400, **tag), (200, None))
        self.assertEqual(self.write(7 * 86_400 + 1, **tag), (10, 2018278))


class NumberProduct:
    """A product of its own, as a test may bring one."""

    tokens: Mapping[str, str] = {"1": "token-of-all-numbers", "2": "token-of-all-numbers"}

    def answer(self, asked: Asked) -> Done | Answer | None:
        if asked.edge == "messages":
            return Done(body={"from": asked.account}, kept="sent", mid=f"wamid.{asked.number}")
        return Done(body=asked.raw) if asked.node == "media" else None


class ProductTests(StandInTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.graph = GraphStandIn(self.clock, PAGES, products=[NumberProduct()])
        self.client = StubTreq(self.graph)

    def test_one_token_may_be_good_for_several_accounts(self) -> None:
        for number in ("1", "2"):
            url = f"http://graph.test/v25.0/{number}/messages"
            self.assertEqual(self.answer(url=url, token="token-of-all-numbers"), (200, {"from": number}))
        self.assertEqual(
            [(kept.page, kept.mid) for kept in self.graph.sent], [("1", "wamid.1"), ("2", "wamid.2")]
        )

    def test_a_token_is_good_for_its_own_accounts_only(self) -> None:
        self.assertEqual(self.error(token="token-of-all-numbers"), (190, None))
        self.assertEqual(self.error(url="http://graph.test/v25.0/1/messages"), (190, None))

    def test_other_nodes_are_the_product_s_own(self) -> None:
        url = "http://graph.test/v25.0/media"
        response = self.successResultOf(self.request("GET", url, b"x", "token-of-all-numbers"))
        self.assertEqual(self.successResultOf(self.client.content(response)), b"x")
        self.assertEqual(
            self.error(url="http://graph.test/v25.0/other", token="token-of-all-numbers"), (100, 33)
        )


class MisbehaviourTests(StandInTestCase):
    def test_a_script_is_played_once_and_in_order(self) -> None:
        self.graph.answers(Answer(status=500, body=b""), refusal(4, "slow down", status=429))
        self.assertEqual(self.successResultOf(self.request()).code, 500)
        self.assertEqual(self.answer()[0], 429)
        self.assertEqual(self.graph.sent, [])
        self.assertEqual(self.answer()[0], 200)
        self.assertEqual(len(self.graph.sent), 1)

    def test_a_script_is_not_spent_on_requests_that_are_refused_anyway(self) -> None:
        self.graph.answers(GARBAGE)
        self.error(token="nobody's")
        self.answer(body={"recipient": {"id": "1"}, "sender_action": "typing_on"})
        response = self.successResultOf(self.request())
        self.assertIn(b"<html>", self.successResultOf(self.client.content(response)))

    def test_latency_and_delay_add_up_on_the_clock(self) -> None:
        self.graph.latency = 1.0
        self.graph.answers(Answer(delay=2.0))
        waiting = self.request()
        self.clock.advance(2.9)
        self.client.flush()
        self.assertNoResult(waiting)
        self.clock.advance(0.2)
        self.client.flush()
        self.assertEqual(self.successResultOf(waiting).code, 200)

    def test_a_message_without_an_answer_was_shown(self) -> None:
        self.graph.answers(NEVER, CLOSE)
        waiting = self.request()
        self.clock.advance(3600)
        self.client.flush()
        self.assertNoResult(waiting)
        self.failureResultOf(self.request())
        self.assertEqual(len(self.graph.sent), 2)


class FacebookAgainstStandInTests(SynchronousTestCase):
    """The channel's sends, carried out against the stand-in: both have to agree on the wire."""

    def setUp(self) -> None:
        self.graph = GraphStandIn(Clock(), PAGES, secret="app-secret")
        self.client = StubTreq(self.graph)
        self.channel = FacebookInput("v", "app-secret", list(PAGES.values()), graph_url="http://graph.test")

    def send(self, page: str = PAGE) -> Outcome:
        address = Address(channel="facebook", account=page, peer="6789")
        steps = self.channel.send(
            Outgoing(id="o1", address=address, part=Text(text="hi"), cause="m", now=10.0)
        )
        call = next(steps)
        while True:
            try:
                call = steps.send(self.carried_out(call))
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome

    def carried_out(self, call: Call) -> CallResult:
        headers = dict(call.headers)
        response = self.successResultOf(
            self.client.request(call.method, call.url, headers=headers, data=call.body)
        )
        found = tuple((k.decode(), v[0].decode()) for k, v in response.headers.getAllRawHeaders())
        body = self.successResultOf(self.client.content(response))
        return CallResult(outcome="answered", status=response.code, headers=found, body=body)

    def test_each_page_sends_with_its_own_token(self) -> None:
        for page in PAGES:
            self.assertIsInstance(self.send(page), Sent)
        self.assertEqual([message.page for message in self.graph.sent], list(PAGES))

    def test_our_id_travels_as_metadata(self) -> None:
        self.send()
        self.assertEqual(self.graph.sent[0].body["message"]["metadata"], "o1")

    def test_bad_answers_become_outcomes(self) -> None:
        self.graph.answers(
            Answer(status=503, body=b"", headers={"Retry-After": "7"}),
            refusal(613, "slow down"),
            GARBAGE,
            refusal(10, "outside of the window", 2018278),
        )
        busy, throttled, garbage, closed = (self.send() for _ in range(4))
        self.assertEqual(busy, Retry(at=17.0, reason="HTTP 503"))
        self.assertIsInstance(throttled, Retry)
        self.assertEqual(throttled.scope, "account")
        self.assertIsInstance(garbage, UnknownOutcome)
        self.assertIsInstance(closed, Refused)
        self.assertEqual(len(self.graph.sent), 1, "the one behind the garbage, whose outcome is unknown")
