"""
The agent that is a directory: it answers as the stories in it do, without a model and a network.

It reads the directories of Rasa's versions up to 1 and recalls what their stories say; what a trained
network would have guessed beyond them it does not know, and says its fallback instead.
"""

from __future__ import annotations

import inspect
import json
import random as randomness
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from ..errors import AgentReplyError, StartError
from ..interpreter import Interpreter, RegexInterpreter, looks_structured
from ..model import JSON, Control, Message, Remember, Turn
from .story_domain import BUILT_IN_ACTIONS, Domain, read_domain
from .story_files import Segment, check_stories, read_max_history, read_stories
from .story_recall import LISTEN, Decision, Recall, Tracker, train

MAX_ACTIONS = 10
"""Actions in one turn; more are a circle in the stories."""
RESTART = "restart"
FALLBACK = "action_default_fallback"
_NAME_IN_BRACES = re.compile(r"\{([^{}\n]{1,100})\}")

Reply: TypeAlias = Any
"""A dict in Rasa's form; custom actions may also answer with a `Message` or a control."""
Action: TypeAlias = Callable[[Tracker], Reply]
_log = Logger()


def _words(value: JSON) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _within_json(value: JSON) -> str:
    return json.dumps(_words(value), ensure_ascii=False)[1:-1]


class StoriesAgent:
    """Answers as its stories do; the same state and text give the same answer.

    `actions` are functions by the names that stories use: each is called with the `Tracker`, may set
    slots, and returns a reply, a list of replies, or None. An action that nobody passed is skipped,
    and what the story says it sets is set.
    """

    deterministic = True

    def __init__(
        self,
        domain: Domain,
        recall: Recall,
        max_history: int,
        *,
        interpreter: Interpreter | None = None,
        actions: Mapping[str, Action] | None = None,
        random: randomness.Random | None = None,
    ) -> None:
        self._domain = domain
        self._recall = recall
        self._max_history = max_history
        self._interpreter = interpreter or RegexInterpreter()
        self._actions = dict(actions or {})
        self._random = random or randomness.Random()  # noqa: S311  (it chooses among wordings)

    @classmethod
    def load(
        cls,
        path: str | Path,
        interpreter: Interpreter | None = None,
        *,
        actions: Mapping[str, Action] | None = None,
        random: randomness.Random | None = None,
    ) -> StoriesAgent:
        """The agent in the directory `path`.

        Raises `StartError` that names what is missing, or the file, the line and the reason.
        """
        directory, actions = Path(path), actions or {}
        if not directory.is_dir():
            raise StartError(
                f"no agent at {path} — run `klein-channels init --example babi`, "
                "or name the directory that holds domain.yml and stories.md"
            )
        domain = read_domain(directory / "domain.yml")
        domain = msgspec.structs.replace(domain, actions=domain.actions | actions.keys())
        stories = directory / "stories.md"
        segments = read_stories(stories)
        check_stories(stories, segments, domain)
        max_history = read_max_history(directory / "policy_metadata.json")
        recall = train(stories, segments, domain, max_history)
        _warn(directory, domain, segments, recall, actions)
        return cls(domain, recall, max_history, interpreter=interpreter, actions=actions, random=random)

    def answer(self, turn: Turn, say: Callable[[Any], Deferred[None]]) -> Deferred[None]:
        """Answer the event of `turn` through `say`, and remember the conversation at the end.

        Fires when all has been said. A turn that is tried again says the same.
        """
        return Deferred.fromCoroutine(self._answer(turn, say))

    async def _answer(self, turn: Turn, say: Callable[[Any], Deferred[None]]) -> None:
        for reply in self.replies_to(turn):
            await say(reply)

    def replies_to(self, turn: Turn) -> list[Reply]:
        """The replies to the event of `turn`, and last what is to be remembered."""
        event = turn.event
        text = event.payload or event.text or event.describe()
        seed = f"{turn.conversation}/{turn.id}"
        replies, state = self.respond(text, turn.state, turn.structured, seed)
        return [*replies, Remember(state=state)]

    def respond(
        self, text: str, state: JSON, structured: bool = True, seed: str = ""
    ) -> tuple[list[Reply], JSON]:
        """The replies to `text`, and the state to hand in with the next text.

        `state` is what the last call returned, or None; anything else counts as None. Unless
        `structured`, text that looks like an intent is mere words. With the same `seed` the same
        wordings are chosen; without one the agent's own `random` chooses.
        """
        tracker = Tracker.resumed(self._domain, self._max_history, state)
        random = randomness.Random(seed) if seed else self._random  # noqa: S311  (wordings again)
        replies, tracker = self._turn(self._read(text, structured), tracker, random)
        return replies, msgspec.json.decode(msgspec.json.encode(tracker.state()))

    def _read(self, text: str, structured: bool) -> Mapping[str, JSON]:
        if not structured and looks_structured(text):
            return {"text": text, "intent": {"name": None, "confidence": 0.0}, "entities": []}
        return dict(self._interpreter.parse(text))

    def _turn(
        self, parsed: Mapping[str, JSON], tracker: Tracker, random: randomness.Random
    ) -> tuple[list[Reply], Tracker]:
        """The replies to what was read, and the conversation as it is then."""
        intent = _intent(parsed)
        if intent == RESTART:
            tracker.reset()
            return self._utter("utter_restart", tracker, random), tracker
        if tracker.paused:
            return [], tracker
        heard = tracker.copy()
        heard.latest_message = dict(parsed)
        heard.hear(intent, _entities(parsed))
        decision = self._recall.decide(heard.moments)
        if decision is None:
            # As if it had not been said: the buttons of the question before still lead on.
            tracker.latest_message = dict(parsed)
            return self._fall_back(tracker, random), tracker
        return self._follow(decision, heard, random), heard

    def _follow(self, decision: Decision | None, tracker: Tracker, random: randomness.Random) -> list[Reply]:
        replies: list[Reply] = []
        for _ in range(MAX_ACTIONS):
            if decision is None or decision.action == LISTEN:
                return replies
            replies += self._perform(decision, tracker, random)
            if tracker.paused or not tracker.moments:
                return replies
            decision = self._recall.decide(tracker.moments)
        if decision is not None and decision.action != LISTEN:
            _log.warn(
                "stopped after {count} actions in one turn, before {next}",
                count=MAX_ACTIONS,
                next=decision.action,
            )
        return replies

    def _perform(self, decision: Decision, tracker: Tracker, random: randomness.Random) -> list[Reply]:
        name, effects = decision.action, decision.effects
        if name in self._actions:
            # What it sets is its own business: the story only tells what it set that time.
            replies, effects = _listed(name, self._actions[name](tracker)), ()
        elif name == "action_restart":
            tracker.reset()
            return self._utter("utter_restart", tracker, random)
        elif name == FALLBACK:
            replies = self._utter("utter_default", tracker, random)
        else:
            replies = self._utter(name, tracker, random)
        tracker.act(name, effects)
        return replies

    def _fall_back(self, tracker: Tracker, random: randomness.Random) -> list[Reply]:
        if FALLBACK in self._actions:
            return _listed(FALLBACK, self._actions[FALLBACK](tracker))
        return self._utter("utter_default", tracker, random)

    def _utter(self, name: str, tracker: Tracker, random: randomness.Random) -> list[Reply]:
        variations = self._domain.responses.get(name)
        if not variations:
            return []
        values = {**tracker.entities, **{k: v for k, v in tracker.slots.items() if v is not None}}
        return [_filled(random.choice(variations), values)]


