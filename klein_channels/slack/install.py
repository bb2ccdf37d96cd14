"""
How workspaces are joined: the address that sends somebody to Slack, and the code that they bring back.

Slack, "Installing with OAuth" and "oauth.v2.access" (docs.slack.dev, read November 2026).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from urllib.parse import urlencode

from ..channel import Steps
from ..errors import PlatformError
from ..model import Call
from ..secret import Secret
from .api import SEND_DEADLINE, SlackApi
from .outcomes import answer_of, error_of

AUTHORIZE_URL = "https://slack.com/oauth/v2/authorize"
SCOPES = (
    "app_mentions:read",
    "channels:history",
    "chat:write",
    "commands",
    "files:read",
    "groups:history",
    "im:history",
    "mpim:history",
    "reactions:read",
    "reactions:write",
)
"""What the channel makes use of."""


class Installation:
    """One app at Slack: makes the addresses and calls with which a workspace gives it a token."""

    def __init__(
        self,
        channel: str,
        api: SlackApi,
        client_id: str,
        client_secret: Secret,
        scopes: Iterable[str],
        url: str,
    ) -> None:
        self._channel = channel
        self._api = api
        self._client_id = client_id
        self._client_secret = client_secret
        self._scopes = ",".join(scopes)
        self._url = url

    def authorize_url(self, state: str, redirect_uri: str | None = None) -> str:
        """Where somebody is sent to allow the app in; `state` comes back with the code."""
        asked = {"client_id": self._client_id, "scope": self._scopes, "state": state}
        if redirect_uri is not None:
            asked["redirect_uri"] = redirect_uri
        return f"{self._url}?{urlencode(asked)}"

    def exchange(self, code: str, redirect_uri: str | None = None) -> Steps[tuple[str, Secret]]:
        """The workspace that a code came from, or its organisation, and the token to answer it with.

        Raises `PlatformError` where Slack gives none.
        """
        result = yield self._call(code, redirect_uri)
        answer = answer_of(result) or {}
        if result.outcome != "answered" or answer.get("ok") is not True:
            reason = (
                error_of(answer) if answer.get("ok") is False else result.error or f"HTTP {result.status}"
            )
            raise self._problem(f"gives no token for the code: {reason}")
        if answer.get("refresh_token") is not None or answer.get("expires_in") is not None:
            raise self._problem("gives a token that expires: token rotation is on, and is not supported")
        whole = answer.get("is_enterprise_install") is True
        place = answer.get("enterprise") if whole else answer.get("team")
        team = place.get("id") if isinstance(place, dict) else None
        token = answer.get("access_token")
        if not isinstance(team, str) or not team or not isinstance(token, str) or not token:
            raise self._problem("gives no bot token with the code")
        return team, Secret(token)

    def _call(self, code: str, redirect_uri: str | None) -> Call:
        pair = f"{self._client_id}:{self._client_secret.reveal()}".encode()
        fields = {"code": code} if redirect_uri is None else {"code": code, "redirect_uri": redirect_uri}
        return Call(
            method="POST",
            url=self._api.url("oauth.v2.access"),
            headers=(
                ("Authorization", f"Basic {base64.b64encode(pair).decode()}"),
                ("Content-Type", "application/x-www-form-urlencoded"),
            ),
            body=urlencode(fields).encode(),
            deadline=SEND_DEADLINE,
            trust="configured",
            effect=True,
        )

    def _problem(self, what: str) -> PlatformError:
        return PlatformError(f"channel {self._channel!r}: Slack {what}")
