"""``klein-channels demo``: one message goes all the way, and everybody can read how."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from .channel import Triggers
from .demo import CHANNEL, DemoService, demo_agent
from .http import Http
from .model import AnyEvent, Call, CallResult, WebhookRequest
from .run import chosen_reactor, run
from .testing.graph import SentMessage

PATIENCE = 20.0
"""Seconds within which the first reply must arrive."""
_log = Logger()
Write = Callable[[str], object]


def play(port: int, *, once: bool, agent: str | None, write: Write) -> int:
    """Run the demonstration at `port`; the exit status, 0 if the first reply arrived."""
    reactor = chosen_reactor()
    transcript = _Transcript(reactor, port, once=once, write=write)
    service = DemoService(
        port,
        agent=agent or demo_agent,
        reactor=reactor,
        sent=transcript.arrived,
        observers=[transcript.asked],
    )
    transcript.service = service
    run(reactor, service, transcript.begin)
    return 0 if transcript.complete else 1


class _Transcript:
    """Posts the first webhook and writes down what becomes of it, and of all that follow."""

    service: DemoService

    def __init__(self, reactor: Any, port: int, *, once: bool, write: Write) -> None:
        self.complete = False
        self._reactor = reactor
        self._once = once
        self._write = write
        self._url = f"http://127.0.0.1:{port}/app/webhook"
        self._http = Http(reactor)
        self._patience: Any = None

    def begin(self) -> None:
        """Post the first webhook."""
        self._write(f"klein_channels serves Messenger at {self._url}")
        self._write(f"a stand-in for the Graph API listens at {self.service.graph_url}\n")
        self._patience = self._reactor.callLater(PATIENCE, self._give_up)
        self._post(self._webhook("Hello!")).addErrback(
            lambda failure: _log.failure("the first webhook could not be posted", failure)
        )

    def asked(self, event: AnyEvent) -> None:
        """The event is in the store, and its turn begins."""
        self._write(f"  agent    is asked: {event.describe()!r} (event {event.id})")

    def arrived(self, message: SentMessage) -> None:
        """The platform shows a reply."""
        self._write(
            f"  Graph  < POST /{message.page}/messages {json.dumps(message.body, ensure_ascii=False)}"
        )
        self._write(f"  person   sees: {message.text!r}\n")
        if not self.complete:
            self.complete = True
            self._patience.cancel()
            if self._once:
                # The reply's own answer is still on its way to the server.
                self._reactor.callLater(0.1, self._reactor.stop)
            else:
                self._say_what_next()

    def _post(self, webhook: WebhookRequest) -> Deferred[None]:
        headers = tuple((name.decode(), value.decode()) for name, value in webhook.headers)
        self._write(f"  webhook> POST {self._url}")
        for name, value in headers:
            self._write(f"           {name}: {value}")
        self._write(f"           {webhook.body.decode()}")
        call = Call(method="POST", url=self._url, headers=headers, body=webhook.body, trust="configured")
        return self._http.call(call).addCallback(self._acknowledged)

    def _acknowledged(self, result: CallResult) -> None:
        took = result.elapsed * 1000
        self._write(f"  webhook< {result.status} after {took:.1f} ms, stored before it was acknowledged")

    def _say_what_next(self) -> None:
        webhook = self._webhook("And with curl?")
        headers = " ".join(
            f"-H {shlex.quote(f'{name.decode()}: {value.decode()}')}" for name, value in webhook.headers
        )
        self._write("It stays up until Ctrl-C. In another terminal, try:\n")
        url = f" --url {self._url}" if ":5004/" not in self._url else ""
        self._write(f'  klein-channels trigger {CHANNEL} text "hi"{url}\n')
        self._write(f"  curl -i {headers} --data-raw {shlex.quote(webhook.body.decode())} {self._url}\n")
        self._write("The same webhook twice is answered once. A changed one is refused with 403.")
        self._write("Your own agent: klein-channels demo --agent mybot:reply\n")

    def _webhook(self, text: str) -> WebhookRequest:
        channel = self.service.channels.channels[CHANNEL]
        assert isinstance(channel, Triggers)
        return channel.trigger("text", text, time.time())

    def _give_up(self) -> None:
        self._write(f"no reply arrived within {PATIENCE:g} s")
        self._reactor.stop()
