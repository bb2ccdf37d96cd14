"""Drives a channel's `Steps` without a network: every `Call` is answered from a list, or by a function."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TypeVar

from ..channel import Steps
from ..model import JSON, Call, CallResult

T = TypeVar("T")


def play(steps: Steps[T], *results: CallResult) -> tuple[list[Call], T]:
    """The calls that `steps` make when answered by `results` in order, and what they return.

    AssertionError if they make more calls than there are results, or fewer.
    """
    calls: list[Call] = []
    try:
        call = next(steps)
        for result in results:
            calls.append(call)
            call = steps.send(result)
    except StopIteration as end:
        assert len(calls) == len(results), f"{len(results) - len(calls)} answers were not asked for"
        value: T = end.value
        return calls, value
    raise AssertionError(f"one call too many: {call.method} {call.url}")


def answered(status: int = 200, body: JSON | bytes = None, **headers: str) -> CallResult:
    """A whole answer; a header's name is written with underscores for dashes."""
    return CallResult(
        outcome="answered",
        status=status,
        headers=tuple((name.replace("_", "-"), value) for name, value in headers.items()),
        body=body if isinstance(body, bytes) else json.dumps(body).encode(),
    )


def drive(steps: Steps[T], answer: Callable[[Call], CallResult], most: int = 100) -> tuple[list[Call], T]:
    """The calls that `steps` make when the function `answer` answers each, and what they return.

    AssertionError if they go on after `most` calls: no steps may depend on an end that others bring.
    """
    calls: list[Call] = []
    try:
        call = next(steps)
        while len(calls) < most:
            calls.append(call)
            call = steps.send(answer(call))
    except StopIteration as end:
        value: T = end.value
        return calls, value
    raise AssertionError(f"no end after {most} calls; the last was {call.method} {call.url}")
