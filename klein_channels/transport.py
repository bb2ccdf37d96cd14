"""The ordinary way out: what a channel's `send` asks for, made over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.defer import Deferred, succeed

from .channel import Channel, Edits, Live, PacesSends, Steps, Streams, Unknowns, able
from .http import Http
from .model import Address, Context, Outcome, Outgoing, Refused
from .policy import Policy
from .rates import Rate


class HttpTransport:
    """Sends through the channel that an address names; the `delivery.Transport` of webhooks."""

    def __init__(self, channels: Mapping[str, Channel], http: Http, policy: Policy) -> None:
        self._channels = channels
        self._live = {name: channel for name, channel in channels.items() if isinstance(channel, Live)}
        self._http = http
        self._policy = policy

    def send(self, outgoing: Outgoing) -> Deferred[Outcome]:
        """Send one visible thing; the steps of its channel have one deadline in all."""
        channel = self._channels.get(outgoing.address.channel)
        if channel is None:
            # The operator took the channel out of the configuration; its replies wait for it.
            reason = f"no channel {outgoing.address.channel!r} is configured"
            return succeed(Refused(reason=reason, scope="account"))
        steps = channel.send(outgoing) if outgoing.replaces is None else _replacing(channel, outgoing)
        return self._http.run(steps, self._policy.send_deadline)

    def patience(self, address: Address) -> float | None:
        """The platform's own window, if it has one."""
        channel = self._channels.get(address.channel)
        return channel.capabilities.retry_patience if channel else None

    def rates(self, address: Address) -> tuple[Rate, ...]:
        """What the configuration says, else the platform."""
        channel = self._channels.get(address.channel)
        if channel is None:
            return ()
        if channel.options.rates is not None:
            return channel.options.rates
        if able(channel, PacesSends) and isinstance(channel, PacesSends):
            return channel.rates(address)
        return channel.capabilities.rates

    def unknown(self, address: Address) -> Unknowns:
        """What the configuration says, else the platform."""
        channel = self._channels.get(address.channel)
        if channel is None:
            return "hold"
        return channel.options.unknown or channel.capabilities.unknown

    def show_typing(self, address: Address, on: bool, context: Context) -> Deferred[None]:
        """A life sign, where the platform has one and the channel wants it."""
        channel = self._live.get(address.channel)
        if channel is None or not channel.options.typing:
            return succeed(None)
        return self._http.run(channel.show_typing(address, on, context), self._policy.send_deadline)

    def show_seen(self, address: Address, context: Context) -> Deferred[None]:
        """That the last message was read, where the channel wants it shown."""
        channel = self._live.get(address.channel)
        if channel is None or not channel.options.mark_seen:
            return succeed(None)
        return self._http.run(channel.show_seen(address, context), self._policy.send_deadline)


_NOT_OURS = Refused(reason="another server may go on with it")


class LiveScreen:
    """Shows texts that grow, in streams of the platform's own or by edits; the `live.Screen` of HTTP.

    Nothing is shown unless it is `allowed`.
    """

    def __init__(
        self, channel: Channel, http: Http, policy: Policy, *, allowed: Callable[[], bool] = lambda: True
    ) -> None:
        self._channel = channel
        self._allowed = allowed
        self._http = http
        self._policy = policy

    def open(self, outgoing: Outgoing) -> Deferred[Outcome]:
        """Show it for the first time."""
        if not self._allowed():
            return succeed(_NOT_OURS)
        return self._http.run(_opening(self._channel, outgoing), self._policy.send_deadline)

    def extend(self, outgoing: Outgoing, name: str, piece: str) -> Deferred[Outcome]:
        """Show all of it."""
        if not self._allowed():
            return succeed(_NOT_OURS)
        steps: Steps[Outcome] = _extending(self._channel, outgoing, name, piece)
        return self._http.run(steps, self._policy.send_deadline)


def shows_growth(channel: Channel) -> bool:
    """Whether a text can be seen on this platform while it grows."""
    return able(channel, Streams) or (able(channel, Edits) and channel.capabilities.edit_interval > 0)


def _opening(channel: Channel, outgoing: Outgoing) -> Steps[Outcome]:
    outcome: Outcome = Refused(reason="the platform has no streams")
    if isinstance(channel, Streams):
        outcome = yield from channel.open_stream(outgoing)
    if isinstance(outcome, Refused) and outcome.scope == "message" and isinstance(channel, Edits):
        # The platform has no streams, or none in this chat: what is posted now is edited later.
        outcome = yield from channel.send(outgoing)
    return outcome


def _extending(channel: Channel, outgoing: Outgoing, name: str, piece: str) -> Steps[Outcome]:
    outcome: Outcome = Refused(reason="the platform has no streams")
    if isinstance(channel, Streams):
        outcome = yield from channel.append(outgoing, name, piece)
    if isinstance(outcome, Refused) and outcome.scope == "message" and isinstance(channel, Edits):
        # The platform ended its stream early, or has none.
        outcome = yield from channel.edit(outgoing, name)
    return outcome


def _replacing(channel: Channel, outgoing: Outgoing) -> Steps[Outcome]:
    """Put the final text in the place of what is seen of it."""
    name = outgoing.replaces or ""
    outcome: Outcome = Refused(reason="the platform has no streams")
    if isinstance(channel, Streams):
        outcome = yield from channel.close_stream(outgoing, name)
    if isinstance(outcome, Refused) and outcome.scope == "message" and isinstance(channel, Edits):
        outcome = yield from channel.edit(outgoing, name)
    return outcome
