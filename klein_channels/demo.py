"""
The demonstration: the real server, a small agent, and a stand-in for the platform, all on this machine.

Nothing leaves the loopback interface; the secrets are random at each start. The file `state_file`
tells them to `klein-channels trigger` of the same user while the demonstration runs.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.server import Site

from .channel import Channel
from .channels.facebook import FacebookInput
from .errors import ConfigError, StartError
from .model import AnyEvent, MessageReceived
from .observers import Observer
from .service import ChannelService
from .testing.graph import GraphStandIn, SentMessage

_log = Logger()
LOOPBACK = "127.0.0.1"
PAGE = "1000"
CHANNEL = "facebook"


async def demo_agent(event: AnyEvent) -> AsyncIterator[Any]:
    """Says what it heard and offers to go on."""
    if isinstance(event, MessageReceived) and event.attachments and not event.text:
        yield f"Thank you for the {event.attachments[0].kind}."
        return
    yield {
        "text": f"You said: {event.text or event.payload or event.kind}",
        "quick_replies": [
            {"title": "Who are you?", "payload": "who"},
            {"title": "Goodbye", "payload": "goodbye"},
        ],
    }


class Credentials:
    """The secrets of one demonstration."""

    def __init__(self) -> None:
        self.verify = secrets.token_urlsafe(12)
        self.secret = secrets.token_hex(16)
        self.token = secrets.token_urlsafe(24)

    def channel(self, graph_url: str) -> FacebookInput:
        """The channel that goes by them."""
        return FacebookInput(
            fb_verify=self.verify,
            fb_secret=self.secret,
            page_tokens={PAGE: self.token},
            name=CHANNEL,
            graph_url=graph_url,
        )


class DemoService(MultiService):
    """A `ChannelService` with a platform of its own; `port` is on the loopback interface.

    `agent` and `store` replace the demonstration's own. `sent` is called with each message that the
    platform would show. Starting raises `StartError`.
    """

    def __init__(
        self,
        port: int,
        *,
        agent: Any = demo_agent,
        store: str | None = None,
        reactor: Any = None,
        sent: Callable[[SentMessage], None] | None = None,
        observers: Sequence[Observer] = (),
    ) -> None:
        MultiService.__init__(self)
        self.port = port
        self.credentials = Credentials()
        self._agent = agent
        self._store = store
        self._given_reactor = reactor
        self._sent = sent
        self._observers = observers
        self._folder: str | None = None
        self._graph_port: Any = None

    def privilegedStartService(self) -> None:
        """Listen, the platform first: the server has to know where it is."""
        reactor = self._given_reactor
        if reactor is None:
            from twisted.internet import reactor
        self.graph = GraphStandIn(reactor, {PAGE: self.credentials.token}, secret=self.credentials.secret)
        self.graph.on_sent = self._sent
        site = Site(self.graph)
        site.log = lambda request: None  # type: ignore[method-assign]
        self._graph_port = reactor.listenTCP(0, site, interface=LOOPBACK)
        self.graph_url = f"http://{LOOPBACK}:{self._graph_port.getHost().port}"
        self._folder = tempfile.mkdtemp(prefix="klein-channels-demo-")
        self.channels = ChannelService(
            [self.credentials.channel(self.graph_url)],
            self._agent,
            store=self._store or f"sqlite:///{self._folder}/demo.db",
            port=f"tcp:{self.port}:interface={LOOPBACK}",
            observers=self._observers,
            reactor=reactor,
        )
        MultiService.addService(self, self.channels)
        MultiService.privilegedStartService(self)

    def startService(self) -> None:
        """Start everything, and tell this user's `trigger` how to sign."""
        try:
            if self._graph_port is None:
                self.privilegedStartService()
            MultiService.startService(self)
            _write_state(self.port, self.credentials)
        except BaseException:
            self._clean()
            raise
        _log.warn(
            "DEMONSTRATION: no configuration was given. A stand-in plays the platform, the secrets are"
            " random, and only this machine is served: http://{host}:{port}/app/webhook",
            host=LOOPBACK,
            port=self.port,
        )

    def stopService(self) -> Deferred[None]:
        """Stop everything and leave nothing behind."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await MultiService.stopService(self)
        if self._graph_port is not None:
            await self._graph_port.stopListening()
        self._clean()

    def _clean(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            state_file(self.port).unlink(missing_ok=True)
            self._folder = None


def state_file(port: int) -> Path:
    """Where the demonstration at `port` tells its secrets to its own user."""
    return Path(tempfile.gettempdir()) / f"klein-channels-{os.getuid()}" / f"demo-{port}.json"


def demo_channel(port: int) -> Channel:
    """The channel of the demonstration that runs at `port`, able to sign; ConfigError if none does."""
    path = state_file(port)
    try:
        _own_folder(path.parent)
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise ConfigError(
            f"no demonstration of yours runs at port {port}: start `klein-channels demo`,"
            " or name your configuration with --config"
        ) from None
    credentials = Credentials()
    credentials.verify, credentials.secret, credentials.token = found
    return credentials.channel(f"http://{LOOPBACK}:1")


def _write_state(port: int, credentials: Credentials) -> None:
    path = state_file(port)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    _own_folder(path.parent)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump([credentials.verify, credentials.secret, credentials.token], file)


def _own_folder(folder: Path) -> None:
    """Refuse a folder that another user made under our name."""
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise StartError(f"{folder} is not a private folder of yours: remove it")
