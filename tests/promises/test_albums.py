"""An album, which Telegram sends picture by picture, is one turn: whatever comes between, fails or dies."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import ChannelOptions
from klein_channels.channels.telegram import SECRET_HEADER, TelegramInput
from klein_channels.model import WebhookRequest
from klein_channels.testing.harness import ChannelInMemory, clock_of_tests
from klein_channels.testing.telegram import BotApiStandIn

from .case import HeldAgent

TOKEN, SECRET = "123456:AAtoken-of-tests", "secret-of-tests"
PERSON = 1_000_000_001


class Albums(ChannelInMemory):
    """A service for one bot."""

    def __init__(self, agent: Any, path: str = "", **options: Any) -> None:
        clock = clock_of_tests()
        self.bot = BotApiStandIn(clock, TOKEN)
        self.updates = 700_000_000
        shop = TelegramInput(
            access_token=TOKEN,
            secret_token=SECRET,
            api_url="http://127.0.0.1:9",
            options=ChannelOptions(**options),
        )
        super().__init__(agent, shop, self.bot, path=path, clock=clock)

    def say(self, text: str = "", group: str | None = None, number: int | None = None) -> int | None:
        """A message: words, or a picture of the album `group` with a caption; the status of the answer."""
        self.updates = number or self.updates + 1
        said: dict[str, Any] = {"text": text}
        if group is not None:
            photo = {"file_id": f"f{self.updates}", "file_unique_id": "u", "width": 1, "height": 1}
            said = {"media_group_id": group, "photo": [photo], **({"caption": text} if text else {})}
        person = {"id": PERSON, "is_bot": False, "first_name": "Ada"}
        message = {
            "message_id": self.updates - 699_999_000,
            "from": person,
            "chat": {"id": PERSON, "type": "private"},
            "date": int(self.clock.seconds()),
            **said,
        }
        body = json.dumps({"update_id": self.updates, "message": message}).encode()
        headers = ((SECRET_HEADER.lower().encode(), SECRET.encode()),)
        return self.receive(WebhookRequest(method="POST", path="", headers=headers, body=body))


class AlbumTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent = HeldAgent()

    def serve(self, path: str = "", **options: Any) -> Albums:
        kit = Albums(self.agent, path, **options)
        self.addCleanup(kit.kill)
        return kit

    def pictures(self, turn: int = 0) -> list[str]:
        event = self.agent.turns[turn].event
        return [attachment.raw["photo"]["file_id"] for attachment in event.attachments]

    def answer(self, kit: Albums, reply: Any = None) -> None:
        self.agent.answer(reply)
        kit.advance(1)

    def test_its_pictures_are_one_turn_with_all_words(self) -> None:
        kit = self.serve()
        for caption in ("our holidays", "", "the sea"):
            self.assertEqual(kit.say(caption, group="g1"), 200)
            kit.advance(0.5)
        self.assertEqual(self.agent.asked, [])
        kit.advance(1)
        self.assertEqual(self.agent.asked, ["our holidays\nthe sea"])
        self.assertEqual(self.pictures(), ["f700000001", "f700000002", "f700000003"])
        self.answer(kit, "nice")
        self.assertEqual(len(self.agent.asked), 1)
        self.assertEqual(len(kit.bot.sent), 1)

    def test_two_albums_are_two_turns_and_words_between_are_a_third(self) -> None:
        kit = self.serve()
        for text, group in (("a", "g1"), ("", "g1"), ("words", None), ("b", "g2"), ("", "g2")):
            kit.say(text, group)
        for _ in range(3):
            kit.advance(2)
            self.answer(kit)
        self.assertEqual(self.agent.asked, ["a", "words", "b"])
        self.assertEqual([len(turn.events) for turn in self.agent.turns], [2, 1, 2])

    def test_ten_are_a_whole_album_and_wait_for_nothing(self) -> None:
        kit = self.serve()
        for _ in range(11):
            kit.say(group="g1")
        self.assertEqual([len(turn.events) for turn in self.agent.turns], [10])
        self.answer(kit)
        kit.advance(2)
        self.assertEqual([len(turn.events) for turn in self.agent.turns], [10, 1])

    def test_a_picture_that_is_delivered_again_is_there_once(self) -> None:
        kit = self.serve()
        for number in (700_000_001, 700_000_002, 700_000_001, 700_000_002):
            kit.say(group="g1", number=number)
        kit.advance(2)
        self.assertEqual(self.pictures(), ["f700000001", "f700000002"])

    def test_a_restart_forgets_neither_the_pictures_nor_their_time(self) -> None:
        kit = self.serve(self.mktemp())
        kit.say(group="g1")
        kit.kill()
        kit.start()
        kit.say(group="g1")
        kit.advance(3)
        self.assertEqual(self.pictures(), ["f700000001", "f700000002"])
        self.assertEqual(len(self.agent.turns), 1)

    def test_where_others_are_rejected_an_album_is_taken_whole(self) -> None:
        kit = self.serve(double_texting="reject", busy_text="")
        kit.say(group="g1")
        kit.say(group="g1")
        kit.say("too soon")
        kit.advance(2)
        self.assertEqual(self.pictures(), ["f700000001", "f700000002"])
        self.answer(kit)
        self.assertEqual(len(self.agent.asked), 1)

    def test_where_others_are_merged_it_is_merged_with_them(self) -> None:
        kit = self.serve(double_texting="merge")
        kit.say("look:")
        kit.say(group="g1")
        kit.say(group="g1")
        kit.advance(10)
        self.assertEqual([len(turn.events) for turn in self.agent.turns], [3])
        self.assertEqual(self.agent.asked, ["look:"])
