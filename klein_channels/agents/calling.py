"""How an agent's function wants to be called: told by its signature, once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ..errors import ConfigError
from ..interpreter import looks_structured
from ..model import MessageReceived, Turn

Caller = Callable[[Turn], Any]
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def caller_of(function: Callable[..., Any]) -> Caller:
    """A function of the turn that calls `function` with what its parameters ask for.

    The first is the event, or its text where it is annotated `str` or named `text`. A second one
    without a default is the sender's id where it is named `sender_id`, else the `Turn`.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return lambda turn: function(turn.event)
    required = [p for p in signature.parameters.values() if p.default is p.empty]
    wanted = [p for p in required if p.kind in _POSITIONAL]
    by_name = [p for p in required if p.kind is inspect.Parameter.KEYWORD_ONLY]
    if len(wanted) > 2 or by_name or not signature.parameters:
        raise ConfigError(f"agent {_name(function)} must take the event, and at most one argument more")
    first = _text_of if wanted and _takes_text(wanted[0]) else _event_of
    if len(wanted) < 2:
        return lambda turn: function(first(turn))
    second = _sender_of if wanted[1].name == "sender_id" else _itself
    return lambda turn: function(first(turn), second(turn))


def caller_of_handle_message(agent: Any) -> Caller:
    """Call `agent.handle_message` as rasa_core's agents are called.

    They get the payload of a chosen button, else the text; typed text that would inject an intent
    loses the prefix that makes it one. What they push to `output_channel` is said; if they push
    nothing, what they return.
    """
    parameters = inspect.signature(agent.handle_message).parameters

    def call(turn: Turn) -> Any:
        extra: dict[str, Any] = {}
        output = CollectedOutput()
        if "output_channel" in parameters:
            extra["output_channel"] = output
        if "sender_id" in parameters:
            extra["sender_id"] = turn.conversation
        returned = agent.handle_message(spoken_text(turn), **extra)
        if inspect.isawaitable(returned):
            return _after(returned, output)
        return output.replies or returned

    return call


async def _after(returned: Any, output: CollectedOutput) -> Any:
    result = await returned
    return output.replies or result


def spoken_text(turn: Turn) -> str:
    """What an agent that takes only text is told."""
    event = turn.event
    if event.payload and turn.structured:
        return event.payload
    text = event.describe()
    return text if turn.structured or not looks_structured(text) else text.lstrip("/_ ")


class CollectedOutput:
    """The output channel that rasa_core's agents push to; keeps what is pushed, in order."""

    def __init__(self) -> None:
        self.replies: list[dict[str, Any]] = []

    def send_text_message(self, recipient_id: str, message: str) -> None:
        """Say `message`."""
        self.replies.append({"text": message})

    def send_image_url(self, recipient_id: str, image_url: str) -> None:
        """Show a picture."""
        self.replies.append({"image": image_url})

    def send_text_with_buttons(self, recipient_id: str, message: str, buttons: list[dict[str, Any]]) -> None:
        """Say `message` with buttons."""
        self.replies.append({"text": message, "buttons": buttons})

    def send_custom_message(self, recipient_id: str, elements: list[dict[str, Any]]) -> None:
        """Show cards."""
        self.replies.append({"elements": elements})


def _takes_text(parameter: inspect.Parameter) -> bool:
    return parameter.annotation in (str, "str") or parameter.name == "text"


def _event_of(turn: Turn) -> Any:
    return turn.event


def _text_of(turn: Turn) -> str:
    return turn.event.describe()


def _sender_of(turn: Turn) -> str:
    event = turn.event
    sender = event.sender if isinstance(event, MessageReceived) else getattr(event, "sender", None)
    return sender.id if sender else turn.conversation


def _itself(turn: Turn) -> Turn:
    return turn


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
