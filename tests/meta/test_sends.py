"""What Messenger is told to show, part by part."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.meta.sends import MESSENGER
from klein_channels.model import (
    Address,
    AnyPart,
    Audio,
    Button,
    Buttons,
    Card,
    Carousel,
    Custom,
    File,
    Image,
    Location,
    Outgoing,
    QuickReplies,
    QuickReply,
    Text,
    Video,
)

PERSON = "6789012345678901"


def outgoing(part: AnyPart, peer: str = PERSON, **more: Any) -> Outgoing:
    address = Address(channel="facebook", account="104512345678901", peer=peer)
    return Outgoing(**{"id": "o1", "address": address, "part": part, "cause": "m_1", **more})


def body_of(part: AnyPart, **more: Any) -> dict[str, Any]:
    return MESSENGER.send_body(outgoing(part, **more))


class BodyTests(SynchronousTestCase):
    def message(self, part: AnyPart) -> Any:
        body = body_of(part)
        self.assertEqual(body.pop("recipient"), {"id": PERSON})
        self.assertEqual(body.pop("messaging_type"), "RESPONSE")
        message = body.pop("message")
        self.assertEqual((body, message.pop("metadata")), ({}, "o1"))
        return message

    def test_text(self) -> None:
        self.assertEqual(self.message(Text(text="hi")), {"text": "hi"})

    def test_media_by_url(self) -> None:
        for kind, part in {
            "image": Image(url="https://x.example/1"),
            "audio": Audio(url="https://x.example/1"),
            "video": Video(url="https://x.example/1"),
            "file": File(url="https://x.example/1"),
        }.items():
            expected = {"attachment": {"type": kind, "payload": {"url": "https://x.example/1"}}}
            self.assertEqual(self.message(part), expected)

    def test_quick_replies(self) -> None:
        replies = (
            QuickReply(title="Red", payload="RED"),
            QuickReply(title="Blue", image_url="https://x.example/b.png"),
            QuickReply(ask="phone"),
            QuickReply(ask="email"),
        )
        self.assertEqual(
            self.message(QuickReplies(text="Colour?", replies=replies)),
            {
                "text": "Colour?",
                "quick_replies": [
                    {"content_type": "text", "title": "Red", "payload": "RED"},
                    {
                        "content_type": "text",
                        "title": "Blue",
                        "payload": "Blue",
                        "image_url": "https://x.example/b.png",
                    },
                    {"content_type": "user_phone_number"},
                    {"content_type": "user_email"},
                ],
            },
        )

    BUTTONS = (
        Button(title="Site", url="https://x.example"),
        Button(title="Go", payload="GO"),
        Button(title="Call", phone="+15105551234"),
    )
    RENDERED = (
        {"type": "web_url", "title": "Site", "url": "https://x.example"},
        {"type": "postback", "title": "Go", "payload": "GO"},
        {"type": "phone_number", "title": "Call", "payload": "+15105551234"},
    )

    def test_buttons(self) -> None:
        payload = {"template_type": "button", "text": "Next?", "buttons": list(self.RENDERED)}
        self.assertEqual(
            self.message(Buttons(text="Next?", buttons=self.BUTTONS)),
            {"attachment": {"type": "template", "payload": payload}},
        )

    def test_carousel(self) -> None:
        cards = (
            Card(
                title="A",
                subtitle="b",
                image_url="https://x.example/i",
                url="https://x.example",
                buttons=self.BUTTONS,
            ),
            Card(title="B", subtitle="c"),
        )
        first = {
            "title": "A",
            "subtitle": "b",
            "image_url": "https://x.example/i",
            "default_action": {"type": "web_url", "url": "https://x.example"},
            "buttons": list(self.RENDERED),
        }
        payload = {"template_type": "generic", "elements": [first, {"title": "B", "subtitle": "c"}]}
        self.assertEqual(
            self.message(Carousel(cards=cards)), {"attachment": {"type": "template", "payload": payload}}
        )

    def test_a_card_is_never_a_title_alone(self) -> None:
        message = self.message(Carousel(cards=(Card(title="A"),)))
        self.assertEqual(message["attachment"]["payload"]["elements"], [{"title": "A", "subtitle": "…"}])

    def test_custom_json_is_the_message(self) -> None:
        sticker = {"sticker_id": 369239263222822, "sender": {"id": "somebody else"}}
        self.assertEqual(self.message(Custom(json=sticker)), {"sticker_id": 369239263222822})

    def test_custom_json_as_a_whole_body_still_goes_to_this_person(self) -> None:
        whole = {
            "recipient": {"id": "somebody else"},
            "messaging_type": "MESSAGE_TAG",
            "tag": "HUMAN_AGENT",
            "message": {"text": "hi", "metadata": "theirs"},
        }
        body = body_of(Custom(json=whole))
        self.assertEqual(body, {**whole, "recipient": {"id": PERSON}})

    def test_a_custom_sender_action_has_nothing_beside_it(self) -> None:
        react = {"sender_action": "react", "payload": {"message_id": "m_1", "reaction": "😊"}}
        body = body_of(Custom(json=react), reply_to="m_1")
        self.assertEqual(body, {**react, "recipient": {"id": PERSON}})

    def test_what_cannot_be_sent_is_refused(self) -> None:
        for part in (Custom(json=[1]), Custom(json="x"), Location(latitude=1.0, longitude=2.0)):
            self.assertRaises(ValueError, MESSENGER.send_body, outgoing(part))

    def test_a_reply_names_its_message_at_the_top(self) -> None:
        self.assertEqual(body_of(Text(text="hi"), reply_to="m_1")["reply_to"], {"mid": "m_1"})

    def test_what_nobody_asked_for_is_an_update(self) -> None:
        self.assertEqual(body_of(Text(text="hi"), cause=None)["messaging_type"], "UPDATE")

    def test_a_guest_is_addressed_by_reference(self) -> None:
        self.assertEqual(body_of(Text(text="hi"), peer="user_ref:u-123")["recipient"], {"user_ref": "u-123"})
