"""What an operator orders holds: for every server on the store, over restarts, and on record."""

from __future__ import annotations

from twisted.internet.defer import Deferred, ensureDeferred

from klein_channels.operations import Operations
from klein_channels.store.people import Person
from klein_channels.testing.memory import PERSON

from .case import HeldAgent, PromiseCase

ME = Person(channel="facebook", id=PERSON)


class OperatorCase(PromiseCase):
    def order(self, kit, name, *arguments):
        """What a command beside the server does: nothing but a transaction on its store."""
        operations = Operations(kit.store, kit.clock.seconds, actor="promise")
        waiting = getattr(operations, name)(*arguments)
        if not isinstance(waiting, Deferred):
            waiting = ensureDeferred(waiting)
        kit.settle()
        return self.successResultOf(waiting)


class PauseTests(OperatorCase):
    def test_what_is_held_is_answered_later_in_its_order(self):
        kit = self.serve(durable=True)
        self.order(kit, "pause", "facebook", None, "hold")
        for text in ("one", "two", "three"):
            self.assertEqual(kit.message(text), 200)
        kit.advance(600)
        self.assertEqual((kit.sent, kit.turns()), ([], []))
        self.order(kit, "resume", "facebook", None)
        kit.advance(2)
        self.assertEqual(kit.sent, ["re: one", "re: two", "re: three"])

    def test_a_reply_that_is_there_already_waits_too(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True)
        kit.message("one")
        self.order(kit, "pause", "facebook", None, "hold")
        agent.answer("late")
        kit.advance(600)
        self.assertEqual(kit.sent, [])

    def test_neither_a_crash_nor_a_restart_ends_it(self):
        kit = self.serve(durable=True)
        self.order(kit, "pause", "facebook", None, "hold")
        kit.message("one")
        kit.kill()
        kit.start()
        kit.message("two")
        kit.advance(600)
        self.assertEqual(kit.sent, [])
        self.order(kit, "resume", "facebook", None)
        kit.advance(2)
        self.assertEqual(kit.sent, ["re: one", "re: two"])

    def test_what_is_rejected_is_not_acknowledged_and_comes_again(self):
        kit = self.serve(durable=True)
        self.order(kit, "pause", "facebook", None, "reject")
        kit.advance(2)
        item = kit.item(message={"text": "one"})
        self.assertEqual(kit.deliver(item), 503)
        self.order(kit, "resume", "facebook", None)
        kit.advance(2)
        self.assertEqual(kit.deliver(item), 200)
        self.assertEqual(kit.sent, ["re: one"])


class ErasureTests(OperatorCase):
    def everything(self, kit):
        tables = [name for (name,) in kit.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return repr([kit.rows(f"SELECT * FROM {name}") for name in tables if name not in ("seen", "store")])

    def test_nothing_of_a_person_is_left_and_a_redelivery_brings_nothing_back(self):
        kit = self.serve(durable=True)
        item = kit.item(message={"text": "my wish"})
        kit.deliver(item)
        self.assertGreater(self.order(kit, "erase", ME), 0)
        self.assertEqual(kit.deliver(item), 200)
        kit.advance(60)
        self.assertEqual(kit.sent, ["re: my wish"])
        left = self.everything(kit)
        self.assertNotIn("my wish", left)
        self.assertNotIn(PERSON, left)

    def test_a_turn_that_runs_says_nothing_afterwards(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True)
        kit.message("my wish")
        self.order(kit, "erase", ME)
        agent.answer("your wish")
        kit.advance(600)
        self.assertEqual(kit.sent, [])
        self.assertNotIn("wish", self.everything(kit))


class RecordTests(OperatorCase):
    def test_what_was_done_and_its_record_are_one(self):
        kit = self.serve(durable=True)
        self.order(kit, "pause", "facebook", None, "hold")
        kit.kill()
        kit.start()
        (deed,) = self.order(kit, "deeds")
        self.assertEqual((deed.actor, deed.action, deed.subject), ("promise", "pause", "facebook:"))
        self.assertEqual(len(self.order(kit, "pauses")), 1)
