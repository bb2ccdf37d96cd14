"""Two real servers on one PostgreSQL database: one dies under load, and the other goes on with its work."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from contextlib import closing
from itertools import groupby
from pathlib import Path
from typing import Any

from twisted.internet.defer import ensureDeferred

from tests.integration.processes import ProcessTestCase, Program, message, webhook
from tests.integration.test_kill import TWO_REPLIES, WAITING_AGENT
from tests.postgres import connected, new_store_url

PEOPLE = 10
MESSAGES = 8
SEED = 20_261_125
POLICY = {"unknown_wait": 1, "poll_interval": 0.2, "retry_first": 0.2, "lease": 2}


class Database:
    """What the database of the servers says."""

    def __init__(self, url: str) -> None:
        self.url = url

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(connected(self.url)) as db:
            return list(db.execute(query).fetchall())

    def is_at_rest(self) -> bool:
        """Whether there is nothing left to do."""
        return not self.rows(
            "SELECT id FROM inbox WHERE state = 'waiting'"
            " UNION ALL SELECT id FROM turn WHERE state IN ('running', 'retry', 'queued')"
            " UNION ALL SELECT id FROM outbox WHERE state IN ('waiting', 'sending', 'unknown', 'held')"
        )


class ServersCase(ProcessTestCase):
    """Servers on one database, each with a port of its own."""

    acknowledged = 0
    redelivered = 0

    def setUp(self) -> None:
        super().setUp()
        self.database = Database(self.store_url())
        self.ports = [self.port, self.own_port()]
        self.random = random.Random(SEED)

    def store_url(self) -> str:
        url: str = new_store_url(self)
        return url

    def configured(self, agent: str = TWO_REPLIES, policy: dict[str, object] | None = None) -> Path:
        return self.configure(agent, {**POLICY, **(policy or {})}, store=self.database.url)

    async def serve_at(self, config: Path, port: int) -> Program:
        """Start a server at `port`, and wait until it is ready."""
        self.port = port
        folder = self.folder / str(port)
        folder.mkdir(exist_ok=True)
        return await self.serve(config, cwd=folder)

    async def people_write(self, messages: int = MESSAGES) -> list[str]:
        """Everybody writes, to whichever server takes it; what they are to see then, in order."""
        names = [f"p{number}" for number in range(PEOPLE)]
        await self.all(*(self.writes(name, messages) for name in names))
        return names

    async def writes(self, name: str, messages: int) -> None:
        for number in range(messages):
            text = f"{name}.{number}"
            request = webhook(message(name, f"m_{text}", text))
            while await self.ask(request, self.random.choice(self.ports)) != 200:
                self.redelivered += 1
                await self.pause(0.05)
            self.acknowledged += 1
            if self.random.random() < 0.2:
                await self.ask(request, self.random.choice(self.ports))
            await self.pause(self.random.random() * 0.1)

    def wanted(self, name: str, messages: int = MESSAGES) -> list[str]:
        return [f"{word} {name}.{number}" for number in range(messages) for word in ("first", "then")]

    def judge(self, names: list[str], messages: int = MESSAGES) -> None:
        """All was shown, in order; twice only what the store says that it was sent again."""
        rows = self.database.rows("SELECT message, repeated, state FROM outbox WHERE state <> 'withdrawn'")
        repeated = {_text(row[0]) for row in rows if row[1]}
        dead = {_text(row[0]) for row in rows if row[2] == "dead"}
        for name in names:
            shown = [text for text, _ in groupby(self.seen_by(name))]
            self.assertEqual(shown, [text for text in self.wanted(name, messages) if text not in dead])
        times = Counter(self.texts)
        self.assertLessEqual({text for text, number in times.items() if number > 1}, repeated)
        self.assertLessEqual(max(times.values()), 2)

    async def until_all_is_done(self) -> None:
        await self.until(self.database.is_at_rest)


def _text(stored: bytes) -> str:
    text: str = json.loads(stored)["parts"][0]["text"]
    return text


class TwoServers(ServersCase):
    async def test_they_share_the_work_and_nothing_is_said_twice(self) -> None:
        config = self.configured()
        for port in self.ports:
            await self.serve_at(config, port)
        names = await self.people_write()
        await self.until_all_is_done()
        self.judge(names)
        self.assertEqual(Counter(self.texts).most_common(1)[0][1], 1)
        self.assertEqual(self.redelivered, 0)
        servers = self.database.rows("SELECT server, count(*) FROM turn GROUP BY server")
        self.assertEqual(len(servers), 2, servers)

    async def test_one_is_killed_under_load(self) -> None:
        config = self.configured()
        programs = [await self.serve_at(config, port) for port in self.ports]
        stream = ensureDeferred(self.people_write())
        await self.until(lambda: self.acknowledged >= 20)
        self.kill(programs[0])
        await programs[0].gone
        names = await stream
        await self.until_all_is_done()
        self.assertGreater(self.redelivered, 0)
        self.judge(names)

    async def test_one_that_was_frozen_for_long_changes_nothing_when_it_goes_on(self) -> None:
        config = self.configured()
        programs = [await self.serve_at(config, port) for port in self.ports]
        names = [f"p{number}" for number in range(PEOPLE)]
        for name in names:
            request = webhook(message(name, f"m_{name}.0", f"{name}.0"))
            self.assertEqual(await self.ask(request, self.ports[0]), 200)
        os.kill(programs[0].pid, signal.SIGSTOP)
        # The other one finds its lease run out, and says what there is to say.
        await self.until_all_is_done()
        os.kill(programs[0].pid, signal.SIGCONT)
        await self.until(lambda: len(self.database.rows("SELECT id FROM server")) == 2)
        await self.until_all_is_done()
        self.judge(names, 1)

    async def test_they_give_each_other_hints_and_need_not_wait_for_a_poll(self) -> None:
        config = self.configured(WAITING_AGENT, {"poll_interval": 1000, "lease": 60})
        folders = []
        for port in self.ports:
            await self.serve_at(config, port)
            folders.append(self.folder / str(port))
        self.assertEqual(await self.ask(webhook(message("p0", "m_1", "one")), self.ports[0]), 200)
        await self.until((folders[0] / "asked").exists)
        # The other server finds that the first one is at it, and says so.
        self.assertEqual(await self.ask(webhook(message("p0", "m_2", "two")), self.ports[1]), 200)
        await self.until(lambda: self.database.rows("SELECT id FROM inbox WHERE id = 2"))
        for folder in folders:
            (folder / "go-on").touch()
        await self.until(lambda: self.texts == ["re: one", "re: two"])
        self.assertEqual((folders[0] / "asked").read_text(), "one\ntwo\n")

    async def test_a_stop_hands_over_at_once(self) -> None:
        config = self.configured(policy={"lease": 60})
        programs = [await self.serve_at(config, port) for port in self.ports]
        stream = ensureDeferred(self.people_write(3))
        await self.until(lambda: len(self.graph.sent) >= 5)
        await self.stop(programs[0])
        self.ports = self.ports[1:]
        names = await stream
        await self.until_all_is_done()
        self.judge(names, 3)
        self.assertEqual(len(self.database.rows("SELECT id FROM server")), 1)
