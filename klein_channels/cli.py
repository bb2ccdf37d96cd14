"""``klein-channels``: the demonstration, and what an operator does beside a running server."""

from __future__ import annotations

import sys
import time
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import click

from . import __version__
from .channel import Channel, Triggers, TriggersAt, known_types
from .cli_operations import commands
from .cli_store import store_commands
from .config import read_config
from .errors import ConfigError, KleinChannelsError
from .fakes import fake
from .model import WebhookRequest
from .store import open_url

PORT = 5004


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


for _command in (*commands, fake, store_commands):
    main.add_command(_command)


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
    signing, public_url = _channel(channel, url, config)
    if not isinstance(signing, Triggers | TriggersAt):
        raise ConfigError(f"channel {channel!r} cannot play its platform")
    try:
        if isinstance(signing, TriggersAt):
            webhook = signing.trigger_at(kind, text, time.time(), _known_as(url, public_url))
        else:
            webhook = signing.trigger(kind, text, time.time())
    except ValueError as error:
        raise ConfigError(str(error)) from None
    began = time.perf_counter()
    status, answer = _post(url, webhook)
    click.echo(f"{status} {answer} ({(time.perf_counter() - began) * 1000:.1f} ms)")
    sys.exit(0 if status == 200 else 1)


@main.command("check-config")
@click.argument("path", type=click.Path())
@click.option("--live", is_flag=True, help="Ask the platforms, too, whether it works there.")
def check_config(path: str, live: bool) -> None:
    """Read a configuration as the server would; name the first fault."""
    from .service import ChannelService

    config = read_config(path)
    open_url(config.store)
    ChannelService(
        config.channels,
        config.agent,
        store=config.store,
        prefix=config.prefix,
        admin=config.admin,
        media=config.media,
    )
    for made in config.channels:
        click.echo(f"{made.name}: {made!r}")
    if live:
        from .provisioning import check_live

        if check_live(config.channels, write=click.echo):
            raise ConfigError(f"{path}: not all of it works at the platforms")
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


def _channel(name: str, url: str, config: str | None) -> tuple[Channel, str]:
    """The channel of that name, and the address that its server is known by, if that is configured."""
    if config is None:
        from .demo import CHANNEL, demo_channel

        if name != CHANNEL:
            raise ConfigError(f"the demonstration has the channel {CHANNEL!r} only; give a --config")
        return demo_channel(urlsplit(url).port or PORT), ""
    read = read_config(config)
    channels = {channel.name: channel for channel in read.channels}
    if name not in channels:
        raise ConfigError(f"{config} has no channel {name!r} (it has: {', '.join(sorted(channels))})")
    return channels[name], read.public_url


def _known_as(url: str, public_url: str) -> str:
    """`url` as the platform would write it: the server checks proofs under its public address."""
    parts = urlsplit(url)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    return public_url.rstrip("/") + path if public_url else url


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
