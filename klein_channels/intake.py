"""
The one door for everything that comes in: verify, parse, commit, and only then answer.

What is acknowledged is on the disk. Whoever hangs up meanwhile changes nothing: the commit goes on,
and what follows starts from the store.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from .admission import Admission
from .channel import (
    Answers,
    Channel,
    ChannelOptions,
    KnowsAccounts,
    RenewsKeys,
    Steps,
    able,
    owner_until,
)
from .errors import MalformedWebhook, StoreError, UnknownKey, VerificationError
from .exchanges import Exchanges
from .logs import Throttle
from .meter import UNCOUNTED, Meter
from .model import (
    TURN_KINDS,
    Address,
    AnyEvent,
    Echo,
    Handover,
    PersonEvent,
    Receipt,
    Received,
    Unknown,
    WebhookRequest,
    WebhookResponse,
)
from .policy import Policy
from .store import REJECTED, Arrival, Cursor, Store
from .store.queueing import is_grouped

_log = Logger()
_OK = WebhookResponse()
_BUSY = WebhookResponse(status=503, body=b"try again\n", headers=((b"retry-after", b"5"),))
_HASH_BYTES = 12
_SEND_ID = re.compile(r"[0-9a-f]{8}-\d+")
"""The id of a send, of this server's store or another's: two may serve one account."""
MADE_AT_ONCE = 25
"""Events of one webhook that are made ready for the store in one go: a millisecond or two."""
KEYS_EVERY = 60.0
"""Seconds between two fetches of a channel's signing keys."""
RunSteps = Callable[["Steps[Any]"], "Deferred[Any]"]
AfterCommit = Callable[[Sequence[Arrival]], None]


