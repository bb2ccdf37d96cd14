"""
Lets accounts join a channel by OAuth: sends people to the platform, and keeps what they bring back.

A state is signed, bound to the browser that began by a cookie, and good once within ten minutes. Tokens
lie sealed in the store; every server on it reads them again and again, so an account that joined, left
or was renewed at one is so at all.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from .channel import Grant, Installs, Steps
from .errors import InstallError, KleinChannelsError
from .model import AnyEvent
from .sealing import Seal
from .secret import Secret
from .store import Store
from .store.grants import SealedGrant, begin_renewal, drop, first_use, grants, keep

_log = Logger()
STATE_LASTS = 600.0
"""Seconds between the way to the platform and the way back."""
LOOK_AGAIN = 30.0
"""Seconds after which what other servers on the store did is known here."""
RENEW_BEFORE = 3600.0
"""Seconds before a token expires in which it is renewed."""
RENEWAL_LASTS = 60.0
"""Seconds for which a renewal is one server's."""
RunSteps = Callable[["Steps[Any]"], "Deferred[Any]"]


class Departure(NamedTuple):
    """Where somebody is sent, and the cookie by which they are known when they come back."""

    url: str
    cookie: str


class Installing:
    """The joined accounts of all channels that are `Installs` and have what that needs.

    `public_url` and `prefix` make the address that platforms send people back to; `chance` gives as many
    random bytes as it is asked for.
    """

    def __init__(
        self,
        store: Store,
        channels: Mapping[str, Any],
        *,
        clock: IReactorTime,
        now: Callable[[], float],
        run_steps: RunSteps,
        chance: Callable[[int], bytes],
        public_url: str,
        prefix: str,
    ) -> None:
        self._store = store
        self._channels: dict[str, Installs] = {
            name: channel for name, channel in channels.items() if joins(channel)
        }
        self._clock = clock
        self._now = now
        self._run_steps = run_steps
        self._chance = chance
        self._public_url = public_url.rstrip("/")
        self._prefix = prefix
        self._loop = LoopingCall(self._look)
        self._loop.clock = clock
        self._looked = False
        self._known: list[SealedGrant] = []

    # -- joining

    def begin(self, channel: str) -> Departure:
        """Where to send somebody who wants to join `channel`; raises `InstallError`."""
        nonce = self._chance(16).hex()
        expires = int(self._now() + STATE_LASTS)
        state = f"{expires}.{nonce}.{self._sign(channel, expires, nonce)}"
        url = self._channels[channel].authorize_url(state, self._way_back(channel))
        return Departure(url, nonce)

    def finish(self, channel: str, code: str, state: str, cookie: str) -> Deferred[str]:
        """The account that `code` stands for, when its token is durable; fails with `InstallError`.

        Cancelling it changes nothing: a code is good once, so what it brought must not be lost.
        """
        shield: Deferred[str] = Deferred()

        def done(result: Any) -> None:
            if not shield.called:
                shield.callback(result)
            elif isinstance(result, Failure) and not result.check(InstallError):
                _log.failure("channel {channel}: an account could not join", result, channel=channel)

        Deferred.fromCoroutine(self._finish(channel, code, state, cookie)).addBoth(done)
        return shield

    async def _finish(self, channel: str, code: str, state: str, cookie: str) -> str:
        await self._use_state(channel, state, cookie)
        try:
            grant = await self._run_steps(
                self._channels[channel].join(code, self._way_back(channel), self._now())
            )
        except KleinChannelsError as error:
            _log.error("channel {channel}: nobody joined: {error}", channel=channel, error=error)
            raise InstallError("The platform gave no token. Please begin anew.") from None
        await self._keep(channel, grant)
        _log.info("channel {channel}: the account {account} joined", channel=channel, account=grant.account)
        return str(grant.account)

    async def _use_state(self, channel: str, state: str, cookie: str) -> None:
        """Raise `InstallError` unless a state is ours, of this browser, in time, and used once."""
        expires, _, rest = state.partition(".")
        nonce, _, signature = rest.partition(".")
        timely = expires.isascii() and expires.isdigit() and len(expires) < 12
        if not timely or not _equal(signature, self._sign(channel, int(expires), nonce)):
            raise InstallError("This way back was not made here. Please begin anew.")
        if not _equal(cookie, nonce):
            raise InstallError("Another browser began this. Please begin anew in this one.")
        if int(expires) < self._now():
            raise InstallError("This took too long. Please begin anew.")
        key = int(expires).to_bytes(8, "big")[4:] + hashlib.blake2b(state.encode(), digest_size=12).digest()
        if not await self._store.operate(lambda db: first_use(db, key, self._now())):
            raise InstallError("This was used already. Please begin anew.")

    def _sign(self, channel: str, expires: int, nonce: str) -> str:
        key = self._key(channel).reveal().encode()
        said = f"klein_channels: a state\0{channel}\0{expires}\0{nonce}"
        return hmac.new(key, said.encode("utf-8", "surrogatepass"), "sha256").hexdigest()

    def _way_back(self, channel: str) -> str:
        if not self._public_url:
            raise InstallError("This server does not know its public_url.")
        return f"{self._public_url}{self._prefix}/{channel}/installed"

    def _key(self, channel: str) -> Secret:
        key = self._channels[channel].grants_key
        assert key is not None, "others are not among the channels"
        return key

    # -- leaving

    def saw(self, event: AnyEvent) -> None:
        """Forget the token of an account that took it back."""
        channel = event.address.channel
        joined = self._channels.get(channel)
        if joined is None or not joined.ends_grant(event):
            return
        account = event.address.account
        _log.warn("channel {channel}: the account {account} left", channel=channel, account=account)
        gone = self._store.operate(lambda db: drop(db, channel, account))
        gone.addCallback(lambda _: self.refresh())
        gone.addErrback(lambda failure: _log.failure("the token of {a} is still there", failure, a=account))

    # -- what is known

    def is_blind(self, events: Iterable[AnyEvent]) -> bool:
        """Whether it is not known yet whose any of `events` are: the tokens were not read so far."""
        return not self._looked and any(event.address.channel in self._channels for event in events)

    def start(self) -> None:
        """Read what there is, and look again from time to time."""
        if self._channels:
            self._loop.start(LOOK_AGAIN).addErrback(lambda f: _log.failure("grants are not read any more", f))

    def stop(self) -> None:
        """Look no more."""
        if self._loop.running:
            self._loop.stop()

    def refresh(self) -> Deferred[None]:
        """Let every channel answer with the tokens of the store."""
        return self._store.look(grants).addCallback(self._use)

    def _look(self) -> Deferred[None]:
        looked = self.refresh().addCallback(lambda _: Deferred.fromCoroutine(self._renew_all()))
        return looked.addErrback(lambda f: _log.error("grants: {error}", error=f.getErrorMessage()))

    def _use(self, found: Sequence[SealedGrant]) -> None:
        for name, channel in self._channels.items():
            opened = (self._opened(sealed) for sealed in found if sealed.channel == name)
            channel.use_grants([grant for grant in opened if grant is not None])
        self._looked = True
        self._known = [grant for grant in found if grant.channel in self._channels]

    async def _keep(self, channel: str, grant: Grant) -> None:
        kept = SealedGrant(
            channel=channel,
            account=grant.account,
            sealed=self._seal(channel).seal(_packed(channel, grant)),
            expires_at=grant.expires_at,
        )
        await self._store.operate(lambda db: keep(db, kept, self._now()))
        await self.refresh()

    def _seal(self, channel: str) -> Seal:
        return Seal(self._key(channel), "the tokens of joined accounts")

    def _opened(self, sealed: SealedGrant) -> Grant | None:
        try:
            return _unpacked(sealed, self._seal(sealed.channel).open(sealed.sealed))
        except ValueError as error:
            _log.error(
                "channel {channel}: the token of {account} is {error}; let it join again",
                channel=sealed.channel,
                account=sealed.account,
                error=error,
            )
            return None

    # -- renewing

    async def _renew_all(self) -> None:
        soon = self._now() + RENEW_BEFORE
        for sealed in self._known:
            if sealed.expires_at is not None and sealed.expires_at < soon:
                await self._renew(sealed)

    async def _renew(self, sealed: SealedGrant) -> None:
        channel, account, now = sealed.channel, sealed.account, self._now()
        grant = self._opened(sealed)
        mine = grant is not None and await self._store.operate(
            lambda db: begin_renewal(db, channel, account, now, now + RENEWAL_LASTS)
        )
        if grant is None or not mine:
            return
        try:
            await self._keep(channel, await self._run_steps(self._channels[channel].renew(grant, now)))
        except CancelledError:
            raise
        except KleinChannelsError as error:
            _log.critical(
                "channel {channel}: the token of {account} cannot be renewed: {error}",
                channel=channel,
                account=account,
                error=error,
            )


def joins(channel: object) -> bool:
    """Whether accounts can join `channel`: it knows how, and has what that needs."""
    return isinstance(channel, Installs) and channel.grants_key is not None


def _equal(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


def _packed(channel: str, grant: Grant) -> bytes:
    renewal = grant.renewal.reveal() if grant.renewal is not None else None
    # With its place inside the seal: nobody can lay one account's token under another's name.
    return msgspec.json.encode([channel, grant.account, grant.token.reveal(), renewal])


def _unpacked(sealed: SealedGrant, packed: bytes) -> Grant:
    channel, account, token, renewal = msgspec.json.decode(packed, type=tuple[str, str, str, str | None])
    if (channel, account) != (sealed.channel, sealed.account):
        raise ValueError("sealed for another account")
    return Grant(
        account=account,
        token=Secret(token),
        renewal=Secret(renewal) if renewal is not None else None,
        expires_at=sealed.expires_at,
    )
