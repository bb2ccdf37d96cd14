from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Capabilities
from klein_channels.fit import NO_WORDS, fit
from klein_channels.model import (
    AnyPart,
    Audio,
    Button,
    Buttons,
    Card,
    Carousel,
    Custom,
    File,
    Image,
    ListMenu,
    ListRow,
    ListSection,
    Location,
    Message,
    QuickReplies,
    QuickReply,
    Text,
    Video,
)
from klein_channels.text import measure

RICH = Capabilities(
    dialect="own",
    text_limit=100,
    quick_replies=4,
    quick_reply_title=10,
    buttons=3,
    button_title=10,
    button_text=40,
    payload_limit=20,
    cards=2,
    card_title=10,
    card_subtitle=10,
    card_buttons=2,
    media=frozenset({"image", "audio", "video", "file"}),
    location=True,
)
PLAIN = Capabilities(dialect="own", text_limit=200, custom=False)


def fitted(part: AnyPart, able: Capabilities = RICH) -> list[AnyPart]:
    return fit(Message(parts=(part,)), able)


def options(*titles: str) -> tuple[Button, ...]:
    return tuple(Button(title=title, payload=f"/{title[:5]}") for title in titles)


def answers(*titles: str) -> tuple[QuickReply, ...]:
    return tuple(QuickReply(title=title, payload=f"/{title[:5]}") for title in titles)


class TextTests(SynchronousTestCase):
    def test_a_long_text_is_split_and_keeps_its_format(self) -> None:
        able = Capabilities(dialect="own", text_limit=5)
        pieces = [Text(text="one", format="markdown"), Text(text="two", format="markdown")]
        self.assertEqual(fitted(Text(text="one two", format="markdown"), able), pieces)

    def test_markdown_is_cut_into_pieces_that_are_whole_in_the_platforms_dialect(self) -> None:
        able = Capabilities(dialect="own", dialects=("slack",), text_limit=40, buttons=1, button_text=30)
        code = "```\n" + "\n".join("x" * 20 for _ in range(3)) + "\n```"
        buttons = Buttons(text=code, format="markdown", buttons=options("a"))
        for part in (Text(text=code, format="markdown"), buttons):
            pieces = fitted(part, able)
            self.assertEqual(len(pieces), 3)
            self.assertIsInstance(pieces[-1], type(part))
            for piece in pieces:
                assert isinstance(piece, Text | Buttons)
                self.assertEqual((piece.text, piece.format), ("```\n" + "x" * 20 + "\n```", "markdown"))

    def test_markdown_is_plain_words_before_it_is_cut_where_there_is_no_dialect(self) -> None:
        part = Text(text="**one** [two](https://x.example)", format="markdown")
        self.assertEqual(fitted(part, Capabilities()), [Text(text="one two (https://x.example)")])
        self.assertEqual(fitted(part, Capabilities(text_limit=3))[0], Text(text="one"))

    def test_white_space_gives_nothing(self) -> None:
        for part in (Text(text=" \n"), Buttons(text=" ", buttons=()), Carousel(cards=())):
            self.assertEqual(fitted(part), [])


