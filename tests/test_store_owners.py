"""Who answers, and who people are, on both engines."""

from klein_channels.model import Sender
from klein_channels.store import Acquaintance, EndOfTurn, NotNow, Settlement, StartedTurn
from klein_channels.store.persons import MOST_KEPT

from .doubles import NOW, arrival, message, said
from .test_store_letters import KEY, LettersCase
from .test_store_postgres import both


class OwnersCase(LettersCase):
    def own(self, owner, now=NOW, until=None, key=KEY):
        self.get(self.store.set_owner(key, owner, now, until=until))

    def come(self, *texts, now=NOW, **more):
        events = [arrival(message(text), **more) for text in texts]
        self.get(self.store.enqueue(events, now))

    def start(self, now=NOW):
        return self.get(self.store.start_turn(KEY, now, deterministic=False))


class OwnerTests(OwnersCase):
    def test_what_waits_is_withheld_with_the_takeover(self):
        self.come("one")
        self.get(self.store.post(KEY, [said("x")], None, NOW))
        self.own("human", until=NOW + 10)
        self.assertIsNone(self.start(NOW + 20))
        self.assertIsNone(self.get(self.store.claim_reply(KEY, NOW + 20)))

    def test_a_running_turn_says_nothing_more_whoever_owns_it_then(self):
        self.come("one")
        turn = self.start().turn
        self.own("human", until=NOW + 10)
        end = EndOfTurn(state="done", replies=(said("late"),), claims=True)
        ended = self.get(self.store.end_turn(turn, end, NOW + 20))
        self.assertIsNone(ended.claim)
        self.assertIsNone(self.get(self.store.claim_reply(KEY, NOW + 20)))

    def test_what_an_operator_replays_is_the_bots_again(self):
        self.come("one")
        turn = self.start().turn
        self.own("human")
        self.get(self.store.end_turn(turn, EndOfTurn(state="dead", error="x"), NOW))
        self.own("bot")
        self.assertTrue(self.get(self.store.redrive(f"turn-{turn.id}", "replay", NOW)))
        again = self.start().turn
        self.get(self.store.end_turn(again, EndOfTurn(state="done", replies=(said("late"),)), NOW))
        claim = self.get(self.store.claim_reply(KEY, NOW))
        self.own("human")
        self.get(self.store.settle_reply(claim, Settlement(state="dead"), NOW, claim_next=False))
        self.own("bot")
        self.assertTrue(self.get(self.store.redrive(f"reply-{claim.row}", "replay", NOW)))
        self.assertEqual(self.get(self.store.claim_reply(KEY, NOW)).row, claim.row)

    def test_a_time_that_is_over_needs_nobody_to_notice(self):
        self.own("paused", until=NOW + 10)
        self.come("one")
        self.assertIsInstance(self.start(NOW + 9), NotNow)
        self.assertIsInstance(self.start(NOW + 10), StartedTurn)

    def test_those_whose_time_is_over_are_told_once(self):
        self.own("paused", until=NOW + 10)
        self.own("human", key="other:1:2")
        self.assertFalse(self.get(self.store.due(NOW + 9, 10)).owners)
        self.assertTrue(self.get(self.store.due(NOW + 10, 10)).owners)
        self.assertEqual(self.get(self.store.return_owners(NOW + 10, 10)).turns, (KEY,))
        self.assertFalse(self.get(self.store.due(NOW + 99, 10)).owners)

    def test_a_conclusion_does_not_change_what_was_said_outright(self):
        self.own("paused")
        self.come("one")
        echo = {"owner": "human", "owner_until": NOW + 10, "implied": True, "turn": False}
        self.come("an echo", **echo)
        [found] = self.get(self.store.conversations((), None, 10, NOW))
        self.assertEqual((found.owner, found.until), ("paused", None))
        self.own("bot")
        self.assertIsNone(self.start(), "the human answered it")

    def test_they_are_listed(self):
        for number in range(5):
            self.own("paused" if number % 2 else "human", until=NOW + number, key=f"a:b:{number}")
        found = self.get(self.store.conversations(("human",), "a:b:0", 10, NOW))
        self.assertEqual([(one.key, one.until) for one in found], [("a:b:2", NOW + 2), ("a:b:4", NOW + 4)])
        self.assertEqual(len(self.get(self.store.conversations((), None, 3, NOW))), 3)


class PersonTests(OwnersCase):
    def learn(self, id, name="Ada", until=NOW + 9):
        person = Sender(id=id, name=name)
        self.get(self.store.note_person(KEY, Acquaintance(person=person, until=until)))

    def test_they_come_with_the_turn(self):
        self.come("one")
        self.learn("p")
        self.learn("q", "Bob")
        self.learn("p", "Ada L")
        names = {one.person.id: one.person.name for one in self.start().people}
        self.assertEqual(names, {"p": "Ada L", "q": "Bob"})

    def test_no_more_are_kept_than_a_turn_can_carry(self):
        self.come("one")
        for number in range(MOST_KEPT + 5):
            self.learn(str(number))
        people = self.start().people
        self.assertEqual((len(people), people[0].person.id), (MOST_KEPT, "5"))

    def test_without_a_conversation_nothing_is_kept(self):
        self.learn("p")
        self.assertEqual(self.get(self.store.conversations((), None, 10, NOW)), [])


for _case in (OwnerTests, PersonTests):
    _made = both(_case)
    _made.__module__ = __name__
    globals()[_made.__name__] = _made
del _case, _made
