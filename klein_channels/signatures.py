"""
How platforms prove that a request is theirs, as pure functions over bytes.

Every comparison of secret material takes the same time wherever it differs; nothing here reads a
clock. All failures are `VerificationError`, whose line names what is wrong with a header and never
repeats what the header said: that text is a stranger's.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from .errors import VerificationError
from .secret import Secret

HubAlgorithm: TypeAlias = Literal["sha256", "sha1"]
HUB_HEADERS: dict[HubAlgorithm, str] = {"sha256": "X-Hub-Signature-256", "sha1": "X-Hub-Signature"}
_HUB_VALUES: dict[HubAlgorithm, re.Pattern[bytes]] = {
    "sha256": re.compile(rb"sha256=[0-9a-f]{64}"),
    "sha1": re.compile(rb"sha1=[0-9a-f]{40}"),
}


def one_value(values: Sequence[bytes], name: str) -> bytes:
    """The value of a header that counts once: doubles that agree are one, others are refused."""
    if not values:
        raise VerificationError(f"the header {name} is missing")
    if any(value != values[0] for value in values):
        raise VerificationError(f"the header {name} came {len(values)} times with different values")
    return values[0]


def hub_signature(body: bytes, secret: Secret, algorithm: HubAlgorithm = "sha256") -> str:
    """The value of Meta's signature header for `body`, as it is on the wire.

    HMAC with the app secret over the raw bytes, in lower-case hex after ``sha256=`` (Meta, "Webhooks",
    5 May 2026). A body that was decoded and encoded again has another signature.
    """
    return f"{algorithm}={hmac.digest(secret.reveal().encode(), body, algorithm).hex()}"


def check_hub_signature(
    header_values: Sequence[bytes],
    body: bytes,
    secrets: Iterable[Secret],
    algorithm: HubAlgorithm = "sha256",
) -> None:
    """Raise `VerificationError` unless the header's values prove `body` by one of `secrets`.

    Several secrets are for the time in which one replaces another; each is tried, so that the time
    taken does not tell which one matched.
    """
    name = HUB_HEADERS[algorithm]
    given = one_value(header_values, name)
    if _HUB_VALUES[algorithm].fullmatch(given) is None:
        raise VerificationError(f"the header {name} is malformed")
    matched = False
    for secret in secrets:
        matched |= hmac.compare_digest(given, hub_signature(body, secret, algorithm).encode())
    if not matched:
        raise VerificationError(f"the header {name} does not match the body under any configured secret")


def appsecret_proof(token: Secret, secret: Secret) -> str:
    """What proves to Meta's Graph API that the holder of `token` also knows the app secret."""
    return hmac.digest(secret.reveal().encode(), token.reveal().encode(), "sha256").hex()


SLACK_WINDOW = 300.0
"""Seconds by which a request of Slack's may be old, or ahead of our clock (Slack, "Verifying requests from
Slack", read November 2026)."""
_SLACK_SIGNATURE = "X-Slack-Signature"
_SLACK_TIMESTAMP = "X-Slack-Request-Timestamp"
_SLACK_VALUE = re.compile(rb"v0=[0-9a-f]{64}")
_SLACK_SECONDS = re.compile(rb"[0-9]{1,12}")


def slack_signature(body: bytes, timestamp: str, secret: Secret) -> str:
    """The value of Slack's signature header for `body`, sent at `timestamp` (seconds, as its header says).

    HMAC-SHA256 with the signing secret over ``v0:timestamp:body`` (Slack, "Verifying requests from Slack").
    """
    signed = b"v0:" + timestamp.encode() + b":" + body
    return f"v0={hmac.digest(secret.reveal().encode(), signed, 'sha256').hex()}"


def check_slack_signature(
    timestamps: Sequence[bytes],
    signatures: Sequence[bytes],
    body: bytes,
    secrets: Iterable[Secret],
    now: float,
) -> None:
    """Raise `VerificationError` unless the two headers' values prove `body`, and that it is of now.

    Several secrets are for the time in which one replaces another; each is tried.
    """
    sent, given = one_value(timestamps, _SLACK_TIMESTAMP), one_value(signatures, _SLACK_SIGNATURE)
    if _SLACK_SECONDS.fullmatch(sent) is None:
        raise VerificationError(f"the header {_SLACK_TIMESTAMP} is malformed")
    if _SLACK_VALUE.fullmatch(given) is None:
        raise VerificationError(f"the header {_SLACK_SIGNATURE} is malformed")
    if abs(now - int(sent)) > SLACK_WINDOW:
        raise VerificationError(
            f"the header {_SLACK_TIMESTAMP} is more than {SLACK_WINDOW:g} s from our clock"
        )
    matched = False
    for secret in secrets:
        matched |= hmac.compare_digest(given, slack_signature(body, sent.decode(), secret).encode())
    if not matched:
        raise VerificationError(
            f"the header {_SLACK_SIGNATURE} does not match the body under any configured secret"
        )
