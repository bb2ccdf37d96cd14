"""One turn at a time, in order, fairly; and what becomes of it when the agent or the store fails."""

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.conversation import Conversations
from klein_channels.errors import AgentReplyError, AgentUnreachable, StoreUnavailable
from klein_channels.logs import RedactedError
from klein_channels.model import Handoff, Message, MessageReceived, Remember, Text
from klein_channels.policy import Policy
from klein_channels.speech import TurnLost
from klein_channels.store import STORE_RETRY

from .doubles import NOW, PlainChannel, address, arrival, clock_at, message, opened

KEY = str(address())


class AgentDouble:
    """Answers with what `reply` makes of a turn; a Deferred is waited for."""

    deterministic = False

    def __init__(self, reply=lambda turn, say: f"to {turn.event.text}"):
        self.reply = reply
        self.turns = []

    def answer(self, turn, say):
        self.turns.append(turn)
        result = self.reply(turn, say)
        return result if isinstance(result, Deferred) else succeed(result)

    @property
    def heard(self):
        return [turn.event.text for turn in self.turns]


class ThreadsDouble(AgentDouble):
    """An agent whose threads may get stuck."""

    capacity = 2

    def __init__(self, *args):
        super().__init__(*args)
        self.stuck = {}
        self.written_off = []
        self.replaced = True

    def start(self, reactor):
        pass

    def stop(self):
        pass

    def still_working(self, turn):
        return self.stuck.get(turn.id)

    def write_off(self, turn):
        self.written_off.append(turn.id)
        return self.replaced


class FlakyStore:
    """A store of which single methods are away."""

    def __init__(self, store):
        self._store = store
        self.away = {}
        self.asked = []

    def __getattr__(self, name):
        method = getattr(self._store, name)

        def asked(*args, **kwargs):
            self.asked.append(name)
            if self.away.get(name, 0):
                self.away[name] -= 1
                return fail(StoreUnavailable("away"))
            return method(*args, **kwargs)

        return asked if callable(method) else method


class ConversationCase(SynchronousTestCase):
    policy = Policy(
        agent_tries=3,
        agent_patience=120.0,
        agent_deadline=60.0,
        agent_unreachable_patience=900.0,
        stuck_thread_patience=300.0,
        apology="Sorry.",
        max_turns=3,
        loop_turns=0,
        typing_after=1.0,
        typing_every=15.0,
    )

    def setUp(self):
        self.clock = clock_at()
        self.inner = opened()
        self.addCleanup(self.inner.close)
        self.store = FlakyStore(self.inner)
        self.channel = PlainChannel()
        self.replied = []
        self.typing = []
        self.resolve = lambda channel, event: succeed(event)
        self.serve(AgentDouble())

    def serve(self, agent):
        self.agent = agent
        self.conversations = Conversations(
            self.store,
            agent,
            {"plain": self.channel},
            self.policy,
            clock=self.clock,
            now=self.clock.seconds,
            replies_committed=lambda key, claim=None: self.replied.append(key),
            show_typing=lambda key, started, on: self.typing.append((key, on)),
            resolve=lambda *asked: self.resolve(*asked),  # noqa: PLW0108  (tests replace it)
        )

    def come(self, *events, wake=True):
        self.successResultOf(self.inner.enqueue([arrival(event) for event in events], self.clock.seconds()))
        for event in events if wake else ():
            self.conversations.wake(str(event.address))

    def poll(self):
        for key in self.successResultOf(self.inner.due(self.clock.seconds(), 100)).turns:
            self.conversations.wake(key)

    def advance(self, seconds):
        self.clock.advance(seconds)
        self.poll()

    def column(self, query):
        def ask(db):
            return [row[0] for row in db.execute(query)]

        return self.successResultOf(self.inner._committer.run(ask))

    def turn_states(self):
        return self.column("SELECT state FROM turn ORDER BY id")

    def said(self):
        found = self.column("SELECT message FROM outbox WHERE state != 'withdrawn' ORDER BY id")
        return [text for row in found for text in _texts(row)]

    def letters(self):
        return [letter.reason for letter in self.successResultOf(self.inner.dead_letters(None, 100))]


