from __future__ import annotations

import copy
from types import MappingProxyType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import AgentReplyError
from klein_channels.model import (
    AnyPart,
    Audio,
    Button,
    Buttons,
    Card,
    Carousel,
    Custom,
    Delta,
    EndConversation,
    File,
    Handoff,
    Image,
    Location,
    Message,
    QuickReplies,
    QuickReply,
    Remember,
    Text,
    Typing,
    Video,
    from_json,
    to_json,
)
from klein_channels.replies import place_in_words, read_reply, to_rasa


def said(*parts: AnyPart, **metadata: Any) -> list[Message]:
    return [Message(parts=parts, metadata=metadata or None)]


class ShapeTests(SynchronousTestCase):
    def test_texts_parts_and_messages_are_messages(self) -> None:
        message = Message(parts=(Text(text="*hi*", format="markdown"),), reply_to="m1", metadata={"a": 1})
        self.assertEqual(read_reply("hi"), said(Text(text="hi")))
        self.assertEqual(read_reply(Image(url="https://x/i")), said(Image(url="https://x/i")))
        self.assertEqual(read_reply(message), [message])

    def test_a_text_with_blank_lines_stays_one_part(self) -> None:
        self.assertEqual(read_reply("a\n\nb"), said(Text(text="a\n\nb")))
        self.assertEqual(read_reply({"text": "a\n\nb"}), said(Text(text="a\n\nb")))

    def test_controls_pass(self) -> None:
        controls = [
            Typing(on=False),
            Delta(text=" "),
            Handoff(note="n"),
            EndConversation(),
            Remember(state={"a": [1]}),
        ]
        self.assertEqual(read_reply(controls), controls)

    def test_lists_keep_the_order_at_any_depth(self) -> None:
        found = read_reply(["a", (Typing(), [{"text": "b"}, None]), Text(text="c")])
        self.assertEqual(
            found, [*said(Text(text="a")), Typing(), *said(Text(text="b")), *said(Text(text="c"))]
        )

    def test_what_says_nothing_is_nothing(self) -> None:
        nothing = [None, "", " \n\u00a0", "\0", [], {}, {"text": None, "buttons": []}, {"recipient_id": "x"}]
        nothing += [Text(text=" "), Message(parts=()), {"image": "", "custom": {}, "attachment": None}]
        for value in nothing:
            self.assertEqual(read_reply(value), [], repr(value))

    def test_white_space_among_other_parts_is_dropped(self) -> None:
        self.assertEqual(read_reply(Message(parts=(Text(text=" "), Text(text="a")))), said(Text(text="a")))


class RasaTests(SynchronousTestCase):
    def test_the_order_is_rasas(self) -> None:
        reply = {
            "elements": [{"title": "e"}],
            "attachment": "https://x/f",
            "image": "https://x/i",
            "custom": {"a": 1},
            "text": "t",
        }
        card = Carousel(cards=(Card(title="e"),))
        parts = (
            Text(text="t"),
            Custom(json={"a": 1}),
            Image(url="https://x/i"),
            File(url="https://x/f"),
            card,
        )
        self.assertEqual(read_reply(reply), said(*parts))

    def test_quick_replies_go_before_buttons_before_text(self) -> None:
        reply: dict[str, Any] = {"text": "t", "buttons": [{"title": "b"}], "quick_replies": [{"title": "q"}]}
        self.assertEqual(read_reply(reply), said(QuickReplies(text="t", replies=(QuickReply(title="q"),))))
        del reply["quick_replies"]
        self.assertEqual(read_reply(reply), said(Buttons(text="t", buttons=(Button(title="b"),))))

    def test_buttons_pay_back_open_and_call(self) -> None:
        reply = {
            "buttons": [
                {"title": "a", "payload": "/yes{}"},
                {"type": "web_url", "title": "b", "url": "https://x"},
                {"type": "phone_number", "title": "c", "payload": "+49"},
            ]
        }
        buttons = (
            Button(title="a", payload="/yes{}"),
            Button(title="b", url="https://x"),
            Button(title="c", phone="+49"),
        )
        self.assertEqual(read_reply(reply), said(Buttons(text="", buttons=buttons)))

    def test_quick_replies_may_ask_and_have_icons(self) -> None:
        reply = {"quick_replies": [{"content_type": "user_email"}, {"title": "a", "image_url": "https://x"}]}
        replies = (QuickReply(ask="email"), QuickReply(title="a", image_url="https://x"))
        self.assertEqual(read_reply(reply), said(QuickReplies(text="", replies=replies)))

    def test_elements_are_cards_and_a_lone_one_is_a_list(self) -> None:
        element = {
            "title": "t",
            "subtitle": "s",
            "image_url": "https://x/i",
            "default_action": {"type": "web_url", "url": "https://x"},
            "buttons": [{"title": "b", "payload": "p"}],
        }
        card = Card(
            title="t",
            subtitle="s",
            image_url="https://x/i",
            url="https://x",
            buttons=(Button(title="b", payload="p"),),
        )
        self.assertEqual(read_reply({"elements": [element]}), said(Carousel(cards=(card,))))
        self.assertEqual(read_reply({"elements": element}), said(Carousel(cards=(card,))))

    def test_unknown_keys_are_metadata(self) -> None:
        reply = {"recipient_id": "r", "text": "t", "json_message": {"x": 1}, "metadata": {"y": 2}}
        self.assertEqual(read_reply(reply), said(Text(text="t"), json_message={"x": 1}, y=2))

    def test_any_mapping_is_a_dict(self) -> None:
        self.assertEqual(read_reply(MappingProxyType({"text": "t"})), said(Text(text="t")))


