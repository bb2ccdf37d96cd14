"""
What a message costs from the webhook to the mark that its reply was sent.

Webhook, commit, agent, reply to a stand-in of the Graph, done. Our server (``twistd -n channels`` with
the shipped defaults) and Sanic with aiohttp take turns. CPU is that of the server's process tree from
the first message until every one is answered and marked.

``--latencies 0 50 200``: how much of our throughput is left when the Graph takes so many ms to answer.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from measure import OURS, SANICS, Graph, Load, Process, Table, count, ours, percentile, running, sanic

WARM_UP = 1000
PEOPLE = 2000
MOST, LEAST = 0.7, 0.8
UNDONE = {
    OURS: "SELECT (SELECT count(*) FROM turn WHERE state <> 'done')"
    " + (SELECT count(*) FROM outbox WHERE state <> 'sent')",
    "sanic": "SELECT count(*) FROM message WHERE state <> 'done'",
}


def measured(
    server: Process, graph: Graph, given: argparse.Namespace, kind: str
) -> tuple[float, float, float, float]:
    """CPU µs per message, p50 and p99 from webhook to reply in ms, replies per second."""
    options: dict[str, Any] = {"people": PEOPLE, "connections": given.connections}
    Load(server, 0, WARM_UP, **options).run()
    _drain(server, graph, WARM_UP, kind)
    load = Load(server, WARM_UP, given.messages, rate=given.rate, **options)
    before = server.cpu()
    sent = load.run()["sent"]
    _drain(server, graph, WARM_UP + given.messages, kind)
    cost = server.cpu() - before
    answered = graph.get("times")
    taken = [answered[number] - at for number, at in sent.items()]
    lasted = max(answered.values()) - min(sent.values())
    return (
        1e6 * cost / given.messages,
        percentile(taken, 0.5),
        percentile(taken, 0.99),
        given.messages / lasted,
    )


def _drain(server: Process, graph: Graph, total: int, kind: str) -> None:
    """Every message was answered once, and is marked."""
    if not graph.wait_for(total):
        raise SystemExit(
            f"{graph.get('answered')} of {total} messages were answered:\n{server.log.read_text()[-3000:]}"
        )
    if graph.get("answered")["repeated"]:
        raise SystemExit("messages were answered twice")
    for _ in range(100):
        if not count(server.folder, UNDONE[kind]):
            return
        time.sleep(0.05)
    raise SystemExit("not all messages were marked as done")


def one(
    make: Any, arguments: tuple[Any, ...], kind: str, latency: float, given: Any
) -> tuple[Any, list[str]]:
    with running(Graph, latency / 1000) as graph, running(make, *arguments, graph.url) as server:
        return measured(server, graph, given, kind), server.settings()


def compare(given: argparse.Namespace) -> None:
    table = Table("CPU µs/message", "p50 ms", "p99 ms", "replies/s")
    settings = {}
    for _ in range(given.rounds):
        values, settings[OURS] = one(ours, ("echo",), OURS, 0, given)
        table.add(OURS, *values)
        for where in SANICS:
            name = f"sanic, {where}"
            values, settings[name] = one(sanic, (where,), "sanic", 0, given)
            table.add(name, *values)
    table.print()
    table.print_ratios(OURS, MOST)
    for name, lines in settings.items():
        print(f"  settings of {name}: {'; '.join(lines)}")


def latencies(given: argparse.Namespace) -> None:
    table = Table("CPU µs/message", "p50 ms", "p99 ms", "replies/s")
    for _ in range(given.rounds):
        for latency in given.latencies:
            values, settings = one(ours, ("echo",), OURS, latency, given)
            table.add(f"Graph {latency:g} ms", *values)
    table.print()
    first, *others = (table.medians(f"Graph {latency:g} ms")[-1] for latency in given.latencies)
    for latency, throughput in zip(given.latencies[1:], others, strict=True):
        share = throughput / first
        verdict = "reached" if share >= LEAST else "NOT reached"
        print(f"  throughput at {latency:g} ms: {share:.2f} (at least {LEAST}: {verdict})")
    print(f"  settings: {'; '.join(settings)}")


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--messages", type=int, default=4000)
    options.add_argument("--connections", type=int, default=32)
    options.add_argument(
        "--rate", type=float, default=0.0, help="messages per second; 0 is as fast as it goes"
    )
    options.add_argument("--latencies", type=float, nargs="+", metavar="MS")
    given = options.parse_args()
    (latencies if given.latencies else compare)(given)
