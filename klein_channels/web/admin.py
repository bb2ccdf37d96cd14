# mypy: allow-untyped-calls
"""
The admin endpoint: what `operations` can do, as JSON over HTTP, under ``/admin/v1``.

Who asks is the doorkeeper's business. Orders go on when their client hangs up. Listings have no word
of what people wrote; what has, is asked for by name and written into the record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeVar

import msgspec
from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from .. import __version__
from ..admin import AdminSettings
from ..channel import Channel
from ..errors import ConfigError, KleinChannelsError, StoreError
from ..model import JSON, Owner, WebhookResponse
from ..operations import PAGE, Operations, as_json
from ..policy import Policy
from ..prometheus import CONTENT_TYPE, Prometheus
from ..secret import redact
from ..store.pauses import Mode, Pause, place_of
from ..store.people import Person
from ..store.selection import Selection
from .doorkeeper import Doorkeeper
from .limits import reason
from .site import Site
from .translate import frame

ROOT = "/admin/v1"
LONGEST_NAME = 64
"""Characters of what an operator calls themselves in ``X-Operator``."""
_log = Logger()
T = TypeVar("T")
Handler = Callable[[Operations, Any], Awaitable[JSON]]


class Administered(Protocol):
    """The service that is looked after."""

    @property
    def channels(self) -> Mapping[str, Channel]:
        """The channels by their names."""

    def not_ready(self) -> list[str]:
        """Why it cannot take webhooks now."""

    def operations(self, actor: str) -> Operations:
        """What can be done to it; raises `StartError` while it does not run."""

    def pauses(self) -> list[Pause]:
        """What is paused, as this process knows it."""

    def accounts(self) -> list[JSON]:
        """The accounts that were sent from, and how they are, as JSON."""


class _Order(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of an order; a key that nobody knows is refused."""


class _Place(_Order):
    channel: str
    account: str | None = None


class _Pause(_Order):
    channel: str
    mode: Mode
    account: str | None = None
    says: str | None = None
    note: str | None = None


class _SetOwner(_Order):
    conversation: str
    owner: Owner
    until: float | None = None


class _Letters(_Order):
    ids: tuple[str, ...] | None = None
    selection: Selection | None = None
    dry_run: bool = False


class _Edit(_Order):
    content: Any


class _Person(_Order):
    channel: str
    id: str


