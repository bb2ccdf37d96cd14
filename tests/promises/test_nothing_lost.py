"""Nothing acknowledged is lost: whatever dies, whenever, and whatever the disk does."""

from __future__ import annotations

from itertools import count

from twisted.internet.task import deferLater
from twisted.web.server import Site

from klein_channels.errors import StartError
from klein_channels.policy import Policy
from klein_channels.testing.graph import NEVER
from klein_channels.testing.memory import webhook

from .case import HeldAgent, PromiseCase, remembering_agent

PATIENCE = 40.0
"""Seconds in which everything has happened after a restart: more than `unknown_wait`."""


class AcknowledgementTests(PromiseCase):
    def test_nothing_is_acknowledged_before_its_commit(self):
        kit = self.serve()
        kit.disk.held = True
        asked = kit.ask(webhook(kit.item(message={"text": "hi"})))
        kit.advance(1)
        self.assertEqual(asked.answer, b"")
        kit.disk.release()
        self.assertEqual((asked.status, kit.sent), (200, ["re: hi"]))

    def test_a_full_disk_is_answered_503_and_the_redelivery_is_handled(self):
        kit = self.serve()
        kit.disk.full = True
        asked = kit.ask(webhook(kit.item("m1", message={"text": "hi"})))
        kit.settle()
        self.assertEqual(asked.status, 503)
        self.assertIn(b"retry-after", asked.answer.lower())
        kit.disk.full = False
        self.assertEqual((kit.message("hi", "m1"), kit.sent), (200, ["re: hi"]))

    def test_a_database_that_is_gone_is_answered_503_and_the_redelivery_is_handled(self):
        kit = self.serve()
        kit.disk.gone = True
        self.assertEqual(kit.message("hi", "m1"), 503)
        kit.disk.gone = False
        self.assertEqual((kit.message("hi", "m1"), kit.sent), (200, ["re: hi"]))

    def test_a_commit_that_takes_too_long_is_answered_503_and_still_counts(self):
        kit = self.serve()
        kit.disk.held = True
        body = webhook(kit.item("m1", message={"text": "hi"}))
        asked = kit.ask(body)
        kit.advance(kit.policy.ack_deadline)
        self.assertEqual(asked.status, 503)
        kit.disk.release()
        kit.ask(body)
        kit.settle()
        self.assertEqual(kit.sent, ["re: hi"])

    def test_hanging_up_in_mid_commit_undoes_nothing(self):
        kit = self.serve()
        kit.disk.held = True
        asked = kit.ask(webhook(kit.item(message={"text": "hi"})))
        kit.settle()
        asked.hang_up()
        kit.settle()
        kit.disk.release()
        self.assertEqual(kit.sent, ["re: hi"])

    def test_hanging_up_under_a_foreign_site_undoes_nothing(self):
        # There the way leads through Klein, which cancels the handler of a client that is gone.
        kit = self.serve()
        kit.disk.held = True
        site = Site(kit.service.resource(), reactor=kit.clock, timeout=None)
        site.log = lambda request: None
        asked = kit.ask(webhook(kit.item(message={"text": "hi"})), site=site)
        kit.settle()
        asked.hang_up()
        kit.settle()
        kit.disk.release()
        self.assertEqual(kit.sent, ["re: hi"])


class DiskTroubleTests(PromiseCase):
    def test_a_reply_is_stored_once_the_disk_has_room_again(self):
        agent = HeldAgent()
        kit = self.serve(agent)
        kit.message("hi")
        kit.disk.full = True
        agent.answer("hello")
        kit.advance(5)
        self.assertEqual(kit.sent, [])
        kit.disk.full = False
        kit.advance(5)
        self.assertEqual(kit.sent, ["hello"])

    def test_an_outcome_is_stored_once_the_disk_has_room_again(self):
        kit = self.serve()
        kit.graph.latency = 2.0
        kit.message("hi")
        kit.disk.full = True
        kit.advance(5)
        self.assertEqual((kit.sent, kit.outbox()), (["re: hi"], ["sending"]))
        kit.disk.full = False
        kit.advance(PATIENCE)
        self.assertEqual((kit.sent, kit.outbox()), (["re: hi"], ["sent"]))


