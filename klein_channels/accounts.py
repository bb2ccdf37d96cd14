"""
What each of our accounts on the platforms may send now: rates, pauses, outages.

An `Account` is asked before a send and told of its outcome. It knows no clock and starts nothing: who
wants to know when it opens asks `ready_at`. Its times are those of a clock that nobody sets.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Literal

from .buckets import Buckets
from .model import Address, Outcome, Retry, Sent, UnknownOutcome, Value
from .rates import Rate, rates_for

Key = tuple[str, str]
"""A channel's name and an account on its platform."""
Rates = tuple[Rate, ...]
SLOWEST = 0.02
"""The least share of its rate that an account which is slowed down has left."""
SLOWED_FROM = 10.0
"""Sends per second: what an account without rates of its own is slowed down from."""
_FULL_SPEED = 64
TOLERANCE = 1e-6
"""Seconds by which a time may be missed: floats of today's times are no finer."""


class AccountState(Value, frozen=True, kw_only=True, omit_defaults=False):
    """One account as operators see it; `alert` is true until something was sent again."""

    channel: str
    account: str
    state: Literal["open", "slowed", "paused"]
    until: float | None = None
    reason: str = ""
    alert: bool = False
    waiting: int = 0
    """Conversations that are known to wait for it; there may be more in the store."""
    sending: int = 0


