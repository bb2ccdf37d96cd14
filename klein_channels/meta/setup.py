"""
Tells Meta of us: where our webhook is, what each account sends there, what it shows of itself.

Everything is asked for first; only what differs is changed. Facts: Meta, "Graph API: Application
Subscriptions", "Page Subscribed Apps", "Messenger Profile API" (read in 2026).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec

from ..channel import Steps
from ..errors import PlatformError
from ..model import JSON, Call, CallResult
from ..secret import Secret
from .graph import AccountTokens, Graph
from .outcomes import graph_object, graph_outcome
from .profile import same


@dataclass(frozen=True, slots=True)
class Setup:
    """What one channel wants. `subject` is the webhook's ``object``, `platform` empty or a query of profiles.

    `verify_token` and `app_secret` are what the app's own subscription is made with. Without an
    `app_edge` the app's webhook is set by hand, in its dashboard.
    """

    channel: str
    subject: str
    graph: Graph
    tokens: AccountTokens
    verify_token: Secret
    app_secret: Secret
    fields: tuple[str, ...]
    profile: Mapping[str, JSON]
    platform: str = ""
    has_app: bool = True

    def provision(self, webhook_url: str, *, dry_run: bool) -> Steps[tuple[str, ...]]:
        """Change what differs; a line for each difference. Raises `PlatformError`."""
        accounts = yield from self.tokens.all_known(self.graph)
        lines: list[str] = []
        if self.has_app and webhook_url and accounts:
            lines += yield from self._webhook(accounts[0], webhook_url, dry_run)
        for account in accounts:
            lines += yield from self._subscription(account, dry_run)
            lines += yield from self._profile(account, dry_run)
        return tuple(lines)

    # The app's webhook

    def _webhook(self, account: str, url: str, dry_run: bool) -> Steps[list[str]]:
        app = yield from app_id(self.graph, self.tokens.known(account))
        token = app_token(app, self.app_secret)
        path = f"{quote(app, safe='')}/subscriptions"
        listed = yield from told(self.graph.get_edge(token, path), "the app's webhooks")
        found = next((item for item in _data(listed) if item.get("object") == self.subject), {})
        missing = _missing(self.fields, _names(found.get("fields")))
        lines = []
        if found.get("callback_url") != url:
            lines.append(f"webhook: {found.get('callback_url') or 'none'} -> {url}")
        if missing:
            lines.append(f"webhook: also {', '.join(missing)}")
        if lines and not dry_run:
            body = {
                "object": self.subject,
                "callback_url": url,
                "verify_token": self.verify_token.reveal(),
                "fields": ",".join([*_names(found.get("fields")), *missing]),
            }
            # Meta asks the address for the verify token before it answers.
            yield from told(self.graph.post_to(token, path, body), f"the webhook {url}")
        return lines

    # What an account sends there

    def _subscription(self, account: str, dry_run: bool) -> Steps[list[str]]:
        token = self.tokens.known(account)
        found = yield from subscribed_fields(self.graph, token, self.has_app)
        missing = _missing(self.fields, found)
        if not missing:
            return []
        if not dry_run:
            query = f"subscribed_fields={quote(','.join([*found, *missing]))}"
            yield from told(
                self.graph.post_to(token, "me/subscribed_apps", None, query), f"the subscription of {account}"
            )
        return [f"{account}: subscribe to {', '.join(missing)}"]

    # What it shows

    def _profile(self, account: str, dry_run: bool) -> Steps[list[str]]:
        if not self.profile:
            return []
        token, path = self.tokens.known(account), "me/messenger_profile"
        query = "&".join(part for part in (f"fields={','.join(self.profile)}", self.platform) if part)
        listed = yield from told(self.graph.get_edge(token, path, query), f"the profile of {account}")
        found = next(iter(_data(listed)), {})
        different = {
            key: wanted
            for key, wanted in self.profile.items()
            if (found.get(key) is not None if wanted is None else not same(key, found.get(key), wanted))
        }
        if not dry_run:
            yield from self._change(account, {k: v for k, v in different.items() if v is not None})
            yield from self._take_away(account, [k for k, v in different.items() if v is None])
        return [
            f"{account}: {key}: {_shown(found.get(key))} -> {_shown(wanted)}"
            for key, wanted in different.items()
        ]

    def _change(self, account: str, wanted: dict[str, JSON]) -> Steps[None]:
        if wanted:
            call = self.graph.post_to(
                self.tokens.known(account), "me/messenger_profile", wanted, self.platform
            )
            yield from told(call, f"the profile of {account}")

    def _take_away(self, account: str, keys: Sequence[str]) -> Steps[None]:
        # The menu goes first: Get Started cannot go before it.
        if keys:
            call = self.graph.delete(
                self.tokens.known(account),
                "me/messenger_profile",
                {"fields": sorted(keys, reverse=True)},
                self.platform,
            )
            yield from told(call, f"the profile of {account}")


def told(call: Call, what: str) -> Steps[dict[str, Any]]:
    """The answer to `call`; `PlatformError` names `what` was asked for, and why there is none."""
    result: CallResult = yield call
    answer = graph_object(result)
    if answer is None:
        outcome = graph_outcome(result, 0.0)
        raise PlatformError(f"{what}: {getattr(outcome, 'reason', 'the answer is not the Graph’s')}")
    return answer


def app_id(graph: Graph, token: Secret) -> Steps[str]:
    """The id of the app that a token was made for."""
    answer = yield from told(graph.get_edge(token, "app", "fields=id"), "the token's app")
    return str(answer.get("id") or "")


def app_token(app: str, secret: Secret) -> Secret:
    """What the app itself proves itself with (Meta, "Access Tokens: App Access Tokens")."""
    return Secret(f"{app}|{secret.reveal()}")


def subscribed_fields(graph: Graph, token: Secret, has_app: bool) -> Steps[list[str]]:
    """What an account sends to the app of its token; without `has_app` only that one is listed."""
    app = (yield from app_id(graph, token)) if has_app else None
    listed = yield from told(graph.get_edge(token, "me/subscribed_apps"), "the subscribed apps")
    ours = (item for item in _data(listed) if app is None or str(item.get("id")) == app)
    return _names(next(ours, {}).get("subscribed_fields"))


def _data(answer: dict[str, Any]) -> list[dict[str, Any]]:
    data = answer.get("data")
    return [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []


def _names(fields: JSON) -> list[str]:
    """Fields, which come as names or as objects with one."""
    named = [item.get("name") if isinstance(item, dict) else item for item in fields or ()]
    return [name for name in named if isinstance(name, str)]


def _missing(wanted: Sequence[str], found: Sequence[str]) -> list[str]:
    return [name for name in wanted if name not in found]


def _shown(value: JSON) -> str:
    return "none" if value is None else msgspec.json.encode(value).decode()