class Intake:
    """Takes verified events into the store; `after_commit` gets those that were new.

    `not_stored` is told why, when a webhook was answered 503.
    """

    def __init__(  # noqa: PLR0913  (what the service joins)
        self,
        store: Store,
        policy: Policy,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
        run_steps: RunSteps,
        after_commit: AfterCommit,
        not_stored: Callable[[str], None],
        exchanges: Exchanges | None = None,
        replies_committed: Callable[[str], None] = lambda key: None,
        meter: Meter = UNCOUNTED,
        refuses: Callable[[Sequence[AnyEvent]], bool] = lambda events: False,
        would_begin: Callable[[str], bool] = lambda key: False,
    ) -> None:
        self._store = store
        self._policy = policy
        self._clock = clock
        self._now = now
        self._run_steps = run_steps
        self._after_commit = after_commit
        self._not_stored = not_stored
        self._exchanges = exchanges
        self._replies_committed = replies_committed
        self._admission = Admission(policy)
        self._busy = Throttle(now)
        self._meter = meter
        self._refuses = refuses
        self._would_begin = would_begin
        self._refusals = Throttle(now)
        self._strangers = Throttle(now, every=3600.0)
        self._key_fetches = Throttle(now, every=KEYS_EVERY)

    def receive(self, channel: Channel, request: WebhookRequest) -> Deferred[WebhookResponse]:
        """The answer to a webhook, once what it brought is durable; never fails.

        Cancelling it gives up the answer, not the commit.
        """
        now = self._now()
        try:
            channel.verify(request, now)
        except UnknownKey as error:
            return self._with_fresh_keys(channel, request, error)
        except VerificationError as error:
            return succeed(self._refused(channel, request, error))
        return self._accept(channel, request, now)

    def refusal(self, channel: Channel, request: WebhookRequest) -> WebhookResponse | None:
        """The answer to the handshake of a socket that is not authentic; None for one that is."""
        try:
            channel.verify(request, self._now())
        except VerificationError as error:
            return self._refused(channel, request, error)
        return None

    def take(
        self, channel: Channel, events: Sequence[AnyEvent], cursor: Cursor | None = None
    ) -> Deferred[bool]:
        """Store what a poll or a socket brought; whether that is durable. Never fails.

        A poll's `cursor`, how far it has read, is moved with it.
        """
        if self._refuses(events):
            self._meter.rejected(channel.name, "paused")
            return succeed(False)
        now = self._now()
        arrivals = [self._arrival(channel, event, now) for event in events]
        commit = self._store.enqueue(arrivals, now, cursor)
        stored = self._settled(commit, arrivals, _OK)
        return stored.addCallback(lambda response: response is _OK)

    def _accept(self, channel: Channel, request: WebhookRequest, now: float) -> Deferred[WebhookResponse]:
        received = self._parsed(channel, request)
        response = received.response or _OK
        if not received.events:
            return self._joined(channel, request, received) or succeed(response)
        if self._refuses(received.events):
            self._meter.rejected(channel.name, "paused")
            return succeed(_BUSY)
        if len(received.events) > MADE_AT_ONCE:
            long = self._accept_long(channel, request, received, now)
            return Deferred.fromCoroutine(long)
        arrivals = [self._arrival(channel, event, now) for event in received.events]
        return self._store_and_answer(channel, request, response, arrivals, now)

    async def _accept_long(
        self, channel: Channel, request: WebhookRequest, received: Received, now: float
    ) -> WebhookResponse:
        """Take a webhook with many events, without keeping others from their turn meanwhile."""
        arrivals: list[Arrival] = []
        for start in range(0, len(received.events), MADE_AT_ONCE):
            events = received.events[start : start + MADE_AT_ONCE]
            arrivals += [self._arrival(channel, event, now) for event in events]
            await deferLater(self._clock, 0, lambda: None)
        response = received.response or _OK
        return await self._store_and_answer(channel, request, response, arrivals, now)

    def _store_and_answer(
        self,
        channel: Channel,
        request: WebhookRequest,
        response: WebhookResponse,
        arrivals: list[Arrival],
        now: float,
    ) -> Deferred[WebhookResponse]:
        commit = self._store.enqueue(arrivals, now)
        asked = self._asked(channel, arrivals)
        if asked is not None:
            return self._with_replies(commit, channel, request, response, arrivals, asked)
        return self._answered(commit, arrivals, response)

    def _answered(
        self, commit: Deferred[list[int | None]], arrivals: list[Arrival], response: WebhookResponse
    ) -> Deferred[WebhookResponse]:
        if commit.called:
            return self._settled(commit, arrivals, response)
        return self._shielded(commit, arrivals, response)

    def _joined(
        self, channel: Channel, request: WebhookRequest, received: Received
    ) -> Deferred[WebhookResponse] | None:
        """The answer to a request that asks again for the replies to an earlier event."""
        if received.joins is None or received.conversation is None or self._exchanges is None:
            return None
        key = conversation_of(received.conversation, channel.options)
        return self._exchanges.wait(channel, request, key, received.joins)

    def _asked(self, channel: Channel, arrivals: Sequence[Arrival]) -> Arrival | None:
        """The event whose replies travel in the answer to its webhook, if one does."""
        if self._exchanges is None or not able(channel, Answers):
            return None
        return next((arrival for arrival in reversed(arrivals) if arrival.turn), None)

    def _with_replies(
        self,
        commit: Deferred[list[int | None]],
        channel: Channel,
        request: WebhookRequest,
        response: WebhookResponse,
        arrivals: list[Arrival],
        asked: Arrival,
    ) -> Deferred[WebhookResponse]:
        """The answer that carries the replies to `asked`; who leaves before the commit waits for none."""
        waiting: list[Deferred[WebhookResponse]] = []
        left: list[bool] = []

        def wait(numbers: list[int | None]) -> list[int | None]:
            # Before anything follows from the commit: its turn may end before this returns.
            if not left and self._exchanges is not None:
                key = asked.conversation, asked.event.id
                waiting.append(self._exchanges.wait(channel, request, *key))
            return numbers

        def answered(result: WebhookResponse | Failure) -> Any:
            left.append(True)
            return waiting[0] if waiting and not isinstance(result, Failure) else result

        return self._answered(commit.addCallback(wait), arrivals, response).addBoth(answered)

    def _shielded(
        self, commit: Deferred[list[int | None]], arrivals: list[Arrival], response: WebhookResponse
    ) -> Deferred[WebhookResponse]:
        """An answer of its own: who cancels it, or waits too long for it, leaves the commit alone."""
        answer: Deferred[WebhookResponse] = Deferred()
        deadline = self._clock.callLater(self._policy.ack_deadline, answer.callback, _BUSY)

        def settle(result: WebhookResponse) -> None:
            if deadline.active():
                deadline.cancel()
            if not answer.called:
                answer.callback(result)

        def cancelled(failure: Failure) -> Failure:
            if deadline.active():
                deadline.cancel()
            return failure

        answered = self._settled(commit, arrivals, response)
        answered.addCallback(settle).addErrback(_unexpected)
        return answer.addErrback(cancelled)

    def _settled(
        self, commit: Deferred[list[int | None]], arrivals: list[Arrival], response: WebhookResponse
    ) -> Deferred[WebhookResponse]:
        return commit.addCallbacks(
            self._committed, self._not_committed, (arrivals, response), errbackArgs=(arrivals,)
        )

    def _committed(
        self, numbers: list[int | None], arrivals: list[Arrival], response: WebhookResponse
    ) -> WebhookResponse:
        new = []
        for arrival, number in zip(arrivals, numbers, strict=True):
            address = arrival.event.address
            if number is None:
                self._meter.repeated(address.channel)
                if arrival.turn:
                    self._admission.was_for_nothing(arrival.event)
            else:
                new.append(arrival)
                self._meter.received(address.channel, address.account, arrival.event.kind)
            if number == REJECTED:
                self._rejected(arrival)
        if new:
            try:
                self._after_commit(new)
            except Exception:
                # It is stored, and so it is acknowledged: what follows can start from the store as well.
                _log.failure("after a commit")
        return response

    def _rejected(self, arrival: Arrival) -> None:
        """It is stored, and will not be answered; its person may have been told so."""
        key = arrival.conversation
        self._meter.rejected(arrival.event.address.channel, "rate")
        self._admission.was_for_nothing(arrival.event)
        kept_back = self._busy.admit(key)
        if kept_back is not None:
            _log.warn(
                "conversation {key} is busy: event {id} is kept and not answered ({kept_back} more)",
                key=key,
                id=arrival.event.id,
                kept_back=kept_back,
            )
        self._replies_committed(key)

    def _not_committed(self, failure: Failure, arrivals: Sequence[Arrival]) -> WebhookResponse:
        self._not_stored(failure.getErrorMessage())
        self._meter.rejected(arrivals[0].event.address.channel if arrivals else "", "store")
        if not failure.check(StoreError):
            _log.failure("an event could not be stored", failure)
        elif (kept_back := self._refusals.admit("store")) is not None:
            _log.error(
                "answered 503: {reason} ({kept_back} more)",
                reason=failure.getErrorMessage(),
                kept_back=kept_back,
            )
        return _BUSY

    def _parsed(self, channel: Channel, request: WebhookRequest) -> Received:
        try:
            return channel.parse(request)
        except MalformedWebhook as error:
            reason = str(error)
        except Exception:
            # A fault of ours must not make the platform redeliver for ever, nor lose what it said.
            _log.failure("channel {channel} could not read an authentic webhook", channel=channel.name)
            reason = "not understood"
        self._meter.rejected(channel.name, "schema")
        status = channel.capabilities.malformed_status
        event = _malformed(channel, request, reason)
        return Received(events=(event,), response=WebhookResponse(status=status))

    def _arrival(self, channel: Channel, event: AnyEvent, now: float) -> Arrival:
        owner = event.owner if isinstance(event, Handover) else None
        turn = is_turn(event, channel.options)
        settles = self._own_row(event.metadata) if isinstance(event, Echo | Receipt) else None
        by_human = settles is None and isinstance(event, Echo) and takes_over(event, channel.options)
        key = conversation_key(event, channel.options)
        queueing = self._admission.queueing(channel)
        self._tell(channel, event)
        return Arrival(
            event=event,
            conversation=key,
            dedupe=dedupe_key(event, stable_timestamps=channel.capabilities.stable_timestamps),
            turn=turn,
            by_person=isinstance(event, PersonEvent) and not event.observe_only and not _is_bots(event),
            owner="human" if by_human else owner,
            owner_until=owner_until(channel.options, self._now()) if by_human else None,
            implied=by_human,
            settles=settles,
            mid=_mid_of(event),
            failure=_failure_of(event),
            exchange=_exchange_of(channel),
            due_at=self._paced(event, now) if turn else None,
            queueing=queueing,
            begins=turn
            and queueing.double_texting == "enqueue"
            and not is_grouped(event)
            and self._would_begin(key),
        )

    def _paced(self, event: AnyEvent, now: float) -> float | None:
        """When the turn of an event may start, by the rates of its sender and channel; None for at once."""
        due_at = self._admission.earliest(event, now)
        if due_at is not None:
            self._meter.waited("sender_rate", event.address.channel, due_at - now)
        return due_at

    def _tell(self, channel: Channel, event: AnyEvent) -> None:
        """Log what the operator wants to know of an event: all of it, or that it is a stranger's."""
        address = event.address
        if channel.options.debug_mode:
            _log.info(
                "{address}: {kind} {id}: {text}",
                address=str(address),
                kind=event.kind,
                id=event.id,
                text=event.describe(),
            )
        strange = (
            event.observe_only
            and address.account
            and isinstance(channel, KnowsAccounts)
            and not channel.knows_account(address.account)
        )
        if strange and self._strangers.admit((channel.name, address.account)) is not None:
            _log.warn(
                "channel {channel}: events of the account {account} are not answered: it is not configured",
                channel=channel.name,
                account=address.account,
            )

    def _own_row(self, metadata: str | None) -> int | None:
        """The outbox row that an echo or a receipt of ours comes from."""
        instance, _, row = (metadata or "").rpartition("-")
        return (
            int(row)
            if instance and instance == self._store.instance and row.isdecimal() and len(row) < 19
            else None
        )

    def _with_fresh_keys(
        self, channel: Channel, request: WebhookRequest, error: UnknownKey
    ) -> Deferred[WebhookResponse]:
        if not isinstance(channel, RenewsKeys) or self._key_fetches.admit(channel.name) is None:
            return succeed(self._refused(channel, request, error))

        def again(_: Any) -> WebhookResponse | Deferred[WebhookResponse]:
            now = self._now()
            try:
                channel.verify(request, now)
            except VerificationError as still:
                return self._refused(channel, request, still)
            return self._accept(channel, request, now)

        return self._run_steps(channel.keys()).addBoth(again)

    def _refused(
        self, channel: Channel, request: WebhookRequest, error: VerificationError
    ) -> WebhookResponse:
        self._meter.rejected(channel.name, "replay" if error.stale else "signature")
        kept_back = self._refusals.admit((channel.name, error.status, str(error)))
        if kept_back is not None:
            _log.warn(
                "channel {channel} refused a request with {status}: {reason} ({kept_back} more)",
                channel=channel.name,
                status=error.status,
                reason=str(error),
                kept_back=kept_back,
            )
        return WebhookResponse(status=error.status)


