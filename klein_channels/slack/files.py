"""Reads the files of a message; Slack gives them only to those who show the workspace's token."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from ..json_fields import lenient_words
from ..model import JSON, Attachment

_Kind: TypeAlias = Literal["image", "audio", "video", "file"]
_KINDS: dict[str, _Kind] = {"image": "image", "audio": "audio", "video": "video"}


def read_files(message: dict[str, Any]) -> tuple[Attachment, ...]:
    """The files of a message; none of them can fail to be read."""
    found = message.get("files")
    return tuple(map(_file, found)) if isinstance(found, list) else ()


def _file(item: JSON) -> Attachment:
    if not isinstance(item, dict):
        return Attachment(kind="unknown", raw=item)
    url = lenient_words(item.get("url_private_download")) or lenient_words(item.get("url_private"))
    title = lenient_words(item.get("name")) or lenient_words(item.get("title"))
    family = (lenient_words(item.get("mimetype")) or "").partition("/")[0]
    kind = _KINDS.get(family, "file")
    return Attachment(kind=kind, url=url or None, title=title or None, raw=item)
