"""
What a service counts, as Prometheus reads it (extra ``[metrics]``: prometheus-client).

Each service has a registry of its own, so that a process may have two. Counters are moved where
things happen; what the store knows better (queues, dead letters) is asked of it when somebody looks.
Labels are names of the configuration, words from short lists, and accounts: of these so many are
told apart, and no more, since an account may be whatever a platform writes into a webhook.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from . import __version__
from .errors import StartError
from .meter import Failing, Rejection, Wait

PREFIX = "klein_channels_"
MOST_ACCOUNTS = 200
"""Accounts of a channel that have a label of their own."""
MOST_TURNS = 100_000
"""Turns whose beginning is remembered; the time of those that are lost is never asked for."""
OTHER = "other"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_QUICK = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SLOW = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


class Prometheus:
    """The meter of one service; raises `StartError` where the extra is missing.

    `seconds` is a clock. `paused` and `queues` are set by `show` from what the store told last.
    """

    def __init__(self, seconds: Callable[[], float], channels: Iterable[str]) -> None:
        library = _library()
        self._seconds = seconds
        self._generate = library.generate_latest
        self._registry = library.CollectorRegistry(auto_describe=True)
        self._accounts: dict[str, set[str]] = {}
        self._began: dict[int, float] = {}
        self._children: dict[tuple[Any, ...], Any] = {}
        self._make(library)
        for channel in channels:
            # A series that is there from the start shows its first rise.
            self._child(self._repeated, channel)

    def _make(self, library: Any) -> None:
        def counter(name: str, words: str, *labels: str) -> Any:
            return library.Counter(PREFIX + name, words, labels, registry=self._registry)

        def gauge(name: str, words: str, *labels: str) -> Any:
            return library.Gauge(PREFIX + name, words, labels, registry=self._registry)

        def histogram(name: str, words: str, buckets: tuple[float, ...], *labels: str) -> Any:
            return library.Histogram(PREFIX + name, words, labels, registry=self._registry, buckets=buckets)

        account = ("channel", "account")
        self._received = counter("events_received", "Events that were stored.", *account, "type")
        self._rejected = counter("events_rejected", "Webhooks that were not taken.", "channel", "reason")
        self._repeated = counter("events_duplicate", "Events that were there already.", "channel")
        self._last_event = gauge(
            "webhook_last_event_timestamp_seconds", "When the last event was stored.", "channel"
        )
        self._ack = histogram("ack_duration_seconds", "From webhook to answer.", _QUICK, "channel")
        self._turns = counter("turns", "Attempts of turns that ended.", "channel", "outcome")
        self._turn = histogram("turn_duration_seconds", "How long they took.", _SLOW, "channel")
        self._sent = counter("messages_sent", "What platforms took.", *account, "kind")
        self._not_sent = counter("send_errors", "Sends that failed.", *account, "class")
        self._send = histogram("send_duration_seconds", "Calls of one send.", _SLOW, "channel")
        self._rate_wait = histogram("rate_limit_wait_seconds", "Sends held up.", _SLOW, "channel")
        self._agent_wait = histogram("agent_wait_seconds", "Turns without a thread.", _SLOW, "channel")
        self._waits = {"rate_limit": self._rate_wait, "agent": self._agent_wait}
        self._depth = gauge("queue_depth", "Events that wait for their turn.", "channel")
        self._oldest = gauge("queue_oldest_age_seconds", "For how long the first one has.", "channel")
        self._unsent = gauge("unsent_replies", "Replies that wait to be sent.", "channel")
        self._dead = gauge("dead_letters", "What was given up.", "channel", "kind")
        self._paused = gauge("paused", "Places that an operator paused.", "channel", "mode")
        self._ready = gauge("ready", "Whether webhooks can be taken.")
        self._lag = gauge("reactor_lag_seconds", "The longest that the reactor was late, of late.")
        gauge("build_info", "The version.", "version").labels(__version__).set(1)

    # -- the meter

    def received(self, channel: str, account: str, kind: str) -> None:
        """An event was stored."""
        self._child(self._received, channel, self._account(channel, account), kind).inc()
        self._child(self._last_event, channel).set_to_current_time()

    def repeated(self, channel: str) -> None:
        """An event came again."""
        self._child(self._repeated, channel).inc()

    def rejected(self, channel: str, reason: Rejection) -> None:
        """A webhook was not taken."""
        self._child(self._rejected, channel, reason).inc()

    def acknowledged(self, channel: str, seconds: float) -> None:
        """A webhook was answered."""
        self._child(self._ack, channel).observe(seconds)

    def turn_began(self, channel: str, turn: int) -> None:
        """An attempt of a turn began."""
        if len(self._began) >= MOST_TURNS:
            self._began.clear()
        self._began[turn] = self._seconds()

    def turn_ended(self, channel: str, turn: int, outcome: str) -> None:
        """It ended."""
        began = self._began.pop(turn, None)
        self._child(self._turns, channel, outcome).inc()
        if began is not None:
            self._child(self._turn, channel).observe(self._seconds() - began)

    def sent(self, channel: str, account: str, kind: str, seconds: float) -> None:
        """A platform took something."""
        self._child(self._sent, channel, self._account(channel, account), kind).inc()
        self._child(self._send, channel).observe(seconds)

    def not_sent(self, channel: str, account: str, failing: Failing, seconds: float) -> None:
        """A platform did not."""
        self._child(self._not_sent, channel, self._account(channel, account), failing).inc()
        self._child(self._send, channel).observe(seconds)

    def waited(self, what: Wait, channel: str, seconds: float) -> None:
        """Work was held up."""
        self._child(self._waits[what], channel).observe(seconds)

    def lagged(self, seconds: float) -> None:
        """The reactor was `seconds` late; the longest since somebody looked is shown."""
        self._worst_lag = max(self._worst_lag, seconds)

    _worst_lag = 0.0

    def _child(self, metric: Any, *labels: str) -> Any:
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return child

    def _account(self, channel: str, account: str) -> str:
        known = self._accounts.setdefault(channel, set())
        if account in known:
            return account
        if len(known) >= MOST_ACCOUNTS:
            return OTHER
        known.add(account)
        return account

    # -- the page

    def show(self, ready: bool, gauges: Iterable[tuple[str, tuple[str, ...], float]] = ()) -> bytes:
        """The text that Prometheus reads, with `gauges` (name, labels, value) as the store has them."""
        self._ready.set(1 if ready else 0)
        self._lag.set(self._worst_lag)
        self._worst_lag = 0.0
        self._paused.clear()
        named = {
            "queue_depth": self._depth,
            "queue_oldest_age_seconds": self._oldest,
            "unsent_replies": self._unsent,
            "dead_letters": self._dead,
            "paused": self._paused,
        }
        for name, labels, value in gauges:
            named[name].labels(*labels).set(value)
        shown: bytes = self._generate(self._registry)
        return shown


def _library() -> Any:
    try:
        import prometheus_client
    except ImportError:
        raise StartError(
            "admin: metrics: prometheus-client is missing; pip install 'klein_channels[metrics]'"
        ) from None
    return prometheus_client
