"""Real processes of this checkout, a platform in this one, and the wires between them."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import socket
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ProcessDone
from twisted.internet.protocol import ProcessProtocol, Protocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.http import HTTPChannel
from twisted.web.server import Site

from klein_channels.testing.graph import GraphStandIn

ROOT = Path(__file__).resolve().parents[2]
LOOPBACK = "127.0.0.1"
PAGE, TOKEN = "1000", "EAABpageTokenOfTheTests"
SECRET, VERIFY = "0123456789abcdef0123456789abcdef", "a verify token"
PATIENCE = 60.0
"""Seconds to wait for what takes a fraction of one on a machine at rest."""

# What the console scripts do, without an installation; -P keeps the cwd off sys.path as it is for them.
_STARTS = {
    "twistd": "from twisted.scripts.twistd import run",
    "twist": "from twisted.application.twist._twist import Twist; run = Twist.main",
    "klein-channels": "from klein_channels.cli import main as run",
}
WAYS = {
    "twistd": ("twistd",),
    "twistd -n": ("twistd", "-n"),
    "twist": ("twist",),
}
"""The three ways to start a server; the first forks."""
ENDED_BY_TERM = (0, -15)
"""A daemon's parent has left with 0; in the foreground Twisted tidies up and then dies of the signal."""
PID_FILE, LOG_FILE = "twistd.pid", "twistd.log"

ECHO_AGENT = """
async def reply(event):
    return "re: " + event.describe()
"""


class Program(ProcessProtocol):
    """A process and all that it forks.

    `exited` fires with its status (negative: the signal that ended it), `gone` when no fork is left
    either: each holds the other end of descriptor 3.
    """

    pid: int
    forks = False
    """Whether it leaves a daemon behind, whose number is in the pid file."""

    def __init__(self) -> None:
        self.exited: Deferred[int] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self._output = {1: b"", 2: b"", 3: b""}
        self.is_gone = False

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        self._output[childFD] += data

    def processExited(self, reason: Any) -> None:
        value = reason.value
        status = 0 if reason.check(ProcessDone) else value.exitCode
        self.exited.callback(-value.signal if status is None else status)

    def processEnded(self, reason: Any) -> None:
        self.is_gone = True
        self.gone.callback(None)

    def connectionMade(self) -> None:
        self.pid = self.transport.pid

    @property
    def stdout(self) -> str:
        return self._output[1].decode()

    @property
    def stderr(self) -> str:
        return self._output[2].decode()

    @property
    def said(self) -> str:
        return self.stdout + self.stderr


class Wire(Protocol):
    """A connection to a server: what it says is in `heard`, `lost` fires at its end."""

    def __init__(self) -> None:
        self.heard = b""
        self.closed = False
        self.lost: Deferred[bytes] = Deferred()

    def send(self, data: bytes) -> None:
        self.transport.write(data)

    def hang_up(self) -> None:
        self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Any = None) -> None:
        self.closed = True
        self.lost.callback(self.heard)


class _GraphConnection(HTTPChannel):
    """A connection that its site can tear down when the test is over."""

    def connectionMade(self) -> None:
        self.site.connections.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Any) -> None:
        self.site.connections.discard(self)
        super().connectionLost(reason)


class GraphSite(Site):
    """Serves a stand-in, and can end with all its connections."""

    noisy = False
    protocol = _GraphConnection

    def __init__(self, graph: GraphStandIn) -> None:
        super().__init__(graph)
        self.connections: set[Any] = set()

    def log(self, request: Any) -> None:
        """Keep no access log."""


