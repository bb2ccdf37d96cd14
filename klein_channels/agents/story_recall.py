"""
Which action comes next: looked up in what the stories say, by the last moments of a conversation.

A *moment* is a point at which something had to be decided: after a person said something, and after
each action. What counts of it is the action before, the intent, the entities, and the slots.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from ..errors import StartError
from ..model import JSON
from .story_domain import Domain
from .story_files import Checkpoint, Effect, Said, Segment, Step

LISTEN = "action_listen"
LONGEST_TEXT = 1000
"""Characters of a text that a slot keeps."""
LARGEST_VALUE = 4000
"""Bytes, as JSON, of any other value that a slot keeps."""
MAX_WALKS = 200_000
_INITIAL = -1


class Moment(msgspec.Struct, frozen=True, array_like=True):
    """What counted when something was decided; `slots` are names, features, and when they were set."""

    step: int
    previous: str
    intent: str
    entities: tuple[str, ...]
    slots: tuple[tuple[str, str, int], ...]


class State(msgspec.Struct, frozen=True, tag_field="agent", tag="stories-1", forbid_unknown_fields=True):
    """What is kept of a conversation between its turns."""

    slots: dict[str, JSON]
    set_at: dict[str, int]
    moments: tuple[Moment, ...]
    step: int
    paused: bool


class Tracker:
    """One conversation as a stories agent sees it; a custom action is given it.

    `slots` holds all slots of the domain, `latest_message` what the interpreter made of the last text.
    """

    def __init__(self, domain: Domain, max_history: int, state: State | None = None) -> None:
        self.latest_message: dict[str, JSON] = {}
        self.entities: dict[str, JSON] = {}
        self.slots: dict[str, JSON] = {}
        self.moments: tuple[Moment, ...] = ()
        self.paused = False
        self._set_at: dict[str, int] = {}
        self._step = 0
        self._domain = domain
        self._max_history = max_history
        self.reset()
        if state is not None:
            self._resume(state)

    @classmethod
    def resumed(cls, domain: Domain, max_history: int, stored: JSON) -> Tracker:
        """The conversation that `state` stored; a new one if `stored` is not of this agent's making."""
        try:
            return cls(domain, max_history, msgspec.convert(stored, State))
        except (msgspec.ValidationError, RecursionError):
            return cls(domain, max_history)

    def _resume(self, state: State) -> None:
        known = self.slots.keys()
        self.slots.update({name: _bounded(value) for name, value in state.slots.items() if name in known})
        self._set_at.update({name: step for name, step in state.set_at.items() if name in known})
        self.moments = state.moments[-self._max_history :]
        self._step = state.step
        self.paused = state.paused

    def reset(self) -> None:
        """Begin anew."""
        self.slots = {name: slot.initial_value for name, slot in self._domain.slots.items()}
        self._set_at = {}
        self.moments = ()
        self._step = 0
        self.paused = False

    def state(self) -> State:
        """What has to be kept for the next turn; no longer than slots and `max_history` allow."""
        return State(
            slots={name: self.slots[name] for name in self._set_at},
            set_at=dict(self._set_at),
            moments=self.moments,
            step=self._step,
            paused=self.paused,
        )

    def copy(self) -> Tracker:
        """The same conversation, to go another way from here."""
        return Tracker(self._domain, self._max_history, self.state())

    def get_slot(self, name: str) -> JSON:
        """The value of a slot, None if it has none."""
        return self.slots.get(name)

    def set_slot(self, name: str, value: JSON) -> None:
        """Give a slot a value; KeyError if the domain has no such slot."""
        if name not in self.slots:
            raise KeyError(name)
        self.slots[name] = _bounded(value)
        self._set_at[name] = self._step

    def hear(self, intent: str, entities: Iterable[tuple[str, JSON]], effects: Sequence[Effect] = ()) -> None:
        """A person said something: slots take the entities of their name."""
        values: dict[str, list[JSON]] = {}
        for name, value in entities:
            if name in self._domain.entities:
                values.setdefault(name, []).append(_bounded(value))
        self.entities = {name: found[-1] for name, found in values.items()}
        for name, slot in self._domain.slots.items():
            for source in slot.entities:
                if source in values:
                    self.set_slot(name, values[source] if slot.type == "list" else values[source][-1])
        self.apply(effects)
        self._push(LISTEN, intent, tuple(sorted(values)))

    def act(self, action: str, effects: Sequence[Effect] = ()) -> None:
        """An action was done."""
        self.apply(effects)
        if self.moments:
            self._push(action, self.moments[-1].intent, self.moments[-1].entities)

    def apply(self, effects: Sequence[Effect]) -> None:
        """Let events of a story happen."""
        for effect in effects:
            match effect.event:
                case "slot":
                    self.set_slot(effect.slot, effect.value)
                case "reset_slots":
                    for name in self.slots:
                        self.set_slot(name, None)
                case "restart":
                    self.reset()
                case "pause" | "resume":
                    self.paused = effect.event == "pause"

    def _push(self, previous: str, intent: str, entities: tuple[str, ...]) -> None:
        features = (
            (name, slot.feature(self.slots[name]), self._set_at.get(name, _INITIAL))
            for name, slot in self._domain.slots.items()
        )
        kept = tuple(found for found in features if found[1] or found[2] != _INITIAL)
        moment = Moment(self._step, previous, intent, entities, kept)
        self.moments = (*self.moments, moment)[-self._max_history :]
        self._step += 1

    def identity(self) -> tuple[Any, ...]:
        """Equal for conversations that cannot be told apart any more."""
        base = self.moments[0].step if self.moments else 0
        values = msgspec.json.encode(self.slots, order="deterministic")
        ages = tuple(sorted((name, max(step - base, -1)) for name, step in self._set_at.items()))
        moments = tuple(
            (m.previous, m.intent, m.entities, tuple((n, f, max(s - base, -1)) for n, f, s in m.slots))
            for m in self.moments
        )
        return (base == 0, values, ages, moments, self.paused)