def _texts(row):
    from klein_channels.model import from_json

    return [part.text for part in from_json(row).parts]


class OrderTests(ConversationCase):
    def test_one_at_a_time_and_in_order(self):
        gates = {text: Deferred() for text in "abc"}
        self.serve(AgentDouble(lambda turn, say: gates[turn.event.text]))
        self.come(message("a"), message("b"), message("c"))
        self.assertEqual(self.agent.heard, ["a"])
        gates["a"].callback("A")
        self.assertEqual(self.agent.heard, ["a", "b"])
        gates["b"].callback("B")
        gates["c"].callback("C")
        self.assertEqual((self.said(), self.turn_states()), (["A", "B", "C"], ["done"] * 3))

    def test_conversations_in_parallel(self):
        self.serve(AgentDouble(lambda turn, say: Deferred()))
        self.come(message("a", "1"), message("b", "2"))
        self.assertEqual(self.agent.heard, ["a", "b"])

    def test_what_comes_during_a_turn_is_answered_next(self):
        gate = Deferred()
        self.serve(AgentDouble(lambda turn, say: gate if turn.event.text == "a" else None))
        self.come(message("a"))
        self.come(message("b"))
        gate.callback(None)
        self.assertEqual(self.agent.heard, ["a", "b"])

    def test_what_comes_from_the_agents_own_answer_is_not_lost(self):
        def reply(turn, say):
            if turn.event.text == "a":
                self.come(message("b"))
            return "x"

        self.serve(AgentDouble(reply))
        self.come(message("a"))
        self.assertEqual(self.agent.heard, ["a", "b"])

    def test_a_wake_without_reason_asks_nobody(self):
        self.conversations.wake(KEY)
        self.assertEqual(self.agent.heard, [])

    def test_a_long_conversation_needs_no_stack(self):
        self.serve(AgentDouble(lambda turn, say: None))
        self.come(*[message(str(number)) for number in range(2000)])
        self.assertEqual(self.agent.heard, [str(number) for number in range(2000)])

    def test_a_channel_that_is_gone_keeps_its_events(self):
        self.come(message("a", address=address(channel="gone")))
        self.assertEqual(self.agent.heard, [])
        self.assertEqual(self.successResultOf(self.inner.stats()).waiting_events, 1)


class CapacityTests(ConversationCase):
    def test_no_more_at_once_than_the_policy_says(self):
        gates = []
        self.serve(AgentDouble(lambda turn, say: gates.append(Deferred()) or gates[-1]))
        self.come(*[message(str(n), str(n)) for n in range(5)])
        self.assertEqual(self.agent.heard, ["0", "1", "2"])
        gates[1].callback(None)
        self.assertEqual(self.agent.heard, ["0", "1", "2", "3"])

    def test_no_more_than_there_are_threads(self):
        self.serve(ThreadsDouble(lambda turn, say: Deferred()))
        self.come(*[message(str(n), str(n)) for n in range(5)])
        self.assertEqual(self.agent.heard, ["0", "1"])

    def test_a_chatterbox_does_not_keep_others_waiting(self):
        gates = []
        self.serve(AgentDouble(lambda turn, say: gates.append(Deferred()) or gates[-1]))
        self.come(*[message(f"x{n}", peer) for peer in "ab" for n in range(1)], message("c", "c"), wake=True)
        self.come(*[message(f"much{n}", "a") for n in range(5)], message("quiet", "d"))
        gates[0].callback(None)
        self.assertEqual(self.agent.heard[3], "quiet")

    def test_unsent_replies_hold_the_next_turn_until_one_went(self):
        store = opened(max_unsent=2)
        self.addCleanup(store.close)
        self.inner, self.store = store, FlakyStore(store)
        self.serve(AgentDouble(lambda turn, say: ["1", "2"]))
        self.come(message("a"), message("b"))
        self.assertEqual(self.agent.heard, ["a"])
        self.conversations.wake_if_held_up("another")
        self.successResultOf(store.claim_reply(KEY, NOW))
        self.column("UPDATE outbox SET state = 'sent' WHERE id = 1 RETURNING 1")
        self.conversations.wake_if_held_up(KEY)
        self.assertEqual(self.agent.heard, ["a", "b"])


