"""The whole server as one Twisted service, to be run by `twistd` or embedded in any application."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from twisted.application.service import IService, MultiService
from twisted.application.strports import service as listening_service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource

from .admin import AdminSettings
from .administration import Administration
from .agents import HasThreads
from .agents.choosing import as_backend, load_agent
from .channel import Answers, Channel, able
from .errors import ConfigError, InstallError, StartError
from .http import Http
from .installing import Installing
from .logs import install_redaction
from .meter import UNCOUNTED, Meter
from .model import JSON, Address, Owner, WebhookRequest, WebhookResponse
from .observers import Observer
from .operations import Operations, as_json
from .pipeline import Pipeline
from .policy import Policy
from .spool import folder_beside
from .store import Store
from .store.opening import store_for_server
from .store.pauses import Pause
from .upkeep import checked_horizon

_log = Logger()
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
        self._pipeline: Pipeline | None = None
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
        return self._running("nothing can be sent yet").send(address, message, key)

    def set_owner(self, conversation: str, owner: Owner, until: float | None = None) -> Deferred[None]:
        """Give the conversation of that key to the bot, a human or nobody; `until` a time, or for good.

        It fires when that is durable. What a human takes over is never answered by the bot.
        """
        return self._running("no conversation has an owner yet").set_owner(conversation, owner, until)

    def not_ready(self) -> list[str]:
        """Why this service cannot take webhooks now; empty if it can."""
        if self._draining:
            return ["stopping"]
        if not self._started or self._pipeline is None:
            return ["not started"]
        return self._pipeline.troubles()

    def operations(self, actor: str) -> Operations:
        """What an operator can do, in the name of `actor`; raises `StartError` while nothing runs."""
        if not self._started or self._pipeline is None:
            raise StartError("the service does not run: nothing can be ordered now")
        spool = self._pipeline.spool
        return Operations(
            self._store,
            self._now,
            actor=actor,
            changed=self._pipeline.upkeep.look_again,
            keepers=() if spool is None else (spool,),
        )

    def pauses(self) -> list[Pause]:
        """What operators have paused, as this process knows it."""
        return self._pipeline.paused.now() if self._started and self._pipeline else []

    def accounts(self) -> list[JSON]:
        """The accounts that were sent from since the start, and how they are."""
        if not self._started or self._pipeline is None:
            return []
        return [as_json(account) for account in self._pipeline.deliveries.accounts()]

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
            self._pipeline = self._built()
        except BaseException:
            self._let_go()
            raise
        self._started = True
        self._tell_settings()
        MultiService.startService(self)
        self._pipeline.start()
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

    def _built(self) -> Pipeline:
        """Open what a pipeline works with, and join its parts."""
        backend = as_backend(_agent(self._agent_spec), self.policy)
        observers = [_observer(spec) for spec in self._observer_specs]
        self._store = self._opened_store()
        self._http = self._given_http or Http(self.reactor, max_per_host=self.policy.max_sends)
        self._backend = backend
        if isinstance(backend, HasThreads):
            backend.start(self.reactor)
        return Pipeline(
            self.channels,
            backend,
            self._store,
            self._http,
            self.policy,
            reactor=self.reactor,
            now=self._now,
            jitter=self._jitter,
            meter=self._meter,
            observers=observers,
            media=self._media,
            horizon=self._horizon,
            public_url=self._public_url,
            prefix=self._web().prefix,
        )

    def _running(self, consequence: str) -> Pipeline:
        if self._pipeline is None:
            raise StartError(f"the service was not started: {consequence}")
        return self._pipeline

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
        return store

    async def _stop(self) -> None:
        self._draining = True
        if self._site is not None:
            self._site.drain()
        await MultiService.stopService(self)
        pipeline = self._pipeline
        if not self._started or pipeline is None:
            return
        self._started = False
        pipeline.stop()
        if self._administration is not None:
            self._administration.stop()
        await self._drained(pipeline)
        await self._within(pipeline.sockets.stop(), LAST_WORDS / 2)
        if self._site is not None:
            self._site.abort()
        if isinstance(self._backend, HasThreads):
            self._backend.stop()
        await self._within(self._store.close(), LAST_WORDS)
        if self._given_http is None:
            await self._within(self._http.close(), LAST_WORDS)

    async def _drained(self, pipeline: Pipeline) -> None:
        """Let turns end and their replies go out, then give up what does not."""
        ends = self.reactor.seconds() + self.policy.drain - 3.5 * LAST_WORDS
        for part in (pipeline.conversations, pipeline.deliveries):
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
        if not self._started or self._pipeline is None:
            raise InstallError("This server has not started yet.")
        return self._pipeline.installing

    def refusal(self, channel: Channel, request: WebhookRequest) -> WebhookResponse | None:
        """The answer to the handshake of a socket that is not let in; what `web` calls."""
        if self._draining or self._pipeline is None:
            return WebhookResponse(status=503, body=b"Service Unavailable")
        return self._pipeline.intake.refusal(channel, request)

    def opened(self, channel: Channel, request: WebhookRequest, name: str, wire: Any) -> Any:
        """Take a socket that was let in; what `web` calls."""
        return self._running("no socket can be opened yet").sockets.opened(channel, request, name, wire)

    def receive(self, channel: Channel, request: Any) -> Any:
        """Take in one webhook; what `web` calls."""
        answer = self._running("no webhook can be taken yet").intake.receive(channel, request)
        # Where the replies travel in the answer, its time is the agent's.
        if self._meter is not UNCOUNTED and not able(channel, Answers):
            answer.addCallback(self._answered, channel.name, self.reactor.seconds())
        return answer

    def _answered(self, response: Any, channel: str, began: float) -> Any:
        self._meter.acknowledged(channel, self.reactor.seconds() - began)
        return response


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
