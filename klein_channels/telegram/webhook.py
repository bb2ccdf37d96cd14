"""Tells Telegram where a bot's updates go. Run by an operator, never by a starting server."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ..channel import Steps
from ..errors import ConfigError, PlatformError
from ..secret import Secret
from .api import BotApi
from .kinds import UPDATE_KINDS
from .places import an_id, an_object

_PORTS = (443, 80, 88, 8443)


def check_username(api: BotApi, username: str) -> Steps[None]:
    """Raise `PlatformError` if the token is another bot's."""
    me = an_object((yield from api.ask("getMe", {})))
    name = an_id(me.get("username"))
    if name.lower() != username.lower():
        raise PlatformError(
            f"channel {api.channel!r}: access_token is that of @{name}, verify says @{username}"
        )


def set_webhook(api: BotApi, url: str, secret: Secret | None, *, dry_run: bool) -> Steps[tuple[str, ...]]:
    """Let updates go to `url` with `secret`, or without one nowhere, so that they can be asked for.

    A line for each difference. The secret cannot be asked for, so it is set each time. Raises
    `ConfigError`, `PlatformError`.
    """
    wanted = _checked(api.channel, url) if secret is not None else ""
    info = an_object((yield from api.ask("getWebhookInfo", {})))
    current = an_id(info.get("url"))
    lines = [] if current == wanted else [f"webhook: {current or 'none'} -> {wanted or 'none (polling)'}"]
    if secret is not None and (missing := _missing(info)):
        lines.append(f"allowed_updates: + {', '.join(missing)}")
    if not dry_run and secret is not None:
        asked = {"url": wanted, "secret_token": secret.reveal(), "allowed_updates": UPDATE_KINDS}
        yield from api.ask("setWebhook", asked)
    elif not dry_run and current:
        yield from api.ask("deleteWebhook", {})
    return tuple(lines)


def _missing(info: dict[str, Any]) -> list[str]:
    """The kinds of updates that do not come yet."""
    allowed = info.get("allowed_updates")
    had = [kind for kind in allowed if isinstance(kind, str)] if isinstance(allowed, list) else []
    return [kind for kind in UPDATE_KINDS if kind not in had]


def _checked(channel: str, url: str) -> str:
    problem = f"channel {channel!r}: the webhook's address"
    try:
        parts = urlsplit(url)
        port = parts.port or 443
    except ValueError:
        raise ConfigError(f"{problem} is none: set public_url or webhook_url") from None
    if parts.scheme != "https" or not parts.hostname:
        raise ConfigError(f"{problem} must begin with https://: set public_url or webhook_url")
    if port not in _PORTS:
        raise ConfigError(f"{problem} has the port {port}; Telegram knows only 443, 80, 88 and 8443")
    return url
