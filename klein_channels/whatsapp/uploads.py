"""
Gives WhatsApp the bytes of a file, and sends it by the id that it gets in return.

For files that Meta cannot fetch itself, or that are sent often. Ids live for 30 days (Meta, "Media",
16 June 2026); they are kept in memory, so after a restart a file is given once more.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import TypeAlias

import msgspec

from ..channel import Steps
from ..media_types import HEAD, UNKNOWN, recognised
from ..meta.graph import Graph
from ..meta.outcomes import graph_object, retry_after
from ..model import Audio, Call, CallResult, File, Image, Outgoing, Refused, Retry, Video
from ..secret import Secret
from .outcomes import send_outcome
from .sends import MEDIA

LIFETIME = 29 * 86_400.0
"""Seconds; a little less than WhatsApp's own 30 days."""
MOST_KEPT = 10_000
MEGABYTE = 1 << 20
_MOST = {Image: 5 * MEGABYTE, Audio: 16 * MEGABYTE, Video: 16 * MEGABYTE, File: 16 * MEGABYTE}
"""Bytes. WhatsApp takes documents of 100 MB, but by their address only: here a file is in memory."""
_Media: TypeAlias = Image | Audio | Video | File
_Key: TypeAlias = tuple[str, str]


class Uploads:
    """What was given to WhatsApp: each number has ids of its own."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: OrderedDict[_Key, tuple[str, float]] = OrderedDict()

    def given(self, outgoing: Outgoing, token: Secret) -> Steps[Outgoing | Retry | Refused]:
        """`outgoing` with the id of its file in place of the address, or why there is none."""
        part = outgoing.part
        if not isinstance(part, _Media) or part.url.startswith(MEDIA):
            return outgoing
        key = (outgoing.address.account, part.url)
        id, since = self._known.get(key, ("", 0.0))
        if not id or outgoing.now - since >= LIFETIME:
            found = yield from self._upload(outgoing, part, token)
            if not isinstance(found, str):
                return found
            id = found
            self._keep(key, id, outgoing.now)
        return msgspec.structs.replace(outgoing, part=msgspec.structs.replace(part, url=f"{MEDIA}{id}"))

    def _upload(self, outgoing: Outgoing, part: _Media, token: Secret) -> Steps[str | Retry | Refused]:
        most = _MOST[type(part)]
        file: CallResult = yield Call(method="GET", url=part.url, deadline=60.0, max_response=most)
        trouble = _trouble(file, outgoing.now)
        if trouble is not None:
            return trouble
        result: CallResult = yield self._form(token, outgoing.address.account, file)
        id = (graph_object(result) or {}).get("id")
        if isinstance(id, str) and id:
            return id
        outcome = send_outcome(result, outgoing.now, outgoing.attempt)
        # Nobody has seen anything yet: whatever is not a clear no is tried again.
        return outcome if isinstance(outcome, Retry | Refused) else Retry(reason="the upload has no id")

    def _form(self, token: Secret, account: str, file: CallResult) -> Call:
        kind = recognised(file.body[:HEAD]) or (file.header("content-type") or UNKNOWN).partition(";")[0]
        # A sum of the content cannot stand in the content but by a wonder.
        border = hashlib.sha256(file.body).hexdigest()
        fields = b"".join(
            f'--{border}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in (("messaging_product", "whatsapp"), ("type", _plain(kind)))
        )
        head = f'--{border}\r\nContent-Disposition: form-data; name="file"; filename="file"\r\n'
        head += f"Content-Type: {_plain(kind)}\r\n\r\n"
        body = fields + head.encode() + file.body + f"\r\n--{border}--\r\n".encode()
        call = self._graph.post(token, account, "media", None, False, 60.0)
        headers = (*call.headers, ("Content-Type", f"multipart/form-data; boundary={border}"))
        return msgspec.structs.replace(call, headers=headers, body=body)

    def _keep(self, key: _Key, id: str, now: float) -> None:
        self._known[key] = (id, now)
        self._known.move_to_end(key)
        if len(self._known) > MOST_KEPT:
            self._known.popitem(last=False)


def _plain(kind: str) -> str:
    """A content type that cannot break out of its line."""
    plain = kind.strip().lower()
    return plain if plain.isascii() and plain.isprintable() and "/" in plain else UNKNOWN


def _trouble(file: CallResult, now: float) -> Retry | Refused | None:
    """Why the file cannot be given, if it cannot."""
    if file.outcome == "answered" and 200 <= file.status < 300:
        return None
    reason = " ".join((file.error or f"HTTP {file.status}").split())[:200]
    if file.outcome == "answered" and 400 <= file.status < 500 and file.status != 429:
        return Refused(reason=f"the file could not be fetched: {reason}")
    if "longer than" in reason:
        return Refused(reason=f"the file is too large for WhatsApp: {reason}")
    return Retry(at=retry_after(file, now), reason=f"the file could not be fetched: {reason}")
