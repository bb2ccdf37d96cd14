"""Agents on threads: what blocks, blocks nobody else; what is stuck is counted."""

import contextvars
import threading

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase

from klein_channels.agents import current_turn
from klein_channels.agents.threads import ThreadPoolAgent
from klein_channels.errors import AgentError
from klein_channels.model import Turn

from .doubles import address, message

PATIENCE = 20.0


def turn(text="hi", number=1):
    return Turn(id=number, conversation=str(address()), events=(message(text),))


class HandPool:
    """A pool whose threads run when the test says so."""

    def __init__(self):
        self.max = 0
        self.work = []
        self.stopped = False

    def make(self, threads):
        self.max = threads
        return self

    def start(self):
        pass

    def stop(self):
        self.stopped = True

    def adjustPoolsize(self, maxthreads):
        self.max = maxthreads

    def callInThreadWithCallback(self, done, work):
        self.work.append((done, work))

    def run(self):
        done, work = self.work.pop(0)
        try:
            result = work()
        except BaseException:
            done(False, Failure())
        else:
            done(True, result)


class HandReactor(Clock):
    """Calls from threads happen at once."""

    def callFromThread(self, function, *args, **kwargs):
        function(*args, **kwargs)


class HandCase(SynchronousTestCase):
    def setUp(self):
        self.pool = HandPool()
        self.said = []

    def backend(self, function, **more):
        backend = ThreadPoolAgent(function, threads=2, make_pool=self.pool.make, **more)
        backend.start(HandReactor())
        return backend

    def say(self, answer):
        self.said.append(answer)
        return succeed(None)

    def ask(self, function, number=1):
        answer = self.backend(function).answer(turn(number=number), self.say)
        self.pool.run()
        return answer


class AnswerTests(HandCase):
    def test_what_is_returned(self):
        answers = ("x", None, ["a", {"text": "b"}], {"text": "x"}, ("a", "b"))
        for given in answers:
            self.assertEqual(self.successResultOf(self.ask(lambda event, given=given: given)), given)
        self.assertEqual(self.said, [])

    def test_what_is_yielded_is_said_one_by_one(self):
        def generator(event):
            yield "a"
            yield "b"

        for function in (generator, lambda event: iter(["a", "b"]), lambda event: map(str, "ab")):
            self.said.clear()
            self.assertIsNone(self.successResultOf(self.ask(function)))
            self.assertEqual(self.said, ["a", "b"])

    def test_whatever_is_raised_fails_the_turn(self):
        def generator(event):
            yield "a"
            raise KeyError

        def next_of_nothing(event):
            return next(iter([]))

        def stops(event):
            raise StopIteration("value")

        cases = {generator: KeyError, next_of_nothing: StopIteration, stops: StopIteration}
        for function, error in cases.items():
            self.failureResultOf(self.ask(function), error)

    def test_a_generator_that_runs_out_within_fails_and_is_not_cut_short(self):
        def generator(event):
            yield "a"
            yield next(iter([]))

        self.failureResultOf(self.ask(generator), RuntimeError)

    def test_what_would_have_to_be_awaited_is_an_error_that_says_so(self):
        async def coroutine():
            pass

        for function in (lambda event: coroutine(), lambda event: Deferred()):
            failure = self.failureResultOf(self.ask(function), AgentError)
            self.assertIn("DeferredAgent", failure.getErrorMessage())

    def test_an_async_generator_from_a_plain_function_is_an_error_that_says_so(self):
        async def generator():
            yield "x"

        failure = self.failureResultOf(self.ask(lambda event: generator()), AgentError)
        self.assertIn("DeferredAgent", failure.getErrorMessage())

    def test_the_turn_and_the_callers_context_are_known_there(self):
        mine = contextvars.ContextVar("mine")
        mine.set("kept")

        def function(event):
            found = mine.get(), current_turn.get().id
            mine.set("changed")
            return found

        self.assertEqual(self.successResultOf(self.ask(function, number=7)), ("kept", 7))
        self.assertEqual(mine.get(), "kept")
        self.assertRaises(LookupError, current_turn.get)


