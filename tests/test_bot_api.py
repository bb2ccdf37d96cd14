"""The stand-in for the Bot API, and the Telegram channel against it."""

from __future__ import annotations

import json
from typing import Any

from treq.testing import StubTreq
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Steps
from klein_channels.channels.telegram import TelegramInput
from klein_channels.fit import fit
from klein_channels.model import (
    Address,
    Button,
    Buttons,
    CallResult,
    Card,
    Carousel,
    Custom,
    File,
    Message,
    Outcome,
    Outgoing,
    QuickReplies,
    QuickReply,
    Refused,
    Retry,
    Sent,
    Text,
)
from klein_channels.testing.telegram import BotApiStandIn, too_many

TOKEN = "123456:AAE-token-of-tests"
PERSON, GROUP, MOVED, BLOCKED = 1000000001, -42, -100777, 1000000009


class StandInTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        chats = {PERSON: "open", GROUP: MOVED, MOVED: "open", BLOCKED: "blocked"}
        self.api = BotApiStandIn(self.clock, TOKEN, chats=chats)
        self.client = StubTreq(self.api)
        self.telegram = TelegramInput(TOKEN, polling=True, api_url="http://bots.test")

    def answer(self, method: str, body: Any, token: str = TOKEN) -> Any:
        url = f"http://bots.test/bot{token}/{method}"
        response = self.successResultOf(self.client.post(url, data=json.dumps(body).encode()))
        return json.loads(self.successResultOf(self.client.content(response)))

    def refusal(self, method: str, **body: Any) -> str:
        answer = self.answer(method, {"chat_id": PERSON, **body})
        self.assertFalse(answer["ok"], body)
        return str(answer["description"])

    def run_steps(self, steps: Steps[Any]) -> Any:
        try:
            call = next(steps)
            while True:
                made = self.client.request(call.method, call.url, headers=dict(call.headers), data=call.body)
                response = self.successResultOf(made)
                body = self.successResultOf(self.client.content(response))
                call = steps.send(CallResult(outcome="answered", status=response.code, body=body))
        except StopIteration as end:
            return end.value

    def send(self, part: Any, chat: int = PERSON) -> Outcome:
        address = Address(channel="telegram", account="123456", peer=str(chat))
        outcome: Outcome = self.run_steps(
            self.telegram.send(Outgoing(id="o", address=address, part=part, now=self.clock.seconds()))
        )
        return outcome


class JudgementTests(StandInTestCase):
    def test_tokens_and_methods(self) -> None:
        self.assertEqual(self.answer("getMe", {}, "123456:other")["error_code"], 401)
        self.assertEqual(self.answer("getMe", {}, "nonsense")["error_code"], 404)
        self.assertIn("method not found", self.refusal("sendNonsense"))
        self.assertEqual(self.answer("GETME", {})["result"]["id"], 123456)

    def test_what_telegram_would_not_show_is_refused(self) -> None:
        bold = {"type": "bold", "offset": 0, "length": 3}
        data = {"text": "x", "callback_data": "é" * 33}
        for words, body in (
            ("empty", {"text": ""}),
            ("too long", {"text": "👒" * 2049}),
            ("ENTITY_BOUNDS", {"text": "👒", "entities": [bold]}),
            ("BUTTON_DATA", {"text": "a", "reply_markup": {"inline_keyboard": [[data]]}}),
            ("unallowed", {"text": "a", "reply_markup": {"inline_keyboard": [[{"text": "x"}]]}}),
            ("chat not found", {"text": "a", "chat_id": 5}),
        ):
            self.assertIn(words, self.refusal("sendMessage", **body))
        self.assertIn("caption is too long", self.refusal("sendPhoto", photo="u", caption="x" * 1025))
        self.assertIn("PEER_INVALID", self.refusal("sendMessageDraft", chat_id=MOVED, draft_id=1))
        self.assertEqual(self.api.sent, [])
        self.assertTrue(self.answer("sendMessage", {"chat_id": PERSON, "text": "👒" * 2048})["ok"])


