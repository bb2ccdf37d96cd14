"""
Reads the credentials of a channel, whether from Python or from a configuration file.

What comes out is `Secret` and usable; everything else is a `ConfigError` whose line names the
channel, the key and what to do, and never the value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import ConfigError
from .secret import Secret


class Credentials:
    """The reader for one configured channel."""

    def __init__(self, channel: str) -> None:
        self._channel = channel

    def problem(self, key: str, what: str) -> ConfigError:
        """The error that names this channel and `key`."""
        return ConfigError(f"channel {self._channel!r}: {key} {what}")

    def one(self, key: str, value: Any, hint: str) -> Secret:
        """A single text; `hint` tells where a missing one is to be found."""
        if value is None:
            raise self.problem(key, f"is missing: {hint}")
        if isinstance(value, Secret):
            value = value.reveal()
        if not isinstance(value, str):
            raise self.problem(key, f"must be a text, not {type(value).__name__}")
        text = value.strip()
        if not text:
            raise self.problem(key, f"is empty: {hint}")
        return Secret(text)

    def several(self, key: str, value: Any, hint: str) -> tuple[Secret, ...]:
        """One text or a list of them."""
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            if not value:
                raise self.problem(key, f"is empty: {hint}")
            return tuple(self.one(key, item, hint) for item in value)
        return (self.one(key, value, hint),)

    def token(self, key: str, value: Any, hint: str) -> Secret:
        """A text that can travel in a header."""
        token = self.one(key, value, hint)
        if not all("!" <= character <= "~" for character in token.reveal()):
            raise self.problem(key, "has a character that no token has; copy it again")
        return token

    def tokens(self, key: str, value: Any, hint: str) -> list[Secret]:
        """The tokens of accounts that are not named: one text or a list."""
        return [self.token(key, token.reveal(), hint) for token in self.several(key, value, hint)]

    def tokens_by_account(
        self, key: str, value: Mapping[Any, Any], hint: str, *, shared: bool = False
    ) -> dict[str, Secret]:
        """Tokens under the ids of their accounts, which may be numbers; perhaps one for several."""
        if not value:
            raise self.problem(key, f"is empty: {hint}")
        found: dict[str, Secret] = {}
        for account, text in value.items():
            if isinstance(account, bool) or not isinstance(account, str | int) or not str(account).strip():
                raise self.problem(key, "has an id that is neither a text nor a number")
            name = str(account).strip()
            found[name] = self.token(f"{key}[{name}]", text, hint)
        if not shared and len(set(found.values())) < len(found):
            raise self.problem(key, "has one token for two ids; each has a token of its own")
        return found
