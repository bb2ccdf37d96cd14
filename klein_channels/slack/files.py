"""
Reads the files of a message; Slack gives them only to those who show the workspace's token.

Slack, "File object" (docs.slack.dev, read November 2026): ``url_private`` is at files.slack.com. A person can
also share what is kept elsewhere (``is_external``); there nobody is shown a token.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from ..json_fields import lenient_words
from ..model import JSON, Attachment, Call, CallResult
from ..secret import Secret

FILES_URL = "https://files.slack.com/"
LONGEST_FETCH = 60.0
"""Seconds for a whole file."""

_Kind: TypeAlias = Literal["image", "audio", "video", "file"]
_KINDS: dict[str, _Kind] = {"image": "image", "audio": "audio", "video": "video"}


def read_files(message: dict[str, Any]) -> tuple[Attachment, ...]:
    """The files of a message; none of them can fail to be read."""
    found = message.get("files")
    return tuple(map(_file, found)) if isinstance(found, list) else ()


def is_kept_by_slack(attachment: Attachment) -> bool:
    """Whether a file lies where Slack keeps files, and nowhere that only looks like it."""
    return attachment.url is not None and attachment.url.startswith(FILES_URL)


def file_call(url: str, token: Secret) -> Call:
    """Fetches a file of Slack's with the token of its workspace, for whoever runs it to save."""
    return Call(
        method="GET",
        url=url,
        headers=(("Authorization", f"Bearer {token.reveal()}"),),
        deadline=LONGEST_FETCH,
        trust="configured",
        save=True,
    )


def is_page_instead(result: CallResult, attachment: Attachment) -> bool:
    """Whether what came is a page to sign in at: Slack's answer, with 200, to a token without the scope."""
    file: Any = attachment.raw
    said = lenient_words(file.get("mimetype")) if isinstance(file, dict) else None
    return "text/html" in (result.header("content-type") or "") and "html" not in (said or "")


def _file(item: JSON) -> Attachment:
    if not isinstance(item, dict):
        return Attachment(kind="unknown", raw=item)
    url = lenient_words(item.get("url_private_download")) or lenient_words(item.get("url_private"))
    title = lenient_words(item.get("name")) or lenient_words(item.get("title"))
    family = (lenient_words(item.get("mimetype")) or "").partition("/")[0]
    kind = _KINDS.get(family, "file")
    return Attachment(kind=kind, url=url or None, title=title or None, raw=item)