class AttachmentTests(SynchronousTestCase):
    def attached(self, attachment: object) -> AnyPart:
        (message,) = read_reply({"attachment": attachment})
        assert isinstance(message, Message)
        return message.parts[0]

    def test_plain_addresses_are_media(self) -> None:
        for kind, part in (("image", Image), ("audio", Audio), ("video", Video), ("file", File)):
            self.assertEqual(
                self.attached({"type": kind, "payload": {"url": "https://x"}}), part(url="https://x")
            )
        self.assertEqual(
            self.attached({"type": "image", "payload": {"src": "https://x"}}), Image(url="https://x")
        )

    def test_what_is_more_than_an_address_stays_the_platforms(self) -> None:
        for attachment in (
            {"type": "template", "payload": {"template_type": "generic", "elements": []}},
            {"type": "image", "payload": {"attachment_id": "7"}},
            {"type": "image", "payload": {"url": "https://x", "sticker_id": 1}},
            {"type": "image"},
            {"payload": {"url": "https://x"}},
        ):
            self.assertEqual(self.attached(attachment), Custom(json={"attachment": attachment}))

    def test_a_str_is_a_file_if_it_is_an_address_and_words_otherwise(self) -> None:
        self.assertEqual(self.attached("https://x/f.pdf"), File(url="https://x/f.pdf"))
        self.assertEqual(self.attached("see the list"), Text(text="see the list"))


class WrongReplyTests(SynchronousTestCase):
    def assert_wrong(self, value: object, *words: str) -> None:
        line = str(self.assertRaises(AgentReplyError, read_reply, value))
        for word in words:
            self.assertIn(word, line)
        self.assertNotIn("\n", line)
        self.assertNotIn("hush", line)

    def test_types_that_are_no_reply_are_named(self) -> None:
        for value, name in ((5, "int"), (b"hush", "bytes"), (object(), "object"), (Text, "StructMeta")):
            self.assert_wrong(value, f"not {name}")
        self.assert_wrong(["a", {"hush"}], "not set")
        self.assert_wrong(Button(title="hush"), "not Button")

    def test_wrong_values_are_named_by_their_key(self) -> None:
        self.assert_wrong({"text": 5}, "reply['text'] must be str, not int")
        self.assert_wrong({"text": ["hush"]}, "reply['text'] must be str, not list")
        self.assert_wrong({"buttons": "hush"}, "reply['buttons'] must be a list of dict, not str")
        self.assert_wrong({"buttons": ["hush"]}, "reply['buttons'][0] must be dict, not str")
        self.assert_wrong(
            {"buttons": [{"title": "hush", "payload": {"hush": 1}}]}, "reply['buttons'][0]['payload']"
        )
        self.assert_wrong(
            {"quick_replies": [{"payload": "hush"}]}, "reply['quick_replies'][0]['title'] is missing"
        )
        self.assert_wrong(
            {"elements": [{"title": "hush", "buttons": [{"title": 1}]}]}, "[0]['buttons'][0]['title']"
        )
        self.assert_wrong({"attachment": 5}, "reply['attachment']", "int")
        self.assert_wrong({"metadata": ["hush"], "text": "a"}, "reply['metadata'] must be dict, not list")
        self.assert_wrong({"text": "hush", 1: 2}, "int")

    def test_a_dict_with_other_keys_only_is_a_mistake(self) -> None:
        self.assert_wrong({"message": "hush"}, "none of the keys text")

    def test_values_of_ours_are_checked_against_their_types(self) -> None:
        self.assert_wrong(Text(text=5), "parts[0].text", "int")  # type: ignore[arg-type]
        self.assert_wrong(Handoff(note=b"hush".hex), "Handoff")  # type: ignore[arg-type]
        self.assert_wrong(Location(latitude=float("nan"), longitude=1.0), "latitude")
        self.assert_wrong(Message(parts=("hush",)), "parts[0]")  # type: ignore[arg-type]

    def test_what_has_no_json_form_is_refused(self) -> None:
        for value in (object(), {(1, 2): 3}, lambda: "hush"):
            self.assert_wrong({"custom": value}, "no JSON form")
            self.assert_wrong(Remember(state=value), "no JSON form")

    def test_cycles_and_depths_are_refused(self) -> None:
        cycle: list[Any] = []
        cycle.append(cycle)
        self.assert_wrong(cycle, "nested")
        self.assert_wrong({"custom": cycle}, "nested")
        deep: list[Any] = []
        for _ in range(70):
            deep = [deep]
        self.assert_wrong({"custom": deep}, "nested")
        self.assert_wrong(Remember(state=deep), "nested")


