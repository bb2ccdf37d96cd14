"""
Reads what a webhook of Twilio's says: a form, the query of a GET, or a JSON object.

Twilio adds parameters without notice, so everything is kept. Of a name that comes twice the first
value counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

from ..errors import MalformedWebhook, VerificationError
from ..model import WebhookRequest, WebhookResponse, read_json
from ..secret import Secret
from ..signatures import check_twilio_signature

MAX_FIELDS = 1000
IDEMPOTENCY_HEADER = b"i-twilio-idempotency-token"
"""The same for all tries of one request."""
_LONGEST_TOKEN = 200
_FORM = b"application/x-www-form-urlencoded"
_XML = "text/xml; charset=utf-8"


class Proof(NamedTuple):
    """What signatures are checked with: the account's tokens, and the shared keys."""

    tokens: tuple[Secret, ...]
    shared_keys: tuple[Secret, ...]

    def check(self, request: WebhookRequest) -> None:
        """Raise `VerificationError` unless `request` is Twilio's."""
        if request.method not in ("GET", "POST"):
            raise VerificationError("Twilio sends GET and POST only", status=405)
        try:
            fields = form_of(request)
        except ValueError:
            raise VerificationError(f"a form of more than {MAX_FIELDS} fields") from None
        check_twilio_signature(
            request.header_values(b"x-twilio-signature"),
            request.header_values(b"x-twilio-webhooks-signature-settings"),
            request.url,
            () if request.method == "GET" else fields,
            b"" if request.method == "GET" else request.body,
            self.tokens,
            self.shared_keys,
        )

    def check_handshake(self, request: WebhookRequest) -> None:
        """Raise `VerificationError` unless the handshake of a socket is Twilio's.

        It signs the ``wss`` URL; of one with parameters either all of it, or, as its own framework
        checks, the parameters apart like those of a form (twilio-agent-connect 2.5, read November 2026).
        """
        if request.method != "GET":
            raise VerificationError("a socket is opened by GET", status=405)
        signatures = request.header_values(b"x-twilio-signature")
        settings = request.header_values(b"x-twilio-webhooks-signature-settings")
        keys = self.tokens, self.shared_keys
        try:
            check_twilio_signature(signatures, settings, request.url, (), b"", *keys)
        except VerificationError:
            if not request.query:
                raise
            pairs = _few_pairs(request.query)
            check_twilio_signature(signatures, settings, base_url(request), pairs, b"", *keys)


def form_of(request: WebhookRequest) -> Sequence[tuple[str, str]] | None:
    """The fields of a form, empty ones too, as they came; None if the body is none.

    ValueError if there are too many.
    """
    if request.method == "GET":
        return _pairs(request.query)
    kinds = request.header_values(b"content-type")
    if request.body and not all(kind.partition(b";")[0].strip().lower() == _FORM for kind in kinds):
        return None
    return _pairs(request.body.decode("utf-8", "replace"))


def read_fields(request: WebhookRequest) -> dict[str, str]:
    """What a verified request says, by name; of a JSON object what is on top and no structure."""
    pairs = form_of(request)
    if pairs is not None:
        return dict(reversed(pairs))
    json = read_json(request.body)
    if not isinstance(json, dict):
        raise MalformedWebhook("neither a form nor a JSON object")
    return {name: value if isinstance(value, str) else str(value) for name, value in json.items()
            if isinstance(value, str | int | float) and not isinstance(value, bool)}  # fmt: skip


def idempotency_token(request: WebhookRequest) -> str | None:
    """What all tries of one request have in common, if Twilio says it."""
    values = request.header_values(IDEMPOTENCY_HEADER)
    token = values[0].decode("utf-8", "replace").strip() if values else ""
    return token if 0 < len(token) <= _LONGEST_TOKEN else None


def own_query(request: WebhookRequest) -> dict[str, str]:
    """The parameters of the URL that are not Twilio's, whose names begin with capitals."""
    pairs = _pairs(request.query)
    return {name: value for name, value in reversed(pairs) if name[:1].islower() and name != "bodySHA256"}


def base_url(request: WebhookRequest) -> str:
    """Where the request went to, as Twilio knows it."""
    return request.url.partition("?")[0]


def xml_response(document: bytes) -> WebhookResponse:
    """The answer that is TwiML."""
    return WebhookResponse(body=document, content_type=_XML)


def _few_pairs(query: str) -> list[tuple[str, str]]:
    try:
        return _pairs(query)
    except ValueError:
        raise VerificationError(f"a query of more than {MAX_FIELDS} fields") from None


def _pairs(text: str) -> list[tuple[str, str]]:
    return parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_FIELDS)