class FailureTests(ConversationCase):
    def failing(self, error):
        self.serve(AgentDouble(lambda turn, say: fail(error)))
        self.come(message("a"))

    def ended_badly(self):
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)
        self.assertEqual((self.turn_states(), self.said()), (["dead"], ["Sorry."]))

    def test_an_agent_that_raises_is_asked_three_times_in_two_minutes(self):
        times = []
        self.serve(
            AgentDouble(lambda turn, say: times.append(self.clock.seconds()) or fail(ZeroDivisionError("x")))
        )
        self.come(message("a"))
        while not self.letters() and self.clock.seconds() < NOW + 1000:
            self.advance(1)
        self.ended_badly()
        self.assertEqual(len(times), 3)
        self.assertLessEqual(times[-1] - NOW, 120)
        self.assertGreater(times[2] - times[1], times[1] - times[0])
        self.assertEqual(self.letters(), ["ZeroDivisionError: x"])

    def test_a_raise_without_a_deferred_counts_as_well(self):
        def reply(turn, say):
            raise ZeroDivisionError

        self.serve(AgentDouble(reply))
        self.come(message("a"))
        for _ in range(200):
            self.advance(1)
        self.ended_badly()

    def test_after_a_dead_letter_the_next_event_is_answered(self):
        self.serve(
            AgentDouble(lambda turn, say: fail(ZeroDivisionError()) if turn.event.text == "a" else "fine")
        )
        self.come(message("a"), message("b"))
        for _ in range(200):
            self.advance(1)
        self.assertEqual(self.said(), ["Sorry.", "fine"])
        self.flushLoggedErrors(ZeroDivisionError)

    def test_without_an_apology_nothing_is_said(self):
        self.policy = Policy(apology="", agent_tries=1)
        self.failing(ZeroDivisionError())
        self.assertEqual((self.turn_states(), self.said(), self.replied), (["dead"], [], []))
        self.flushLoggedErrors(ZeroDivisionError)

    def test_what_can_be_raised_and_is_no_ordinary_error(self):
        class Unspeakable(Exception):
            def __str__(self):
                raise ValueError("no words")

        odd = (
            StopIteration("x"),
            StopAsyncIteration(),
            GeneratorExit(),
            SystemExit(3),
            KeyboardInterrupt(),
            ValueError("\ud800"),
            ValueError("a\0b"),
            Unspeakable(),
            CancelledError(),
            AssertionError(),
        )
        self.policy = Policy(apology="Sorry.", agent_tries=1)
        for number, error in enumerate(odd):
            with self.subTest(error=type(error).__name__):
                self.serve(AgentDouble(lambda turn, say, error=error: fail(error)))
                self.come(message("a", str(number)))
                self.assertEqual(self.turn_states()[-1], "dead")
                self.assertEqual(self.said()[-1], "Sorry.")
        self.assertEqual(len(self.letters()), len(odd))
        self.flushLoggedErrors()

    def test_a_reason_is_bounded_and_holds_no_secret(self):
        from klein_channels.secret import Secret

        secret = Secret("hunter2hunter2")
        self.policy = Policy(agent_tries=1)
        self.failing(ValueError("x" * 1_000_000))
        self.come(message("b", "2"))
        self.serve(AgentDouble(lambda turn, say: fail(ValueError(f"401 for {secret.reveal()}"))))
        self.come(message("c", "3"))
        self.assertLess(max(map(len, self.letters())), 5000)
        self.assertNotIn("hunter2", repr(self.letters()))
        # Whether the log hides secrets depends on who installed that before: either error is right here.
        self.flushLoggedErrors(ValueError, RedactedError)

    def test_an_agent_that_is_not_there_is_waited_for(self):
        self.failing(AgentUnreachable("refused"))
        for _ in range(899):
            self.advance(1)
        self.assertEqual((self.letters(), self.turn_states()), ([], ["retry"]))
        for _ in range(100):
            self.advance(1)
        self.assertEqual((len(self.letters()), self.said()), (1, ["Sorry."]))

    def test_an_agent_that_comes_back_answers(self):
        self.failing(AgentUnreachable("refused"))
        self.agent.reply = lambda turn, say: "here I am"
        for _ in range(70):
            self.advance(1)
        self.assertEqual((self.said(), self.turn_states()), (["here I am"], ["done"]))

    def test_an_answer_that_is_no_reply(self):
        self.policy = Policy(apology="Sorry.", agent_tries=1)
        around = {}
        around["custom"] = around
        for number, answer in enumerate(
            (object(), 3, b"bytes", {"txt": "x"}, [[object()]], {1: 2}, around, float)
        ):
            self.serve(AgentDouble(lambda turn, say, answer=answer: answer))
            self.come(message("a", str(number)))
            self.assertEqual((self.turn_states()[-1], self.said()[-1]), ("dead", "Sorry."), answer)
        self.assertTrue(all(reason.startswith("AgentReplyError: ") for reason in self.letters()))
        self.flushLoggedErrors(AgentReplyError)

    def test_a_turn_at_which_servers_die_is_a_dead_letter(self):
        self.serve(AgentDouble(lambda turn, say: Deferred()))
        self.come(message("killer"))
        self.column("UPDATE turn SET failures = 3 RETURNING 1")
        self.serve(AgentDouble())
        self.conversations.wake(KEY)
        self.assertEqual((self.agent.turns, self.turn_states(), self.said()), ([], ["dead"], ["Sorry."]))

    def test_an_event_that_cannot_be_looked_up_is_answered_all_the_same(self):
        for number, trouble in enumerate((fail(ZeroDivisionError()), fail(KeyError()))):
            self.resolve = lambda channel, event, trouble=trouble: trouble
            self.come(message("a", str(number)))
        self.assertEqual((self.agent.heard, self.turn_states()), (["a", "a"], ["done", "done"]))
        self.flushLoggedErrors(ZeroDivisionError, KeyError)

    def test_an_event_that_was_looked_up_is_the_one_that_is_answered(self):
        self.resolve = lambda channel, event: succeed(message("looked up", id=event.id))
        self.come(message("a"))
        self.assertEqual(self.agent.heard, ["looked up"])


