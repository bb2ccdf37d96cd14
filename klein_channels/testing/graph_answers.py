"""What the Graph's stand-in answers: its errors, its silences, and what it keeps of each call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

import msgspec

from ..model import JSON, Value


class SentMessage(Value, frozen=True, kw_only=True):
    """One request that was carried out: `at` is the stand-in's clock, `mid` what it answered.

    `page` is the account that it was carried out for: a page, an Instagram account, a phone number.
    """

    page: str
    body: dict[str, Any]
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    at: float = 0.0
    mid: str = ""

    @property
    def text(self) -> str:
        """The words that were shown, a template's too."""
        message = self.body.get("message", self.body)
        if not isinstance(message, dict):
            return ""
        attachment = message.get("attachment")
        payload = attachment.get("payload") if isinstance(attachment, dict) else None
        for words in (message.get("text"), payload.get("text") if isinstance(payload, dict) else None):
            if words:
                return str(words.get("body", "") if isinstance(words, dict) else words)
        return ""


class Answer(Value, frozen=True, kw_only=True):
    """How one message is answered. Without a body it is what the Graph would say.

    `ending` ``close`` drops the connection in place of an answer, ``never`` leaves it open. `shown`
    tells whether the person sees the message all the same; None means: if the status is 200.
    """

    status: int = 200
    body: JSON = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    delay: float = 0.0
    ending: Literal["answer", "close", "never"] = "answer"
    shown: bool | None = None


GARBAGE = Answer(status=200, body=b"<html>an answer of some proxy</html>")
CLOSE = Answer(ending="close")
NEVER = Answer(ending="never")


def refusal(code: int, message: str, subcode: int | None = None, status: int = 400, **more: JSON) -> Answer:
    """An answer in the shape of the Graph's errors."""
    error: dict[str, Any] = {"message": message, "type": "OAuthException", "code": code}
    if subcode is not None:
        error["error_subcode"] = subcode
    return Answer(status=status, body={"error": {**error, **more, "fbtrace_id": "AStandIn0000000000000"}})


class Asked(Value, frozen=True, kw_only=True):
    """One authorised request: `node` and `edge` are the parts of its path behind the version.

    `account` is whose token came with it; a node ``me`` is already that account. `body` is the JSON,
    `raw` the bytes where they are none (a form with files). `number` counts the requests from 1.
    """

    method: str
    account: str
    node: str
    edge: str = ""
    query: dict[str, str] = msgspec.field(default_factory=dict)
    body: JSON = None
    raw: bytes = b""
    content_type: str = ""
    url: str = ""
    at: float = 0.0
    number: int = 0


class Done(Value, frozen=True, kw_only=True):
    """What the Graph says to a request that it carries out.

    `kept` says where the stand-in keeps it: among the messages that people see, among the sender
    actions, or nowhere. Only messages follow the script of misbehaviour.
    """

    body: JSON
    kept: Literal["sent", "actions"] | None = None
    mid: str = ""


class Product(Protocol):
    """One of the Graph's products, with the accounts that it plays: ``{account id: token}``."""

    @property
    def tokens(self) -> Mapping[str, str]:
        """The token of each account."""

    def answer(self, asked: Asked) -> Done | Answer | None:
        """What the Graph says: `Done`, or a `refusal`; None for a path that it does not have."""
