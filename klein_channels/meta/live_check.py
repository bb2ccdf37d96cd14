"""
Asks Meta whether what is configured works: tokens, whose they are, what they may do, what is subscribed.

Facts: Meta, "Access Tokens: Debugging", "Graph API Versioning" (July 2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..channel import Finding, Steps
from ..errors import PlatformError
from ..model import CallResult
from ..secret import Secret
from .graph import AccountTokens, Graph
from .outcomes import graph_object, graph_outcome
from .setup import app_id, app_token, subscribed_fields, told

VERSION_ENDS = {
    20: "2026-09-24",
    21: "2027-01-21",
    22: "2027-05-20",
    23: "2027-10-08",
    24: "2028-02-18",
    25: "2028-07-29",
}
"""The day on which a version is served no more. What is older ended before; of newer ones none is known."""
WARNED_BEFORE = 180 * 86_400.0
"""Seconds before that day, and before a token's, from which on they are told of."""


@dataclass(frozen=True, slots=True)
class LiveCheck:
    """What is looked at for one channel. `me_fields` are those of ``/me`` that tell whose a token is.

    Without `has_app` Meta tells nothing of permissions and of the token's end.
    """

    version: str
    graph: Graph
    tokens: AccountTokens
    app_secret: Secret
    fields: Sequence[str]
    permissions: Sequence[str]
    me_fields: str = "id,name"
    has_app: bool = True

    def findings(self, now: float) -> Steps[tuple[Finding, ...]]:
        """Everything, also behind a fault."""
        found = [self._version(now)]
        for account in (yield from self.tokens.all_known(self.graph)):
            for look in (self._token, self._rights, self._subscription):
                try:
                    found += yield from look(account, now)
                except PlatformError as error:
                    found.append(Finding(ok=False, text=f"{account}: {error}"))
                    break
        return tuple(found)

    def _version(self, now: float) -> Finding:
        number = int(self.version[1:].partition(".")[0])
        oldest, day = min(VERSION_ENDS), VERSION_ENDS.get(number)
        if number < oldest:
            return Finding(ok=False, text=f"graph_version {self.version} is not served any more")
        if day is None:
            return Finding(ok=True, text=f"graph_version {self.version}")
        left = datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp() - now
        if left <= 0:
            return Finding(ok=False, text=f"graph_version {self.version} ended on {day}; write a newer one")
        soon = ": write a newer one soon" if left < WARNED_BEFORE else ""
        return Finding(ok=True, text=f"graph_version {self.version}, served until {day}{soon}")

    def _token(self, account: str, now: float) -> Steps[list[Finding]]:
        """Whether the Graph takes the token, and says that it is this account's."""
        result: CallResult = yield self.graph.get(self.tokens.known(account), "me", self.me_fields)
        answer = graph_object(result)
        if answer is None:
            raise PlatformError(f"the token: {getattr(graph_outcome(result, now), 'reason', 'no answer')}")
        owner, name = _owner(answer), str(answer.get("name") or answer.get("username") or "")
        if owner != account:
            raise PlatformError(f"the token belongs to {owner or 'no account'} {name}".rstrip())
        served = result.header("facebook-api-version")
        if served is not None and served != self.version:
            return [Finding(ok=False, text=f"{account}: {served} is served in place of {self.version}")]
        return [Finding(ok=True, text=f"{account}: the token is good ({name})")]

    def _rights(self, account: str, now: float) -> Steps[list[Finding]]:
        if not self.has_app:
            return []
        token = self.tokens.known(account)
        app = yield from app_id(self.graph, token)
        asked = self.graph.debug_token(app_token(app, self.app_secret), token)
        data = (yield from told(asked, "the app secret, or the token's rights")).get("data")
        facts = data if isinstance(data, dict) else {}
        if facts.get("is_valid") is False:
            raise PlatformError("the token is not valid any more")
        scopes = facts.get("scopes")
        granted = scopes if isinstance(scopes, list) else []
        missing = [name for name in self.permissions if name not in granted]
        found = [Finding(ok=True, text=f"{account}: permissions {', '.join(self.permissions)}")]
        if missing:
            found = [Finding(ok=False, text=f"{account}: the token lacks {', '.join(missing)}")]
        return [*found, *_end(account, facts.get("expires_at"), now)]

    def _subscription(self, account: str, now: float) -> Steps[list[Finding]]:
        subscribed = yield from subscribed_fields(self.graph, self.tokens.known(account), self.has_app)
        missing = [name for name in self.fields if name not in subscribed]
        if missing:
            text = f"{account}: not subscribed to {', '.join(missing)}; `setup` does that"
            return [Finding(ok=False, text=text)]
        return [Finding(ok=True, text=f"{account}: subscribed")]


def _owner(answer: dict[str, Any]) -> str:
    """Whose a token is: a page, the Instagram account of a page, or an Instagram account itself."""
    linked = answer.get("instagram_business_account")
    owner = linked.get("id") if isinstance(linked, dict) else answer.get("user_id") or answer.get("id")
    return str(owner or "")


def _end(account: str, expires_at: Any, now: float) -> list[Finding]:
    if not isinstance(expires_at, int) or isinstance(expires_at, bool) or expires_at <= 0:
        return []
    day = datetime.fromtimestamp(min(expires_at, 4_102_444_800), UTC).date().isoformat()
    return [Finding(ok=expires_at > now, text=f"{account}: the token ends on {day}")]
