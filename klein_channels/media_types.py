"""What a file is, by its first bytes: what its sender calls it counts for nothing where they speak."""

from __future__ import annotations

HEAD = 64
"""Bytes that tell."""
UNKNOWN = "application/octet-stream"
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (8, b"WEBP", "image/webp"),
    (4, b"ftypheic", "image/heic"),
    (4, b"ftypmif1", "image/heic"),
    (4, b"ftypM4A", "audio/mp4"),
    (4, b"ftyp", "video/mp4"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (8, b"AVI ", "video/x-msvideo"),
    (0, b"OggS", "audio/ogg"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"\xff\xf2", "audio/mpeg"),
    (0, b"\xff\xf1", "audio/aac"),
    (0, b"\xff\xf9", "audio/aac"),
    (0, b"#!AMR", "audio/amr"),
    (8, b"WAVE", "audio/wav"),
    (0, b"fLaC", "audio/flac"),
    (0, b"%PDF-", "application/pdf"),
    (0, b"PK\x03\x04", "application/zip"),
    (0, b"\x7fELF", "application/x-executable"),
    (0, b"MZ", "application/x-dosexec"),
    (0, b"#!", "text/x-script"),
)
_EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/heic": "heic",
    "audio/mp4": "m4a",
    "video/mp4": "mp4",
    "video/3gpp": "3gp",
    "video/webm": "webm",
    "video/x-msvideo": "avi",
    "audio/ogg": "ogg",
    "audio/mpeg": "mp3",
    "audio/aac": "aac",
    "audio/amr": "amr",
    "audio/wav": "wav",
    "audio/flac": "flac",
    "application/pdf": "pdf",
}
_SHOWN_AS = {
    "image": ("image/",),
    "sticker": ("image/", "video/"),
    # The containers of sound and film are the same.
    "audio": ("audio/", "video/"),
    "video": ("video/", "audio/ogg", "image/gif"),
}


def recognised(head: bytes) -> str | None:
    """The type that the first `HEAD` bytes of a file show; None where they show none."""
    for place, magic, found in _MAGIC:
        if head[place : place + len(magic)] == magic:
            return found
    start = head.lstrip()[:15].lower()
    return "text/html" if start.startswith((b"<!doctype html", b"<html")) else None


def mismatch(kind: str, head: bytes) -> str | None:
    """Why a file cannot be what its attachment says, an ``image`` for instance; None where it may be."""
    wanted = _SHOWN_AS.get(kind)
    if wanted is None:
        return None
    found = recognised(head)
    if found is None:
        return f"it is no {kind} that is known"
    return None if found.startswith(wanted) else f"it is no {kind} but {found}"


def extension(content_type: str) -> str:
    """How the name of a file of that type ends: as nothing that could be run or opened by mistake."""
    return _EXTENSIONS.get(content_type, "bin")
