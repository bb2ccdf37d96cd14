"""What the channels of Twilio are configured with alike."""

from __future__ import annotations

from typing import Any

import msgspec

from ..channel import ChannelOptions
from ..credentials import Credentials
from ..secret import Secret
from .forms import Proof

SID_HINT = "copy the Account SID (AC…) from Twilio's console"
TOKEN_HINT = "copy the Auth Token from Twilio's console"  # noqa: S105
_KEY_HINT = "copy the secret of the shared key from Twilio's console"


def read_proof(credentials: Credentials, auth_token: Any, shared_key: Any) -> Proof:
    """What proves requests: the auth tokens, and the shared key where there is one of its own."""
    tokens = credentials.several("auth_token", auth_token, TOKEN_HINT)
    if shared_key is None:
        return Proof(tokens, tokens)
    return Proof(tokens, credentials.several("shared_key", shared_key, _KEY_HINT))


def hide(settings: ChannelOptions, key: str) -> None:
    """Make the text, or texts, under `key` secrets."""
    value = getattr(settings, key)
    hidden = _hidden(value)
    if hidden is not value:
        msgspec.structs.force_setattr(settings, key, hidden)


def _hidden(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_hidden(item) for item in value)
    return Secret(value) if isinstance(value, str) else value
