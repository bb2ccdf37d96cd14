"""
The sockets that are open: each with the session of its channel, which knows what its frames mean.

What comes in goes through `intake`, as everything does. What is said as a whole comes from the outbox, and
waits there while its socket is gone; what grows is said at once and never stored. The process that holds a
socket is the one that sends to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from .channel import Channel, Fed, Session, Sockets, able
from .delivery import Transport
from .intake import conversation_of
from .logs import Throttle
from .model import Address, AnyEvent, Interrupted, Outcome, Outgoing, Refused, Retry, WebhookRequest

_log = Logger()
NOT_STORED, AWAY, REPLACED, STRANGE = 1011, 1012, 1000, 1008
"""Codes of a close: what came could not be stored; the server stops; there is a newer one; no session."""
Stores = Callable[[Channel, Sequence[AnyEvent]], "Deferred[bool]"]
Interrupts = Callable[[str, str], tuple[str, ...]]
"""Conversation and what was heard -> the ids of the events whose answer has ended by that."""


class Wire(Protocol):
    """One open socket, as it is seen from here."""

    def send(self, frame: str | bytes) -> None:
        """Send it, unless the socket is closed; one that is too slow is closed."""

    def close(self, code: int) -> None:
        """Close it behind what was sent."""


class OpenSockets:
    """All sockets of a service. `stores` takes events, `interrupts` ends the turn of a conversation.

    `joined` is told of conversations in which what is said is heard here from now on, `left` when it is
    no longer.

    It is the way out for channels that have sockets (`delivery.Transport`); for all others that is `beside`.
    """

    def __init__(
        self,
        beside: Transport,
        channels: Sequence[Channel],
        *,
        clock: IReactorTime,
        now: Callable[[], float],
        stores: Stores,
        interrupts: Interrupts,
        joined: Callable[[str], None],
        left: Callable[[str], None] = lambda conversation: None,
    ) -> None:
        self._beside = beside
        self.patience = beside.patience
        self.rates = beside.rates
        self.unknown = beside.unknown
        self.show_typing = beside.show_typing
        having = [channel for channel in channels if able(channel, Sockets)]
        self._patience = {channel.name: channel.capabilities.socket_patience for channel in having}
        self._clock = clock
        self._now = now
        self._stores = stores
        self._interrupts = interrupts
        self._joined = joined
        self._left = left
        self._began = now()
        self._open: set[OpenSocket] = set()
        self._by_address: dict[str, OpenSocket] = {}
        self._gone: dict[str, float] = {}
        self._stopped: Deferred[None] | None = None
        self.alarms = Throttle(now)

    def opened(self, channel: Channel, request: WebhookRequest, name: str, wire: Wire) -> OpenSocket:
        """A verified handshake was answered: from here on frames come."""
        assert isinstance(channel, Sockets)
        socket = OpenSocket(self, channel, channel.session(request, name), name, wire)
        self._open.add(socket)
        if self._stopped is not None:
            socket.close(AWAY)
        return socket

    def __len__(self) -> int:
        return len(self._open)

    @property
    def wanted(self) -> bool:
        """Whether there is a channel with sockets."""
        return bool(self._patience)

    def stop(self) -> Deferred[None]:
        """Close all sockets; fires when they are gone."""
        if self._stopped is None:
            self._stopped = Deferred()
            for socket in list(self._open):
                socket.close(AWAY)
            self._tell_if_empty()
        return self._stopped

    # Out: the way that delivery sends

    def send(self, outgoing: Outgoing) -> Deferred[Outcome]:
        """Say one thing over its socket, or another channel's way."""
        if outgoing.address.channel not in self._patience:
            return self._beside.send(outgoing)
        socket = self._by_address.get(str(outgoing.address))
        if socket is None:
            return succeed(self._nobody_there(outgoing.address))
        return succeed(socket.say(outgoing))

    def _nobody_there(self, address: Address) -> Outcome:
        ends = self._gone.get(str(address), self._began) + self._patience[address.channel]
        if self._now() < ends:
            # It says nothing about the account: others are there.
            return Retry(reason="no socket is open there", scope="conversation")
        return Refused(reason="the socket is gone and did not come back", expired=True)

    # Out: what grows

    def name(self, address: Address) -> str | None:
        """The socket that is open there."""
        socket = self._by_address.get(str(address))
        return socket.name if socket else None

    def utter(self, outgoing: Outgoing) -> None:
        """Say what is new of a text that grows."""
        socket = self._by_address.get(str(outgoing.address))
        if socket is not None:
            socket.say(outgoing)

    # What the sockets tell

    def found(self, socket: OpenSocket, address: Address) -> None:
        """A socket has said whose it is: the newest one there counts."""
        key = str(address)
        former = self._by_address.get(key)
        self._by_address[key] = socket
        self._gone.pop(key, None)
        if former is not None:
            former.close(REPLACED)
        self._joined(_conversation_of(socket, address))

    def closed(self, socket: OpenSocket) -> None:
        """A socket is gone."""
        self._open.discard(socket)
        address = socket.session.address
        key = str(address)
        if address is not None and self._by_address.get(key) is socket:
            del self._by_address[key]
            self._left(_conversation_of(socket, address))
            self._gone[key] = self._now()
            longest = self._patience[socket.channel.name]
            self._clock.callLater(longest, self._forget, key, self._gone[key])
        self._tell_if_empty()

    def _forget(self, key: str, since: float) -> None:
        if self._gone.get(key) == since:
            del self._gone[key]

    def _tell_if_empty(self) -> None:
        if self._stopped is not None and not self._open and not self._stopped.called:
            self._stopped.callback(None)

    def take(self, socket: OpenSocket, fed: Fed) -> None:
        """Do what a frame asks for: fall silent first, then store, then answer."""
        if fed.interrupted:
            self._fall_silent(socket, fed.events)
        for frame in fed.frames:
            socket.wire.send(frame)
        if fed.events:
            self._stores(socket.channel, fed.events).addCallback(self._stored, socket)
        if fed.close is not None:
            socket.close(fed.close)

    def _fall_silent(self, socket: OpenSocket, events: Sequence[AnyEvent]) -> None:
        for event in events:
            if isinstance(event, Interrupted):
                sender = event.sender.id if event.sender else None
                key = conversation_of(event.address, socket.channel.options, sender)
                for cause in self._interrupts(key, event.heard or ""):
                    socket.session.hush(cause)

    def _stored(self, durable: bool, socket: OpenSocket) -> None:
        """A socket has no status to answer with: what cannot be stored ends it, and its platform asks why."""
        if not durable:
            socket.close(NOT_STORED)

    # The clock of the sockets

    def later(self, at: float, function: Callable[[], None]) -> IDelayedCall:
        """Call `function` at a time of the wall clock."""
        return self._clock.callLater(max(at - self._now(), 0.0), function)

    def time(self) -> float:
        """Now."""
        return self._now()


