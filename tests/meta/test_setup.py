"""What Meta is told of us, and asked about us: only what differs is changed, each fault is named."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import ChecksLive, Provisions
from klein_channels.channels.facebook import FacebookInput
from klein_channels.channels.instagram import InstagramInput
from klein_channels.errors import ConfigError, PlatformError
from klein_channels.meta.profile import Profile, wanted_profile
from klein_channels.model import Call
from klein_channels.testing.graph import GraphStandIn
from klein_channels.testing.graph_instagram import InstagramAccounts
from klein_channels.testing.platforms import served
from klein_channels.testing.steps import answered, drive, play

PAGE, OTHER, SECRET = "104512345678901", "104512345678902", "an-app-secret-of-tests"
PAGES = {PAGE: "token-of-the-first-page", OTHER: "token-of-the-second-page"}
ACCOUNT = "17841400000000001"
WEBHOOK = "https://bot.example/app/facebook/webhook"
NOW = datetime(2026, 11, 25, tzinfo=UTC).timestamp()
PROFILE = Profile(
    get_started="START",
    greeting="Hello {{user_first_name}}",
    ice_breakers=[{"question": "Where are you?", "payload": "WHERE"}],
    persistent_menu=[{"title": "Shop", "url": "https://x.example/"}, {"title": "Help", "payload": "HELP"}],
)


class SetupCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.graph = GraphStandIn(Clock(), PAGES, SECRET)
        self.calls: list[Call] = []

    def facebook(self, **more: Any) -> FacebookInput:
        given: dict[str, Any] = {"page_tokens": {PAGE: PAGES[PAGE]}, "graph_url": "https://graph.test"}
        return FacebookInput("open sesame", SECRET, **{**given, **more})

    def run_steps(self, steps: Any) -> Any:
        self.calls, result = drive(steps, served(self.graph))
        return result

    def changes(self) -> list[str]:
        return [
            f"{call.method} {call.url.split('?')[0].rpartition('v25.0/')[2]}"
            for call in self.calls
            if call.method != "GET"
        ]


class ProvisionTests(SetupCase):
    def provision(self, channel: Any, url: str = WEBHOOK, *, dry_run: bool = False) -> tuple[str, ...]:
        found: tuple[str, ...] = self.run_steps(channel.provision(url, dry_run=dry_run))
        return found

    def test_an_app_that_nobody_set_up_is_told_everything_and_the_second_time_nothing(self) -> None:
        channel = self.facebook(profile=PROFILE, subscribed_fields=("messages", "messaging_postbacks"))
        self.assertIsInstance(channel, Provisions)
        lines = self.provision(channel)
        self.assertEqual(
            lines,
            (
                f"webhook: none -> {WEBHOOK}",
                "webhook: also messages, messaging_postbacks",
                f"{PAGE}: subscribe to messages, messaging_postbacks",
                f'{PAGE}: get_started: none -> {{"payload":"START"}}',
                f'{PAGE}: greeting: none -> [{{"locale":"default","text":"Hello {{{{user_first_name}}}}"}}]',
                f'{PAGE}: ice_breakers: none -> [{{"locale":"default","call_to_actions":'
                '[{"question":"Where are you?","payload":"WHERE"}]}]',
                f'{PAGE}: persistent_menu: none -> [{{"locale":"default","call_to_actions":'
                '[{"type":"web_url","title":"Shop","url":"https://x.example/"},'
                '{"type":"postback","title":"Help","payload":"HELP"}]}]',
            ),
        )
        self.assertEqual(self.graph.app.webhooks["page"]["callback_url"], WEBHOOK)
        self.assertEqual(self.graph.pages.settings.subscribed[PAGE], ["messages", "messaging_postbacks"])
        self.assertEqual(self.provision(channel), ())
        self.assertEqual(self.changes(), [])

    def test_a_dry_run_says_the_same_and_changes_nothing(self) -> None:
        channel = self.facebook(profile=PROFILE)
        lines = self.provision(channel, dry_run=True)
        self.assertEqual(self.changes(), [])
        self.assertEqual(self.provision(channel), lines)

    def test_only_what_differs_is_changed(self) -> None:
        channel = self.facebook(profile=PROFILE)
        self.provision(channel)
        self.graph.pages.settings.profiles[PAGE]["greeting"] = [{"locale": "default", "text": "Old"}]
        self.graph.pages.settings.subscribed[PAGE].remove("messages")
        lines = self.provision(channel)
        self.assertEqual(len(lines), 2, lines)
        self.assertEqual(self.changes(), ["POST me/subscribed_apps", "POST me/messenger_profile"])
        self.assertIn("message_echoes", self.graph.pages.settings.subscribed[PAGE])

    def test_what_others_subscribed_to_stays(self) -> None:
        self.graph.pages.settings.subscribed[PAGE] = ["feed"]
        self.provision(self.facebook(subscribed_fields=("messages",)))
        self.assertEqual(self.graph.pages.settings.subscribed[PAGE], ["feed", "messages"])

    def test_what_meta_adds_of_its_own_is_no_difference_and_neither_is_the_older_form(self) -> None:
        channel = self.facebook(profile=PROFILE)
        self.provision(channel)
        profile = self.graph.pages.settings.profiles[PAGE]
        menu = profile["persistent_menu"][0]
        profile["persistent_menu"] = [{**menu, "composer_input_disabled": False}]
        profile["ice_breakers"] = profile["ice_breakers"][0]["call_to_actions"]
        self.assertEqual(self.provision(channel), ())

    def test_an_empty_key_is_taken_away_and_an_absent_one_left_alone(self) -> None:
        self.provision(self.facebook(profile=PROFILE))
        lines = self.provision(self.facebook(profile=Profile(persistent_menu=[], get_started="")))
        self.assertEqual([line.rpartition(" -> ")[2] for line in lines], ["none", "none"])
        self.assertEqual(sorted(self.graph.pages.settings.profiles[PAGE]), ["greeting", "ice_breakers"])

    def test_every_page_is_set_up_also_one_whose_id_is_not_configured(self) -> None:
        lines = self.provision(self.facebook(page_tokens=None, fb_tokens=list(PAGES.values())))
        self.assertEqual([page in "".join(lines) for page in PAGES], [True, True])

    def test_without_a_public_address_the_webhook_is_left_alone(self) -> None:
        self.provision(self.facebook(), url="")
        self.assertEqual(self.graph.app.webhooks, {})

    def test_a_webhook_that_meta_does_not_reach_is_named(self) -> None:
        asked: list[tuple[str, str]] = []
        self.graph.app.handshake = lambda url, token: bool(asked.append((url, token)))
        error = self.assertRaises(PlatformError, self.provision, self.facebook())
        self.assertIn(
            f"the webhook {WEBHOOK}: refused (2200): (#2200) Callback verification failed", str(error)
        )
        self.assertEqual(asked, [(WEBHOOK, "open sesame")])

    def test_a_wrong_app_secret_is_named_and_not_shown(self) -> None:
        self.graph = GraphStandIn(Clock(), PAGES)
        error = self.assertRaises(PlatformError, self.provision, self.facebook())
        self.assertIn("the app's webhooks: token refused (190)", str(error))
        self.assertNotIn(SECRET, str(error))

    def test_instagram_s_ice_breakers_and_menu_go_to_instagram(self) -> None:
        accounts = InstagramAccounts({ACCOUNT: "token"})
        self.graph = GraphStandIn(Clock(), None, SECRET, products=[accounts])
        channel = InstagramInput(
            "v", SECRET, {ACCOUNT: "token"}, graph_url="https://graph.test",
            profile=Profile(ice_breakers=PROFILE.ice_breakers, persistent_menu=PROFILE.persistent_menu),
        )  # fmt: skip
        self.provision(channel)
        self.assertEqual(self.graph.app.webhooks["instagram"]["callback_url"], WEBHOOK)
        self.assertEqual(sorted(accounts.settings.profiles[ACCOUNT]), ["ice_breakers", "persistent_menu"])
        profile_calls = [call.url for call in self.calls if "messenger_profile" in call.url]
        self.assertTrue(all("platform=instagram" in url for url in profile_calls), profile_calls)
        self.assertEqual(self.provision(channel), ())


class ProfileTests(SynchronousTestCase):
    KEYS = ("get_started", "greeting", "ice_breakers", "persistent_menu")

    def test_meta_s_own_form_is_taken_as_it_is(self) -> None:
        greeting = [{"locale": "default", "text": "Hi"}, {"locale": "de_DE", "text": "Hallo"}]
        self.assertEqual(wanted_profile("x", Profile(greeting=greeting), self.KEYS), {"greeting": greeting})
        self.assertEqual(wanted_profile("x", None, self.KEYS), {})

    def test_each_limit_is_one_line_with_channel_key_and_place(self) -> None:
        for key, value, said in (
            ("greeting", "x" * 161, "greeting: [0].text: 161 characters, at most 160"),
            ("greeting", [{"locale": "de_DE", "text": "x"}], "one of its locales must be 'default'"),
            ("get_started", 5, "get_started: : must be an object"),
            ("ice_breakers", [{"question": "?", "payload": "x"}] * 5, "call_to_actions: has 5, at most 4"),
            ("ice_breakers", "x", "must be a list"),
            ("persistent_menu", [{"title": "x" * 31, "payload": "x"}], "title: 31 characters, at most 30"),
            ("persistent_menu", [{"title": "x"}], "payload: is missing"),
            ("persistent_menu", [{"title": "x", "url": "javascript:1"}], "url: must be an address"),
            ("persistent_menu", [{"title": "x", "payload": "x"}] * 21, "has 21, at most 20"),
            ("persistent_menu", [7], "must be an object"),
        ):
            error = self.assertRaises(ConfigError, wanted_profile, "shop", Profile(**{key: value}), self.KEYS)
            self.assertTrue(str(error).startswith(f"channel 'shop': profile: {key}: "), str(error))
            self.assertIn(said.partition(": ")[2] if said.startswith(key) else said, str(error))

    def test_a_menu_without_get_started_and_a_key_of_another_platform_are_named(self) -> None:
        menu = Profile(get_started="", persistent_menu=[{"title": "x", "payload": "x"}])
        self.assertIn(
            "needs get_started", str(self.assertRaises(ConfigError, wanted_profile, "x", menu, self.KEYS))
        )
        greeting = Profile(greeting="x")
        line = str(self.assertRaises(ConfigError, wanted_profile, "x", greeting, ("ice_breakers",)))
        self.assertIn("greeting: this platform has none", line)


class LiveTests(SetupCase):
    def check(self, channel: Any, now: float = NOW) -> list[str]:
        """The faults."""
        self.assertIsInstance(channel, ChecksLive)
        self.found = self.run_steps(channel.check_live(now))
        self.assertEqual(self.changes(), [])
        return [finding.text for finding in self.found if not finding.ok]

    def ready(self, **more: Any) -> FacebookInput:
        channel = self.facebook(**more)
        self.run_steps(channel.provision(WEBHOOK, dry_run=False))
        return channel

    def test_what_works_has_no_fault_and_a_line_for_everything(self) -> None:
        self.assertEqual(self.check(self.ready()), [])
        self.assertEqual(
            [finding.text for finding in self.found],
            [
                "graph_version v25.0, served until 2028-07-29",
                f"{PAGE}: the token is good (Page {PAGE})",
                f"{PAGE}: permissions pages_messaging, pages_manage_metadata",
                f"{PAGE}: subscribed",
            ],
        )

    def fault(self, channel: Any, now: float = NOW) -> str:
        [fault] = self.check(channel, now)
        return fault

    def test_a_token_that_is_refused(self) -> None:
        self.assertIn(
            f"{PAGE}: the token: token refused (190)",
            self.fault(self.facebook(page_tokens={PAGE: "nobody's"})),
        )

    def test_the_token_of_another_page(self) -> None:
        fault = self.fault(self.facebook(page_tokens={PAGE: PAGES[OTHER]}))
        self.assertEqual(fault, f"{PAGE}: the token belongs to {OTHER} Page {OTHER}")

    def test_one_bad_token_hides_no_other_account(self) -> None:
        channel = self.ready(page_tokens=PAGES)
        self.graph.pages.settings.subscribed[OTHER] = []
        faults = self.check(self.facebook(page_tokens={PAGE: "nobody's", OTHER: PAGES[OTHER]}))
        self.assertEqual([fault[:15] for fault in faults], [PAGE, OTHER])
        self.assertEqual(self.check(channel)[0][:15], OTHER)

    def test_a_permission_that_is_missing(self) -> None:
        channel = self.ready()
        self.graph.app.permissions = ("pages_manage_metadata",)
        self.assertEqual(self.fault(channel), f"{PAGE}: the token lacks pages_messaging")

    def test_a_token_that_ends(self) -> None:
        channel = self.ready()
        self.graph.app.expires_at = int(NOW) + 86_400
        self.assertEqual(self.check(channel), [])
        self.assertIn(f"{PAGE}: the token ends on 2026-11-26", [finding.text for finding in self.found])
        self.assertIn("ends on 2026-11-26", self.fault(channel, NOW + 2 * 86_400))

    def test_an_app_secret_of_another_app(self) -> None:
        channel = self.ready()
        self.graph = GraphStandIn(Clock(), PAGES)
        self.assertIn("the app secret, or the token's rights: token refused (190)", self.fault(channel))

    def test_a_subscription_that_is_missing(self) -> None:
        channel = self.ready(subscribed_fields=("messages", "message_echoes"))
        self.graph.pages.settings.subscribed[PAGE] = ["messages"]
        self.assertEqual(self.fault(channel), f"{PAGE}: not subscribed to message_echoes; `setup` does that")

    def test_the_age_of_the_version(self) -> None:
        for version, now, ok, said in (
            ("v19.0", NOW, False, "is not served any more"),
            ("v20.0", NOW, False, "ended on 2026-09-24"),
            ("v21.0", NOW, True, "served until 2027-01-21: write a newer one soon"),
            ("v26.0", NOW, True, "graph_version v26.0"),
            ("v25.0", NOW + 3 * 365 * 86_400, False, "ended on 2028-07-29"),
        ):
            finding = self.run_steps(self.facebook(graph_version=version).check_live(now))[0]
            self.assertEqual((finding.ok, said in finding.text), (ok, True), finding)

    def test_a_graph_that_serves_another_version(self) -> None:
        me = answered(body={"id": PAGE, "name": "Shop"}, facebook_api_version="v22.0")
        steps = self.facebook().check_live(NOW)
        found = drive(steps, lambda call: me if "/me?" in call.url else served(self.graph)(call))[1]
        self.assertIn(f"{PAGE}: v22.0 is served in place of v25.0", [finding.text for finding in found])

    def test_an_instagram_account_by_its_page_and_by_itself(self) -> None:
        for login in ("page", "instagram"):
            by_page = login == "page"
            accounts = InstagramAccounts({ACCOUNT: "token", "2": "other"}, renews=not by_page)
            self.graph = GraphStandIn(Clock(), None, SECRET if by_page else None, products=[accounts])
            good, bad = (
                InstagramInput("v", SECRET, {ACCOUNT: token}, login=login, graph_url="https://graph.test")
                for token in ("token", "other")
            )
            self.run_steps(good.provision(WEBHOOK, dry_run=False))
            self.assertEqual(self.check(good), [], login)
            self.assertIn("the token belongs to 2", self.check(bad)[0], login)

    def test_nothing_that_meta_may_answer_is_an_accident(self) -> None:
        for body in ({}, {"data": 5}, {"data": [1]}, {"id": []}, [], b"<html>", {"error": {"code": 2}}):
            found = drive(self.facebook().check_live(NOW), lambda call, body=body: answered(body=body))[1]
            self.assertFalse(all(finding.ok for finding in found), body)
            self.assertRaises(
                PlatformError, play, self.facebook().provision(WEBHOOK, dry_run=True), answered(body=[])
            )
