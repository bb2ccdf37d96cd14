"""
How workspaces are joined: the address that sends somebody to Slack, and the code that they bring back.

Slack, "Installing with OAuth", "Using token rotation" and "oauth.v2.access" (docs.slack.dev, read November
2026).
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlencode

import msgspec

from ..channel import Grant, Steps
from ..errors import PlatformError
from ..model import JSON, Call
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

    @property
    def secret(self) -> Secret:
        """The app's, which nobody else has."""
        return self._client_secret

    def authorize_url(self, state: str, redirect_uri: str) -> str:
        """Where somebody is sent to allow the app in; `state` comes back with the code."""
        asked = {"client_id": self._client_id, "scope": self._scopes, "state": state}
        return f"{self._url}?{urlencode({**asked, 'redirect_uri': redirect_uri})}"

    def exchange(self, code: str, redirect_uri: str, now: float) -> Steps[Grant]:
        """The workspace that a code came from, or its organisation, and the token to answer it with.

        Raises `PlatformError` where Slack gives none.
        """
        fields = {"code": code, "redirect_uri": redirect_uri}
        return (yield from self._granted(fields, "the code", now))

    def renew(self, grant: Grant, now: float) -> Steps[Grant]:
        """The next token of a workspace whose tokens expire, and what the one after it is got with."""
        if grant.renewal is None:
            raise self._problem("gave nothing to renew a token with")
        fields = {"grant_type": "refresh_token", "refresh_token": grant.renewal.reveal()}
        renewed = yield from self._granted(fields, "the refresh token", now)
        # Of an organisation Slack names a workspace here: who has joined does not change.
        return msgspec.structs.replace(renewed, account=grant.account)

    def _granted(self, fields: dict[str, str], given: str, now: float) -> Steps[Grant]:
        result = yield self._call(fields)
        answer = answer_of(result) or {}
        if result.outcome != "answered" or answer.get("ok") is not True:
            reason = (
                error_of(answer) if answer.get("ok") is False else result.error or f"HTTP {result.status}"
            )
            raise self._problem(f"gives no token for {given}: {reason}")
        token, account = answer.get("access_token"), _place_of(answer)
        if not account or not isinstance(token, str) or not token:
            raise self._problem(f"gives no bot token with {given}")
        renewal, seconds = answer.get("refresh_token"), answer.get("expires_in")
        expires = isinstance(seconds, int) and not isinstance(seconds, bool) and seconds > 0
        return Grant(
            account=account,
            token=Secret(token),
            renewal=Secret(renewal) if isinstance(renewal, str) and renewal else None,
            expires_at=now + seconds if expires and isinstance(seconds, int) else None,
        )

    def _call(self, fields: dict[str, str]) -> Call:
        pair = f"{self._client_id}:{self._client_secret.reveal()}".encode()
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


def _place_of(answer: dict[str, Any]) -> str:
    """The workspace that a token is for, or the organisation where all of it installed the app."""
    place = answer.get("enterprise" if answer.get("is_enterprise_install") is True else "team")
    found = place.get("id") if isinstance(place, dict) else None
    return found if isinstance(found, str) else ""


def ends_grant(name: str, event: JSON) -> bool:
    """Whether an event (of that name) tells that a bot token is good for nothing any more."""
    tokens = event.get("tokens") if isinstance(event, dict) else None
    return name == "app_uninstalled" or (
        name == "tokens_revoked" and isinstance(tokens, dict) and bool(tokens.get("bot"))
    )
