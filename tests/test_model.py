"""Values keep what they are given on the way to bytes and back, and hostile JSON breaks nothing."""

import json
from typing import get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import MalformedWebhook
from klein_channels.model import (
    MAX_JSON_DEPTH,
    TURN_KINDS,
    Address,
    AnyControl,
    AnyEvent,
    AnyPart,
    Attachment,
    FormAnswered,
    Message,
    MessageReceived,
    Postback,
    Text,
    Turn,
    Unknown,
    from_json,
    read_json,
    to_json,
)

ADDRESS = Address(channel="c", account="a", peer="p")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
ANY_TEXTS = st.text(st.characters())
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
CLASSES = [*get_args(AnyEvent), *get_args(AnyPart), Message, *get_args(AnyControl)]


def strategy_of(kind):
    """A strategy for the type of a field."""
    if isinstance(kind, msgspec.inspect.StructType):
        fields = {field.name: strategy_of(field.type) for field in kind.fields}
        return st.builds(kind.cls, **fields)
    if isinstance(kind, msgspec.inspect.UnionType):
        return st.one_of(*map(strategy_of, kind.types))
    if isinstance(kind, msgspec.inspect.VarTupleType):
        return st.lists(strategy_of(kind.item_type), max_size=3).map(tuple)
    if isinstance(kind, msgspec.inspect.TupleType):
        return st.tuples(*map(strategy_of, kind.item_types))
    if isinstance(kind, msgspec.inspect.DictType):
        return st.dictionaries(strategy_of(kind.key_type), strategy_of(kind.value_type), max_size=3)
    if isinstance(kind, msgspec.inspect.LiteralType):
        return st.sampled_from(kind.values)
    return {
        msgspec.inspect.StrType: TEXTS,
        msgspec.inspect.FloatType: NUMBERS,
        msgspec.inspect.BoolType: st.booleans(),
        msgspec.inspect.IntType: st.integers(-(2**63), 2**63 - 1),
        msgspec.inspect.NoneType: st.none(),
        msgspec.inspect.AnyType: TREES,
    }[type(kind)]


class RoundTripTests(SynchronousTestCase):
    def test_every_class_comes_back_as_it_was(self):
        for cls in CLASSES:
            with self.subTest(cls=cls.__name__):
                self.round_trip(strategy_of(msgspec.inspect.type_info(cls)))

    def round_trip(self, values):
        @given(values)
        @settings(deadline=None, derandomize=True, max_examples=40)
        def comes_back(value):
            self.assertEqual(from_json(to_json(value)), value)

        comes_back()

    def test_no_two_classes_share_a_type(self):
        tags = [cls.__struct_config__.tag for cls in CLASSES]
        self.assertEqual(len(tags), len(set(tags)))

    def test_kind_is_the_type_in_the_stored_form(self):
        event = Postback(id="1", address=ADDRESS)
        self.assertEqual(json.loads(to_json(event))["type"], event.kind)

    def test_turn_kinds_are_kinds(self):
        self.assertEqual(TURN_KINDS - {cls.__struct_config__.tag for cls in get_args(AnyEvent)}, set())


class UnknownTypeTests(SynchronousTestCase):
    def stored(self, **fields):
        return from_json(json.dumps(fields).encode())

    def test_type_of_a_newer_version_is_kept_whole(self):
        fields = {"type": "hologram", "id": "7", "address": {"channel": "c", "account": "a", "peer": "p"}}
        event = self.stored(**fields, beam=3)
        self.assertEqual((event.name, event.id, event.address), ("hologram", "7", ADDRESS))
        self.assertEqual(event.raw, {**fields, "beam": 3})

    def test_known_type_with_a_wrong_field_is_kept_whole(self):
        event = self.stored(type="message", id="1", address={"channel": 5}, text=[])
        self.assertIsInstance(event, Unknown)
        self.assertEqual((event.name, event.raw["text"]), ("message", []))

    def test_anything_at_all_is_kept_whole(self):
        for value in (None, [], [1], "x", 3, {}, {"type": None}, {"type": {"a": []}, "id": [1]}):
            with self.subTest(value=value):
                event = from_json(json.dumps(value).encode())
                self.assertEqual((type(event), event.raw), (Unknown, value))

    def test_field_of_a_newer_version_is_no_obstacle(self):
        self.assertEqual(self.stored(type="text", text="x", font="fraktur"), Text(text="x"))

    def test_an_unknown_event_comes_back_as_itself_and_not_nested(self):
        once = self.stored(type="hologram", id="7")
        self.assertEqual(from_json(to_json(once)), once)


