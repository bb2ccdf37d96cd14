"""Several servers on one database: one that may have lost its lease keeps still."""

from __future__ import annotations

from itertools import pairwise

from klein_channels.policy import Policy

from .case import HeldAgent, PromiseCase


class LeaseTests(PromiseCase):
    def test_a_server_that_is_not_sure_of_its_lease_sends_nothing(self):
        agent = HeldAgent()
        kit = self.serve(agent)
        kit.message("hi")
        kit.store.is_alive = lambda: False
        agent.answer("hello")
        kit.settle()
        kit.advance(5)
        self.assertEqual(kit.sent, [])
        kit.store.is_alive = lambda: True
        kit.advance(5)
        self.assertEqual(kit.sent, ["hello"])

    def test_a_lease_is_renewed_within_its_time_while_a_turn_lasts(self):
        kit = self.serve(HeldAgent(), policy=Policy(lease=15.0))
        renewed = []
        alive = kit.store.keep_alive
        kit.store.keep_alive = lambda now: renewed.append(now) or alive(now)
        kit.message("hi")
        for _ in range(30):
            kit.advance(1)
        self.assertEqual(len(renewed), 6)
        self.assertLess(max(b - a for a, b in pairwise(renewed)), 15)
