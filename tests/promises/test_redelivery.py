"""A redelivery is handled once, for as long as the platform may make it."""

from __future__ import annotations

from klein_channels.intake import dedupe_key
from klein_channels.model import Address, MessageReceived
from klein_channels.policy import Policy
from klein_channels.testing.memory import webhook

from .case import PromiseCase

DAY = 86_400.0


class RedeliveryTests(PromiseCase):
    def setUp(self):
        self.seen = []

    def serve(self, *args, **settings):
        return super().serve(*args, observers=[self.seen.append], **settings)

    def kinds(self):
        return [event.kind for event in self.seen]

    def test_the_same_webhook_twice(self):
        kit = self.serve()
        body = webhook(kit.item(message={"text": "hi"}))
        for _ in range(2):
            asked = kit.ask(body)
            kit.settle()
            self.assertEqual(asked.status, 200)
        self.assertEqual((kit.sent, self.kinds()), (["re: hi"], ["message"]))

    def test_six_at_once(self):
        kit = self.serve()
        kit.disk.held = True
        body = webhook(kit.item(message={"text": "hi"}))
        asked = [kit.ask(body) for _ in range(6)]
        kit.settle()
        kit.disk.release()
        self.assertEqual([each.status for each in asked], [200] * 6)
        self.assertEqual(kit.sent, ["re: hi"])

    def test_within_one_batch(self):
        kit = self.serve()
        item = kit.item(message={"text": "hi"})
        kit.deliver(item, item, item)
        self.assertEqual(kit.sent, ["re: hi"])

    def test_in_another_batch_with_new_neighbours(self):
        kit = self.serve()
        item = kit.item(message={"text": "hi"})
        kit.deliver(item)
        kit.deliver(kit.item(message={"text": "there"}), item)
        self.assertEqual(kit.sent, ["re: hi", "re: there"])

    def test_after_a_restart(self):
        kit = self.serve(durable=True)
        body = webhook(kit.item(message={"text": "hi"}))
        kit.ask(body)
        kit.settle()
        kit.kill()
        kit.start()
        kit.ask(body)
        kit.advance(60)
        self.assertEqual(kit.sent, ["re: hi"])

    def test_eight_days_later_less_a_second(self):
        horizon = self.serve().channel.capabilities.redelivery_horizon
        self.assertEqual(horizon, 8 * DAY)
        kit = self.serve(policy=self.impatient())
        timed, untimed = kit.item(message={"text": "hi"}), kit.item(message={"text": "there"})
        del untimed["timestamp"]
        body = webhook(timed, untimed)
        kit.ask(body)
        kit.advance(horizon - 1)
        kit.ask(body)
        kit.settle()
        self.assertEqual(kit.sent, ["re: hi", "re: there"])

    def impatient(self):
        """Keep everything as briefly as may be: the horizon of the platform still holds."""
        return Policy(retention=60.0, poll_interval=DAY, purge_interval=3600.0)

    def test_what_is_over_is_forgotten_in_the_end(self):
        kit = self.serve(policy=self.impatient())
        kit.message("hi")
        kit.advance(9 * DAY)
        for table in ("seen", "inbox", "turn", "outbox"):
            self.assertEqual(kit.rows(f"SELECT count(*) FROM {table}"), [(0,)], table)

    def test_a_postback(self):
        kit = self.serve()
        item = kit.item(postback={"title": "Yes", "payload": "yes"})
        kit.deliver(item)
        kit.deliver(item)
        self.assertEqual((kit.sent, self.kinds()), (["re: Yes"], ["postback"]))

    def test_the_edits_of_a_message_are_told_apart(self):
        kit = self.serve()
        edits = [kit.item(message_edit={"mid": "m1", "text": "x", "num_edit": n}) for n in (1, 2)]
        for edit in (*edits, *edits):
            kit.deliver(edit)
        self.assertEqual(self.kinds(), ["edited", "edited"])

    def test_a_reaction_and_its_end_are_told_apart(self):
        kit = self.serve()
        acts = [kit.item(reaction={"mid": "m1", "action": a, "emoji": "x"}) for a in ("react", "unreact")]
        for act in (*acts, *acts):
            kit.deliver(act)
        self.assertEqual([event.action for event in self.seen], ["react", "unreact"])

    def test_a_message_and_its_deletion_are_told_apart(self):
        kit = self.serve()
        kit.message("hi", "m1")
        deletion = kit.item("m1", message={"is_deleted": True})
        kit.deliver(deletion)
        kit.deliver(deletion)
        self.assertEqual(self.kinds(), ["message", "deleted"])

    def test_a_body_that_is_not_understood(self):
        kit = self.serve()
        for _ in range(2):
            self.assertEqual(self.status_of(kit, b'{"half": '), 200)
        self.assertEqual(self.kinds(), ["unknown"])

    def status_of(self, kit, body):
        asked = kit.ask(body)
        kit.settle()
        return asked.status

    def test_the_same_id_of_two_channels_is_two_events(self):
        keys = {
            dedupe_key(
                MessageReceived(id="m1", address=Address(channel=c, account="1", peer="2")),
                stable_timestamps=True,
            )
            for c in ("one", "two")
        }
        self.assertEqual(len(keys), 2)
