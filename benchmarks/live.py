"""
What is said while it is written: on calls by the token, on Telegram by edits.

``calls``: the server (``twistd -n channels``, SQLite, nothing set but names) holds calls over sockets of
ConversationRelay, whose agent writes 20 tokens a second. From the moment at which the agent has a token to
that at which a caller has its frame; with one call, and with many. The first token of an answer is not said
before its row is on the disk, so it is told apart. Callers break in now and then: how late was the last token
that came after that?

``telegram``: 200 chats are answered at once by texts that grow for half a minute, in groups by edits; the
shipped code against the stand-in, on a clock of its own. How many requests came at most, in all and in one
chat, and did every text arrive whole?
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from callers import AUTH, LATE
from measure import HERE, Process, Table, free_port, percentile, running

sys.path.insert(0, str(HERE.parent))

GOAL = 5.0


def relay(folder: Path) -> Process:
    """The server with one channel of calls."""
    config, port = folder / "channels.yml", free_port()
    config.write_text(
        "agent: answers:tokens\n"
        f"store: sqlite:///{folder}/store.db\n"
        "public_url: https://bot.example\n"
        "channels:\n"
        "  conversation_relay:\n"
        f"    auth_token: {AUTH}\n"
        "    welcome_greeting: Hello\n"
    )
    twistd = str(Path(sys.executable).with_name("twistd"))
    options = ("--port", f"tcp:{port}:interface=127.0.0.1", "--config", str(config))
    return Process(folder, "server", twistd, "--nodaemon", "--pidfile=", "channels", *options, port=port)


def bare(folder: Path) -> Process:
    """What only speaks tokens, for the share of the machine in what is measured."""
    port = free_port()
    return Process(folder, "bare", str(HERE / "bare_calls.py"), str(port), port=port)


@contextmanager
def callers(server: Process, calls: int, seconds: float) -> Iterator[Any]:
    """Callers that have talked for a second."""
    command = [sys.executable, str(HERE / "callers.py"), f"--port={server.port}", f"--calls={calls}"]
    with subprocess.Popen([*command, f"--seconds={seconds}"], stdout=subprocess.PIPE, text=True) as talking:
        if talking.stdout.readline() != "warm\n":
            raise SystemExit("the callers ended")
        yield talking


def held(make: Any, calls: int, seconds: float) -> tuple[dict[str, Any], float]:
    """What so many callers saw, and the CPU time of the server for each token, in microseconds."""
    with running(make) as server, callers(server, calls, seconds) as talking:
        before = server.cpu()
        seen = json.loads(talking.stdout.readline())
        return seen, 1e6 * (server.cpu() - before) / max(len(seen["tokens"]), 1)


def measure_calls(given: argparse.Namespace) -> None:
    table = Table("p50 ms", "p99 ms", "first p99", "tokens/s", "CPU µs/token")
    kinds = {
        "one call": (relay, 1),
        f"{given.calls} calls": (relay, given.calls),
        f"{given.calls} calls, bare": (bare, given.calls),
    }
    interrupts, after = 0, []
    for _ in range(given.rounds):
        for name, (make, calls) in kinds.items():
            seen, cpu = held(make, calls, given.seconds)
            spans = [percentile(seen["tokens"], share) for share in (0.5, 0.99)]
            spans.append(percentile(seen["firsts"], 0.99))
            table.add(name, *spans, len(seen["tokens"]) / given.seconds, cpu)
            if make is relay:
                interrupts += seen["interrupts"]
                after += seen["after"]
    table.print()
    one, many, least = (table.medians(name)[1] for name in kinds)
    print(f"  token -> frame, p99: {many:.2f} ms, {many / one:.1f} times one call, {many / least:.1f} bare")
    print(f"  at most {GOAL} ms: {'reached' if many <= GOAL else 'NOT reached'}")
    late = sum(span > LATE for span in after)
    latest = 1000 * max(after, default=0.0)
    print(f"  {interrupts} interrupts, {len(after)} tokens after them, the latest after {latest:.1f} ms")
    print(f"  none later than {1000 * LATE:g} ms: {'reached' if not late else f'NOT reached ({late})'}")


def measure_telegram(given: argparse.Namespace) -> None:
    from twisted.internet.task import deferLater

    from klein_channels.channels.telegram import TelegramInput
    from klein_channels.model import Delta, WebhookRequest
    from klein_channels.testing import BotApiStandIn, ChannelInMemory
    from klein_channels.testing.harness import START, clock_of_tests

    clock, token, secret = clock_of_tests(), "123456789:" + "A" * 35, "s" * 20
    words = [f"word{number} " for number in range(given.words)]

    async def agent(event: Any) -> Any:
        for word in words:
            yield Delta(text=word)
            await deferLater(clock, given.seconds / given.words, lambda: None)

    bot = BotApiStandIn(clock, token)
    channel = TelegramInput(token, secret_token=secret, api_url="http://127.0.0.1:9")
    kit, began = ChannelInMemory(agent, channel, bot, clock=clock), time.process_time()
    headers = ((b"content-type", b"application/json"), (b"x-telegram-bot-api-secret-token", secret.encode()))
    for number in range(given.chats):
        body = json.dumps(_update(number, given.where)).encode()
        kit.receive(WebhookRequest(method="POST", path="", headers=headers, body=body))
    while not _is_over(kit) and clock.seconds() < START + 20 * given.seconds:
        kit.advance(1.0)
    shown = [*bot.sent, *bot.edits, *bot.drafts]
    finals = {
        one.body["chat_id"]: one.text for one in sorted([*bot.sent, *bot.edits], key=lambda one: one.at)
    }
    arrived = sum(text.strip() == "".join(words).strip() for text in finals.values())
    in_all = _busiest([one.at for one in shown])
    by_chat: dict[int, list[float]] = {}
    for one in shown:
        by_chat.setdefault(one.body["chat_id"], []).append(one.at)
    in_one = max(_busiest(times, MINUTE[given.where]) for times in by_chat.values())
    took, cpu = clock.seconds() - START, time.process_time() - began
    print(f"  {given.chats} texts of {given.words} words in {given.seconds:g} s, all over after {took:.0f} s")
    print(f"  {len(bot.sent)} messages, {len(bot.edits)} edits, {len(bot.drafts)} drafts; CPU {cpu:.1f} s")
    print(f"  at most {in_all} requests in a second (30, and 10 at once, are within its budget)")
    print(f"  at most {in_one} in one chat within {MINUTE[given.where]:g} s ({CHAT_BUDGET[given.where]} are)")
    within = in_all <= 40 and in_one <= CHAT_BUDGET[given.where]
    print(f"  within the platform's budget: {'reached' if within else 'NOT reached'}")
    print(f"  every text whole: {'reached' if arrived == given.chats else f'NOT reached ({arrived})'}")
    kit.kill()


MINUTE, CHAT_BUDGET = {"groups": 60.0, "private": 1.0}, {"groups": 25, "private": 4}
"""What Telegram bears in one chat: 20 a minute in groups, one a second elsewhere, and a few more at once."""


def _update(number: int, where: str) -> dict[str, Any]:
    person = {"id": 2_000_000_000 + number, "is_bot": False, "first_name": "Ada"}
    group = {"id": -1_000_000_000_000 - number, "type": "supergroup", "title": "Us"}
    private = {"id": person["id"], "type": "private", "first_name": "Ada"}
    chat = group if where == "groups" else private
    message = {"message_id": 1, "from": person, "chat": chat, "date": 1_790_000_000, "text": "hi"}
    return {"update_id": number, "message": message}


def _is_over(kit: Any) -> bool:
    return {*kit.turns()} == {"done"} and {*kit.outbox()} == {"sent"}


def _busiest(times: list[float], seconds: float = 1.0) -> int:
    """How many of `times` lie within so many seconds, where they are most."""
    ordered = sorted(times)
    return max((bisect_left(ordered, at + seconds) - index for index, at in enumerate(ordered)), default=0)


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = options.add_subparsers(required=True)
    calls = kinds.add_parser("calls")
    calls.add_argument("--calls", type=int, default=100)
    calls.add_argument("--seconds", type=float, default=10.0)
    calls.add_argument("--rounds", type=int, default=3)
    calls.set_defaults(run=measure_calls)
    telegram = kinds.add_parser("telegram")
    telegram.add_argument("--chats", type=int, default=200)
    telegram.add_argument("--where", choices=["groups", "private"], default="groups")
    telegram.add_argument("--words", type=int, default=100)
    telegram.add_argument("--seconds", type=float, default=30.0)
    telegram.set_defaults(run=measure_telegram)
    given = options.parse_args()
    given.run(given)