class CleanCopyTests(SynchronousTestCase):
    def test_lone_surrogates_and_nul_can_be_stored(self) -> None:
        for value in (
            "a\ud83d\0b",
            {"text": "a\udc00", "buttons": [{"title": "\ud800", "payload": "\ud800"}], "x": "\ud800"},
            Message(parts=(Custom(json={"\ud800": ["\ud800\0"]}),)),
            [Delta(text="\ud800"), Handoff(note="\ud800"), Remember(state="\0\ud800")],
        ):
            for reply in read_reply(value):
                self.assertEqual(from_json(to_json(reply)), reply)
                self.assertNotIn(b"\\u0000", to_json(reply))

    def test_the_agents_values_are_neither_changed_nor_shared(self) -> None:
        inner = {"list": [1]}
        value = {"text": "t\ud800", "custom": inner, "metadata": {"m": inner}, "buttons": [{"title": "b"}]}
        before = copy.deepcopy(value)
        found = read_reply([value, Custom(json=inner), Remember(state=inner)])
        self.assertEqual(value, before)
        stored = [to_json(reply) for reply in found]
        inner["list"].append(2)
        self.assertEqual([to_json(reply) for reply in found], stored)

    def test_lists_in_our_values_become_tuples(self) -> None:
        (message,) = read_reply(Message(parts=[Text(text="a")]))  # type: ignore[arg-type]
        self.assertEqual(hash(message.parts), hash((Text(text="a"),)))  # type: ignore[union-attr]


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
spoken = words.filter(str.strip)
links = words.map(lambda path: f"https://x/{path}")
buttons = st.one_of(
    st.builds(Button, title=words, payload=st.none() | words),
    st.builds(Button, title=words, url=links, payload=st.none() | words),
    st.builds(Button, title=words, phone=words),
)
asked = st.builds(QuickReply, title=st.just("") | words, ask=st.sampled_from(["phone", "email"]))
replies = asked | st.builds(QuickReply, title=words, payload=st.none() | words, image_url=st.none() | links)
cards = st.builds(
    Card,
    title=words,
    subtitle=st.none() | words,
    image_url=st.none() | links,
    url=st.none() | links,
    buttons=st.lists(buttons, max_size=3).map(tuple),
)
json_values = st.recursive(
    st.booleans() | st.integers(-(2**60), 2**60) | words,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(words, inner, min_size=1, max_size=3)
    ),
    max_leaves=5,
)
parts: st.SearchStrategy[AnyPart] = st.one_of(
    st.builds(Text, text=spoken),
    st.builds(Image, url=links),
    st.builds(Audio, url=links),
    st.builds(Video, url=links),
    st.builds(File, url=links, name=st.none() | words),
    st.builds(
        Buttons, text=st.just("") | words, buttons=st.lists(buttons, min_size=1, max_size=3).map(tuple)
    ),
    st.builds(QuickReplies, text=words, replies=st.lists(replies, min_size=1, max_size=3).map(tuple)),
    st.builds(Carousel, cards=st.lists(cards, min_size=1, max_size=3).map(tuple)),
    st.builds(Custom, json=json_values),
)
metadata = st.none() | st.dictionaries(words, json_values, min_size=1, max_size=3)


class ToRasaTests(SynchronousTestCase):
    @settings(deadline=None, derandomize=True)
    @given(st.lists(parts, min_size=1, max_size=4).map(tuple), metadata)
    def test_what_both_can_say_comes_back(
        self, said: tuple[AnyPart, ...], extra: dict[str, Any] | None
    ) -> None:
        found = read_reply(to_rasa(Message(parts=said, metadata=extra)))
        self.assertEqual(tuple(part for message in found for part in message.parts), said)  # type: ignore[union-attr]
        self.assertEqual(found[0].metadata, extra)  # type: ignore[union-attr]

    def test_the_keys_are_those_of_rasas_clients(self) -> None:
        message = Message(
            parts=(
                Buttons(text="t", buttons=(Button(title="b", payload="p"),)),
                Image(url="https://x/i", alt="a picture"),
                Custom(json={"a": 1}),
            )
        )
        buttons = {"text": "t", "buttons": [{"title": "b", "payload": "p"}]}
        self.assertEqual(to_rasa(message), [buttons, {"image": "https://x/i"}, {"custom": {"a": 1}}])

    def test_a_place_is_given_in_words(self) -> None:
        place = Location(latitude=48.1375, longitude=-0.0000004, title="Here")
        link = "https://www.openstreetmap.org/?mlat=48.1375&mlon=0"
        self.assertEqual(to_rasa(Message(parts=(place,))), [{"text": f"Here\n48.1375, 0\n{link}"}])
        self.assertNotIn("None", place_in_words(Location(latitude=1.0, longitude=2.0)))