class AddressTests(SynchronousTestCase):
    @given(ANY_TEXTS, ANY_TEXTS, ANY_TEXTS, st.none() | ANY_TEXTS)
    @settings(deadline=None, derandomize=True)
    def test_any_texts_come_back(self, channel, account, peer, thread):
        address = Address(channel=channel, account=account, peer=peer, thread=thread)
        self.assertEqual(Address.parse(str(address)), address)

    @given(*[st.tuples(ANY_TEXTS, ANY_TEXTS, ANY_TEXTS, st.none() | ANY_TEXTS)] * 2)
    @settings(deadline=None, derandomize=True)
    def test_two_addresses_have_two_keys(self, one, other):
        names = ("channel", "account", "peer", "thread")
        keys = {str(Address(**dict(zip(names, parts, strict=True)))) for parts in (one, other)}
        self.assertEqual(len(keys), len({one, other}))

    @given(ANY_TEXTS)
    @settings(deadline=None, derandomize=True)
    def test_key_is_plain_ascii(self, text):
        self.assertRegex(str(Address(channel="c", account=text, peer="\0\n")), r"\Ac:[!-9;-~]*:%00%0A\Z")

    def test_pair_of_lone_surrogates_stays_a_pair(self):
        address = Address(channel="c", account="\ud83d\ude00", peer="😀")
        self.assertEqual(Address.parse(str(address)), address)

    def test_empty_thread_is_a_thread(self):
        self.assertNotEqual(str(Address(channel="c", account="a", peer="p", thread="")), str(ADDRESS))

    def test_what_is_no_key_is_a_value_error(self):
        for key in ("", "a", "a:b", "a:b:c:d:e", "a:b:%ff"):
            with self.subTest(key=key), self.assertRaises(ValueError):
                Address.parse(key)


