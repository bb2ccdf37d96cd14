"""
Texts that are seen while they grow: shown at the platform's pace, never stored, never retried.

What is shown on the way is a courtesy. The final text is an ordinary row of the outbox, which takes
the place of what was shown; so whatever fails here, it arrives whole.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .channel import Capabilities
from .errors import StoreError
from .fit import fit
from .model import Address, AnyPart, Message, Outcome, Outgoing, Retry, Sent, Text, UnknownOutcome
from .store import Claim, Store

_log = Logger()


class Screen(Protocol):
    """Shows a growing text on a platform."""

    def open(self, outgoing: Outgoing) -> Deferred[Outcome]:
        """Show it for the first time; `Sent` names what was made."""

    def extend(self, outgoing: Outgoing, name: str, piece: str) -> Deferred[Outcome]:
        """Show all of it, `piece` being what is new."""


STILL_SEEN = 0.7
"""The part of a platform's time after which a growing text is shown again, so that it does not vanish."""


class Growing(Protocol):
    """One text of one turn on its way."""

    @property
    def seen(self) -> str:
        """What of it was shown."""

    def feed(self, text: str) -> None:
        """The text is `text` now."""

    def stop(self) -> None:
        """Show nothing more."""

    async def settled(self) -> None:
        """Show nothing more, and wait for what is under way: the final text must come after it."""


class Mouth(Protocol):
    """Says a text that grows as it grows: what was said stays said."""

    def name(self, address: Address) -> str | None:
        """What the text will be called there; None where nobody would hear it."""

    def utter(self, outgoing: Outgoing) -> None:
        """Say, at once, what was not yet said of it."""


class SpokenText:
    """One text of one turn that is said while it grows, without pace and without waiting."""

    def __init__(self, claim: Claim, mouth: Mouth, now: Callable[[], float]) -> None:
        self._claim = claim
        self._mouth = mouth
        self._now = now
        self._over = False
        self.seen = ""
        """What of it was said."""

    def feed(self, text: str) -> None:
        """Say what is new in `text`."""
        if not self._over:
            self.seen = text
            part = Text(text=text, format="markdown")
            self._mouth.utter(outgoing_of(self._claim, part, self._now(), partial=True))

    def stop(self) -> None:
        """Say nothing more."""
        self._over = True

    async def settled(self) -> None:
        """Say nothing more; nothing is ever under way."""
        self._over = True


def outgoing_of(claim: Claim, part: AnyPart, now: float, *, partial: bool = False) -> Outgoing:
    """What is sent of a row that grows."""
    return Outgoing(
        id=claim.id,
        address=claim.address,
        part=part,
        context=claim.context,
        cause=claim.cause,
        now=now,
        partial=partial,
    )


class GrowingText:
    """One text of one turn on its way; `claim` is the row that its final form will have."""

    def __init__(
        self,
        claim: Claim,
        screen: Screen,
        store: Store,
        capabilities: Capabilities,
        *,
        interval: float,
        clock: IReactorTime,
        now: Callable[[], float],
    ) -> None:
        self._claim = claim
        self._screen = screen
        self._store = store
        self._capabilities = capabilities
        self._interval = interval
        self._clock = clock
        self._now = now
        self._name = claim.replaces
        self._text = ""
        self._shown = ""
        self._not_before = clock.seconds()
        self._timer: IDelayedCall | None = None
        self._again: IDelayedCall | None = None
        self._call: Deferred[None] | None = None
        self._fades = False
        self._over = False

    @property
    def seen(self) -> str:
        """The text that is on the screen; empty if there is none, or nobody knows."""
        return self._shown if self._name is not None else ""

    def feed(self, text: str) -> None:
        """The text is `text` now."""
        self._text = text
        self._go_on()

    def stop(self) -> None:
        """Show nothing more."""
        self._over = True
        for timer in (self._timer, self._again):
            if timer is not None and timer.active():
                timer.cancel()

    async def settled(self) -> None:
        """Show nothing more, and wait for what is under way: the final text must come after it."""
        self.stop()
        if self._call is not None:
            done: Deferred[None] = Deferred()
            self._call.addBoth(lambda _: done.callback(None))
            await done

    def _go_on(self) -> None:
        waiting = self._timer is not None and self._timer.active()
        if self._over or waiting or self._call is not None or self._part() is None:
            return
        wait = self._not_before - self._clock.seconds()
        if wait > 0:
            self._timer = self._clock.callLater(wait, self._go_on)
            return
        call = self._call = Deferred.fromCoroutine(self._show())
        call.addBoth(self._showed)

    def _showed(self, result: object) -> None:
        self._call = None
        if isinstance(result, Failure) and not result.check(CancelledError):
            self._over = True
            _log.failure("a growing text is not shown any more", result)
        self._not_before = max(self._not_before, self._clock.seconds() + self._interval)
        self._keep_alive()
        self._go_on()

    def _keep_alive(self) -> None:
        """Show the same once more before the platform forgets it, if nothing new comes."""
        if self._again is not None and self._again.active():
            self._again.cancel()
        if self._capabilities.growth_lasts and not self._over:
            self._again = self._clock.callLater(
                self._capabilities.growth_lasts * STILL_SEEN, self._show_again
            )

    def _show_again(self) -> None:
        self._fades = True
        self._go_on()

    async def _show(self) -> None:
        part = self._part()
        assert part is not None, "_go_on looked"
        text, self._fades = self._text, False
        outgoing = outgoing_of(self._claim, part, self._now(), partial=True)
        if self._name is None:
            await self._opened(await self._screen.open(outgoing))
        else:
            piece = text.removeprefix(self._shown)
            self._judge(await self._screen.extend(outgoing, self._name, piece))
        self._shown = text

    async def _opened(self, outcome: Outcome) -> None:
        """Note what there is to be seen: the next server must know what it finds."""
        if isinstance(outcome, Sent) and outcome.mids:
            self._name = outcome.mids[0]
        else:
            self._over = True
        if isinstance(outcome, Sent | UnknownOutcome) and self._name is None:
            return
        try:
            await self._store.note_stream(self._claim, self._name)
        except StoreError:
            self._over = True

    def _judge(self, outcome: Outcome) -> None:
        if isinstance(outcome, Retry):
            seconds = outcome.at - self._now() if outcome.at is not None else self._interval
            self._not_before = self._clock.seconds() + max(seconds, 0.0)
        elif not isinstance(outcome, Sent | UnknownOutcome):
            self._over = True

    def _part(self) -> AnyPart | None:
        """What is to be shown: as long as the text fits into one message, all of it, unless that is seen."""
        if (self._text == self._shown and not self._fades) or not self._text.strip():
            return None
        whole = Message(parts=(Text(text=self._text, format="markdown"),))
        part, *more = fit(whole, self._capabilities)
        # What grows further stands in messages of its own, where the text is cut for good at its end.
        return None if more and self._name is not None else part