class ButtonTests(SynchronousTestCase):
    def test_buttons_that_fit_stay(self) -> None:
        part = Buttons(
            text="t", buttons=(*options("a", "b"), Button(title="c", url="https://x")), format="markdown"
        )
        self.assertEqual(fitted(part), [part])

    def test_too_many_buttons_are_quick_replies_if_they_pay_back(self) -> None:
        part = Buttons(text="t", buttons=options("a", "b", "c", "d"))
        self.assertEqual(fitted(part), [QuickReplies(text="t", replies=answers("a", "b", "c", "d"))])

    def test_too_many_for_both_are_a_list(self) -> None:
        part = Buttons(text="t", buttons=options(*"abcde"))
        self.assertEqual(fitted(part), [Text(text="t\n1. a\n2. b\n3. c\n4. d\n5. e")])

    def test_links_and_telephones_are_listed_where_there_are_no_buttons(self) -> None:
        buttons = (
            Button(title="a", url="https://x"),
            Button(title="b", phone="+49"),
            Button(title="c", payload="p"),
        )
        listed = [Text(text="t\n1. a: https://x\n2. b: +49\n3. c")]
        self.assertEqual(fitted(Buttons(text="t", buttons=buttons), PLAIN), listed)
        no_links = Capabilities(buttons=3, button_links=False, quick_replies=3)
        self.assertEqual(fitted(Buttons(text="t", buttons=buttons), no_links), listed)

    def test_a_list_under_a_formatted_text_is_apart_and_plain(self) -> None:
        part = Buttons(text="*t*", buttons=options("a_b_c"), format="markdown")
        self.assertEqual(fitted(part, PLAIN), [Text(text="*t*", format="markdown"), Text(text="1. a_b_c")])

    def test_a_cut_title_is_given_in_full_before(self) -> None:
        (shown,) = fitted(Buttons(text="t", buttons=options("a", "a long title")))
        buttons = (Button(title="a", payload="/a"), Button(title="a long ti…", payload="/a lon"))
        self.assertEqual(shown, Buttons(text="t\n1. a\n2. a long title", buttons=buttons))

    def test_a_long_text_goes_before_and_its_last_piece_has_the_buttons(self) -> None:
        text = "x" * 98 + " " + "y" * 30 + " " + "z" * 30
        before, more, last = fitted(Buttons(text=text, buttons=options("a")))
        self.assertEqual((before, more), (Text(text="x" * 98), Text(text="y" * 30)))
        self.assertEqual(last, Buttons(text="z" * 30, buttons=options("a")))

    def test_what_has_no_words_gets_some(self) -> None:
        shown = fitted(Buttons(text=" ", buttons=(Button(title=" ", payload="p"),)))
        self.assertEqual(shown, [Buttons(text=NO_WORDS, buttons=(Button(title=NO_WORDS, payload="p"),))])

    def test_a_button_that_does_nothing_pays_back_its_title(self) -> None:
        (shown,) = fitted(Buttons(text="t", buttons=(Button(title="a"), Button(title="b", url="https://x"))))
        assert isinstance(shown, Buttons)
        self.assertEqual([button.payload for button in shown.buttons], ["a", None])

    def test_a_payload_over_the_limit_is_listed(self) -> None:
        part = Buttons(text="t", buttons=(Button(title="a", payload="p" * 21),))
        self.assertEqual(fitted(part), [Text(text="t\n1. a")])


class QuickReplyTests(SynchronousTestCase):
    def test_they_go_on_the_last_piece(self) -> None:
        part = QuickReplies(text="x" * 99 + " y", replies=answers("a"))
        self.assertEqual(fitted(part), [Text(text="x" * 99), QuickReplies(text="y", replies=answers("a"))])

    def test_too_many_are_listed(self) -> None:
        part = QuickReplies(text="t", replies=answers(*"abcde"))
        self.assertEqual(fitted(part), [Text(text="t\n1. a\n2. b\n3. c\n4. d\n5. e")])

    def test_where_there_are_none_buttons_do(self) -> None:
        able = Capabilities(buttons=3)
        part = QuickReplies(text="t", replies=answers("a", "b"))
        self.assertEqual(fitted(part, able), [Buttons(text="t", buttons=options("a", "b"))])

    def test_what_asks_for_an_address_is_never_a_button(self) -> None:
        part = QuickReplies(text="t", replies=(QuickReply(ask="email"), QuickReply(title="no")))
        self.assertEqual(fitted(part, Capabilities(buttons=3)), [Text(text="t\n1. no")])
        (shown,) = fitted(part)
        assert isinstance(shown, QuickReplies)
        self.assertEqual([(r.ask, r.title) for r in shown.replies], [("email", ""), (None, "no")])

    def test_a_cut_title_is_given_in_full_before(self) -> None:
        (shown,) = fitted(QuickReplies(text="", replies=answers("a long title")))
        cut = QuickReply(title="a long ti…", payload="/a lon")
        self.assertEqual(shown, QuickReplies(text="1. a long title", replies=(cut,)))


