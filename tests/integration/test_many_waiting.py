"""Ten thousand conversations that wait when a server starts."""

from klein_channels.policy import Policy
from klein_channels.rates import Rate

from ..doubles import NOW, Transport
from ..test_delivery import DeliveryCase

PEOPLE = 10_000


class ManyWaitingTests(DeliveryCase):
    policy = Policy(max_queued=1000)

    def setUp(self):
        super().setUp()
        self.inner._committer._session.connection.executescript(
            f"""WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {PEOPLE})
            INSERT INTO outbox (conversation, address, message, state, due_at, first_at, created_at)
              SELECT 'plain:a:' || i, 'plain:a:' || i,
                CAST('{{"type":"reply","parts":[{{"type":"text","text":"' || i || '"}}]}}' AS BLOB),
                'waiting', {NOW}, {NOW}, {NOW} FROM n;"""
        )

    def take_up(self):
        """What a server does when it starts."""
        for key in self.successResultOf(self.inner.waiting()).replies:
            self.deliveries.wake(key)

    def run_for(self, seconds):
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            self.clock.advance(max(min(due, end) - self.clock.seconds(), 0.0))

    def test_all_of_them_are_served_at_the_rate_of_the_platform_few_of_them_in_mind(self):
        self.over(Transport(rates=(Rate(count=1000.0, burst=10.0),)))
        self.take_up()
        [state] = self.deliveries.accounts()
        self.assertEqual(state.waiting, 1000)
        self.run_for(5)
        self.assertLessEqual(abs(len(self.transport.sent) - 5000), 20)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.run_for(5.1)
        self.assertEqual(len(set(self.transport.texts)), PEOPLE)
        self.assertEqual((len(self.transport.sent), set(self.rows())), (PEOPLE, {"sent"}))

    def test_without_a_rate_all_go_out_at_once(self):
        self.policy = Policy(max_queued=20_000)
        self.over(Transport())
        self.take_up()
        self.assertEqual(len(self.transport.sent), PEOPLE)
