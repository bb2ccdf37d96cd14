"""Agents on the reactor: every kind of asynchronous function, on any reactor, cancelled cleanly."""

import subprocess
import sys
import textwrap
from pathlib import Path

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

import klein_channels
from klein_channels.agents import current_turn
from klein_channels.agents.deferred import DeferredAgent
from klein_channels.errors import AgentError
from klein_channels.model import Turn

from .doubles import address, message

ROOT = Path(klein_channels.__file__).parent.parent


def turn(text="hi", number=1):
    return Turn(id=number, conversation=str(address()), events=(message(text),))


class DeferredCase(SynchronousTestCase):
    def setUp(self):
        self.clock = Clock()
        self.said = []
        self.commits = []

    def say(self, answer):
        self.said.append(answer)
        return succeed(None)

    def slowly(self, answer):
        self.said.append(answer)
        self.commits.append(Deferred())
        return self.commits[-1]

    def ask(self, function, say=None):
        return DeferredAgent(function).answer(turn(), say or self.say)


class KindTests(DeferredCase):
    def test_values_deferreds_and_coroutines(self):
        async def coroutine(event):
            return await succeed(event.text)

        functions = (lambda event: "hi", lambda event: succeed("hi"), coroutine)
        self.assertEqual([self.successResultOf(self.ask(f)) for f in functions], ["hi"] * 3)

    def test_a_coroutine_that_waits_for_deferreds(self):
        async def agent(event):
            await deferLater(self.clock, 1, lambda: None)
            return "late"

        answer = self.ask(agent)
        self.assertNoResult(answer)
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(answer), "late")

    def test_generators_say_each_when_the_one_before_is_committed(self):
        async def agent(event):
            for number in range(3):
                yield number

        def plain(event):
            yield from range(3)

        for function in (agent, plain):
            self.said.clear()
            self.commits.clear()
            answer = self.ask(function, self.slowly)
            self.assertEqual(self.said, [0])
            for number in range(3):
                self.assertEqual(len(self.said), number + 1)
                self.commits[number].callback(None)
            self.assertIsNone(self.successResultOf(answer))

    def test_an_object_with_handle_message(self):
        class Agent:
            async def handle_message(self, text):
                return text.upper()

        self.assertEqual(self.successResultOf(self.ask(Agent())), "HI")

    def test_anything_awaitable(self):
        class Awaitable:
            def __await__(self):
                return succeed("x").__await__()

        self.assertEqual(self.successResultOf(self.ask(lambda event: Awaitable())), "x")

    def test_each_turn_is_known_far_below_and_to_itself_alone(self):
        gates = {}

        async def agent(event):
            gates[event.text] = gate = Deferred()
            await gate
            return current_turn.get().id

        backend = DeferredAgent(agent)
        answers = [backend.answer(turn(str(n), n), self.say) for n in (1, 2)]
        gates["1"].callback(None)
        gates["2"].callback(None)
        self.assertEqual([self.successResultOf(answer) for answer in answers], [1, 2])
        self.assertRaises(LookupError, current_turn.get)


class FailureTests(DeferredCase):
    def test_whatever_is_raised_is_the_deferreds_failure(self):
        def raises(event):
            raise ZeroDivisionError

        async def coroutine(event):
            raise ZeroDivisionError

        async def generator(event):
            yield "x"
            raise ZeroDivisionError

        functions = (raises, coroutine, generator, lambda event: fail(ZeroDivisionError()))
        for function in functions:
            self.failureResultOf(self.ask(function), ZeroDivisionError)

    def test_a_say_that_fails_closes_the_generator(self):
        closed = []

        async def agent(event):
            try:
                yield "x"
            finally:
                closed.append("async")

        def plain(event):
            try:
                yield "x"
            finally:
                closed.append("plain")

        for function in (agent, plain):
            answer = self.ask(function, lambda answer: fail(ZeroDivisionError()))
            failure = self.failureResultOf(answer, ZeroDivisionError)
        self.assertEqual(closed, ["async", "plain"])
        del failure

    def test_asyncio_on_another_reactor_is_explained(self):
        import asyncio

        async def sleeping(event):
            await asyncio.sleep(1)

        async def future(event):
            await asyncio.get_running_loop().create_future()

        async def streaming(event):
            yield "x"
            await asyncio.sleep(1)

        for agent in (sleeping, future, streaming):
            with self.subTest(agent=agent.__name__):
                failure = self.failureResultOf(self.ask(agent), AgentError)
                self.assertEqual(
                    failure.getErrorMessage(),
                    "the agent awaits asyncio, and this reactor is not asyncio's:"
                    " start with --reactor=asyncio",
                )

    def test_other_runtime_errors_are_left_alone(self):
        async def agent(event):
            raise RuntimeError("my own")

        self.assertEqual(self.failureResultOf(self.ask(agent), RuntimeError).getErrorMessage(), "my own")


class CancelTests(DeferredCase):
    def test_a_coroutine_ends_through_its_finally(self):
        ended = []

        async def agent(event):
            try:
                await Deferred(lambda _: ended.append("inner"))
            finally:
                ended.append("finally")

        answer = self.ask(agent)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(ended, ["inner", "finally"])

    def test_a_generator_ends_through_its_finally(self):
        ended = []

        async def agent(event):
            try:
                yield "x"
                await Deferred()
            finally:
                ended.append("finally")

        answer = self.ask(agent)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(ended, ["finally"])

    def test_a_generator_is_closed_while_its_words_are_committed(self):
        ended = []

        async def agent(event):
            try:
                yield "x"
            finally:
                ended.append("finally")

        answer = self.ask(agent, self.slowly)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual((ended, self.said), (["finally"], ["x"]))


