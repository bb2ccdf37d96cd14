"""What the tests of the promises share: a service in memory that ends with its test, and agents to order."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import capturedLogs, eventAsText
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.testing.memory import ServiceInMemory

__all__ = ["HeldAgent", "PromiseCase", "echo_agent", "remembering_agent", "written"]


async def echo_agent(event: Any) -> str:
    """Says what it heard."""
    return f"re: {event.text}"


async def remembering_agent(event: Any, turn: Any) -> Any:
    """Says three things, and none of them a second time."""
    said = {part.text for message in turn.already_said for part in message.parts}
    for text in ("one", "two", "three"):
        if text not in said:
            yield text


class HeldAgent:
    """An asynchronous agent whose answers the test gives; `asked` are the texts that it was told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.turns: list[Any] = []
        self.waiting: list[Deferred[Any]] = []

    async def __call__(self, event: Any, turn: Any) -> Any:
        self.asked.append(event.text)
        self.turns.append(turn)
        answer: Deferred[Any] = Deferred()
        self.waiting.append(answer)
        return await answer

    def answer(self, reply: Any, number: int = 0) -> None:
        """End a turn with `reply`; an exception is raised there."""
        waiting = self.waiting.pop(number)
        waiting.errback(reply) if isinstance(reply, Exception) else waiting.callback(reply)


class PromiseCase(SynchronousTestCase):
    """A test with services that die with it."""

    def serve(self, agent: Any = echo_agent, *, durable: bool = False, **settings: Any) -> ServiceInMemory:
        """A started service; with `durable` its store outlives a kill."""
        if durable:
            settings["path"] = self.mktemp()
        kit = ServiceInMemory(agent, **settings)
        self.addCleanup(self.end, kit)
        return kit

    def end(self, kit: ServiceInMemory) -> None:
        if kit.process.alive:
            kit.kill()

    def captured(self) -> Any:
        """All that is logged within, as events."""
        return capturedLogs()


def written(events: Any) -> str:
    """The log as a file of text would have it, tracebacks included."""
    return "\n".join(
        eventAsText(event, includeTraceback=True, includeTimestamp=False, includeSystem=False)
        for event in events
    )
