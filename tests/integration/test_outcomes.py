"""A platform that misbehaves: what becomes of a reply is what was promised, and the store says so."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor

from klein_channels.testing.graph import CLOSE, GARBAGE, NEVER, Answer, refusal
from tests.integration.processes import (
    LOOPBACK,
    PAGE,
    SECRET,
    TOKEN,
    VERIFY,
    ProcessTestCase,
    message,
    webhook,
)

POLICY = {
    "send_deadline": 1,
    "unknown_wait": 1,
    "retry_first": 0.2,
    "retry_longest": 0.5,
    "poll_interval": 0.1,
    "account_probe": 1,
}
LATE = Answer(delay=5.0)
"""An answer that is given, but past the deadline."""
WORDS = "re: hello"


class MisbehavingPlatforms(ProcessTestCase):
    async def told(self, *script: Answer) -> dict[str, Any]:
        """Answer one reply as in `script`; its row when all is done."""
        self.graph.answers(*script)
        await self.serve(self.configure(policy=POLICY))
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        await self.until_all_is_done()
        (row,) = self.store.rows("SELECT state, tries, repeated, error FROM outbox")
        return row

    async def test_an_error_of_the_server_is_tried_again_until_it_passes(self) -> None:
        row = await self.told(Answer(status=500), Answer(status=502, body=b"<html>"), Answer(status=503))
        self.assertEqual((row["state"], row["tries"], row["repeated"]), ("sent", 4, 0))
        self.assertEqual(self.texts, [WORDS])

    async def test_too_many_requests_are_tried_again_when_the_platform_says(self) -> None:
        self.graph.answers(Answer(status=429, headers={"Retry-After": "2"}))
        await self.serve(self.configure(policy=POLICY))
        began = reactor.seconds()
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        await self.until(lambda: self.graph.requests)
        # The account as a whole rests: another conversation waits too.
        self.assertEqual(await self.ask(webhook(message("8", "m_2"))), 200)
        await self.until_all_is_done()
        self.assertEqual((self.seen_by("7"), self.seen_by("8")), ([WORDS], [WORDS]))
        for sent in self.graph.sent:
            self.assertGreaterEqual(sent.at - began, 2)

    async def test_what_the_platform_refuses_is_a_dead_letter_and_the_next_passes(self) -> None:
        row = await self.told(refusal(100, "No matching user found", 2018001))
        self.assertEqual((row["state"], row["tries"]), ("dead", 1))
        self.assertIn("No matching user found", row["error"])
        self.assertEqual(await self.ask(webhook(message("7", "m_2", "again"))), 200)
        await self.until(lambda: self.texts)
        self.assertEqual(self.texts, ["re: again"])

    async def test_an_unknown_outcome_is_sent_once_more_and_marked(self) -> None:
        for script in (GARBAGE, CLOSE, NEVER, LATE):
            with self.subTest(script):
                await self.repeated_after(script)

    async def repeated_after(self, script: Answer) -> None:
        person = f"p{len(self.graph.sent)}"
        self.graph.answers(script)
        if not self.programs:
            await self.serve(self.configure(policy=POLICY))
        self.assertEqual(await self.ask(webhook(message(person, f"m_{person}"))), 200)
        await self.until(lambda: len(self.seen_by(person)) == 2)
        await self.until_all_is_done()
        first, second = (sent for sent in self.graph.sent if sent.body["recipient"]["id"] == person)
        self.assertGreaterEqual(second.at - first.at, POLICY["unknown_wait"])
        query = "SELECT state, tries, repeated FROM outbox ORDER BY id DESC LIMIT 1"
        self.assertEqual(self.store.rows(query), [{"state": "sent", "tries": 2, "repeated": 1}])

    async def test_two_unknown_outcomes_are_a_dead_letter(self) -> None:
        row = await self.told(CLOSE, NEVER)
        self.assertEqual((row["state"], row["tries"], row["repeated"]), ("dead", 2, 1))
        self.assertEqual(self.texts, [WORDS, WORDS])

    async def test_a_reply_that_waits_holds_up_only_its_own_conversation(self) -> None:
        self.graph.answers(Answer(status=500, headers={"Retry-After": "2"}))
        await self.serve(self.configure(policy=POLICY))
        self.assertEqual(await self.ask(webhook(message("7", "m_1", "one"))), 200)
        await self.until(lambda: self.graph.requests)
        await self.ask(webhook(message("7", "m_2", "two"), message("8", "m_3", "three")))
        await self.until_all_is_done()
        self.assertEqual(self.texts, ["re: three", "re: one", "re: two"])

    async def test_a_platform_that_is_away_is_waited_for(self) -> None:
        port = self.own_port()
        facebook = {"verify": VERIFY, "secret": SECRET, "page_tokens": {PAGE: TOKEN}}
        channels = {"facebook": {**facebook, "graph_url": f"http://{LOOPBACK}:{port}"}}
        await self.serve(self.configure(policy=POLICY, channels=channels))
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        await self.until(lambda: self.tries() > 1)
        self.listen(port)
        await self.until_all_is_done()
        self.assertEqual(self.texts, [WORDS])
        self.assertEqual(
            self.store.rows("SELECT state, repeated FROM outbox"), [{"state": "sent", "repeated": 0}]
        )

    def tries(self) -> int:
        return sum(row["tries"] for row in self.store.rows("SELECT tries FROM outbox"))

    def listen(self, port: int) -> None:
        """Let the platform come back."""
        listening = reactor.listenTCP(port, self._graph_site, interface=LOOPBACK)
        self.addCleanup(listening.stopListening)
