"""Calling the Graph: where a call goes, whose token it carries, and how that is found out."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.meta.graph import AccountTokens, Graph
from klein_channels.model import Call, CallResult, Refused, Retry
from klein_channels.secret import Secret
from klein_channels.signatures import appsecret_proof
from klein_channels.testing.steps import answered, play

NOW = 1_790_000_000.0
ONE, TWO, THREE = Secret("token-one"), Secret("token-two"), Secret("token-three")
APP_SECRET = Secret("an-app-secret")
GRAPH = Graph("shop", "https://graph.test/", "v25.0", APP_SECRET)


def tokens(*unasked: Secret, **known: Secret) -> AccountTokens:
    return AccountTokens("shop", "page_tokens", known, unasked)


def owner(account: Any) -> CallResult:
    return answered(body={"id": account, "name": "A page"})


def dead() -> CallResult:
    return answered(401, {"error": {"message": "expired", "code": 190, "error_subcode": 463}})


def find(held: AccountTokens, account: str, *results: CallResult) -> tuple[list[Call], Any]:
    return play(held.token_for(GRAPH, account, NOW), *results)


class CallTests(SynchronousTestCase):
    def test_a_question_carries_the_token_in_a_header_and_the_proof_in_the_query(self) -> None:
        call = GRAPH.get(ONE, "me", "id,name")
        proof = appsecret_proof(ONE, APP_SECRET)
        self.assertEqual(call.url, f"https://graph.test/v25.0/me?fields=id%2Cname&appsecret_proof={proof}")
        self.assertEqual(call.headers, (("Authorization", "Bearer token-one"),))
        self.assertEqual((call.method, call.body, call.effect, call.trust), ("GET", b"", False, "configured"))

    def test_without_proof_nothing_hangs_on_the_url(self) -> None:
        graph = Graph("shop", "https://graph.test", "v26.0", None)
        self.assertEqual(
            graph.post(ONE, "1", "messages", {}, True).url, "https://graph.test/v26.0/1/messages"
        )


class AccountTokenTests(SynchronousTestCase):
    def test_a_configured_account_needs_no_question(self) -> None:
        self.assertEqual(find(tokens(TWO, page1=ONE), "page1"), ([], ONE))

    def test_a_lone_token_is_everybodys(self) -> None:
        self.assertEqual(find(tokens(ONE), "page1"), ([], ONE))
        self.assertEqual(find(tokens(ONE, ONE), "page1"), ([], ONE))

    def test_the_lone_token_beside_named_ones_is_asked_for(self) -> None:
        calls, found = find(tokens(TWO, page1=ONE), "page2", owner("page2"))
        self.assertEqual((len(calls), found), (1, TWO))

    def test_questions_end_when_the_account_is_found_and_are_not_repeated(self) -> None:
        held = tokens(ONE, TWO, THREE)
        calls, found = find(held, "2", owner("1"), owner(2))
        self.assertEqual((len(calls), found), (2, TWO))
        self.assertFalse(any(call.effect for call in calls))
        self.assertEqual(find(held, "1"), ([], ONE))
        self.assertEqual(find(held, "2"), ([], TWO))
        self.assertEqual(find(held, "3", owner("3"))[1], THREE)

    def test_two_conversations_may_ask_at_the_same_time(self) -> None:
        held = tokens(ONE, TWO)
        first, second = (held.token_for(GRAPH, "1", NOW) for _ in range(2))
        next(first)
        self.assertEqual(play(second, owner("1"))[1], ONE)
        end = self.assertRaises(StopIteration, first.send, owner("1"))
        self.assertEqual(end.value, ONE)

    def test_nobodys_account_is_refused_by_name_and_no_longer_covered(self) -> None:
        held = tokens(ONE, TWO)
        self.assertTrue(held.covers("9"))
        _, refused = find(held, "9", owner("1"), owner("2"))
        self.assertEqual((type(refused), refused.scope), (Refused, "account"))
        for named in ("'shop'", "'9'", "page_tokens"):
            self.assertIn(named, refused.reason)
        self.assertFalse(held.covers("9"))
        self.assertTrue(held.covers("1"))

    def test_a_dead_token_does_not_stop_the_others(self) -> None:
        held = tokens(ONE, TWO)
        self.assertEqual(find(held, "2", dead(), owner("2"))[1], TWO)

    def test_when_asking_fails_the_account_waits_and_is_asked_for_again(self) -> None:
        busy = answered(503, b"", Retry_After="7")
        for results, expected in (
            ((busy, owner("1")), (Retry, NOW + 7)),
            ((busy, dead()), (Retry, NOW + 7)),
            ((dead(), busy), (Retry, NOW + 7)),
            ((CallResult(outcome="unknown"), CallResult(outcome="not_sent")), (Retry, None)),
            ((answered(body={"id": []}), answered(body=b"<html>")), (Retry, None)),
        ):
            held = tokens(ONE, TWO)
            _, waits = find(held, "2", *results)
            self.assertEqual((type(waits), waits.at, waits.scope), (*expected, "account"))
            self.assertTrue(held.covers("2"))

    def test_dead_tokens_alone_are_refused_with_the_graphs_reason(self) -> None:
        _, refused = find(tokens(ONE, TWO), "2", dead(), dead())
        self.assertEqual((type(refused), refused.scope), (Refused, "account"))
        self.assertIn("token expired (190/463)", refused.reason)
