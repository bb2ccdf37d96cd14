"""
What is shown beside replies: life signs, and texts while they grow.

They count against the rates of their account like replies and are worth less. So the first thing that is
left out when an account has much to send, or is slowed down, is a life sign, and the next what shows how
a text grows. Replies never are.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from .accounts import Accounts
from .live import Screen
from .model import Address, Context, Outcome, Outgoing, Retry, Sent
from .queues import AccountQueues

_log = Logger()
SPARE_FOR_SIGNS = 0.5
"""The share of its tokens that an account must have left for a life sign."""
SPARE_FOR_GROWTH = 0.25
"""The same for what shows how a text grows."""
MOST_URGENT = 10_000


class ShowsTyping(Protocol):
    """A transport, as far as life signs go."""

    def show_typing(self, address: Address, on: bool, context: Context) -> Deferred[None]:
        """Show a life sign, if the platform has one."""


class Signs:
    """Shows signs while their account can do with them; a reply waits `patience` seconds for one."""

    def __init__(
        self,
        transport: ShowsTyping,
        accounts: Accounts,
        line: AccountQueues,
        *,
        clock: IReactorTime,
        patience: float,
    ) -> None:
        self._transport = transport
        self._accounts = accounts
        self._line = line
        self._clock = clock
        self._patience = patience
        self._typing: dict[str, Deferred[None]] = {}

    def show_typing(self, key: str, address: Address, on: bool, context: Context) -> None:
        """Show that an answer is being written, or no longer, unless one is on its way already."""
        if key in self._typing or (on and not self.spares(address, SPARE_FOR_SIGNS)):
            return
        shown = self._transport.show_typing(address, on, context)
        if not shown.called:
            self._typing[key] = shown
        shown.addBoth(self._typing_done, key)

    def spares(self, address: Address, share: float = SPARE_FOR_SIGNS, *, chat: bool = False) -> bool:
        """Whether a sign may be shown there now; its token is taken. See `Account.spares`."""
        account = self._accounts.of(address)
        if self._line.waiting((address.channel, address.account)):
            return False
        rates = self._accounts.rates_of(address)
        return account.spares(address, rates, self._clock.seconds(), share, chat=chat)

    async def over(self, key: str) -> None:
        """A reply waits for a life sign under way, but not long: it must come after it."""
        typing = self._typing.get(key)
        if typing is not None:
            over: Deferred[None] = Deferred()
            timer = self._clock.callLater(self._patience, typing.cancel)
            typing.addBoth(lambda _: over.callback(None))
            await over
            if timer.active():
                timer.cancel()

    def stop(self) -> None:
        """Show nothing more."""
        for typing in list(self._typing.values()):
            typing.cancel()

    def screen(self, screen: Screen) -> Screen:
        """`screen`, at the pace that the accounts have left."""
        return _PacedScreen(screen, self, self._line.urgent)

    def _typing_done(self, result: Any, key: str) -> None:
        self._typing.pop(key, None)
        if isinstance(result, Failure) and not result.check(CancelledError):
            _log.info("typing in {key}: {error}", key=key, error=result.getErrorMessage())


class _PacedScreen:
    """A screen that shows nothing on the way where the account has no token to spare."""

    def __init__(self, screen: Screen, signs: Signs, urgent: set[str]) -> None:
        self._screen = screen
        self._signs = signs
        self._urgent = urgent

    def open(self, outgoing: Outgoing) -> Deferred[Outcome]:
        """Show it for the first time. What is not opened is shown when it is whole."""
        if not self._signs.spares(outgoing.address, SPARE_FOR_GROWTH, chat=True):
            return succeed(Retry(reason="the account has no token to spare"))
        return self._screen.open(outgoing).addCallback(self._opened, str(outgoing.address))

    def extend(self, outgoing: Outgoing, name: str, piece: str) -> Deferred[Outcome]:
        """Show all of it, or leave that to the next time."""
        if not self._signs.spares(outgoing.address, SPARE_FOR_GROWTH, chat=True):
            return succeed(Retry(reason="the account has no token to spare"))
        return self._screen.extend(outgoing, name, piece)

    def _opened(self, outcome: Outcome, chat: str) -> Outcome:
        if isinstance(outcome, Sent):
            if len(self._urgent) >= MOST_URGENT:
                self._urgent.clear()
            self._urgent.add(chat)
        return outcome
