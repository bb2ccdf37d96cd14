"""
A whole service in memory, on a `task.Clock` that only the test moves.

Everything is the shipped code: requests arrive as bytes at the service's own site, calls leave as
bytes and are answered by a `GraphStandIn`. Only sockets, threads and time are not real::

    kit = ServiceInMemory(agent)
    kit.message("hi")
    assert kit.sent == ["you said: hi"]

With a `path` the store outlives `kill()`, after which `start()` is the next process on the same file.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.server import Site

from ..agents.threads import ThreadPoolAgent
from ..channels.facebook import FacebookInput
from ..model import Address
from ..policy import Policy
from ..secret import Secret
from ..service import ChannelService
from ..signatures import hub_signature
from ..store.commit import InlineCommitter, Work
from ..store.sqlite import SQLiteStore
from .graph import GraphStandIn
from .wires import Asked, ProcessReactor

T = TypeVar("T")
START = 1_790_000_000.0
"""The time at which every test begins."""
PAGE, PERSON = "104512345678901", "6789012345678901"
VERIFY, SECRET, TOKEN = "verify-token-of-tests", "app-secret-of-tests", "page-token-of-tests"
HOOK = "/app/webhook"


class Killed(BaseException):
    """Unwinds the stack of a process that died in it; nobody outside `Disk` sees it."""


class ServiceInMemory:
    """One `ChannelService` for Messenger, its platform, and the time.

    `policy` and further settings are the service's. `agent` is any agent; for one on threads see
    `HandThreads`. The service is started at once. End every test with `stop()`.
    """

    def __init__(
        self,
        agent: Any,
        *,
        path: str = "",
        policy: Policy | None = None,
        channel: FacebookInput | None = None,
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        self.clock.advance(START)
        self.agent = agent
        self.policy = policy or Policy()
        self.play(TOKEN, SECRET)
        self.channel = channel or messenger()
        self.disk = Disk(self)
        self._path = path
        self._settings = settings
        self._mids = 0
        self.start()

    def play(self, token: str, secret: str) -> GraphStandIn:
        """Let the platform be a new one, which knows the page by `token` and the app by `secret`."""
        self.graph = GraphStandIn(self.clock, {PAGE: token}, secret=secret)
        self._platform = Site(self.graph, reactor=self.clock, timeout=None)
        self._platform.log = lambda request: None  # type: ignore[method-assign]
        return self.graph

    # The process

    def start(self) -> None:
        """Start a process; the one before must have stopped or died."""
        self.process = ProcessReactor(self.clock, lambda: self._platform)
        policy = self.policy
        self.store = SQLiteStore(
            self._path,
            committer=self.disk.committer,
            connect=self.disk.connect,
            max_waiting=policy.max_waiting_events,
            max_unsent=policy.max_unsent_replies,
            unknown_wait=policy.unknown_wait,
        )
        self.service = ChannelService(
            [self.channel],
            self.agent,
            store=self.store,
            policy=policy,
            reactor=self.process,
            now=self.clock.seconds,
            jitter=lambda: 0.0,
            **self._settings,
        )
        self.service.startService()
        self.settle()

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

    def message(self, text: str, mid: str | None = None, **fields: Any) -> int | None:
        """A person writes `text`; the status of the answer, None if there is none."""
        return self.deliver(self.item(mid, **fields, message={"text": text}))

    def deliver(self, *items: dict[str, Any]) -> int | None:
        """One signed webhook with all of `items`; the status of its answer."""
        asked = self.ask(webhook(*items))
        self.settle()
        return asked.status

    def item(self, mid: str | None = None, person: str = PERSON, page: str = PAGE, **fields: Any) -> Any:
        """One item of a webhook, with a new mid where a message or postback has none."""
        if mid is None:
            self._mids += 1
            mid = f"m_{self._mids}"
        for kind in {"message", "postback"} & fields.keys():
            fields[kind] = {"mid": mid, **fields[kind]}
        milliseconds = int(self.clock.seconds() * 1000)
        parties = {"sender": {"id": person}, "recipient": {"id": page}}
        return {**parties, "timestamp": milliseconds, **fields}

    def ask(self, body: bytes, signature: str | None = None, headers: str = "", site: Any = None) -> Asked:
        """Post `body` without waiting for anything; signed well unless a signature is given."""
        signed = hub_signature(body, Secret(SECRET)) if signature is None else signature
        head = f"POST {HOOK} HTTP/1.1\r\nHost: bot.example\r\n{headers}"
        head += f"X-Hub-Signature-256: {signed}\r\n" if signed else ""
        return self.raw(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body, site)

    def raw(self, request: bytes, site: Any = None) -> Asked:
        """Send the bytes of a request on a connection of its own, to `site` or the service's."""
        asked = Asked(request)
        server = (site or self.service.site()).buildProtocol(IPv4Address("TCP", "203.0.113.9", 40_000))
        self.process.join(server, asked)
        return asked

    # Out

    @property
    def sent(self) -> list[str]:
        """What people see, in the order in which they see it."""
        return [message.text for message in self.graph.sent]

    def sent_to(self, person: str) -> list[str]:
        """What one person sees."""
        return [m.text for m in self.graph.sent if m.body["recipient"].get("id") == person]

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """What the store holds, asked over its own connection."""
        return [tuple(row) for row in sqlite3.Connection.execute(self.disk.connections[0], query)]

    def outbox(self) -> list[str]:
        """The states of all replies, in their order."""
        return [state for (state,) in self.rows("SELECT state FROM outbox ORDER BY id")]

    def turns(self) -> list[str]:
        """The states of all turns, in their order."""
        return [state for (state,) in self.rows("SELECT state FROM turn ORDER BY id")]


