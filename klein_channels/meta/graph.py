"""How Meta's Graph API is called: its address and version, and the token of each account."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from ..channel import Steps
from ..environment import from_environment
from ..errors import ConfigError, PlatformError
from ..model import JSON, Call, Refused, Retry
from ..secret import Secret
from ..signatures import appsecret_proof
from .outcomes import graph_object, graph_outcome

GRAPH_URL = "https://graph.facebook.com"
GRAPH_URL_VARIABLE = "KLEIN_CHANNELS_GRAPH_URL"
GRAPH_VERSION = "v25.0"
"""Served until 29 July 2028 (Meta, "Graph API Changelog", July 2026)."""
SEND_DEADLINE = 20.0


class Graph:
    """One app at the Graph: makes the calls, sends none.

    With `proof_secret` every call also proves that we know the app secret, which Meta demands
    of apps that have "Require App Secret" on and accepts from all.
    """

    def __init__(
        self,
        channel: str,
        url: str | None,
        version: str,
        proof_secret: Secret | None,
        default_url: str = GRAPH_URL,
    ) -> None:
        base = url or from_environment(GRAPH_URL_VARIABLE, default_url)
        if not isinstance(base, str) or not re.fullmatch(r"https?://[^\s?#]+", base):
            raise ConfigError(f"channel {channel!r}: graph_url must be an address like {GRAPH_URL}")
        if not isinstance(version, str) or not re.fullmatch(r"v\d+\.\d+", version):
            raise ConfigError(f"channel {channel!r}: graph_version must be written like {GRAPH_VERSION}")
        self.base = base.rstrip("/")
        self._base = f"{base.rstrip('/')}/{version}"
        self._proof_secret = proof_secret
        self._proofs: dict[Secret, str] = {}

    def post(
        self, token: Secret, node: str, edge: str, body: JSON, effect: bool, deadline: float = SEND_DEADLINE
    ) -> Call:
        """A call that posts `body` to an edge of `node`."""
        return self._call("POST", token, f"{quote(node, safe='')}/{edge}", "", body, effect, deadline)

    def get(self, token: Secret, node: str, fields: str) -> Call:
        """A call that asks for `fields` of `node`."""
        return self._call("GET", token, quote(node, safe=""), f"fields={quote(fields)}", None, False)

    def get_edge(self, token: Secret, path: str, query: str = "") -> Call:
        """A call that reads `path`, whose names are quoted already."""
        return self._call("GET", token, path, query, None, False)

    def post_to(self, token: Secret, path: str, body: JSON, query: str = "") -> Call:
        """A call that posts `body` to `path`, and that nobody sees."""
        return self._call("POST", token, path, query, {} if body is None else body, False)

    def delete(self, token: Secret, path: str, body: JSON, query: str = "") -> Call:
        """A call that takes away what `body` names."""
        return self._call("DELETE", token, path, query, body, False)

    def debug_token(self, app_token: Secret, token: Secret) -> Call:
        """A call that asks what a token may do; there, and only there, the token stands in the address."""
        return self._call(
            "GET", app_token, "debug_token", f"input_token={quote(token.reveal())}", None, False
        )

    def _call(
        self,
        method: str,
        token: Secret,
        path: str,
        query: str,
        body: JSON,
        effect: bool,
        deadline: float = SEND_DEADLINE,
    ) -> Call:
        headers = [("Authorization", f"Bearer {token.reveal()}")]
        if body is not None:
            headers.append(("Content-Type", "application/json"))
        asked = "&".join(part for part in (query, self._proof(token)) if part)
        return Call(
            method=method,
            url=f"{self._base}/{path}" + (f"?{asked}" if asked else ""),
            headers=tuple(headers),
            body=b"" if body is None else msgspec.json.encode(body),
            deadline=deadline,
            trust="configured",
            effect=effect,
        )

    def _proof(self, token: Secret) -> str:
        if self._proof_secret is None:
            return ""
        if token not in self._proofs:
            self._proofs[token] = f"appsecret_proof={appsecret_proof(token, self._proof_secret)}"
        return self._proofs[token]


class AccountTokens:
    """The tokens of a channel's accounts (pages), some of which may not be known by account yet.

    Where the configuration gives only tokens, the Graph is asked whose they are when one is first
    needed, and the answers are kept. A single token needs no asking: it is everybody's.
    """

    def __init__(
        self, channel: str, key: str, known: Mapping[str, Secret], unasked: Iterable[Secret]
    ) -> None:
        self._channel = channel
        self._key = key
        self._known = dict(known)
        self._unasked = [token for token in dict.fromkeys(unasked) if token not in self._known.values()]
        self._lone = self._unasked[0] if len(self._unasked) == 1 and not self._known else None

    @property
    def accounts(self) -> tuple[str, ...]:
        """The accounts that are known, in the order of the configuration."""
        return tuple(self._known)

    def known(self, account: str) -> Secret:
        """The token of an account that is configured by its id."""
        return self._known[account]

    def replace(self, account: str, token: Secret) -> None:
        """Go by another token of `account` from now on."""
        self._known[account] = token

    def covers(self, account: str) -> bool:
        """Whether `account` is configured, or may be, as far as is known."""
        return account in self._known or bool(self._unasked)

    def all_known(self, graph: Graph) -> Steps[tuple[str, ...]]:
        """All accounts, after the Graph was asked about those that are not known yet; `PlatformError`."""
        for token in list(self._unasked):
            problem = yield from self._ask(graph, token, 0.0)
            if problem is not None:
                raise PlatformError(problem.reason)
        return self.accounts

    def token_for(self, graph: Graph, account: str, now: float) -> Steps[Secret | Retry | Refused]:
        """The token of `account`, or why there is none."""
        problem: Retry | Refused | None = None
        for token in list(self._unasked):
            if account in self._known or self._lone:
                break
            failed = yield from self._ask(graph, token, now)
            # What may pass by itself goes before what may not: the token sought may be behind it.
            problem = problem if failed is None or isinstance(problem, Retry) else failed
        found = self._known.get(account) or self._lone
        if found is not None:
            return found
        if problem is not None:
            return problem
        return Refused(
            reason=f"channel {self._channel!r}: no token for {account!r}; add it to {self._key}",
            scope="account",
        )

    def _ask(self, graph: Graph, token: Secret, now: float) -> Steps[Retry | Refused | None]:
        """Learn whose `token` is; returns why that failed."""
        result = yield graph.get(token, "me", "id,name")
        owner = _owner(graph_object(result))
        if owner is not None:
            self._known.setdefault(owner, token)
            if token in self._unasked:  # another conversation's send may have asked meanwhile
                self._unasked.remove(token)
            return None
        outcome = graph_outcome(result, now)
        reason = f"channel {self._channel!r}: the Graph does not say whose a token of {self._key} is"
        if isinstance(outcome, Refused):
            return Refused(reason=f"{reason}: {outcome.reason}", scope="account")
        at = outcome.at if isinstance(outcome, Retry) else None
        return Retry(at=at, scope="account", reason=reason)


def _owner(answer: dict[str, Any] | None) -> str | None:
    account = answer.get("id") if answer else None
    if isinstance(account, int) and not isinstance(account, bool):
        return str(account)
    return account if isinstance(account, str) and account else None
