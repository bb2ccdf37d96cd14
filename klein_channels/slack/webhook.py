"""
Reads the body of a request of Slack's, which comes in three shapes at one address.

Events are JSON; interactions are a form with one JSON field; slash commands are a plain form.
"""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import parse_qsl

from ..errors import MalformedWebhook
from ..model import AnyEvent, Received, WebhookResponse, read_json
from .events import EventReader
from .interactions import InteractionReader

T = TypeVar("T")
MAX_FIELDS = 50
"""Fields of a form; Slack sends some fifteen."""
NO_OPTIONS = WebhookResponse(body=b'{"options":[]}', content_type="application/json; charset=utf-8")
_PLAINLY = ((b"X-Content-Type-Options", b"nosniff"),)


class WebhookReader:
    """Reads requests whose sender is proven, for the channel called `channel`."""

    def __init__(self, channel: str, events: EventReader, interactions: InteractionReader) -> None:
        self._channel = channel
        self._events = events
        self._interactions = interactions

    def read(self, body: bytes) -> Received:
        """What a request brought; `MalformedWebhook` if it has none of the three shapes."""
        if body.lstrip()[:1] == b"{":
            return self._delivery(self._object(body))
        fields = self._form(body)
        if "payload" in fields:
            return self._interaction(self._object(fields["payload"].encode("utf-8", "surrogatepass")))
        if "command" in fields:
            return Received(events=(self._interactions.read_command(fields),))
        if "ssl_check" in fields:
            return Received()
        raise MalformedWebhook(f"channel {self._channel!r}: neither an event, an interaction nor a command")

    def _delivery(self, body: dict[str, Any]) -> Received:
        if body.get("type") != "url_verification":
            return Received(events=(self._events.read(body),))
        challenge = body.get("challenge")
        if not isinstance(challenge, str):
            raise MalformedWebhook(f"channel {self._channel!r}: a url_verification without a challenge")
        return Received(response=WebhookResponse(body=challenge.encode(), headers=_PLAINLY))

    def _interaction(self, payload: dict[str, Any]) -> Received:
        events: tuple[AnyEvent, ...] = self._interactions.read(payload)
        asks_for_options = payload.get("type") == "block_suggestion"
        return Received(events=events, response=NO_OPTIONS if asks_for_options else None)

    def _object(self, body: bytes) -> dict[str, Any]:
        value = read_json(body)
        if not isinstance(value, dict):
            raise MalformedWebhook(f"channel {self._channel!r}: the body is not a JSON object")
        return _without_token(value)

    def _form(self, body: bytes) -> dict[str, str]:
        try:
            pairs = parse_qsl(
                body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS
            )
        except ValueError:
            raise MalformedWebhook(f"channel {self._channel!r}: a form of too many fields") from None
        fields = dict(pairs)
        if len(fields) < len(pairs):
            raise MalformedWebhook(f"channel {self._channel!r}: a field of the form came twice")
        return _without_token(fields)


def _without_token(fields: dict[str, T]) -> dict[str, T]:
    """Slack's former proof, a secret that it still sends along; nothing that is stored may have it."""
    return {name: value for name, value in fields.items() if name != "token"}
