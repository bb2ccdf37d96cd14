from __future__ import annotations

import time
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.text import WIDEST, Unit, clean, clusters, measure, shorten, split

FAMILY = "👨‍👩‍👧‍👦"
PIECES = [
    *("e\u0301", "👍🏽", "❤️", "🇩🇪", "🇫🇷🇩🇪🇫", "각", "\u1112\u1161\u11ab", "क्षि", "क्‍ष", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", FAMILY),
    *("\r\n", "\r", "\n\n", "\n", " ", "  ", "\t", "\u00a0", " \u0301", "\u0600 "),
    *("\u0600", "\u200b", "\u200d", "\u094d", "a", "word", "１", "𝒳", "\ud83d", "\ude00"),
]
units = st.sampled_from(list(WIDEST))
texts = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=60).map("".join)


class ClusterTests(SynchronousTestCase):
    def assert_clusters(self, *expected: str) -> None:
        self.assertEqual(list(clusters("".join(expected))), list(expected))

    def test_marks_stay_with_their_base(self) -> None:
        self.assert_clusters("e\u0301\u0323", "x", "\u0bae\u0bc1", "ก็", "a\u20dd")

    def test_emoji_sequences_are_one(self) -> None:
        self.assert_clusters(FAMILY, FAMILY, "👍🏽", "👍", "❤️", "❤️‍🔥", "1️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🏳️‍🌈", "a")

    def test_a_joiner_joins_emoji_only(self) -> None:
        self.assert_clusters("a\u200d", "b", "👨\u200d", "a")

    def test_flags_are_pairs(self) -> None:
        self.assert_clusters("🇩🇪", "🇫🇷", "🇩", "a", "🇩🇪")

    def test_hangul_syllables_of_jamo_are_one(self) -> None:
        self.assert_clusters(
            "\u1112\u1161\u11ab", "\u1100\u1100\u1161", "각\u11a8", "가\u1161\u11a8", "한", "국"
        )
        self.assert_clusters("각", "\u1161", "a", "\u11a8")

    def test_conjuncts_of_indic_scripts_are_one(self) -> None:
        self.assert_clusters("क्षि", "क", "क्‍ष", "স্ত্র", "क्", "a")

    def test_line_ends_and_controls_stand_alone(self) -> None:
        self.assert_clusters("a", "\r\n", "\n", "\r", "\u0301", "\u200b", "\u0301", "\x85", "b")

    def test_prepended_signs_go_with_what_follows(self) -> None:
        self.assert_clusters("\u0600١", "\u0600", "\n", "\u0600\u0600")

    @settings(deadline=None, derandomize=True)
    @given(texts)
    def test_nothing_is_lost(self, text: str) -> None:
        self.assertEqual("".join(clusters(text)), text)


class CleanTests(SynchronousTestCase):
    def test_lone_surrogates_and_nul_are_gone(self) -> None:
        self.assertEqual(clean("a\ud83db\udc00\0c\ud83d"), "a\ufffdb\ufffdc\ufffd")

    def test_a_pair_in_two_halves_becomes_the_character(self) -> None:
        self.assertEqual(clean("\ud83d\ude00\ude00"), "😀\ufffd")

    def test_other_texts_stay_as_they_are(self) -> None:
        self.assertEqual(clean(FAMILY + "\u200b\r\n"), FAMILY + "\u200b\r\n")


class MeasureTests(SynchronousTestCase):
    def test_each_unit_counts_its_own(self) -> None:
        for text, lengths in {"é": (1, 1, 2), "😀": (1, 2, 4), "…": (1, 1, 3), "\ud83d": (1, 1, 3)}.items():
            self.assertEqual(tuple(measure(text, unit) for unit in ("characters", "utf16", "bytes")), lengths)


