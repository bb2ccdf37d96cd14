"""Replies in the answer to the webhook: stored before they travel, the same again for a redelivery."""

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import ChannelOptions
from klein_channels.model import (
    Call,
    EndConversation,
    Handoff,
    Outgoing,
    Received,
    Sent,
    Text,
    WebhookRequest,
    WebhookResponse,
)
from klein_channels.policy import Policy
from klein_channels.service import ChannelService
from klein_channels.store.sqlite import SQLiteStore

from .doubles import NOW, OPTIONS, PlainChannel, address, message, request


class AnsweringChannel(PlainChannel):
    """A platform that takes replies in the answer, and otherwise by a call; a body is a message."""

    def parse(self, request: WebhookRequest):
        kind, _, text = request.body.decode().partition(" ")
        if kind == "join":
            return Received(joins=text, conversation=address())
        return Received(events=(message(text, id=kind),))

    def answer(self, request: WebhookRequest, outgoing: tuple[Outgoing, ...]):
        return WebhookResponse(body="|".join(part.part.text for part in outgoing).encode())

    def answer_later(self, request: WebhookRequest, event: str):
        return WebhookResponse(body=f"later {event}".encode())

    def send(self, outgoing: Outgoing):
        yield Call(method="POST", url="board:post", body=outgoing.part.text.encode(), effect=True)
        return Sent()


class Calls:
    """What went out the other way."""

    def __init__(self):
        self.texts = []

    def run(self, steps, deadline):
        self.texts.append(next(steps).body.decode())
        return Deferred.fromCoroutine(self._end(steps))

    async def _end(self, steps):
        try:
            steps.send(None)
        except StopIteration as stop:
            return stop.value


class Agent:
    """Answers when the test says so."""

    def __init__(self):
        self.turns = []

    async def __call__(self, event):
        turn = Deferred()
        self.turns.append(turn)
        return await turn

    def answer(self, reply, number=-1):
        self.turns[number].callback(reply)


def _after(held, answered):
    return Deferred.fromCoroutine(_both(held, answered))


async def _both(held, answered):
    result = await answered
    await held
    return result


class ExchangeCase(SynchronousTestCase):
    capabilities = {}  # noqa: RUF012
    tries = 3
    channel_class = AnsweringChannel
    make_agent = Agent

    def setUp(self):
        self.path = self.mktemp()
        self.clock = Clock()
        self.clock.advance(NOW)
        self.start()

    options = OPTIONS

    def start(self):
        self.clock.callFromThread = lambda function, *args: function(*args)
        self.agent, self.calls = self.make_agent(), Calls()
        self.channel = self.channel_class(options=self.options, **self.capabilities)
        self.store = SQLiteStore(self.path)
        self.service = ChannelService(
            [self.channel], self.agent, store=self.store, reactor=self.clock, now=self.clock.seconds,
            jitter=lambda: 0.0, http=self.calls, policy=Policy(agent_tries=self.tries),
        )  # fmt: skip
        self.service.startService()
        self.addCleanup(self.store.close)

    def restart(self):
        self.store._release_lock()
        self.clock = Clock()
        self.clock.advance(NOW + 5)
        self.start()
        self.clock.advance(1)

    def post(self, body):
        return self.service.receive(self.channel, request(body.encode()))

    def body(self, answer):
        return self.successResultOf(answer).body.decode()

    def states(self):
        rows = self.store._reader._session.connection.execute("SELECT state FROM outbox ORDER BY id")
        return [state for (state,) in rows]


async def prompt(event):
    return f"re: {event.text}"


class AtOnceTests(ExchangeCase):
    make_agent = staticmethod(lambda: prompt)

    def test_an_agent_that_answers_at_once_answers_in_the_webhook(self):
        self.assertEqual(self.body(self.post("e1 hi")), "re: hi")
        self.assertEqual((self.calls.texts, self.states()), ([], ["sent"]))


