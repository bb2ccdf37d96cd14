"""
Fetches the files that people send, after the commit and before the turn.

A file gets a name that is made of its event, so that a turn that is tried again finds it. What goes
wrong with a file (too large, of another kind, a full disk) is said on its attachment and disturbs
nothing else.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore, gatherResults, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .channel import FILES, Channel, Fetched, Fetches, able
from .errors import PlatformError
from .http import Http
from .logs import presentable
from .media_types import HEAD, UNKNOWN, extension, mismatch, recognised
from .model import AnyEvent, Attachment, MessageReceived
from .policy import Policy
from .spool import PART, FileSink, Spool

_log = Logger()
Key = tuple[str, str, str]


class Fetching:
    """Fetches the files of events into `spool`, each once, whoever asks for them."""

    def __init__(
        self, spool: Spool, http: Http, policy: Policy, *, clock: IReactorTime, now: Callable[[], float]
    ) -> None:
        self._spool = spool
        self._http = http
        self._policy = policy
        self._clock = clock
        self._now = now
        self._places = DeferredSemaphore(policy.media_at_once)
        self._under_way: dict[Key, list[Deferred[AnyEvent]]] = {}

    def fetched(self, channel: Channel, event: AnyEvent) -> Deferred[AnyEvent]:
        """`event` with its files on this machine, as far as that goes in `media_deadline`; never fails."""
        if not channel.options.fetch_media or not able(channel, Fetches):
            return succeed(event)
        if not isinstance(event, MessageReceived) or not any(a.kind in FILES for a in event.attachments):
            return succeed(event)
        key = (channel.name, event.address.account, event.id)
        waiter: Deferred[AnyEvent] = Deferred()
        waiting = self._under_way.setdefault(key, [])
        waiting.append(waiter)
        if len(waiting) == 1:
            fetching = Deferred.fromCoroutine(self._fetch_all(channel, event))
            fetching.addErrback(self._stumbled, event).addCallback(self._tell, key)
        return waiter

    def _stumbled(self, failure: Failure, event: AnyEvent) -> AnyEvent:
        _log.failure("the files of event {id}", failure, id=event.id)
        return event

    def _tell(self, event: AnyEvent, key: Key) -> None:
        for waiter in self._under_way.pop(key):
            if not waiter.called:
                waiter.callback(event)

    async def _fetch_all(self, channel: Channel, event: MessageReceived) -> AnyEvent:
        ends = self._clock.seconds() + self._policy.media_deadline
        fetching = [
            self._places.run(self._fetch_within, channel, event, number, ends)
            if attachment.kind in FILES
            else succeed(attachment)
            for number, attachment in enumerate(event.attachments)
        ]
        return msgspec.structs.replace(event, attachments=tuple(await gatherResults(fetching)))

    def _fetch_within(
        self, channel: Channel, event: MessageReceived, number: int, ends: float
    ) -> Deferred[Attachment]:
        return Deferred.fromCoroutine(self._fetch(channel, event, number, ends))

    async def _fetch(self, channel: Channel, event: MessageReceived, number: int, ends: float) -> Attachment:
        attachment = event.attachments[number]
        folder = self._spool.folder_of(channel.name, _person(event))
        name = _name_of(event, number)
        try:
            there = self._spool.find(folder, name)
            if there is not None:
                return _described(attachment, there)
            sink = FileSink(folder / f"{name}{PART}", self._policy.media_most)
            try:
                return await self._saved(channel, event, attachment, sink, name, ends)
            finally:
                sink.discard()
        except CancelledError:
            raise
        except (OSError, PlatformError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            return self._without(attachment, reason or type(error).__name__)

    async def _saved(
        self,
        channel: Channel,
        event: MessageReceived,
        attachment: Attachment,
        sink: FileSink,
        name: str,
        ends: float,
    ) -> Attachment:
        assert isinstance(channel, Fetches), "the caller looked"
        seconds = max(ends - self._clock.seconds(), 0.0)
        fetched = await self._http.run(channel.fetch(attachment, event.address), seconds, sink)
        if fetched is None:
            return attachment
        problem = _problem(fetched, attachment, sink)
        if problem is not None:
            return self._without(attachment, problem)
        found = recognised(sink.head) or _plain_type(fetched) or UNKNOWN
        path = sink.keep(f"{name}.{extension(found)}")
        os.utime(path, (self._now(), self._now()))
        return msgspec.structs.replace(attachment, path=str(path), content_type=found, size=sink.size)

    def _without(self, attachment: Attachment, problem: str) -> Attachment:
        _log.info("a file was not fetched: {problem}", problem=presentable(problem))
        return msgspec.structs.replace(attachment, problem=presentable(problem))


def _problem(fetched: Fetched, attachment: Attachment, sink: FileSink) -> str | None:
    """What is wrong with what came, if anything."""
    result = fetched.result
    if result.outcome != "answered":
        return result.error or "it did not come whole"
    if not 200 <= result.status < 300:
        return f"HTTP {result.status}"
    if fetched.sha256 is not None and sink.sum.hexdigest() != fetched.sha256.lower():
        return "it is not the file that the platform announced"
    return mismatch(attachment.kind, sink.head)


def _plain_type(fetched: Fetched) -> str | None:
    """What the platform calls a file that is not known by its bytes, if that is a type of files at all."""
    said = (fetched.content_type or fetched.result.header("content-type") or "").partition(";")[0].strip()
    return said.lower() if said.startswith(("application/", "text/")) and said.isascii() else None


def _described(attachment: Attachment, path: Path) -> Attachment:
    with path.open("rb") as file:
        found = recognised(file.read(HEAD)) or UNKNOWN
    return msgspec.structs.replace(attachment, path=str(path), content_type=found, size=path.stat().st_size)


def _person(event: MessageReceived) -> str:
    return event.sender.id if event.sender is not None else event.address.peer


def _name_of(event: MessageReceived, number: int) -> str:
    words = f"{event.address}\0{event.id}\0{number}".encode("utf-8", "surrogatepass")
    return hashlib.sha256(words).hexdigest()[:32]
