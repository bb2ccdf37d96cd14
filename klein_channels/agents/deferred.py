"""Agents that never block: functions of Deferreds, coroutines, async generators, on any reactor."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import closing
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred

from ..errors import AgentError
from ..model import Turn
from . import Say, current_turn
from .calling import Caller, caller_of, caller_of_handle_message

_ASYNCIO_SIGNS = ("no running event loop", "await wasn't used with future", "no current event loop")


class DeferredAgent:
    """Runs an asynchronous agent on the reactor.

    `agent` is a function that returns a value, a Deferred or a coroutine, an async generator
    function, or an object with such a `handle_message`. Under the asyncio reactor each turn is one
    asyncio task, in which both Deferreds and asyncio's own objects can be awaited.
    """

    def __init__(self, agent: Any, *, deterministic: bool = False) -> None:
        self.deterministic = deterministic
        self._agent = agent
        self._call: Caller = (
            caller_of_handle_message(agent) if hasattr(agent, "handle_message") else caller_of(agent)
        )

    def __repr__(self) -> str:
        return f"DeferredAgent({self._agent!r})"

    def answer(self, turn: Turn, say: Say) -> Deferred[Any]:
        """Answer `turn`; the result is the last reply."""
        return maybeDeferred(contextvars.copy_context().run, self._start, turn, say)

    def _start(self, turn: Turn, say: Say) -> Any:
        current_turn.set(turn)
        result = self._call(turn)
        if inspect.isasyncgen(result) or inspect.isgenerator(result):
            result = _said(result, say)
        if isinstance(result, Deferred) or not inspect.isawaitable(result):
            return result
        return _driven(_awaited(result))


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


async def _said(answers: Any, say: Say) -> None:
    """Say what a generator yields, each when the one before is committed."""
    if inspect.isgenerator(answers):
        with closing(answers):
            for answer in answers:
                await say(answer)
        return
    try:
        async for answer in answers:
            await say(answer)
    except GeneratorExit:
        # Nobody waits for this turn any more, and nothing can be awaited now.
        raise
    except BaseException:
        await answers.aclose()
        raise


def _driven(coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return Deferred.fromCoroutine(coroutine).addErrback(_explained)
    return Deferred.fromFuture(loop.create_task(_as_task(coroutine, loop)))


def _explained(failure: Any) -> Any:
    if failure.check(RuntimeError) and failure.getErrorMessage().startswith(_ASYNCIO_SIGNS):
        raise AgentError(
            "the agent awaits asyncio, and this reactor is not asyncio's: start with --reactor=asyncio"
        ) from None
    return failure


async def _as_task(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Any:
    return await _bridge(coroutine, loop)


@types.coroutine
def _bridge(coroutine: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop) -> Generator[Any, Any, Any]:
    """Step `coroutine` inside a task: what it awaits of asyncio passes through, Deferreds become futures."""
    step: Callable[[], Any] = lambda: coroutine.send(None)  # noqa: E731  (replaced in the loop)
    while True:
        try:
            awaited = step()
        except StopIteration as stop:
            return stop.value
        try:
            if isinstance(awaited, Deferred):
                # The Deferred keeps its result: the coroutine asks it again when it is resumed.
                yield from _fired(awaited, loop)
                value = None
            else:
                value = yield awaited
        except BaseException as error:
            step = lambda error=error: coroutine.throw(error)  # type: ignore[misc]  # noqa: E731
        else:
            step = lambda value=value: coroutine.send(value)  # type: ignore[misc]  # noqa: E731


def _fired(deferred: Deferred[Any], loop: asyncio.AbstractEventLoop) -> Generator[Any, Any, None]:
    future: asyncio.Future[None] = loop.create_future()

    def fire(result: Any) -> Any:
        if not future.done():
            future.set_result(None)
        return result

    deferred.addBoth(fire)
    try:
        yield from future
    except asyncio.CancelledError:
        deferred.cancel()
        # Whoever waited for it is gone, and so nobody is left for its failure.
        deferred.addErrback(lambda _: None)
        raise