class AnswerTests(ExchangeCase):
    def test_the_answer_waits_for_the_turn_and_carries_all_its_replies(self):
        answer = self.post("e1 hi")
        self.assertNoResult(answer)
        self.agent.answer(["one", "two"])
        self.assertEqual(self.body(answer), "one|two")
        self.assertEqual((self.states(), self.calls.texts), (["sent", "sent"], []))

    def test_a_turn_without_replies_is_answered_too(self):
        answer = self.post("e1 hi")
        self.agent.answer(None)
        self.assertEqual(self.body(answer), "")

    def test_a_redelivery_gets_the_same_answer_again(self):
        self.post("e1 hi")
        self.agent.answer("one")
        self.assertEqual(self.body(self.post("e1 hi")), "one")
        self.assertEqual(len(self.agent.turns), 1)

    def test_a_redelivery_after_a_restart_gets_the_same_answer_again(self):
        self.post("e1 hi")
        self.agent.answer("one")
        self.restart()
        self.assertEqual(self.body(self.post("e1 hi")), "one")
        self.assertEqual(self.calls.texts, [])

    def test_a_redelivery_waits_beside_the_first(self):
        first, second = self.post("e1 hi"), self.post("e1 hi")
        self.agent.answer("one")
        self.assertEqual((self.body(first), self.body(second)), ("one", "one"))

    def test_what_comes_after_the_deadline_goes_the_other_way(self):
        answer = self.post("e1 hi")
        self.clock.advance(10)
        self.assertEqual(self.body(answer), "later e1")
        self.agent.answer("one")
        self.assertEqual(self.calls.texts, ["one"])
        self.assertEqual(self.body(self.post("e1 hi")), "")

    def test_a_client_that_hung_up_gets_its_replies_the_other_way(self):
        answer = self.post("e1 hi")
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.agent.answer("one")
        self.assertEqual(self.calls.texts, ["one"])

    def held_answers(self):
        """Let the store answer exchanges, and tell of it only when the test fires what this returns."""
        held, answer = Deferred(), self.store.answer_exchange
        self.store.answer_exchange = lambda *given: _after(held, answer(*given))
        return held

    def test_a_client_that_hangs_up_while_its_answer_is_stored_gets_it_the_other_way(self):
        answer = self.post("e1 hi")
        held = self.held_answers()
        self.agent.answer(["one", "two"])
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        held.callback(None)
        self.assertEqual(self.calls.texts, ["one", "two"])
        self.assertEqual(self.body(self.post("e1 hi")), "")

    def test_an_answer_that_is_stored_as_the_deadline_passes_goes_the_other_way(self):
        answer = self.post("e1 hi")
        held = self.held_answers()
        self.agent.answer("one")
        self.clock.advance(10)
        self.assertEqual(self.body(answer), "later e1")
        held.callback(None)
        self.assertEqual((self.calls.texts, self.states()), (["one"], ["sent"]))

    def test_a_redelivery_that_hangs_up_as_it_gets_the_answer_again_recalls_nothing(self):
        answer = self.post("e1 hi")
        self.agent.answer("one")
        self.assertEqual(self.body(answer), "one")
        held = self.held_answers()
        again = self.post("e1 hi")
        again.cancel()
        self.failureResultOf(again, CancelledError)
        held.callback(None)
        self.assertEqual((self.calls.texts, self.states()), ([], ["sent"]))

    def test_what_other_answers_carried_is_not_recalled(self):
        first = self.post("e1 hi")
        self.agent.answer("one")
        self.assertEqual(self.body(first), "one")
        second = self.post("e2 hi")
        held = self.held_answers()
        self.agent.answer("two")
        second.cancel()
        self.failureResultOf(second, CancelledError)
        third = self.post("e3 hi")
        held.callback(None)
        self.assertEqual(self.calls.texts, ["two"])
        self.agent.answer("three")
        self.assertEqual((self.body(third), self.states()), ("three", ["sent"] * 3))

    def test_one_of_two_that_hangs_up_leaves_the_other_its_answer(self):
        first, second = self.post("e1 hi"), self.post("e1 hi")
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.agent.answer("one")
        self.assertEqual((self.body(second), self.calls.texts), ("one", []))

    def test_a_killed_server_lets_its_replies_go_the_other_way(self):
        self.post("e1 hi")
        self.restart()
        self.clock.advance(30)
        self.agent.answer("one")
        self.clock.advance(1)
        self.assertEqual(self.calls.texts, ["one"])

    def test_a_later_message_does_not_wait_for_an_earlier_answer(self):
        first, second = self.post("e1 hi"), self.post("e2 ho")
        self.agent.answer("one")
        self.agent.answer("two")
        self.assertEqual((self.body(first), self.body(second)), ("one", "two"))

    def test_what_a_human_owns_is_withheld(self):
        answer = self.post("e1 hi")
        self.store.set_owner(str(address()), "human", 0.0)
        self.agent.answer("one")
        self.assertEqual((self.body(answer), self.states()), ("", ["withheld"]))

    def test_the_last_words_before_a_human_travel(self):
        answer = self.post("e1 hi")
        self.agent.answer(["wait, please", Handoff()])
        self.assertEqual(self.body(answer), "wait, please")

    def test_a_refused_store_is_503_and_no_exchange(self):
        self.store._max_waiting = 0
        self.assertEqual(self.successResultOf(self.post("e1 hi")).status, 503)


