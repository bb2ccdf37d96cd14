"""``klein-channels``: the demonstration, and what an operator does beside a running server."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import click
from twisted.internet.defer import Deferred

from . import __version__
from .channel import Channel, Triggers, known_types
from .config import read_config
from .errors import ConfigError, KleinChannelsError
from .model import Address, WebhookRequest
from .store import DeadLetter, open_url
from .store.sqlite import SQLiteStore

PORT = 5004
PAGE_OF_LETTERS = 50
PAGE_OF_CONVERSATIONS = 500
OWNERS = ("bot", "human", "paused")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DONE = {"replay": "will be tried again", "discard": "is put away"}


class _Command(click.Group):
    """Every error of ours is one line and status 1; a channel's type is a command."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or what can be done for the channels of that type."""
        known = super().get_command(ctx, cmd_name)
        return _platform(cmd_name) if known is None and cmd_name in known_types() else known

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KleinChannelsError as error:
            raise click.ClickException(str(error)) from None


@click.group(cls=_Command)
@click.version_option(__version__, prog_name="klein-channels")
def main() -> None:
    """Connects a conversational AI to messaging platforms."""


@main.command()
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(1, 65535))
@click.option("--once", is_flag=True, help="End after the first reply; status 0 if it arrived.")
@click.option("--agent", help="module:attribute, or a directory, in place of the demonstration's own.")
def demo(port: int, once: bool, agent: str | None) -> None:
    """Run the real server, with a stand-in for the platform, on this machine only."""
    from .transcript import play

    sys.path.insert(0, "")
    sys.exit(play(port, once=once, agent=agent, write=click.echo))


@main.command()
@click.argument("channel")
@click.argument("kind")
@click.argument("text", default="")
@click.option("--url", help="Where to post it.  [default: the demonstration's webhook]")
@click.option("--config", type=click.Path(), help="Whose secrets sign it.  [default: the demonstration's]")
def trigger(channel: str, kind: str, text: str, url: str | None, config: str | None) -> None:
    """Sign a webhook as the platform CHANNEL would, and post it.

    KIND is text, quick_reply, postback, image and others; a wrong one names them all.
    """
    url = _checked(url or f"http://127.0.0.1:{PORT}/app/webhook")
    signing = _channel(channel, url, config)
    if not isinstance(signing, Triggers):
        raise ConfigError(f"channel {channel!r} cannot play its platform")
    try:
        webhook = signing.trigger(kind, text, time.time())
    except ValueError as error:
        raise ConfigError(str(error)) from None
    began = time.perf_counter()
    status, answer = _post(url, webhook)
    click.echo(f"{status} {answer} ({(time.perf_counter() - began) * 1000:.1f} ms)")
    sys.exit(0 if status == 200 else 1)


@main.command("check-config")
@click.argument("path", type=click.Path())
def check_config(path: str) -> None:
    """Read a configuration as the server would; name the first fault."""
    from .service import ChannelService

    config = read_config(path)
    open_url(config.store)
    ChannelService(
        config.channels, config.agent, store=config.store, prefix=config.prefix, admin=config.admin
    )
    for made in config.channels:
        click.echo(f"{made.name}: {made!r}")
    click.echo("ok")


def _platform(type_name: str) -> click.Group:
    """The commands for channels of one type."""

    @click.command()
    @click.option("--config", type=click.Path(), required=True, help="The configuration with the channels.")
    @click.option("--dry-run", is_flag=True, help="Say what differs and change nothing.")
    def setup(config: str, dry_run: bool) -> None:
        """Tell the platform where our webhook is, and what the configuration says; change what differs."""
        from .provisioning import provision

        sys.exit(provision(type_name, config, dry_run=dry_run, write=click.echo))

    return click.Group(type_name, commands=[setup], help=f"What the platform {type_name} can be told.")


@main.group("dead-letters")
def dead_letters() -> None:
    """What was given up: turns that no agent answered, replies that no platform took."""


def _store_options(command: Callable[..., None]) -> Callable[..., None]:
    command = click.option("--store", help="The server's store, sqlite:///PATH.")(command)
    return click.option("--config", type=click.Path(), help="The configuration that names it.")(command)


@dead_letters.command("list")
@_store_options
def list_letters(store: str | None, config: str | None) -> None:
    """List them, oldest first: name, time, conversation, reason."""
    with _Opened(store, config) as opened:
        after: str | None = None
        while page := _now(opened.dead_letters(after, PAGE_OF_LETTERS)):
            for letter in page:
                click.echo(_line(letter))
            after = page[-1].id


@dead_letters.command()
@click.argument("letter")
@_store_options
def show(letter: str, store: str | None, config: str | None) -> None:
    """Show all of one."""
    with _Opened(store, config) as opened:
        found = _now(opened.dead_letter(letter))
    if found is None:
        raise ConfigError(f"no dead letter {letter!r}; `dead-letters list` names them")
    click.echo(_line(found))
    for line in json.dumps(found.content, indent=2, ensure_ascii=False).split("\n"):
        click.echo(_printable(line))


@dead_letters.command()
@click.argument("letters", nargs=-1, required=True)
@_store_options
def replay(letters: tuple[str, ...], store: str | None, config: str | None) -> None:
    """Try them again, under their old names; a running server takes them up within seconds."""
    _redrive(letters, "replay", store, config)


