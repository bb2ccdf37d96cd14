"""How Slack's Web API is called."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..errors import ConfigError
from ..model import JSON, Call
from ..secret import Secret

API_URL = "https://slack.com/api"
SEND_DEADLINE = 20.0
_JSON = ("Content-Type", "application/json; charset=utf-8")


class SlackApi:
    """The Web API at one address: makes calls, sends none."""

    def __init__(self, channel: str, url: str | None) -> None:
        base = url or API_URL
        if not isinstance(base, str) or not re.fullmatch(r"https?://[^\s?#]+", base):
            raise ConfigError(f"channel {channel!r}: api_url must be an address like {API_URL}")
        self._base = base.rstrip("/")

    def call(self, token: Secret, method: str, body: dict[str, Any], effect: bool) -> Call:
        """A call of `method` with the token of a workspace."""
        return Call(
            method="POST",
            url=self.url(method),
            headers=(("Authorization", f"Bearer {token.reveal()}"), _JSON),
            body=msgspec.json.encode(body),
            deadline=SEND_DEADLINE,
            trust="configured",
            effect=effect,
        )

    def url(self, method: str) -> str:
        """The address of `method`."""
        return f"{self._base}/{method}"


def response_call(url: str, body: JSON) -> Call:
    """A call of a ``response_url``; it came in a payload, so it gets no token and is not trusted."""
    return Call(
        method="POST",
        url=url,
        headers=(_JSON,),
        body=msgspec.json.encode(body),
        deadline=SEND_DEADLINE,
        trust="content",
        effect=True,
    )