class KillTests(PromiseCase):
    def test_between_the_commit_and_the_turn(self):
        kit = self.serve(durable=True)
        kit.disk.kill_at = lambda number: "after"
        self.assertIsNone(kit.message("hi"))
        self.restart(kit)
        self.assertEqual(kit.sent, ["re: hi"])

    def test_an_event_whose_turn_had_not_begun(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True, policy=Policy(max_turns=1))
        kit.message("first")
        kit.message("second", person="2")
        kit.kill()
        self.restart(kit)
        agent.answer("one", -1)
        kit.settle()
        agent.answer("two", -1)
        kit.settle()
        self.assertEqual((agent.asked, kit.sent), (["first", "first", "second"], ["one", "two"]))

    def test_in_the_middle_of_a_turn(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True)
        kit.message("hi")
        kit.kill()
        self.restart(kit)
        agent.answer("hello", -1)
        kit.settle()
        self.assertEqual((agent.asked, kit.sent), (["hi", "hi"], ["hello"]))

    def test_between_the_reply_and_its_send(self):
        kit = self.serve(durable=True)
        # Commits: the event with the start of its turn, the end of it with the claimed reply.
        kit.disk.kill_at = lambda number: "after" if number == kit.before + 2 else None
        kit.before = kit.disk.commits
        kit.message("hi")
        self.assertEqual(kit.sent, [])
        self.restart(kit)
        self.assertEqual((kit.sent, kit.turns(), kit.outbox()), (["re: hi"], ["done"], ["sent"]))

    def test_in_the_middle_of_a_send(self):
        kit = self.serve(durable=True)
        kit.graph.answers(NEVER)
        kit.message("hi")
        kit.kill()
        self.restart(kit)
        self.assertEqual(kit.rows("SELECT state, repeated FROM outbox"), [("sent", 1)])

    def test_at_every_commit_there_is(self):
        survived = 0
        for number in count(1):
            ended = [self.killed_at(number, moment) for moment in ("before", "after")]
            survived = number
            if not any(ended):
                break
        self.assertGreater(survived, 8)

    def killed_at(self, number, moment):
        """Kill at one commit of a conversation; whether it came to that."""
        kit = self.serve(self.leisurely, durable=True)
        self.process = lambda: kit.process
        start = kit.disk.commits
        kit.disk.kill_at = lambda at: moment if at == start + number else None
        body = webhook(kit.item("m1", message={"text": "hi"}))
        asked = kit.ask(body)
        kit.advance(5)
        if kit.process.alive:
            return False
        self.restart(kit)
        if asked.status is None:  # the platform tries again
            kit.ask(body)
            kit.advance(PATIENCE)
        self.check(kit, f"killed {moment} commit {number}")
        return True

    async def leisurely(self, event, turn):
        """Takes its time between its words, so that some are sent while others are not said."""
        async for word in remembering_agent(event, turn):
            yield word
            await deferLater(self.process(), 1.0)

    def restart(self, kit):
        kit.disk.kill_at = lambda number: None
        kit.start()
        kit.advance(PATIENCE)

    def check(self, kit, where):
        """Everything was said, in order; twice only what is marked, because nobody could know."""
        self.assertEqual(list(dict.fromkeys(kit.sent)), ["one", "two", "three"], where)
        self.assertEqual(kit.turns(), ["done"], where)
        repeated = kit.rows("SELECT count(*) FROM outbox WHERE repeated")[0][0]
        self.assertLessEqual(repeated, 1, where)
        again = [text for text in ("one", "two", "three") if kit.sent.count(text) > 1]
        self.assertLessEqual(len(again), repeated, where)
        self.assertLessEqual(len(kit.sent), 3 + repeated, where)
        self.assertEqual(set(kit.outbox()) - {"withdrawn"}, {"sent"}, where)
        self.assertEqual(kit.outbox().count("sent"), 3, where)

    def test_the_next_server_cannot_start_while_this_one_lives(self):
        kit = self.serve(durable=True)
        other = kit.store.__class__(kit.store.path)
        self.assertRaises(StartError, other.open, kit.clock.seconds())
        kit.kill()
        other.open(kit.clock.seconds())
        other.close()
