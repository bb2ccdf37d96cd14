"""What Slack has against a call of its Web API: fields that are missing, too long or too many."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..model import JSON

_TS = re.compile(r"[0-9]{9,10}\.[0-9]{6}")
_REQUIRED = {
    "chat.postMessage": ("channel",),
    "chat.postEphemeral": ("channel", "user"),
    "chat.update": ("channel", "ts"),
    "chat.startStream": ("channel",),
    "chat.appendStream": ("channel", "ts", "markdown_text"),
    "chat.stopStream": ("channel", "ts"),
    "assistant.threads.setStatus": ("channel_id", "thread_ts", "status"),
    "reactions.add": ("channel", "timestamp", "name"),
    "reactions.remove": ("channel", "timestamp", "name"),
    "views.open": ("trigger_id", "view"),
    "views.update": ("view",),
    "views.publish": ("user_id", "view"),
    "auth.test": (),
}
_STREAMED = 12_000


def call_problem(method: str, body: JSON) -> str | None:
    """The name of Slack's error for a call, None if it has nothing against it."""
    if method not in _REQUIRED:
        return "unknown_method"
    if not isinstance(body, dict):
        return "invalid_json"
    if any(body.get(name) is None for name in _REQUIRED[method]):
        return "invalid_arguments"
    stamps = (body.get(name) for name in ("ts", "thread_ts", "timestamp"))
    if any(ts is not None and not (isinstance(ts, str) and _TS.fullmatch(ts)) for ts in stamps):
        return "invalid_thread_ts" if "thread_ts" in body else "message_not_found"
    if method.startswith("chat.") and not method.endswith("Stream"):
        return _message_problem(method, body)
    if len(str(body.get("markdown_text", ""))) > _STREAMED:
        return "msg_too_long"
    in_channel = str(body.get("channel", "")).startswith(("C", "G"))
    if method == "chat.startStream" and in_channel and not body.get("recipient_user_id"):
        return "missing_recipient_user_id"
    return None


def _message_problem(method: str, body: dict[str, Any]) -> str | None:
    text, blocks = body.get("text", ""), body.get("blocks", [])
    if not text and not blocks and not body.get("attachments"):
        return "no_text"
    if not isinstance(text, str) or len(text) > (4000 if method == "chat.update" else 40_000):
        return "msg_too_long"
    metadata = body.get("metadata")
    if metadata is not None and not (isinstance(metadata, dict) and metadata.get("event_type")):
        return "invalid_metadata_format"
    return None if blocks_hold(blocks) else "invalid_blocks"


def blocks_hold(blocks: JSON) -> bool:
    """Whether blocks keep to the sizes of Block Kit, as far as a channel makes them."""
    if not isinstance(blocks, list) or len(blocks) > 50:
        return False
    elements = [e for block in blocks if isinstance(block, dict) for e in block.get("elements", ())]
    named = [e["action_id"] for e in elements if isinstance(e, dict) and "action_id" in e]
    return len(named) == len(set(named)) and all(not _too_much(block) for block in blocks)


def _too_much(block: JSON) -> bool:
    return not isinstance(block, dict) or any(
        not least <= size <= most for least, size, most in _sizes(block)
    )


def _sizes(block: dict[str, Any]) -> Iterator[tuple[int, int, int]]:
    match block.get("type"):
        case "section":
            yield 1, len(block["text"]["text"]), 3000
            if "accessory" in block:
                yield from _sizes(block["accessory"])
        case "image":
            yield 1, len(block["image_url"]), 3000
            yield 1, len(block["alt_text"]), 2000
        case "actions":
            yield 1, len(block["elements"]), 25
            for element in block["elements"]:
                yield from _sizes(element)
        case "button":
            yield 1, len(block["text"]["text"]), 75
            yield 0, len(block.get("value", "")), 2000
            yield 0, len(block.get("url", "")), 3000
            yield 1, len(block["action_id"]), 255
