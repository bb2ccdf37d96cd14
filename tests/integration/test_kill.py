"""Servers that are killed, and clients that hang up: what was acknowledged is answered, once."""

from __future__ import annotations

import json
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred

from tests.integration.processes import ProcessTestCase, Program, Wire, get, message, status_of, webhook

PEOPLE = 12
MESSAGES = 12
SEED = 20_261_122
POLICY = {"unknown_wait": 1, "poll_interval": 0.2, "retry_first": 0.2}

# Each turn says two things, with a moment between them for a kill to fall into. What an attempt that
# was cut off has said, the next one leaves out.
TWO_REPLIES = """
from twisted.internet import reactor
from twisted.internet.task import deferLater

async def reply(event, turn):
    said = [message.parts[0].text for message in turn.already_said]
    for word in ("first", "then"):
        text = word + " " + event.text
        if text not in said:
            yield text
        await deferLater(reactor, 0.005)
"""
WAITING_AGENT = """
import os
from twisted.internet import reactor
from twisted.internet.task import deferLater

async def reply(event):
    with open("asked", "a") as asked:
        asked.write(event.text + "\\n")
    while not os.path.exists("go-on"):
        await deferLater(reactor, 0.02)
    return "re: " + event.text
"""


class Person:
    """Sends messages one after the other, each until it is acknowledged, as the platform does."""

    def __init__(self, case: KilledServers, name: str) -> None:
        self.name = name
        self.texts = [f"{name}.{number}" for number in range(MESSAGES)]
        self.wanted = [f"{word} {text}" for text in self.texts for word in ("first", "then")]
        self._case = case
        self._random = random.Random(f"{SEED} {name}")

    async def write(self) -> None:
        for text in self.texts:
            request = webhook(message(self.name, f"m_{text}", text))
            while await self._case.ask(request) != 200:
                self._case.redelivered += 1
                await self._case.pause(0.05)
            self._case.acknowledged += 1
            if self._random.random() < 0.2:
                # Platforms also deliver again what was acknowledged.
                await self._case.ask(request)
            await self._case.pause(self._random.random() * 0.1)


class KilledServers(ProcessTestCase):
    """A stream of signed webhooks over many conversations, through several deaths of the server."""

    acknowledged = 0
    redelivered = 0

    async def test_what_was_acknowledged_is_answered_in_order_and_once(self) -> None:
        config = self.configure(TWO_REPLIES, POLICY)
        people = [Person(self, f"p{number}") for number in range(PEOPLE)]
        stream = ensureDeferred(self.all(*(person.write() for person in people)))
        self.addCleanup(stream.cancel)
        in_flight: Counter[str] = Counter()
        for dies in self.deaths():
            program = self.start("--config", str(config), "--port", self.endpoint)
            await dies(program)
            await program.gone
            in_flight.update(self.texts_in("sending"))
        await self.serve(config)
        await stream
        await self.until_all_is_done()
        self.assertGreater(self.redelivered, 0)
        for person in people:
            self.judge(person, in_flight)
        self.judge_repeats(in_flight)

    def deaths(self) -> list[Callable[[Program], Deferred[None]]]:
        """At seeded points: a reply was just shown, a webhook just acknowledged, a while after the start."""
        points = random.Random(SEED)
        return [
            lambda program: self.dies_at(program, lambda: len(self.graph.sent), points.randint(10, 50)),
            lambda program: self.dies_at(program, lambda: self.acknowledged, points.randint(40, 60)),
            lambda program: self.dies_after(program, points.uniform(0.5, 1.5)),
            lambda program: self.dies_at(program, lambda: len(self.graph.sent), points.randint(80, 120)),
            lambda program: self.dies_at(program, lambda: self.acknowledged, points.randint(100, 130)),
        ]

    async def dies_at(self, program: Program, count: Callable[[], int], number: int) -> None:
        """Kill it as the `number`-th is counted; a reply that is shown then has no answer yet."""
        self.graph.on_sent = lambda _: self.kill(program) if count() >= number else None
        while count() < number and not program.is_gone:
            await self.pause(0.001)
        self.graph.on_sent = None
        self.kill(program)

    async def dies_after(self, program: Program, seconds: float) -> None:
        await self.pause(seconds)
        self.kill(program)

    def texts_in(self, *states: str) -> list[str]:
        """The texts of the replies in these states."""
        marks = ", ".join("?" * len(states))
        rows = self.store.rows(f"SELECT message FROM outbox WHERE state IN ({marks})", *states)
        return [text_of(row) for row in rows]

    def judge(self, person: Person, in_flight: Counter[str]) -> None:
        """Everything was shown, in order; what is missing was cut off twice while it was sent."""
        shown = [text for text, _ in groupby(self.seen_by(person.name))]
        twice_cut_off = {text for text in self.texts_in("dead") if in_flight[text] > 1}
        missing = set(person.wanted) - set(shown)
        self.assertLessEqual(missing, twice_cut_off)
        self.assertEqual(shown, [text for text in person.wanted if text not in missing])

    def judge_repeats(self, in_flight: Counter[str]) -> None:
        """What was shown twice was cut off while it was sent, and the store says so."""
        times = Counter(self.texts)
        twice = {text for text, number in times.items() if number > 1}
        self.assertTrue(twice, "no kill fell between a reply and its answer")
        rows = self.store.rows("SELECT message, repeated FROM outbox WHERE state != 'withdrawn'")
        repeated = {text_of(row) for row in rows if row["repeated"]}
        self.assertEqual(len(rows), len({text_of(row) for row in rows}))
        self.assertLessEqual(twice, repeated)
        self.assertLessEqual(repeated, set(in_flight))
        self.assertLessEqual(max(times.values()), 2)


