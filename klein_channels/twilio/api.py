"""How Twilio's REST API is called."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from ..channel import Steps
from ..errors import ConfigError, PlatformError
from ..model import Call
from ..secret import Secret

API_URL = "https://api.twilio.com"
CONTENT_URL = "https://content.twilio.com"
SEND_DEADLINE = 20.0
MEDIA_DEADLINE = 60.0
_FORM = ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
_JSON = ("Content-Type", "application/json; charset=utf-8")


class TwilioApi:
    """The API of one account at one address: makes calls, sends none."""

    def __init__(
        self, channel: str, account_sid: str, token: Secret, api_url: str | None, content_url: str | None
    ) -> None:
        self._channel = channel
        self.account_sid = account_sid
        self._base = _checked(channel, "api_url", api_url or API_URL)
        self._content = _checked(channel, "content_url", content_url or CONTENT_URL)
        pair = f"{account_sid}:{token.reveal()}".encode()
        self._basic = Secret(base64.b64encode(pair).decode())

    def send_message(self, fields: Iterable[tuple[str, str]]) -> Call:
        """The call that sends one message."""
        path = f"/2010-04-01/Accounts/{quote(self.account_sid, safe='')}/Messages.json"
        body = urlencode(list(fields), errors="replace").encode()
        return self._post(self._base + path, _FORM, body, effect=True)

    def create_content(self, json: Any) -> Call:
        """The call that makes a content template, which nobody sees."""
        return self._post(f"{self._content}/v1/Content", _JSON, msgspec.json.encode(json), effect=False)

    def _post(self, url: str, kind: tuple[str, str], body: bytes, *, effect: bool) -> Call:
        return Call(
            method="POST",
            url=url,
            headers=(self._authorization, kind),
            body=body,
            deadline=SEND_DEADLINE,
            trust="configured",
            effect=effect,
        )

    @property
    def _authorization(self) -> tuple[str, str]:
        return ("Authorization", f"Basic {self._basic.reveal()}")

    def download(self, url: str, most_bytes: int) -> Steps[bytes]:
        """The bytes of a media URL of this account; raises `PlatformError`.

        Only Twilio itself is shown the credentials: it redirects to a store that gets none.
        """
        if not url.startswith(f"{self._base}/"):
            raise PlatformError(f"channel {self._channel!r}: the address is not one of {self._base}")
        result = yield Call(
            method="GET",
            url=url,
            headers=(self._authorization,),
            deadline=MEDIA_DEADLINE,
            max_response=most_bytes,
            trust="configured",
        )
        location = result.header("location")
        if result.outcome == "answered" and 300 <= result.status < 400 and location:
            result = yield Call(method="GET", url=location, deadline=MEDIA_DEADLINE, max_response=most_bytes)
        if result.outcome == "answered" and result.status == 200:
            return result.body
        reason = f"HTTP {result.status}" if result.outcome == "answered" else result.error or result.outcome
        raise PlatformError(f"channel {self._channel!r}: the media could not be fetched: {reason}")


def _checked(channel: str, key: str, url: str) -> str:
    if not re.fullmatch(r"https?://[^\s?#]+", url):
        raise ConfigError(f"channel {channel!r}: {key} must be an address like {API_URL}")
    return url.rstrip("/")
