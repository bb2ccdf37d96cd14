"""What is stored of a reply for each outcome of its sending: done, again and when, or a dead letter."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from .backoff import Backoff
from .logs import presentable
from .model import Address, Outcome, Refused, Retry, Sent, UnknownOutcome
from .policy import Policy
from .store import Claim, Settlement
from .text import clean


class Terms(Protocol):
    """What a platform, or its configuration, says about replies to an address."""

    def patience(self, address: Address) -> float | None:
        """Seconds within which a reply there makes sense; None for the policy's."""

    def unknown(self, address: Address) -> str:
        """What becomes of a send there whose outcome is unknown: ``resend``, ``hold`` or ``settle``."""


class Settling:
    """Knows the patience of a service and of its platforms."""

    def __init__(
        self, terms: Terms, policy: Policy, *, now: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        self._terms = terms
        self._policy = policy
        self._now = now
        self._jitter = jitter

    def of(self, claim: Claim, outcome: Outcome) -> Settlement:
        """What is stored for an outcome."""
        if isinstance(outcome, Sent):
            return Settlement(state="sent", mids=tuple(map(clean, outcome.mids)))
        reason = presentable(outcome.reason)
        if isinstance(outcome, Retry):
            return self._again(claim, outcome, reason)
        if isinstance(outcome, Refused):
            return self._refused(claim, outcome, reason)
        if claim.replaces is not None:
            # Changing what is seen does no harm when it is done twice.
            return self._again(claim, Retry(reason=outcome.reason), reason)
        return self._unknown(claim, outcome, reason)

    def unproved(self, claim: Claim) -> Settlement | None:
        """The end of a claim whose last outcome is unknown, where it is not sent again; else None.

        Nothing proved in the meantime that it was shown: an operator decides.
        """
        if not claim.unsure or claim.replaces is not None or self._terms.unknown(claim.address) == "resend":
            return None
        return Settlement(
            state="dead", error="its outcome is unknown, and it is not sent again by itself", unsent=True
        )

    def again_at(self, claim: Claim, at: float | None) -> float | None:
        """When it is tried again, not before `at`; None when patience is at an end."""
        policy = self._policy
        backoff = Backoff(
            first=policy.retry_first, longest=policy.retry_longest, patience=self._patience(claim)
        )
        return backoff.next_attempt(
            claim.tries, first_at=claim.first_at, now=self._now(), retry_at=at, jitter=self._jitter()
        )

    def _again(self, claim: Claim, outcome: Retry, reason: str) -> Settlement:
        due_at = self.again_at(claim, outcome.at)
        if due_at is None:
            return Settlement(state="dead", error=f"given up after {self._patience(claim):g} s: {reason}")
        return Settlement(state="waiting", due_at=due_at, error=reason)

    def _refused(self, claim: Claim, outcome: Refused, reason: str) -> Settlement:
        if outcome.scope == "message" and claim.replaces is not None:
            return Settlement(state="waiting", due_at=self._now(), error=reason, anew=True)
        if outcome.scope == "message":
            return Settlement(state="expired" if outcome.expired else "dead", error=reason)
        if outcome.scope == "conversation":
            return Settlement(state="held", due_at=claim.first_at + self._patience(claim), error=reason)
        until = self._now() + self._policy.account_probe
        return Settlement(state="waiting", due_at=until, error=reason)

    def _unknown(self, claim: Claim, outcome: UnknownOutcome, reason: str) -> Settlement:
        if claim.repeated:
            return Settlement(state="dead", error=f"its outcome is unknown, twice: {reason}")
        if outcome.costs:
            return Settlement(state="dead", error=f"its outcome is unknown, and to repeat it costs: {reason}")
        settles = self._terms.unknown(claim.address) == "settle"
        wait = self._policy.settle_wait if settles else self._policy.unknown_wait
        return Settlement(state="unknown", due_at=self._now() + wait, error=reason)

    def _patience(self, claim: Claim) -> float:
        own = self._terms.patience(claim.address)
        return self._policy.retry_patience if own is None else own
