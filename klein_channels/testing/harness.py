"""
A whole service in memory with any channel, on a `task.Clock` that only the test moves.

Everything but the platform is the shipped code, and the platform is a function::

    kit = ChannelInMemory(agent, Pigeon(...), platform)
    kit.receive(signed(b'{"text": "hi"}'))
    assert json.loads(kit.shown[0].body)["text"] == "you said: hi"

With a `path` the store outlives `kill()`, after which `start()` is the next process on the same file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, TypeAlias

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.resource import IResource
from twisted.web.server import Site

from ..channel import Channel, Triggers
from ..model import Call, CallResult, WebhookRequest
from ..policy import Policy
from ..service import ChannelService
from ..store.sqlite import SQLiteStore
from .disk import Disk
from .platforms import FunctionHttp, silent_site
from .wires import Asked, ProcessReactor

START = 1_790_000_000.0
"""The time at which every test begins."""
AnyPlatform: TypeAlias = Callable[[Call], CallResult | Deferred[CallResult]] | IResource
_OURS = (b"host", b"content-length", b"transfer-encoding", b"connection")


def clock_of_tests() -> Clock:
    """A clock that stands at `START`."""
    clock = Clock()
    clock.advance(START)
    return clock


class ChannelInMemory:
    """One `ChannelService` for one channel, its platform, and the time.

    `platform` is a function that answers each `Call` with a `CallResult`, or with a Deferred of one;
    `calls` are those that it got, `shown` those of them that somebody sees. Or it is a `twisted.web`
    resource: the calls then travel as bytes, to any ``http://127.0.0.1`` that the channel names.

    `agent` is any agent, `policy` and further settings are the service's. The service is started at
    once. End every test with `stop()` or `kill()`.
    """

    def __init__(
        self,
        agent: Any,
        channel: Channel,
        platform: AnyPlatform,
        *,
        path: str = "",
        policy: Policy | None = None,
        clock: Clock | None = None,
        **settings: Any,
    ) -> None:
        self.clock = clock or clock_of_tests()
        self.agent = agent
        self.channel: Any = channel
        self.policy = policy or Policy()
        self.platform: Any = platform
        self.calls: list[Call] = []
        self.disk = Disk(self.kill, self.settle)
        self.ahead = 0.0
        """Seconds by which the time of the day is ahead of the clock: a change sets the time."""
        self._path = path
        self._settings = settings
        self.start()

    # The process

    def start(self) -> None:
        """Start a process; the one before must have stopped or died."""
        self.process = ProcessReactor(self.clock, self._site_of_platform)
        policy = self.policy
        self.store = self.new_store()
        settings = dict(self._settings)
        if callable(self.platform):
            settings.setdefault("http", FunctionHttp(self.process, self._answer, self.calls))
        self.service = ChannelService(
            [self.channel],
            self.agent,
            store=self.store,
            policy=policy,
            reactor=self.process,
            now=lambda: self.clock.seconds() + self.ahead,
            jitter=lambda: 0.0,
            **settings,
        )
        self.service.startService()
        self.settle()

    def new_store(self) -> Any:
        """The store as the next process opens it, over the disk of this kit."""
        return SQLiteStore(
            self._path,
            committer=self.disk.committer,
            connect=self.disk.connect,
            max_waiting=self.policy.max_waiting_events,
            max_unsent=self.policy.max_unsent_replies,
            unknown_wait=self.policy.unknown_wait,
        )

    def _site_of_platform(self) -> Site:
        return silent_site(self.platform, self.clock)

    def _answer(self, call: Call) -> Any:
        return self.platform(call)  # whatever it is by now

    def stop(self) -> Deferred[None] | None:
        """Stop as by SIGTERM, where a process runs; what it takes shows on the clock."""
        if not self.process.alive:
            return None
        stopped = self.service.stopService().addCallback(lambda _: self._end())
        self.settle()
        return stopped

    def kill(self) -> None:
        """End the process as by SIGKILL: nothing is finished, the system closes its files."""
        self._end()
        self.settle()

    def _end(self) -> None:
        self.process.die()
        self.disk.let_go()
        self.store._release_lock()

    # Time

    def settle(self) -> None:
        """Let everything happen that happens now."""
        self.clock.advance(0)

    def advance(self, seconds: float) -> None:
        """Let time pass, stopping wherever something is due."""
        end = self.clock.seconds() + seconds
        while True:
            due = min((call.getTime() for call in self.clock.getDelayedCalls()), default=end)
            if due > end:
                break
            self.clock.advance(max(due - self.clock.seconds(), 0.0))
            if due == end and not any(c.getTime() <= end for c in self.clock.getDelayedCalls()):
                break
        self.clock.advance(max(end - self.clock.seconds(), 0.0))

    # In

    def receive(self, request: WebhookRequest) -> int | None:
        """Bring `request` to the channel's own URL; the status of the answer, None if there is none."""
        return self.asked(request).status

    def asked(self, request: WebhookRequest) -> Asked:
        """The same, with all of the answer; it may come later."""
        query = f"?{request.query}" if request.query else ""
        target = f"{self._settings.get('prefix', '/app')}/{self.channel.name}/webhook{query}"
        lines = [f"{request.method} {target} HTTP/1.1".encode("latin-1"), b"Host: bot.example"]
        lines += [name + b": " + value for name, value in request.headers if name not in _OURS]
        lines += [b"Content-Length: %d" % len(request.body), b"", request.body]
        asked = self.raw(b"\r\n".join(lines))
        self.settle()
        return asked

    def trigger(self, kind: str = "text", text: str = "hi") -> int | None:
        """Receive what a channel that plays its own platform makes of `kind` and `text`."""
        assert isinstance(self.channel, Triggers), "this channel has no trigger()"
        return self.receive(self.channel.trigger(kind, text, self.clock.seconds()))

    def raw(self, request: bytes, site: Any = None) -> Asked:
        """Send the bytes of a request on a connection of its own, to `site` or the service's."""
        asked = Asked(request)
        self._join(asked, site or self.service.site())
        return asked

    def connect(self, client: Any) -> None:
        """Connect any protocol of the world's to the service, like a `sockets.SocketClient`."""
        self._join(client, self.service.site())
        self.settle()

    def _join(self, client: Any, site: Any) -> None:
        server = site.buildProtocol(IPv4Address("TCP", "203.0.113.9", 40_000))
        self.process.join(server, client)

    # Out

    @property
    def shown(self) -> list[Call]:
        """The calls that show something, those that failed too."""
        return [call for call in self.calls if call.effect]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the store holds, asked over its own connection."""
        return [tuple(row) for row in sqlite3.Connection.execute(self.disk.connections[0], query)]

    def outbox(self) -> list[str]:
        """The states of all replies, in their order."""
        return [state for (state,) in self.rows("SELECT state FROM outbox ORDER BY id")]

    def turns(self) -> list[str]:
        """The states of all turns, in their order."""
        return [state for (state,) in self.rows("SELECT state FROM turn ORDER BY id")]
