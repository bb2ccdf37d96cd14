"""
What a service counts, as Prometheus reads it (extra ``[metrics]``: prometheus-client).

Each service has a registry of its own, so that a process may have two. Counters are moved where
things happen; what the store knows better (queues, dead letters) is asked of it when somebody looks.
Labels are names of the configuration, words from short lists, and accounts: of these so many are
told apart, and no more, since an account may be whatever a platform writes into a webhook.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from . import __version__
from .errors import StartError
from .meter import Failing, Rejection, Wait
from .tallies import Labels, Spread, Tally

PREFIX = "klein_channels_"
MOST_ACCOUNTS = 200
"""Accounts of a channel that have a label of their own."""
MOST_TURNS = 100_000
"""Turns whose beginning is remembered; the time of those that are lost is never asked for."""
OTHER = "other"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ACCOUNT = ("channel", "account")
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_COUNTERS: dict[str, tuple[str, Labels]] = {
    "events_received": ("Events that were stored.", (*_ACCOUNT, "type")),
    "events_rejected": ("Webhooks that were not taken.", ("channel", "reason")),
    "events_duplicate": ("Events that were there already.", ("channel",)),
    "turns": ("Attempts of turns that ended.", ("channel", "outcome")),
    "messages_sent": ("What platforms took.", (*_ACCOUNT, "kind")),
    "send_errors": ("Sends that failed.", (*_ACCOUNT, "class")),
}
_HISTOGRAMS = {
    "ack_duration_seconds": ("From webhook to answer.", _QUICK),
    "turn_duration_seconds": ("How long turns took.", _SLOW),
    "send_duration_seconds": ("All calls of one send.", _SLOW),
    "rate_limit_wait_seconds": ("Until an account might send.", _SLOW),
    "sender_rate_wait_seconds": ("For what is written faster than it may be.", _SLOW),
    "agent_wait_seconds": ("Until there was a place for a turn.", _SLOW),
}
_GAUGES: dict[str, tuple[str, Labels]] = {
    "queue_depth": ("Events that wait for their turn.", ("channel",)),
    "queue_oldest_age_seconds": ("For how long the first of them has.", ("channel",)),
    "unsent_replies": ("Replies that wait to be sent.", ("channel",)),
    "dead_letters": ("What was given up.", ("channel", "kind")),
    "paused": ("Places that operators paused.", ("channel", "mode")),
    "webhook_last_event_timestamp_seconds": ("When the last event was stored.", ("channel",)),
    "ready": ("Whether webhooks can be taken.", ()),
    "reactor_lag_seconds": ("The longest that the reactor was late, since the last look.", ()),
    "build_info": ("The version.", ("version",)),
}


class Prometheus:
    """The meter of one service; raises `StartError` where the extra is missing.

    `seconds` is a clock that nobody sets, `now` the time.
    """

    def __init__(
        self, seconds: Callable[[], float], channels: Iterable[str], now: Callable[[], float] = time.time
    ) -> None:
        self._library = _library()
        self._seconds = seconds
        self._now = now
        self._accounts: dict[str, set[str]] = {}
        self._began: dict[int, float] = {}
        self._gauges: list[tuple[str, Labels, float]] = []
        self._worst_lag = 0.0
        self._ready = False
        self._last_event: dict[str, float] = {}
        self._counts = {name: Tally() for name in _COUNTERS}
        self._times = {name: Spread(bounds) for name, (_, bounds) in _HISTOGRAMS.items()}
        self._received = self._counts["events_received"]
        self._sent = self._counts["messages_sent"]
        self._turns = self._counts["turns"]
        self._ack, self._turn = self._times["ack_duration_seconds"], self._times["turn_duration_seconds"]
        self._send = self._times["send_duration_seconds"]
        self._waits = {
            "agent": self._times["agent_wait_seconds"],
            "rate_limit": self._times["rate_limit_wait_seconds"],
            "sender_rate": self._times["sender_rate_wait_seconds"],
        }
        for channel in channels:
            self._counts["events_duplicate"].show(channel)
        self._registry = self._library.CollectorRegistry()
        self._registry.register(self)

    # -- the meter

    def received(self, channel: str, account: str, kind: str) -> None:
        """An event was stored."""
        self._received.add(channel, self._account(channel, account), kind)
        self._last_event[channel] = self._now()

    def repeated(self, channel: str) -> None:
        """An event came again."""
        self._counts["events_duplicate"].add(channel)

    def rejected(self, channel: str, reason: Rejection) -> None:
        """A webhook was not taken."""
        self._counts["events_rejected"].add(channel, reason)

    def acknowledged(self, channel: str, seconds: float) -> None:
        """A webhook was answered."""
        self._ack.add(seconds, channel)

    def turn_began(self, channel: str, turn: int) -> None:
        """An attempt of a turn began."""
        if len(self._began) >= MOST_TURNS:
            self._began.clear()
        self._began[turn] = self._seconds()

    def turn_ended(self, channel: str, turn: int, outcome: str) -> None:
        """It ended."""
        began = self._began.pop(turn, None)
        self._turns.add(channel, outcome)
        if began is not None:
            self._turn.add(self._seconds() - began, channel)

    def sent(self, channel: str, account: str, kind: str, seconds: float) -> None:
        """A platform took something."""
        self._sent.add(channel, self._account(channel, account), kind)
        self._send.add(seconds, channel)

    def not_sent(self, channel: str, account: str, failing: Failing, seconds: float) -> None:
        """A platform did not."""
        self._counts["send_errors"].add(channel, self._account(channel, account), failing)
        self._send.add(seconds, channel)

    def waited(self, what: Wait, channel: str, seconds: float) -> None:
        """Work was held up."""
        self._waits[what].add(seconds, channel)

    def lagged(self, seconds: float) -> None:
        """The reactor was `seconds` late; the longest since somebody looked is shown."""
        self._worst_lag = max(self._worst_lag, seconds)

    def _account(self, channel: str, account: str) -> str:
        known = self._accounts.get(channel)
        if known is None:
            known = self._accounts[channel] = set()
        if account in known:
            return account
        if len(known) >= MOST_ACCOUNTS:
            return OTHER
        known.add(account)
        return account

    # -- the page

    def show(self, ready: bool, gauges: Iterable[tuple[str, Labels, float]] = ()) -> bytes:
        """The text that Prometheus reads, with `gauges` (name, labels, value) as the store has them."""
        self._ready = ready
        self._gauges = list(gauges)
        shown: bytes = self._library.generate_latest(self._registry)
        self._worst_lag = 0.0
        return shown

    def describe(self) -> Iterable[Any]:
        """What the registry asks before anything was counted: the names."""
        return self.collect()

    def collect(self) -> Iterator[Any]:
        """What the registry asks for a page: everything, as it is now."""
        core = self._library.core
        for name, (words, labels) in _COUNTERS.items():
            counter = core.CounterMetricFamily(PREFIX + name, words, labels=labels)
            for values, count in self._counts[name]:
                counter.add_metric(values, count)
            yield counter
        for name, (words, _) in _HISTOGRAMS.items():
            histogram = core.HistogramMetricFamily(PREFIX + name, words, labels=("channel",))
            for values, buckets, total in self._times[name]:
                histogram.add_metric(values, buckets, total)
            yield histogram
        known: list[tuple[str, Labels, float]] = [
            *self._gauges,
            *(("webhook_last_event_timestamp_seconds", (name,), at) for name, at in self._last_event.items()),
            ("ready", (), float(self._ready)),
            ("reactor_lag_seconds", (), self._worst_lag),
            ("build_info", (__version__,), 1.0),
        ]
        for name, (words, labels) in _GAUGES.items():
            gauge = core.GaugeMetricFamily(PREFIX + name, words, labels=labels)
            for _, values, value in (one for one in known if one[0] == name):
                gauge.add_metric(values, value)
            yield gauge


def _library() -> Any:
    try:
        import prometheus_client.core
    except ImportError:
        raise StartError(
            "admin: metrics: prometheus-client is missing; pip install 'klein_channels[metrics]'"
        ) from None
    return prometheus_client