def _failure_of(event: AnyEvent) -> str | None:
    """Why a message of ours failed after it had been taken."""
    if not isinstance(event, Receipt) or event.status != "failed":
        return None
    return event.reason or "failed"


def _mid_of(event: AnyEvent) -> str | None:
    """What the platform calls the message of ours that an event is about."""
    if isinstance(event, Receipt):
        return event.mids[0] if event.mids else None
    return event.mid if isinstance(event, Echo) else None


def _exchange_of(channel: Channel) -> Literal["none", "open", "only"]:
    if not able(channel, Answers):
        return "none"
    return "only" if channel.capabilities.answers_only else "open"


def _unexpected(failure: Failure) -> None:
    _log.failure("after a commit", failure)


def _malformed(channel: Channel, request: WebhookRequest, reason: str) -> Unknown:
    body = request.body.decode("utf-8", "backslashreplace")
    return Unknown(
        id=hashlib.blake2b(request.body, digest_size=16).hexdigest(),
        address=Address(channel=channel.name, account="", peer=""),
        name="malformed",
        raw={"reason": reason, "body": body},
        observe_only=True,
    )


def is_turn(event: AnyEvent, options: ChannelOptions) -> bool:
    """Whether an agent answers `event`."""
    wanted = event.kind in TURN_KINDS or event.kind in options.turns
    return wanted and not event.observe_only and not _is_bots(event)


