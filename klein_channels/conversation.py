"""
One turn at a time in each conversation, as many conversations at once as the agent takes.

A turn starts from the store and never from a request. What an agent says is committed as rows of
the outbox as it says it; what it returns at the end shares the transaction that ends the turn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeadlineError
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from .acquaintances import Acquaintances
from .admission import queueing_of
from .agents import AgentBackend, HasThreads
from .channel import Answers, Channel, PacesEdits, Sockets, able
from .errors import AgentError, AgentTimeout, AgentUnreachable, StoreError
from .interruptions import Interrupted, Interruptions
from .lanes import Lanes
from .live import Growing, GrowingText, Mouth, Screen, SpokenText
from .logs import Throttle, presentable
from .loops import LoopGuard
from .meter import UNCOUNTED, Meter
from .model import Address, AnyEvent, Message, Text, Turn
from .policy import Policy
from .speech import Speech, TurnLost, structured_by_offer
from .store import STORE_RETRY, Claim, EndOfTurn, NotNow, StartedTurn, Store

_log = Logger()
SOON = 10.0
"""Seconds for which a time is waited for to the moment; later ones are found by the poll."""
TYPING_OVERLAP = 0.8
"""The part of its time after which a life sign is shown again."""
ShowTyping = Callable[[str, StartedTurn, bool], None]
Resolve = Callable[[Channel, AnyEvent], "Deferred[AnyEvent]"]
ScreenOf = Callable[[Channel], Screen | None]
Instead = Callable[[StartedTurn, Channel], "Deferred[bool] | None"]
"""Commits what is said in place of the agent, if anything is; fires with whether that was new."""


class RepliesCommitted(Protocol):
    """Is told of a conversation with something to send, and of the claim that was made to it."""

    def __call__(self, key: str, claim: Claim | None = None, /) -> None:
        """Send it."""


class Conversations:
    """Runs turns. `replies_committed` is called whenever a conversation has something to send.

    It is given the first reply of a turn where that was claimed: `may_claim` says whether what waits in
    a conversation would be sent at once.
    """

    def __init__(  # noqa: PLR0913  (what the service joins)
        self,
        store: Store,
        agent: AgentBackend,
        channels: Mapping[str, Channel],
        policy: Policy,
        *,
        clock: IReactorTime,
        now: Callable[[], float],
        replies_committed: RepliesCommitted,
        show_typing: ShowTyping,
        resolve: Resolve,
        screen_of: ScreenOf = lambda channel: None,
        answer_ready: Callable[[str, str], None] = lambda key, event: None,
        may_claim: Callable[[str], bool] = lambda key: False,
        meter: Meter = UNCOUNTED,
        instead: Instead = lambda started, channel: None,
        mouth: Mouth | None = None,
        acquaintances: Acquaintances | None = None,
    ) -> None:
        self._store = store
        self._agent = agent
        self._channels = channels
        self._policy = policy
        self._clock = clock
        self._now = now
        self._replies_committed = replies_committed
        self._show_typing = show_typing
        self._resolve = resolve
        self._screen_of = screen_of
        self._answer_ready = answer_ready
        self._may_claim = may_claim
        self._mouth = mouth
        self._acquaintances = acquaintances
        self._at_work: dict[str, _AtWork] = {}
        self._threads = agent if isinstance(agent, HasThreads) else None
        most = self._threads.capacity if self._threads else policy.max_turns
        self._lanes = Lanes(self._work, most, self._stumbled)
        self._queueing = {name: queueing_of(channel, policy) for name, channel in channels.items()}
        self._interruptions = Interruptions(store, clock, now)
        self._loops = LoopGuard(store, policy, now)
        self._held_up: set[str] = set()
        self._soon: dict[str, IDelayedCall] = {}
        self._meter = meter
        self._instead = instead
        if meter is not UNCOUNTED:
            self._lanes.time_waits(clock.seconds, self._waited)
        self._alarms = Throttle(now)

    def wake(self, key: str) -> None:
        """Something may wait in this conversation."""
        channel = Address.parse(key).channel
        if channel in self._channels:
            self._lanes.wake(key)
            self._interruptions.look(key)
        elif self._alarms.admit(channel) is not None:
            _log.warn("events wait for the channel {channel}, which is not configured", channel=channel)

    def would_begin(self, key: str) -> bool:
        """Whether a turn would begin in this conversation as soon as there is one."""
        return self._lanes.would_begin(key)

    def wake_if_held_up(self, key: str) -> None:
        """What held up the next turn here may be gone: a full outbox, an owner."""
        if key in self._held_up:
            self.wake(key)

    def interrupt(self, key: str, heard: str) -> tuple[str, ...]:
        """A person broke in: end the turn at work there as it is; the ids of the events that it answered.

        The agent is cancelled. What grew of its answer is stored as what was `heard`.
        """
        at_work = self._at_work.get(key)
        if at_work is None:
            return ()
        at_work.heard = heard
        at_work.speech.interrupt()
        if at_work.answer is not None:
            at_work.answer.cancel()
        return tuple(event.id for event in at_work.started.turn.events)

    @property
    def is_stuck(self) -> bool:
        """Whether no thread of the agent is left to answer anybody."""
        return self._lanes.most <= 0

    def stop(self) -> Deferred[None]:
        """Start no more turns; fires when those at work have ended. They may be cancelled by `give_up`."""
        for timer in self._soon.values():
            timer.cancel()
        self._soon.clear()
        return self._lanes.stop()

    def give_up(self) -> None:
        """Cancel the turns at work; they start again with the next server."""
        self._lanes.give_up()

    def _waited(self, key: str, seconds: float) -> None:
        self._meter.waited("agent", Address.parse(key).channel, seconds)

    def _stumbled(self, key: str, failure: Failure) -> None:
        """The store is away, or a fault of ours: what waits there is tried again soon."""
        if self._alarms.admit(failure.type) is not None:
            _log.failure("conversation {key}", failure, key=key)
        self._clock.callLater(STORE_RETRY, self.wake, key)

    async def _work(self, key: str) -> bool:
        """Run the next turn; whether there may be more."""
        self._held_up.discard(key)
        queueing = self._queueing[Address.parse(key).channel]
        started = await self._store.start_turn(
            key, self._now(), deterministic=self._agent.deterministic, queueing=queueing
        )
        if not isinstance(started, StartedTurn):
            if started is not None:
                self._wait(key, started)
            return False
        self._meter.turn_began(started.address.channel, started.turn.id)
        if started.released and self._answers(started):
            for event in started.released:
                self._answer_ready(key, event)
        await self._run(started)
        if started.turn.attempt == 1 and self._loops.too_many(key):
            await self._loops.pause(key)
        return started.more

    def _wait(self, key: str, held: NotNow) -> None:
        """Come back when what holds up the next turn is over."""
        if held.until is None:
            self._held_up.add(key)
            return
        timer = self._soon.pop(key, None)
        if timer is not None:
            timer.cancel()
        wait = held.until - self._now()
        if wait <= SOON and not self._lanes.stopped:
            self._soon[key] = self._clock.callLater(max(wait, 0.0), self._time_has_come, key)

    def _time_has_come(self, key: str) -> None:
        del self._soon[key]
        self.wake(key)

    async def _run(self, started: StartedTurn) -> None:
        if started.failures >= self._policy.agent_tries:
            await self._end(
                started, self._dead_letter(started, "the server ended during this turn, again and again")
            )
            return
        channel = self._channels[started.address.channel]
        said = self._instead(started, channel)
        if said is not None:
            if await said:
                self._replies_committed(started.turn.conversation)
            await self._end(started, EndOfTurn(state="done"))
            return
        grow, stream = self._grower(channel, started.address)
        speech = Speech(
            self._store,
            channel,
            started,
            self._now,
            committed=self._replies_committed,
            show_typing=lambda on: self._show_typing(started.turn.conversation, started, on),
            grow=grow,
            stream=stream,
            deterministic=self._agent.deterministic,
        )
        at_work = self._at_work[started.turn.conversation] = _AtWork(started, speech)
        answering = self._answered(at_work, channel, speech)
        if self._queueing[channel.name].double_texting == "interrupt":
            answering = self._interruptions.until_interrupted(started.turn, speech, answering)
        try:
            end = await answering
        except Interrupted:
            await self._break_off(started, speech)
        except TurnLost:
            _log.warn("turn {turn} is no longer ours", turn=started.turn.id)
        except StoreError as error:
            # Nobody can write the end down now; what the agent said is not lost, it is said again.
            await self._end(started, EndOfTurn(state="retry", due_at=self._now(), error=str(error)))
        except CancelledError:
            await self._end(started, EndOfTurn(state="retry", due_at=self._now(), error="the server stopped"))
            raise
        else:
            await self._end(started, end)
        finally:
            del self._at_work[started.turn.conversation]
        await self._thread_back(started.turn)

    async def _break_off(self, started: StartedTurn, speech: Speech) -> None:
        """Leave what is seen of a turn that is about to be superseded; the start of the next one ends it."""
        turn = started.turn
        self._meter.turn_ended(started.address.channel, turn.id, "superseded")
        try:
            await speech.break_off()
        except StoreError as error:
            _log.error("what is seen of turn {turn} cannot be noted: {error}", turn=turn.id, error=error)
        self._lanes.wake(turn.conversation)

    def _grower(
        self, channel: Channel, address: Address
    ) -> tuple[Callable[[Claim], Growing] | None, str | None]:
        """What shows texts as they grow, where the platform can, and what they will be called."""
        mouth = self._mouth
        if mouth is not None and able(channel, Sockets):
            name = mouth.name(address)
            return (lambda claim: SpokenText(claim, mouth, self._now)) if name else None, name
        screen = self._screen_of(channel)
        if screen is None:
            return None, None
        times: dict[str, Any] = {"clock": self._clock, "now": self._now}

        def grow(claim: Claim) -> GrowingText:
            interval = channel.capabilities.edit_interval
            if isinstance(channel, PacesEdits):
                interval = channel.edit_interval(claim.address)
            return GrowingText(claim, screen, self._store, channel.capabilities, interval=interval, **times)

        return grow, None

    async def _answered(self, at_work: _AtWork, channel: Channel, speech: Speech) -> EndOfTurn:
        """Ask the agent; how the turn ends."""
        started = at_work.started
        typing = self._start_typing(started, speech)
        try:
            turn = await self._prepared(started, channel)
            if at_work.heard is not None:
                return speech.cut_off(at_work.heard)
            at_work.answer = self._fenced(self._agent.answer(turn, speech.say))
            answer = await at_work.answer
            if at_work.heard is not None:
                return speech.cut_off(at_work.heard)
            return await speech.end(answer)
        except TurnLost:
            if at_work.heard is None:
                raise
            return speech.cut_off(at_work.heard)
        except StoreError:
            raise
        except CancelledError as error:
            if self._lanes.stopped:
                raise
            if at_work.heard is not None:
                return speech.cut_off(at_work.heard)
            if speech.is_interrupted:
                raise
            return self._failed(started, error)
        except Exception as error:
            return self._failed(started, error)
        finally:
            typing()
            speech.hush()

    def _fenced(self, answer: Deferred[Any]) -> Deferred[Any]:
        """`answer` within the deadline: past it `AgentTimeout`, and what comes later is discarded."""
        answer.addErrback(_ordinary)
        if answer.called and not answer.paused:
            return answer
        gate: Deferred[Any] = Deferred(lambda _: answer.cancel())
        seconds = self._policy.agent_deadline

        def expire() -> None:
            gate.errback(AgentTimeout(f"the agent did not end within {seconds:g} s"))
            answer.cancel()

        timer = self._clock.callLater(seconds, expire)

        def ended(result: Any) -> None:
            if timer.active():
                timer.cancel()
            if not gate.called:
                gate.callback(result)

        answer.addBoth(ended)
        return gate

    async def _prepared(self, started: StartedTurn, channel: Channel) -> Turn:
        events = started.turn.events
        if len(events) == 1:
            return structured_by_offer(
                started, channel, (await self._looked_up(channel, events[0], started),)
            )
        looking = [Deferred.fromCoroutine(self._looked_up(channel, event, started)) for event in events]
        return structured_by_offer(started, channel, tuple([await found for found in looking]))

    async def _looked_up(self, channel: Channel, event: AnyEvent, started: StartedTurn) -> AnyEvent:
        try:
            looked_up = await self._resolve(channel, event)
        except CancelledError:
            raise
        except Exception:
            # What the platform could have told is an extra: the turn goes on without it.
            _log.failure("event {id} could not be looked up", id=event.id)
            looked_up = event
        if self._acquaintances is None:
            return looked_up
        return await self._acquaintances.introduced(channel, looked_up, started)

    def _failed(self, started: StartedTurn, error: Exception) -> EndOfTurn:
        """What follows when an agent did not answer: again, later, or a dead letter with an apology."""
        now, policy = self._now(), self._policy
        reason = _reason(error)
        if isinstance(error, AgentTimeout):
            return self._dead_letter(started, reason)
        if isinstance(error, AgentUnreachable):
            since = now if started.first_failure is None else started.first_failure
            again = now - since < policy.agent_unreachable_patience
            wait = min(2.0 ** min(started.turn.attempt, 6), 60.0)
        else:
            _log.failure("the agent raised in turn {turn}", turn=started.turn.id)
            # What an absent agent was waited for does not shorten the patience with a present one.
            since = started.first_failure if started.failures and started.first_failure is not None else now
            failures = started.failures + 1
            again = failures < policy.agent_tries and now - since < policy.agent_patience
            wait = policy.agent_patience / 2.0 ** (policy.agent_tries + 2 - failures)
        if not again:
            return self._dead_letter(started, reason)
        failed = not isinstance(error, AgentUnreachable)
        return EndOfTurn(state="retry", due_at=now + wait, error=reason, failed=failed, first_failure=since)

    def _dead_letter(self, started: StartedTurn, reason: str) -> EndOfTurn:
        speech = Speech.apology(self._store, self._channels[started.address.channel], started, self._now)
        apology = Message(parts=(Text(text=self._policy.apology),))
        replies = speech.rows(apology) if self._policy.apology else ()
        return EndOfTurn(state="dead", replies=replies, error=reason, failed=True)

    async def _end(self, started: StartedTurn, end: EndOfTurn) -> None:
        """Write the end down, however long the store is away."""
        turn = started.turn
        if self._answers(started):
            end = msgspec.structs.replace(end, answers=turn.event.id)
        elif end.replies and self._may_claim(turn.conversation):
            end = msgspec.structs.replace(end, claims=True)
        while True:
            try:
                ended = await self._store.end_turn(turn, end, self._now())
                break
            except StoreError as error:
                if self._lanes.stopped:
                    return
                _log.error("the end of turn {turn} cannot be stored: {error}", turn=turn.id, error=error)
                await deferLater(self._clock, STORE_RETRY, lambda: None)
        self._meter.turn_ended(started.address.channel, turn.id, end.state if ended else "lost")
        if end.state == "dead":
            _log.error(
                "turn {turn} of {key} is a dead letter: {reason}",
                turn=turn.id,
                key=turn.conversation,
                reason=end.error,
            )
        if ended is not None and end.replies:
            self._replies_committed(turn.conversation, ended.claim)
        if ended is not None and end.answers is not None and end.state != "retry":
            self._answer_ready(turn.conversation, end.answers)

    def _answers(self, started: StartedTurn) -> bool:
        """Whether replies travel in the answers to webhooks there."""
        return able(self._channels[started.address.channel], Answers)

    async def _thread_back(self, turn: Turn) -> None:
        """Let the conversation wait for a thread that outlived its turn, within patience."""
        if self._threads is None:
            return
        back = self._threads.still_working(turn)
        if back is None:
            return
        try:
            await back.addTimeout(self._policy.stuck_thread_patience, self._clock)
        except DeadlineError:
            replaced = self._threads.write_off(turn)
            _log.critical(
                "a thread of the agent is stuck in turn {turn} and was written off ({how})",
                turn=turn.id,
                how="replaced" if replaced else "not replaced: too many were",
            )
            if not replaced:
                self._lanes.most = max(self._lanes.most - 1, 0)

    def _start_typing(self, started: StartedTurn, speech: Speech) -> Callable[[], None]:
        """Show typing once the turn has lasted a while and nothing was said; returns the stop."""
        call: list[IDelayedCall] = []
        key = started.turn.conversation
        lasts = self._channels[started.address.channel].capabilities.typing_lasts
        every = min(self._policy.typing_every, TYPING_OVERLAP * lasts)

        def show() -> None:
            if not speech.has_spoken:
                self._show_typing(key, started, True)
                call[0] = self._clock.callLater(every, show)

        def stop() -> None:
            if call[0].active():
                call[0].cancel()

        call.append(self._clock.callLater(self._policy.typing_after, show))
        return stop


class _AtWork:
    """A turn that the agent answers; `heard` is set when a person breaks in."""

    def __init__(self, started: StartedTurn, speech: Speech) -> None:
        self.started = started
        self.speech = speech
        self.answer: Deferred[Any] | None = None
        self.heard: str | None = None


def _ordinary(failure: Failure) -> Failure:
    """What is no `Exception` (sys.exit(), a cancelled task of asyncio) ends this turn and nothing else."""
    if isinstance(failure.value, Exception):
        return failure
    return Failure(AgentError(f"the agent raised {type(failure.value).__name__}"))


def _reason(error: Exception) -> str:
    """What an agent's error says, as it may be stored and shown."""
    try:
        text = str(error)
    except Exception:
        text = "(it cannot be shown)"
    return presentable(f"{type(error).__name__}: {text}")