def _intent(parsed: Mapping[str, JSON]) -> str:
    intent = parsed.get("intent")
    name = intent.get("name") if isinstance(intent, dict) else intent
    return name if isinstance(name, str) else ""


def _entities(parsed: Mapping[str, JSON]) -> Iterator[tuple[str, JSON]]:
    listed = parsed.get("entities")
    for found in listed if isinstance(listed, list) else ():
        if isinstance(found, dict) and isinstance(found.get("entity"), str):
            yield found["entity"], found.get("value")


def _listed(name: str, answer: Reply) -> list[Reply]:
    """What a custom action answered, as a list of replies."""
    if answer is None:
        return []
    if isinstance(answer, str):
        return [{"text": answer}]
    if isinstance(answer, list | tuple):
        return [reply for item in answer for reply in _listed(name, item)]
    if isinstance(answer, dict | Message | Control):
        return [answer]
    if inspect.iscoroutine(answer):
        answer.close()
    raise AgentReplyError(f"action {name!r} answered with a {type(answer).__name__}, which is no reply")


def _filled(value: JSON, values: Mapping[str, JSON], spell: Callable[[JSON], str] = _words) -> JSON:
    """`value` with ``{name}`` replaced by the value of that name, throughout and once.

    Names are looked up, never evaluated; one without a value stays as it is. In a payload the value
    is spelled as within a JSON string, so that it cannot end the string that it stands in.
    """
    if isinstance(value, str):
        return _NAME_IN_BRACES.sub(lambda m: spell(values[m[1]]) if m[1] in values else m[0], value)
    if isinstance(value, list):
        return [_filled(item, values, spell) for item in value]
    if isinstance(value, dict):
        return {k: _filled(v, values, _within_json if k == "payload" else spell) for k, v in value.items()}
    return value


def _warn(
    directory: Path, domain: Domain, segments: list[Segment], recall: Recall, actions: Mapping[str, Action]
) -> None:
    """Say once what the agent in `directory` will not do as its author meant."""
    used = {step.action for segment in segments for step in segment.steps if step.action}
    skipped = used - BUILT_IN_ACTIONS - domain.responses.keys() - actions.keys()
    if skipped:
        _log.warn(
            "agent {path}: these actions were not passed as actions= and are skipped: {names}",
            path=str(directory),
            names=", ".join(sorted(skipped)),
        )
    if "utter_default" not in domain.responses and FALLBACK not in actions:
        _log.warn(
            "agent {path}: there is no response utter_default, so what no story knows is not answered",
            path=str(directory),
        )
    if recall.contradictions:
        _log.warn(
            "agent {path}: {count} times stories disagree on what comes next, and the first counts: {first}",
            path=str(directory),
            count=len(recall.contradictions),
            first=recall.contradictions[0],
        )
