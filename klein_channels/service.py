"""The whole server as one Twisted service, to be run by `twistd` or embedded in any application."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.application.service import IService, MultiService
from twisted.application.strports import service as listening_service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from .acquaintances import Acquaintances
from .admin import AdminSettings
from .administration import Administration
from .agents import HasThreads
from .agents.choosing import as_backend, load_agent
from .channel import Answers, Channel, Polls, Renews, Resolves, able
from .conversation import Conversations
from .delivery import Deliveries, Transport
from .errors import ConfigError, InstallError, StartError
from .exchanges import Exchanges
from .fetching import Fetching
from .fit import fit
from .http import Http
from .installing import Installing
from .intake import Intake, conversation_of
from .live import Screen
from .logs import install_redaction
from .meter import UNCOUNTED, Meter
from .metered import MeteredTransport
from .model import JSON, Address, AnyEvent, Context, Message, Owner, WebhookRequest, WebhookResponse
from .observers import Observer, Observers
from .operations import Operations, as_json
from .paused import Paused
from .policy import Policy
from .polling import Polling
from .renewal import Renewal
from .replies import read_reply
from .slices import Slices
from .sockets import OpenSockets
from .spool import Spool, folder_beside
from .store import Arrival, Due, Reply, StartedTurn, Store
from .store.opening import store_for_server
from .store.pauses import Pause
from .transport import HttpTransport, LiveScreen, shows_growth
from .upkeep import Upkeep, checked_horizon

_log = Logger()
WOKEN_AT_ONCE = 200
"""Conversations that are woken before the reactor looks after everything else again."""
LAST_WORDS = 1.0
"""Seconds that each of the last steps of a stop may take: giving up, the store, the connections."""


class ChannelService(MultiService):
    """Takes webhooks of `channels`, asks `agent`, and sends what it says.

    `agent` is anything that the documentation calls an agent, or its name as text. `store` is a URL
    (``sqlite:///PATH``, ``memory:``) or a `Store`. `port` is a number or an endpoint string; without
    one nothing is listened to, and `site()` or `resource()` is served by somebody else.

    Starting raises `StartError` with one line. `stopService` takes at most `policy.drain` seconds,
    whatever an agent does; what was not finished is finished by the next server on the same store.
    """

    def __init__(  # noqa: PLR0913  (each is a setting of the configuration, or a seam for tests)
        self,
        channels: Sequence[Channel],
        agent: Any,
        *,
        store: str | Store = "sqlite:///klein-channels.db",
        port: int | str | None = None,
        prefix: str = "/app",
        public_url: str = "",
        observers: Sequence[Observer | str] = (),
        policy: Policy | None = None,
        trusted_proxies: Sequence[str] = (),
        reactor: Any = None,
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
        http: Http | None = None,
        meter: Meter = UNCOUNTED,
        admin: AdminSettings | None = None,
        media: str | None = None,
    ) -> None:
        MultiService.__init__(self)
        self.policy = policy or Policy()
        self.channels = {channel.name: channel for channel in channels}
        if len(self.channels) != len(channels):
            raise ConfigError("two channels have the same name; give each a `name` of its own")
        if not channels:
            raise ConfigError("channels: there are none")
        self._resolvers = {channel.name: channel for channel in channels if isinstance(channel, Resolves)}
        self._media = media or folder_beside(store)
        fetching = [channel.name for channel in channels if channel.options.fetch_media]
        if fetching and self._media is None:
            raise ConfigError(f"channel {fetching[0]!r}: fetch_media needs a folder; name one with `media:`")
        self._horizon = checked_horizon(self.policy, channels)
        self._default = _default_channel(channels, prefix)
        self._agent_spec = agent
        self._store_spec = store
        self._port = port
        self._prefix = prefix
        self._public_url = public_url
        self._observer_specs = observers
        self._trusted_proxies = trusted_proxies
        self._given_reactor = reactor
        self._given_http = http
        self._now = now
        self._jitter = jitter
        self._administration = None if admin is None else Administration(self, admin)
        self._meter = (self._administration and self._administration.meter) or meter
        self._draining = False
        self._started = False
        self._listens = False
        self._write_trouble = ""
        self._webhooks: Any = None
        self._site: Any = None

    # -- what others use

    @property
    def reactor(self) -> Any:
        """The reactor that this service lives on."""
        if self._given_reactor is None:
            from twisted.internet import reactor

            self._given_reactor = reactor
        return self._given_reactor

    def resource(self) -> IResource:
        """The resource with all URLs of this service, to be mounted anywhere under any site."""
        return self._web().resource()  # type: ignore[no-any-return]

    def site(self) -> Any:
        """The site with all URLs and all limits of this service; always the same one."""
        if self._site is None:
            self._site = self._web().site(self.reactor, trusted_proxies=self._trusted_proxies)
        return self._site

    def admin_site(self) -> Any:
        """The site for operators; raises `ConfigError` where none is configured."""
        if self._administration is None:
            raise ConfigError("admin: is not configured, so there is no site for operators")
        return self._administration.site(self.reactor, self.policy, self._now)

    def send(self, address: Address, message: object, key: str | None = None) -> Deferred[bool]:
        """Say something that nobody asked for; False if it was said there before under the same `key`.

        `message` is anything that an agent may answer. It fires when the message is durable.
        """
        channel = self.channels.get(address.channel)
        if channel is None:
            raise ConfigError(f"no channel {address.channel!r} is configured")
        if not hasattr(self, "_deliveries"):
            raise StartError("the service was not started: nothing can be sent yet")
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
            self._deliveries.wake(conversation)
            return new

        return self._store.post(conversation, replies, key, self._now()).addCallback(posted)

    def set_owner(self, conversation: str, owner: Owner, until: float | None = None) -> Deferred[None]:
        """Give the conversation of that key to the bot, a human or nobody; `until` a time, or for good.

        It fires when that is durable. What a human takes over is never answered by the bot.
        """
        if not hasattr(self, "_deliveries"):
            raise StartError("the service was not started: no conversation has an owner yet")

        def changed(result: None) -> None:
            self._conversations.wake(conversation)
            self._deliveries.wake(conversation)

        return self._store.set_owner(conversation, owner, self._now(), until=until).addCallback(changed)

    def not_ready(self) -> list[str]:
        """Why this service cannot take webhooks now; empty if it can."""
        if self._draining:
            return ["stopping"]
        if not self._started:
            return ["not started"]
        troubles = dict.fromkeys((self._write_trouble, self._upkeep.trouble))
        reasons = [f"store: {trouble}" for trouble in troubles if trouble]
        if self._conversations.is_stuck:
            reasons.append("agent: every thread of it is stuck; restart the server")
        return reasons

    def operations(self, actor: str) -> Operations:
        """What an operator can do, in the name of `actor`; raises `StartError` while nothing runs."""
        if not self._started:
            raise StartError("the service does not run: nothing can be ordered now")
        keepers = (self._spool,) if self._spool is not None else ()
        return Operations(
            self._store, self._now, actor=actor, changed=self._upkeep.look_again, keepers=keepers
        )

    def pauses(self) -> list[Pause]:
        """What operators have paused, as this process knows it."""
        return self._paused.now() if self._started else []

    def accounts(self) -> list[JSON]:
        """The accounts that were sent from since the start, and how they are."""
        return [as_json(account) for account in self._deliveries.accounts()] if self._started else []

    # -- starting and stopping

    def privilegedStartService(self) -> None:
        """Bind the port: before privileges are dropped."""
        self._listen()
        try:
            MultiService.privilegedStartService(self)
        except CannotListenError as error:
            raise StartError(f"port {self._named(error.port)}: {error.socketError}") from None

    def startService(self) -> None:
        """Open the store, load the agent, take up what waits; raise `StartError` with one line."""
        install_redaction()
        if not self._listens:
            self.privilegedStartService()
        try:
            self._build()
        except BaseException:
            self._let_go()
            raise
        self._started = True
        self._tell_settings()
        MultiService.startService(self)
        self._installing.start()
        self._polls.start()
        self._renewal.start()
        self._upkeep.start()
        if self._administration is not None:
            self._administration.start(self.reactor)

    def stopService(self) -> Deferred[None]:
        """Stop listening, let turns and sends end, write down the rest; in `policy.drain` seconds."""
        return Deferred.fromCoroutine(self._stop())

    def _named(self, port: object) -> object:
        """The port that could not be listened to, as the configuration has it."""
        return self._port if self._administration is None else port

    def _listen(self) -> None:
        self._listens = True
        if self._administration is not None:
            endpoint = self._administration.endpoint
            if endpoint is not None:
                self._listen_to(endpoint, self.admin_site(), "admin: ")
        if self._port is not None:
            public = f"tcp:{self._port}" if str(self._port).isdigit() else str(self._port)
            self._listen_to(public, self.site(), "")

    def _listen_to(self, endpoint: str, site: Any, whose: str) -> None:
        try:
            listening: IService = listening_service(endpoint, site, reactor=self.reactor)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            port = endpoint.removeprefix("tcp:")
            raise StartError(f"{whose}port {port!r} is no number and no endpoint: {error}") from None
        listening.setServiceParent(self)

    def _build(self) -> None:
        backend = as_backend(_agent(self._agent_spec), self.policy)
        observers = [_observer(spec) for spec in self._observer_specs]
        self._store = self._opened_store()
        self._http = self._given_http or Http(self.reactor, max_per_host=self.policy.max_sends)
        self._backend = backend
        if isinstance(backend, HasThreads):
            backend.start(self.reactor)
        times: dict[str, Any] = {"clock": self.reactor, "now": self._now}
        self._spool = Spool(self._media) if self._media is not None else None
        self._fetching = Fetching(self._spool, self._http, self.policy, **times) if self._spool else None
        self._observers = Observers(observers, self.policy, prepare=self._with_files, **times)
        transport = HttpTransport(self.channels, self._http, self.policy)
        self._transport = transport
        self._sockets = OpenSockets(
            transport,
            list(self.channels.values()),
            stores=lambda *what: self._intake.take(*what),  # noqa: PLW0108  (made below)
            interrupts=lambda *what: self._conversations.interrupt(*what),  # noqa: PLW0108
            joined=self._hear_what_waits,
            left=self._lose,
            **times,
        )
        self._deliveries = Deliveries(
            self._store,
            self._metered(self._sockets if self._sockets.wanted else transport),
            self.policy,
            jitter=self._jitter,
            settled=self._settled,
            **times,
        )
        if self._meter is not UNCOUNTED:
            self._deliveries.time_waits(
                lambda key, seconds: self._meter.waited("rate_limit", Address.parse(key).channel, seconds)
            )
        self._paused = Paused(self._store, self._now)
        self._exchanges = Exchanges(self._store, let_go=self._deliveries.wake, **times)
        self._conversations = Conversations(
            self._store,
            backend,
            self.channels,
            self.policy,
            replies_committed=self._deliveries.wake,
            show_typing=self._show_typing,
            resolve=self._resolve,
            screen_of=self._screen_of,
            answer_ready=self._exchanges.turn_ended,
            may_claim=self._deliveries.would_send,
            meter=self._meter,
            instead=self._in_maintenance,
            mouth=self._sockets,
            acquaintances=Acquaintances(self._store, self._http, self.policy, now=self._now),
            **times,
        )
        self._arrived = Slices(self._follow, clock=self.reactor)
        self._intake = Intake(
            self._store,
            self.policy,
            run_steps=lambda steps: self._http.run(steps, self.policy.send_deadline),
            after_commit=self._after_commit,
            not_stored=self._not_stored,
            would_begin=self._conversations.would_begin,
            exchanges=self._exchanges,
            replies_committed=self._deliveries.wake,
            meter=self._meter,
            refuses=lambda events: self._paused.refuses(events) or self._installing.is_blind(events),
            **times,
        )
        polled = [channel for channel in self.channels.values() if isinstance(channel, Polls)]
        self._upkeep = Upkeep(
            self._store,
            self.policy,
            horizon=self._horizon,
            wake=self._wake,
            paused=self._paused,
            purge_files=self._purge_files,
            **times,
        )
        self._installing = Installing(
            self._store,
            self.channels,
            run_steps=lambda steps: self._http.run(steps, self.policy.send_deadline),
            chance=secrets.token_bytes,
            public_url=self._public_url,
            prefix=self._web().prefix,
            **times,
        )
        self._polls = Polling(self._store, self._intake, self._http, polled, clock=self.reactor)
        renewing = [channel for channel in self.channels.values() if isinstance(channel, Renews)]
        self._renewal = Renewal(self._store, self._http, renewing, **times)

    def _tell_settings(self) -> None:
        """Log what this server runs with: figures without their settings say nothing."""
        shipped = Policy()
        changed = [
            f"{name}={getattr(self.policy, name)!r}"
            for name in Policy.__struct_fields__
            if getattr(self.policy, name) != getattr(shipped, name)
        ]
        _log.info(
            "settings: channels {channels}; policy {policy}",
            channels=", ".join(self.channels),
            policy=", ".join(changed) or "as shipped",
        )

    def _opened_store(self) -> Store:
        store = self._store_spec
        if isinstance(store, str):
            store = store_for_server(store, self.policy, self.reactor.callFromThread)
        store.open(self._now())
        store.listen(self._wake)
        return store

    async def _stop(self) -> None:
        self._draining = True
        if self._site is not None:
            self._site.drain()
        await MultiService.stopService(self)
        if not self._started:
            return
        self._started = False
        self._arrived.finish()
        self._upkeep.stop()
        if self._administration is not None:
            self._administration.stop()
        self._polls.stop()
        self._renewal.stop()
        self._installing.stop()
        await self._drained()
        await self._within(self._sockets.stop(), LAST_WORDS / 2)
        if self._site is not None:
            self._site.abort()
        if isinstance(self._backend, HasThreads):
            self._backend.stop()
        await self._within(self._store.close(), LAST_WORDS)
        if self._given_http is None:
            await self._within(self._http.close(), LAST_WORDS)

    async def _drained(self) -> None:
        """Let turns end and their replies go out, then give up what does not."""
        ends = self.reactor.seconds() + self.policy.drain - 3.5 * LAST_WORDS
        for part in (self._conversations, self._deliveries):
            await self._within(part.stop(), max(ends - self.reactor.seconds(), 0.0))
            part.give_up()
            await self._within(part.stop(), LAST_WORDS / 2)

    def _within(self, work: Deferred[Any], seconds: float) -> Deferred[None]:
        """Fires when `work` has, or when the time is over; never fails."""
        over: Deferred[None] = Deferred()
        timer = self.reactor.callLater(seconds, over.callback, None)

        def ended(result: Any) -> None:
            if isinstance(result, Failure):
                _log.failure("while stopping", result)
            if timer.active():
                timer.cancel()
                over.callback(None)

        work.addBoth(ended)
        return over

    def _let_go(self) -> None:
        """A start that failed half-way leaves nothing behind."""
        for name, release in (("_backend", "stop"), ("_store", "close")):
            part = getattr(self, name, None)
            if part is not None and hasattr(part, release):
                getattr(part, release)()
        for child in list(self):
            # A port that is bound listens, though its service does not run yet.
            child.stopService()

    # -- what connects the parts

    def _after_commit(self, arrivals: Sequence[Arrival]) -> None:
        self._write_trouble = ""
        self._arrived.take(arrivals)

    def _follow(self, arrival: Arrival) -> None:
        """What is durable is shown to observers, and begins its turn."""
        key = arrival.conversation
        self._observers.tell(key, arrival.event)
        self._installing.saw(arrival.event)
        if arrival.turn:
            self._show_seen(arrival)
            self._conversations.wake(key)
        if arrival.owner is not None:
            self._conversations.wake(key)
            self._deliveries.wake(key)

    def _settled(self, key: str) -> None:
        """A reply less waits there: a turn may have waited for that."""
        self._conversations.wake_if_held_up(key)

    def _hear_what_waits(self, key: str) -> None:
        """Somebody is there again who was away."""
        hastened = self._store.hold_socket(key).addCallback(lambda _: self._store.hasten(key, self._now()))
        hastened.addCallback(lambda _: self._deliveries.wake(key))
        hastened.addErrback(
            lambda f: _log.info("what waits for a socket: {error}", error=f.getErrorMessage())
        )

    def _lose(self, key: str) -> None:
        """Nobody is there any more, unless at another server."""
        dropped = self._store.drop_socket(key)
        dropped.addErrback(lambda f: _log.info("a socket that is gone: {error}", error=f.getErrorMessage()))

    def _show_typing(self, key: str, started: StartedTurn, on: bool) -> None:
        context = msgspec.structs.replace(started.context, last_event=started.turn.event.id)
        self._deliveries.show_typing(key, started.address, on, context)

    def _show_seen(self, arrival: Arrival) -> None:
        address = arrival.event.address
        if not self.channels[address.channel].options.mark_seen or not self._deliveries.signs.spares(address):
            return
        seen = self._transport.show_seen(address, Context(last_event=arrival.event.id))
        seen.addErrback(lambda f: _log.info("mark_seen: {error}", error=f.getErrorMessage()))

    def _with_files(self, event: AnyEvent) -> Deferred[AnyEvent]:
        channel = self.channels.get(event.address.channel)
        if self._fetching is None or channel is None or event.observe_only:
            return succeed(event)
        return self._fetching.fetched(channel, event)

    def _resolve(self, channel: Channel, event: AnyEvent) -> Deferred[AnyEvent]:
        resolver = self._resolvers.get(channel.name)
        if resolver is None:
            return self._with_files(event)
        resolved = self._http.run(resolver.resolve(event), self.policy.resolve_deadline)
        return resolved.addCallback(self._with_files)

    def _purge_files(self) -> None:
        if self._spool is not None:
            self._spool.purge(self._now() - self.policy.media_retention)

    def _in_maintenance(self, started: StartedTurn, channel: Channel) -> Deferred[bool] | None:
        pause = self._paused.maintenance(started)
        if pause is None:
            return None
        return self._paused.say(pause, started, by_answer=able(channel, Answers))

    def _screen_of(self, channel: Channel) -> Screen | None:
        if not shows_growth(channel):
            return None
        screen = LiveScreen(channel, self._http, self.policy, allowed=self._store.is_alive)
        return self._deliveries.signs.screen(screen)

    def _wake(self, due: Due) -> None:
        for conversation, event in due.answers:
            self._exchanges.turn_ended(conversation, event)
        self._wake_some(due.turns, due.replies)

    def _wake_some(self, turns: Sequence[str], replies: Sequence[str]) -> None:
        """Wake them a few at a time: what the first ones say must not wait until the last have begun."""
        for key in turns[:WOKEN_AT_ONCE]:
            self._conversations.wake(key)
        for key in replies[:WOKEN_AT_ONCE]:
            self._deliveries.wake(key)
        rest = turns[WOKEN_AT_ONCE:], replies[WOKEN_AT_ONCE:]
        if any(rest) and not self._draining:
            self.reactor.callLater(0, self._wake_some, *rest)

    def _not_stored(self, reason: str) -> None:
        self._write_trouble = reason

    def _web(self) -> Any:
        if self._webhooks is None:
            # Klein installs a reactor when it is imported: not before one was chosen.
            from .web import InstallPages, Webhooks

            self._webhooks = Webhooks(
                self,
                list(self.channels.values()),
                now=self._now,
                default=self._default,
                prefix=self._prefix,
                public_url=self._public_url,
                policy=self.policy,
                ready=self.not_ready,
                meter=self._meter,
                paused=lambda: [f"{pause.place} {pause.mode}" for pause in self.pauses()],
            )
            self._webhooks.take_sockets(self, self.reactor)
            pages = InstallPages(self._joining, self._webhooks.prefix)
            pages.add_to(self._webhooks, self.channels.values())
        return self._webhooks

    def _joining(self) -> Installing:
        if not self._started:
            raise InstallError("This server has not started yet.")
        return self._installing

    def refusal(self, channel: Channel, request: WebhookRequest) -> WebhookResponse | None:
        """The answer to the handshake of a socket that is not let in; what `web` calls."""
        if self._draining or not self._started:
            return WebhookResponse(status=503, body=b"Service Unavailable")
        return self._intake.refusal(channel, request)

    def opened(self, channel: Channel, request: WebhookRequest, name: str, wire: Any) -> Any:
        """Take a socket that was let in; what `web` calls."""
        return self._sockets.opened(channel, request, name, wire)

    def receive(self, channel: Channel, request: Any) -> Any:
        """Take in one webhook; what `web` calls."""
        answer = self._intake.receive(channel, request)
        # Where the replies travel in the answer, its time is the agent's.
        if self._meter is not UNCOUNTED and not able(channel, Answers):
            answer.addCallback(self._answered, channel.name, self.reactor.seconds())
        return answer

    def _answered(self, response: Any, channel: str, began: float) -> Any:
        self._meter.acknowledged(channel, self.reactor.seconds() - began)
        return response

    def _metered(self, transport: Transport) -> Transport:
        if self._meter is UNCOUNTED:
            return transport
        return MeteredTransport(transport, self._meter, self.reactor.seconds)


def _agent(spec: Any) -> Any:
    return load_agent(spec) if isinstance(spec, str) else spec


def _observer(spec: Observer | str) -> Observer:
    try:
        found: Any = _agent(spec)
    except StartError as error:
        raise StartError(f"observers: {str(error).removeprefix('agent: ')}") from None
    if not callable(found):
        raise StartError(f"observers: {spec!r} is no function")
    observer: Observer = found
    return observer


def _default_channel(channels: Sequence[Channel], prefix: str) -> str | None:
    """The channel behind ``<prefix>/webhook``: the lone one, or the one that says so."""
    marked = [channel.name for channel in channels if channel.options.default]
    if len(marked) > 1:
        raise ConfigError(f"channels {', '.join(marked)}: only one may have `default: true`")
    if marked or len(channels) == 1:
        return marked[0] if marked else channels[0].name
    names = ", ".join(channel.name for channel in channels)
    raise ConfigError(
        f"channels {names}: {prefix}/webhook would lead nowhere; mark one of them `default: true`"
    )