class CarouselTests(SynchronousTestCase):
    def test_a_card_with_only_a_title_stays(self) -> None:
        part = Carousel(cards=(Card(title="t"),))
        self.assertEqual(fitted(part), [part])

    def test_more_cards_than_the_limit_are_several_carousels(self) -> None:
        cards = tuple(Card(title=title) for title in "abcde")
        runs = [Carousel(cards=cards[:2]), Carousel(cards=cards[2:4]), Carousel(cards=cards[4:])]
        self.assertEqual(fitted(Carousel(cards=cards)), runs)

    def test_cut_words_are_given_in_full_before(self) -> None:
        button = Button(title="buy it right now", payload="p")
        cards = (Card(title="a"), Card(title="a long title", subtitle="a long subtitle", buttons=(button,)))
        cut_button = Button(title="buy it ri…", payload="p")
        cut = (Card(title="a"), Card(title="a long ti…", subtitle="a long su…", buttons=(cut_button,)))
        full = Text(text="a\n\na long title\na long subtitle\n– buy it right now")
        self.assertEqual(fitted(Carousel(cards=cards)), [full, Carousel(cards=cut)])

    def test_without_cards_each_is_a_picture_and_words_with_buttons(self) -> None:
        able = Capabilities(buttons=3, media=frozenset({"image"}))
        card = Card(title="t", subtitle="s", image_url="https://i", url="https://u", buttons=options("a"))
        words = Buttons(text="t\ns\nhttps://u", buttons=options("a"))
        self.assertEqual(fitted(Carousel(cards=(card,)), able), [Image(url="https://i"), words])
        plain = [Text(text="https://i"), Text(text="t\ns\nhttps://u\n1. a")]
        self.assertEqual(fitted(Carousel(cards=(card,)), PLAIN), plain)

    def test_a_card_whose_buttons_do_not_fit_stands_by_itself_in_its_place(self) -> None:
        cards = (Card(title="a"), Card(title="b", buttons=options(*"xyz")), Card(title="c"))
        alone = Buttons(text="b", buttons=options(*"xyz"))
        expected = [Carousel(cards=cards[:1]), alone, Carousel(cards=cards[2:])]
        self.assertEqual(fitted(Carousel(cards=cards)), expected)


class ListTests(SynchronousTestCase):
    HATS = ListMenu(
        text="Well?",
        button="See",
        sections=(
            ListSection(title="Hats", rows=(ListRow(title="Blue", payload="/b"), ListRow(title="Red"))),
        ),
    )
    SMALL = Capabilities(text_limit=200, list_rows=3, list_title=10, list_description=5, list_text=20)
    ABLE = Capabilities(text_limit=200, list_rows=3, list_title=10, list_description=10, list_text=100)

    def test_it_is_shown_where_there_are_lists(self) -> None:
        [shown] = fitted(self.HATS, self.ABLE)
        rows = (ListRow(title="Blue", payload="/b"), ListRow(title="Red", payload="Red"))
        self.assertEqual(
            shown, msgspec.structs.replace(self.HATS, sections=(ListSection(title="Hats", rows=rows),))
        )

    def test_what_is_cut_is_told_in_words(self) -> None:
        long = ListRow(title="A very long title", payload="/x", description="and a long description")
        *texts, shown = fitted(ListMenu(text="Well?", sections=(ListSection(rows=(long,)),)), self.SMALL)
        told = " ".join([*(text.text for text in texts), shown.text])
        self.assertIn("1. A very long title: and a long description", " ".join(told.split()))
        self.assertLessEqual(len(shown.sections[0].rows[0].title), 10)

    def test_elsewhere_it_is_quick_replies_buttons_or_words(self) -> None:
        for able, kind in (
            (RICH, QuickReplies),
            (msgspec.structs.replace(RICH, quick_replies=0), Buttons),
        ):
            self.assertIsInstance(fitted(self.HATS, able)[-1], kind)
        [words] = fitted(self.HATS, PLAIN)
        self.assertEqual(words.text, "Well?\nHats\n1. Blue\n2. Red")

    def test_a_choice_of_many_is_a_list_where_it_cannot_be_buttons(self) -> None:
        [shown] = fitted(Buttons(text="Well?", buttons=options("a", "b", "c")), self.ABLE)
        self.assertEqual([row.payload for row in shown.sections[0].rows], ["/a", "/b", "/c"])

    def test_a_lone_link_may_be_a_button(self) -> None:
        able = msgspec.structs.replace(RICH, button_links=False, lone_link=True)
        site = Button(title="Site", url="https://x.example")
        self.assertIsInstance(fitted(Buttons(text="See", buttons=(site,)), able)[0], Buttons)
        self.assertIsInstance(fitted(Buttons(text="See", buttons=(site, site)), able)[0], Text)


