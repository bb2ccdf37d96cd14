"""
A text that is seen while it grows, by Slack's own streams.

A stream lives in a thread, takes Markdown, and is ended by Slack after some five minutes; then, and
whenever else it is refused, the message is there and can be edited. Slack, "chat.startStream",
"chat.appendStream", "chat.stopStream" (docs.slack.dev, read November 2026); on the five minutes,
slackapi/python-slack-sdk issue 1859 (April 2026).
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from ..model import CallResult, Outgoing, Text
from .outcomes import answer_of
from .places import is_direct, person_of
from .words import streamable

STREAM_PIECE = 12_000
"""Characters that one call may bring."""
_WORD = re.compile(r"[^\W_]+")


def opening_body(outgoing: Outgoing) -> dict[str, Any]:
    """What begins a stream; ValueError says why there can be none here."""
    if not isinstance(outgoing.part, Text):
        raise ValueError("only texts are streamed")  # noqa: TRY004
    address = outgoing.address
    thread = address.thread or outgoing.reply_to
    if not thread:
        raise ValueError("Slack streams within threads only")
    body: dict[str, Any] = {"channel": address.peer, "thread_ts": thread}
    reader = person_of(outgoing.cause)
    if reader is not None:
        body |= {"recipient_user_id": reader, "recipient_team_id": address.account}
    elif not is_direct(address.peer):
        raise ValueError("in a channel Slack streams to somebody, and nobody is being answered")
    return {**body, **piece_body(outgoing.part.text)} if outgoing.part.text else body


def piece_body(piece: str) -> dict[str, str]:
    """What brings the next piece; ValueError if it is too long for one call."""
    shown = streamable(piece)
    if len(shown) > STREAM_PIECE:
        raise ValueError(f"a piece of {len(shown)} characters; Slack takes {STREAM_PIECE} at once")
    return {"markdown_text": shown}


def shows_just(result: CallResult, outgoing: Outgoing) -> bool:
    """Whether the message that a stream left behind has the words of the part, as far as Slack tells.

    A text that became too long for one message may have been seen a little further than where it is cut.
    """
    if not isinstance(outgoing.part, Text):
        return False
    message = (answer_of(result) or {}).get("message")
    shown = message.get("text") if isinstance(message, dict) else None
    if not isinstance(shown, str) or not shown:
        return True
    return set(_WORD.findall(outgoing.part.text)) == set(_WORD.findall(unescape(shown)))
