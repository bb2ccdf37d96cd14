"""
The platforms, one file each, and `HttpInputChannel`, which describes where they are served.

Each platform module has one name that the look-up needs: `channel_class`.
"""

from __future__ import annotations

from ..channel import Channel


class HttpInputChannel:
    """Where channels are served: a port (or an endpoint string), a URL prefix, and the channels.

    It is a description and opens nothing; `Agent.handle_asynchronous` and `Agent.handle_channel` serve it.
    """

    def __init__(self, http_port: int | str, url_prefix: str | None, *channels: Channel) -> None:
        self.port = http_port
        self.prefix = "/" + (url_prefix or "").strip("/") if (url_prefix or "").strip("/") else ""
        self.channels = channels

    def __repr__(self) -> str:
        names = ", ".join(channel.name for channel in self.channels)
        return f"HttpInputChannel({self.port!r}, {self.prefix or '/'!r}, {names})"