class SplitTests(SynchronousTestCase):
    def assert_parts(self, text: str, limit: int, *parts: str, unit: Unit = "characters") -> None:
        self.assertEqual(split(text, limit, unit), list(parts))

    def test_a_text_that_fits_is_left_as_it_is(self) -> None:
        self.assert_parts("  a\n\nb ", 8, "  a\n\nb ")

    def test_white_space_gives_nothing(self) -> None:
        for text in ("", " \n\t", " " * 50, "\u00a0" * 50, "\r\n" * 50):
            self.assert_parts(text, 10)

    def test_a_blank_line_goes_before_a_newline_before_white_space_before_a_border(self) -> None:
        self.assert_parts("a\n\nb\nc d ef", 8, "a", "b\nc d ef")
        self.assert_parts("a\nb c defg", 8, "a", "b c defg")
        self.assert_parts("a b cdefgh", 8, "a b", "cdefgh")
        self.assert_parts("abcdefghij", 8, "abcdefgh", "ij")

    def test_a_line_of_white_space_is_a_blank_line(self) -> None:
        self.assert_parts("a\r\n \r\nb\nc defgh", 10, "a", "b\nc defgh")

    def test_white_space_right_behind_the_limit_is_a_place_to_cut(self) -> None:
        self.assert_parts("abcd efgh", 4, "abcd", "efgh")

    def test_no_break_space_holds_words_together(self) -> None:
        self.assert_parts("ab 10\u00a0km", 6, "ab", "10\u00a0km")

    def test_a_cluster_is_not_cut_if_it_fits(self) -> None:
        self.assert_parts("abc" + FAMILY + "d", 8, "abc", FAMILY + "d")
        self.assert_parts("🇩🇪🇫🇷", 7, "🇩🇪", "🇫🇷", unit="utf16")
        self.assert_parts("e\u0301e\u0301", 5, "e\u0301", "e\u0301", unit="bytes")

    def test_a_cluster_over_the_limit_is_cut_between_code_points(self) -> None:
        self.assert_parts("😀\u0301\u0301", 3, "😀\u0301", "\u0301", unit="utf16")
        self.assert_parts("😀😀", 7, "😀", "😀", unit="bytes")

    def test_a_limit_that_fits_no_code_point_is_refused(self) -> None:
        for unit, widest in WIDEST.items():
            self.assertRaises(ValueError, split, "a", widest - 1, unit)

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(texts, st.integers(4, 30), units)
    def test_parts_fit_and_lose_nothing_but_white_space_at_cuts(
        self, text: str, limit: int, unit: Unit
    ) -> None:
        at = 0
        for part in split(text, limit, unit):
            self.assertLessEqual(measure(part, unit), limit)
            self.assertTrue(part.strip())
            found = text.index(part, at)
            self.assertFalse(text[at:found].strip())
            at = found + len(part)
        self.assertFalse(text[at:].strip())

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(texts, st.integers(4, 30), units)
    def test_no_cluster_that_fits_is_cut(self, text: str, limit: int, unit: Unit) -> None:
        may_be_cut: dict[int, bool] = {len(text): True}
        at = 0
        for cluster in clusters(text):
            may_be_cut.update(dict.fromkeys(range(at, at + len(cluster)), measure(cluster, unit) > limit))
            may_be_cut[at] = True
            at += len(cluster)
        at = 0
        for part in split(text, limit, unit):
            start = text.index(part, at)
            at = start + len(part)
            self.assertTrue(may_be_cut[start] and may_be_cut[at], (part, start, at))


class ShortenTests(SynchronousTestCase):
    def test_what_fits_stays(self) -> None:
        self.assertEqual(shorten("abc", 3, "characters"), "abc")

    def test_the_ellipsis_is_within_the_limit(self) -> None:
        self.assertEqual(shorten("abcdef", 4, "characters"), "abc…")
        self.assertEqual(shorten("abcdef", 4, "bytes"), "a…")
        self.assertEqual(shorten("abc def", 5, "characters"), "abc…")

    def test_clusters_are_kept_whole(self) -> None:
        self.assertEqual(shorten("ab" + FAMILY + "c", 8, "characters"), "ab…")

    def test_a_limit_without_room_for_the_ellipsis_cuts_hard(self) -> None:
        self.assertEqual(shorten("abcdef", 2, "bytes"), "ab")
        self.assertEqual(shorten("abcdef", 0, "bytes"), "")
        self.assertEqual(shorten("😀", 1, "utf16"), "")

    def test_a_lone_long_cluster_is_cut_without_a_dangling_joiner(self) -> None:
        self.assertEqual(shorten(FAMILY, 3, "characters"), "👨…")

    @settings(deadline=None, derandomize=True, max_examples=300)
    @given(texts, st.integers(0, 30), units)
    def test_the_result_fits_and_begins_the_text(self, text: str, limit: int, unit: Unit) -> None:
        result = shorten(text, limit, unit)
        self.assertLessEqual(measure(result, unit), limit)
        self.assertTrue(result == text or text.startswith(result.removesuffix("…")))


class HostileTextTests(SynchronousTestCase):
    """Time is compared with the time of a quarter of the text: linear is 4, quadratic 16."""

    def ratio(self, work: Callable[[str], object], piece: str) -> float:
        return self.seconds(work, piece * 40_000) / self.seconds(work, piece * 10_000)

    def seconds(self, work: Callable[[str], object], text: str) -> float:
        def once() -> float:
            start = time.process_time()
            work(text)
            return time.process_time() - start

        return min(once() for _ in range(3))

    def test_splitting_takes_linear_time(self) -> None:
        for piece in ("\u0301", "\u094d", "❤\u0301", "क्", "\u0600", "\u1100", " ", "a ", "🇩", "👨\u200d"):
            ratio = self.ratio(lambda text: split("क" + text, 200, "utf16"), piece)
            self.assertLess(ratio, 10, ascii(piece))

    def test_shortening_takes_linear_time(self) -> None:
        for piece in ("\u0301", "\u094d", "क्", "👨\u200d", " "):
            ratio = self.ratio(lambda text: shorten("क" + text, len(text) // 2, "utf16"), piece)
            self.assertLess(ratio, 10, ascii(piece))
