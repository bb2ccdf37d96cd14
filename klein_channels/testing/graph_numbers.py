"""What the Graph's stand-in plays of WhatsApp's telephone numbers: messages and media."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from ..model import JSON
from ..whatsapp.rules import MESSAGE
from .graph_answers import Answer, Asked, Done, refusal
from .graph_people import People


class Numbers:
    """Some numbers, ``{phone number id: token}``; `people` are those who wrote to them.

    `media` are files under their ids, as ``(content type, bytes)``.
    """

    def __init__(self, tokens: Mapping[str, str]) -> None:
        self.tokens: Mapping[str, str] = dict(tokens)
        self.people = People()
        self.media: dict[str, tuple[str, bytes]] = {}

    def answer(self, asked: Asked) -> Done | Answer | None:
        """What the Graph says to a request with a number's token."""
        if asked.node in self.media:
            return self._medium(asked)
        if asked.node != asked.account:
            return None
        if asked.edge == "" and asked.method == "GET":
            return Done(body={"id": asked.account, "display_phone_number": "+1 555-078-3881"})
        if asked.edge == "messages" and asked.method == "POST":
            return self._message(asked)
        if asked.edge == "media" and asked.method == "POST":
            return self._upload(asked)
        return None

    def _message(self, asked: Asked) -> Done | Answer:
        body = asked.body
        if not isinstance(body, dict) or body.get("messaging_product") != "whatsapp":
            return refusal(100, "(#100) The parameter messaging_product is required.")
        if body.get("status") == "read":
            if not isinstance(body.get("message_id"), str) or not body["message_id"]:
                return refusal(100, "(#100) The parameter message_id is required.")
            return Done(body={"success": True}, kept="actions")
        person = body.get("to") or body.get("recipient")
        if not isinstance(person, str):
            return refusal(100, "(#100) The parameter to is required.")
        problem = message_problem(body) or self._late(asked, person.removeprefix("+"))
        if problem is not None:
            return problem
        mid = f"wamid.standin.{asked.number}"
        contact = {"input": person, "wa_id": person.removeprefix("+")}
        answer = {"messaging_product": "whatsapp", "contacts": [contact], "messages": [{"id": mid}]}
        return Done(body=answer, kept="sent", mid=mid)

    def _late(self, asked: Asked, person: str) -> Answer | None:
        if asked.body.get("type") == "template" or self.people.within(asked.account, person, asked.at):
            return None
        return refusal(131047, "Message failed to send because more than 24 hours have passed")

    def _upload(self, asked: Asked) -> Done | Answer:
        if "multipart/form-data" not in asked.content_type or b'name="file"' not in asked.raw:
            return refusal(100, "(#100) The parameter file is required.")
        id = str(1_900_000_000_000_000 + asked.number)
        content = asked.raw.partition(b'name="file"')[2].partition(b"\r\n\r\n")[2].rpartition(b"\r\n--")[0]
        self.media[id] = ("application/octet-stream", content)
        return Done(body={"id": id})

    def _medium(self, asked: Asked) -> Done | Answer | None:
        content_type, content = self.media[asked.node]
        if asked.method == "DELETE":
            del self.media[asked.node]
            return Done(body={"success": True})
        if asked.edge == "content":
            return Answer(body=content, headers={"Content-Type": content_type})
        return Done(
            body={
                "url": f"{asked.url}/content",
                "mime_type": content_type,
                "sha256": hashlib.sha256(content).hexdigest(),
                "file_size": len(content),
                "id": asked.node,
                "messaging_product": "whatsapp",
            }
        )


def message_problem(body: dict[str, Any]) -> Answer | None:
    """What the Graph has against a message, in its own shape."""
    problem = MESSAGE.problem(body, "") or _alike(body)
    return refusal(131009, f"(#131009) {problem}") if problem else None


def _alike(body: dict[str, Any]) -> str | None:
    """Two choices that nobody could tell apart."""
    action: JSON = (body.get("interactive") or {}).get("action") or {}
    buttons = [button["reply"] for button in action.get("buttons") or ()]
    sections = action.get("sections") or ()
    rows = [row for section in sections for row in section.get("rows") or ()]
    if len(rows) > 10:
        return f"interactive.action.sections: {len(rows)} rows, at most 10"
    if len(sections) > 1 and not all(section.get("title") for section in sections):
        return "interactive.action.sections: a title is missing"
    for kind, choices in (("buttons", buttons), ("rows", rows)):
        ids = [choice["id"] for choice in choices]
        if len(set(ids)) < len(ids):
            return f"interactive.action.{kind}: two have one id"
    titles = [choice["title"] for choice in buttons]
    return "interactive.action.buttons: two have one title" if len(set(titles)) < len(titles) else None
