"""
What taking a message in costs: a signed webhook, verified, parsed, committed with synchronous=FULL, 200.

Our server (``twistd -n channels`` with the shipped defaults) and Sanic take turns; CPU is that of the
server's process tree from the first message to the last answer, after a warm-up. The few
conversations of the load have agents that sleep, so nearly no turn runs meanwhile.

``--asleep``: every message is of another person, and all their agents sleep 30 s: how long is the answer?
"""

from __future__ import annotations

import argparse

from measure import OURS, SANICS, Graph, Load, Process, Table, count, ours, percentile, running, sanic

WARM_UP = 1000
PEOPLE = 64
MOST = 0.7


def measured(server: Process, given: argparse.Namespace, people: int) -> tuple[float, float, float, float]:
    """CPU µs per message, p50 and p99 in ms, messages per second."""
    options = {"people": people, "connections": given.connections, "rate": given.rate}
    Load(server, 0, WARM_UP, **options).run()
    load = Load(server, WARM_UP, given.messages, **options)
    before = server.cpu()
    seen = load.run()
    cost = server.cpu() - before
    taken = seen["latencies"]
    began = min(seen["sent"].values())
    lasted = max(seen["sent"].values()) - began
    return (
        1e6 * cost / given.messages,
        percentile(taken, 0.5),
        percentile(taken, 0.99),
        given.messages / lasted,
    )


def stored(server: Process, table: str, given: argparse.Namespace) -> None:
    """All of it must be there."""
    found = count(server.folder, f"SELECT count(*) FROM {table}")
    if found != WARM_UP + given.messages:
        raise SystemExit(f"{found} of {WARM_UP + given.messages} messages were stored")


def compare(given: argparse.Namespace) -> None:
    table = Table("CPU µs/message", "p50 ms", "p99 ms", "messages/s")
    settings = {}
    for _ in range(given.rounds):
        with running(ours, "asleep") as server:
            table.add(OURS, *measured(server, given, PEOPLE))
            stored(server, "inbox", given)
            settings[OURS] = server.settings()
        for where in SANICS:
            with running(sanic, where) as server:
                table.add(f"sanic, {where}", *measured(server, given, PEOPLE))
                stored(server, "message", given)
                settings[f"sanic, {where}"] = server.settings()
    table.print()
    table.print_ratios(OURS, MOST)
    for name, lines in settings.items():
        print(f"  settings of {name}: {'; '.join(lines)}")


def asleep(given: argparse.Namespace) -> None:
    table = Table("CPU µs/message", "p50 ms", "p99 ms", "messages/s")
    for _ in range(given.rounds):
        for agent in ("asleep", "asleep_in_a_thread"):
            # It is told that they type.
            with running(Graph, 0.0) as graph, running(ours, agent, graph.url) as server:
                table.add(agent, *measured(server, given, WARM_UP + given.messages))
                stored(server, "inbox", given)
                settings = server.settings()
    table.print()
    print(f"  settings: {'; '.join(settings)}")


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--messages", type=int, default=6000)
    options.add_argument("--connections", type=int, default=32)
    options.add_argument(
        "--rate", type=float, default=0.0, help="messages per second; 0 is as fast as it goes"
    )
    options.add_argument("--asleep", action="store_true")
    given = options.parse_args()
    (asleep if given.asleep else compare)(given)
