"""
Between twisted.web's requests and our values.
"""

from __future__ import annotations

from typing import Any

from twisted.web.http import NO_BODY_CODES

from ..model import WebhookRequest, WebhookResponse
from .posts import Post


def read_request(request: Any, public_url: str, received_at: float) -> WebhookRequest:
    """`request` as a value, with path, query and body as they were received.

    Headers of one name keep their order. `url` goes by the configuration and never by the Host
    header, which anybody can choose.
    """
    target = request.uri.decode("latin-1")
    path, _, query = target.partition("?")
    return WebhookRequest(
        method=request.method.decode("latin-1"),
        path=path,
        query=query,
        headers=tuple(
            (name.lower(), value)
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        ),
        body=request.content.read(),
        url=public_url + target,
        client=getattr(request.getClientAddress(), "host", ""),
        received_at=received_at,
    )


def as_request(post: Post, public_url: str, client: str, received_at: float) -> WebhookRequest:
    """The same of a POST that was read at a glance."""
    target = post.target.decode("latin-1")
    return WebhookRequest(
        method="POST",
        path=post.path.decode("latin-1"),
        query=target[len(post.path) + 1 :],
        headers=post.headers,
        body=post.body,
        url=public_url + target,
        client=client,
        received_at=received_at,
    )


def frame(request: Any, response: WebhookResponse) -> bytes:
    """Set status and headers of the answer to `request`; returns the body that is to be written.

    There is always a Content-Length (where a body may be), so no answer is chunked.
    """
    request.setResponseCode(response.status)
    headers = request.responseHeaders
    for name, value in response.headers:
        headers.addRawHeader(name, value)
    if response.status in NO_BODY_CODES:
        return b""
    headers.setRawHeaders(b"Content-Type", [response.content_type.encode("latin-1")])
    headers.setRawHeaders(b"Content-Length", [b"%d" % len(response.body)])
    return response.body


def client_is_gone(request: Any) -> bool:
    """Whether there is nobody left to answer."""
    return getattr(request, "channel", request) is None
