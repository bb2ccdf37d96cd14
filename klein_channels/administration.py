"""The admin endpoint of one service: its address, its site, its meter, and the pulse of the reactor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from .admin import AdminSettings, checked_endpoint
from .policy import Policy
from .prometheus import Prometheus

if TYPE_CHECKING:
    from .web.admin import Administered

_log = Logger()
PULSE = 0.25
"""Seconds between two looks at how late the reactor is."""


class Administration:
    """Made with the service, so that what is wrong with `settings` is said before anything starts."""

    def __init__(self, service: Administered, settings: AdminSettings) -> None:
        self.endpoint = checked_endpoint(settings)
        self.meter = Prometheus(self._seconds, service.channels) if settings.metrics else None
        self._service = service
        self._settings = settings
        self._clock: IReactorTime | None = None
        self._pulse: LoopingCall | None = None
        self._last = 0.0
        self._site: Any = None

    def _seconds(self) -> float:
        return float(self._clock.seconds()) if self._clock is not None else 0.0

    def site(self, clock: IReactorTime, policy: Policy, now: Callable[[], float]) -> Any:
        """What listens at the endpoint; always the same one."""
        if self._site is None:
            # Klein installs a reactor when it is imported: not before one was chosen.
            from .web.admin import Admin

            self._clock = clock
            self._site = Admin(self._service, self._settings, now, self.meter).site(clock, policy)
        return self._site

    def start(self, clock: IReactorTime) -> None:
        """Begin to feel the pulse of the reactor, where somebody wants to know."""
        self._clock = clock
        if self.meter is None:
            return
        self._pulse = LoopingCall(self._beat)
        self._pulse.clock = clock
        self._last = clock.seconds()
        beating = self._pulse.start(PULSE, now=False)
        beating.addErrback(lambda failure: _log.failure("the pulse ended", failure))

    def stop(self) -> None:
        """Feel it no more, and let nobody in."""
        if self._pulse is not None and self._pulse.running:
            self._pulse.stop()
        if self._site is not None:
            self._site.drain()
            self._site.abort()

    def _beat(self) -> None:
        assert self.meter is not None, "start() looked"
        now = self._seconds()
        self.meter.lagged(max(now - self._last - PULSE, 0.0))
        self._last = now