class OpenSocket:
    """One socket: it hands frames to its session, and what that makes of them on."""

    def __init__(self, all_: OpenSockets, channel: Channel, session: Session, name: str, wire: Wire) -> None:
        self.channel = channel
        self.session = session
        self.name = name
        self.wire = wire
        self._all = all_
        self._known = False
        self._over = False
        self._timer: IDelayedCall | None = None

    def received(self, frame: str | bytes) -> None:
        """The other side said something."""
        if not self._over:
            self._happened(lambda: self.session.feed(frame, self._all.time()))

    def say(self, outgoing: Outgoing) -> Outcome:
        """Say it; what became of it."""
        if self._over:
            return Retry(reason="the socket is closing", scope="conversation")
        said = self.session.render(outgoing)
        for frame in said.frames:
            self.wire.send(frame)
        if not outgoing.partial:
            self._set_timer()
        return said.outcome

    def close(self, code: int) -> None:
        """Close it from our side."""
        if not self._over:
            self._over = True
            self._stop_timer()
            self.wire.close(code)

    def lost(self) -> None:
        """It is closed, whoever did it."""
        self._over = True
        self._stop_timer()
        self._happened(lambda: self.session.ended(self._all.time()))
        self._all.closed(self)

    def _tick(self) -> None:
        self._happened(lambda: self.session.tick(self._all.time()))

    def _happened(self, what: Callable[[], Fed]) -> None:
        try:
            fed = what()
        except Exception:
            # A fault of ours: what the other side said is lost, and it goes on talking.
            if self._all.alarms.admit(self.channel.name) is not None:
                _log.failure("channel {channel} could not read a frame", channel=self.channel.name)
            return
        address = self.session.address
        if address is not None and not self._known and not self._over:
            self._known = True
            self._all.found(self, address)
        self._all.take(self, fed)
        self._set_timer()

    def _set_timer(self) -> None:
        self._stop_timer()
        at = self.session.wake_at
        if at is not None and not self._over:
            self._timer = self._all.later(at, self._tick)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()


def _conversation_of(socket: OpenSocket, address: Address) -> str:
    return conversation_of(address, socket.channel.options, address.peer)