class Store:
    """What a server's file says, read beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def is_at_rest(self) -> bool:
        """Whether there is nothing left to do."""
        return self.path.exists() and not self.rows(
            "SELECT id FROM inbox WHERE state = 'waiting'"
            " UNION ALL SELECT id FROM turn WHERE state IN ('running', 'retry', 'queued')"
            " UNION ALL SELECT id FROM outbox WHERE state IN ('waiting', 'sending', 'unknown', 'held')"
        )

    def rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        db = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        try:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query, values)]
        finally:
            db.close()


class ProcessTestCase(TestCase):
    """A folder, a platform, and a port that is nobody else's."""

    timeout = 170
    page_token, app_secret = TOKEN, SECRET

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.programs: list[Program] = []
        self.wires: list[Wire] = []
        self.addCleanup(self._end)
        self.graph = GraphStandIn(reactor, {PAGE: self.page_token}, secret=self.app_secret)
        self._graph_site = GraphSite(self.graph)
        self._graph_port = reactor.listenTCP(0, self._graph_site, interface=LOOPBACK)
        self.graph_url = f"http://{LOOPBACK}:{self._graph_port.getHost().port}"
        self.port = self.own_port()
        self.store = Store(self.folder / "test.db")

    async def _end(self) -> None:
        for wire in self.wires:
            if not wire.closed:
                wire.hang_up()
                await wire.lost
        for program in self.programs:
            self.kill(program)
        await self.until(lambda: all(program.is_gone for program in self.programs))
        await self._graph_port.stopListening()
        for connection in list(self._graph_site.connections):
            connection.abortConnection()
        await self.until(lambda: not self._graph_site.connections)

    def own_port(self) -> int:
        """The number of a port that a server of this test can listen to, and nobody else is given.

        It stays bound, without listening, until the test is over.
        """
        holder = socket.socket()
        self.addCleanup(holder.close)
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind((LOOPBACK, 0))
        port: int = holder.getsockname()[1]
        return port

    # -- files

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def configure(
        self, agent: str = ECHO_AGENT, policy: dict[str, object] | None = None, **more: Any
    ) -> Path:
        """A configuration (JSON is YAML), with `agent` as its agent's source."""
        self.write("bot.py", agent)
        facebook = {
            "verify": VERIFY,
            "secret": SECRET,
            "page_tokens": {PAGE: TOKEN},
            "graph_url": self.graph_url,
        }
        tree = {
            "agent": "bot:reply",
            "store": f"sqlite:///{self.store.path}",
            "channels": {"facebook": facebook},
            "policy": {key: str(value) for key, value in (policy or {}).items()},
            **more,
        }
        return self.write("channels.yml", json.dumps(tree))

    def log(self) -> str:
        """What a daemon wrote down."""
        path = self.folder / LOG_FILE
        return path.read_text() if path.exists() else ""

    # -- processes

    def run_python(self, *arguments: str, cwd: Path | None = None, **environment: str) -> Program:
        """Start a Python process with all warnings as errors, in `cwd` or the test's folder."""
        program = Program()
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("KLEIN_CHANNELS_")}
        reactor.spawnProcess(
            program,
            sys.executable,
            [sys.executable, "-W", "error", *arguments],
            env={
                **inherited,
                "PYTHONPATH": str(ROOT),
                "PYTHONUNBUFFERED": "1",
                "TMPDIR": str(self.folder),
                "KLEIN_CHANNELS_GRAPH_URL": self.graph_url,
                **environment,
            },
            path=str(cwd or self.folder),
            childFDs={0: "w", 1: "r", 2: "r", 3: "r"},
        )
        self.programs.append(program)
        return program

    def run_command(self, command: str, *arguments: str, **options: Any) -> Program:
        """Start what the console script `command` starts."""
        code = f"import sys; sys.argv[0] = {command!r}; {_STARTS[command]}; sys.exit(run())"
        return self.run_python("-P", "-c", code, *arguments, **options)

    def start(self, *arguments: str, way: str = "twistd -n", **options: Any) -> Program:
        """Start the server in one of the `WAYS`."""
        command, *own = WAYS[way]
        program = self.run_command(command, *own, "channels", *arguments, **options)
        program.forks = way == "twistd"
        return program

    async def serve(self, config: Path, way: str = "twistd -n", **options: Any) -> Program:
        """Start the server on the test's port, and wait until it is ready."""
        program = self.start("--config", str(config), "--port", self.endpoint, way=way, **options)
        await self.until_ready(program)
        return program

    @property
    def endpoint(self) -> str:
        return f"tcp:{self.port}:interface={LOOPBACK}"

    async def until_ready(self, program: Program, path: str = "/health/ready") -> None:
        """Wait until `program`, or what it forked, takes webhooks."""
        over = reactor.seconds() + PATIENCE
        while await self.ask(get(path)) != 200:
            if program.is_gone or reactor.seconds() > over:
                self.fail(f"the server is not there:\n{program.said}{self.log()}")
            await self.pause()

    def signal(self, program: Program, name: str) -> None:
        """Send a signal to a process that has not been waited for; its number is still its own."""
        if program.transport.pid is not None:
            program.transport.signalProcess(name)

    def kill(self, program: Program) -> None:
        """End a program and the daemon that it left behind, at once."""
        self.signal(program, "KILL")
        daemon = self.daemon_pid() if program.forks and not program.is_gone else None
        if daemon is not None:
            os.kill(daemon, signal.SIGKILL)

    def daemon_pid(self) -> int | None:
        """The number in the pid file."""
        path = self.folder / PID_FILE
        text = path.read_text() if path.exists() else ""
        return int(text) if text else None

    async def status(self, program: Program) -> int:
        """The status of a program that ends; it and all its forks are gone then."""
        status = await program.exited
        await program.gone
        return status

    def python_path(self, *before: Path) -> str:
        """The search path of a process, with folders in front of this checkout."""
        return os.pathsep.join(str(path) for path in (*before, ROOT))

    async def stop(self, program: Program) -> int:
        """Tell a program, or the daemon that it left behind, to end; its status."""
        if program.forks:
            daemon = self.daemon_pid()
            if daemon is None:
                # To signal 0 would be to signal the whole group of processes, these tests among them.
                self.fail(f"the daemon left no number in its pid file:\n{self.log()}")
            os.kill(daemon, signal.SIGTERM)
        else:
            self.signal(program, "TERM")
        return await self.status(program)

    # -- waiting

    async def pause(self, seconds: float = 0.02) -> None:
        await deferLater(reactor, seconds)

    async def until(self, condition: Callable[[], object], seconds: float = PATIENCE) -> None:
        """Wait until `condition` holds; fail loudly if it does not."""
        over = reactor.seconds() + seconds
        while not condition():
            if reactor.seconds() > over:
                said = "".join(program.said for program in self.programs)
                self.fail(f"waited for {seconds:g} s in vain\n{said}{self.log()}")
            await self.pause()

    async def until_all_is_done(self) -> None:
        """Wait until the server has answered all that it accepted."""
        await self.until(self.store.is_at_rest)

    async def all(self, *coroutines: Any) -> list[Any]:
        return await gatherResults([ensureDeferred(one) for one in coroutines], consumeErrors=True)

    # -- wires

    async def wire(self, port: int | None = None, host: str = LOOPBACK) -> Wire:
        """A new connection; raises ConnectError if nobody listens."""
        endpoint = TCP4ClientEndpoint(reactor, host, port or self.port)
        wire: Wire = await connectProtocol(endpoint, Wire())
        self.wires.append(wire)
        return wire

    async def ask(self, request: bytes, port: int | None = None) -> int | None:
        """The status of the answer to `request`; None if no whole head of one came."""
        try:
            wire = await self.wire(port)
        except Exception:
            return None
        wire.send(request)
        return status_of(await wire.lost)

    # -- what people see

    def seen_by(self, person: str) -> list[str]:
        """The texts that the platform showed to `person`, in order."""
        return [sent.text for sent in self.graph.sent if sent.body["recipient"]["id"] == person]

    @property
    def texts(self) -> list[str]:
        return [sent.text for sent in self.graph.sent]


