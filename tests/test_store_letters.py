"""Dead letters: an operator finds them all, tries them again, or puts them away."""

import json

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import ConfigError
from klein_channels.store import EndOfTurn, Settlement, open_url

from .doubles import NOW, address, arrival, message, opened, said

KEY = str(address())


class LettersCase(SynchronousTestCase):
    """On SQLite, and, in `test_store_postgres`, on PostgreSQL."""

    def setUp(self):
        self.store = self.opened()
        self.addCleanup(self.store.close)

    def opened(self, **settings):
        """An open store of its own."""
        return opened(**settings)

    def get(self, deferred):
        return self.successResultOf(deferred)

    def dead_turn(self, text="hi", peer="p", now=NOW, reason="ValueError: x"):
        self.get(self.store.enqueue([arrival(message(text, peer))], now))
        turn = self.get(self.store.start_turn(str(address(peer)), now, deterministic=False)).turn
        self.get(self.store.end_turn(turn, EndOfTurn(state="dead", error=reason, failed=True), now))
        return f"turn-{turn.id}"

    def dead_reply(self, text="hi", now=NOW, reason="no such person"):
        self.get(self.store.post(KEY, [said(text)], None, now))
        claim = self.get(self.store.claim_reply(KEY, now))
        settlement = Settlement(state="dead", error=reason)
        self.get(self.store.settle_reply(claim, settlement, now, claim_next=False))
        return f"reply-{claim.row}"

    def listed(self, after=None, limit=100):
        return [letter.id for letter in self.get(self.store.dead_letters(after, limit))]

    def redrive(self, name, action="replay", now=NOW):
        return self.get(self.store.redrive(name, action, now))


