"""Signatures: a forged, damaged or doubled header proves nothing, and none of them is an accident."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import VerificationError
from klein_channels.secret import Secret
from klein_channels.signatures import appsecret_proof, check_hub_signature, hub_signature

SECRET = Secret("0123456789abcdef0123456789abcdef")
OLD = Secret("an-older-app-secret")
# The vector of Meta's escaped serialisation: the backslashes are literal.
BODY = (
    rb'{"object":"page","entry":[{"id":"1","time":1,'
    rb'"messaging":[{"message":{"text":"\u00e4\u00f6\u00e5"}}]}]}'
)
SIGNATURE = b"sha256=6e40f94890c848648d5690b5e5add5cecc7e09e4511a377c73affa66576be723"


class HubSignatureTests(SynchronousTestCase):
    def refused(self, *values: bytes, body: bytes = BODY, secrets: tuple[Secret, ...] = (SECRET,)) -> str:
        error = self.assertRaises(VerificationError, check_hub_signature, list(values), body, secrets)
        self.assertEqual(error.status, 403)
        return str(error)

    def test_the_published_vector(self) -> None:
        self.assertEqual(hub_signature(BODY, SECRET).encode(), SIGNATURE)
        check_hub_signature([SIGNATURE], BODY, [SECRET])

    def test_one_changed_byte_of_the_body_is_refused(self) -> None:
        self.assertIn("does not match", self.refused(SIGNATURE, body=BODY.replace(b"e4", b"E4")))

    def test_any_of_several_secrets_proves_while_rotating(self) -> None:
        for secrets in ([SECRET, OLD], [OLD, SECRET]):
            check_hub_signature([SIGNATURE], BODY, secrets)
        self.refused(SIGNATURE, secrets=(OLD,))
        self.refused(SIGNATURE, secrets=())

    def test_missing(self) -> None:
        self.assertEqual(self.refused(), "the header X-Hub-Signature-256 is missing")

    def test_doubled_and_equal_is_one_doubled_and_different_is_refused(self) -> None:
        check_hub_signature([SIGNATURE, SIGNATURE], BODY, [SECRET])
        forged = b"sha256=" + b"0" * 64
        for pair in ((SIGNATURE, forged), (forged, SIGNATURE)):
            self.assertIn("2 times", self.refused(*pair))

    def test_malformed_headers_are_refused_without_repeating_them(self) -> None:
        digest = SIGNATURE.removeprefix(b"sha256=")
        for value in (
            b"",
            digest,
            b"sha256=",
            b"sha1=" + digest[:40],
            b"SHA256=" + digest,
            b"sha256=" + digest.upper(),
            SIGNATURE + b"\n",
            SIGNATURE + b", " + SIGNATURE,
            b"sha256=" + digest[:-1],
            "sha256=ÿ☃".encode(),
            b"sha256=" + b"\xff" * 64,
        ):
            self.assertEqual(self.refused(value), "the header X-Hub-Signature-256 is malformed")

    def test_sha1_is_its_own_algorithm(self) -> None:
        old_style = hub_signature(BODY, SECRET, "sha1").encode()
        check_hub_signature([old_style], BODY, [SECRET], "sha1")
        self.assertRaises(VerificationError, check_hub_signature, [SIGNATURE], BODY, [SECRET], "sha1")
        self.refused(old_style)

    @settings(deadline=None, derandomize=True)
    @given(st.lists(st.binary(max_size=80), max_size=3))
    def test_no_header_raises_anything_else(self, values: list[bytes]) -> None:
        self.refused(*values)


class AppSecretProofTests(SynchronousTestCase):
    def test_it_is_the_token_under_the_secret(self) -> None:
        # Made with: printf %s page-token | openssl dgst -sha256 -hmac app-secret
        proof = appsecret_proof(Secret("page-token"), Secret("app-secret"))
        self.assertEqual(proof, "d8b448b9cc7d64c51098271805b3cc20b5b715e52bd587eb71b610259587c856")