def status_of(answer: bytes) -> int | None:
    """The status of an answer whose head is whole."""
    return int(answer.split(b" ", 2)[1]) if b"\r\n\r\n" in answer else None


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()


def message(person: str, mid: str, text: str = "hello") -> dict[str, Any]:
    """An item of a webhook: what `person` wrote."""
    return item(person, message={"mid": mid, "text": text})


def item(person: str, **what: Any) -> dict[str, Any]:
    return {"sender": {"id": person}, "recipient": {"id": PAGE}, "timestamp": 1_790_000_000_000, **what}


def webhook(
    *items: dict[str, Any], secret: str | None = SECRET, path: str = "/app/webhook", page: str = PAGE
) -> bytes:
    """A whole request as the platform sends it, each item in an entry of its own."""
    entries = [{"id": page, "time": 1_790_000_000_000, "messaging": [one]} for one in items]
    return post(json.dumps({"object": "page", "entry": entries}).encode(), secret, path)


def post(body: bytes, secret: str | None = SECRET, path: str = "/app/webhook") -> bytes:
    """A request with `body`, signed unless there is no secret."""
    head = [f"POST {path} HTTP/1.1", "Host: localhost", "Connection: close", "Content-Type: application/json"]
    head.append(f"Content-Length: {len(body)}")
    if secret is not None:
        head.append(
            f"X-Hub-Signature-256: sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"
        )
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body