def _bounded(value: JSON) -> JSON:
    if isinstance(value, str):
        return value[:LONGEST_TEXT].encode("utf-8", "replace").decode()
    try:
        return value if len(msgspec.json.encode(value)) <= LARGEST_VALUE else None
    except UnicodeEncodeError:
        return None


# ---------------------------------------------------------------------------------------------
# Recall

Window: TypeAlias = tuple[Any, ...]


class Decision(msgspec.Struct, frozen=True):
    """What the stories say comes next, with what it changes, and where they say so."""

    action: str
    effects: tuple[Effect, ...] = ()
    story: str = ""
    line: int = 0


class Recall:
    """What was done in the stories after the same last moments.

    The last `max_history` moments go first. Then shorter histories: as the stories that share them
    agree (down to two moments, so that what the bot said last still counts), or as if the conversation
    had begun there, with the slots forgotten that were set before.
    """

    def __init__(self, domain: Domain) -> None:
        self.contradictions: list[str] = []
        self._exact: dict[Window, Decision] = {}
        self._shorter: dict[Window, Decision | None] = {}
        self._initial = {name: slot.feature(slot.initial_value) for name, slot in domain.slots.items()}

    def learn(self, moments: Sequence[Moment], decision: Decision) -> None:
        """Remember what a story does after `moments`."""
        key = self._window(moments, begins=moments[0].step == 0)
        known = self._exact.setdefault(key, decision)
        if known.action != decision.action:
            self.contradictions.append(
                f"{known.action} in {known.story!r} (line {known.line}), "
                f"{decision.action} in {decision.story!r} (line {decision.line})"
            )
        elif known.effects != decision.effects:
            self._exact[key] = msgspec.structs.replace(known, effects=())
        for length in range(2, len(moments)):
            shorter = self._window(moments[-length:])
            agreed = self._shorter.setdefault(shorter, decision)
            if agreed and (agreed.action, agreed.effects) != (decision.action, decision.effects):
                self._shorter[shorter] = None

    def decide(self, moments: Sequence[Moment]) -> Decision | None:
        """What comes next, None if no story knows."""
        found = self._exact.get(self._window(moments, begins=moments[0].step == 0))
        for length in range(len(moments), 0, -1):
            if found is not None:
                break
            last = moments[-length:]
            if 1 < length < len(moments):
                found = self._shorter.get(self._window(last))
            found = found or self._exact.get(self._window(last, begins=True, forgetting=True))
        return found

    def _window(self, moments: Sequence[Moment], begins: bool = False, forgetting: bool = False) -> Window:
        since = moments[0].step if forgetting else _INITIAL
        return (begins, *(self._seen(moment, since) for moment in moments))

    def _seen(self, moment: Moment, since: int) -> Window:
        features = {**self._initial, **{name: feature for name, feature, at in moment.slots if at >= since}}
        slots = tuple(sorted(pair for pair in features.items() if pair[1]))
        return (moment.previous, moment.intent, moment.entities, slots)


