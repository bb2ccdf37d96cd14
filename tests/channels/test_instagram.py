"""Instagram: what is read out of a webhook, both logins, tokens that are renewed before they end."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Channel, Live, Renews, Triggers, find_channel_class
from klein_channels.channels.instagram import InstagramInput, InstagramSettings
from klein_channels.errors import ConfigError
from klein_channels.model import (
    TURN_KINDS,
    Address,
    AnyEvent,
    Call,
    Outgoing,
    Text,
    WebhookRequest,
    from_json,
    to_json,
)
from klein_channels.secret import Secret
from klein_channels.signatures import hub_signature
from klein_channels.testing.contract import ChannelContract
from klein_channels.testing.graph import GraphStandIn
from klein_channels.testing.graph_instagram import LIFETIME, InstagramAccounts
from klein_channels.testing.platforms import Platform, served
from klein_channels.testing.steps import answered, drive, play

ACCOUNT, OTHER, PERSON = "17841400000000001", "17841400000000002", "5551234567890123"
ACCOUNTS = {ACCOUNT: "token-of-the-first-account", OTHER: "token-of-the-second-account"}
SECRET = "an-app-secret-of-tests"
FIXTURES = Path(__file__).parent.parent / "fixtures" / "instagram"
NOW = 1_790_000_000.0


def channel(**more: Any) -> InstagramInput:
    given = {
        "verify": "open sesame",
        "secret": SECRET,
        "accounts": ACCOUNTS,
        "graph_url": "https://graph.test",
    }
    return InstagramInput(**{**given, **more})


def signed(body: bytes) -> WebhookRequest:
    headers = ((b"x-hub-signature-256", hub_signature(body, Secret(SECRET)).encode()),)
    return WebhookRequest(method="POST", path="/app/webhook", headers=headers, body=body)


def read(body: Any) -> tuple[AnyEvent, ...]:
    return channel().parse(signed(json.dumps(body).encode())).events


def stand_in(**more: Any) -> GraphStandIn:
    return GraphStandIn(Clock(), secret=SECRET, products=[InstagramAccounts(ACCOUNTS, **more)])


class ContractTests(ChannelContract, SynchronousTestCase):
    secrets = (SECRET, "open sesame", *ACCOUNTS.values())
    base_urls = ("https://graph.test",)
    proof_headers = (b"x-hub-signature-256",)
    trigger_kinds = ("text", "quick_reply", "postback", "referral", "image", "audio", "video", "file")

    def make_channel(self) -> InstagramInput:
        return channel()

    def make_platform(self) -> Platform:
        return served(stand_in(), Clock())

    def bodies(self) -> Sequence[bytes]:
        files = sorted(FIXTURES.glob("*.json"), key=lambda file: file.name != "message_text.json")
        return [json.dumps(json.loads(file.read_bytes())["body"]).encode() for file in files]

    def signed(self, body: bytes) -> WebhookRequest:
        return signed(body)

    def different(self) -> Sequence[bytes]:
        """A message and its own deletion have one mid."""
        return [
            json.dumps(json.loads((FIXTURES / f"{name}.json").read_bytes())["body"]).encode()
            for name in ("message_text", "message_reply", "deleted")
        ]


class FixtureTests(SynchronousTestCase):
    """Every kind of event that Instagram sends, one file each."""

    def test_each_fixture_is_read_as_it_expects(self) -> None:
        files = sorted(FIXTURES.glob("*.json"))
        self.assertGreater(len(files), 40)
        for file in files:
            fixture = json.loads(file.read_bytes())
            self.assertTrue(fixture["source"].startswith("Meta, "), file.name)
            events = read(fixture["body"])
            self.assertEqual(len(events), len(fixture["expect"]), file.name)
            for event, expected in zip(events, fixture["expect"], strict=True):
                shown = {name: self.shown(event, name) for name in expected}
                self.assertEqual(shown, expected, file.name)
                self.assertEqual(from_json(to_json(event)), event, file.name)

    def shown(self, event: AnyEvent, name: str) -> Any:
        special = {"type": event.kind, "address": str(event.address)}
        return special.get(name, msgspec.json.decode(msgspec.json.encode(getattr(event, name, None))))

    def test_no_agent_is_asked_about_what_has_no_words_or_is_not_ours(self) -> None:
        for name in (
            "unsupported",
            "unsupported_type",
            "ephemeral",
            "account_not_configured",
            "echo",
            "standby",
        ):
            for event in read(json.loads((FIXTURES / f"{name}.json").read_bytes())["body"]):
                self.assertTrue(event.kind not in TURN_KINDS or event.observe_only, name)


def calls(instagram: InstagramInput, account: str = ACCOUNT) -> list[Call]:
    address = Address(channel="instagram", account=account, peer=PERSON)
    outgoing = Outgoing(id="o1", address=address, part=Text(text="hi"), cause="m", now=NOW)
    return play(instagram.send(outgoing), answered(body={"message_id": "m"}))[0]


class LoginTests(SynchronousTestCase):
    def test_it_is_found_by_its_name_and_has_its_abilities(self) -> None:
        self.assertIs(find_channel_class("instagram"), InstagramInput)
        for ability in (Channel, Live, Triggers, Renews):
            self.assertIsInstance(channel(), ability)

    def test_through_pages_each_account_sends_with_its_page_s_token_and_a_proof(self) -> None:
        for account, token in ACCOUNTS.items():
            [call] = calls(channel(), account)
            self.assertTrue(call.url.startswith("https://graph.test/v25.0/me/messages?appsecret_proof="))
            self.assertIn(("Authorization", f"Bearer {token}"), call.headers)
        self.assertEqual(channel().renewable(), ())

    def test_with_instagram_s_login_it_goes_to_instagram_s_graph(self) -> None:
        [call] = calls(channel(login="instagram", graph_url=None))
        self.assertEqual(call.url, "https://graph.instagram.com/v25.0/me/messages")

    def test_no_echo_settles_so_no_mark_is_sent(self) -> None:
        [call] = calls(channel())
        self.assertEqual(json.loads(call.body), {"recipient": {"id": PERSON}, "message": {"text": "hi"}})

    def test_settings_are_read_and_hide_their_secrets(self) -> None:
        def secret(kind: type, value: Any) -> Any:
            if kind is Secret:
                return Secret(value)
            raise NotImplementedError(kind)

        given = {"verify": "v", "secret": [SECRET], "accounts": ACCOUNTS, "login": "instagram"}
        settings = msgspec.convert(given, InstagramSettings, strict=False, dec_hook=secret)
        self.assertNotIn(SECRET, repr(settings))
        made = InstagramInput.from_settings("shop", settings)
        self.assertEqual((made.name, made.renewable()), ("shop", tuple(ACCOUNTS)))

    def test_each_mistake_is_one_line_that_names_channel_and_key_and_no_secret(self) -> None:
        hidden = "do-not-show-me"
        for key, given in (
            ("verify", {"verify": None}),
            ("secret", {"secret": []}),
            ("accounts", {"accounts": None}),
            ("accounts", {"accounts": hidden}),
            ("accounts", {"accounts": {}}),
            ("accounts[1]", {"accounts": {"1": f"{hidden} {hidden}"}}),
            ("login", {"login": hidden}),
            ("graph_url", {"graph_url": "graph"}),
        ):
            line = str(self.assertRaises(ConfigError, channel, name="shop", **given))
            self.assertIn(f"channel 'shop': {key}", line)
            self.assertNotIn(hidden, line)


class RenewalTests(SynchronousTestCase):
    """A token of Instagram's own login; `tests.test_renewal` tells when it is renewed."""

    def setUp(self) -> None:
        self.accounts = InstagramAccounts(ACCOUNTS, renews=True)
        self.graph = GraphStandIn(Clock(), products=[self.accounts])
        self.instagram = channel(login="instagram")

    def renew(self) -> Any:
        return drive(self.instagram.renew(ACCOUNT, NOW), served(self.graph))[1]

    def token(self, instagram: InstagramInput) -> str:
        return dict(calls(instagram)[0].headers)["Authorization"].removeprefix("Bearer ")

    def test_it_is_good_for_half_of_its_life_and_used_at_once(self) -> None:
        renewed = self.renew()
        self.assertEqual((renewed.again_at, renewed.trouble), (NOW + LIFETIME / 2, ""))
        self.assertEqual(self.token(self.instagram), self.accounts.tokens[ACCOUNT])
        self.assertNotEqual(self.token(self.instagram), ACCOUNTS[ACCOUNT])

    def test_another_server_goes_by_what_was_stored(self) -> None:
        renewed = self.renew()
        other = channel(login="instagram")
        self.assertEqual(other.restore(ACCOUNT, renewed.state), renewed.again_at)
        self.assertEqual(self.token(other), self.accounts.tokens[ACCOUNT])

    def test_a_new_token_in_the_configuration_goes_before_what_was_stored(self) -> None:
        renewed = self.renew()
        other = channel(login="instagram", accounts={ACCOUNT: "a-token-that-was-just-made"})
        self.assertIsNone(other.restore(ACCOUNT, renewed.state))
        self.assertEqual(self.token(other), "a-token-that-was-just-made")
        for strange in (
            None,
            [],
            {},
            {"of": 1},
            {**renewed.state, "token": 5},
            {**renewed.state, "of": None},
        ):
            self.assertIsNone(channel(login="instagram").restore(ACCOUNT, strange))

    def test_a_refusal_says_whose_and_why_and_is_tried_the_next_day(self) -> None:
        self.accounts.tokens[ACCOUNT] = "another"
        renewed = self.renew()
        self.assertIn(f"the token of {ACCOUNT} was not renewed: token refused (190)", renewed.trouble)
        self.assertEqual((renewed.state, renewed.again_at), (None, NOW + 25 * 3600))
        self.assertNotIn(ACCOUNTS[ACCOUNT], renewed.trouble)
        self.assertEqual(self.token(self.instagram), ACCOUNTS[ACCOUNT])

    def test_what_passes_by_itself_is_tried_within_the_hour(self) -> None:
        _, renewed = play(self.instagram.renew(ACCOUNT, NOW), answered(503, b""))
        self.assertEqual(renewed.again_at, NOW + 3600)
