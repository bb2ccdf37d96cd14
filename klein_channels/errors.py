"""
Every exception that klein_channels raises on purpose::

    KleinChannelsError
    ├── ConfigError            the configuration says something impossible
    │   └── StartError         the configuration is fine, the world is not (store, agent, port)
    ├── ReactorError           serving was asked for where it cannot be done
    ├── WebhookError           a request that is answered with `status`
    │   ├── VerificationError  its sender is not proven
    │   │   └── UnknownKey     ... and the key that would prove it is not known yet
    │   └── MalformedWebhook   its sender is proven, its body is not understood
    ├── StoreError             the store could not do it; nothing was changed
    │   ├── StoreFull          the inbox is over its bound
    │   └── StoreUnavailable   the database is gone, locked, full or read-only
    ├── InstallError           an account could not join a channel
    ├── PlatformError          a platform refused what was asked of it, or did not answer
    └── AgentError             an agent failed to answer a turn
        ├── AgentUnreachable   it was not there: the conversation waits
        ├── AgentTimeout       it was there and did not end in time
        └── AgentReplyError    it answered with something that is no reply

Texts are single lines that name the channel, the key or the file, and the way out.
"""

from __future__ import annotations


class KleinChannelsError(Exception):
    """The root of the tree."""


class ConfigError(KleinChannelsError):
    """The configuration cannot be used; the text is one line with its path and the way out."""


class StartError(ConfigError):
    """Something that the configuration names is not there: a store, an agent, a port."""


class ReactorError(KleinChannelsError):
    """Serving was asked for in a place where the reactor cannot be run."""


class WebhookError(KleinChannelsError):
    """A request that is refused; `status` is the HTTP status of the answer."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


class VerificationError(WebhookError):
    """The sender of a request is not proven."""

    stale = False
    """Whether the proof is one of another time: what was overheard, sent again."""

    def __init__(self, text: str, status: int = 403, *, stale: bool = False) -> None:
        super().__init__(text, status)
        self.stale = stale


class UnknownKey(VerificationError):
    """The signing key that a request names is not known yet; asking the platform may help."""


class MalformedWebhook(WebhookError):
    """An authentic body that cannot be read."""


class InstallError(KleinChannelsError):
    """An account could not join; the text is for the person who tried, and says nothing secret."""


class StoreError(KleinChannelsError):
    """The store could not do what was asked; nothing was changed."""


class StoreFull(StoreError):
    """The inbox holds as many waiting events as it may."""


class StoreUnavailable(StoreError):
    """The database cannot be reached or written."""


class PlatformError(KleinChannelsError):
    """A platform refused, or did not give, what a poll, a set-up or a look-up asked of it.

    `retry_after` is in seconds, where the platform says so.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class AgentError(KleinChannelsError):
    """An agent failed to answer a turn."""


class AgentUnreachable(AgentError):
    """The agent was not there; nothing was asked of it."""


class AgentTimeout(AgentError):
    """The agent did not end within its deadline."""


class AgentReplyError(AgentError):
    """An agent answered with a value that is no reply."""
