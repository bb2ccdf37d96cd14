"""A transport that tells a meter of each send; put around any other."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from .delivery import Transport
from .meter import Failing, Meter
from .model import Address, Outcome, Outgoing, Refused, Retry, Sent

_REFUSED: dict[str, Failing] = {"account": "auth", "conversation": "window", "message": "permanent"}


class MeteredTransport:
    """Sends through `transport`, and tells `meter` what became of it and how long it took."""

    def __init__(self, transport: Transport, meter: Meter, seconds: Callable[[], float]) -> None:
        self._transport = transport
        self._meter = meter
        self._seconds = seconds
        self.patience = transport.patience
        self.rates = transport.rates
        self.unknown = transport.unknown
        self.show_typing = transport.show_typing

    def send(self, outgoing: Outgoing) -> Deferred[Outcome]:
        """Send it."""
        began = self._seconds()
        return self._transport.send(outgoing).addBoth(self._sent, outgoing, began)

    def _sent(self, outcome: Outcome | Failure, outgoing: Outgoing, began: float) -> Outcome | Failure:
        place: Address = outgoing.address
        took = self._seconds() - began
        if isinstance(outcome, Sent):
            self._meter.sent(place.channel, place.account, type(outgoing.part).__name__.lower(), took)
        else:
            self._meter.not_sent(place.channel, place.account, failing(outcome), took)
        return outcome


def failing(outcome: Outcome | Failure) -> Failing:
    """Why something was not sent, in a word; who has to do something about ``auth`` is the operator."""
    if isinstance(outcome, Retry):
        return "rate" if outcome.scope == "account" else "network"
    if isinstance(outcome, Refused):
        return _REFUSED[outcome.scope]
    return "permanent" if isinstance(outcome, Failure) else "unknown"
