"""
Serving from a script: the reactor is chosen, run and ended here.

Outside a running reactor `serve` blocks until SIGINT or SIGTERM; inside one it returns at once.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger, globalLogBeginner, textFileLogObserver

from .errors import ReactorError
from .logs import install_redaction

_log = Logger()
S = TypeVar("S", bound=Service)
_LOADERS = (
    "twisted.application.",
    "twisted.persisted.sob",
    "twisted.scripts.twistd",
    "twisted.scripts._twistd",
)


def serve(make_service: Callable[[], S]) -> Deferred[S] | None:
    """Run what `make_service` makes.

    Inside a running reactor: a Deferred that fires with the listening service, or fails with the
    `StartError` that says why there is none. Else blocks until the process is told to end, on the
    asyncio reactor if none is installed. Raises `ReactorError` where neither can be done.
    """
    _refuse_where_it_cannot_be_done()
    reactor: Any = chosen_reactor()
    if reactor.running:
        return maybeDeferred(_started, make_service())
    if reactor._startedBefore:
        raise ReactorError(
            "the reactor has run before and cannot run again: serve all channels with one call,"
            " or embed klein_channels.service.ChannelService"
        )
    _start_logging()
    run(reactor, make_service())
    return None


def run(reactor: Any, service: Service, when_running: Callable[[], object] | None = None) -> None:
    """Start `service`, run the reactor until it is told to stop, stop the service."""
    _started(service)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    if when_running is not None:
        reactor.callWhenRunning(when_running)
    reactor.run()


def chosen_reactor() -> Any:
    """The installed reactor; asyncio's, newly installed, if there is none."""
    if "twisted.internet.reactor" not in sys.modules:
        from twisted.internet import asyncioreactor

        asyncioreactor.install()
    from twisted.internet import reactor

    return reactor


def _started(service: S) -> S:
    untyped: Any = service
    untyped.privilegedStartService()
    untyped.startService()
    return service


def _refuse_where_it_cannot_be_done() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise ReactorError(
            "serving was asked for off the main thread, where no signal arrives: call it on the main"
            " thread, or embed klein_channels.service.ChannelService in your application"
        )
    if not _is_running() and _twistd_is_loading():
        raise ReactorError(
            "this file is being loaded by twistd, which runs the reactor itself: let it define an agent,"
            " and start `twistd channels --agent module:attribute`, or a ChannelService as `application`"
        )


def _is_running() -> bool:
    """Whether a reactor runs, without installing one."""
    reactor: Any = sys.modules.get("twisted.internet.reactor")
    return reactor is not None and reactor.running


def _twistd_is_loading() -> bool:
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        module = frame.f_globals.get("__name__", "")
        if module.startswith(_LOADERS):
            return True
    return False


def _start_logging() -> None:
    """A script that serves logs to stderr, unless it logs already."""
    install_redaction()
    if globalLogBeginner._temporaryObserver is not None:
        globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
        install_redaction()
