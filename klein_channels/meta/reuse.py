"""
The names under which Meta keeps files that it has fetched once, so that it need not fetch them again.

They are kept in memory: after a restart a file is fetched once more, and nothing else is lost. Meta
forgets them after 90 days (Meta, "Messenger Platform: Saving Assets", read in 2026).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from ..model import JSON, Audio, CallResult, File, Image, Outcome, Outgoing, Refused, Retry, Sent, Video
from .outcomes import ATTACHMENT_ID_REFUSED, graph_object, reason_codes

LIFETIME = 85 * 86_400.0
"""Seconds; well before Meta's own 90 days."""
MOST = 10_000


class AttachmentIds:
    """What is known of the files of a channel's accounts: each account has ids of its own."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str, str], tuple[str, float]] = OrderedDict()

    def put_into(self, body: dict[str, Any], outgoing: Outgoing) -> dict[str, Any]:
        """`body` with the file's id in place of its address, or with the wish to be told one."""
        key = _key(outgoing)
        if key is None:
            return body
        id = self._id(key, outgoing.now)
        payload = {"attachment_id": id} if id else {"url": key[2], "is_reusable": True}
        attachment = {**body["message"]["attachment"], "payload": payload}
        return {**body, "message": {**body["message"], "attachment": attachment}}

    def learn(
        self, outgoing: Outgoing, body: dict[str, Any], result: CallResult, outcome: Outcome
    ) -> Outcome:
        """Keep the id that came with the answer to `body`; without one that is refused, go by address."""
        key = _key(outgoing)
        if key is None:
            return outcome
        if isinstance(outcome, Sent):
            id = _attachment_id((graph_object(result) or {}).get("attachment_id"))
            if id:
                self._keep(key, id, outgoing.now)
        elif isinstance(outcome, Refused) and reason_codes(result) == ATTACHMENT_ID_REFUSED:
            self._forget(key, body["message"]["attachment"]["payload"].get("attachment_id"))
            return Retry(at=outgoing.now, reason=f"again by its address: {outcome.reason}")
        return outcome

    def _id(self, key: tuple[str, str, str], now: float) -> str | None:
        id, since = self._known.get(key, ("", 0.0))
        if id and now - since >= LIFETIME:
            del self._known[key]
            return None
        return id or None

    def _forget(self, key: tuple[str, str, str], id: str | None) -> None:
        if self._known.get(key, ("",))[0] == id:  # another send may have learnt a new one meanwhile
            del self._known[key]

    def _keep(self, key: tuple[str, str, str], id: str, now: float) -> None:
        self._known[key] = (id, now)
        self._known.move_to_end(key)
        if len(self._known) > MOST:
            self._known.popitem(last=False)


def _key(outgoing: Outgoing) -> tuple[str, str, str] | None:
    part = outgoing.part
    if not isinstance(part, Image | Audio | Video | File):
        return None
    return outgoing.address.account, str(part.__struct_config__.tag), part.url


def _attachment_id(value: JSON) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else ""
