"""Disks that take nothing or give nonsense, and a time of the day that jumps: documented, and no loss."""

from __future__ import annotations

from pathlib import Path

from klein_channels.errors import StartError
from klein_channels.policy import Policy
from klein_channels.testing.graph import refusal

from .case import PromiseCase

HOUR = 3600.0
PAGE_SIZE = 4096


class DiskTests(PromiseCase):
    def ready(self, kit):
        return kit.service.not_ready()

    def test_a_disk_that_becomes_read_only_takes_nothing_says_so_and_goes_on_afterwards(self):
        kit = self.serve(durable=True)
        kit.message("before")
        writing = ("INSERT", "UPDATE", "DELETE", "COMMIT")
        kit.disk.at = lambda sql: "error" if sql.startswith(writing) else None
        self.assertEqual(kit.message("hi", "m1"), 503)
        self.assertTrue(any("store" in reason for reason in self.ready(kit)), self.ready(kit))
        kit.disk.at = lambda sql: None
        self.assertEqual(kit.message("hi", "m1"), 200)
        kit.advance(40)
        self.assertEqual((kit.sent, self.ready(kit)), (["re: before", "re: hi"], []))

    def test_a_file_that_is_no_database_is_refused_at_the_start_and_left_alone(self):
        kit = self.serve(durable=True)
        kit.disk.connections[0].execute("PRAGMA wal_checkpoint(TRUNCATE)")
        kit.kill()
        path = Path(kit.store.path)
        path.write_bytes(b"not a database" * 1000)
        with self.assertRaisesRegex(StartError, "cannot be opened: file is not a database"):
            kit.start()
        self.assertEqual(path.read_bytes(), b"not a database" * 1000)
        kit.process.die()

    def test_a_database_that_is_damaged_inside_acknowledges_nothing_that_it_did_not_store(self):
        kit = self.serve(durable=True)
        kit.message("before")
        kit.disk.connections[0].execute("PRAGMA wal_checkpoint(TRUNCATE)")
        [(page,)] = kit.rows("SELECT rootpage FROM sqlite_master WHERE name = 'inbox'")
        kit.kill()
        with open(kit.store.path, "r+b") as file:
            file.seek((page - 1) * PAGE_SIZE)
            file.write(b"\xff" * PAGE_SIZE)
        try:
            kit.start()
        except StartError as error:
            self.assertIn("malformed", str(error))
            kit.process.die()
            return
        self.assertEqual(kit.message("hi"), 503)
        self.assertNotEqual(self.ready(kit), [])


class TimeTests(PromiseCase):
    """The time of the day is set; the clock by which waits are measured goes on."""

    def test_after_it_was_set_back_new_messages_are_answered_at_once(self):
        for jump in (-HOUR, HOUR, -10 * 365 * 24 * HOUR):
            kit = self.serve()
            kit.message("before")
            kit.ahead += jump
            kit.message("after")
            kit.advance(1)
            self.assertEqual(kit.sent, ["re: before", "re: after"], jump)

    def test_an_account_that_rests_rests_no_longer(self):
        kit = self.serve()
        kit.graph.answers(refusal(4, "too many calls"))
        kit.message("throttled")
        kit.message("waits", person="7")
        kit.ahead -= HOUR
        kit.advance(58)
        self.assertEqual(kit.sent, [])
        kit.advance(10)
        self.assertEqual(kit.sent_to("7"), ["re: waits"])

    def test_a_stored_time_is_one_of_the_day(self):
        # What waits for ten o'clock waits for ten o'clock: an hour longer after a jump back ...
        kit = self.serve(policy=Policy(poll_interval=5.0))
        kit.graph.answers(refusal(2, "unavailable", status=503))
        kit.message("hi")
        kit.ahead -= HOUR
        kit.advance(HOUR - 60)
        self.assertEqual(kit.sent, [])
        kit.advance(120)
        self.assertEqual(kit.sent, ["re: hi"])

    def test_a_jump_forward_brings_what_waits_forward(self):
        kit = self.serve()
        kit.graph.answers(*[refusal(2, "unavailable", status=503)] * 7)
        kit.message("hi")
        kit.advance(70)
        self.assertEqual(kit.sent, [])
        kit.ahead += HOUR
        kit.advance(2)
        self.assertEqual(kit.sent, ["re: hi"])

    def test_a_redelivery_is_known_whatever_the_time(self):
        kit = self.serve()
        kit.message("hi", "m1")
        for jump in (-HOUR, 2 * HOUR):
            item = kit.item("m1", message={"text": "hi"})
            item["timestamp"] = int(kit.clock.seconds() * 1000)
            kit.ahead += jump
            kit.deliver(item)
        self.assertEqual(kit.sent, ["re: hi"])