@dead_letters.command()
@click.argument("letters", nargs=-1, required=True)
@_store_options
def discard(letters: tuple[str, ...], store: str | None, config: str | None) -> None:
    """Put them away for good."""
    _redrive(letters, "discard", store, config)


def _redrive(letters: tuple[str, ...], action: Any, store: str | None, config: str | None) -> None:
    missing = []
    with _Opened(store, config) as opened:
        for letter in letters:
            if _now(opened.redrive(letter, action, time.time())):
                click.echo(f"{letter} {DONE[action]}")
            else:
                missing.append(letter)
    if missing:
        raise ConfigError(f"no dead letter {', '.join(missing)}")


@main.group()
def conversations() -> None:
    """Who answers a conversation: the bot, a human, or nobody while it is paused."""


@conversations.command("list")
@click.option("--owner", type=click.Choice(OWNERS), multiple=True, help="Only those of this owner.")
@_store_options
def list_conversations(owner: tuple[Any, ...], store: str | None, config: str | None) -> None:
    """List them by their keys: owner, until when (UTC; - for good), key."""
    with _Opened(store, config) as opened:
        after: str | None = None
        while page := _now(opened.conversations(owner, after, PAGE_OF_CONVERSATIONS, time.time())):
            for one in page:
                click.echo(_printable(f"{one.owner:6}  {_when(one.until):20}  {one.key}"))
            after = page[-1].key


@conversations.command()
@click.argument("key")
@click.argument("owner", type=click.Choice(OWNERS))
@click.option("--for", "period", help="How long (90s, 30m, 2h, 7d); then the bot has it again.")
@_store_options
def owner(key: str, owner: Any, period: str | None, store: str | None, config: str | None) -> None:
    """Give the conversation KEY to the bot, to a human, or pause it; a running server obeys at once.

    What waits there when a human takes it is never answered by the bot.
    """
    seconds = _period(period) if period is not None else None
    if seconds is not None and owner == "bot":
        raise ConfigError("--for: the bot needs no end")
    try:
        Address.parse(key)
    except ValueError:
        raise ConfigError(f"{key!r} is no key of a conversation; `conversations list` names them") from None
    now = time.time()
    until = None if seconds is None else now + seconds
    with _Opened(store, config) as opened:
        _now(opened.set_owner(key, owner, now, until=until))
    click.echo(_printable(f"{key}: {owner}" + (f" until {_when(until)}" if until is not None else "")))


def _period(text: str) -> float:
    """Seconds in a period like ``2h``."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None or not int(match[1]):
        raise ConfigError(f"--for {text!r} is no period; write it like 90s, 30m, 2h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def _when(at: float | None) -> str:
    return "-" if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


class _Opened:
    """A store that is opened beside the server, and closed again."""

    def __init__(self, store: str | None, config: str | None) -> None:
        if store is None and config is None:
            raise ConfigError("name the store: --store sqlite:///PATH, or --config channels.yml")
        engine, path = open_url(store or read_config(str(config)).store)
        if engine == "memory":
            raise ConfigError("store: memory: is known to its own process only")
        self._store = SQLiteStore(path, shared=True)

    def __enter__(self) -> SQLiteStore:
        self._store.open(time.time())
        return self._store

    def __exit__(self, *_: object) -> None:
        _now(self._store.close())


def _now(deferred: Deferred[Any]) -> Any:
    """The result of a Deferred that has fired: this process has no reactor to wait with."""
    results: list[Any] = []
    failures: list[Any] = []
    deferred.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    return results[0]


def _line(letter: DeadLetter) -> str:
    return _printable(f"{letter.id}  {_when(letter.at)}  {letter.conversation}  {letter.reason}")


def _printable(text: str) -> str:
    """`text` without what would give orders to a terminal; JSON stays JSON."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else json.dumps(character)[1:-1]


def _channel(name: str, url: str, config: str | None) -> Channel:
    if config is None:
        from .demo import CHANNEL, demo_channel

        if name != CHANNEL:
            raise ConfigError(f"the demonstration has the channel {CHANNEL!r} only; give a --config")
        return demo_channel(urlsplit(url).port or PORT)
    channels = {channel.name: channel for channel in read_config(config).channels}
    if name not in channels:
        raise ConfigError(f"{config} has no channel {name!r} (it has: {', '.join(sorted(channels))})")
    return channels[name]


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise ConfigError(f"--url {url!r} is no http address")
    return url


def _post(url: str, webhook: WebhookRequest) -> tuple[int, str]:
    headers = {key.decode(): value.decode("latin-1") for key, value in webhook.headers}
    request = Request(url, data=webhook.body, headers=headers, method=webhook.method)  # noqa: S310
    try:
        with urlopen(request, timeout=30) as answer:  # noqa: S310  (the operator's own URL, http or https)
            return answer.status, answer.read(1000).decode("utf-8", "replace").strip()
    except HTTPError as error:
        return error.code, error.read(1000).decode("utf-8", "replace").strip()
    except (URLError, OSError, HTTPException) as error:
        raise ConfigError(f"{url} does not answer: {getattr(error, 'reason', error)}") from None