class PausedTests(ExchangeCase):
    def pause(self, mode, says=None):
        operations = self.service.operations("test")
        self.successResultOf(operations.pause("plain", None, mode, says))
        self.clock.advance(1)

    def test_in_maintenance_the_answer_has_its_words_once(self):
        self.pause("maintenance", "Back at noon.")
        at_once = self.store.post

        def as_in_threads(*asked):
            done = Deferred()
            self.clock.callLater(0.1, lambda: at_once(*asked).chainDeferred(done))
            return done

        self.patch(self.store, "post", as_in_threads)
        for body, said in (("e1 hi", "Back at noon."), ("e1 hi", "Back at noon."), ("e2 hello?", "")):
            answer = self.post(body)
            self.clock.advance(1)
            self.assertEqual(self.body(answer), said)
        self.assertEqual((self.agent.turns, self.calls.texts), ([], []))

    def test_what_is_held_goes_the_other_way_when_it_is_resumed(self):
        self.pause("hold")
        answer = self.post("e1 hi")
        self.clock.advance(10)
        self.assertEqual(self.body(answer), "later e1")
        self.assertEqual(self.agent.turns, [])
        self.successResultOf(self.service.operations("test").resume("plain", None))
        self.clock.advance(1)
        self.agent.answer("one")
        self.assertEqual(self.calls.texts, ["one"])

    def test_what_is_rejected_is_answered_503(self):
        self.pause("reject")
        self.assertEqual(self.successResultOf(self.post("e1 hi")).status, 503)


class CarriesOne(AnsweringChannel):
    """An answer has room for one reply; the end of a conversation is told with a part."""

    def carries(self, outgoing):
        return min(len(outgoing), 1)

    def part_for(self, control):
        return Text(text="[hang up]") if isinstance(control, EndConversation) else None


class PartialTests(ExchangeCase):
    channel_class = CarriesOne

    def test_what_the_answer_cannot_carry_goes_the_other_way(self):
        answer = self.post("e1 hi")
        self.agent.answer(["one", "two", "three"])
        self.assertEqual((self.body(answer), self.calls.texts), ("one", ["two", "three"]))

    def test_the_end_of_a_conversation_is_told_behind_the_words(self):
        answer = self.post("e1 hi")
        self.agent.answer(["bye", EndConversation()])
        self.assertEqual((self.body(answer), self.calls.texts), ("bye", ["[hang up]"]))


