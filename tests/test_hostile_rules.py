"""No platform is without the contract, and none without its tests on the page of rules."""

from __future__ import annotations

import importlib
import re

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import known_types
from klein_channels.testing.contract import ChannelContract

from .snippets import ROOT

BY_CALLS_AND_SOCKETS = {"twilio_voice", "conversation_relay"}
"""Calls: what they have of the contract is in their tests under names of their own."""


class RuleTests(SynchronousTestCase):
    def test_every_platform_passes_the_contract(self) -> None:
        for name in set(known_types()) - BY_CALLS_AND_SOCKETS:
            module = importlib.import_module(f"tests.channels.test_{name}")
            held = [kind for kind in vars(module).values() if isinstance(kind, type)]
            self.assertTrue(any(issubclass(kind, ChannelContract) for kind in held), name)

    def test_every_rule_names_a_test_of_each_platform_that_it_concerns(self) -> None:
        page = (ROOT / "docs" / "hostile.rst").read_text(encoding="utf-8")
        rules = re.split(r"\n(?=\*\*)", page)[1:]
        self.assertGreater(len(rules), 10)
        for rule in rules:
            first = rule.partition("\n\n*")[0]
            for platform in ("Telegram", "Slack", "Twilio"):
                entry = re.search(rf"^\* {platform}.*?``tests\.", rule, re.M | re.S)
                excused = platform in first and "none" in first
                self.assertTrue(entry or excused, f"{platform}: {first}")
