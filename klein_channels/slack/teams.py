"""The tokens with which workspaces are answered, one for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from ..secret import Secret


class TeamTokens(Protocol):
    """Bot tokens by workspace (``T…``) or, where a whole organisation installed the app, by it (``E…``).

    All of it is asked while requests are answered, so whatever is behind it keeps them in memory.
    """

    @property
    def teams(self) -> Iterable[str]:
        """The workspaces whose tokens are known by name."""

    def covers(self, team: str) -> bool:
        """Whether there is a token for `team`."""

    def token_for(self, team: str) -> Secret | None:
        """The token of `team`."""


class ConfiguredTokens:
    """The tokens of the configuration: `by_team`, and one for every team that is not named there."""

    def __init__(self, by_team: Mapping[str, Secret], otherwise: Secret | None = None) -> None:
        self._by_team = dict(by_team)
        self._otherwise = otherwise

    @property
    def teams(self) -> tuple[str, ...]:
        """The workspaces that the configuration names, in its order."""
        return tuple(self._by_team)

    def covers(self, team: str) -> bool:
        """Whether `team` is named, or there is a token for everybody."""
        return team in self._by_team or self._otherwise is not None

    def token_for(self, team: str) -> Secret | None:
        """The token of `team`, else the one for everybody."""
        return self._by_team.get(team, self._otherwise)


class JoinedTokens:
    """The tokens of workspaces that joined by OAuth, before those of the configuration."""

    def __init__(self, configured: ConfiguredTokens) -> None:
        self._configured = configured
        self._joined: dict[str, Secret] = {}

    def use(self, joined: Mapping[str, Secret]) -> None:
        """Know these, and no others that had joined."""
        self._joined = dict(joined)

    @property
    def teams(self) -> tuple[str, ...]:
        """The workspaces that the configuration names, and those that joined."""
        return tuple(dict.fromkeys((*self._configured.teams, *self._joined)))

    def covers(self, team: str) -> bool:
        """Whether `team` joined or is configured."""
        return team in self._joined or self._configured.covers(team)

    def token_for(self, team: str) -> Secret | None:
        """The token of `team`."""
        return self._joined.get(team) or self._configured.token_for(team)
