"""
Values that who reads the database learns nothing of: sealed with a key from the configuration.

Fernet (AES-128-CBC with HMAC-SHA256, github.com/fernet/spec) of the library that TLS comes with. The key
is derived, so that no two purposes share one.
"""

from __future__ import annotations

import base64
import hmac

from cryptography.fernet import Fernet, InvalidToken

from .secret import Secret


class Seal:
    """Seals and opens values for one `purpose`, with a key made of `secret`."""

    def __init__(self, secret: Secret, purpose: str) -> None:
        key = hmac.digest(secret.reveal().encode(), f"klein_channels: {purpose}".encode(), "sha256")
        self._fernet = Fernet(base64.urlsafe_b64encode(key))

    def seal(self, value: bytes) -> bytes:
        """`value`, readable only to who has the secret."""
        return self._fernet.encrypt(value)

    def open(self, sealed: bytes) -> bytes:
        """What was sealed; ValueError if it was sealed with another secret, or changed."""
        try:
            return self._fernet.decrypt(bytes(sealed))
        except InvalidToken:
            raise ValueError("sealed with another secret, or changed since") from None
