"""Two attempts of a turn never mix."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from klein_channels.agents.deferred import DeferredAgent
from klein_channels.testing.graph import NEVER, Answer
from klein_channels.testing.memory import HandThreads

from .case import PromiseCase


class Rambler:
    """Says other words at each attempt, and fails in the middle of the first ones."""

    def __init__(self, failures: int = 1) -> None:
        self.failures = failures
        self.already: list[list[str]] = []

    async def __call__(self, event, turn):
        self.already.append([part.text for message in turn.already_said for part in message.parts])
        for word in ("a", "b", "c"):
            yield f"{word}{turn.attempt}"
        if turn.attempt <= self.failures:
            raise ValueError("in the middle")
        yield "end"


class AttemptTests(PromiseCase):
    def test_what_was_not_sent_of_the_first_attempt_is_withdrawn(self):
        agent = Rambler()
        kit = self.serve(agent)
        kit.process.refuses = True
        kit.message("hi")
        kit.advance(7)
        kit.process.refuses = False
        kit.advance(60)
        self.assertEqual(kit.sent, ["a2", "b2", "c2", "end"])
        self.assertEqual(kit.outbox(), ["withdrawn"] * 3 + ["sent"] * 4)
        self.flushLoggedErrors(ValueError)

    def test_what_was_sent_stays_and_the_agent_is_told(self):
        agent = Rambler()
        kit = self.serve(agent)
        kit.graph.answers(Answer(), Answer(delay=15.0))
        kit.message("hi")
        kit.advance(60)
        self.assertEqual(agent.already, [[], ["a1", "b1"]])
        self.assertEqual(kit.sent, ["a1", "b1", "a2", "b2", "c2", "end"])
        self.flushLoggedErrors(ValueError)

    def test_a_send_whose_outcome_is_unknown_counts_as_said(self):
        agent = Rambler()
        kit = self.serve(agent, durable=True)
        kit.graph.answers(NEVER)
        kit.message("hi")
        kit.kill()
        kit.start()
        kit.advance(60)
        self.assertEqual(agent.already, [[], ["a1"]])
        self.assertEqual(kit.sent, ["a1", "a1", "a2", "b2", "c2", "end"])
        self.flushLoggedErrors(ValueError)

    def test_an_attempt_that_is_over_says_nothing_more(self):
        late: list[Deferred[None]] = []

        async def agent(event, turn):
            if turn.attempt == 1:
                late.append(Deferred())
                try:
                    await late[0]
                finally:
                    yield "too late"
            yield "in time"

        kit = self.serve(agent, durable=True)
        kit.message("hi")
        kit.kill()
        kit.start()
        kit.advance(5)
        late[0].callback(None)
        kit.advance(60)
        self.assertEqual(kit.sent, ["in time"])

    def test_a_stop_withdraws_and_the_next_server_starts_again(self):
        threads = HandThreads()

        def agent(event, turn):
            yield f"a{turn.attempt}"

        kit = self.serve(threads.agent(agent), durable=True)
        kit.message("hi")
        kit.stop()
        kit.advance(kit.policy.drain)
        kit.start()
        kit.advance(2)
        threads.finish(-1)
        kit.settle()
        self.assertEqual(kit.sent, ["a2"])


class DeterministicTests(PromiseCase):
    def serve_twice(self, *answers):
        """An agent that says the same at each attempt, dies in the first, and ends in the second."""

        async def same(event, turn):
            for word in "abc":
                yield word
            if turn.attempt == 1:
                await Deferred()

        kit = self.serve(DeferredAgent(same, deterministic=True), durable=True)
        kit.graph.answers(*answers)
        kit.message("hi")
        kit.advance(1)
        kit.kill()
        kit.start()
        kit.advance(60)
        return kit

    def test_nothing_is_said_twice(self):
        self.assertEqual(self.serve_twice().sent, ["a", "b", "c"])

    def test_what_waited_goes_out_once(self):
        kit = self.serve_twice(Answer(), Answer(delay=5.0))
        self.assertEqual(kit.sent, ["a", "b", "b", "c"])
        self.assertEqual(kit.rows("SELECT repeated FROM outbox"), [(0,), (1,), (0,)])
