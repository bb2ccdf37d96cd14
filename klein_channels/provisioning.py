"""``klein-channels PLATFORM setup`` and ``check-config --live``: what platforms are told and asked, once."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred

from .channel import ChecksLive, Provisions
from .config import Config, read_config
from .errors import ConfigError, PlatformError
from .http import Http
from .run import chosen_reactor

DEADLINE = 60.0
"""Seconds for all calls of one channel."""
Write = Callable[[str], object]
Ask = Callable[[Http, Any], Any]
"""What is asked of one channel: a coroutine of whether all is well, and the lines that say so."""


def provision(type_name: str, path: str, *, dry_run: bool, write: Write) -> int:
    """Set up all channels of one type in the configuration `path`; the exit status."""
    config = read_config(path)
    channels = [channel for channel in config.channels if type_name in (channel.options.type, channel.name)]
    if not channels:
        raise ConfigError(f"{path} has no channel of the type {type_name!r}")
    for channel in channels:
        if not isinstance(channel, Provisions):
            raise ConfigError(f"channel {channel.name!r}: its platform is set up by hand, in its console")

    async def set_up(http: Http, channel: Any) -> tuple[bool, Sequence[str]]:
        url = webhook_url(config, channel.name)
        lines = await http.run(channel.provision(url, dry_run=dry_run), DEADLINE)
        return True, lines or ("nothing differs",)

    return _ask_all(channels, set_up, write)


def check_live(channels: Sequence[Any], write: Write) -> int:
    """Ask the platforms of `channels` whether what is configured works there; the exit status."""

    async def check(http: Http, channel: Any) -> tuple[bool, Sequence[str]]:
        if not isinstance(channel, ChecksLive):
            return True, ("its platform is not asked",)
        found = await http.run(channel.check_live(time.time()), DEADLINE)
        lines = [("" if finding.ok else "FAULT: ") + finding.text for finding in found]
        return all(finding.ok for finding in found), lines

    return _ask_all(channels, check, write)


def _ask_all(channels: Sequence[Any], ask: Ask, write: Write) -> int:
    reactor = chosen_reactor()
    asking = _Asking(Http(reactor), ask, write)
    reactor.callWhenRunning(asking.begin, channels, reactor)
    reactor.run()
    return asking.status


class _Asking:
    """One run over some channels; `status` is 0 if all is well with every one."""

    def __init__(self, http: Http, ask: Ask, write: Write) -> None:
        self.status = 1
        self._http = http
        self._ask = ask
        self._write = write

    def begin(self, channels: Sequence[Any], reactor: Any) -> None:
        """Ask all channels, then stop the reactor."""
        done = Deferred.fromCoroutine(self._ask_each(channels))
        done.addErrback(lambda failure: self._write(f"Error: {failure.getErrorMessage()}"))
        done.addBoth(lambda _: reactor.stop())

    async def _ask_each(self, channels: Sequence[Any]) -> None:
        trouble = False
        for channel in channels:
            try:
                well, lines = await self._ask(self._http, channel)
            except (ConfigError, PlatformError) as error:
                well, lines = False, (str(error),)
            trouble = trouble or not well
            for line in lines:
                self._write(f"{channel.name}: {line}")
        await self._http.close()
        self.status = 1 if trouble else 0


def webhook_url(config: Config, name: str) -> str:
    """Where the platform of the channel `name` reaches us; empty where no public URL is configured."""
    if not config.public_url:
        return ""
    prefix = config.prefix.strip("/")
    return "/".join(part for part in (config.public_url.rstrip("/"), prefix, name, "webhook") if part)
