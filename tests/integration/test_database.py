"""The database of the servers dies, is replaced, is held up, or stands behind a pooler."""

from __future__ import annotations

from urllib.parse import quote

from twisted.internet.defer import ensureDeferred

from tests.integration.database import Pooler, PrivateServer, missing, no_pooler
from tests.integration.processes import get, message, webhook
from tests.integration.test_servers import Database, ServersCase


class DatabaseCase(ServersCase):
    """Servers on a database of their own."""

    def store_url(self) -> str:
        if reason := missing():
            self.skipTest(reason)
        self.server = self.new_server()
        self.server.make()
        return self.server.url

    def new_server(self, **settings: str) -> PrivateServer:
        server = PrivateServer(self.own_port(), **settings)
        self.addCleanup(server.end)
        return server

    async def start_database(self, server: PrivateServer) -> None:
        server.start()
        await self.until(server.is_there)


class KilledDatabase(DatabaseCase):
    async def test_killed_under_load_and_started_again(self) -> None:
        await self.start_database(self.server)
        config = self.configured()
        for port in self.ports:
            await self.serve_at(config, port)
        stream = ensureDeferred(self.people_write())
        for count in (10, 40):
            await self.until(lambda count=count: self.acknowledged >= count)
            self.server.kill()
            await self.pause(0.3)
            self.assertNotEqual(await self.ask(webhook(message("away", f"m_away{count}"))), 200)
            await self.start_database(self.server)
        names = await stream
        await self.until_all_is_done()
        self.assertGreater(self.redelivered, 0)
        self.judge(names)

    async def test_connections_that_the_database_ended_are_made_anew(self) -> None:
        await self.start_database(self.server)
        await self.serve_at(self.configured(), self.ports[0])
        self.server.ask(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'klein_channels'"
        )
        # Nobody is told: it is done again over a new connection.
        self.assertEqual(await self.ask(webhook(message("p0", "m_1", "p0.0"))), 200)
        await self.until_all_is_done()
        self.judge(["p0"], 1)


class Standby(DatabaseCase):
    async def pair(self) -> PrivateServer:
        """A primary and a standby without which nothing is acknowledged."""
        self.server.settings["synchronous_standby_names"] = "ANY 1 (*)"
        await self.start_database(self.server)
        standby = self.new_server()
        standby.follow(self.server)
        standby.start()
        await self.until(
            lambda: self.server.ask("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'quorum'")
        )
        hosts = f"127.0.0.1:{self.server.port},127.0.0.1:{standby.port}"
        self.database.url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
        return standby

    async def test_the_primary_dies_and_the_standby_goes_on_with_all_of_it(self) -> None:
        standby = await self.pair()
        config = self.configured()
        for port in self.ports:
            await self.serve_at(config, port)
        stream = ensureDeferred(self.people_write())
        await self.until(lambda: self.acknowledged >= 20)
        self.server.kill()
        self.database = Database(standby.url)
        standby.ask("SELECT pg_promote()")
        names = await stream
        await self.until_all_is_done()
        self.assertGreater(self.redelivered, 0)
        self.judge(names)

    async def test_without_a_standby_nothing_is_acknowledged_until_there_is_one(self) -> None:
        standby = await self.pair()
        await self.serve_at(self.configured(policy={"ack_deadline": 1}), self.ports[0])
        standby.kill()
        request = webhook(message("p0", "m_1", "p0.0"))
        self.assertEqual(await self.ask(request), 503)
        self.assertEqual(await self.ask(get("/health/live")), 200)
        await self.start_database(standby)
        while await self.ask(request) != 200:
            await self.pause()
        await self.until_all_is_done()
        self.judge(["p0"], 1)


class Pooled(DatabaseCase):
    async def test_behind_a_pooler_that_gives_each_transaction_another_connection(self) -> None:
        if reason := no_pooler():
            self.skipTest(reason)
        await self.start_database(self.server)
        pooler = Pooler(self.own_port(), self.server)
        self.addCleanup(pooler.end)
        direct = self.database.url
        pooled = f"postgresql://postgres@127.0.0.1:{pooler.port}/postgres?pooler=transaction"
        self.database.url = f"{pooled}&listen={quote(direct, safe='')}"
        config = self.configured()
        self.database.url = direct
        for port in self.ports:
            await self.serve_at(config, port)
        names = await self.people_write(4)
        await self.until_all_is_done()
        self.judge(names, 4)