class Account:
    """One account of ours. Its sends are `reserve`d, and `landed` when their outcome is there.

    After a pause it is tried with one send, then with two, four and so on, until it is known to work.
    `flying` counts what is on its way.
    """

    def __init__(self, *, outage_after: int, outage_first: float, outage_longest: float) -> None:
        self.flying = 0
        self.alert = False
        self.reason = ""
        self._outage_after = outage_after
        self._outage_first = outage_first
        self._outage_longest = outage_longest
        self._outage_wait = 0.0
        self._troubled: set[str] = set()
        self._most: int | None = None
        self._paused_until = 0.0
        self._slowed = (1.0, 0.0, "")
        self._buckets: dict[Rate, Buckets] = {}
        self._when_slowed = Buckets(1, SLOWED_FROM)
        self._for_all: list[Buckets] = []
        """The buckets that every send of the account takes a token of."""
        self._answered: dict[Rate, deque[float]] = {}
        self._slots: dict[Rate, deque[float]] = {}

    # -- asked before a send

    def ready_at(self, now: float) -> float:
        """When the account as a whole takes another send; infinity while one has to land first."""
        if self._most is not None and self.flying >= self._most:
            return math.inf
        share = self.share(now)
        ready = self._paused_until
        for bucket in self._for_all or ((self._when_slowed,) if share < 1.0 else ()):
            wait = bucket.wait(None, now, pace=share)
            if wait > 0:
                ready = max(ready, now + wait)
        for rate in self._answered:
            ready = max(ready, self._strictly(rate, now))
        return ready

    def _strictly(self, rate: Rate, now: float) -> float:
        """When one more send keeps a strict rate; infinity while that depends on those on their way."""
        answered = self._answered[rate]
        while answered and answered[0] <= now - rate.seconds:
            answered.popleft()
        too_many = self.flying + len(answered) - int(rate.count)
        if too_many < 0:
            return now
        return answered[too_many] + rate.seconds if too_many < len(answered) else math.inf

    def chat_ready_at(self, address: Address, rates: Rates, now: float) -> float:
        """When the chat of `address` takes another send."""
        at = now
        for rate in rates:
            if rate.per == "conversation" and not rate.kinds:
                at = max(at, now + self._bucket(rate).wait(address.peer, now))
        return at

    def reserve(self, address: Address, rates: Rates, now: float) -> None:
        """Take the tokens of one send there."""
        share = self.share(now)
        for rate in rates:
            if not rate.kinds:
                self._take(rate, address, now, share)
        if share < 1.0:
            self._when_slowed.take(None, now, pace=share)

    def give_back(self, address: Address, rates: Rates, now: float) -> None:
        """There was nothing to send."""
        for rate in rates:
            if not rate.kinds:
                self._bucket(rate).give_back(_key(rate, address), pace=_share_of(rate, self.share(now)))

    def kind_ready_at(self, kind: str, address: Address, rates: Rates, now: float, *, waited: bool) -> float:
        """When a send of `kind` may go there; `now` if at once, and then its tokens are taken.

        Those that have to wait get a time each, and have `waited` when they ask again at that time.
        """
        share = self.share(now)
        mine = rates_for(rates, kind)
        at = max([now, *(self._slot(rate, address, now, share, waited) for rate in mine)])
        if at > now + TOLERANCE:
            return at
        for rate in mine:
            self._take(rate, address, now, share)
        return now

    def _slot(self, rate: Rate, address: Address, now: float, share: float, waited: bool) -> float:
        """When it is the turn of a send at this rate, behind those that were given a time before it."""
        share = _share_of(rate, share)
        ready = now + self._bucket(rate).wait(_key(rate, address), now, pace=share)
        if waited or rate.per != "account":
            return ready
        slots = self._slots.setdefault(rate, deque())
        while slots and slots[0] <= now + TOLERANCE:
            slots.popleft()
        if slots:
            ready = max(ready, slots[-1] + rate.interval / share)
        if ready > now + TOLERANCE:
            slots.append(ready)
        return ready

    def spares(self, address: Address, rates: Rates, now: float, share: float, *, chat: bool) -> bool:
        """Whether it can do with a sign that is no reply: `share` of its tokens stay; takes one if so.

        With `chat` the sign counts against the rates of its chat as well, and leaves room for a reply.
        """
        mine = tuple(rate for rate in rates if chat or rate.per == "account")
        if not self.has_plenty(address, mine, now, share):
            return False
        self.reserve(address, mine, now)
        for answered in self._answered.values():
            answered.append(now)
        return True

    def has_plenty(self, address: Address, rates: Rates, now: float, share: float = 0.5) -> bool:
        """Whether it keeps `share` of its tokens when one is taken, and nothing slows it down."""
        if self._most is not None or self.share(now) < 1.0 or self._paused_until > now:
            return False
        for rate in rates:
            need = min(1 + max(share * rate.burst, 1), rate.burst)
            if not rate.kinds and self._bucket(rate).wait(_key(rate, address), now, need=need) > TOLERANCE:
                return False
        return True

    def goes_on(self, address: Address, rates: Rates, now: float) -> bool:
        """Whether what was just sent may be followed at once; its tokens are taken if so."""
        self.flying -= 1  # It has landed.
        ready = max(self.ready_at(now), self.chat_ready_at(address, rates, now)) <= now + TOLERANCE
        self.flying += 1
        if ready:
            self.reserve(address, rates, now)
        return ready

    def rests(self, now: float) -> float:
        """Seconds for which nothing is sent."""
        return max(self._paused_until - now, 0.0)

    def share(self, now: float) -> float:
        """The share of its rates that it may use now."""
        share, until, _ = self._slowed
        return share if now < until else 1.0

    # -- told of outcomes

    def landed(self) -> None:
        """A send has its outcome, or there was none."""
        self.flying -= 1

    def pause(self, until: float, reason: str, *, alert: bool = False) -> None:
        """Send nothing before `until`, and then carefully."""
        if until > self._paused_until:
            self._paused_until = until
            self.reason = reason
        self.alert = self.alert or alert
        self._most = 1

    def slow_down(self, share: float, until: float, reason: str) -> None:
        """Keep to a share of its rates until then; 0 is a pause."""
        if share <= 0:
            self.pause(until, reason)
        else:
            self._slowed = (max(min(share, 1.0), SLOWEST), until, reason)

    def told(self, outcome: Outcome, conversation: str, now: float) -> bool:
        """Learn from an outcome; whether it is a new, or a longer, outage."""
        for answered in self._answered.values():
            answered.append(now)
        if isinstance(outcome, UnknownOutcome) or (isinstance(outcome, Retry) and outcome.scope == "message"):
            return self._trouble(conversation, outcome.reason, now)
        if isinstance(outcome, Sent) and now >= self._paused_until:
            # What was taken after a pause began had been sent before it: that proves nothing.
            self._works()
        return False

    def _works(self) -> None:
        self._troubled.clear()
        self._outage_wait = 0.0
        if self._most is not None:
            self._most = self._most * 2 if self._most < _FULL_SPEED else None
        if self.alert or self.reason:
            self.alert, self.reason = False, ""

    def _trouble(self, conversation: str, reason: str, now: float) -> bool:
        """A send failed. Several in a row, in several conversations, are an outage; so is a failed trial."""
        if len(self._troubled) < self._outage_after:
            self._troubled.add(conversation)
        trial_failed = self._outage_wait > 0 and self._most == 1
        if len(self._troubled) < self._outage_after and not trial_failed:
            return False
        if now < self._paused_until:
            return False  # It was sent before the pause began.
        self._outage_wait = min(max(self._outage_wait * 2, self._outage_first), self._outage_longest)
        self.pause(now + self._outage_wait, reason, alert=True)
        return True

    def state(self, key: Key, now: float, ahead: float, waiting: int) -> AccountState:
        """What there is to be seen of it, in times of the day, which are `ahead` of its clock."""
        channel, account = key
        paused, slowed = self._paused_until > now, self.share(now) < 1.0
        return AccountState(
            channel=channel,
            account=account,
            state="paused" if paused else "slowed" if slowed else "open",
            until=self._paused_until + ahead if paused else self._slowed[1] + ahead if slowed else None,
            reason=self._slowed[2] if slowed and not paused and not self.reason else self.reason,
            alert=self.alert,
            waiting=waiting,
            sending=self.flying,
        )

    def _bucket(self, rate: Rate) -> Buckets:
        found = self._buckets.get(rate)
        if found is None:
            if rate.strict:
                self._answered[rate] = deque()
            found = self._buckets[rate] = Buckets(rate.burst, rate.count / rate.seconds)
            if rate.per == "account" and not rate.kinds:
                self._for_all.append(found)
        return found

    def _take(self, rate: Rate, address: Address, now: float, share: float) -> None:
        self._bucket(rate).take(_key(rate, address), now, pace=_share_of(rate, share))


class Accounts:
    """All accounts that were sent from since the start; `rates_of` says how often one may send where."""

    def __init__(self, rates_of: Callable[[Address], Rates], make: Callable[[], Account]) -> None:
        self.rates_of = rates_of
        self._make = make
        self._accounts: dict[Key, Account] = {}

    def of(self, address: Address) -> Account:
        """The account that sends to `address`."""
        key = key_of(address)
        found = self._accounts.get(key)
        if found is None:
            found = self._accounts[key] = self._make()
            for rate in self.rates_of(address):
                found._bucket(rate)
        return found

    def items(self) -> list[tuple[Key, Account]]:
        """All of them, with their names."""
        return sorted(self._accounts.items())


def key_of(address: Address) -> Key:
    """The account that sends to `address`."""
    return (address.channel, address.account)


def _key(rate: Rate, address: Address) -> str | None:
    return address.peer if rate.per == "conversation" else None


def _share_of(rate: Rate, share: float) -> float:
    """An account that is slowed down is slowed as a whole; its chats keep their pace."""
    return share if rate.per == "account" else 1.0
