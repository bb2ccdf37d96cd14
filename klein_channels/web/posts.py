"""
A POST that came in one piece, read at a glance: the short way of hot webhooks.

`read_post` takes what is plainly one request for a known path, and nothing else. Whatever it leaves
(pieces, chunks, ``Expect``, a head that is odd in any way) goes to twisted.web's parser with its first
byte still unread, so there is one opinion of what is a bad request. What it takes, that parser would
have understood in the same way: a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import NamedTuple

from twisted.web.http import NO_BODY_CODES, RESPONSES, HTTPChannel, datetimeToString
from twisted.web.http_headers import Headers
from twisted.web.server import version

from ..model import WebhookResponse

# A method, a target and a version that are no matter of opinion; tokens before the colons, and no line
# that continues another.
_HEAD = re.compile(rb"POST (/[!-~]*) HTTP/1\.1\r\n((?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00\r\n]*\r\n)+)\r\n")
_MOST_HEAD = HTTPChannel.totalHeadersSize
_MOST_HEADERS = HTTPChannel.maxHeaders
_TELLING = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"connection"})
"""What a header says about the request itself or its connection."""


class Post(NamedTuple):
    """One whole POST, and the bytes behind it, if any."""

    path: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    rest: bytes


def read_post(data: bytes, limit: Callable[[bytes], int | None]) -> Post | None:
    """The POST at the beginning of `data`; None where the ordinary parser should look at it.

    `limit` says how many bytes a body for a path may have, None for paths that are not hot.
    """
    head = _HEAD.match(data)
    if head is None or head.end() > _MOST_HEAD:
        return None
    target, block = head.groups()
    path = target.partition(b"?")[0]
    most = limit(path)
    if most is None:
        return None
    headers = []
    length = None
    for line in block.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip()
        if name in _TELLING:
            if name == b"content-length" and length is None and value.isdigit() and len(value) < 12:
                length = int(value)
            elif name != b"connection" or value.lower() != b"keep-alive":
                return None
        headers.append((name, value))
    begin = head.end()
    if length is None or length > most or len(data) - begin < length or len(headers) > _MOST_HEADERS:
        return None
    return Post(path, target, tuple(headers), data[begin : begin + length], data[begin + length :])


def answer_to_post(response: WebhookResponse, now: float, *, last: bool) -> bytes:
    """The bytes of an answer; `last` tells the client that its connection ends with it."""
    status, body = response.status, response.body
    phrase = RESPONSES.get(status, b"Unknown Status")
    head = b"HTTP/1.1 %d %s\r\nServer: %s\r\nDate: %s\r\n" % (status, phrase, version, _date(int(now)))
    if last:
        head += b"Connection: close\r\n"
    if response.headers:
        head += _lines(response.headers)
    if status in NO_BODY_CODES:
        return head + b"\r\n"
    kind = response.content_type.encode("latin-1")
    return b"%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s" % (head, kind, len(body), body)


def _lines(given: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header lines; a line break in a value becomes a space, as everywhere in twisted.web."""
    headers = Headers()
    for name, value in given:
        headers.addRawHeader(name, value)
    for ours in (b"Content-Type", b"Content-Length"):
        headers.removeHeader(ours)
    found = (b"%s: %s\r\n" % (name, value) for name, values in headers.getAllRawHeaders() for value in values)
    return b"".join(found)


_date = lru_cache(maxsize=2)(datetimeToString)
