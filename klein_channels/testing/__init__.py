"""
What helps to write and to try channels and agents without an account anywhere.

`ChannelContract` holds a channel to what it promises, `ChannelInMemory` puts it into a whole service
on a clock that only the test moves, the stand-ins judge calls as the platforms do. Each is loaded
when it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .contract import ChannelContract
    from .contract_sockets import SocketContract
    from .graph import GraphStandIn
    from .harness import ChannelInMemory
    from .memory import HandThreads, ServiceInMemory
    from .platforms import Platform, served
    from .relay import RelayCall
    from .slack import SlackStandIn
    from .sockets import SocketClient
    from .steps import answered, drive, play
    from .telegram import BotApiStandIn

__all__ = [
    "BotApiStandIn",
    "ChannelContract",
    "ChannelInMemory",
    "GraphStandIn",
    "HandThreads",
    "Platform",
    "RelayCall",
    "ServiceInMemory",
    "SlackStandIn",
    "SocketClient",
    "SocketContract",
    "answered",
    "drive",
    "play",
    "served",
]

_HOMES = {
    "BotApiStandIn": "telegram",
    "ChannelContract": "contract",
    "ChannelInMemory": "harness",
    "GraphStandIn": "graph",
    "HandThreads": "memory",
    "Platform": "platforms",
    "RelayCall": "relay",
    "ServiceInMemory": "memory",
    "SlackStandIn": "slack",
    "SocketClient": "sockets",
    "SocketContract": "contract_sockets",
    "answered": "steps",
    "drive": "steps",
    "play": "steps",
    "served": "platforms",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
