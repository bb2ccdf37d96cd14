"""
Renews the tokens of Instagram's own login, which end after 60 days.

A token can be renewed once it is a day old, and not after its end (Meta, "Instagram API with
Instagram Login: Refresh a long-lived token", read in 2026).
"""

from __future__ import annotations

import hashlib

from ..channel import Renewed, Steps
from ..model import JSON, Refused, Retry
from ..secret import Secret
from .graph import AccountTokens, Graph
from .outcomes import graph_object, graph_outcome

LIFETIME = 60 * 86_400.0
AGAIN_AFTER_A_REFUSAL = 25 * 3600.0
"""Seconds: a token that is too young today is old enough then."""
AGAIN_AFTER_TROUBLE = 3600.0


class TokenRenewal:
    """The tokens of one channel. What is stored names, by a hash, the configured token that it grew from:
    an operator who writes a new one into the configuration is believed.
    """

    def __init__(self, channel: str, graph: Graph, tokens: AccountTokens) -> None:
        self._channel = channel
        self._graph = graph
        self._tokens = tokens
        self._origins = {account: _hash(tokens.known(account)) for account in tokens.accounts}

    @property
    def accounts(self) -> tuple[str, ...]:
        """Those whose tokens end."""
        return tuple(self._origins)

    def restore(self, account: str, state: JSON) -> float | None:
        """Go by the token in `state`; when to renew it, None if it is not this configuration's."""
        fields = state if isinstance(state, dict) else {}
        token, at = fields.get("token"), fields.get("again_at")
        if fields.get("of") != self._origins.get(account) or not isinstance(token, str) or not token:
            return None
        self._tokens.replace(account, Secret(token))
        return float(at) if isinstance(at, int | float) else 0.0

    def renew(self, account: str, now: float) -> Steps[Renewed]:
        """Ask for a token of another 60 days, and go by it."""
        token = self._tokens.known(account)
        result = yield self._graph.get_edge(token, "refresh_access_token", "grant_type=ig_refresh_token")
        answer = graph_object(result) or {}
        renewed, seconds = answer.get("access_token"), answer.get("expires_in")
        if isinstance(renewed, str) and renewed:
            lasts = float(seconds) if isinstance(seconds, int | float) and seconds > 0 else LIFETIME
            self._tokens.replace(account, Secret(renewed))
            again_at = now + lasts / 2
            return Renewed(
                state={"token": renewed, "of": self._origins[account], "again_at": again_at},
                again_at=again_at,
            )
        outcome = graph_outcome(result, now)
        reason = outcome.reason if isinstance(outcome, Refused | Retry) else "the answer is not the Graph's"
        refused = isinstance(outcome, Refused)
        return Renewed(
            again_at=now + (AGAIN_AFTER_A_REFUSAL if refused else AGAIN_AFTER_TROUBLE),
            trouble=f"the token of {account} was not renewed: {reason}",
        )


def _hash(token: Secret) -> str:
    return hashlib.sha256(token.reveal().encode()).hexdigest()[:32]
