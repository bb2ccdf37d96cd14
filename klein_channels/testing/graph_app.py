"""What the Graph's stand-in plays of an app: its webhooks, and what accounts send to it and show."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..model import JSON
from .graph_answers import Answer, Asked, Done, refusal

APP = "2000"
PERMISSIONS = ("pages_messaging", "pages_manage_metadata", "instagram_manage_messages", "instagram_basic")


class App:
    """The app with the id `APP`; its own token is its id and its secret.

    `webhooks` are its subscriptions by object, `permissions` what every token may do. `account_of`
    tells whose a token is. A webhook is believed unless `handshake` (address, verify token) says no.
    """

    def __init__(self, secret: str, account_of: Callable[[str], str | None]) -> None:
        self.webhooks: dict[str, dict[str, JSON]] = {}
        self.permissions: tuple[str, ...] = PERMISSIONS
        self.expires_at = 0
        self.handshake: Callable[[str, str], bool] = lambda url, token: True
        self._token = f"{APP}|{secret}"
        self._account_of = account_of

    @property
    def tokens(self) -> Mapping[str, str]:
        """The app's own."""
        return {APP: self._token}

    def answer(self, asked: Asked) -> Done | Answer | None:
        """What the Graph says to a request with the app's token."""
        if asked.node == "debug_token" and asked.method == "GET":
            return self._debugged(asked.query.get("input_token", ""))
        if (asked.node, asked.edge) != (APP, "subscriptions"):
            return None
        if asked.method == "GET":
            return Done(body={"data": list(self.webhooks.values())})
        return self._subscribed(asked) if asked.method == "POST" else None

    def _debugged(self, token: str) -> Done:
        if self._account_of(token) is None:
            error = {"code": 190, "message": "Invalid OAuth access token."}
            return Done(body={"data": {"is_valid": False, "error": error, "scopes": []}})
        facts = {
            "app_id": APP,
            "is_valid": True,
            "expires_at": self.expires_at,
            "scopes": list(self.permissions),
        }
        return Done(body={"data": {"type": "PAGE", **facts}})

    def _subscribed(self, asked: Asked) -> Done | Answer:
        body = asked.body if isinstance(asked.body, dict) else {}
        subject, url = str(body.get("object", "")), str(body.get("callback_url", ""))
        if not subject or not url.startswith("https://"):
            return refusal(100, "(#100) object and an https callback_url are required")
        if not self.handshake(url, str(body.get("verify_token", ""))):
            return refusal(2200, "(#2200) Callback verification failed")
        fields = [{"name": name, "version": "v25.0"} for name in str(body.get("fields", "")).split(",")]
        self.webhooks[subject] = {"object": subject, "callback_url": url, "active": True, "fields": fields}
        return Done(body={"success": True})


class Settings:
    """What the accounts of one product have set: `subscribed` fields of the app, `profiles`."""

    def __init__(self, *, has_app: bool = True) -> None:
        self._has_app = has_app
        self.subscribed: dict[str, list[str]] = {}
        self.profiles: dict[str, dict[str, JSON]] = {}

    def answer(self, asked: Asked) -> Done | Answer | None:
        """What the Graph says of an account's settings; None for all other paths."""
        if self._has_app and (asked.node, asked.edge, asked.method) == ("app", "", "GET"):
            return Done(body={"id": APP})
        if asked.node != asked.account:
            return None
        if asked.edge == "subscribed_apps":
            return self._subscription(asked)
        return self._profile(asked) if asked.edge == "messenger_profile" else None

    def _subscription(self, asked: Asked) -> Done | Answer | None:
        if asked.method == "GET":
            fields = self.subscribed.get(asked.account)
            apps = [] if fields is None else [{"id": APP, "name": "App", "subscribed_fields": fields}]
            others = [{"id": "1", "subscribed_fields": ["feed"]}] if self._has_app else []
            return Done(body={"data": [*others, *apps]})
        wanted = asked.query.get("subscribed_fields", "")
        if asked.method != "POST" or not wanted:
            return refusal(100, "(#100) The parameter subscribed_fields is required.")
        self.subscribed[asked.account] = wanted.split(",")
        return Done(body={"success": True})

    def _profile(self, asked: Asked) -> Done | Answer | None:
        profile = self.profiles.setdefault(asked.account, {})
        body = asked.body if isinstance(asked.body, dict) else {}
        if asked.method == "GET":
            names = asked.query.get("fields", "").split(",")
            found = {name: profile[name] for name in names if name in profile}
            return Done(body={"data": [found] if found else []})
        if asked.method == "DELETE":
            gone = body.get("fields") or ()
            left = {name: value for name, value in profile.items() if name not in gone}
        else:
            left = {**profile, **body}
        if "persistent_menu" in left and "get_started" not in left and "platform" not in asked.query:
            return refusal(100, "(#100) You must set a Get Started button if you also use a persistent menu")
        self.profiles[asked.account] = left
        return Done(body={"result": "success"})
