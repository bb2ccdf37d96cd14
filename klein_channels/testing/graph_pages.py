"""What the Graph's stand-in plays of Facebook pages: the Send API of Messenger."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..meta.rules import Shape
from ..meta.rules_messenger import BODY, UPLOAD
from ..model import JSON
from .graph_answers import Answer, Asked, Done, refusal
from .graph_app import Settings
from .graph_people import HUMAN_AGENT_WINDOW, WINDOW, People


class Pages:
    """Some pages, ``{page id: token}``; `people` are those who wrote to them."""

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self.tokens: Mapping[str, str] = dict(tokens)
        self.people = People()
        self.settings = Settings()
        self.attachments: dict[str, tuple[str, JSON]] = {}
        """What was kept for another time: ``{id: (page, attachment)}``."""

    def answer(self, asked: Asked) -> Done | Answer | None:
        """What the Graph says to a request with a page's token."""
        settings = self.settings.answer(asked)
        if settings is not None or asked.node != asked.account:
            return settings
        if asked.edge == "" and asked.method == "GET":
            return Done(body={"id": asked.account, "name": f"Page {asked.account}"})
        if asked.edge == "messages" and asked.method == "POST":
            return self._message(asked)
        if asked.edge == "message_attachments" and asked.method == "POST":
            return self._upload(asked)
        return None

    def _upload(self, asked: Asked) -> Done | Answer:
        problem = UPLOAD.problem(asked.body, "")
        if problem is not None:
            return refusal(100, f"(#100) {problem}")
        return Done(body={"attachment_id": self._kept(asked, asked.body["message"]["attachment"])})

    def _kept(self, asked: Asked, attachment: JSON) -> str:
        id = str(1_857_000_000_000_000 + asked.number)
        self.attachments[id] = (asked.account, attachment)
        return id

    def _message(self, asked: Asked) -> Done | Answer:
        problem = body_problem(asked.body, BODY) or self._not_now(asked)
        if problem is not None:
            return problem
        shown = "message" in asked.body
        mid = f"m_standin.{asked.number}" if shown else ""
        usual = {"recipient_id": asked.body["recipient"].get("id"), "message_id": mid}
        if shown and "is_reusable" in str(asked.body["message"].get("attachment")):
            usual["attachment_id"] = self._kept(asked, asked.body["message"]["attachment"])
        return Done(
            body={key: value for key, value in usual.items() if value},
            kept="sent" if shown else "actions",
            mid=mid,
        )

    def _not_now(self, asked: Asked) -> Answer | None:
        id = _attachment_id(asked.body)
        if id is not None and self.attachments.get(id, ("",))[0] != asked.account:
            return refusal(100, "(#100) Invalid attachment ID", 2018074)
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


def body_problem(body: JSON, rules: Shape) -> Answer | None:
    """What the Graph has against a body, in its own shape."""
    if not isinstance(body, dict) or not isinstance(body.get("recipient"), dict) or not body["recipient"]:
        return refusal(100, "(#100) The parameter recipient is required")
    if ("message" in body) == ("sender_action" in body):
        return refusal(100, "(#100) Exactly one of message and sender_action is required", 2018014)
    if "sender_action" in body and not body.keys() <= {"recipient", "sender_action", "payload"}:
        return refusal(100, "(#100) A sender action stands alone", 2018014)
    problem = rules.problem(body, "")
    return refusal(100, f"(#100) {problem}") if problem else None


def _attachment_id(body: dict[str, Any]) -> str | None:
    attachment = (body.get("message") or {}).get("attachment") or {}
    id = (attachment.get("payload") or {}).get("attachment_id")
    return id if isinstance(id, str) else None
