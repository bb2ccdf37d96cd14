"""A send is repeated only if its outcome is unknown: marked, at most once, and not if an echo settles it."""

from __future__ import annotations

from klein_channels.testing.graph import CLOSE, GARBAGE, NEVER, Answer

from .case import PromiseCase

UNSEEN = Answer(ending="never", shown=False)


class RepeatedSendTests(PromiseCase):
    def repeated(self, kit):
        return kit.rows("SELECT state, repeated, tries FROM outbox")

    def test_what_was_answered_is_never_repeated(self):
        kit = self.serve()
        kit.message("hi")
        kit.advance(600)
        self.assertEqual((kit.sent, self.repeated(kit)), (["re: hi"], [("sent", 0, 1)]))

    def test_what_certainly_did_not_arrive_is_not_marked(self):
        kit = self.serve()
        kit.process.refuses = True
        kit.message("hi")
        kit.process.refuses = False
        kit.advance(2)
        self.assertEqual((kit.sent, self.repeated(kit)), (["re: hi"], [("sent", 0, 2)]))

    def test_an_unknown_outcome_waits_and_is_then_repeated_once_and_marked(self):
        kit = self.serve()
        kit.graph.answers(UNSEEN)
        kit.message("hi")
        kit.advance(20 + 29)
        self.assertEqual(self.repeated(kit), [("unknown", 0, 1)])
        with self.captured() as logged:
            kit.advance(2)
        self.assertEqual((kit.sent, self.repeated(kit)), (["re: hi"], [("sent", 1, 2)]))
        self.assertTrue(any("again" in event["log_format"] for event in logged), "silently")

    def test_a_second_unknown_outcome_is_a_dead_letter(self):
        for answer in (NEVER, CLOSE, GARBAGE):
            kit = self.serve()
            kit.graph.answers(answer, answer, answer)
            kit.message("hi")
            kit.advance(600)
            self.assertEqual(self.repeated(kit), [("dead", 1, 2)], answer)
            self.assertEqual(len(kit.sent), 2)

    def test_a_kill_during_the_second_try_ends_it(self):
        kit = self.serve(durable=True)
        kit.graph.answers(NEVER, NEVER)
        kit.message("hi")
        kit.advance(51)
        self.assertEqual(self.repeated(kit), [("sending", 1, 2)])
        kit.kill()
        kit.start()
        kit.advance(600)
        self.assertEqual((self.repeated(kit), len(kit.sent)), ([("dead", 1, 2)], 2))


class EchoTests(PromiseCase):
    def echo(self, kit, number=0, **changes):
        """The platform's echo of a message of ours."""
        shown = kit.graph.sent[number]
        message = {"is_echo": True, "text": shown.text, "metadata": shown.body["message"]["metadata"]}
        item = kit.item(shown.mid, message={**message, **changes})
        item["sender"], item["recipient"] = item["recipient"], item["sender"]
        return item

    def test_an_echo_settles_an_unknown_outcome(self):
        kit = self.serve()
        kit.graph.answers(NEVER)
        kit.message("hi")
        kit.advance(25)
        kit.deliver(self.echo(kit))
        kit.advance(600)
        self.assertEqual((kit.sent, kit.outbox()), (["re: hi"], ["sent"]))
        self.assertIn(kit.graph.sent[0].mid, str(kit.rows("SELECT mids FROM outbox")))

    def test_an_echo_that_comes_before_the_outcome_settles_it_too(self):
        kit = self.serve()
        kit.graph.answers(NEVER)
        kit.message("hi")
        kit.deliver(self.echo(kit))
        kit.advance(600)
        self.assertEqual((kit.sent, kit.outbox()), (["re: hi"], ["sent"]))

    def test_an_echo_lets_the_next_reply_go_at_once(self):
        kit = self.serve()
        kit.graph.answers(NEVER)
        kit.message("hi")
        kit.message("there")
        kit.advance(25)
        kit.deliver(self.echo(kit))
        kit.advance(1)
        self.assertEqual(kit.sent, ["re: hi", "re: there"])

    def test_an_echo_after_a_restart_settles_it(self):
        kit = self.serve(durable=True)
        kit.graph.answers(NEVER)
        kit.message("hi")
        kit.kill()
        kit.start()
        kit.deliver(self.echo(kit))
        kit.advance(600)
        self.assertEqual(kit.sent, ["re: hi"])

    def test_an_echo_of_somebody_else_settles_nothing(self):
        for forged in ("12345678-1", "1", "", "x-1", "１"):
            kit = self.serve()
            kit.graph.answers(NEVER)
            kit.message("hi")
            kit.advance(25)
            kit.deliver(self.echo(kit, metadata=forged))
            kit.advance(60)
            self.assertEqual(kit.rows("SELECT repeated FROM outbox"), [(1,)], forged)

    def test_an_echo_in_another_conversation_settles_nothing(self):
        kit = self.serve()
        kit.graph.answers(NEVER)
        kit.message("hi")
        kit.advance(25)
        item = self.echo(kit)
        item["recipient"] = {"id": "8"}
        kit.deliver(item)
        kit.advance(60)
        self.assertEqual(kit.rows("SELECT repeated FROM outbox"), [(1,)])
