"""A store that is copied is the same store: nothing is lost, nothing is overwritten, nobody is disturbed."""

from contextlib import closing
from pathlib import Path

from click.testing import CliRunner
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.cli import main
from klein_channels.store import EndOfTurn, StartedTurn
from klein_channels.store.moving import HELD
from klein_channels.store.opening import open_end
from klein_channels.store.postgres import PostgresStore
from klein_channels.store.schema import newest

from .doubles import NOW, address, arrival, message, opened, said
from .postgres import connected, new_store_url

KEY = str(address())


class MovingCase(SynchronousTestCase):
    def setUp(self):
        folder = Path(self.mktemp())
        folder.mkdir()
        self.file = f"sqlite:///{folder / 'a.db'}"
        self.path = str(folder / "a.db")
        self.other = f"sqlite:///{folder / 'b.db'}"
        self.database = new_store_url(self)

    def get(self, deferred):
        return self.successResultOf(deferred)

    def run_command(self, *arguments):
        return CliRunner().invoke(main, ["store", *arguments])

    def fill(self, store):
        """Something in every state that matters."""
        self.get(store.enqueue([arrival(message("1")), arrival(message("2"))], NOW))
        turn = self.get(store.start_turn(KEY, NOW, deterministic=False)).turn
        end = EndOfTurn(state="done", replies=(said("a"), said("b", part=1)), remember=b'{"x":1}')
        self.get(store.end_turn(turn, end, NOW))
        self.get(store.claim_reply(KEY, NOW))
        self.get(store.start_turn(KEY, NOW, deterministic=False))
        self.get(store.close())

    def content(self, url):
        """All that a store holds, apart from who holds what."""
        with closing(open_end(url)) as end:
            tables = {name: columns for name, columns in end.tables().items() if name not in HELD}
            return {
                name: sorted(
                    ({c: v for c, v in zip(columns, row, strict=True) if c != "server"} for row in rows),
                    key=repr,
                )
                for name, columns in tables.items()
                if (rows := list(end.rows(name, columns))) or True
            }


class CopyTests(MovingCase):
    def test_to_postgresql_and_back_nothing_is_lost(self):
        self.fill(opened(self.path))
        for source, target in ((self.file, self.database), (self.database, self.other)):
            done = self.run_command("copy", source, target)
            self.assertEqual((done.exit_code, done.output.splitlines()[-1]), (0, "copied"), done.output)
        before = self.content(self.file)
        self.assertEqual(len(before["inbox"]), 2)
        self.assertEqual(before, self.content(self.other))

    def test_the_next_server_goes_on_there(self):
        self.fill(opened(self.path))
        self.assertEqual(self.run_command("copy", self.file, self.database).exit_code, 0)
        store = PostgresStore(self.database, durable=False)
        store.open(NOW)
        self.addCleanup(store.close)
        again = self.get(store.start_turn(KEY, NOW, deterministic=False))
        self.assertIsInstance(again, StartedTurn)
        self.assertEqual((again.turn.event.text, again.turn.attempt), ("2", 2))
        self.assertEqual(self.get(store.enqueue([arrival(message("3"))], NOW)), [3])
        self.assertEqual(self.get(store.claim_reply(KEY, NOW + 31)).repeated, True)

    def test_nothing_is_overwritten(self):
        self.fill(opened(self.path))
        self.run_command("copy", self.file, self.database)
        again = self.run_command("copy", self.file, self.database)
        self.assertEqual(again.exit_code, 1)
        self.assertIn("is not empty", again.output)

    def test_not_while_a_server_runs_on_it(self):
        server = opened(self.path)
        self.addCleanup(server.close)
        refused = self.run_command("copy", self.file, self.database)
        self.assertIn("is in use by a server", refused.output)

    def test_nor_on_postgresql(self):
        server = PostgresStore(self.database, durable=False)
        server.open(NOW)
        refused = self.run_command("copy", self.database, self.other)
        self.assertIn("is in use by a server", refused.output)
        self.get(server.close())
        self.assertEqual(self.run_command("copy", self.database, self.other).exit_code, 0)

    def test_what_is_not_there_is_not_made(self):
        refused = self.run_command("copy", self.other, self.database)
        self.assertIn("is not there", refused.output)
        self.assertFalse(Path(self.other.removeprefix("sqlite:///")).exists())


class CheckTests(MovingCase):
    def test_how_much_there_is(self):
        self.fill(opened(self.path))
        said = self.run_command("check", self.file).output.splitlines()
        self.assertIn("inbox: 2", said)
        self.assertEqual(said[-1], f"schema {newest('sqlite')}")

    def test_postgresql_from_nothing(self):
        self.run_command("migrate", self.database)
        said = self.run_command("check", self.database).output.splitlines()
        self.assertEqual((said[-1], "inbox: 0" in said), (f"schema {newest('postgres')}", True))

    def test_a_newer_schema_is_refused_by_all(self):
        self.run_command("migrate", self.database)
        version = newest("postgres")
        with closing(connected(self.database)) as db:
            db.execute("UPDATE store SET version = version + 1")
            self.addCleanup(self.set_version, version)
        for command in ("check", "migrate"):
            refused = self.run_command(command, self.database)
            self.assertIn(f"has schema {version + 1}, this klein_channels knows {version}", refused.output)

    def set_version(self, version):
        with closing(connected(self.database)) as db:
            db.execute("UPDATE store SET version = %s", (version,))