class OtherPartTests(SynchronousTestCase):
    def test_media_that_cannot_be_shown_are_words_and_address(self) -> None:
        self.assertEqual(fitted(Image(url="https://i", alt="a cat"), PLAIN), [Text(text="a cat\nhttps://i")])
        self.assertEqual(fitted(File(url="https://f", name="f.pdf"), PLAIN), [Text(text="f.pdf\nhttps://f")])
        for part in (Audio(url="https://x"), Video(url="https://x"), Image(url="https://x")):
            self.assertEqual(fitted(part, PLAIN), [Text(text="https://x")])
            self.assertEqual(fitted(part), [part])

    def test_a_place_is_a_link_where_there_is_no_map(self) -> None:
        place = Location(latitude=48.5, longitude=-11.25, title="Here")
        link = "https://www.openstreetmap.org/?mlat=48.5&mlon=-11.25"
        self.assertEqual(fitted(place, PLAIN), [Text(text=f"Here\n48.5, -11.25\n{link}")])
        self.assertEqual(fitted(place), [place])

    def test_a_custom_message_is_its_json_where_it_cannot_pass(self) -> None:
        self.assertEqual(fitted(Custom(json={"a": [1, "é"]}), PLAIN), [Text(text='{"a":[1,"é"]}')])
        self.assertEqual(fitted(Custom(json=1)), [Custom(json=1)])


# ---------------------------------------------------------------------------------------------
# Anything on any platform

word = (
    st.integers(0, 10**9).map("w{}w".format)
    | st.just("👨‍👩‍👧‍👦")
    | st.text("e\u0301🇩क्ष", min_size=1, max_size=30)
)
gap = st.sampled_from([" ", "\n", "\n\n", "\u00a0", ""])
spaced = st.tuples(gap, word).map("".join)


def phrases(most: int) -> st.SearchStrategy[str]:
    return st.lists(spaced, max_size=most).map("".join)


