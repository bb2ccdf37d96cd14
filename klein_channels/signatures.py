"""
How platforms prove that a request is theirs, as pure functions over bytes.

Every comparison of secret material takes the same time wherever it differs; nothing here reads a
clock. All failures are `VerificationError`, whose line names what is wrong with a header and never
repeats what the header said: that text is a stranger's.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, TypeAlias
from urllib.parse import parse_qs, urlsplit

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
            f"the header {_SLACK_TIMESTAMP} is more than {SLACK_WINDOW:g} s from our clock", stale=True
        )
    matched = False
    for secret in secrets:
        matched |= hmac.compare_digest(given, slack_signature(body, sent.decode(), secret).encode())
    if not matched:
        raise VerificationError(
            f"the header {_SLACK_SIGNATURE} does not match the body under any configured secret"
        )


TwilioAlgorithm: TypeAlias = Literal["sha1", "sha256"]
_TWILIO_SIGNATURE = "X-Twilio-Signature"
_TWILIO_SETTINGS = "X-Twilio-Webhooks-Signature-Settings"
_TWILIO_ALGORITHMS: dict[bytes, TwilioAlgorithm] = {b"HMAC_SHA1": "sha1", b"HMAC_SHA256": "sha256"}
_TWILIO_PORTS = {"https": 443, "wss": 443, "http": 80, "ws": 80}
_TWILIO_BODY_HASH = "bodySHA256"


def twilio_signature(
    url: str, fields: Iterable[tuple[str, str]], secret: Secret, algorithm: TwilioAlgorithm = "sha1"
) -> str:
    """The value of Twilio's signature header for a request to `url` with the form `fields`.

    HMAC over the URL with its query, then the name and value of each field, by name and value, each
    pair once; in base64 (Twilio, "Webhooks security", read November 2026).
    """
    signed = url + "".join(name + value for name, value in sorted(set(fields)))
    data = signed.encode("utf-8", "surrogatepass")
    return base64.b64encode(hmac.digest(secret.reveal().encode(), data, algorithm)).decode()


def check_twilio_signature(
    signatures: Sequence[bytes],
    settings: Sequence[bytes],
    url: str,
    fields: Sequence[tuple[str, str]] | None,
    body: bytes,
    secrets: Iterable[Secret],
    shared_keys: Iterable[Secret],
) -> None:
    """Raise `VerificationError` unless the header proves a request to `url`, as we are known outside.

    `fields` are those of a form, empty for a GET; None for any other `body`, whose hash the URL then
    has to name. `settings` are the values of the header with which Twilio says that the secret is
    one of `shared_keys` rather than of `secrets`, the account's tokens. Each secret is tried.
    """
    if urlsplit(url).scheme not in _TWILIO_PORTS:
        raise VerificationError("no public_url is set: without it no signature of Twilio's can be checked")
    given = one_value(signatures, _TWILIO_SIGNATURE)
    algorithm = _twilio_algorithm(one_value(settings, _TWILIO_SETTINGS) if settings else b"")
    if fields is None or (not fields and body):
        _check_twilio_body(url, body)
    matched = False
    for secret in secrets if algorithm == "sha1" else shared_keys:
        for known_as in twilio_urls(url):
            expected = twilio_signature(known_as, fields or (), secret, algorithm)
            matched |= hmac.compare_digest(given, expected.encode())
    if not matched:
        raise VerificationError(
            f"the header {_TWILIO_SIGNATURE} does not match under any configured secret;"
            " is public_url exactly what Twilio calls?"
        )


def twilio_urls(url: str) -> Iterator[str]:
    """The forms in which Twilio may have signed `url`: as it is, without its port, with the usual one."""
    parts = urlsplit(url)
    user, at, host = parts.netloc.rpartition("@")
    bare = re.sub(r":[0-9]*\Z", "", host)
    usual = f"{bare}:{_TWILIO_PORTS[parts.scheme]}"
    start = url.index("//") + 2 + len(user + at)
    rest = url[start + len(host) :]
    for name in dict.fromkeys([host, bare, usual] if host == bare else [host, bare]):
        yield url[:start] + name + rest
        if rest.endswith("?"):
            yield url[:start] + name + rest[:-1]


def _twilio_algorithm(settings: bytes) -> TwilioAlgorithm:
    named = [part.partition(b"=") for part in settings.split(b",")]
    values = {name.strip(): value.strip() for name, _, value in named}
    found = _TWILIO_ALGORITHMS.get((values.get(b"algorithm") or b"HMAC_SHA1").upper())
    if found is None:
        raise VerificationError(f"the header {_TWILIO_SETTINGS} names an algorithm that is not known here")
    return found


def _check_twilio_body(url: str, body: bytes) -> None:
    """A body that is no form is not signed: its hash is, as a part of the URL."""
    hashes = parse_qs(urlsplit(url).query).get(_TWILIO_BODY_HASH, [])
    computed = hashlib.sha256(body).hexdigest()
    if len(set(hashes)) != 1 or not hmac.compare_digest(
        hashes[0].encode("utf-8", "replace"), computed.encode()
    ):
        raise VerificationError(f"the body is no form, and {_TWILIO_BODY_HASH} in the URL is not its hash")