class ReadJsonTests(SynchronousTestCase):
    def refused(self, body):
        with self.assertRaises(MalformedWebhook) as caught:
            read_json(body)
        text = str(caught.exception)
        self.assertNotIn("\n", text)
        self.assertLess(len(text), 300)
        return text

    def test_depth_64_passes_and_65_does_not(self):
        for opened, closed in (("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")):
            with self.subTest(opened=opened):
                per_layer = len(opened.replace('"a":', ""))
                layers = MAX_JSON_DEPTH // per_layer
                read_json(f"{opened * layers}1{closed * layers}".encode())
                self.assertIn("64", self.refused(f"[{opened * layers}1{closed * layers}]".encode()))

    def test_empty_containers_count_as_a_level(self):
        read_json(b"[" * 64 + b"]" * 64)
        self.refused(b"[" * 65 + b"]" * 65)

    def test_many_brackets_in_a_text_are_not_depth(self):
        self.assertEqual(read_json(b'"' + b"[" * 5000 + b'"'), "[" * 5000)

    def test_wide_is_not_deep(self):
        self.assertEqual(len(read_json(b"[" + b",".join([b"[]"] * 5000) + b"]")), 5000)

    def test_a_megabyte_of_brackets(self):
        for body in (b"[" * (1 << 20), b'{"a":' * (1 << 18), b"[" * (1 << 19) + b"]" * (1 << 19)):
            self.refused(body)

    def test_lone_surrogates_become_replacement_characters_everywhere(self):
        body = rb'{"\ud800": ["a\udfffb", {"k": "\ude00\ud83d"}], "whole": "\ud83d\ude00"}'
        expected = {"\ufffd": ["a\ufffdb", {"k": "\ufffd\ufffd"}], "whole": "😀"}
        self.assertEqual(read_json(body), expected)

    def test_what_comes_out_can_be_stored(self):
        to_json(Unknown(id="1", address=ADDRESS, raw=read_json(rb'["\udead\udead"]')))

    def test_what_is_no_json(self):
        bodies = [
            b"",
            b" ",
            b"{",
            b"[1,]",
            b"{'a':1}",
            b"\xff",
            b'"\xed\xa0\x80"',
            b'"a\nb"',
            b"\xfe\xff",
            b"nul",
        ]
        for body in (*bodies, b"[1] [2]", b"\x00", '"ü"'.encode("latin-1"), '"x"'.encode("utf-16")):
            with self.subTest(body=body):
                self.refused(body)

    def test_numbers_that_are_no_json(self):
        for body in (
            b"NaN",
            b"[Infinity]",
            b'{"a": -Infinity}',
            rb'["\ud800", NaN]',
            b"[01]",
            b"[+1]",
            b"[.5]",
        ):
            with self.subTest(body=body):
                self.refused(body)

    def test_huge_numbers_are_read_or_refused_and_nothing_else(self):
        self.assertEqual(read_json(b"123456789012345678901234567890"), 123456789012345678901234567890)
        for body in (b"9" * 5000, b"-" + b"9" * 100_000, b'["\\ud800", ' + b"9" * 5000 + b"]"):
            with self.subTest(size=len(body)):
                self.refused(body)

    def test_no_number_becomes_infinite(self):
        for body in (b"1e999", b"[-1e999]", rb'["\ud800", 1e999]'):
            with self.subTest(body=body):
                self.refused(body)

    def test_the_last_of_two_equal_keys_counts(self):
        self.assertEqual(read_json(b'{"a": 1, "a": 2}'), {"a": 2})
        self.assertEqual(read_json(rb'{"a": 1, "a": "\ud800"}'), {"a": "\ufffd"})

    def test_error_shows_nothing_of_the_body(self):
        for body in (b'{"token": hunter2hunter2', rb'["\ud800", hunter2hunter2]', b'"hunter2\xff"'):
            self.assertNotIn("hunter2", self.refused(body))

    @given(st.binary(max_size=40) | TREES.map(lambda tree: json.dumps(tree).encode()))
    @settings(deadline=None, derandomize=True)
    def test_any_bytes_are_read_or_refused(self, body):
        try:
            value = read_json(body)
        except MalformedWebhook:
            return
        self.assertEqual(msgspec.json.decode(msgspec.json.encode(value)), value)


class WordsTests(SynchronousTestCase):
    def message(self, **fields):
        return MessageReceived(id="1", address=ADDRESS, **fields)

    def test_message_in_words(self):
        place = Attachment(kind="location")
        picture = Attachment(kind="image", url="https://x/y.png")
        self.assertEqual(self.message(text="hi", attachments=(picture,)).describe(), "hi")
        self.assertEqual(self.message(title="Yes", payload="/yes").describe(), "Yes")
        self.assertEqual(
            self.message(attachments=(picture, place)).describe(), "[image] https://x/y.png\n[location]"
        )
        self.assertEqual(self.message().describe(), "[message]")

    def test_every_kind_has_words(self):
        for cls in get_args(AnyEvent):
            with self.subTest(cls=cls.__name__):
                required = {"mid": "m", "status": "read", "action": "x", "digits": "1"}
                names = {field.name for field in msgspec.structs.fields(cls) if field.required}
                event = cls(id="1", address=ADDRESS, **{k: v for k, v in required.items() if k in names})
                self.assertTrue(event.describe().strip())

    def test_form_with_data_that_is_no_plain_text(self):
        self.assertEqual(FormAnswered(id="1", address=ADDRESS, data={"ü": 1}).describe(), '[form ] {"ü":1}')

    def test_the_last_event_of_a_turn_is_answered(self):
        first, last = self.message(text="1"), Postback(id="2", address=ADDRESS, payload="p")
        self.assertIs(Turn(id=1, conversation="k", events=(first, last)).event, last)


class ImmutableTests(SynchronousTestCase):
    def test_values_cannot_be_changed(self):
        self.assertEqual([cls.__name__ for cls in CLASSES if not cls.__struct_config__.frozen], [])
        with self.assertRaises(AttributeError):
            ADDRESS.peer = "other"
