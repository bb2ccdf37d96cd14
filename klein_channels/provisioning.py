"""``klein-channels PLATFORM setup``: what a platform is told of us, once, by its operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from .channel import Provisions
from .config import Config, read_config
from .errors import ConfigError, PlatformError
from .http import Http
from .run import chosen_reactor

DEADLINE = 60.0
"""Seconds for all calls of one channel."""
Write = Callable[[str], object]


def provision(type_name: str, path: str, *, dry_run: bool, write: Write) -> int:
    """Set up all channels of one type in the configuration `path`; the exit status."""
    config = read_config(path)
    channels = [channel for channel in config.channels if type_name in (channel.options.type, channel.name)]
    if not channels:
        raise ConfigError(f"{path} has no channel of the type {type_name!r}")
    for channel in channels:
        if not isinstance(channel, Provisions):
            raise ConfigError(f"channel {channel.name!r}: its platform is set up by hand, in its console")
    reactor = chosen_reactor()
    setting_up = _SettingUp(Http(reactor), config, dry_run, write)
    reactor.callWhenRunning(setting_up.begin, channels, reactor)
    reactor.run()
    return setting_up.status


class _SettingUp:
    """One run of ``setup``; `status` is 0 if every platform did what it was asked."""

    def __init__(self, http: Http, config: Config, dry_run: bool, write: Write) -> None:
        self.status = 1
        self._http = http
        self._config = config
        self._dry_run = dry_run
        self._write = write

    def begin(self, channels: list[Any], reactor: Any) -> None:
        """Set up all channels, then stop the reactor."""
        done = Deferred.fromCoroutine(self._set_up(channels))
        done.addErrback(lambda failure: self._write(f"Error: {failure.getErrorMessage()}"))
        done.addBoth(lambda _: reactor.stop())

    async def _set_up(self, channels: list[Any]) -> None:
        refused = False
        for channel in channels:
            try:
                url = webhook_url(self._config, channel.name)
                lines = await self._http.run(channel.provision(url, dry_run=self._dry_run), DEADLINE)
            except (ConfigError, PlatformError) as error:
                self._write(f"{channel.name}: {error}")
                refused = True
                continue
            for line in lines or ("nothing differs",):
                self._write(f"{channel.name}: {line}")
        await self._http.close()
        self.status = 1 if refused else 0


def webhook_url(config: Config, name: str) -> str:
    """Where the platform of the channel `name` reaches us; empty where no public URL is configured."""
    if not config.public_url:
        return ""
    prefix = config.prefix.strip("/")
    return "/".join(part for part in (config.public_url.rstrip("/"), prefix, name, "webhook") if part)