def messenger(**more: Any) -> FacebookInput:
    """The channel of these tests."""
    settings = {"fb_verify": VERIFY, "fb_secret": SECRET, "page_tokens": {PAGE: TOKEN}}
    return FacebookInput(**{**settings, "graph_url": "http://127.0.0.1:9", **more})


def webhook(*items: dict[str, Any], page: str = PAGE) -> bytes:
    """The body of a webhook."""
    entry = {"id": page, "time": 1, "messaging": list(items)}
    return msgspec.json.encode({"object": "page", "entry": [entry]})


def conversation(person: str = PERSON, page: str = PAGE) -> str:
    """The key of the conversation with `person`."""
    return str(Address(channel="facebook", account=page, peer=person))


class Disk:
    """Where faults of the database are made.

    `full` and `gone` refuse writing and everything; `held` keeps commits back until `release()`;
    `kill_at` is called with the number of each commit and says when the process dies: ``before``
    or ``after`` it, or None.
    """

    def __init__(self, kit: ServiceInMemory) -> None:
        self._kit = kit
        self.full = self.gone = self.held = False
        self.commits = 0
        self.kill_at: Callable[[int], str | None] = lambda number: None
        self.connections: list[sqlite3.Connection] = []
        self._committers: list[_MortalCommitter] = []
        self._waiting: deque[Callable[[], None]] = deque()

    def connect(self, *args: Any, **settings: Any) -> sqlite3.Connection:
        """Open a connection on which this disk's faults show."""
        connection = sqlite3.connect(*args, factory=_Connection, **settings)
        connection.disk = self
        self.connections.append(connection)
        return connection

    def committer(self, connection: sqlite3.Connection, name: str, begin: str) -> Any:
        """A committer that works at once, or when it is released."""
        self._committers.append(_MortalCommitter(self, InlineCommitter(connection, begin)))
        return self._committers[-1]

    def let_go(self) -> None:
        """What the system does for a dead process: open transactions are rolled back."""
        for committer in self._committers:
            committer.dead = True
        for connection in self.connections:
            connection.close()
        self._committers.clear()
        self.connections.clear()
        self._waiting.clear()

    def execute(self, run: Callable[[], Any], sql: str) -> Any:
        """One statement, if the disk lets it pass."""
        if self.gone:
            raise sqlite3.OperationalError("disk I/O error")
        if sql != "COMMIT":
            return run()
        if self.full:
            raise sqlite3.OperationalError("database or disk is full")
        self.commits += 1
        moment = self.kill_at(self.commits)
        done = run() if moment != "before" else None
        if moment is not None:
            self._kit.kill()
            raise Killed
        return done

    def hold(self, commit: Callable[[], None]) -> None:
        """Keep a commit until `release`."""
        self._waiting.append(commit)

    def release(self) -> None:
        """Commit what was held."""
        self.held = False
        while self._waiting:
            self._waiting.popleft()()
        self._kit.settle()


class _MortalCommitter:
    """A committer of one process: once that is dead, nothing is done and nobody hears of it."""

    def __init__(self, disk: Disk, committer: InlineCommitter) -> None:
        self._disk = disk
        self._committer = committer
        self.dead = False

    def run(self, work: Work[T]) -> Deferred[T]:
        done: Deferred[T] = Deferred()
        if self._disk.held:
            self._disk.hold(lambda: self._commit(work, done))
        else:
            self._commit(work, done)
        return done

    def _commit(self, work: Work[T], done: Deferred[T]) -> None:
        if self.dead:
            return
        try:
            committed = self._committer.run(work)
        except Killed:
            return
        committed.addBoth(lambda result: None if self.dead or done.called else done.callback(result))

    def close(self) -> Deferred[None]:
        return self._committer.close()


class _Connection(sqlite3.Connection):
    disk: Disk

    def execute(self, sql: str, *args: Any) -> Any:
        return self.disk.execute(lambda: sqlite3.Connection.execute(self, sql, *args), sql)


class HandThreads:
    """Threads that work when the test says so; give its `pool` to a `ThreadPoolAgent`.

    `working` are the turns that have a thread; `finish` lets one of them run to its end.
    """

    def __init__(self) -> None:
        self.max = 0
        self.working: list[tuple[Callable[..., None], Callable[[], Any]]] = []
        self._queue: deque[tuple[Callable[..., None], Callable[[], Any]]] = deque()

    def agent(self, function: Any, **settings: Any) -> ThreadPoolAgent:
        """An agent of `function` on these threads."""
        return ThreadPoolAgent(function, make_pool=self._pool, **settings)

    def _pool(self, threads: int) -> Any:
        self.max = threads
        return self

    def start(self) -> None:
        """Threads start when they are needed."""

    def stop(self) -> None:
        """Nothing waits for a thread."""

    def adjustPoolsize(self, maxthreads: int) -> None:
        """Have more threads."""
        self.max = maxthreads
        self._fill()

    def callInThreadWithCallback(self, done: Callable[..., None], work: Callable[[], Any]) -> None:
        """Give `work` to a thread when one is free."""
        self._queue.append((done, work))
        self._fill()

    def _fill(self) -> None:
        while self._queue and len(self.working) < self.max:
            self.working.append(self._queue.popleft())

    def finish(self, number: int = 0) -> None:
        """Let the thread run to its end, and come back."""
        done, work = self.working.pop(number)
        try:
            result = work()
        except Exception:
            done(False, Failure())
        else:
            done(True, result)
        self._fill()