class GivenUpTests(HandCase):
    def test_its_answer_is_discarded_and_its_return_is_told(self):
        backend = self.backend(lambda event: "late")
        answer = backend.answer(turn(), self.say)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        back = backend.still_working(turn())
        self.assertNoResult(back)
        self.pool.run()
        self.successResultOf(back)
        self.assertIsNone(backend.still_working(turn()))

    def test_a_generator_says_nothing_more_and_is_closed(self):
        closed = []

        def generator(event):
            try:
                answer.cancel()
                yield "too late"
            finally:
                closed.append(True)

        backend = self.backend(generator)
        answer = backend.answer(turn(), self.say)
        self.pool.run()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual((self.said, closed), ([], [True]))

    def test_a_generator_is_closed_when_a_say_fails(self):
        closed = []

        def generator(event):
            try:
                yield "x"
            finally:
                closed.append(threading.current_thread())

        def lost(answer):
            raise KeyError("lost")

        backend = self.backend(generator)
        answer = backend.answer(turn(), lost)
        self.pool.run()
        self.failureResultOf(answer, KeyError)
        self.assertEqual(closed, [threading.current_thread()])

    def test_who_waits_for_the_thread_may_cancel(self):
        backend = self.backend(lambda event: "late")
        answer = backend.answer(turn(), self.say)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        back = backend.still_working(turn())
        back.cancel()
        self.failureResultOf(back, CancelledError)
        self.pool.run()


class WriteOffTests(HandCase):
    def stuck(self, backend, number):
        answer = backend.answer(turn(number=number), self.say)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        return backend.write_off(turn(number=number))

    def test_threads_are_replaced_up_to_a_bound(self):
        backend = self.backend(lambda event: "x", replaceable=2)
        self.assertEqual([self.stuck(backend, n) for n in range(4)], [True, True, False, False])
        self.assertEqual(self.pool.max, 4)

    def test_one_that_came_back_meanwhile_needs_no_other(self):
        backend = self.backend(lambda event: "x")
        answer = backend.answer(turn(), self.say)
        self.pool.run()
        self.successResultOf(answer)
        self.assertTrue(backend.write_off(turn()))
        self.assertEqual(self.pool.max, 2)

    def test_one_that_comes_back_after_all_disturbs_nobody(self):
        backend = self.backend(lambda event: "x")
        self.stuck(backend, 1)
        again = backend.answer(turn(number=1), self.say)
        self.pool.run()
        self.assertIsNotNone(backend.still_working(turn(number=1)))
        self.assertNoResult(again)
        self.pool.run()
        self.assertEqual(self.successResultOf(again), "x")

    def test_a_stop_waits_for_no_thread_at_work(self):
        for prepare in (
            lambda backend: backend.answer(turn(), self.say),
            lambda backend: self.stuck(backend, 1),
        ):
            self.pool = HandPool()
            backend = self.backend(lambda event: "x")
            prepare(backend)
            backend.stop()
            self.assertFalse(self.pool.stopped)

    def test_a_stop_ends_idle_threads(self):
        backend = self.backend(lambda event: "x")
        backend.stop()
        self.assertTrue(self.pool.stopped)
        backend.stop()


class RealThreadTests(TestCase):
    """The same with threads and a reactor."""

    timeout = PATIENCE

    def setUp(self):
        from twisted.internet import reactor

        self.reactor = reactor

    def backend(self, function, threads=2):
        backend = ThreadPoolAgent(function, threads=threads)
        backend.start(self.reactor)
        self.addCleanup(backend.stop)
        return backend

    async def test_a_generator_waits_for_each_commit(self):
        order = []

        def say(answer):
            order.append(f"asked {answer}")
            done = Deferred()
            self.reactor.callLater(0.01, lambda: (order.append(f"stored {answer}"), done.callback(None)))
            return done

        def generator(event):
            for number in range(3):
                yield number
                order.append(f"went on {number}")

        await self.backend(generator).answer(turn(), say)
        self.assertEqual(order, [f"{what} {n}" for n in range(3) for what in ("asked", "stored", "went on")])

    async def test_it_runs_on_a_thread_that_keeps_no_process_alive(self):
        def where(event):
            return threading.current_thread()

        thread = await self.backend(where).answer(turn(), succeed)
        self.assertIsNot(thread, threading.current_thread())
        self.assertTrue(thread.daemon)

    async def test_turns_run_beside_each_other(self):
        both = threading.Barrier(2, timeout=PATIENCE)
        backend = self.backend(lambda event: both.wait() is not None)
        answers = [backend.answer(turn(number=n), succeed) for n in (1, 2)]
        self.assertEqual([await answer for answer in answers], [True, True])

    async def test_a_failed_say_is_raised_in_the_agent(self):
        seen = []

        def generator(event):
            try:
                yield "x"
            except GeneratorExit:
                seen.append("closed")
                raise

        def lost(answer):
            raise KeyError("lost")

        with self.assertRaises(KeyError):
            await self.backend(generator).answer(turn(), lost)
        self.assertEqual(seen, ["closed"])
