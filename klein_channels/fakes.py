"""``klein-channels fake …``: stand-ins for platforms, served on this machine for as long as one wants."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any

import click
from twisted.web.server import Site

from .errors import ConfigError
from .run import chosen_reactor
from .testing.graph import GraphStandIn, SentMessage
from .testing.graph_answers import Product
from .testing.graph_instagram import InstagramAccounts
from .testing.graph_numbers import Numbers

LOOPBACK = "127.0.0.1"
PORT = 5006
Write = Callable[[str], object]


@click.group()
def fake() -> None:
    """Stand-ins for platforms, to try a server without an account there."""


@fake.command("graph")
@click.option(
    "--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option(
    "--page", "pages", multiple=True, help="A Facebook page: ID=TOKEN, or ID for a token made here."
)
@click.option("--instagram", multiple=True, help="An Instagram account, as above, with its page's token.")
@click.option("--whatsapp", multiple=True, help="A WhatsApp phone number id, as above.")
@click.option("--secret", help="The app secret; then every call has to prove that it knows it.")
@click.option("--latency", default=0.0, type=click.FloatRange(0, 600), help="Seconds before each answer.")
def fake_graph(
    port: int,
    pages: tuple[str, ...],
    instagram: tuple[str, ...],
    whatsapp: tuple[str, ...],
    secret: str | None,
    latency: float,
) -> None:
    """Play Meta's Graph API: judge calls as it does, and show what people would see.

    Let a channel's graph_url, or the variable KLEIN_CHANNELS_GRAPH_URL, be the address that is printed.
    """
    if not pages and not instagram and not whatsapp:
        pages = ("1000",)
    accounts = {
        "--page": read_accounts("--page", pages),
        "--instagram": read_accounts("--instagram", instagram),
        "--whatsapp": read_accounts("--whatsapp", whatsapp),
    }
    for option, tokens in accounts.items():
        for account, token in tokens.items():
            click.echo(f"{option} {account} has the token {token}")
    reactor = chosen_reactor()
    graph = make_graph(reactor, accounts, secret, latency, click.echo)
    site = Site(graph)
    site.log = lambda request: None  # type: ignore[method-assign]
    try:
        listening = reactor.listenTCP(port, site, interface=LOOPBACK)
    except OSError as error:
        raise ConfigError(f"--port {port} cannot be listened to: {error}") from None
    click.echo(f"the Graph API is played at http://{LOOPBACK}:{listening.getHost().port} until Ctrl-C")
    reactor.run()


def make_graph(
    reactor: Any,
    accounts: Mapping[str, Mapping[str, str]],
    secret: str | None,
    latency: float,
    write: Write,
) -> GraphStandIn:
    """The stand-in with `accounts`, by their option; it writes down what people see."""
    others: list[Product] = [
        InstagramAccounts(accounts.get("--instagram", {})),
        Numbers(accounts.get("--whatsapp", {})),
    ]
    graph = GraphStandIn(reactor, accounts.get("--page", {}), secret, latency, others)

    def shown(sent: SentMessage) -> None:
        write(describe(sent))

    graph.on_sent = shown
    return graph


def describe(sent: SentMessage) -> str:
    """One line on a message: who says what to whom."""
    recipient = sent.body.get("recipient")
    to = next(iter(recipient.values()), "?") if isinstance(recipient, dict) else sent.body.get("to", "?")
    words = sent.text or json.dumps(sent.body.get("message", sent.body), ensure_ascii=False)
    return f"{sent.page} -> {to}: {words} ({sent.mid})"


def read_accounts(option: str, given: tuple[str, ...]) -> dict[str, str]:
    """``ID=TOKEN`` or ``ID`` as accounts with their tokens; `ConfigError` for anything else."""
    found: dict[str, str] = {}
    for text in given:
        account, _, token = text.partition("=")
        if (
            not account.isascii()
            or not account.isalnum()
            or account in found
            or (token and not token.isprintable())
        ):
            raise ConfigError(f"{option} {text.partition('=')[0]!r}: write ID=TOKEN, each id once")
        found[account] = token or secrets.token_urlsafe(24)
    return found
