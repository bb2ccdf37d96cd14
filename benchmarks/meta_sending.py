"""
What a page sends when it has more to say than Meta lets it.

``twistd -n channels`` with nothing set but names and credentials answers every message, all from one page,
to a stand-in of the Graph that throttles a page after 300 messages in any second.

``pace``: many messages at once. How many replies a second go out, and how often the stand-in throttled.

``throttled``: a stand-in that allows only 100 a second. After its first throttle answer, which names a
time, how many calls came before that time. (Those that had been sent before the answer arrived do not count.)
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from measure import HERE, PATIENCE, Graph, Load, Process, free_port, ours, running
from wire import PAGES

ALLOWED = 300
LEAST = 270
"""In the fullest second; in the others the server is busy taking the flood in."""
RESTS = 60


class AllowedGraph(Graph):
    """The stand-in that throttles."""

    def __init__(self, folder: Path, per_second: int) -> None:
        port = free_port()
        command = (str(HERE / "allowed_graph.py"), str(port), str(per_second), str(RESTS))
        Process.__init__(self, folder, "graph", *command, port=port)
        self.url = f"http://127.0.0.1:{port}"
        self.wait()


def flooded(given: argparse.Namespace, graph: AllowedGraph, server: Process) -> None:
    """Many messages come at once."""
    options = {"people": given.messages, "apart": len(PAGES), "connections": 16}
    Load(server, 0, given.messages, **options).run()


def pace(given: argparse.Namespace) -> None:
    """Whether a page sends as fast as it may, and no faster."""
    with running(AllowedGraph, ALLOWED) as graph, running(ours, "echo", graph.url) as server:
        flooded(given, graph, server)
        graph.wait_for(given.messages)
        told = graph.get("counts")
    rate = (told["answered"] - 1) / (told["last"] - told["first"])
    print(f"  {told['answered']} replies, {rate:.0f} a second, {told['fullest']} in the fullest second;")
    print(f"  throttle answers: {told['throttled']}")
    _tell(told["throttled"] == 0 and told["answered"] == given.messages and told["fullest"] >= LEAST)


def throttled(given: argparse.Namespace) -> None:
    """Whether a page that was throttled waited until its time."""
    with running(AllowedGraph, 100) as graph, running(ours, "echo", graph.url) as server:
        flooded(given, graph, server)
        told: dict[str, Any] = {}
        ends = time.monotonic() + RESTS + PATIENCE
        while time.monotonic() < ends:
            told = graph.get("counts")
            if told["last"] - told["first"] > RESTS / 2:
                break
            time.sleep(0.5)
    print(
        f"  {told['answered']} replies, {told['throttled']} throttle answers, {told['early']} calls too early"
    )
    print(f"  first and last reply: {told['last'] - told['first']:.0f} s apart (it rests {RESTS} s)")
    _tell(told["early"] == 0 and told["last"] - told["first"] >= RESTS)


def _tell(reached: bool) -> None:
    print("  reached" if reached else "  NOT reached")
