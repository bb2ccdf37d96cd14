"""Each table is kept for its own time, and what a redelivery is known by is never forgotten too soon."""

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import ConfigError
from klein_channels.operations import Operations
from klein_channels.policy import Policy
from klein_channels.service import ChannelService
from klein_channels.testing.graph import refusal
from klein_channels.testing.memory import ServiceInMemory, messenger

DAY = 86_400.0


async def echo(event):
    return f"re: {event.text}"


class RetentionTests(SynchronousTestCase):
    def left(self, days, **policy):
        """How many rows each table has, `days` after a message, a dead letter and an order."""
        kit = ServiceInMemory(echo, policy=Policy(purge_interval=DAY / 4, poll_interval=DAY / 4, **policy))
        self.addCleanup(kit.kill)
        self.item = kit.item(mid="m_1", message={"text": "hi"})
        kit.deliver(self.item)
        kit.graph.answers(refusal(100, "No matching user found", 2018001))
        kit.message("nobody", mid="m_2")
        operations = Operations(kit.store, kit.clock.seconds, actor="test")
        self.successResultOf(operations.resume("facebook", None))
        kit.advance(days * DAY)
        self.kit = kit
        tables = ("inbox", "turn", "outbox", "audit", "seen")
        return {name: kit.rows(f"SELECT count(*) FROM {name}")[0][0] for name in tables}

    def test_as_shipped_all_goes_but_dead_letters_and_the_record(self):
        self.assertEqual(self.left(15), {"inbox": 0, "turn": 0, "outbox": 1, "audit": 1, "seen": 0})

    def test_words_may_go_soon_while_redeliveries_are_still_known(self):
        found = self.left(
            2, retention_events=DAY, retention_turns=DAY, retention_replies=DAY, retention_dead_letters=DAY
        )
        self.assertEqual(found, {"inbox": 0, "turn": 0, "outbox": 0, "audit": 1, "seen": 2})
        self.kit.deliver(self.item)
        self.assertEqual(self.kit.sent, ["re: hi"])

    def test_the_record_has_its_own_time(self):
        self.assertEqual(self.left(3, retention_audit=2 * DAY)["audit"], 0)
        self.assertEqual(self.left(3, retention_audit=5 * DAY)["audit"], 1)

    def test_replies_alone(self):
        found = self.left(3, retention_replies=2 * DAY)
        self.assertEqual((found["inbox"], found["turn"], found["outbox"]), (2, 2, 1))

    def test_what_redeliveries_are_known_by_is_kept_as_long_as_there_may_be_any(self):
        with self.assertRaises(ConfigError) as caught:
            ChannelService([messenger()], echo, policy=Policy(retention_seen=7 * DAY))
        line = str(caught.exception)
        for words in ("policy: retention_seen", "604800", "691200", "channel facebook"):
            self.assertIn(words, line)
        ChannelService([messenger()], echo, policy=Policy(retention_seen=8 * DAY))

    def test_a_time_that_is_none(self):
        for wrong in (-1.0, float("inf"), 0.0):
            with self.assertRaises(ValueError):
                Policy(retention_audit=wrong)
