"""Agents that block: plain functions and generators, each turn on a thread of the agents' own."""

from __future__ import annotations

import contextvars
import inspect
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import blockingCallFromThread
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from ..errors import AgentError, AgentTimeout
from ..model import Turn
from . import Say, current_turn
from .calling import Caller, caller_of, caller_of_handle_message


class _DaemonThreadPool(ThreadPool):
    """A pool whose threads do not keep a process alive that was told to end."""

    threadFactory = staticmethod(partial(threading.Thread, daemon=True))  # type: ignore[assignment]


def _daemon_pool(threads: int) -> ThreadPool:
    return _DaemonThreadPool(minthreads=0, maxthreads=threads, name="agents")


class _Job:
    """One turn on its thread."""

    def __init__(self) -> None:
        self.given_up = False
        self.back: Deferred[None] = Deferred()


class ThreadPoolAgent:
    """Runs a synchronous agent on threads of its own; never the reactor's, which resolve names.

    `agent` is a function or generator function, or an object with a `handle_message`. A thread
    cannot be taken away from a function: what it does after its deadline is discarded, and its
    conversation waits for it. Context variables of the caller are carried over.
    """

    def __init__(
        self,
        agent: Any,
        *,
        threads: int = 10,
        replaceable: int = 10,
        deterministic: bool = False,
        make_pool: Callable[[int], Any] = _daemon_pool,
    ) -> None:
        self.deterministic = deterministic
        self.capacity = threads
        self._agent = agent
        self._call: Caller = (
            caller_of_handle_message(agent) if hasattr(agent, "handle_message") else caller_of(agent)
        )
        self._replaceable = replaceable
        self._make_pool = make_pool
        self._pool: Any = None
        self._reactor: Any = None
        self._jobs: dict[int, _Job] = {}
        self._written_off = 0

    def __repr__(self) -> str:
        return f"ThreadPoolAgent({self._agent!r}, threads={self.capacity})"

    def start(self, reactor: Any) -> None:
        """Start the threads."""
        self._reactor = reactor
        self._pool = self._make_pool(self.capacity)
        self._pool.start()

    def stop(self) -> None:
        """Take no more turns; stop waits for nobody, threads at work end with the process."""
        pool, self._pool = self._pool, None
        if pool is not None and not self._jobs and not self._written_off:
            pool.stop()

    def answer(self, turn: Turn, say: Say) -> Deferred[Any]:
        """Answer `turn` on a thread; the result is the last reply."""
        assert self._pool is not None, "start() comes first"
        job = self._jobs[turn.id] = _Job()
        done: Deferred[Any] = Deferred(lambda _: setattr(job, "given_up", True))
        context = contextvars.copy_context()
        context.run(current_turn.set, turn)
        self._pool.callInThreadWithCallback(
            partial(self._reactor.callFromThread, self._back, turn, job, done),
            lambda: context.run(self._run, turn, say, job),
        )
        return done

    def still_working(self, turn: Turn) -> Deferred[None] | None:
        """Fires when the thread of `turn` is back; None if it is. For one waiter, who may cancel it."""
        job = self._jobs.get(turn.id)
        return job.back if job else None

    def write_off(self, turn: Turn) -> bool:
        """Give the pool a thread more for the one that does not come back."""
        job = self._jobs.pop(turn.id, None)
        if job is None or self._pool is None:
            return True
        self._written_off += 1
        if self._written_off > self._replaceable:
            return False
        self._pool.adjustPoolsize(maxthreads=self._pool.max + 1)
        return True

    def _run(self, turn: Turn, say: Say, job: _Job) -> Any:
        result = self._call(turn)
        if isinstance(result, Iterator):
            try:
                for answer in result:
                    if job.given_up:
                        raise AgentTimeout("the turn is over")
                    self._say_from_thread(say, answer)
            finally:
                if inspect.isgenerator(result):
                    # What it still has to do when it is left, it does now and on this thread.
                    result.close()
            return None
        if inspect.isawaitable(result) or inspect.isasyncgen(result):
            if inspect.iscoroutine(result):
                result.close()
            raise AgentError("a synchronous agent returned something to await: use DeferredAgent")
        return result

    def _say_from_thread(self, say: Say, answer: object) -> None:
        blockingCallFromThread(self._reactor, cast("Callable[[object], Deferred[Any]]", say), answer)

    def _back(self, turn: Turn, job: _Job, done: Deferred[Any], success: bool, result: Any) -> None:
        if self._jobs.get(turn.id) is job:
            del self._jobs[turn.id]
        if not job.back.called:
            job.back.callback(None)
        if done.called:
            return
        if success:
            done.callback(result)
        else:
            done.errback(result if isinstance(result, Failure) else Failure(CancelledError()))
