"""What is secret is found in all the spellings in which it travels, as long as it lives."""

import base64
import gc
import logging
import pickle
import threading
from urllib.parse import quote, quote_plus, urlencode

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.secret import HIDDEN, SHORTEST_REDACTED, Secret, redact

ODD = "k+y/=&? ü'\"\\\n{}%"


class ShowTests(SynchronousTestCase):
    def test_nothing_shows_the_text(self):
        secret = Secret("hunter2hunter2")
        shown = [
            repr(secret),
            str(secret),
            f"{secret}",
            f"{secret!r:>40}",
            " ".join(map(str, [secret])),
            repr([secret]),
        ]
        self.assertEqual([text for text in shown if "hunter2" in text], [])

    def test_an_error_about_it_does_not_show_it(self):
        with self.assertRaises(TypeError) as caught:
            msgspec.json.encode(Secret("hunter2hunter2"))
        self.assertNotIn("hunter2", str(caught.exception))

    def test_it_has_no_dict_to_print(self):
        with self.assertRaises(TypeError):
            vars(Secret("hunter2hunter2"))

    def test_empty_is_false(self):
        self.assertFalse(Secret(""))
        self.assertTrue(Secret("0"))


class RedactTests(SynchronousTestCase):
    def hidden(self, secret, text):
        found = redact(text)
        self.assertIn(HIDDEN, found)
        self.assertNotIn(secret.reveal(), found)
        return found

    def test_plain_at_any_place(self):
        secret = Secret("EAAGm0PX4ZCpsBA")
        self.assertEqual(self.hidden(secret, "a EAAGm0PX4ZCpsBA, EAAGm0PX4ZCpsBA"), f"a {HIDDEN}, {HIDDEN}")

    def test_percent_encoded_and_in_forms(self):
        secret = Secret(ODD)
        for spelled in (quote(ODD, safe=""), quote_plus(ODD), urlencode({"t": ODD})):
            self.hidden(secret, f"GET /me?access_token={spelled}&x=1")

    def test_in_a_representation(self):
        secret = Secret(ODD)
        for shown in (repr(ODD), repr({"token": ODD}), repr((ODD,))):
            self.hidden(secret, shown)

    @given(st.text(min_size=12, max_size=24), st.binary(max_size=5), st.binary(max_size=5))
    @settings(deadline=None, derandomize=True)
    def test_base64_wherever_it_stands_in_what_was_encoded(self, text, before, behind):
        secret = Secret(text)
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            shown = encode(before + text.encode() + behind).decode()
            found = redact(f"Authorization: Basic {shown}")
            self.assertIn(HIDDEN, found)
            left = found.replace(HIDDEN, "").partition("Basic ")[2]
            # What stays are the neighbours, and at most the bits that a border character shares.
            self.assertLessEqual(len(left.rstrip("=")), (len(before) + len(behind)) * 4 / 3 + 4)
        del secret

    def test_longer_of_two_that_overlap_goes_whole(self):
        secrets = [Secret("abcdefgh"), Secret("abcdefghijkl"), Secret("xabcdef")]
        self.assertEqual(redact("-abcdefghijkl-"), f"-{HIDDEN}-")
        del secrets

    def test_short_ones_are_left_in_place(self):
        secret = Secret("a" * (SHORTEST_REDACTED - 1))
        self.assertEqual(redact("banana aaaaa"), "banana aaaaa")
        del secret

    def test_what_looks_like_a_pattern_is_a_text(self):
        secret = Secret(".*.*.*(")
        self.assertEqual(redact("a text .*.*.*( here"), f"a text {HIDDEN} here")
        del secret

    def test_a_secret_with_a_lone_surrogate_breaks_nothing(self):
        secret = Secret("caf\udce9 au lait")
        self.assertEqual(redact("ordered caf\udce9 au lait, twice"), f"ordered {HIDDEN}, twice")
        self.assertEqual(redact("ordered nothing"), "ordered nothing")
        del secret

    def test_text_without_secrets_is_itself(self):
        text = "nothing here"
        self.assertIs(redact(text), text)


class LifetimeTests(SynchronousTestCase):
    """A secret is hidden while any value holds it; a dead one may be forgotten, and then shows again."""

    def test_a_copy_outlives_the_first(self):
        first = Secret("the same long text")
        second = Secret("the same long text")
        del first
        gc.collect()
        other = Secret("another long text")
        self.assertEqual(redact("the same long text"), HIDDEN)
        del second, other

    def test_many_copies_and_one_that_stays(self):
        stays = Secret("the same long text")
        for _ in range(100):
            Secret("the same long text")
        other = Secret("another long text")
        self.assertEqual(redact("the same long text"), HIDDEN)
        del stays, other

    def test_a_dead_one_is_forgotten_when_the_next_is_made(self):
        secret = Secret("shortlived text")
        self.assertEqual(redact("shortlived text"), HIDDEN)
        del secret
        gc.collect()
        other = Secret("another long text")
        self.assertEqual(redact("shortlived text"), "shortlived text")
        del other

    def test_secrets_made_on_other_threads_do_not_disturb_redaction(self):
        stop, failures = threading.Event(), []

        def make():
            kept = []
            while not stop.is_set() and len(kept) < 20_000:
                kept.append(Secret(f"secret number {len(kept)}"))

        maker = threading.Thread(target=make)
        maker.start()
        try:
            for _ in range(20):
                redact("some text")
        except RuntimeError as error:
            failures.append(error)
        finally:
            stop.set()
            maker.join()
        self.assertEqual(failures, [])


class CompareTests(SynchronousTestCase):
    def test_matches_texts_and_bytes(self):
        secret = Secret("grün&co")
        self.assertTrue(secret.matches("grün&co"))
        self.assertTrue(secret.matches("grün&co".encode()))
        for other in ("", "grün", "grün&co ", b"", b"\xff", "\ud800", "grun&co"):
            self.assertFalse(secret.matches(other), other)

    def test_one_with_a_lone_surrogate_can_be_compared(self):
        secret = Secret("caf\udce9")
        self.assertTrue(secret.matches("caf\udce9"))
        self.assertFalse(secret.matches("café"))

    def test_nothing_is_not_a_match(self):
        for nothing in (None, 0):
            with self.assertRaises((AttributeError, TypeError)):
                Secret("None").matches(nothing)

    def test_equality_is_with_secrets_alone(self):
        self.assertEqual(Secret("abc"), Secret("abc"))
        self.assertEqual(hash(Secret("abc")), hash(Secret("abc")))
        self.assertNotEqual(Secret("abc"), Secret("abd"))
        self.assertNotEqual(Secret("abc"), "abc")

    def test_comparison_takes_constant_time(self):
        compared = []
        self.patch(
            __import__("klein_channels.secret").secret.hmac,
            "compare_digest",
            lambda one, other: compared.append((one, other)) or one == other,
        )
        secret = Secret("text")
        self.assertTrue(secret.matches("text") and secret == Secret("text"))
        self.assertEqual(compared, [(b"text", b"text")] * 2)


class CopyTests(SynchronousTestCase):
    def test_pickling_is_refused(self):
        for protocol in (0, 1):
            with self.assertRaises(TypeError):
                pickle.dumps(Secret("hunter2hunter2"), protocol)

    def test_logging_of_the_standard_library_shows_nothing(self):
        record = logging.LogRecord(
            "n", 20, "f", 1, "token %s %r", (Secret("hunter2"), Secret("hunter2")), None
        )
        self.assertNotIn("hunter2", record.getMessage())