class DeadlineTests(ConversationCase):
    def setUp(self):
        super().setUp()
        self.cancelled = []
        self.gate = Deferred(self.cancelled.append)
        self.serve(AgentDouble(lambda turn, say: self.gate if turn.event.text == "slow" else "quick"))

    def test_past_it_there_is_an_apology_and_no_second_try(self):
        self.come(message("slow"), message("b"))
        self.clock.advance(59.9)
        self.assertEqual(self.agent.heard, ["slow"])
        self.clock.advance(0.1)
        self.assertEqual((self.said(), self.turn_states()), (["Sorry.", "quick"], ["dead", "done"]))
        self.assertEqual(len(self.cancelled), 1)

    def test_what_comes_later_is_discarded(self):
        late = Deferred(lambda _: None)
        self.serve(AgentDouble(lambda turn, say: late))
        self.come(message("slow"))
        self.clock.advance(60)
        self.assertEqual(self.said(), ["Sorry."])

    def test_what_is_said_later_is_refused(self):
        says = []
        self.serve(AgentDouble(lambda turn, say: says.append(say) or Deferred()))
        self.come(message("slow"))
        self.clock.advance(60)
        self.failureResultOf(says[0]("too late"), TurnLost)
        self.assertEqual(self.said(), ["Sorry."])

    def test_an_answer_in_time_leaves_no_timer(self):
        self.come(message("b"))
        self.assertEqual(self.clock.getDelayedCalls(), [])


