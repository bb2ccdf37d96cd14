"""The numbered scripts: every engine has all of them, and a store goes forward only."""

import sqlite3
from contextlib import closing

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import StartError
from klein_channels.store import schema

ENGINES = ("sqlite", "postgres")


def connected():
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


class ScriptTests(SynchronousTestCase):
    def test_the_engines_have_the_same_numbers(self):
        self.assertEqual(*(list(schema.scripts(engine)) for engine in ENGINES))

    def test_a_script_is_cut_into_whole_statements(self):
        script = "-- one; not two\nCREATE TABLE a (x TEXT);\nINSERT INTO a\n VALUES (';');\n"
        self.assertEqual(len(list(schema.statements(script))), 2)


class MigrationTests(SynchronousTestCase):
    def setUp(self):
        scripts = {1: "CREATE TABLE store (version INTEGER, instance TEXT);", 2: "CREATE TABLE a (x TEXT);"}
        self.scripts = scripts
        self.patch(schema, "scripts", lambda engine: self.scripts)

    def version(self, db):
        return db.execute("SELECT version FROM store").fetchone()["version"]

    def test_a_new_store_has_all_of_them(self):
        with closing(connected()) as db:
            schema.migrate(db, 0, "sqlite")
            self.assertEqual(self.version(db), 2)
            self.assertEqual(db.execute("SELECT * FROM a").fetchall(), [])

    def test_an_older_one_gets_what_is_new_and_keeps_its_name(self):
        with closing(connected()) as db:
            schema.migrate(db, 0, "sqlite")
            instance = db.execute("SELECT instance FROM store").fetchone()["instance"]
            self.scripts[3] = "ALTER TABLE a ADD COLUMN y TEXT;"
            schema.migrate(db, 2, "sqlite")
            self.assertEqual(self.version(db), 3)
            self.assertEqual(db.execute("SELECT instance FROM store").fetchone()["instance"], instance)
            db.execute("INSERT INTO a (x, y) VALUES ('1', '2')")

    def test_a_newer_one_is_refused(self):
        schema.refuse_newer("store.db", 2, "sqlite")
        with self.assertRaisesRegex(StartError, "store.db has schema 3, .* knows 2: upgrade it"):
            schema.refuse_newer("store.db", 3, "sqlite")