def _is_bots(event: AnyEvent) -> bool:
    """Whether another bot is behind an event: two that answer each other never end."""
    return isinstance(event, PersonEvent) and event.sender is not None and event.sender.is_bot


def takes_over(echo: Echo, options: ChannelOptions) -> bool:
    """Whether what was said beside the bot gives the conversation to a human."""
    if options.echo_takes_over == "any":
        return echo.by_human is True or not _SEND_ID.fullmatch(echo.metadata or "")
    return options.echo_takes_over == "human" and echo.by_human is True


def conversation_key(event: AnyEvent, options: ChannelOptions) -> str:
    """The conversation that an event belongs to."""
    if isinstance(event, PersonEvent):
        sender = event.sender.id if event.sender else None
    else:
        # What was said, or shown, to somebody, or who answers them: in a direct chat that is the peer.
        sender = event.address.peer if isinstance(event, Echo | Receipt | Handover) else None
    return conversation_of(event.address, options, sender)


def conversation_of(address: Address, options: ChannelOptions, sender: str | None = None) -> str:
    """The key of a conversation at `address`, by the channel's setting `conversation`."""
    if options.conversation == "sender":
        return str(msgspec.structs.replace(address, thread=sender))
    if options.conversation == "chat" and address.thread is not None:
        return str(msgspec.structs.replace(address, thread=None))
    return str(address)


def dedupe_key(event: AnyEvent, *, stable_timestamps: bool) -> bytes:
    """What two deliveries of the same event have in common.

    A hash of channel, kind and the platform's id, behind the hour of the platform's timestamp where
    redeliveries keep that (0 elsewhere): keys of one time lie together in the table.
    """
    identity = f"{event.address.channel}\0{event.kind}\0{event.id}".encode("utf-8", "surrogatepass")
    digest = hashlib.blake2b(identity, digest_size=_HASH_BYTES).digest()
    timestamp = event.timestamp if stable_timestamps and event.timestamp is not None else 0.0
    hour = min(int(timestamp // 3600), 2**32 - 1) if 3600 <= timestamp < math.inf else 0
    return hour.to_bytes(4, "big") + digest