class ThreadTests(ConversationCase):
    def stuck_agent(self):
        agent = ThreadsDouble(lambda turn, say: Deferred() if turn.event.text == "stuck" else "fine")
        self.back = Deferred()
        agent.stuck[1] = self.back
        self.serve(agent)
        self.come(message("stuck"), message("b"))
        self.clock.advance(60)
        return agent

    def test_the_conversation_waits_for_its_thread(self):
        agent = self.stuck_agent()
        self.assertEqual((self.said(), agent.heard), (["Sorry."], ["stuck"]))
        self.back.callback(None)
        self.assertEqual((agent.heard, agent.written_off), (["stuck", "b"], []))

    def test_after_five_minutes_the_thread_is_written_off(self):
        agent = self.stuck_agent()
        self.clock.advance(299)
        self.assertEqual(agent.written_off, [])
        self.clock.advance(1)
        self.assertEqual((agent.written_off, agent.heard), ([1], ["stuck", "b"]))

    def test_one_that_is_not_replaced_is_one_less(self):
        agent = self.stuck_agent()
        agent.replaced = False
        self.clock.advance(300)
        agent.reply = lambda turn, say: Deferred()
        before = len(agent.heard)
        self.come(*[message(str(n), str(n)) for n in range(3)])
        self.assertEqual(len(agent.heard) - before, 1)


class StoreAwayTests(ConversationCase):
    def test_at_the_start_of_a_turn_it_is_tried_again(self):
        self.store.away["start_turn"] = 3
        self.come(message("a"))
        self.assertEqual(self.agent.heard, [])
        for _ in range(4):
            self.clock.advance(STORE_RETRY)
        self.assertEqual((self.agent.heard, self.turn_states()), (["a"], ["done"]))
        self.flushLoggedErrors(StoreUnavailable)

    def test_at_the_end_of_a_turn_the_answer_is_kept_until_it_is_back(self):
        self.store.away["end_turn"] = 3
        self.come(message("a"), message("b"))
        self.assertEqual((self.agent.heard, self.said()), (["a"], []))
        for _ in range(3):
            self.clock.advance(STORE_RETRY)
        self.assertEqual((self.agent.heard, self.said()), (["a", "b"], ["to a", "to b"]))

    def test_within_a_turn_it_is_said_again_from_the_start(self):
        def reply(turn, say):
            return say("first").addCallback(lambda _: "last")

        self.store.away["add_replies"] = 1
        self.serve(AgentDouble(reply))
        self.come(message("a"))
        self.poll()
        self.assertEqual([turn.attempt for turn in self.agent.turns], [1, 2])
        self.assertEqual(self.said(), ["first", "last"])

    def test_when_everything_is_to_end_nobody_waits_for_it(self):
        self.store.away["end_turn"] = 100
        self.come(message("a"))
        stopped = self.conversations.stop()
        self.clock.advance(STORE_RETRY)
        self.successResultOf(stopped)
        self.assertEqual(self.turn_states(), ["running"])

    def test_a_turn_that_is_somebody_elses_meanwhile_is_let_go(self):
        says, gate = [], Deferred()

        def reply(turn, say):
            says.append(say)
            return gate if turn.event.text == "a" else "other"

        self.serve(AgentDouble(reply))
        self.come(message("a"))
        self.column("UPDATE turn SET attempt = 7 RETURNING 1")
        self.failureResultOf(says[0]("mine"), TurnLost)
        gate.errback(TurnLost("mine"))
        self.assertEqual((self.said(), self.turn_states()), ([], ["running"]))


