"""The processes of a benchmark: servers and what they cost, the load, the Graph stand-in; and tables."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wire import SECRET, TOKENS, VERIFY

HERE = Path(__file__).resolve().parent
TICK = os.sysconf("SC_CLK_TCK")
PATIENCE = 30.0
SANICS = ("executor", "inline")
OURS = "klein_channels"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Process:
    """A Python process whose output goes into a file of its own."""

    def __init__(self, folder: Path, name: str, *command: str, port: int) -> None:
        self.port = port
        self.log = folder / f"{name}.log"
        path = os.pathsep.join([str(HERE.parent), str(HERE)])
        with self.log.open("wb") as log:
            self._popen = subprocess.Popen(
                [sys.executable, *command],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def listening(self) -> bool:
        """Whether it takes connections; raises when it has ended."""
        if self._popen.poll() is not None:
            raise SystemExit(f"a process ended at once:\n{self.log.read_text()}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def wait(self) -> None:
        """Wait until it takes connections."""
        ends = time.monotonic() + PATIENCE
        while not self.listening():
            if time.monotonic() > ends:
                raise SystemExit(f"a process does not listen:\n{self.log.read_text()}")
            time.sleep(0.01)

    def cpu(self) -> float:
        """Seconds of CPU, user and system, of the process and all that it started."""
        return sum(_cpu(pid) for pid in _tree(self._popen.pid))

    def stop(self) -> None:
        self._popen.send_signal(signal.SIGTERM)
        try:
            self._popen.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def settings(self) -> list[str]:
        """The lines of its log in which it told its settings."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line.partition("settings: ")[2] for line in lines if "settings: " in line]


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from _tree(int(child))


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


class Graph(Process):
    """The Graph stand-in."""

    def __init__(self, folder: Path, latency: float) -> None:
        port = free_port()
        super().__init__(folder, "graph", str(HERE / "graph.py"), str(port), str(latency), port=port)
        self.url = f"http://127.0.0.1:{port}"
        self.wait()

    def get(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/{path}") as answer:
            return json.load(answer)

    def wait_for(self, count: int) -> bool:
        """Whether so many messages are answered, in time."""
        best, changed = -1, time.monotonic()
        while time.monotonic() - changed < PATIENCE:
            answered = self.get("answered")["answered"]
            if answered >= count:
                return True
            if answered > best:
                best, changed = answered, time.monotonic()
            time.sleep(0.05)
        return False


def channels_yml(folder: Path, agent: str, graph_url: str, store: str = "") -> Path:
    """A configuration with nothing in it but names, credentials and places."""
    path = folder / "channels.yml"
    tokens = ", ".join(f"'{page}': {token}" for page, token in TOKENS.items())
    path.write_text(
        f"agent: answers:{agent}\n"
        f"store: {store or f'sqlite:///{folder}/store.db'}\n"
        "channels:\n"
        "  facebook:\n"
        f"    verify: {VERIFY}\n"
        f"    secret: {SECRET}\n"
        f"    page_tokens: {{{tokens}}}\n"
        f"    graph_url: {graph_url}\n"
    )
    return path


def ours(folder: Path, agent: str, graph_url: str = "http://127.0.0.1:1", store: str = "") -> Process:
    """The server as it is run: ``twistd -n channels``."""
    config, port = channels_yml(folder, agent, graph_url, store), free_port()
    twistd = str(Path(sys.executable).with_name("twistd"))
    options = ("--port", f"tcp:{port}:interface=127.0.0.1", "--config", str(config))
    return Process(folder, "server", twistd, "--nodaemon", "--pidfile=", "channels", *options, port=port)


def sanic(folder: Path, where: str, graph_url: str = "") -> Process:
    """The peer."""
    port = free_port()
    script, database = str(HERE / "sanic_peer.py"), str(folder / "store.db")
    return Process(folder, "server", script, str(port), database, where, graph_url, port=port)


@contextmanager
def running(make: Any, *arguments: Any) -> Iterator[Process]:
    """A server in a new folder, stopped and forgotten at the end."""
    with tempfile.TemporaryDirectory(prefix="klein-channels-benchmark-") as folder:
        server = make(Path(folder), *arguments)
        server.folder = Path(folder)
        try:
            server.wait()
            yield server
        finally:
            server.stop()


class Load:
    """Messages on their way to a server; prepared when this is made."""

    def __init__(self, server: Process, first: int, count: int, **options: Any) -> None:
        given = {"port": server.port, "first": first, "count": count, **options}
        self._popen = subprocess.Popen(
            [sys.executable, str(HERE / "load.py"), *(f"--{name}={value}" for name, value in given.items())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._popen.stdout.readline() != "ready\n":
            raise SystemExit("the load generator ended")

    def run(self) -> dict[str, Any]:
        """Send everything; what was seen."""
        out, _ = self._popen.communicate("go\n")
        seen = json.loads(out)
        if set(seen["statuses"]) != {"200"}:
            raise SystemExit(f"not all messages were taken: {seen['statuses']}")
        return seen


def percentile(values: Sequence[float], share: float) -> float:
    """In milliseconds."""
    ordered = sorted(values)
    return 1000 * ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def count(folder: Path, statement: str) -> int:
    """What the database of a stopped, or quiet, server says."""
    with sqlite3.connect(folder / "store.db") as db:
        return db.execute(statement).fetchone()[0]


class Table:
    """Rounds of several servers, and their medians."""

    def __init__(self, *columns: str) -> None:
        self._columns = columns
        self._rows: dict[str, list[tuple[float, ...]]] = {}

    def add(self, name: str, *values: float) -> None:
        self._rows.setdefault(name, []).append(values)
        print(f"  {name:24}" + "".join(f"{value:14.1f}" for value in values), flush=True)

    def medians(self, name: str) -> list[float]:
        return [statistics.median(values) for values in zip(*self._rows[name], strict=True)]

    def print(self) -> None:
        """The medians of all rounds."""
        print(f"\n  {'medians':24}" + "".join(f"{column:>14}" for column in self._columns))
        for name in self._rows:
            print(f"  {name:24}" + "".join(f"{value:14.1f}" for value in self.medians(name)))

    def print_ratios(self, name: str, most: float) -> None:
        """The first column of `name` through that of every other row."""
        own = self.medians(name)[0]
        for other in self._rows:
            if other != name:
                ratio = own / self.medians(other)[0]
                verdict = "reached" if ratio <= most else "NOT reached"
                print(f"  {name} / {other}: {ratio:.2f} (at most {most}: {verdict})")
