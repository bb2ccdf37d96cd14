"""The agents of the benchmarks; their channels.yml names them, and the Sanic servers ask the same ones."""

from __future__ import annotations

import time

ASLEEP = 30.0


def reply_to(text: str) -> str:
    """One short text, by which the Graph stand-in knows the message that it answers."""
    return f"You said {text}"


async def echo(event):
    """Answer at once."""
    return reply_to(event.text)


async def asleep(event):
    """Sleep for 30 s without holding a thread, then say nothing."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    await deferLater(reactor, ASLEEP, lambda: None)


def asleep_in_a_thread(event):
    """Sleep for 30 s in one of the agents' threads, then say nothing."""
    time.sleep(ASLEEP)


TOKENS, EVERY = 20, 0.05
"""How many tokens an answer has, and how many seconds lie between two."""


async def tokens(event):
    """Write an answer token by token; each is the moment at which it was written."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    from klein_channels.model import Delta

    for _ in range(TOKENS):
        yield Delta(text=f" {time.monotonic_ns()}")
        await deferLater(reactor, EVERY, lambda: None)
