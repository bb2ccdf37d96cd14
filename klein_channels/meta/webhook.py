"""How Meta's webhooks prove that they are Meta's: the handshake of a new address, the signed body."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qsl

from ..errors import VerificationError
from ..model import WebhookRequest, WebhookResponse
from ..secret import Secret
from ..signatures import check_hub_signature

HANDSHAKE = ("hub.mode", "hub.verify_token", "hub.challenge")


class MetaWebhook:
    """The webhook of one Meta app, which `platform` calls its own.

    `verify_token` is what the app dashboard was told, `secrets` the app's secret, or several while
    one replaces another. (Meta, "Webhooks: Getting started", read in 2026.)
    """

    def __init__(
        self, platform: str, verify_token: Secret, secrets: Sequence[Secret], *, allow_sha1: bool = False
    ) -> None:
        self._platform = platform
        self._verify_token = verify_token
        self._secrets = tuple(secrets)
        self._allow_sha1 = allow_sha1

    def verify(self, request: WebhookRequest) -> None:
        """Prove that a handshake knows the verify token, or a notification the app secret."""
        if request.method == "GET":
            self._challenge(request)
        elif request.method == "POST":
            self._check_signature(request)
        else:
            raise VerificationError(f"{self._platform} sends GET and POST only", status=405)

    def handshake(self, request: WebhookRequest) -> WebhookResponse | None:
        """The answer to a handshake; None for what is a notification."""
        if request.method != "GET":
            return None
        return WebhookResponse(
            body=self._challenge(request).encode("utf-8", "surrogatepass"),
            headers=((b"X-Content-Type-Options", b"nosniff"),),
        )

    def _challenge(self, request: WebhookRequest) -> str:
        try:
            asked = parse_qsl(request.query, keep_blank_values=True, max_num_fields=50)
        except ValueError:
            raise VerificationError("the handshake has too many parameters") from None
        given = {name: value for name, value in asked if name in HANDSHAKE}
        if len(given) < len([name for name, _ in asked if name in HANDSHAKE]):
            raise VerificationError("a parameter of the handshake came twice")
        if given.get("hub.mode") != "subscribe" or not given.get("hub.challenge"):
            raise VerificationError("not a handshake: hub.mode or hub.challenge is missing or wrong")
        if not self._verify_token.matches(given.get("hub.verify_token", "")):
            raise VerificationError("the handshake's hub.verify_token is not the configured one")
        return given["hub.challenge"]

    def _check_signature(self, request: WebhookRequest) -> None:
        signed = request.header_values(b"x-hub-signature-256")
        weaker = request.header_values(b"x-hub-signature")
        if signed or not weaker:
            check_hub_signature(signed, request.body, self._secrets)
        elif self._allow_sha1:
            check_hub_signature(weaker, request.body, self._secrets, "sha1")
        else:
            raise VerificationError("only a SHA-1 signature came, which counts with allow_sha1 alone")
