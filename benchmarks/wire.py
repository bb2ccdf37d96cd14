"""What goes over the wire in the benchmarks: signed Messenger webhooks, and the Graph's answers."""

from __future__ import annotations

import hashlib
import hmac
import json

PAGES = [f"{1067280970047460 + number}" for number in range(20)]
"""Several, so that what is measured is the server and not the pace that Meta sets each page."""
SECRET = "0123456789abcdef0123456789abcdef"
VERIFY = "verify-token-of-benchmarks"
TOKENS = {page: f"EAAG{'benchmark' * 18}{page}" for page in PAGES}
WEBHOOK = "/app/webhook"
# Filler, so that a body has the size that Meta's have.
_TEXT = "message {number} hello, I would like to know whether my order has been sent yet, and when it comes"


def webhook(number: int, person: int, at: float) -> bytes:
    """A whole signed POST: message `number`, from `person` to a page of theirs, sent at `at`."""
    page = PAGES[person % len(PAGES)]
    milliseconds = int(at * 1000)
    item = {
        "sender": {"id": f"{2_000_000_000_000_000 + person}"},
        "recipient": {"id": page},
        "timestamp": milliseconds,
        "message": {
            "mid": f"m_{number:012d}" + hashlib.sha256(b"%d" % number).hexdigest() * 2,
            "text": _TEXT.format(number=number),
        },
    }
    entry = {"id": page, "time": milliseconds, "messaging": [item]}
    body = json.dumps({"object": "page", "entry": [entry]}, separators=(",", ":")).encode()
    signature = hmac.digest(SECRET.encode(), body, "sha256").hex()
    weaker = hmac.digest(SECRET.encode(), body, "sha1").hex()
    return (
        f"POST {WEBHOOK} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: facebookexternalua\r\n"
        "Accept: */*\r\nAccept-Encoding: deflate, gzip\r\nContent-Type: application/json\r\n"
        f"X-Hub-Signature: sha1={weaker}\r\nX-Hub-Signature-256: sha256={signature}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def number_of(text: str) -> int:
    """The number of the message that `text` is, or repeats."""
    return int(text.partition("message ")[2].split(" ", 1)[0])


class Reader:
    """Cuts a stream into HTTP messages, all of which must have a Content-Length."""

    def __init__(self) -> None:
        self._left = b""

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """The messages that are complete now, as head and body."""
        self._left += data
        found = []
        while (end := self._left.find(b"\r\n\r\n")) >= 0:
            head = self._left[:end]
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(self._left) < end + 4 + length:
                break
            found.append((head, self._left[end + 4 : end + 4 + length]))
            self._left = self._left[end + 4 + length :]
        return found