class ApologyTests(ExchangeCase):
    tries = 1

    def test_an_apology_travels_in_the_answer(self):
        answer = self.post("e1 hi")
        self.agent.turns[0].errback(RuntimeError("no"))
        self.assertEqual(len(self.flushLoggedErrors()), 1)
        self.assertEqual(self.body(answer), Policy().apology)


class MergedTests(ExchangeCase):
    options = ChannelOptions(double_texting="merge")

    def test_the_last_webhook_of_those_that_are_one_turn_carries_the_replies(self):
        first = self.post("e1 hi")
        self.clock.advance(1)
        second = self.post("e2 so")
        self.assertNoResult(first)
        self.clock.advance(2)
        self.assertEqual(self.body(first), "")
        self.agent.answer("both")
        self.assertEqual((self.body(second), self.calls.texts), ("both", []))


class InterruptedTests(ExchangeCase):
    options = ChannelOptions(double_texting="interrupt")

    def test_the_webhook_of_an_interrupted_turn_waits_for_nothing(self):
        first = self.post("e1 hi")
        second = self.post("e2 so")
        self.assertEqual(self.body(first), "")
        self.assertNoResult(second)
        self.agent.answer("two")
        self.assertEqual((self.body(second), self.calls.texts, self.states()), ("two", [], ["sent"]))


class BusyTests(ExchangeCase):
    options = ChannelOptions(double_texting="reject", busy_text="Just a moment.")

    def test_what_is_rejected_is_answered_at_once(self):
        first, second, third = self.post("e1 hi"), self.post("e2 so"), self.post("e3 so")
        self.assertEqual((self.body(second), self.body(third)), ("Just a moment.", ""))
        self.agent.answer("one")
        self.assertEqual((self.body(first), self.calls.texts), ("one", []))

    def test_a_redelivery_of_what_was_rejected_gets_the_same_answer_again(self):
        self.post("e1 hi")
        self.assertEqual(self.body(self.post("e2 so")), "Just a moment.")
        self.agent.answer("one")
        self.assertEqual(self.body(self.post("e2 so")), "Just a moment.")


class AnswersOnlyTests(ExchangeCase):
    capabilities = {"answers_only": True}  # noqa: RUF012

    def test_a_slow_reply_is_fetched_by_the_request_that_asks_again(self):
        self.post("e1 hi")
        self.clock.advance(10)
        again = self.post("join e1")
        self.assertNoResult(again)
        self.agent.answer("one")
        self.assertEqual((self.body(again), self.calls.texts), ("one", []))

    def test_a_reply_that_was_ready_before_it_was_fetched(self):
        self.post("e1 hi")
        self.clock.advance(10)
        self.agent.answer("one")
        self.assertEqual(self.calls.texts, [])
        self.assertEqual(self.body(self.post("join e1")), "one")

    def test_an_answer_that_is_stored_as_the_deadline_passes_is_fetched(self):
        self.post("e1 hi")
        held, answer = Deferred(), self.store.answer_exchange
        self.store.answer_exchange = lambda *given: _after(held, answer(*given))
        self.agent.answer("one")
        self.clock.advance(10)
        held.callback(None)
        self.store.answer_exchange = answer
        self.assertEqual((self.body(self.post("join e1")), self.calls.texts), ("one", []))

    def test_what_nobody_fetches_expires(self):
        self.post("e1 hi")
        self.clock.advance(10)
        self.agent.answer("one")
        for _ in range(14):
            self.clock.advance(60)
        self.assertEqual((self.states(), self.calls.texts), (["expired"], []))

    def test_a_restart_forgets_no_reply(self):
        self.post("e1 hi")
        self.clock.advance(10)
        self.agent.answer("one")
        self.restart()
        self.assertEqual(self.body(self.post("join e1")), "one")

    def test_nothing_joins_what_never_was(self):
        self.assertEqual(self.body(self.post("join e9")), "")