class AsyncioTests(SynchronousTestCase):
    """In a process of its own, where the reactor is asyncio's."""

    def run_there(self, body):
        script = textwrap.dedent(
            """
            import asyncio, contextvars, gc, sys, traceback
            from twisted.internet import asyncioreactor
            asyncioreactor.install()
            from twisted.internet import reactor
            from twisted.internet.defer import CancelledError, Deferred, succeed
            from twisted.internet.task import deferLater
            from klein_channels.agents import current_turn
            from klein_channels.agents.deferred import DeferredAgent
            from tests.test_agents_deferred import turn

            said = []

            def say(answer):
                said.append(answer)
                return deferLater(reactor, 0.01, lambda: None)

            def ask(function):
                return DeferredAgent(function).answer(turn(), say)

            async def main():
            %s

            def ended(result):
                if result is not None:
                    print(result.getTraceback())
                gc.collect()
                reactor.callLater(0, reactor.stop)

            def start():
                Deferred.fromCoroutine(main()).addBoth(ended)

            reactor.callLater(0, start)
            reactor.callLater(20, reactor.stop)
            reactor.run()
            """
        ) % textwrap.indent(textwrap.dedent(body), "    ")
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        return done.stdout

    def test_deferreds_and_asyncio_mix_in_one_task(self):
        out = self.run_there(
            """
            tasks = set()
            mine = contextvars.ContextVar("mine")

            async def agent(event):
                mine.set("kept")
                tasks.add(asyncio.current_task())
                await asyncio.sleep(0.01)
                tasks.add(asyncio.current_task())
                await deferLater(reactor, 0.01, lambda: None)
                tasks.add(asyncio.current_task())
                both = await asyncio.gather(asyncio.sleep(0.01, "a"), asyncio.sleep(0, "b"))
                async with asyncio.timeout(5):
                    await asyncio.sleep(0)
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(0))
                try:
                    async with asyncio.timeout(0.01):
                        await Deferred()
                except TimeoutError:
                    both.append("timeout")
                await succeed(None)
                tasks.add(asyncio.current_task())
                return both, mine.get(), current_turn.get().id

            print(await ask(agent), len(tasks), None in tasks)
            """
        )
        self.assertEqual(out.strip(), "(['a', 'b', 'timeout'], 'kept', 1) 1 False")

    def test_a_generator_is_one_task_and_waits_for_its_commits(self):
        out = self.run_there(
            """
            tasks = set()

            async def agent(event):
                for number in range(3):
                    tasks.add(asyncio.current_task())
                    await asyncio.sleep(0.001)
                    yield number
                    await deferLater(reactor, 0.001, lambda: None)

            await ask(agent)
            print(said, len(tasks))
            """
        )
        self.assertEqual(out.strip(), "[0, 1, 2] 1")

    def test_errors_of_both_worlds_reach_the_agent_and_us(self):
        out = self.run_there(
            """
            from twisted.internet.defer import fail

            async def catches(event):
                try:
                    await fail(KeyError("k"))
                except KeyError:
                    await asyncio.sleep(0)
                    raise ZeroDivisionError("z")

            try:
                await ask(catches)
            except ZeroDivisionError as error:
                print("raised", error)

            async def cancels_itself(event):
                raise asyncio.CancelledError

            try:
                await ask(cancels_itself)
            except BaseException as error:
                print(type(error).__name__)
            """
        )
        self.assertEqual(out.split(), ["raised", "z", "CancelledError"])

    def test_cancelling_reaches_finally_in_either_wait(self):
        out = self.run_there(
            """
            ended = []
            waits = {
                "asyncio": lambda: asyncio.sleep(100),
                "deferred": lambda: Deferred(lambda _: ended.append("canceller")),
            }
            for name, wait in waits.items():
                async def agent(event):
                    try:
                        await wait()
                    finally:
                        await asyncio.sleep(0)
                        ended.append(name)

                async def generator(event):
                    try:
                        yield "x"
                        await wait()
                    finally:
                        await asyncio.sleep(0)
                        ended.append(f"{name} generator")

                for function in (agent, generator):
                    answer = ask(function)
                    await deferLater(reactor, 0.1, lambda: None)
                    answer.cancel()
                    try:
                        await answer
                    except (CancelledError, asyncio.CancelledError):
                        pass
                    await deferLater(reactor, 0.05, lambda: None)
            print(ended)
            """
        )
        self.assertEqual(
            out.strip(),
            str(["asyncio", "asyncio generator", "canceller", "deferred", "canceller", "deferred generator"]),
        )

    def test_a_generator_is_closed_when_its_turn_is_lost(self):
        out = self.run_there(
            """
            ended = []

            async def agent(event):
                try:
                    yield "x"
                    yield "never"
                finally:
                    await asyncio.sleep(0)
                    ended.append("closed")

            def lost(answer):
                said.append(answer)
                return Deferred.fromFuture(failing())

            def failing():
                future = asyncio.get_running_loop().create_future()
                future.set_exception(KeyError("lost"))
                return future

            try:
                await DeferredAgent(agent).answer(turn(), lost)
            except KeyError:
                ended.append("raised")
            print(said, ended)
            """
        )
        self.assertEqual(out.strip(), "['x'] ['closed', 'raised']")