class Admin:
    """The HTTP side of the operations on one service."""

    def __init__(
        self,
        service: Administered,
        settings: AdminSettings,
        now: Callable[[], float],
        meter: Prometheus | None = None,
    ) -> None:
        self._service = service
        self._settings = settings
        self._now = now
        self._meter = meter
        self._app = Klein()
        self._routes()

    def site(self, clock: IReactorTime, policy: Policy) -> Site:
        """The site to listen with: it has the limits of every site of ours."""
        entrance = Doorkeeper(self._app.resource(), self._settings, self._now)
        return Site(entrance, clock=clock, policy=policy, now=self._now)

    # -- routes

    def _routes(self) -> None:
        get, post, put = ("GET",), ("POST",), ("PUT",)
        self._route("/status", get, self._status)
        self._route("/accounts", get, self._accounts)
        self._route("/pauses", get, self._pauses)
        self._route("/pause", post, self._pause, _Pause)
        self._route("/resume", post, self._resume, _Place)
        self._route("/conversations", get, self._conversations)
        self._route("/conversation", get, self._conversation)
        self._route("/owner", post, self._owner, _SetOwner)
        self._route("/dead-letters", get, self._letters)
        self._route("/dead-letters/<name>", get, self._letter)
        self._route("/dead-letters/<name>", put, self._edit, _Edit)
        self._route("/dead-letters/replay", post, self._replay, _Letters)
        self._route("/dead-letters/discard", post, self._discard, _Letters)
        self._route("/people/export", post, self._export, _Person)
        self._route("/people/erase", post, self._erase, _Person)
        self._route("/audit", get, self._audit)
        self._app.route("/metrics", methods=["GET"], endpoint="metrics")(self._metrics)

        @self._app.handle_errors(HTTPException)
        def refused(request: Any, failure: Any) -> bytes:
            error = failure.value
            status = 405 if isinstance(error, MethodNotAllowed) else 404
            return frame(request, _answer({"error": reason(status).decode()}, status))

        @self._app.handle_errors(Exception)
        def failed(request: Any, failure: Failure) -> bytes:
            return frame(request, self._failure(failure))

    def _route(
        self, path: str, methods: Sequence[str], handler: Handler, body: type[_Order] | None = None
    ) -> None:
        def answer(request: Any, **named: str) -> Deferred[bytes]:
            asked = _Asked(request, named, body)
            working = Deferred.fromCoroutine(self._answered(handler, asked))
            return _outliving(working).addCallback(lambda response: frame(request, response))

        endpoint = f"{methods[0]} {path}"
        self._app.route(f"{ROOT}{path}", methods=list(methods), endpoint=endpoint)(answer)

    async def _answered(self, handler: Handler, asked: _Asked) -> WebhookResponse:
        try:
            asked.read()
            return _answer(await handler(self._service.operations(asked.actor), asked))
        except Exception:
            return self._failure(Failure())

    def _failure(self, failure: Failure) -> WebhookResponse:
        error = failure.value
        if isinstance(error, _NoSuchError):
            return _answer({"error": str(error)}, 404)
        if isinstance(error, ConfigError):
            return _answer({"error": str(error)}, 400 if self._service.not_ready() == [] else 503)
        if isinstance(error, StoreError):
            return _answer({"error": str(error)}, 409)
        if not isinstance(error, CancelledError):
            _log.failure("admin: a request could not be answered", failure)
        return _answer({"error": reason(500).decode()}, 500)

    # -- what is asked

    async def _status(self, operations: Operations, asked: _Asked) -> JSON:
        reasons = self._service.not_ready()
        places = [place_of(name, None) for name in self._service.channels]
        return {
            "version": __version__,
            "ready": not reasons,
            "reasons": list(reasons),
            "channels": as_json(await operations.backlog(places)),
            "pauses": as_json(await operations.pauses()),
        }

    async def _accounts(self, operations: Operations, asked: _Asked) -> JSON:
        return {
            "channels": [
                {"channel": name, "type": channel.options.type or name}
                for name, channel in self._service.channels.items()
            ],
            "accounts": self._service.accounts(),
            "pauses": as_json(await operations.pauses()),
        }

    async def _pauses(self, operations: Operations, asked: _Asked) -> JSON:
        return {"pauses": as_json(await operations.pauses())}

    async def _conversations(self, operations: Operations, asked: _Asked) -> JSON:
        channel = self._known(asked.one("channel"))
        owner = asked.word("owner", Owner)
        page = await operations.conversations(channel, owner, asked.word("after") or "", asked.limit())
        return {"conversations": as_json(page)}

    async def _conversation(self, operations: Operations, asked: _Asked) -> JSON:
        return as_json(await operations.conversation(asked.one("key")))

    async def _letters(self, operations: Operations, asked: _Asked) -> JSON:
        which = Selection(
            kind=asked.word("kind", Literal["turn", "reply"]),
            channel=asked.word("channel"),
            reason=asked.word("reason"),
            before=asked.word("before", float),
            since=asked.word("since", float),
        )
        page = await operations.letters(which, asked.word("after"), asked.limit())
        return {"dead_letters": [_without_content(as_json(letter)) for letter in page]}

    async def _letter(self, operations: Operations, asked: _Asked) -> JSON:
        letter = await operations.letter(asked.named["name"])
        if letter is None:
            raise _NoSuchError(f"no dead letter {asked.named['name']!r}")
        return as_json(letter)

    async def _audit(self, operations: Operations, asked: _Asked) -> JSON:
        after = asked.word("after", int) or 0
        return {"deeds": as_json(await operations.deeds(after, asked.limit()))}

    # -- what is ordered

    async def _pause(self, operations: Operations, asked: _Asked) -> JSON:
        order = asked.order
        await operations.pause(self._known(order.channel), order.account, order.mode, order.says, order.note)
        return {"paused": place_of(order.channel, order.account)}

    async def _resume(self, operations: Operations, asked: _Asked) -> JSON:
        order = asked.order
        if not await operations.resume(order.channel, order.account):
            raise _NoSuchError(f"{place_of(order.channel, order.account)} is not paused")
        return {"resumed": place_of(order.channel, order.account)}

    async def _owner(self, operations: Operations, asked: _Asked) -> JSON:
        await operations.set_owner(asked.order.conversation, asked.order.owner, asked.order.until)
        return as_json(await operations.conversation(asked.order.conversation))

    async def _edit(self, operations: Operations, asked: _Asked) -> JSON:
        if not await operations.edit(asked.named["name"], asked.order.content):
            raise _NoSuchError(f"no dead letter {asked.named['name']!r}")
        return {"edited": asked.named["name"]}

    async def _replay(self, operations: Operations, asked: _Asked) -> JSON:
        return await self._redriven(operations, asked.order, "replay")

    async def _discard(self, operations: Operations, asked: _Asked) -> JSON:
        return await self._redriven(operations, asked.order, "discard")

    async def _redriven(
        self, operations: Operations, order: Any, action: Literal["replay", "discard"]
    ) -> JSON:
        if (order.ids is None) == (order.selection is None):
            raise ConfigError("name either ids or a selection ({} for all)")
        if order.dry_run:
            return {"would": as_json(await operations.dry_run(order.ids, order.selection))}
        if order.selection is not None:
            return {"done": list(await operations.redrive_all(order.selection, action))}
        done = [name for name in order.ids if await operations.redrive(name, action)]
        return {"done": list(done), "unknown": [name for name in order.ids if name not in done]}

    async def _export(self, operations: Operations, asked: _Asked) -> JSON:
        return await operations.export(self._person(asked.order))

    async def _erase(self, operations: Operations, asked: _Asked) -> JSON:
        return {"erased": await operations.erase(self._person(asked.order))}

    def _person(self, order: Any) -> Person:
        channel = self._service.channels[self._known(order.channel)]
        by_sender = channel.options.conversation == "sender"
        return Person(channel=order.channel, id=order.id, by_sender=by_sender)

    def _known(self, channel: str) -> str:
        if channel not in self._service.channels:
            names = ", ".join(self._service.channels)
            raise ConfigError(f"no channel {channel!r} is configured (there are: {names})")
        return channel

    # -- metrics

    def _metrics(self, request: Any) -> Any:
        meter = self._meter
        if meter is None:
            error = "metrics are off: `metrics: true` under admin: turns them on"
            return frame(request, _answer({"error": error}, 404))
        return _outliving(Deferred.fromCoroutine(self._measured(meter))).addCallback(
            lambda response: frame(request, response)
        )

    async def _measured(self, meter: Prometheus) -> WebhookResponse:
        ready = not self._service.not_ready()
        gauges: list[tuple[str, tuple[str, ...], float]] = []
        try:
            gauges = await self._gauges()
        except KleinChannelsError as error:
            # What is counted here is shown all the same: a store that is away is when one looks.
            ready = False
            _log.warn("metrics: the store does not tell what waits: {reason}", reason=str(error))
        return WebhookResponse(
            body=redact(meter.show(ready, gauges).decode()).encode(), content_type=CONTENT_TYPE
        )

    async def _gauges(self) -> list[tuple[str, tuple[str, ...], float]]:
        names = list(self._service.channels)
        operations = self._service.operations("metrics")
        backlogs = await operations.backlog([place_of(name, None) for name in names])
        found: list[tuple[str, tuple[str, ...], float]] = []
        for name, backlog in zip(names, backlogs, strict=True):
            age = 0.0 if backlog.oldest is None else max(self._now() - backlog.oldest, 0.0)
            found += [
                ("queue_depth", (name,), backlog.waiting_events),
                ("queue_oldest_age_seconds", (name,), age),
                ("unsent_replies", (name,), backlog.unsent_replies),
                ("dead_letters", (name, "turn"), backlog.dead_turns),
                ("dead_letters", (name, "reply"), backlog.dead_replies),
            ]
        # A channel may have several paused accounts; a page that says one thing twice is refused.
        paused = Counter((pause.place.partition(":")[0], pause.mode) for pause in self._service.pauses())
        return [*found, *(("paused", place, number) for place, number in paused.items())]


