"""
From the outbox to the platforms: in order per conversation, each row with an outcome that is stored.

Delivery knows one thing of the world, a `Transport`. A row that waits holds up only its own
conversation; an account that the platform refuses as a whole waits as a whole, and nothing is lost.
Accounts have a pace (see `accounts`) and take turns (see `queues`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from .accounts import Account, Accounts, AccountState
from .errors import StoreError
from .lanes import Lanes
from .logs import Throttle, presentable
from .model import Address, Context, Outcome, Outgoing, Refused, Retry, Sent
from .policy import Policy
from .queues import AccountQueues
from .rates import Rate, kind_of
from .settling import Settling, Terms
from .signs import Signs
from .store import STORE_RETRY, Claim, NotNow, Settlement, Store

_log = Logger()


class Transport(Terms, Protocol):
    """Carries one visible send to where it is seen."""

    def send(self, outgoing: Outgoing) -> Deferred[Outcome]:
        """Send it; the outcome, or a failure for a fault of ours."""

    def rates(self, address: Address) -> tuple[Rate, ...]:
        """How often may be sent there."""

    def show_typing(self, address: Address, on: bool, context: Context) -> Deferred[None]:
        """Show a life sign, if the platform has one."""


class Deliveries:
    """Sends what the outbox holds. `settled(key)` is called when a conversation has less to send."""

    def __init__(
        self,
        store: Store,
        transport: Transport,
        policy: Policy,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
        jitter: Callable[[], float],
        settled: Callable[[str], None],
    ) -> None:
        self._store = store
        self._transport = transport
        self._policy = policy
        self._clock = clock
        self._now = now
        self._settling = Settling(transport, policy, now=now, jitter=jitter)
        self._settled = settled
        self._claimed: dict[str, Claim] = {}
        self._accounts = Accounts(
            transport.rates,
            lambda: Account(
                outage_after=policy.outage_after,
                outage_first=policy.retry_first,
                outage_longest=policy.outage_longest,
            ),
        )
        self._line = AccountQueues(
            self._accounts,
            most=policy.max_sends,
            most_queued=policy.max_queued,
            clock=clock,
            refill=self._refill,
        )
        self._lanes = Lanes(self._work, policy.max_sends, self._stumbled, self._line)
        self.signs = Signs(transport, self._accounts, self._line, clock=clock, patience=policy.typing_cancel)
        self._alarms = Throttle(now)

    def wake(self, key: str, claim: Claim | None = None) -> None:
        """Something may be there to send in this conversation; `claim` was made for us already."""
        if claim is not None:
            self._claimed[key] = claim
        self._lanes.wake(key)
        # What does not begin at once waits for its account, perhaps long: a claim must not.
        self._give_back(key)

    def would_send(self, key: str) -> bool:
        """Whether what waits in this conversation would be sent at once."""
        return self._lanes.would_begin(key)

    def show_typing(self, key: str, address: Address, on: bool, context: Context) -> None:
        """Show that an answer is being written, or no longer, unless one is on its way already."""
        if not self._lanes.stopped and not self._lanes.is_busy(key):
            self.signs.show_typing(key, address, on, context)

    def time_waits(self, waited: Callable[[str, float], None]) -> None:
        """Tell `waited` how long each conversation had to wait for its account, or for a place."""
        self._lanes.time_waits(self._clock.seconds, waited)

    def accounts(self) -> list[AccountState]:
        """Every account that was sent from since the start, as operators see it."""
        steady, ahead = self._clock.seconds(), self._now() - self._clock.seconds()
        return [
            account.state(key, steady, ahead, self._line.waiting(key))
            for key, account in self._accounts.items()
        ]

    def stop(self) -> Deferred[None]:
        """Send nothing new; fires when what is under way has its outcome stored."""
        ended = self._lanes.stop()
        self.signs.stop()
        return ended

    def give_up(self) -> None:
        """Cancel what is under way; the next server finds its outcome unknown."""
        self._lanes.give_up()

    def _stumbled(self, key: str, failure: Failure) -> None:
        """The store is away, or a fault of ours: the poll finds the conversation again."""
        if self._alarms.admit("work") is not None:
            _log.failure("delivery to {key}", failure, key=key)

    def _refill(self, prefix: str, after: str) -> None:
        """Ask the store for more that waits for an account; again, until it tells."""

        def found(keys: tuple[str, ...]) -> None:
            for key in keys:
                self._lanes.wake(key)
            self._line.refilled(prefix, keys)

        def failed(failure: Failure) -> None:
            if not self._lanes.stopped:
                self._clock.callLater(STORE_RETRY, self._refill, prefix, after)

        asked = self._store.replies_due(prefix, after, self._now(), max(self._policy.max_queued // 2, 1))
        asked.addCallback(found).addErrback(failed)

    async def _work(self, key: str) -> bool:
        """Send what there is to send, as long as the account takes it; whether there may be more.

        What comes meanwhile wakes the lane again. The line took the tokens of one send.
        """
        address = Address.parse(key)
        account, rates = self._accounts.of(address), self._accounts.rates_of(address)
        claim: Claim | NotNow | None = self._claimed.pop(key, None)
        try:
            if claim is None:
                claim = await self._store.claim_reply(key, self._now())
        finally:
            if not isinstance(claim, Claim):
                account.give_back(address, rates, self._clock.seconds())
        while isinstance(claim, Claim):
            await self.signs.over(key)
            settlement = self._instead(key, claim) or await self._sent(claim)
            steady = self._clock.seconds()
            if settlement.unsent:
                account.give_back(address, rates, steady)
            waits = settlement.unsent and settlement.state != "dead"
            goes_on = not (self._lanes.stopped or waits) and account.goes_on(address, rates, steady)
            claim = await self._settle(claim, settlement, claim_next=goes_on)
            self._settled(key)
            if not goes_on:
                return True
            if not isinstance(claim, Claim):
                account.give_back(address, rates, self._clock.seconds())
        return False

    def _give_back(self, key: str) -> None:
        """Let a claim go that nobody has begun to send."""
        claim = self._claimed.pop(key, None)
        if claim is not None:
            waits = Settlement(state="waiting", due_at=self._now(), unsent=True)
            given = self._store.settle_reply(claim, waits, self._now(), claim_next=False)
            # The next server takes it for begun, which costs its conversation a wait and is marked.
            given.addErrback(
                lambda failure: _log.failure("reply {id} was not given back", failure, id=claim.id)
            )

    def _instead(self, key: str, claim: Claim) -> Settlement | None:
        """What becomes of a claim that is not sent now; None if it is."""
        address = claim.address
        ended = self._settling.unproved(claim)
        if ended is not None:
            _log.error("reply {id} is a dead letter: {reason}", id=claim.id, reason=ended.error)
            return ended
        now = self._clock.seconds()
        at = self._accounts.of(address).kind_ready_at(
            kind_of(claim.message.parts[0]),
            address,
            self._accounts.rates_of(address),
            now,
            waited=self._line.was_postponed(key),
        )
        if at <= now:
            return None
        self._line.postpone(key, at)
        return Settlement(state="unknown" if claim.unsure else "waiting", due_at=self._now(), unsent=True)

    async def _settle(
        self, claim: Claim, settlement: Settlement, *, claim_next: bool
    ) -> Claim | NotNow | None:
        """Store an outcome, however long the store is away: it is known nowhere else."""
        while True:
            try:
                return await self._store.settle_reply(claim, settlement, self._now(), claim_next=claim_next)
            except StoreError as error:
                if self._lanes.stopped:
                    raise
                if self._alarms.admit("settle") is not None:
                    _log.error(
                        "the outcome of reply {id} cannot be stored: {error}", id=claim.id, error=error
                    )
                await deferLater(self._clock, STORE_RETRY, lambda: None)

    async def _sent(self, claim: Claim) -> Settlement:
        if not self._store.is_alive():
            # Another server may have it by now; if none has, we go on when we are sure of that.
            return Settlement(state="waiting", due_at=self._now() + STORE_RETRY)
        if claim.repeated:
            _log.warn("reply {id} is sent again: whether it was shown is not known", id=claim.id)
        outgoing = Outgoing(
            id=claim.id,
            address=claim.address,
            part=claim.message.parts[0],
            context=claim.context,
            cause=claim.cause,
            reply_to=claim.message.reply_to,
            metadata=claim.message.metadata,
            now=self._now(),
            attempt=claim.tries,
            replaces=claim.replaces,
        )
        try:
            outcome = await self._transport.send(outgoing)
        except CancelledError:
            raise
        except Exception as error:
            _log.failure("reply {id} could not be sent", id=claim.id)
            outcome = Refused(reason=f"{type(error).__name__}: {error}")
        settlement = self._settling.of(claim, outcome)
        self._learn(claim, outcome, settlement)
        if settlement.state == "dead":
            _log.error("reply {id} is a dead letter: {reason}", id=claim.id, reason=settlement.error)
        return settlement

    def _learn(self, claim: Claim, outcome: Outcome, settlement: Settlement) -> None:
        """Tell the account what its platform said."""
        account, now = self._accounts.of(claim.address), self._clock.seconds()
        if isinstance(outcome, Sent):
            self._line.urgent.discard(str(claim.address))
        if account.told(outcome, claim.conversation, now):
            self._alarm(claim.address, account, "is away")
        pace = outcome.pace
        if pace is not None:
            account.slow_down(pace.share, self._steady(pace.until), presentable(pace.reason))
            if pace.share <= 0:
                self._alarm(claim.address, account, "has used up what it may")
        if isinstance(outcome, Retry | Refused) and outcome.scope == "account":
            until = settlement.due_at if settlement.state == "waiting" else _earliest(outcome, self._now())
            account.pause(
                self._steady(until), presentable(outcome.reason), alert=isinstance(outcome, Refused)
            )
            self._alarm(claim.address, account, "rests")

    def _alarm(self, address: Address, account: Account, what: str) -> None:
        if self._alarms.admit((address.channel, address.account)) is not None:
            _log.critical(
                "channel {channel}, account {account} {what}; nothing is sent for {seconds:.0f} s: {reason}",
                channel=address.channel,
                account=address.account,
                what=what,
                seconds=account.rests(self._clock.seconds()),
                reason=account.reason,
            )

    def _steady(self, at: float) -> float:
        """A time of the day on the clock that nobody sets."""
        return self._clock.seconds() + (at - self._now())


def _earliest(outcome: Retry | Refused, now: float) -> float:
    """When an account may be tried again after a reply of it was given up."""
    return outcome.at if isinstance(outcome, Retry) and outcome.at is not None else now
