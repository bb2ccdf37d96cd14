"""RegexInterpreter: the accepted language of three generations, and that nothing breaks it."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.interpreter import RegexInterpreter, looks_structured

parse = RegexInterpreter().parse


def intent(text):
    return parse(text)["intent"]["name"]


def entities(text):
    return [(found["entity"], found["value"]) for found in parse(text)["entities"]]


class BracketTests(SynchronousTestCase):
    def test_intent_alone(self):
        self.assertEqual(
            parse("_greet"),
            {
                "text": "_greet",
                "intent": {"name": "greet", "confidence": 1.0},
                "intent_ranking": [{"name": "greet", "confidence": 1.0}],
                "entities": [],
            },
        )

    def test_empty_brackets(self):
        self.assertEqual((intent("_greet[]"), entities("_greet[]")), ("greet", []))

    def test_intent_is_lower_cased_and_values_are_not(self):
        self.assertEqual(intent("_Greet[name=Rasa]"), "greet")
        self.assertEqual(entities("_Greet[name=Rasa]"), [("name", "Rasa")])

    def test_value_begins_at_the_first_equals_sign(self):
        self.assertEqual(entities("_go[url=http://x/?q=1]"), [("url", "http://x/?q=1")])

    def test_names_are_trimmed(self):
        self.assertEqual(entities("_inform[ a =b, c =d]"), [("a", "b"), ("c", "d")])

    def test_every_offset_points_at_its_value(self):
        text = "  _inform[cuisine=thai, city = bonn,people=2] thanks"
        found = parse(text)["entities"]
        self.assertEqual([text[e["start"] : e["end"]] for e in found], ["thai", "bonn", "2"])
        self.assertEqual([e["value"] for e in found], ["thai", "bonn", "2"])

    def test_text_after_the_bracket_is_ignored(self):
        self.assertEqual(entities("_inform[a=b] and more"), [("a", "b")])

    def test_unclosed_bracket_keeps_the_intent(self):
        self.assertEqual((intent("_inform[a=b"), entities("_inform[a=b")), ("inform", []))

    def test_pairs_without_name_or_value_are_left_out(self):
        self.assertEqual(entities("_inform[=b,a=,c,,d=e]"), [("d", "e")])

    def test_an_at_sign_in_a_value_is_no_confidence(self):
        self.assertEqual(entities("/inform[mail=a@0.1]"), [("mail", "a@0.1")])
        self.assertEqual(parse("/inform[mail=a@0.1]")["intent"]["confidence"], 1.0)


class JsonTests(SynchronousTestCase):
    def test_both_prefixes(self):
        for text in ('/inform{"a": "b"}', '_inform{"a": "b"}'):
            self.assertEqual((intent(text), entities(text)), ("inform", [("a", "b")]))

    def test_slash_keeps_the_case(self):
        self.assertEqual(intent("/Greet"), "Greet")

    def test_a_list_is_several_entities(self):
        self.assertEqual(entities('/inform{"a": ["b", "c"], "n": 2}'), [("a", "b"), ("a", "c"), ("n", 2)])

    def test_broken_json_keeps_the_intent(self):
        for text in (
            '/inform{"a": }',
            '/inform{"a": "b"} more',
            "/inform{",
            '/inform{"a": NaN}',
            "/i{\ud800}",
        ):
            self.assertEqual(entities(text), [])
            self.assertTrue(intent(text))

    def test_confidence(self):
        text = '/inform@0.25{"mail": "a@b"}'
        self.assertEqual(parse(text)["intent"], {"name": "inform", "confidence": 0.25})
        self.assertEqual(entities(text), [("mail", "a@b")])

    def test_confidence_stays_between_0_and_1(self):
        for text in ("/a@7", "/a@" + "9" * 5000, "/a@nan", "/a@-1", "/a@1e9", "/a@1.2.3", "/a@"):
            self.assertEqual(parse(text)["intent"], {"name": "a", "confidence": 1.0})

    def test_span_is_that_of_the_object(self):
        text = ' /inform{"a": "b"} '
        found = parse(text)["entities"][0]
        self.assertEqual(text[found["start"] : found["end"]], '{"a": "b"}')


class PlainWordsTests(SynchronousTestCase):
    def test_sentences_have_no_intent(self):
        sentences = (
            "hello",
            "",
            " ",
            "/",
            "_",
            "/{}",
            "I want {food}",
            "restart",
            "book a table {tonight}",
            "greet[name=x]",
            "a/b",
            "snake_case",
            "see https://x/y",
            'json is {"a": 1}',
            'inform{"a": 1} please',
            "inform[1]",
        )
        for text in sentences:
            self.assertEqual(parse(text)["intent"], {"name": None, "confidence": 0.0}, text)
            self.assertEqual(parse(text)["entities"], [], text)

    def test_a_name_with_an_object_is_an_intent_without_prefix(self):
        self.assertEqual(entities('inform@0.5{"a": "b"}'), [("a", "b")])
        self.assertEqual(parse('inform@0.5{"a": "b"}')["intent"], {"name": "inform", "confidence": 0.5})


class LooksStructuredTests(SynchronousTestCase):
    def test_what_injects_an_intent_looks_structured(self):
        for text in (
            "/restart",
            "_restart",
            " \n/restart",
            'inform{"a": "b"}',
            "\u00a0_restart",
            "/ restart",
            " /{}",
            "//x",
        ):
            self.assertTrue(looks_structured(text), text)

    def test_words_do_not(self):
        for text in ("hello", "", "I want {food}", "50/50", "[image] /restart"):
            self.assertFalse(looks_structured(text), text)


class HostileInputTests(SynchronousTestCase):
    def test_time_is_linear(self):
        pieces = ("[", "{", "_[", "/{", "a=", ",", "@", "]", '{"a":', "\\", " ", "_a[=", "é{")
        started = time.process_time()
        for piece in pieces:
            for prefix in ("", "/", "_", "/a{", "_a[", "a{", "/a@"):
                parse(prefix + piece * (100_000 // len(piece)))
        # A quadratic reader takes minutes for these 91 texts.
        self.assertLess(time.process_time() - started, 20)

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(
        st.one_of(
            st.text(st.characters(codec=None, exclude_categories=())),
            st.text(alphabet='/_[]{}@=,":\\ ab1.\ud800\n', max_size=40),
        )
    )
    def test_no_text_raises_or_slips_past_the_guard(self, text):
        parsed = parse(text)
        self.assertEqual(parsed["text"], text)
        self.assertTrue(0.0 <= parsed["intent"]["confidence"] <= 1.0)
        for found in parsed["entities"]:
            self.assertTrue(0 <= found["start"] < found["end"] <= len(text))
        if parsed["intent"]["name"] is not None:
            self.assertTrue(looks_structured(text))
