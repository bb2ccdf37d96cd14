"""
Meta's worst webhook, and what reading one costs.

``receive``: a webhook of 1,000 updates of 50 pages comes while single webhooks go on. How long until it is
stored and acknowledged, and what becomes of the others' p99? The server is ``twistd -n channels`` with the
shipped defaults; every agent sleeps, so that nearly no turn runs meanwhile.

``pace`` and ``throttled``: what a page sends when it has more to say than Meta lets it; see `meta_sending`.

``parse``: the CPU time of `parse` for each update of such a webhook, platform by platform, in this process.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import socket
import statistics
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from measure import HERE, Load, Process, Table, count, free_port, percentile, running
from meta_sending import pace, throttled
from wire import PAGES, SECRET, VERIFY, WEBHOOK, Reader

sys.path.insert(0, str(HERE.parent))

from klein_channels.channel import find_channel_class
from klein_channels.config import read_config
from klein_channels.model import WebhookRequest

UPDATES, ACCOUNTS = 1000, 50
WITHIN, TIMES, MICROSECONDS = 1.0, 2.0, 60.0
"""Seconds for the batch; how many times the idle p99; CPU for each update."""
NUMBER = "106540352242922"
PLATFORMS = ("facebook", "instagram", "whatsapp")


def pages() -> list[str]:
    """Those of the single webhooks, and more."""
    more = range(1, 1 + ACCOUNTS - len(PAGES))
    return [*PAGES, *(f"{int(PAGES[-1]) + number}" for number in more)]


def token(account: str) -> str:
    return f"EAAG{'benchmark' * 18}{account}"


def channels_yml(folder: Path) -> Path:
    tokens = "".join(f"      '{page}': {token(page)}\n" for page in pages())
    path = folder / "channels.yml"
    path.write_text(
        f"agent: answers:asleep\nstore: sqlite:///{folder}/store.db\nchannels:\n  facebook:\n"
        f"    verify: {VERIFY}\n    secret: {SECRET}\n    graph_url: http://127.0.0.1:1\n"
        f"    page_tokens:\n{tokens}"
    )
    return path


def server(folder: Path) -> Process:
    config, port = channels_yml(folder), free_port()
    twistd = str(Path(sys.executable).with_name("twistd"))
    options = ("--port", f"tcp:{port}:interface=127.0.0.1", "--config", str(config))
    return Process(folder, "server", twistd, "--nodaemon", "--pidfile=", "channels", *options, port=port)


def item(page: str, number: int, mark: str, at: int) -> dict[str, Any]:
    mid = f"m_{mark}_{number:04d}" + hashlib.sha256(b"%d" % number).hexdigest()
    text = f"message {number} hello, I would like to know whether my order has been sent yet"
    person = f"{3_000_000_000_000_000 + number}"
    return {
        "sender": {"id": person},
        "recipient": {"id": page},
        "timestamp": at,
        "message": {"mid": mid, "text": text},
    }


def batch(subject: str, mark: str, accounts: list[str]) -> bytes:
    """The body of one webhook with all updates, each account's in an entry of its own."""
    at, each = int(time.time() * 1000), UPDATES // len(accounts)
    entries = [
        {
            "id": account,
            "time": at,
            "messaging": [item(account, place * each + number, mark, at) for number in range(each)],
        }
        for place, account in enumerate(accounts)
    ]
    return json.dumps({"object": subject, "entry": entries}, separators=(",", ":")).encode()


def whatsapp_batch() -> bytes:
    at = str(int(time.time()))
    messages = [
        {"from": f"1650555{number:04d}", "id": f"wamid.{number:040d}", "timestamp": at, "type": "text",
         "text": {"body": f"message {number} hello, has my order been sent yet"}}
        for number in range(UPDATES)
    ]  # fmt: skip
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550783881", "phone_number_id": NUMBER},
        "contacts": [{"profile": {"name": "Ada"}, "wa_id": "16505550000"}],
        "messages": messages,
    }
    entry = {"id": "1", "changes": [{"field": "messages", "value": value}]}
    return json.dumps(
        {"object": "whatsapp_business_account", "entry": [entry]}, separators=(",", ":")
    ).encode()


# ---------------------------------------------------------------------------------------------


