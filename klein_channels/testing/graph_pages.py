"""What the Graph's stand-in plays of Facebook pages: the Send API of Messenger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..model import JSON
from .graph_answers import Answer, Asked, Done, refusal
from .graph_people import HUMAN_AGENT_WINDOW, WINDOW, People


class Pages:
    """Some pages, ``{page id: token}``; `people` are those who wrote to them."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self.tokens: Mapping[str, str] = dict(tokens)
        self.people = People()

    def answer(self, asked: Asked) -> Done | Answer | None:
        """What the Graph says to a request with a page's token."""
        if asked.node != asked.account:
            return None
        if asked.edge == "" and asked.method == "GET":
            return Done(body={"id": asked.account, "name": f"Page {asked.account}"})
        if asked.edge == "messages" and asked.method == "POST":
            return self._message(asked)
        return None

    def _message(self, asked: Asked) -> Done | Answer:
        problem = body_problem(asked.body) or self._not_now(asked)
        if problem is not None:
            return problem
        shown = "message" in asked.body
        mid = f"m_standin.{asked.number}" if shown else ""
        usual = {"recipient_id": asked.body["recipient"].get("id"), "message_id": mid}
        return Done(
            body={key: value for key, value in usual.items() if value},
            kept="sent" if shown else "actions",
            mid=mid,
        )

    def _not_now(self, asked: Asked) -> Answer | None:
        person = asked.body["recipient"].get("id")
        if person is None:
            return None
        if not self.people.knows(asked.account, person):
            return refusal(100, "(#100) No matching user found", 2018001)
        tagged = asked.body.get("tag") in ("HUMAN_AGENT", "CUSTOMER_FEEDBACK")
        window = HUMAN_AGENT_WINDOW if tagged else WINDOW
        if asked.body.get("messaging_type") == "UTILITY" or self.people.within(
            asked.account, person, asked.at, window
        ):
            return None
        return refusal(10, "(#10) This message is sent outside of allowed window.", 2018278)


def body_problem(body: JSON) -> Answer | None:
    """What the Graph has against a body, in its own shape."""
    if not isinstance(body, dict) or not isinstance(body.get("recipient"), dict) or not body["recipient"]:
        return refusal(100, "(#100) The parameter recipient is required")
    if ("message" in body) == ("sender_action" in body):
        return refusal(100, "(#100) Exactly one of message and sender_action is required", 2018014)
    if "sender_action" in body:
        return None
    message = body["message"]
    if not isinstance(message, dict) or not message.keys() & {
        "text",
        "attachment",
        "attachments",
        "sticker_id",
    }:
        return refusal(100, "(#100) param message must be non-empty.")
    return _message_problem(message)


def _message_problem(message: dict[str, Any]) -> Answer | None:
    attachment = message.get("attachment")
    payload = attachment.get("payload") if isinstance(attachment, dict) else None
    payload = payload if isinstance(payload, dict) else {}
    for name, where, key, least, most in (
        ("message[text]", message, "text", 1, 2000),
        ("message[metadata]", message, "metadata", 0, 1000),
        ("message[quick_replies]", message, "quick_replies", 1, 13),
        ("message[attachment][payload][text]", payload, "text", 1, 640),
        ("message[attachment][payload][buttons]", payload, "buttons", 1, 3),
        ("message[attachment][payload][elements]", payload, "elements", 1, 10),
    ):
        if key not in where:
            continue
        length = len(where[key]) if isinstance(where[key], str | list) else 0
        if length < least:
            return refusal(100, f"(#100) param {name} must be non-empty.")
        if length > most:
            return refusal(100, f"(#100) Length of param {name} must be less than or equal to {most}")
    return None
