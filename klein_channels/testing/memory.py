"""
A whole service for Messenger in memory, on a `task.Clock` that only the test moves.

Everything is the shipped code: requests arrive as bytes at the service's own site, calls leave as
bytes and are answered by a `GraphStandIn`. Only sockets, threads and time are not real::

    kit = ServiceInMemory(agent)
    kit.message("hi")
    assert kit.sent == ["you said: hi"]

For any other channel see `ChannelInMemory`, which this is one of.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.python.failure import Failure

from ..agents.threads import ThreadPoolAgent
from ..channels.facebook import FacebookInput
from ..model import Address
from ..policy import Policy
from ..secret import Secret
from ..signatures import hub_signature
from .graph import GraphStandIn
from .harness import START, ChannelInMemory, clock_of_tests
from .wires import Asked

__all__ = ["START", "HandThreads", "ServiceInMemory", "conversation", "messenger", "webhook"]

PAGE, PERSON = "104512345678901", "6789012345678901"
VERIFY, SECRET, TOKEN = "verify-token-of-tests", "app-secret-of-tests", "page-token-of-tests"
HOOK = "/app/webhook"


class ServiceInMemory(ChannelInMemory):
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
        self.clock = clock_of_tests()
        self._mids = 0
        graph = self.play(TOKEN, SECRET)
        served = channel or messenger()
        super().__init__(agent, served, graph, path=path, policy=policy, clock=self.clock, **settings)

    def play(self, token: str, secret: str) -> GraphStandIn:
        """Let the platform be a new one, which knows the page by `token` and the app by `secret`."""
        self.graph = GraphStandIn(self.clock, {PAGE: token}, secret=secret)
        self.platform = self.graph
        return self.graph

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

    # Out

    @property
    def sent(self) -> list[str]:
        """What people see, in the order in which they see it."""
        return [message.text for message in self.graph.sent]

    def sent_to(self, person: str) -> list[str]:
        """What one person sees."""
        return [m.text for m in self.graph.sent if m.body["recipient"].get("id") == person]


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