class StopTests(ConversationCase):
    def test_turns_at_work_end_and_none_begins(self):
        gate = Deferred()
        self.serve(AgentDouble(lambda turn, say: gate))
        self.come(message("a"), message("b"))
        stopped = self.conversations.stop()
        self.come(message("c", "other"))
        self.assertNoResult(stopped)
        gate.callback("A")
        self.successResultOf(stopped)
        self.assertEqual((self.agent.heard, self.said()), (["a"], ["A"]))

    def test_turns_given_up_begin_again_and_it_is_no_failure(self):
        cancelled = []
        self.serve(AgentDouble(lambda turn, say: Deferred(cancelled.append)))
        self.come(message("a"))
        stopped = self.conversations.stop()
        self.conversations.give_up()
        self.successResultOf(stopped)
        self.assertEqual((len(cancelled), self.turn_states()), (1, ["retry"]))
        self.assertEqual(self.column("SELECT failures FROM turn"), [0])
        self.serve(AgentDouble())
        self.conversations.wake(KEY)
        self.assertEqual((self.agent.heard, self.said()), (["a"], ["to a"]))

    def test_a_stop_with_nothing_at_work_is_at_once(self):
        self.successResultOf(self.conversations.stop())
        self.conversations.give_up()


class TypingTests(ConversationCase):
    def test_after_a_second_and_then_every_fifteen(self):
        gate = Deferred()
        self.serve(AgentDouble(lambda turn, say: gate))
        self.come(message("a"))
        self.clock.advance(0.9)
        self.assertEqual(self.typing, [])
        self.clock.pump([0.1, 15, 15])
        self.assertEqual(self.typing, [(KEY, True)] * 3)
        gate.callback("x")
        self.clock.advance(100)
        self.assertEqual((len(self.typing), self.clock.getDelayedCalls()), (3, []))

    def test_not_once_something_was_said(self):
        self.serve(AgentDouble(lambda turn, say: say("x").addCallback(lambda _: Deferred())))
        self.come(message("a"))
        self.clock.advance(20)
        self.assertEqual(self.typing, [])

    def test_no_timer_outlives_a_failed_turn(self):
        self.policy = Policy(agent_tries=1)
        self.serve(AgentDouble(lambda turn, say: fail(ZeroDivisionError())))
        self.come(message("a"))
        self.clock.advance(20)
        self.assertEqual((self.typing, self.clock.getDelayedCalls()), ([], []))
        self.flushLoggedErrors(ZeroDivisionError)


class MemoryTests(ConversationCase):
    def test_state_and_owner_end_with_the_turn(self):
        self.serve(AgentDouble(lambda turn, say: [Remember(state={"n": 1}), "bye", Handoff()]))
        self.come(message("a"), message("b"))
        self.assertEqual((self.agent.heard, self.said()), (["a"], ["bye"]))
        self.assertEqual(self.column("SELECT owner FROM conversation"), ["human"])

    def test_a_second_attempt_knows_what_was_said(self):
        def reply(turn, say):
            if turn.attempt == 1:
                return (
                    say("one")
                    .addCallback(lambda _: self.sent())
                    .addCallback(lambda _: fail(ZeroDivisionError()))
                )
            return "two"

        self.serve(AgentDouble(reply))
        self.come(message("a"))
        self.advance(60)
        self.assertEqual(self.agent.turns[1].already_said, (Message(parts=(Text(text="one"),)),))
        self.assertEqual(self.said(), ["one", "two"])
        self.flushLoggedErrors(ZeroDivisionError)

    def sent(self):
        self.column("UPDATE outbox SET state = 'sent' RETURNING 1")

    def test_every_turn_is_told_its_event_whole(self):
        event = message("ü😀", payload="p")
        self.come(event)
        self.assertEqual(self.agent.turns[0].event, event)
        self.assertIsInstance(self.agent.turns[0].event, MessageReceived)