class _NoSuchError(KleinChannelsError):
    """What was asked for is not there."""


class _Asked:
    """One request: what its path, query and body say."""

    def __init__(self, request: Any, named: Mapping[str, str], body: type[_Order] | None) -> None:
        self.named = named
        self.order: Any = None
        self._body = body
        self._raw = request.content.read()
        self._query = request.args
        calls_itself = request.requestHeaders.getRawHeaders(b"x-operator", [b""])[0]
        words = calls_itself.decode("utf-8", "replace")
        name = "".join(c for c in words if c.isprintable())[:LONGEST_NAME].strip()
        host = getattr(request.getClientAddress(), "host", None) or "this machine"
        self.actor = redact(f"{name} (HTTP from {host})" if name else f"HTTP from {host}")

    def read(self) -> None:
        """Read the body; raises `ConfigError` that says what is wrong with it."""
        if self._body is None:
            return
        try:
            self.order = msgspec.json.decode(self._raw, type=self._body)
        except (msgspec.DecodeError, ValueError) as error:
            raise ConfigError(f"the body: {error}") from None

    def word(self, name: str, kind: Any = str) -> Any:
        """A word of the query, as `kind`; None if it is not there."""
        found = self._query.get(name.encode(), [])
        if not found or found == [b""]:
            return None
        try:
            return msgspec.convert(found[0].decode(), kind, strict=False)
        except (msgspec.ValidationError, ValueError) as error:
            raise ConfigError(f"{name}: {error}") from None

    def one(self, name: str) -> str:
        """A word of the query that has to be there."""
        found: str | None = self.word(name)
        if found is None:
            raise ConfigError(f"{name} is missing from the query")
        return found

    def limit(self) -> int:
        """How many are asked for, a page at most."""
        wanted: int | None = self.word("limit", int)
        return PAGE if wanted is None else max(1, min(wanted, PAGE))


def _outliving(work: Deferred[T]) -> Deferred[T]:
    """What `work` brings, for somebody who may leave: Klein cancels what it waits for, and only that."""
    gate: Deferred[T] = Deferred()

    def pass_on(result: T | Failure) -> None:
        if not gate.called:
            gate.callback(result)

    work.addBoth(pass_on)
    return gate


def _answer(value: JSON, status: int = 200) -> WebhookResponse:
    body = msgspec.json.encode(_redacted(value))
    headers = ((b"Cache-Control", b"no-store"), (b"X-Content-Type-Options", b"nosniff"))
    return WebhookResponse(status=status, body=body, content_type="application/json", headers=headers)


def _redacted(value: JSON) -> JSON:
    """`value` without the secrets in its texts, however deep."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key): _redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(item) for item in value]
    return value


def _without_content(letter: Any) -> JSON:
    return {key: item for key, item in letter.items() if key != "content"}
