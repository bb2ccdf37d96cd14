"""
`Agent`: load one, talk to it, put it behind channels.

Importing this module loads neither klein nor treq nor a reactor.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from .agents.stories import StoriesAgent
from .channels import HttpInputChannel
from .interpreter import Interpreter
from .model import Message, Text, Turn
from .replies import read_reply

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from .service import ChannelService

_log = Logger()
STORE = "sqlite:///klein-channels.db"
"""Where a script keeps what it accepted: in the directory where it was started."""


class Agent:
    """A conversational agent read from a directory in Rasa's formats.

    `handle_message` talks to it without a server. `handle_asynchronous` and `handle_channel` serve
    channels: the one answers on the reactor, the other on threads.
    """

    def __init__(self, stories: StoriesAgent) -> None:
        self._stories = stories
        self._states: dict[str, Any] = {}

    @classmethod
    def load(cls, path: str | Path, interpreter: Interpreter | None = None) -> Agent:
        """The agent in the directory `path`; raises `StartError` that says what is wrong there."""
        return cls(StoriesAgent.load(path, interpreter))

    def handle_message(self, text: str, sender_id: str = "default") -> list[str]:
        """What the agent says to `text`, as texts; it knows each sender's conversation while it lives.

        The caller is trusted: text like ``/intent{…}`` counts as an intent.
        """
        replies, self._states[sender_id] = self._stories.respond(text, self._states.get(sender_id))
        messages = [item for reply in replies for item in read_reply(reply) if isinstance(item, Message)]
        return [_spoken(part) for message in messages for part in message.parts]

    def handle_asynchronous(self, input_channel: HttpInputChannel) -> Deferred[ChannelService] | None:
        """Serve channels, answering on the reactor.

        As a script: blocks until SIGINT or SIGTERM. Inside a running reactor: returns at once a
        Deferred that fires with the listening `ChannelService`. Raises `ReactorError` elsewhere.
        """
        return self._serve(input_channel, lambda: self._stories)

    def handle_channel(self, input_channel: HttpInputChannel) -> Deferred[ChannelService] | None:
        """Serve channels, answering on threads; else like `handle_asynchronous`."""
        from .agents.threads import ThreadPoolAgent

        return self._serve(input_channel, lambda: ThreadPoolAgent(self._answer, deterministic=True))

    def _answer(self, event: object, turn: Turn) -> list[Any]:
        return self._stories.replies_to(turn)

    def _serve(
        self, input_channel: HttpInputChannel, make_backend: Callable[[], Any]
    ) -> Deferred[ChannelService] | None:
        from .run import serve
        from .service import ChannelService

        def make_service() -> ChannelService:
            _log.info(
                "what is accepted is kept in {path}", path=Path(STORE.removeprefix("sqlite:///")).absolute()
            )
            return ChannelService(
                input_channel.channels,
                make_backend(),
                store=STORE,
                port=input_channel.port,
                prefix=input_channel.prefix,
            )

        return serve(make_service)


def _spoken(part: Any) -> str:
    if isinstance(part, Text):
        return part.text
    words = getattr(part, "text", None) or getattr(part, "url", None)
    return words if isinstance(words, str) else f"[{type(part).__name__.lower()}]"