link = st.integers(0, 10**9).map("https://{}.example/".format)
formats: st.SearchStrategy[Any] = st.sampled_from(["plain", "markdown"])
payloads = st.none() | st.text("p", max_size=30)
button = st.one_of(
    st.builds(Button, title=phrases(3), payload=payloads),
    st.builds(Button, title=phrases(3), url=link),
    st.builds(Button, title=phrases(3), phone=st.just("+49123")),
)
some_buttons = st.lists(button, max_size=5).map(tuple)
asks: st.SearchStrategy[Any] = st.sampled_from([None, None, "phone", "email"])
reply = st.builds(QuickReply, title=phrases(3), payload=payloads, ask=asks)
card = st.builds(
    Card,
    title=phrases(3),
    subtitle=st.none() | phrases(4),
    image_url=st.none() | link,
    url=st.none() | link,
    buttons=some_buttons,
)
row = st.builds(ListRow, title=phrases(3), payload=payloads, description=st.none() | phrases(3))
rows = st.lists(row, max_size=3).map(tuple)
section = st.builds(ListSection, rows=rows, title=st.none() | phrases(2))
degrees = st.floats(-180, 180)
part: st.SearchStrategy[AnyPart] = st.one_of(
    st.builds(Text, text=phrases(20), format=formats),
    st.builds(Image, url=link, alt=st.none() | phrases(4)),
    st.builds(Audio, url=link) | st.builds(Video, url=link),
    st.builds(File, url=link, name=st.none() | phrases(2)),
    st.builds(Buttons, text=phrases(12), buttons=some_buttons, format=formats),
    st.builds(QuickReplies, text=phrases(12), replies=st.lists(reply, max_size=5).map(tuple), format=formats),
    st.builds(Carousel, cards=st.lists(card, max_size=5).map(tuple)),
    st.builds(ListMenu, text=phrases(12), sections=st.lists(section, max_size=3).map(tuple), format=formats),
    st.builds(Location, latitude=degrees, longitude=degrees, title=st.none() | phrases(2)),
)
messages = st.builds(Message, parts=st.lists(part, max_size=4).map(tuple))
units: st.SearchStrategy[Any] = st.sampled_from(["characters", "utf16", "bytes"])
media: st.SearchStrategy[Any] = st.frozensets(st.sampled_from(["image", "audio", "video", "file"]))
small = st.integers(0, 5)
lengths = st.integers(0, 40)
platforms = st.builds(
    Capabilities,
    text_limit=st.integers(4, 80),
    text_unit=units,
    quick_replies=small,
    quick_reply_title=lengths,
    buttons=small,
    button_title=lengths,
    button_text=lengths,
    button_links=st.booleans(),
    lone_link=st.booleans(),
    list_rows=small,
    list_title=lengths,
    list_description=lengths,
    list_text=lengths,
    payload_limit=lengths,
    cards=small,
    card_title=lengths,
    card_subtitle=lengths,
    card_buttons=small,
    media=media,
    location=st.booleans(),
    custom=st.booleans(),
)


def texts_of(parts: Iterable[AnyPart]) -> Iterator[str]:
    """Everything in `parts` that is read, in the order in which it is read."""
    for item in parts:
        match item:
            case Text():
                yield item.text
            case Buttons():
                yield from (item.text, *(b.title for b in item.buttons))
            case QuickReplies():
                yield from (item.text, *(r.title for r in item.replies))
            case Carousel():
                for card in item.cards:
                    yield from (card.title, card.subtitle or "", *(b.title for b in card.buttons))
            case ListMenu():
                yield item.text
                for part in item.sections:
                    yield from (part.title or "",) if part.rows else ()
                    yield from (words for row in part.rows for words in (row.title, row.description or ""))
            case Image():
                yield item.alt or ""
            case File():
                yield item.name or ""
            case Location():
                yield item.title or ""


def links_of(parts: Iterable[AnyPart]) -> Iterator[str]:
    """Every address and telephone number in `parts`; in texts they are whatever the texts hold."""
    for item in parts:
        match item:
            case Text():
                yield item.text
            case Image() | Audio() | Video() | File():
                yield item.url
            case ListMenu():
                yield item.text
            case Buttons():
                yield from (item.text, *(b.url or b.phone or "" for b in item.buttons))
            case Carousel():
                for card in item.cards:
                    yield from (card.image_url or "", card.url or "")
                    yield from (b.url or b.phone or "" for b in card.buttons)


def squeezed(texts: Iterable[str]) -> str:
    return "".join("".join(texts).split())


