"""A text that grows is one whole reply in the end: in every way to show it, whatever fails on the way."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.model import Call, Outgoing
from tests.test_live import EDIT_GONE, GONE, LIMITED, UNKNOWN, Conversation, EditingChannel

ENDED = GONE
"""The platform ends a stream, or knows nothing of it any more."""
PIECES = ["one ", "two ", "three\n\n", "four **five** ", "```\nsix\n", "seven\n```\n\n", "eight " * 30]


class StreamingChannel(EditingChannel):
    """A platform with streams of its own, which are messages; ended ones can be edited."""

    def open_stream(self, outgoing: Outgoing) -> Any:
        return (yield from self._made("open", outgoing, None))

    def append(self, outgoing: Outgoing, stream: str, piece: str) -> Any:
        return (yield from self._made("append", outgoing, stream))

    def close_stream(self, outgoing: Outgoing, stream: str) -> Any:
        return (yield from self._made("close", outgoing, stream))


class DraftingChannel(EditingChannel):
    """A platform with drafts, which vanish; the text itself is a message of its own."""

    def open_stream(self, outgoing: Outgoing) -> Any:
        return (yield from self._draft(outgoing))

    def append(self, outgoing: Outgoing, stream: str, piece: str) -> Any:
        return (yield from self._draft(outgoing))

    def close_stream(self, outgoing: Outgoing, stream: str) -> Any:
        return (yield from self.send(outgoing))

    def _draft(self, outgoing: Outgoing) -> Any:
        body = json.dumps({"mid": "draft", "text": outgoing.part.text}).encode()  # type: ignore[union-attr]
        result = yield Call(method="POST", url="board:draft", body=body, effect=True)
        return self._outcome(result, outgoing)


WAYS: dict[str, tuple[type[EditingChannel], float]] = {
    "edits": (EditingChannel, 2.0),
    "streams": (StreamingChannel, 2.0),
    "drafts": (DraftingChannel, 2.0),
    "paragraphs": (EditingChannel, 0.0),
}


class Talk(Conversation):
    """A conversation on a platform that shows growing texts in the given way."""

    def __init__(self, way: str, path: str, **capabilities: Any) -> None:
        self.makes, interval = WAYS[way]
        super().__init__(path, edit_interval=interval, **capabilities)

    @property
    def messages(self) -> list[str]:
        """What is seen and stays."""
        return [text for mid, text in self.board.texts.items() if mid != "draft"]


class OneFinalReplyTests(SynchronousTestCase):
    # Not made smaller when it fails: those who break the promise on purpose would wait for that.
    @settings(
        deadline=None,
        derandomize=True,
        max_examples=60,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.sampled_from(sorted(WAYS)),
        st.lists(st.sampled_from([None, None, LIMITED, EDIT_GONE]), max_size=6),
        st.integers(-1, 6),
        st.lists(st.sampled_from(PIECES), min_size=1, max_size=6),
        st.lists(st.sampled_from([0, 1, 3, 7]), min_size=6, max_size=6),
        st.integers(-3, 6),
    )
    def test_it_is_there_once_and_whole(
        self, way: str, script: list[Any], unknown_at: int, pieces: list[str], waits: list[int], dies_at: int
    ) -> None:
        talk = Talk(way, self.mktemp())
        talk.hear()
        # One of them: what is unknown twice is a dead letter, by promise.
        if unknown_at >= 0 and dies_at < 0:
            script = [*script[:unknown_at], UNKNOWN, *script[unknown_at:]]
        talk.board.script = list(script)
        for number, (piece, wait) in enumerate(zip(pieces, waits, strict=False)):
            talk.agent.say(piece)
            talk.pass_time(wait)
            if number == dies_at:
                talk.kill()
                talk.agent.say(*said_anew(talk, pieces[: number + 1]))
        talk.agent.say(None)
        talk.pass_time(90)
        self.check(talk, way, "".join(pieces).strip())
        talk.store._release_lock()

    def check(self, talk: Talk, way: str, whole: str) -> None:
        rows = [row for row in talk.rows("state, repeated OR anew") if row[0] != "withdrawn"]
        self.assertEqual({state for state, _ in rows}, {"sent"}, rows)
        again = sum(repeated for _, repeated in rows)
        if way == "paragraphs":
            said = list(dict.fromkeys(talk.messages)) if again else talk.messages
            self.assertEqual("".join("".join(said).split()), "".join(whole.split()))
            return
        self.assertEqual(len(rows), 1)
        self.assertEqual(talk.messages[-1].strip(), whole)
        finals = [text for text in talk.messages if text.strip() == whole]
        self.assertLessEqual(len(finals), 1 + again)
        # Of what else is seen everything is a beginning of it, which could not be changed any more.
        self.assertLessEqual(len(talk.messages), 1 + again)
        for text in talk.messages:
            self.assertTrue(whole.startswith(text.strip()), (text, whole))


def said_anew(talk: Talk, pieces: list[str]) -> list[str]:
    """What an agent says that is asked again: the whole text, without the paragraphs that are said."""
    turn = talk.agent.turns[-1]
    said = "".join(part.text for message in turn.already_said for part in message.parts)
    text, done = "".join(pieces), "".join(said.split())
    while done:
        text = text.lstrip()
        done, text = done[1:], text[1:]
    return [text] if text.strip() else []