class HeldCommits(ProcessTestCase):
    """Somebody else holds the database for a moment, so that nothing can be committed."""

    def hold(self) -> Callable[[], None]:
        """Hold it; what lets it go."""
        other = sqlite3.connect(self.store.path, isolation_level=None)
        self.addCleanup(other.close)
        other.execute("BEGIN IMMEDIATE")
        return lambda: other.execute("ROLLBACK") and None

    async def sent(self, mid: str = "m_1", path: str = "/app/webhook") -> Wire:
        """A webhook that the server has read: what was asked after it has been answered."""
        wire = await self.wire()
        wire.send(webhook(message("7", mid), path=path))
        await self.read()
        return wire

    async def read(self) -> None:
        for _ in range(3):
            self.assertEqual(await self.ask(get("/health/live")), 200)

    async def test_nothing_is_acknowledged_before_it_is_committed(self) -> None:
        config = self.configure(policy=POLICY)
        program = await self.serve(config)
        let_go = self.hold()
        wire = await self.sent()
        self.assertNotEqual(status_of(wire.heard), 200)
        self.kill(program)
        await program.gone
        let_go()
        await self.serve(config)
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        await self.until(lambda: self.texts)
        await self.until_all_is_done()
        self.assertEqual(self.texts, ["re: hello"])

    async def test_who_hangs_up_before_the_commit_is_answered_once(self) -> None:
        await self.serve(self.configure(policy=POLICY))
        # The second path is a handler's of Klein, which cancels it.
        for mid, path in (("m_1", "/app/webhook"), ("m_2", "/app/facebook/webhook/")):
            let_go = self.hold()
            wire = await self.sent(mid, path)
            wire.hang_up()
            await self.read()
            let_go()
            # It was not acknowledged, so the platform delivers it again.
            self.assertEqual(await self.ask(webhook(message("7", mid))), 200)
        await self.until(lambda: len(self.texts) > 1)
        await self.until_all_is_done()
        self.assertEqual(self.texts, ["re: hello"] * 2)


class HangingUp(ProcessTestCase):
    async def test_right_after_the_request(self) -> None:
        await self.serve(self.configure())
        people = [f"p{number}" for number in range(30)]
        for person in people:
            wire = await self.wire()
            wire.send(webhook(message(person, f"m_{person}")))
            wire.transport.loseConnection()
        await self.until(lambda: len(self.texts) >= len(people))
        await self.until_all_is_done()
        for person in people:
            self.assertEqual(self.seen_by(person), ["re: hello"])

    async def test_in_the_middle_of_the_turn(self) -> None:
        await self.serve(self.configure(WAITING_AGENT))
        request = webhook(message("7", "m_1")).replace(b"Connection: close\r\n", b"")
        wire = await self.wire()
        wire.send(request)
        await self.until(lambda: (self.folder / "asked").exists() and status_of(wire.heard) == 200)
        wire.hang_up()
        await wire.lost
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        self.write("go-on", "")
        await self.until(lambda: self.texts)
        await self.until_all_is_done()
        self.assertEqual(self.texts, ["re: hello"])
        self.assertEqual((self.folder / "asked").read_text(), "hello\n")


def text_of(row: dict[str, Any]) -> str:
    text: str = json.loads(row["message"])["parts"][0]["text"]
    return text