class ListTests(LettersCase):
    def test_oldest_first_whatever_they_are(self):
        names = [self.dead_reply(now=NOW + 1), self.dead_turn(now=NOW + 2), self.dead_reply(now=NOW + 3)]
        names.insert(0, self.dead_turn(peer="q", now=NOW))
        self.assertEqual(self.listed(), names)

    def test_pages_join_without_gap_or_overlap(self):
        names = [self.dead_reply(now=NOW + n // 3) for n in range(10)]
        found, after = [], None
        while page := self.listed(after, 3):
            found += page
            after = page[-1]
        self.assertEqual(found, names)

    def test_behind_one_that_was_put_away_meanwhile_the_list_begins_anew(self):
        names = [self.dead_reply(now=NOW + n) for n in range(3)]
        self.redrive(names[0], "discard")
        self.assertEqual(self.listed(after=names[0]), names[1:])

    def test_what_it_was_and_why(self):
        letter = self.get(self.store.dead_letter(self.dead_turn("wörds", reason="ValueError: x")))
        self.assertEqual((letter.kind, letter.conversation, letter.at), ("turn", KEY, NOW))
        self.assertEqual(letter.reason, "ValueError: x")
        self.assertEqual([event["text"] for event in letter.content], ["wörds"])
        letter = self.get(self.store.dead_letter(self.dead_reply("wörds")))
        self.assertEqual(letter.content["parts"][0]["text"], "wörds")
        json.dumps(letter.content)

    def test_only_dead_ones_are_letters(self):
        self.get(self.store.enqueue([arrival(message())], NOW))
        self.get(self.store.post(KEY, [said("x")], None, NOW))
        self.assertEqual(self.listed(), [])
        self.assertIsNone(self.get(self.store.dead_letter("reply-1")))

    def test_names_of_nobody(self):
        odd = ["", "turn", "turn-", "turn--1", "reply-x", "reply-1.5", "reply-²", "letter-1", "turn-1; DROP"]
        for name in [*odd, "turn-0", "turn-" + "9" * 30, "reply-" + "9" * 5000]:
            with self.subTest(name=name[:20]):
                self.assertIsNone(self.get(self.store.dead_letter(name)))
                self.assertFalse(self.redrive(name))
                self.assertFalse(self.redrive(name, "discard"))
                self.assertEqual(self.listed(after=name), [])


class RedriveTests(LettersCase):
    def test_a_reply_goes_out_again_under_its_old_id(self):
        name = self.dead_reply()
        self.assertTrue(self.redrive(name, now=NOW + 9))
        self.assertEqual(self.listed(), [])
        claim = self.get(self.store.claim_reply(KEY, NOW + 9))
        self.assertEqual((f"reply-{claim.row}", claim.first_at, claim.repeated), (name, NOW + 9, False))

    def test_a_reply_whose_outcome_was_unknown_twice_has_a_whole_life_again(self):
        self.get(self.store.post(KEY, [said("x")], None, NOW))
        for _ in range(2):
            claim = self.get(self.store.claim_reply(KEY, NOW))
            settlement = Settlement(state="unknown", due_at=NOW)
            self.get(self.store.settle_reply(claim, settlement, NOW, claim_next=False))
        self.assertIsNone(self.get(self.store.claim_reply(KEY, NOW)))
        self.redrive("reply-1")
        self.assertFalse(self.get(self.store.claim_reply(KEY, NOW)).repeated)

    def test_a_turn_starts_again_with_the_same_events_and_all_its_tries(self):
        name = self.dead_turn("hi")
        self.assertTrue(self.redrive(name))
        self.assertEqual(self.get(self.store.due(NOW, 9)).turns, (KEY,))
        again = self.get(self.store.start_turn(KEY, NOW, deterministic=False))
        self.assertEqual((f"turn-{again.turn.id}", again.turn.event.text, again.failures), (name, "hi", 0))
        self.assertIsNone(again.first_failure)

    def test_several_replays_of_one_conversation_run_one_after_the_other(self):
        names = [self.dead_turn(str(n)) for n in range(3)]
        for name in reversed(names):
            self.redrive(name)
        for name in names:
            started = self.get(self.store.start_turn(KEY, NOW, deterministic=False))
            self.assertEqual(f"turn-{started.turn.id}", name)
            self.get(self.store.end_turn(started.turn, EndOfTurn(state="done"), NOW))
        self.assertIsNone(self.get(self.store.start_turn(KEY, NOW, deterministic=False)))

    def test_a_replay_waits_for_the_turn_that_runs(self):
        name = self.dead_turn("old")
        self.get(self.store.enqueue([arrival(message("new"))], NOW))
        running = self.get(self.store.start_turn(KEY, NOW, deterministic=False)).turn
        self.redrive(name)
        self.get(self.store.end_turn(running, EndOfTurn(state="retry", due_at=NOW), NOW))
        again = self.get(self.store.start_turn(KEY, NOW, deterministic=False)).turn
        self.assertEqual(again.id, running.id)

    def test_each_can_be_done_once(self):
        for action, other in (("replay", "discard"), ("discard", "replay")):
            for name in (self.dead_turn(peer=action), self.dead_reply()):
                self.assertTrue(self.redrive(name, action))
                self.assertFalse(self.redrive(name, action))
                self.assertFalse(self.redrive(name, other))

    def test_a_discarded_one_is_put_away(self):
        for name in (self.dead_turn(), self.dead_reply()):
            self.redrive(name, "discard")
        self.assertEqual((self.listed(), self.get(self.store.stats()).dead_letters), ([], 0))
        self.assertIsNone(self.get(self.store.start_turn(KEY, NOW, deterministic=False)))
        self.assertIsNone(self.get(self.store.claim_reply(KEY, NOW)))


class StatsTests(LettersCase):
    def test_how_much_waits_and_since_when(self):
        empty = self.get(self.store.stats())
        self.assertEqual(
            (empty.waiting_events, empty.open_replies, empty.dead_letters, empty.oldest), (0, 0, 0, None)
        )
        self.dead_turn(peer="q")
        self.dead_reply()
        for wait in (3, 5):
            self.get(self.store.enqueue([arrival(message())], NOW - wait))
        self.get(self.store.post(KEY, [said("x"), said("y", part=1)], None, NOW))
        stats = self.get(self.store.stats())
        self.assertEqual((stats.waiting_events, stats.open_replies, stats.dead_letters), (2, 2, 2))
        self.assertEqual(stats.oldest, NOW - 5)


class UrlTests(SynchronousTestCase):
    def test_what_names_a_store(self):
        self.assertEqual(open_url("memory:"), ("memory", ""))
        self.assertEqual(open_url("sqlite:///bot.db"), ("sqlite", "bot.db"))
        self.assertEqual(open_url("sqlite:////var/lib/bot.db"), ("sqlite", "/var/lib/bot.db"))

    def test_what_does_not(self):
        for url in (
            "",
            "sqlite:",
            "sqlite://",
            "sqlite:///",
            "bot.db",
            "sqlite://bot.db",
            "mysql:///x",
            "Memory:",
        ):
            with self.subTest(url=url), self.assertRaises(ConfigError) as caught:
                open_url(url)
            self.assertIn("sqlite:///PATH", str(caught.exception))

    def test_postgresql(self):
        for url in ("postgresql://u:hunter2@h,i/db?sslmode=require", "postgres:///db"):
            self.assertEqual(open_url(url), ("postgres", url))

    def test_no_password_is_shown(self):
        for url in ("mysql://u:hunter2@h/db", "postgres:hunter2@h/db"):
            with self.assertRaises(ConfigError) as caught:
                open_url(url)
            self.assertNotIn("hunter2", str(caught.exception))
