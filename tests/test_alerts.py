"""The rules name metrics, labels and values that there are, and the handbook says what to do at each."""

import re
from pathlib import Path
from typing import get_args

import yaml
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.meter import Failing, Rejection
from klein_channels.prometheus import Prometheus

DOCS = Path(__file__).parent.parent / "docs"
OUTCOMES = ("done", "retry", "dead")


class AlertTests(SynchronousTestCase):
    def setUp(self):
        text = (DOCS / "alerts.yml").read_text(encoding="utf-8")
        (group,) = yaml.safe_load(text)["groups"]
        self.rules = group["rules"]
        self.series = self.all_series()

    def all_series(self):
        """Name -> labels, of everything that a server can show."""
        meter = Prometheus(lambda: 0.0, ["c"])
        meter.received("c", "a", "message")
        meter.acknowledged("c", 0.1)
        meter.turn_began("c", 1)
        meter.turn_ended("c", 1, "done")
        meter.sent("c", "a", "text", 0.1)
        meter.not_sent("c", "a", "auth", 0.1)
        meter.rejected("c", "signature")
        for what in ("agent", "rate_limit"):
            meter.waited(what, "c", 0.1)
        gauges = [("queue_depth", ("c",), 1), ("queue_oldest_age_seconds", ("c",), 1)]
        gauges += [("dead_letters", ("c", "turn"), 1), ("paused", ("c", "hold"), 1)]
        page = meter.show(True, gauges).decode()
        return {
            sample.name: set(sample.labels)
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }

    def test_every_metric_and_label_is_there(self):
        self.assertGreater(len(self.rules), 10)
        for rule in self.rules:
            names = re.findall(r"klein_channels_\w+", rule["expr"])
            self.assertTrue(names, rule["alert"])
            for name in names:
                self.assertIn(name, self.series, rule["alert"])
            labels = set(re.findall(r"labels\.(\w+)", rule["annotations"]["summary"]))
            for name, label in re.findall(r"(klein_channels_\w+)\{(\w+)=", rule["expr"]):
                self.assertIn(label, self.series[name], rule["alert"])
            self.assertLessEqual(labels, set.union(*(self.series[name] for name in names)), rule["alert"])

    def test_every_value_of_a_label_is_one_that_there_is(self):
        known = {"class": get_args(Failing), "reason": get_args(Rejection), "outcome": OUTCOMES}
        asked = 0
        for rule in self.rules:
            for label, values in re.findall(r"(class|reason|outcome)=~?\"([^\"]+)\"", rule["expr"]):
                for value in values.split("|"):
                    asked += 1
                    self.assertIn(value, known[label], rule["alert"])
        self.assertGreater(asked, 4)

    def test_the_handbook_says_what_to_do_at_each(self):
        page = (DOCS / "operations.rst").read_text(encoding="utf-8")
        for rule in self.rules:
            self.assertIn(f"``{rule['alert']}``", page)
            self.assertIn(rule["labels"]["severity"], ("page", "ticket"))