def train(path: Path, segments: Sequence[Segment], domain: Domain, max_history: int) -> Recall:
    """Walk all ways through the stories of the file `path` and remember what is done where."""
    recall = Recall(domain)
    waiting = deque((segment, Tracker(domain, max_history)) for segment in segments if not segment.begins)
    seen, walked = set(), 0
    while waiting:
        segment, tracker = waiting.popleft()
        here = (id(segment), tracker.identity())
        if here in seen:
            continue
        seen.add(here)
        trackers = [tracker]
        for step in segment.steps:
            trackers = _distinct(
                each for tracker in trackers for each in _walk(recall, segment, step, tracker)
            )
            walked += len(trackers)
            if walked + len(waiting) > MAX_WALKS:
                raise StartError(f"{path}: checkpoints and ORs make more than {MAX_WALKS} ways; use fewer")
        waiting.extend(_onward(recall, segment, segments, trackers))
    return recall


def _onward(
    recall: Recall, segment: Segment, segments: Sequence[Segment], trackers: Sequence[Tracker]
) -> Iterator[tuple[Segment, Tracker]]:
    """Where the conversations at the end of a segment may go on; a story's end is the bot's silence."""
    following = [candidate for candidate in segments if _leads(segment, candidate)]
    for tracker in trackers:
        if not following and tracker.moments:
            recall.learn(tracker.moments, Decision(LISTEN, (), segment.story, segment.steps[-1].line))
        yield from ((candidate, tracker.copy()) for candidate in following if _open(candidate, tracker))


def _walk(recall: Recall, segment: Segment, step: Step, tracker: Tracker) -> Iterator[Tracker]:
    """The conversations that `tracker` may become by one step."""
    if step.said:
        if tracker.moments:
            recall.learn(tracker.moments, Decision(LISTEN, (), segment.story, step.line))
        for said in step.said:
            yield _after(tracker, said, step.effects)
        return
    # What a story does before anybody spoke cannot be recalled: a conversation begins with a person.
    if step.action and tracker.moments:
        recall.learn(tracker.moments, Decision(step.action, step.effects, segment.story, step.line))
        tracker.act(step.action, step.effects)
    else:
        tracker.apply(step.effects)
    yield tracker


def _after(tracker: Tracker, said: Said, effects: Sequence[Effect]) -> Tracker:
    following = tracker.copy()
    following.hear(said.intent, said.entities, effects)
    return following


def _distinct(trackers: Iterable[Tracker]) -> list[Tracker]:
    listed = list(trackers)
    return listed if len(listed) == 1 else list({tracker.identity(): tracker for tracker in listed}.values())


def _leads(segment: Segment, following: Segment) -> bool:
    begins = {checkpoint.name for checkpoint in following.begins}
    return any(checkpoint.name in begins for checkpoint in segment.ends)


def _open(segment: Segment, tracker: Tracker) -> bool:
    return any(_passes(checkpoint, tracker) for checkpoint in segment.begins)


def _passes(checkpoint: Checkpoint, tracker: Tracker) -> bool:
    return all(tracker.get_slot(name) == value for name, value in checkpoint.slots)
