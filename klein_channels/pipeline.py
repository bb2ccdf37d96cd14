"""
The parts of a running server, and what connects them.

None of them knows another that it need not know: they are woken by each other through the callbacks
here. What a pipeline works with (the store, the agent, the connections) belongs to the service, which
opens and closes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from .acquaintances import Acquaintances
from .agents import AgentBackend
from .channel import Answers, Channel, Polls, Renews, Resolves, able
from .conversation import Conversations
from .delivery import Deliveries, Transport
from .errors import ConfigError
from .exchanges import Exchanges
from .fetching import Fetching
from .fit import fit
from .http import Http
from .installing import Installing
from .intake import Intake, conversation_of
from .live import Screen
from .meter import UNCOUNTED, Meter
from .metered import MeteredTransport
from .model import Address, AnyEvent, Context, Message, Owner
from .observers import Observer, Observers
from .paused import Paused
from .policy import Policy
from .polling import Polling
from .renewal import Renewal
from .replies import read_reply
from .slices import Slices
from .sockets import OpenSockets
from .spool import Spool
from .store import Arrival, Due, Reply, StartedTurn, Store
from .transport import HttpTransport, LiveScreen, shows_growth
from .upkeep import Upkeep

_log = Logger()
WOKEN_AT_ONCE = 200
"""Conversations that are woken before the reactor looks after everything else again."""


class Pipeline:
    """From webhooks to turns, from turns to sends; all that has to happen beside it.

    `media` is the folder for files of people, if there is one. `horizon` is how long dedupe keys are
    kept at least, in seconds. `prefix` and `public_url` are where people find the pages for joining.
    """

    def __init__(  # noqa: PLR0913  (what the service opened, and its settings)
        self,
        channels: dict[str, Channel],
        backend: AgentBackend,
        store: Store,
        http: Http,
        policy: Policy,
        *,
        reactor: Any,
        now: Callable[[], float],
        jitter: Callable[[], float],
        meter: Meter,
        observers: Sequence[Observer],
        media: str | None,
        horizon: float,
        public_url: str,
        prefix: str,
    ) -> None:
        self._channels = channels
        self._store = store
        self._http = http
        self._policy = policy
        self._reactor = reactor
        self._now = now
        self._meter = meter
        self._resolvers = {
            name: channel for name, channel in channels.items() if isinstance(channel, Resolves)
        }
        self._write_trouble = ""
        self._stopping = False
        times: dict[str, Any] = {"clock": reactor, "now": now}
        self._join_outgoing(jitter, times)
        self._join_turns(backend, times)
        self._join_incoming(times)
        self.spool = Spool(media) if media is not None else None
        self._fetching = Fetching(self.spool, http, policy, **times) if self.spool else None
        self._observers = Observers(observers, policy, prepare=self._with_files, **times)
        self.installing = Installing(
            store,
            channels,
            run_steps=self._run_steps,
            chance=secrets.token_bytes,
            public_url=public_url,
            prefix=prefix,
            **times,
        )
        self.upkeep = Upkeep(
            store,
            policy,
            horizon=horizon,
            wake=self.wake,
            paused=self.paused,
            purge_files=self._purge_files,
            **times,
        )
        polled = [channel for channel in channels.values() if isinstance(channel, Polls)]
        self._polls = Polling(store, self.intake, http, polled, clock=reactor)
        renewing = [channel for channel in channels.values() if isinstance(channel, Renews)]
        self._renewal = Renewal(store, http, renewing, **times)

    def _join_outgoing(self, jitter: Callable[[], float], times: dict[str, Any]) -> None:
        transport = HttpTransport(self._channels, self._http, self._policy)
        self.transport = transport
        self.sockets = OpenSockets(
            transport,
            list(self._channels.values()),
            stores=lambda *what: self.intake.take(*what),  # noqa: PLW0108  (made later)
            interrupts=lambda *what: self.conversations.interrupt(*what),  # noqa: PLW0108
            joined=self._hear_what_waits,
            left=self._lose,
            **times,
        )
        self.deliveries = Deliveries(
            self._store,
            self._metered(self.sockets if self.sockets.wanted else transport),
            self._policy,
            jitter=jitter,
            settled=self._settled,
            **times,
        )
        if self._meter is not UNCOUNTED:
            self.deliveries.time_waits(
                lambda key, seconds: self._meter.waited("rate_limit", Address.parse(key).channel, seconds)
            )

    def _join_turns(self, backend: AgentBackend, times: dict[str, Any]) -> None:
        self.paused = Paused(self._store, self._now)
        self.exchanges = Exchanges(self._store, let_go=self.deliveries.wake, **times)
        self.conversations = Conversations(
            self._store,
            backend,
            self._channels,
            self._policy,
            replies_committed=self.deliveries.wake,
            show_typing=self._show_typing,
            resolve=self._resolve,
            screen_of=self._screen_of,
            answer_ready=self.exchanges.turn_ended,
            may_claim=self.deliveries.would_send,
            meter=self._meter,
            instead=self._in_maintenance,
            mouth=self.sockets,
            acquaintances=Acquaintances(self._store, self._http, self._policy, now=self._now),
            **times,
        )

    def _join_incoming(self, times: dict[str, Any]) -> None:
        self._arrived = Slices(self._follow, clock=self._reactor)
        self.intake = Intake(
            self._store,
            self._policy,
            run_steps=self._run_steps,
            after_commit=self._after_commit,
            not_stored=self.not_stored,
            would_begin=self.conversations.would_begin,
            exchanges=self.exchanges,
            replies_committed=self.deliveries.wake,
            meter=self._meter,
            refuses=lambda events: self.paused.refuses(events) or self.installing.is_blind(events),
            **times,
        )

    def start(self) -> None:
        """Take up what waits, and begin what happens beside it."""
        self._store.listen(self.wake)
        self.installing.start()
        self._polls.start()
        self._renewal.start()
        self.upkeep.start()

    def stop(self) -> None:
        """Begin nothing new; turns and sends that are at work are the business of the caller."""
        self._stopping = True
        self._arrived.finish()
        self.upkeep.stop()
        self._polls.stop()
        self._renewal.stop()
        self.installing.stop()

    def troubles(self) -> list[str]:
        """Why webhooks cannot be taken, or answered; empty if they can."""
        troubles = dict.fromkeys((self._write_trouble, self.upkeep.trouble))
        reasons = [f"store: {trouble}" for trouble in troubles if trouble]
        if self.conversations.is_stuck:
            reasons.append("agent: every thread of it is stuck; restart the server")
        return reasons

    # -- what others ask for

    def send(self, address: Address, message: object, key: str | None) -> Deferred[bool]:
        """Say something that nobody asked for: see `ChannelService.send`."""
        channel = self._channels.get(address.channel)
        if channel is None:
            raise ConfigError(f"no channel {address.channel!r} is configured")
        messages = [item for item in read_reply(message) if isinstance(item, Message)]
        parts = [(said, part) for said in messages for part in fit(said, channel.capabilities)]
        replies = [
            Reply(
                address=address,
                message=Message(parts=(part,), reply_to=said.reply_to, metadata=said.metadata),
                part=number,
            )
            for number, (said, part) in enumerate(parts)
        ]
        conversation = conversation_of(address, channel.options)

        def posted(new: bool) -> bool:
            self.deliveries.wake(conversation)
            return new

        return self._store.post(conversation, replies, key, self._now()).addCallback(posted)

    def set_owner(self, conversation: str, owner: Owner, until: float | None) -> Deferred[None]:
        """Give a conversation to the bot, a human or nobody: see `ChannelService.set_owner`."""

        def changed(result: None) -> None:
            self.conversations.wake(conversation)
            self.deliveries.wake(conversation)

        return self._store.set_owner(conversation, owner, self._now(), until=until).addCallback(changed)

    # -- what connects the parts

    def _run_steps(self, steps: Any) -> Deferred[Any]:
        return self._http.run(steps, self._policy.send_deadline)

    def not_stored(self, reason: str) -> None:
        """A webhook could not be made durable."""
        self._write_trouble = reason

    def _after_commit(self, arrivals: Sequence[Arrival]) -> None:
        self._write_trouble = ""
        self._arrived.take(arrivals)

    def _follow(self, arrival: Arrival) -> None:
        """What is durable is shown to observers, and begins its turn."""
        key = arrival.conversation
        self._observers.tell(key, arrival.event)
        self.installing.saw(arrival.event)
        if arrival.turn:
            self._show_seen(arrival)
            self.conversations.wake(key)
        if arrival.owner is not None:
            self.conversations.wake(key)
            self.deliveries.wake(key)

    def _settled(self, key: str) -> None:
        """A reply less waits there: a turn may have waited for that."""
        self.conversations.wake_if_held_up(key)

    def _hear_what_waits(self, key: str) -> None:
        """Somebody is there again who was away."""
        hastened = self._store.hold_socket(key).addCallback(lambda _: self._store.hasten(key, self._now()))
        hastened.addCallback(lambda _: self.deliveries.wake(key))
        hastened.addErrback(
            lambda f: _log.info("what waits for a socket: {error}", error=f.getErrorMessage())
        )

    def _lose(self, key: str) -> None:
        """Nobody is there any more, unless at another server."""
        dropped = self._store.drop_socket(key)
        dropped.addErrback(lambda f: _log.info("a socket that is gone: {error}", error=f.getErrorMessage()))

    def _show_typing(self, key: str, started: StartedTurn, on: bool) -> None:
        context = msgspec.structs.replace(started.context, last_event=started.turn.event.id)
        self.deliveries.show_typing(key, started.address, on, context)

    def _show_seen(self, arrival: Arrival) -> None:
        address = arrival.event.address
        if not self._channels[address.channel].options.mark_seen or not self.deliveries.signs.spares(address):
            return
        seen = self.transport.show_seen(address, Context(last_event=arrival.event.id))
        seen.addErrback(lambda f: _log.info("mark_seen: {error}", error=f.getErrorMessage()))

    def _with_files(self, event: AnyEvent) -> Deferred[AnyEvent]:
        channel = self._channels.get(event.address.channel)
        if self._fetching is None or channel is None or event.observe_only:
            return succeed(event)
        return self._fetching.fetched(channel, event)

    def _resolve(self, channel: Channel, event: AnyEvent) -> Deferred[AnyEvent]:
        resolver = self._resolvers.get(channel.name)
        if resolver is None:
            return self._with_files(event)
        resolved = self._http.run(resolver.resolve(event), self._policy.resolve_deadline)
        return resolved.addCallback(self._with_files)

    def _purge_files(self) -> None:
        if self.spool is not None:
            self.spool.purge(self._now() - self._policy.media_retention)

    def _in_maintenance(self, started: StartedTurn, channel: Channel) -> Deferred[bool] | None:
        pause = self.paused.maintenance(started)
        if pause is None:
            return None
        return self.paused.say(pause, started, by_answer=able(channel, Answers))

    def _screen_of(self, channel: Channel) -> Screen | None:
        if not shows_growth(channel):
            return None
        screen = LiveScreen(channel, self._http, self._policy, allowed=self._store.is_alive)
        return self.deliveries.signs.screen(screen)

    def wake(self, due: Due) -> None:
        """The time of these conversations has come."""
        for conversation, event in due.answers:
            self.exchanges.turn_ended(conversation, event)
        self._wake_some(due.turns, due.replies)

    def _wake_some(self, turns: Sequence[str], replies: Sequence[str]) -> None:
        """Wake them a few at a time: what the first ones say must not wait until the last have begun."""
        for key in turns[:WOKEN_AT_ONCE]:
            self.conversations.wake(key)
        for key in replies[:WOKEN_AT_ONCE]:
            self.deliveries.wake(key)
        rest = turns[WOKEN_AT_ONCE:], replies[WOKEN_AT_ONCE:]
        if any(rest) and not self._stopping:
            self._reactor.callLater(0, self._wake_some, *rest)

    def _metered(self, transport: Transport) -> Transport:
        if self._meter is UNCOUNTED:
            return transport
        return MeteredTransport(transport, self._meter, self._reactor.seconds)
