"""What the shapes say of JSON that is not so, whatever it is."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.meta import rules_instagram, rules_messenger
from klein_channels.meta.rules import Anything, Fields, Kinds, Number, Several, Words
from klein_channels.testing.hostile import JSON_VALUES, for_all, st


class ProblemTests(SynchronousTestCase):
    def problem(self, shape: Any, value: Any) -> str | None:
        found: str | None = shape.problem(value, "it")
        return found

    def test_texts(self) -> None:
        shape = Words(3, unit="bytes", among=("abc", "abcd", "é"))
        self.assertIsNone(self.problem(shape, "é"))
        for value, expected in (
            ("", "it: is empty"),
            ("abcd", "it: 4 bytes, at most 3"),
            ("ééé", "it: 6 bytes, at most 3"),
            ("x", "it: must be one of abc, abcd, é"),
            (5, "it: must be a text, not int"),
            (None, "it: must be a text, not nothing"),
        ):
            self.assertEqual(self.problem(shape, value), expected)
        self.assertEqual(self.problem(Words(9, 3), "ab"), "it: 2 characters, at least 3")

    def test_numbers_also_as_texts(self) -> None:
        shape = Number(1, 7)
        for good in (1, "7", 2.5):
            self.assertIsNone(self.problem(shape, good))
        for value, expected in ((0, "it: is less than 1"), ("8", "it: is more than 7")):
            self.assertEqual(self.problem(shape, value), expected)
        for value in (True, None, [], "seven", 10**400):
            self.assertIn("it: must be a number", self.problem(shape, value) or "")

    def test_the_first_problem_names_its_place(self) -> None:
        shape = Fields({"a": Several(Kinds("b", {"x": Fields({"c": Words(1)})}), 2)}, {"d": Anything("gone")})
        for value, expected in (
            ([], "it: must be an object, not list"),
            ({}, "it.a: is missing"),
            ({"a": {}}, "it.a: must be a list, not dict"),
            ({"a": []}, "it.a: has 0, at least 1"),
            ({"a": [1, 2, 3]}, "it.a: has 3, at most 2"),
            ({"a": [{"b": "x", "c": "1"}, {"b": "y"}]}, "it.a[1].b: must be one of x"),
            ({"a": [{"b": "x", "c": "22"}]}, "it.a[0].c: 2 characters, at most 1"),
            ({"a": [{"b": "x", "c": "1"}], "d": 1}, "it.d: gone"),
        ):
            self.assertEqual(self.problem(shape, value), expected)
        self.assertIsNone(self.problem(shape, {"a": [{"b": "x", "c": "1", "new": 1}], "d": None}))

    def test_no_json_is_an_accident_and_none_is_quoted(self) -> None:
        def check(value: Any, marked: Any) -> None:
            for rules in (rules_messenger, rules_instagram):
                for shape in (rules.BODY, rules.MESSAGE, *rules.TEMPLATES.values()):
                    for given in (value, {"message": value}, marked):
                        problem = shape.problem(given, "")
                        self.assertTrue(problem is None or "SECRET" not in problem, problem)

        words = st.sampled_from(["text", "title", "template_type", "type", "content_type", "tag", "url"])
        marked = st.dictionaries(
            words, st.just("SECRET " * 500) | st.lists(st.just({"type": "SECRET"}), max_size=2)
        )
        for_all(check, JSON_VALUES, marked, examples=60)
