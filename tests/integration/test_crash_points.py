"""Every point at which a process or its database can fail, one after the other; then many at random."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.store.postgres import PostgresStore
from klein_channels.testing.memory import START

from ..postgres import empty, new_store_url
from .crash import FaultyPostgresService, FaultyService, Steps, check, quiet

PERSON, OTHER = "1", "2"
FAULTS = {"statement": ("before", "error"), "COMMIT": ("before", "after", "error"), "shown": ("dies",)}
"""A COMMIT of SQLite that fails has changed nothing as long as the process lives, and what the next process
finds is one of the first two. Between a PostgreSQL server and us the answer to it can be lost."""
POSTGRES_FAULTS = {**FAULTS, "COMMIT": (*FAULTS["COMMIT"], "unknown")}


class SQLiteTests(SynchronousTestCase):
    service = FaultyService
    faults = FAULTS

    def setUp(self):
        quiet(self)

    def place(self):
        return self.mktemp()

    def run_with(self, steps, written, where):
        kit = self.service(steps, self.place())
        try:
            for number, person in written.items():
                kit.write(number, person)
                kit.live_on(0.2)
            kit.settle_down()
            check(self, kit, written, where)
        finally:
            if kit.process.alive:
                kit.kill()

    def test_one_message_with_two_replies_at_every_point(self):
        written = {1: PERSON}
        steps = Steps()
        self.run_with(steps, written, "without a fault")
        points = [(n, fault) for n, kind in enumerate(steps.kinds, 1) for fault in self.faults[kind]]
        for number, fault in points:
            kind = steps.kinds[number - 1]
            self.run_with(Steps(number, fault), written, f"{fault} at point {number}, a {kind}")
        print(f"{self.service.__name__}: {len(points)} faults at {len(steps.kinds)} points")
        self.assertGreaterEqual(len(points), 150)

    def test_long_runs_with_many_faults(self):
        for seed in range(self.seeds):
            chance = random.Random(seed)
            written = {n: chance.choice((PERSON, OTHER)) for n in range(1, 7)}
            self.run_with(RandomSteps(chance, self.faults), written, f"seed {seed}")

    seeds = 12


class PostgresTests(SQLiteTests):
    service = FaultyPostgresService
    faults = POSTGRES_FAULTS
    seeds = 4

    url = ""

    def place(self):
        if self.url:
            empty(self.url)
        else:
            self.url = new_store_url(self)
            # The tables are made here: that takes too long to be done for each point.
            store = PostgresStore(self.url, durable=False)
            store.open(START)
            self.successResultOf(store.close())
            empty(self.url)
        return self.url


class RandomSteps(Steps):
    """A fault here and there, five at most."""

    lasts = 60.0

    def __init__(self, chance, faults):
        super().__init__()
        self.chance = chance
        self.faults = faults
        self.left = 5

    def __call__(self, what):
        super().__call__(what)
        if not self.counts or not self.left or self.chance.random() > 0.02:
            return None
        self.left -= 1
        return self.chance.choice(self.faults[self.kinds[-1]])