def receive(given: argparse.Namespace) -> None:
    table = Table("batch ms", "idle p99 ms", "p99 ms beside it", "times")
    for turn in range(given.rounds):
        with running(server) as ours:
            options = {"people": 64, "connections": 8, "rate": given.rate}
            Load(ours, 0, 1000, **options).run()
            idle = Load(ours, 1000, given.messages, **options).run()
            beside = Load(ours, 1000 + given.messages, given.messages, **options)
            taken = post_in_the_middle(ours, beside, batch("page", f"r{turn}", pages()), given)
            quiet, busy = percentile(idle["latencies"], 0.99), percentile(taken["latencies"], 0.99)
            table.add("klein_channels", 1000 * taken["batch"], quiet, busy, busy / quiet)
            stored = count(ours.folder, "SELECT count(*) FROM inbox")
            if stored != 1000 + 2 * given.messages + UPDATES:
                raise SystemExit(f"{stored} messages were stored")
    table.print()
    took, _, _, times = table.medians("klein_channels")
    print(f"  the batch in {took / 1000:.2f} s (at most {WITHIN}: {verdict(took / 1000 <= WITHIN)})")
    print(f"  p99 beside it: {times:.2f} times the idle one (at most {TIMES}: {verdict(times <= TIMES)})")


def post_in_the_middle(ours: Process, load: Load, body: bytes, given: argparse.Namespace) -> dict[str, Any]:
    """What `load` saw while, half way through it, the batch was posted; ``batch`` is how long that took."""
    seen: dict[str, Any] = {}
    thread = threading.Thread(target=lambda: seen.update(load.run()))
    thread.start()
    time.sleep(given.messages / given.rate / 2)
    took = post(ours.port, body)
    thread.join()
    return {**seen, "batch": took}


def post(port: int, body: bytes) -> float:
    signature = hmac.digest(SECRET.encode(), body, "sha256").hex()
    head = (
        f"POST {WEBHOOK} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", port), 30) as wire:
        began, reader = time.monotonic(), Reader()
        wire.sendall(head.encode() + body)
        while not (answers := reader.feed(wire.recv(65536))):
            pass
        if not answers[0][0].startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"the batch was answered with {answers[0][0][:40]!r}")
        return time.monotonic() - began


# ---------------------------------------------------------------------------------------------


def parse(given: argparse.Namespace) -> None:
    print(f"  CPU µs of parse for each of {UPDATES} updates, the median of {given.rounds * 5} webhooks")
    for platform in PLATFORMS:
        try:
            find_channel_class(platform)
        except Exception as error:
            print(f"  {platform:12} not there: {error}")
            continue
        channel = made(platform)
        bodies = {"facebook": batch("page", "p", pages()), "instagram": batch("instagram", "p", pages())}
        request = WebhookRequest(method="POST", path="", body=bodies.get(platform) or whatsapp_batch())
        costs = []
        for _ in range(given.rounds * 5):
            before = time.process_time()
            events = channel.parse(request).events
            costs.append(1e6 * (time.process_time() - before) / UPDATES)
        if [event.kind for event in events] != ["message"] * UPDATES or events[0].observe_only:
            raise SystemExit(f"{platform}: the webhook was not read as {UPDATES} messages")
        cost = statistics.median(costs)
        print(f"  {platform:12} {cost:6.1f} (at most {MICROSECONDS:g}: {verdict(cost <= MICROSECONDS)})")


def made(platform: str) -> Any:
    """A channel with all accounts, as the configuration makes it."""
    keys = {"facebook": "page_tokens", "instagram": "accounts", "whatsapp": "phone_numbers"}
    accounts = pages() if platform != "whatsapp" else [NUMBER]
    tokens = ", ".join(f"'{account}': {token(account)}" for account in accounts)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "channels.yml"
        settings = f"verify: v, secret: {SECRET}, {keys[platform]}: {{{tokens}}}"
        path.write_text(f"channels: {{{platform}: {{{settings}}}}}\n")
        return read_config(str(path)).channels[0]


def verdict(reached: bool) -> str:
    return "reached" if reached else "NOT reached"


if __name__ == "__main__":
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("what", choices=["receive", "parse", "pace", "throttled"])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--messages", type=int, default=2000, help="single webhooks beside the batch")
    options.add_argument("--rate", type=float, default=200.0, help="single webhooks a second")
    given = options.parse_args()
    {"receive": receive, "parse": parse, "pace": pace, "throttled": throttled}[given.what](given)
