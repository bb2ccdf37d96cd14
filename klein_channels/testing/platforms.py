"""Platforms as functions: what answers the calls of a channel where there is no network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import msgspec
from twisted.internet.defer import Deferred, TimeoutError, succeed
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Site

from ..exchange import Sink
from ..http import Http
from ..model import Call, CallResult
from .wires import Asked, join

Platform: TypeAlias = Callable[[Call], CallResult]
"""Judges one call as the platform does, and answers it; what it keeps of it is its own business."""


class FunctionHttp(Http):
    """An `Http` whose calls a function answers. Deadlines are the shipped ones.

    `platform` may also answer with a Deferred: a platform that takes its time. `calls` are those
    that were made, in their order.
    """

    def __init__(self, reactor: Any, platform: Callable[[Call], Any], calls: list[Call]) -> None:
        super().__init__(reactor)
        self._platform = platform
        self._calls = calls

    def _make(self, call: Call, seconds: float, sink: Sink | None = None) -> Deferred[CallResult]:
        if seconds <= 0:
            return succeed(CallResult(outcome="not_sent", error="no time was left"))
        self._calls.append(call)
        answering: Deferred[CallResult] = deferLater(self._reactor, 0, self._platform, call)
        answering.addTimeout(seconds, self._reactor).addErrback(_no_answer)
        return answering if sink is None else answering.addCallback(_saved, sink)


def _saved(result: CallResult, sink: Sink) -> CallResult:
    """What becomes of an answer whose body is saved."""
    if result.outcome != "answered" or not 200 <= result.status < 300:
        return result
    if len(result.body) > sink.most:
        error = f"answer longer than {sink.most} bytes"
        return msgspec.structs.replace(result, outcome="unknown", body=b"", error=error)
    try:
        sink.begin()
        sink.write(result.body)
    except OSError as problem:
        error = f"it cannot be saved: {problem.strerror}"
        return msgspec.structs.replace(result, outcome="unknown", body=b"", error=error)
    return msgspec.structs.replace(result, body=b"")


def _no_answer(failure: Failure) -> CallResult:
    failure.trap(TimeoutError)
    return CallResult(outcome="unknown", error="no answer came in time")


def silent_site(resource: IResource, clock: Clock) -> Site:
    """A site of `resource` that lives on `clock` and logs nothing."""
    site = Site(resource, reactor=clock, timeout=None)
    site.log = lambda request: None  # type: ignore[method-assign]
    return site


def served(resource: IResource, clock: Clock | None = None) -> Platform:
    """The platform that a `twisted.web` resource is, for calls to any host.

    Answers come at once or not at all: a closed or silent connection is an unknown outcome.
    """
    time = clock or Clock()
    site = silent_site(resource, time)

    def answer(call: Call) -> CallResult:
        asked = Asked(_on_the_wire(call))
        join(time, asked, site.buildProtocol(None))
        time.advance(0)
        if asked.status is None:
            return CallResult(outcome="unknown", error="the connection was closed")
        return CallResult(
            outcome="answered", status=asked.status, headers=_headers_of(asked.answer), body=asked.body
        )

    return answer


def _on_the_wire(call: Call) -> bytes:
    url = urlsplit(call.url)
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    lines = [f"{call.method} {target} HTTP/1.1", f"Host: {url.netloc}"]
    lines += [f"{name}: {value}" for name, value in call.headers]
    lines += [f"Content-Length: {len(call.body)}", "", ""]
    return "\r\n".join(lines).encode("latin-1") + call.body


def _headers_of(answer: bytes) -> tuple[tuple[str, str], ...]:
    _, *lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    return tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
