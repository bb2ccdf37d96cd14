"""
How an event that came in waits for its turn: at what rate, behind how many, and what becomes of the rest.

What exceeds a rate waits in the store until its time; nobody is refused for it. Only events that were
proved to be authentic come here.
"""

from __future__ import annotations

from .buckets import Buckets
from .channel import Channel
from .fit import fit
from .model import AnyEvent, Message, PersonEvent, Text
from .policy import Policy
from .store import Queueing

Name = tuple[str, str, str]
"""Channel, account, and the sender's id there."""


class Admission:
    """The rates of senders and channels, and each channel's way of queueing."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._senders = Buckets(policy.sender_burst, policy.sender_rate)
        self._channels = Buckets(policy.channel_burst, policy.channel_rate)
        self._queueing: dict[str, Queueing] = {}

    def earliest(self, event: AnyEvent, now: float) -> float | None:
        """When the turn of `event` may start; None for at once, which is what nearly all get."""
        channel = event.address.channel
        wait = self._senders.take(_sender_of(event), now)
        wait = max(wait, self._channels.take(channel, now))
        return now + wait if wait else None

    def was_for_nothing(self, event: AnyEvent) -> None:
        """`event` will not be a turn: it was there already, or it was rejected."""
        self._senders.give_back(_sender_of(event))
        self._channels.give_back(event.address.channel)

    def queueing(self, channel: Channel) -> Queueing:
        """How the events of `channel` wait for each other."""
        found = self._queueing.get(channel.name)
        if found is None:
            found = self._queueing[channel.name] = queueing_of(channel, self._policy)
        return found


def queueing_of(channel: Channel, policy: Policy) -> Queueing:
    """What the settings of a channel and the numbers of the policy say about its queue."""
    options = channel.options
    words = Message(parts=(Text(text=options.busy_text),))
    return Queueing(
        double_texting=options.double_texting,
        window=policy.merge_window,
        longest=policy.merge_longest,
        together=policy.merge_most if options.double_texting in ("merge", "interrupt") else 1,
        grouped=channel.capabilities.grouped,
        most=policy.max_queued_turns,
        busy=tuple(Message(parts=(part,)) for part in fit(words, channel.capabilities)),
    )


def _sender_of(event: AnyEvent) -> Name:
    address = event.address
    sender = event.sender if isinstance(event, PersonEvent) else None
    return (address.channel, address.account, sender.id if sender else address.peer)
