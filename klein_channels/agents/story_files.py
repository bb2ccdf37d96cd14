"""
Stories, read from ``stories.md`` in Rasa's Markdown of the versions up to 1, and ``policy_metadata.json``.

What cannot be used is a `StartError` that names the file, the line and the reason.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path

import msgspec

from ..channel import nearest
from ..errors import MalformedWebhook
from ..interpreter import PREFIXES, RegexInterpreter
from ..model import JSON, read_json
from .story_domain import Domain, broken, read_text

DEFAULT_MAX_HISTORY = 5
LONGEST_HISTORY = 50
EVENTS = frozenset({"slot", "reset_slots", "restart", "pause", "resume"})


class Effect(msgspec.Struct, frozen=True):
    """An event of a story: one of `EVENTS`; ``slot`` has the slot's name and value."""

    event: str
    slot: str = ""
    value: JSON = None


class Said(msgspec.Struct, frozen=True):
    """What a person may say at a point of a story."""

    intent: str
    entities: tuple[tuple[str, JSON], ...] = ()


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a story with the events under it: alternatives that are said, or an action."""

    line: int
    said: tuple[Said, ...] = ()
    action: str = ""
    effects: tuple[Effect, ...] = ()
    effect_lines: tuple[int, ...] = ()


class Checkpoint(msgspec.Struct, frozen=True):
    """A named joint of stories, passed only with these slots."""

    name: str
    line: int
    slots: tuple[tuple[str, JSON], ...] = ()


class Segment(msgspec.Struct, kw_only=True):
    """A piece of a story between checkpoints; one without `begins` begins a conversation."""

    story: str
    begins: list[Checkpoint] = []
    steps: list[Step] = []
    ends: list[Checkpoint] = []


def read_stories(path: Path) -> list[Segment]:
    """The stories in the file `path`, cut at their checkpoints."""
    reader = _StoryReader(path)
    for line, text in enumerate(_without_comments(path, read_text(path)).split("\n"), 1):
        if stripped := text.strip():
            reader.read(line, stripped)
    return [segment for segment in reader.segments if segment.steps]


def check_stories(path: Path, segments: Collection[Segment], domain: Domain) -> None:
    """Raise the `StartError` about the first thing in the stories that the domain does not have."""
    reachable = {checkpoint.name for segment in segments for checkpoint in segment.ends}
    for segment in segments:
        for checkpoint in segment.begins:
            _known(path, checkpoint.line, "checkpoint that a story ends with", checkpoint.name, reachable)
        for step in segment.steps:
            _check_step(path, step, domain)


def _check_step(path: Path, step: Step, domain: Domain) -> None:
    for said in step.said:
        _known(path, step.line, "intent", said.intent, domain.intents)
        for name, _ in said.entities:
            _known(path, step.line, "entity", name, domain.entities)
    if step.action:
        _known(path, step.line, "action", step.action, domain.actions)
    for effect, line in zip(step.effects, step.effect_lines, strict=True):
        if effect.event == "slot":
            _known(path, line, "slot", effect.slot, domain.slots)


def _known(path: Path, line: int, kind: str, name: str, known: Collection[str]) -> None:
    if name not in known:
        broken(path, line, f"no {kind} {name!r}{nearest(name, list(known)[:100])}")


class _StoryReader:
    """Takes the lines of a story file one by one."""

    def __init__(self, path: Path) -> None:
        self.segments: list[Segment] = []
        self._path = path

    def read(self, line: int, text: str) -> None:
        mark, rest = text[0], text[1:].strip()
        if mark == "#":
            self.segments.append(Segment(story=rest.strip("# ")))
        elif mark not in "*->":
            broken(self._path, line, "a line of a story begins with ##, *, - or >")
        elif not self.segments:
            broken(self._path, line, "no story has begun: a line with ## and its name comes first")
        elif not rest:
            broken(self._path, line, f"nothing stands behind {mark}")
        elif mark == ">":
            self._checkpoint(line, rest)
        elif mark == "*":
            self._step(Step(line=line, said=tuple(self._alternatives(line, rest))))
        else:
            self._action_or_event(line, rest)

    def _step(self, step: Step) -> None:
        last = self.segments[-1]
        if last.ends:
            # The story goes on behind a checkpoint: others may come in, or leave, here.
            last = Segment(story=last.story, begins=list(last.ends))
            self.segments.append(last)
        last.steps.append(step)

    def _checkpoint(self, line: int, rest: str) -> None:
        name, values = self._named(line, rest)
        last = self.segments[-1]
        checkpoint = Checkpoint(name, line, tuple(values.items()))
        (last.ends if last.steps else last.begins).append(checkpoint)

    def _action_or_event(self, line: int, rest: str) -> None:
        name, values = self._named(line, rest)
        if name not in EVENTS:
            if "{" in rest:
                broken(self._path, line, f"unknown event {name!r} (known: {', '.join(sorted(EVENTS))})")
            self._step(Step(line=line, action=name))
            return
        if name == "slot":
            effects = [Effect("slot", slot, value) for slot, value in values.items()]
        else:
            effects = [Effect(name)]
        last = self.segments[-1]
        before = Step(line=line) if last.ends or not last.steps else last.steps.pop()
        lines = (*before.effect_lines, *[line] * len(effects))
        self._step(msgspec.structs.replace(before, effects=(*before.effects, *effects), effect_lines=lines))

    def _named(self, line: int, rest: str) -> tuple[str, dict[str, JSON]]:
        """``name`` or ``name{"key": value}``."""
        opening = rest.find("{")
        if opening < 0:
            return rest, {}
        return rest[:opening].strip(), self._object(line, rest[opening:])

    def _object(self, line: int, text: str) -> dict[str, JSON]:
        try:
            values = read_json(text.encode())
        except MalformedWebhook as error:
            broken(self._path, line, str(error))
        if not isinstance(values, dict):
            broken(self._path, line, "not a JSON object")
        return values

    def _alternatives(self, line: int, rest: str) -> Iterator[Said]:
        for text in _split_alternatives(rest):
            if "[" in text.partition("{")[0]:
                if not text.endswith("]"):
                    broken(self._path, line, "the bracket [ is not closed at the end of the line")
            elif "{" in text:
                self._object(line, text[text.index("{") :])
            parsed = RegexInterpreter().parse(text if text.startswith(PREFIXES) else f"/{text}")
            intent = parsed["intent"]["name"]
            if intent is None:
                broken(self._path, line, "an intent has no name")
            yield Said(intent, tuple((found["entity"], found["value"]) for found in parsed["entities"]))


def _split_alternatives(text: str) -> Iterator[str]:
    """The pieces between `` OR ``, where that does not stand within braces or brackets."""
    waiting = ""
    for piece in text.split(" OR "):
        waiting = f"{waiting} OR {piece}" if waiting else piece
        if waiting.count("{") == waiting.count("}") and waiting.count("[") == waiting.count("]"):
            yield waiting.strip()
            waiting = ""
    if waiting:
        yield waiting.strip()


def _without_comments(path: Path, text: str) -> str:
    """`text` with ``<!-- … -->`` taken out and all lines kept where they are."""
    kept, at = [], 0
    while (opening := text.find("<!--", at)) >= 0:
        closing = text.find("-->", opening + 4)
        if closing < 0:
            broken(path, text.count("\n", 0, opening) + 1, "the comment <!-- is not closed")
        kept += [text[at:opening], "\n" * text.count("\n", opening, closing)]
        at = closing + 3
    return "".join(kept) + text[at:]


def read_max_history(path: Path) -> int:
    """How many moments of the past count, as the file `path` says; the default if there is none."""
    if not path.exists():
        return DEFAULT_MAX_HISTORY
    try:
        metadata = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        broken(path, error.lineno, f"not JSON: {error.msg}")
    except RecursionError:
        broken(path, 1, "not JSON: nested too deeply")
    if not isinstance(metadata, dict):
        broken(path, 1, "not a JSON object")
    # Later versions list one number for each policy, null for those that have none.
    listed = metadata.get("max_histories", [metadata.get("max_history")])
    found = [number for number in listed if number is not None] if isinstance(listed, list) else [listed]
    if not all(type(number) is int and 1 <= number <= LONGEST_HISTORY for number in found):
        broken(path, 1, f"max_history must be a number from 1 to {LONGEST_HISTORY}")
    return max(found, default=DEFAULT_MAX_HISTORY)
