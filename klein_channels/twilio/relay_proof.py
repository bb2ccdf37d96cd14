"""
What proves that a call is the platform's, for the platforms that speak ConversationRelay.

Twilio signs webhooks and handshakes alike. Telnyx signs webhooks with a key of its own ("Webhook signing",
telnyx-signature-ed25519), and its documentation (read November 2026) names no proof of a handshake: there
it is the address itself, which only we could have written, and which is good for a few minutes.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from ..credentials import Credentials
from ..errors import VerificationError
from ..model import WebhookRequest
from ..secret import Secret
from ..signatures import one_value
from .forms import MAX_FIELDS, Proof, form_of, own_query

WINDOW = 300.0
"""Seconds by which a webhook may be old or ahead, and for which the address of a socket is good."""
_SIGNATURE, _TIMESTAMP = "telnyx-signature-ed25519", "telnyx-timestamp"
_SECONDS = re.compile(rb"[0-9]{1,12}")


class RelayProof(Protocol):
    """Proves webhooks and handshakes."""

    def check(self, request: WebhookRequest, now: float) -> None:
        """Raise `VerificationError` unless a webhook is the platform's."""

    def check_handshake(self, request: WebhookRequest, now: float) -> None:
        """Raise `VerificationError` unless the handshake of a socket is."""

    def query(self, call: str, now: float) -> str:
        """What the address of the socket for a call has behind it."""


class SignedByTwilio:
    """Twilio's signature, over the address that was called."""

    def __init__(self, proof: Proof) -> None:
        self._proof = proof
        self.token = proof.tokens[0]

    def check(self, request: WebhookRequest, now: float) -> None:
        """Prove a webhook."""
        self._proof.check(request)

    def check_handshake(self, request: WebhookRequest, now: float) -> None:
        """Prove a handshake."""
        self._proof.check_handshake(request)

    def query(self, call: str, now: float) -> str:
        """Nothing: the handshake is signed."""
        return ""


class SignedByTelnyx:
    """Telnyx's signature over webhooks, ours over the address of the socket."""

    def __init__(self, public_key: Any, secret: Secret) -> None:
        self._key = public_key
        self._secret = secret

    def check(self, request: WebhookRequest, now: float) -> None:
        """Prove a webhook."""
        from cryptography.exceptions import InvalidSignature

        if request.method != "POST":
            raise VerificationError("Telnyx signs POST only", status=405)
        given = one_value(request.header_values(_SIGNATURE.encode()), _SIGNATURE)
        sent = one_value(request.header_values(_TIMESTAMP.encode()), _TIMESTAMP)
        if _SECONDS.fullmatch(sent) is None or abs(now - int(sent)) > WINDOW:
            raise VerificationError(f"the header {_TIMESTAMP} is more than {WINDOW:g} s from our clock")
        try:
            self._key.verify(base64.b64decode(given, validate=True), sent + b"|" + request.body)
        except (InvalidSignature, binascii.Error):
            raise VerificationError(f"the header {_SIGNATURE} does not match the body") from None
        try:
            form_of(request)
        except ValueError:
            raise VerificationError(f"a form of more than {MAX_FIELDS} fields") from None

    def check_handshake(self, request: WebhookRequest, now: float) -> None:
        """Prove a handshake by its address."""
        try:
            given = own_query(request)
        except ValueError:
            given = {}
        if request.method != "GET" or not self._is_ours(given):
            raise VerificationError("the address of the socket is not one that we wrote")
        if abs(now - int(given["at"])) > WINDOW:
            raise VerificationError("the address of the socket is too old")

    def _is_ours(self, given: Mapping[str, str]) -> bool:
        call, at, proof = (given.get(name, "") for name in ("call", "at", "proof"))
        right = self._sign(call, at)
        known = hmac.compare_digest(proof.encode("utf-8", "replace"), right.encode())
        return known and _SECONDS.fullmatch(at.encode("utf-8", "replace")) is not None

    def query(self, call: str, now: float) -> str:
        """The call, the time, and a proof of both."""
        at = str(int(now))
        return urlencode({"call": call, "at": at, "proof": self._sign(call, at)}, errors="replace")

    def _sign(self, call: str, at: str) -> str:
        signed = f"socket\0{call}\0{at}".encode("utf-8", "replace")
        return hmac.digest(self._secret.reveal().encode(), signed, "sha256").hex()


def read_telnyx_proof(credentials: Credentials, public_key: str, socket_secret: Any) -> SignedByTelnyx:
    """The proof by the public key of Telnyx's portal, in base64; raises `ConfigError`."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public_key, validate=True))
    except ValueError:
        raise credentials.problem("public_key", "must be the public key of Telnyx's portal") from None
    hint = "choose a long random text of your own"
    return SignedByTelnyx(key, credentials.token("socket_secret", socket_secret, hint))