class ChannelTests(StandInTestCase):
    def test_whatever_fit_lets_through_is_shown(self) -> None:
        buttons = tuple(Button(title=f"Button {n}", payload=f"/choose{n}") for n in range(100))
        parts = (
            Text(text="word " * 3000),
            Buttons(text="👒" * 5000, buttons=buttons),
            QuickReplies(text="?", replies=tuple(QuickReply(title=f"r{n}") for n in range(20))),
            Carousel(
                cards=(Card(title="t" * 500, subtitle="s" * 3000, image_url="https://x.example/i"),) * 3
            ),
            Custom(json={"media": [{"type": "photo", "media": "https://x.example/i"}] * 2}),
        )
        shown = fit(Message(parts=parts), self.telegram.capabilities)
        for part in shown:
            self.assertIsInstance(self.send(part), Sent)
        self.assertEqual(len(self.api.sent), len(shown))

    def test_refusals_and_waits(self) -> None:
        self.assertIsInstance(self.send(Text(text="a"), BLOCKED), Refused)
        self.api.answers(too_many(7))
        self.assertEqual(
            self.send(Text(text="a")),
            Retry(at=7.0, scope="conversation", reason="Too Many Requests: retry after 7"),
        )

    def test_a_moved_group_and_a_lost_file_reach_their_people(self) -> None:
        self.send(Text(text="a"), GROUP)
        self.api.unreachable.add("https://x.example/f")
        self.send(File(url="https://x.example/f"))
        self.assertEqual(
            [(shown.body["chat_id"], shown.text) for shown in self.api.sent],
            [(MOVED, "a"), (PERSON, "https://x.example/f")],
        )

    def test_an_edit_twice_is_one_edit(self) -> None:
        self.send(Text(text="a"))
        address = Address(channel="telegram", account="123456", peer=str(PERSON))
        outgoing = Outgoing(id="o", address=address, part=Text(text="b"))
        for _ in range(2):
            self.assertEqual(self.run_steps(self.telegram.edit(outgoing, "1")), Sent(mids=("1",)))
        self.assertEqual([edit.text for edit in self.api.edits], ["b"])

    def test_files_that_people_sent(self) -> None:
        self.api.files["AgAC1"] = b"bytes"
        self.assertEqual(self.run_steps(self.telegram.download("AgAC1")), b"bytes")


QUERY = {"id": "4242", "from": {"id": PERSON, "is_bot": False, "first_name": "Ada"}, "data": "x"}


class PollTests(StandInTestCase):
    def test_updates_wait_until_the_next_poll_confirms_them(self) -> None:
        first = self.api.happens(callback_query=QUERY)
        polled = self.run_steps(self.telegram.poll(None))
        self.assertEqual(([event.id for event in polled.events], self.api.waiting), ([str(first)], [first]))
        again = self.run_steps(self.telegram.poll(None))
        self.assertEqual(again.events, polled.events)
        second = self.api.happens(inline_query=QUERY)
        after = self.run_steps(self.telegram.poll(polled.cursor))
        self.assertEqual(([event.id for event in after.events], self.api.waiting), ([str(second)], [second]))
        self.assertEqual(self.api.answered, ["4242"])

    def test_a_poll_is_held_until_something_happens_or_its_time_is_over(self) -> None:
        def poll() -> Any:
            data = b'{"timeout": 25}'
            return self.client.post(f"http://bots.test/bot{TOKEN}/getUpdates", data=data)

        held = poll()
        self.assertNoResult(held)
        self.api.happens(message={})
        self.client.flush()
        self.assertIn(b"update_id", self.successResultOf(self.client.content(self.successResultOf(held))))
        self.api._updates.clear()
        held = poll()
        self.clock.advance(25)
        self.client.flush()
        self.assertIn(b"[]", self.successResultOf(self.client.content(self.successResultOf(held))))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_webhook_and_polls_exclude_each_other_until_the_set_up_is_run(self) -> None:
        url = "https://bot.example/webhook"
        served = TelegramInput(TOKEN, secret_token="a-secret", api_url="http://bots.test")
        self.run_steps(served.provision(url, dry_run=False))
        self.assertEqual((self.api.webhook["url"], self.api.webhook["secret_token"]), (url, "a-secret"))
        self.assertEqual(self.run_steps(served.provision(url, dry_run=True)), ())
        self.assertEqual(self.answer("getUpdates", {})["error_code"], 409)
        self.run_steps(self.telegram.provision("", dry_run=False))
        number = self.api.happens(poll={"id": "1"})
        [event] = self.run_steps(self.telegram.poll(None)).events
        self.assertEqual(event.id, str(number))
