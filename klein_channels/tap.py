"""``twistd channels``: its options, and the service that they describe."""

from __future__ import annotations

import gc
import re
import sys
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import Deferred
from twisted.python import usage

from .config import read_config
from .errors import ConfigError
from .json_log import LogSettings, write_json

DEFAULT_PORT = "5004"


class Options(usage.Options):
    """The command line of ``twistd channels``."""

    synopsis = "[options]"
    longdesc = (
        "Serves the channels of a configuration. Without one it serves a demonstration, on this machine only."
    )
    optParameters = [  # noqa: RUF012  (twisted reads it from the class)
        ["port", "p", DEFAULT_PORT, "A port number, or an endpoint string such as unix:/run/bot.sock."],
        ["config", "c", None, "The configuration: a channels.yml or a Rasa credentials.yml."],
        ["agent", "a", None, "What answers: module:attribute, or the directory of a stories agent."],
        ["store", "s", None, "Where everything is kept: sqlite:///PATH or memory:."],
        ["prefix", None, None, "What the URLs begin with (default: /app)."],
    ]

    def opt_version(self) -> None:
        """Show the version and stop."""
        from . import __version__

        print(f"klein_channels {__version__}")
        raise SystemExit(0)


def makeService(options: Options) -> IService:
    """The service; a fault of the configuration ends the process with one line and status 1."""
    try:
        return _Announced(*_service(options))
    except ConfigError as error:
        raise SystemExit(f"channels: {error}") from None


def _service(options: Options) -> tuple[Service, LogSettings]:
    """The service, and how it wants its log."""
    if options["config"] is None:
        return _demo(options), LogSettings()
    from .service import ChannelService

    config = read_config(options["config"])
    agent = options["agent"] or config.agent
    if not agent:
        raise ConfigError(f"{options['config']}: agent: is missing: name one there, or with --agent")
    if config.folder not in sys.path:
        sys.path.insert(0, config.folder)
    service = ChannelService(
        config.channels,
        agent,
        store=options["store"] or config.store,
        port=_endpoint(options["port"]),
        prefix=options["prefix"] if options["prefix"] is not None else config.prefix,
        public_url=config.public_url,
        observers=config.observers,
        policy=config.policy,
        trusted_proxies=config.trusted_proxies,
        admin=config.admin,
        media=config.media,
    )
    return service, config.log


def _demo(options: Options) -> Service:
    """The demonstration; whatever the port says, only this machine is served."""
    from .demo import LOOPBACK, DemoService, demo_agent

    found = re.fullmatch(r"(?:tcp:)?(\d+)(?::interface=[^:]*)?", options["port"])
    if found is None:
        raise ConfigError(
            f"port {options['port']!r}: without --config only a demonstration is served,"
            f" and that listens to a port number on {LOOPBACK}"
        )
    if options["prefix"] not in (None, "/app"):
        raise ConfigError("prefix: the demonstration's is /app; give a --config for another")
    if "" not in sys.path:
        sys.path.insert(0, "")
    agent: Any = options["agent"] or demo_agent
    return DemoService(int(_endpoint(found[1])), agent=agent, store=options["store"])


def _endpoint(port: str) -> int | str:
    if not port.isdigit():
        return port
    if int(port) > 65535:
        raise ConfigError(f"port {port}: there are 65535")
    return int(port)


class _Announced(MultiService):
    """What is started by `twistd`: a failed start is told in one line, whichever way it was started.

    In the daemon the line travels to the parent through a pipe that cuts it after a hundred bytes,
    the class of the exception included: so the exception has a short name. Printed to what is
    stderr by then, the whole line is in the daemon's log.
    """

    def __init__(self, service: Service, log: LogSettings | None = None) -> None:
        MultiService.__init__(self)
        self._log = log or LogSettings()
        self._inner = service
        service.setServiceParent(self)

    def privilegedStartService(self) -> None:
        """Bind the port."""
        write_json(self._log)
        self._told(MultiService.privilegedStartService)

    def startService(self) -> None:
        """Start everything else."""
        self._told(MultiService.startService)
        _collect_seldom()

    def stopService(self) -> Deferred[None]:
        """Stop everything."""
        return MultiService.stopService(self)  # type: ignore[no-any-return]

    def _told(self, start: Any) -> None:
        try:
            start(self)
        except ConfigError as error:
            failed = RuntimeError(f"channels: {error}")
            _print_only_the_line_of(failed)
            raise failed from None


def _collect_seldom() -> None:
    """Keep full garbage collections, in which nobody is answered, out of the way of the webhooks.

    Each turn that waits for its agent holds about a hundred objects, and a full collection looks at all
    of them: with thousands of turns that takes 0.1 s and more, whenever a quarter has been added. Now it
    comes when a million objects more live than at the last one, which also bounds what lost cycles
    may hold; the young generations, where nearly all garbage is, are collected as before. What was
    made by the start stays, and need not be looked at again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(1000, 10, 100)


def _print_only_the_line_of(failed: Exception) -> None:
    """A traceback would bury the one line that the operator needs."""
    ordinary = sys.excepthook

    def hook(kind: Any, value: BaseException, traceback: Any) -> None:
        if value is failed:
            print(value, file=sys.stderr)
        else:
            ordinary(kind, value, traceback)

    sys.excepthook = hook
