"""
What a channel itself costs: to verify and parse one webhook, and to fit and render one reply.

No server, no store, no socket: the pure part, in this process. For each channel two figures in
microseconds of CPU per message, each the best of several rounds (the least disturbed one), and their sums
against the 150 us that a message may cost::

    python benchmarks/channels.py [--messages 2000] [--rounds 7] [CHANNEL ...]

The webhook is the one that the channel plays itself (``klein-channels trigger``); the reply is some 250
letters of Markdown with bold words, a link and a list, and a plain one, each with words of its own, so that
nothing is remembered from the message before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from klein_channels.channel import Triggers, TriggersAt, find_channel_class
from klein_channels.fit import fit
from klein_channels.model import Address, Message, Outgoing, Text

BUDGET = 150.0
NOW = 1_790_000_000.0
HOOK = "https://bot.example.com/app/webhook"
MARKDOWN = (
    "Your order **{}** is on its way, and will be there _tomorrow_.\n\n"
    "- two books\n- one lamp, `L-{}`\n\nSee [where it is](https://shop.example/orders/{}), "
    "or ask me: I am here day and night, and so is everybody else of the shop."
)
PLAIN = "Your order {} is on its way. You will have it tomorrow between nine and twelve, says the carrier."
CHANNELS: dict[str, dict[str, Any]] = {
    "facebook": {
        "fb_verify": "v",
        "fb_secret": "secret-of-the-app",
        "page_tokens": {"1": "token-of-the-page"},
    },
    "telegram": {"access_token": "123456:AAtoken-of-the-bot", "secret_token": "secret-token"},
    "slack": {"slack_signing_secret": "signing-secret", "slack_token": "xoxb-token"},
    "twilio": {"account_sid": "AC" + "0" * 32, "auth_token": "auth-token", "twilio_number": "+15550100"},
}


def best(rounds: int, messages: int, work: Callable[[int], object]) -> float:
    """Microseconds of CPU for one call of `work`, in the least disturbed round."""
    found = []
    for number in range(rounds):
        began = time.process_time()
        for message in range(messages):
            work(number * messages + message)
        found.append((time.process_time() - began) / messages * 1e6)
    return min(found)


def taking_in(channel: Any) -> Callable[[int], object] | None:
    """Verifies and parses a webhook, a new one each time; None for a channel that plays none."""
    if isinstance(channel, TriggersAt):
        play: Any = partial(channel.trigger_at, url=HOOK)
    elif isinstance(channel, Triggers):
        play = channel.trigger
    else:
        return None
    requests = [play("text", f"Where is my order {n}?", NOW + n) for n in range(64)]

    def work(number: int) -> object:
        request = requests[number % 64]
        channel.verify(request, NOW)
        return channel.parse(request)

    return work


def saying(channel: Any, words: str, format: Any) -> Callable[[int], object]:
    """Fits a reply and makes the first call that sends it."""
    address = Address(channel=channel.name, account="1", peer="15550101")

    def work(number: int) -> object:
        text = words.format(number, number, number)
        parts = fit(Message(parts=(Text(text=text, format=format),)), channel.capabilities)
        outgoing = Outgoing(id=f"o-{number}", address=address, part=parts[0], now=NOW)
        return next(channel.send(outgoing), None)

    return work


def main() -> None:
    """Measure the channels that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("channels", nargs="*", metavar="CHANNEL", help=", ".join(CHANNELS))
    parser.add_argument("--messages", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    print(
        f"{'us of CPU':12}{'parse':>10}{'plain':>10}{'Markdown':>10}{'parse + plain':>16}{'+ Markdown':>12}"
    )
    for name in asked.channels or CHANNELS:
        channel: Any = find_channel_class(name)
        made = channel(**CHANNELS[name])
        taken = taking_in(made)
        parse = best(asked.rounds, asked.messages, taken) if taken else 0.0
        plain = best(asked.rounds, asked.messages, saying(made, PLAIN, "plain"))
        marked = best(asked.rounds, asked.messages, saying(made, MARKDOWN, "markdown"))
        sums = f"{parse + plain:16.1f}{parse + marked:12.1f}"
        verdict = "" if parse + marked <= BUDGET else f"   Markdown is over {BUDGET:g}"
        print(f"{name:12}{parse:10.1f}{plain:10.1f}{marked:10.1f}{sums}{verdict}")


if __name__ == "__main__":
    main()