class AnythingAnywhereTests(SynchronousTestCase):
    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(messages, platforms)
    def test_every_part_is_within_the_limits(self, message: Message, able: Capabilities) -> None:
        for shown in fit(message, able):
            self.check(shown, able)

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(messages, platforms)
    def test_every_visible_word_appears_in_order(self, message: Message, able: Capabilities) -> None:
        shown = fit(message, able)
        self.assert_in_order(
            (word for text in texts_of(message.parts) for word in text.split()), texts_of(shown)
        )

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(messages, platforms)
    def test_every_address_appears_in_order(self, message: Message, able: Capabilities) -> None:
        in_texts = {
            word
            for item in message.parts
            if isinstance(item, Text | Buttons | ListMenu)
            for word in item.text.split()
        }
        wanted = (a for text in links_of(message.parts) for a in text.split() if a not in in_texts)
        self.assert_in_order(wanted, links_of(fit(message, able)))

    @settings(deadline=None, derandomize=True)
    @given(messages, platforms)
    def test_what_was_fitted_fits(self, message: Message, able: Capabilities) -> None:
        shown = fit(message, able)
        self.assertEqual(fit(Message(parts=tuple(shown)), able), shown)

    def assert_in_order(self, wanted: Iterable[str], shown: Iterable[str]) -> None:
        everything, at = squeezed(shown), 0
        for piece in wanted:
            found = everything.find(piece, at)
            self.assertGreaterEqual(found, 0, (piece, everything))
            at = found + len(piece)

    def check(self, shown: AnyPart, able: Capabilities) -> None:
        match shown:
            case Text():
                self.assert_words(shown.text, able.text_limit, able)
            case Buttons():
                self.assert_words(shown.text, min(able.text_limit, able.button_text), able)
                lone = able.lone_link and len(shown.buttons) == 1
                self.assert_buttons(shown.buttons, able.buttons, able, lone)
                self.assertTrue(shown.buttons)
            case QuickReplies():
                self.assert_words(shown.text, able.text_limit, able)
                self.assertTrue(0 < len(shown.replies) <= able.quick_replies)
                for item in shown.replies:
                    self.assertTrue(item.ask or item.title.strip())
                    self.assertLessEqual(measure(item.title, able.text_unit), able.quick_reply_title)
                    self.assertLessEqual(measure(item.payload or "", able.text_unit), able.payload_limit)
            case Carousel():
                self.assertTrue(0 < len(shown.cards) <= able.cards)
                for card in shown.cards:
                    self.assert_words(card.title, able.card_title, able)
                    self.assertLessEqual(measure(card.subtitle or "", able.text_unit), able.card_subtitle)
                    self.assert_buttons(card.buttons, able.card_buttons, able)
            case ListMenu():
                self.assert_words(shown.text, min(able.text_limit, able.list_text), able)
                rows = [row for section in shown.sections for row in section.rows]
                self.assertTrue(0 < len(rows) <= able.list_rows)
                for row in rows:
                    self.assert_words(row.title, able.list_title, able)
                    self.assertLessEqual(
                        measure(row.description or "", able.text_unit), able.list_description
                    )
                    self.assertLessEqual(measure(row.payload or "", able.text_unit), able.payload_limit)
            case Location():
                self.assertTrue(able.location)
            case _:
                self.assertIn(type(shown).__name__.lower(), able.media)

    def assert_words(self, text: str, limit: int, able: Capabilities) -> None:
        self.assertTrue(text.strip())
        self.assertLessEqual(measure(text, able.text_unit), limit)

    def assert_buttons(
        self, shown: tuple[Button, ...], most: int, able: Capabilities, lone: bool = False
    ) -> None:
        self.assertLessEqual(len(shown), most)
        for item in shown:
            self.assert_words(item.title, able.button_title, able)
            self.assertLessEqual(measure(item.payload or "", able.text_unit), able.payload_limit)
            self.assertTrue(item.payload or item.url or item.phone)
            self.assertTrue(able.button_links or not (item.url or item.phone) or (lone and not item.phone))
