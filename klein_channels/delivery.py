"""
From the outbox to the platforms: in order per conversation, each row with an outcome that is stored.

Delivery knows one thing of the world, a `Transport`. A row that waits holds up only its own
conversation; an account that the platform refuses as a whole waits as a whole, and nothing is lost.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from .backoff import Backoff
from .errors import StoreError
from .lanes import Lanes
from .logs import Throttle, presentable
from .model import Address, Outcome, Outgoing, Refused, Retry, Sent
from .policy import Policy
from .store import STORE_RETRY, Claim, NotNow, Settlement, Store
from .text import clean

_log = Logger()
Account = tuple[str, str]


class Transport(Protocol):
    """Carries one visible send to where it is seen."""

    def send(self, outgoing: Outgoing) -> Deferred[Outcome]:
        """Send it; the outcome, or a failure for a fault of ours."""

    def patience(self, address: Address) -> float | None:
        """Seconds within which a reply there makes sense; None for the policy's."""

    def show_typing(self, address: Address, on: bool) -> Deferred[None]:
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
        self._jitter = jitter
        self._settled = settled
        self._lanes = Lanes(self._work, policy.max_sends, self._stumbled)
        self._claimed: dict[str, Claim] = {}
        self._paused: dict[Account, float] = {}
        self._typing: dict[str, Deferred[None]] = {}
        self._alarms = Throttle(now)

    def wake(self, key: str, claim: Claim | None = None) -> None:
        """Something may be there to send in this conversation; `claim` was made for us already."""
        if claim is not None:
            self._claimed[key] = claim
            if self._lanes.stopped:
                self._give_back(key)
        self._lanes.wake(key)

    def would_send(self, key: str) -> bool:
        """Whether what waits in this conversation would be sent at once."""
        return self._lanes.would_begin(key) and not self._paused_until(key)

    def show_typing(self, key: str, address: Address, on: bool) -> None:
        """Show that an answer is being written, or no longer, unless one is on its way already."""
        if self._lanes.stopped or self._lanes.is_busy(key) or key in self._typing:
            return
        shown = self._transport.show_typing(address, on)
        if not shown.called:
            self._typing[key] = shown
        shown.addBoth(self._typing_done, key)

    def stop(self) -> Deferred[None]:
        """Send nothing new; fires when what is under way has its outcome stored."""
        ended = self._lanes.stop()
        for key in list(self._claimed):
            self._give_back(key)
        for typing in list(self._typing.values()):
            typing.cancel()
        return ended

    def give_up(self) -> None:
        """Cancel what is under way; the next server finds its outcome unknown."""
        self._lanes.give_up()

    def _stumbled(self, key: str, failure: Failure) -> None:
        """The store is away, or a fault of ours: the poll finds the conversation again."""
        if self._alarms.admit("work") is not None:
            _log.failure("delivery to {key}", failure, key=key)

    async def _work(self, key: str) -> bool:
        """Send what there is to send; what comes meanwhile wakes the lane again."""
        paused_until = self._paused_until(key)
        if paused_until:
            self._give_back(key)
            await self._store.postpone(key, paused_until)
            return False
        claim: Claim | NotNow | None = self._claimed.pop(key, None)
        if claim is None:
            claim = await self._store.claim_reply(key, self._now())
        while isinstance(claim, Claim):
            await self._end_typing(key)
            claim = await self._settle(claim, await self._sent(claim))
            self._settled(key)
        return False

    def _paused_until(self, key: str) -> float:
        """When the account of a conversation goes on; 0 if it need not wait."""
        address = Address.parse(key)
        until = self._paused.get((address.channel, address.account), 0.0)
        return until if until > self._now() else 0.0

    def _give_back(self, key: str) -> None:
        """Let a claim go that nobody has begun to send."""
        claim = self._claimed.pop(key, None)
        if claim is not None:
            waits = Settlement(state="waiting", due_at=self._now())
            given = self._store.settle_reply(claim, waits, self._now(), claim_next=False)
            # The next server takes it for begun, which costs its conversation a wait and is marked.
            given.addErrback(
                lambda failure: _log.failure("reply {id} was not given back", failure, id=claim.id)
            )

    async def _settle(self, claim: Claim, settlement: Settlement) -> Claim | NotNow | None:
        """Store an outcome, however long the store is away: it is known nowhere else."""
        while True:
            try:
                return await self._store.settle_reply(
                    claim, settlement, self._now(), claim_next=not self._lanes.stopped
                )
            except StoreError as error:
                if self._lanes.stopped:
                    raise
                if self._alarms.admit("settle") is not None:
                    _log.error(
                        "the outcome of reply {id} cannot be stored: {error}", id=claim.id, error=error
                    )
                await deferLater(self._clock, STORE_RETRY, lambda: None)

    async def _sent(self, claim: Claim) -> Settlement:
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
        settlement = self._settlement(claim, outcome)
        if settlement.state == "dead":
            _log.error("reply {id} is a dead letter: {reason}", id=claim.id, reason=settlement.error)
        return settlement

    def _settlement(self, claim: Claim, outcome: Outcome) -> Settlement:
        """What is stored for an outcome."""
        if isinstance(outcome, Sent):
            return Settlement(state="sent", mids=tuple(map(clean, outcome.mids)))
        now, reason = self._now(), presentable(outcome.reason)
        if isinstance(outcome, Retry):
            return self._again(claim, outcome, reason)
        if isinstance(outcome, Refused):
            return self._refused(claim, outcome, reason)
        if claim.replaces is not None:
            # Changing what is seen does no harm when it is done twice.
            return self._again(claim, Retry(reason=outcome.reason), reason)
        if claim.repeated:
            return Settlement(state="dead", error=f"its outcome is unknown, twice: {reason}")
        return Settlement(state="unknown", due_at=now + self._policy.unknown_wait, error=reason)

    def _again(self, claim: Claim, outcome: Retry, reason: str) -> Settlement:
        policy = self._policy
        patience = self._patience(claim)
        backoff = Backoff(first=policy.retry_first, longest=policy.retry_longest, patience=patience)
        due_at = backoff.next_attempt(
            claim.tries, first_at=claim.first_at, now=self._now(), retry_at=outcome.at, jitter=self._jitter()
        )
        if due_at is None:
            return Settlement(state="dead", error=f"given up after {patience:g} s: {reason}")
        if outcome.scope == "account":
            self._pause(claim.address, due_at, reason)
        return Settlement(state="waiting", due_at=due_at, error=reason)

    def _refused(self, claim: Claim, outcome: Refused, reason: str) -> Settlement:
        if outcome.scope == "message" and claim.replaces is not None:
            return Settlement(state="waiting", due_at=self._now(), error=reason, anew=True)
        if outcome.scope == "message":
            return Settlement(state="dead", error=reason)
        if outcome.scope == "conversation":
            return Settlement(state="held", due_at=claim.first_at + self._patience(claim), error=reason)
        until = self._now() + self._policy.account_probe
        self._pause(claim.address, until, reason)
        return Settlement(state="waiting", due_at=until, error=reason)

    def _patience(self, claim: Claim) -> float:
        own = self._transport.patience(claim.address)
        return self._policy.retry_patience if own is None else own

    def _pause(self, address: Address, until: float, reason: str) -> None:
        account = (address.channel, address.account)
        self._paused[account] = max(until, self._paused.get(account, 0.0))
        if self._alarms.admit(account) is not None:
            _log.critical(
                "channel {channel}, account {account}: nothing is sent until {until:.0f}: {reason}",
                channel=address.channel,
                account=address.account,
                until=until,
                reason=reason,
            )

    async def _end_typing(self, key: str) -> None:
        """A reply waits for a life sign under way, but not long: it must come after it."""
        typing = self._typing.get(key)
        if typing is not None:
            over: Deferred[None] = Deferred()
            timer = self._clock.callLater(self._policy.typing_cancel, typing.cancel)
            typing.addBoth(lambda _: over.callback(None))
            await over
            if timer.active():
                timer.cancel()

    def _typing_done(self, result: Any, key: str) -> None:
        self._typing.pop(key, None)
        if isinstance(result, Failure) and not result.check(CancelledError):
            _log.info("typing in {key}: {error}", key=key, error=result.getErrorMessage())
