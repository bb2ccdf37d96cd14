"""The tokens of joined accounts in both engines: kept, dropped, renewed by one server at a time."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.store.grants import SealedGrant, begin_renewal, drop, first_use, grants, keep
from klein_channels.store.sqlite import SQLiteStore

from .doubles import NOW
from .test_store_servers import ServersCase


class GrantChecks:
    """What holds in every engine; `first` and `second` are servers of one database."""

    first: Any
    second: Any

    def asked(self, store: Any, work: Any, *arguments: Any) -> Any:
        return self.successResultOf(store.operate(partial(self.with_db, work, arguments)))  # type: ignore[attr-defined]

    def with_db(self, work: Any, arguments: Any, db: Any) -> Any:
        return work(db, *arguments)

    def test_the_last_one_counts_and_is_seen_by_all(self) -> None:
        check: Any = self
        old = SealedGrant(channel="slack", account="T1", sealed=b"\0old\xff")
        new = SealedGrant(channel="slack", account="T1", sealed=b"\0new\xff", expires_at=NOW + 9.5)
        other = SealedGrant(channel="slack", account="T2", sealed=b"2")
        for grant in (old, other, new):
            self.asked(self.first, keep, grant, NOW)
        self.assertSame(self.second, [new, other])
        check.assertEqual([self.asked(self.second, drop, "slack", "T2") for _ in range(2)], [True, False])
        self.assertSame(self.first, [new])

    def assertSame(self, store: Any, expected: list[SealedGrant]) -> None:
        check: Any = self
        check.assertEqual(check.successResultOf(store.look(grants)), expected)

    def test_one_server_at_a_time_renews(self) -> None:
        check: Any = self
        grant = SealedGrant(channel="slack", account="T1", sealed=b"1")
        self.asked(self.first, keep, grant, NOW)
        tries = [
            self.asked(store, begin_renewal, "slack", "T1", at, at + 60)
            for store, at in (
                *((self.first, NOW), (self.second, NOW + 1), (self.second, NOW + 59)),
                *((self.second, NOW + 61), (self.first, NOW + 62)),
            )
        ]
        check.assertEqual(tries, [True, False, False, True, False])
        self.asked(self.second, keep, grant, NOW + 63)
        check.assertTrue(self.asked(self.first, begin_renewal, "slack", "T1", NOW + 63, NOW + 99))
        check.assertFalse(self.asked(self.first, begin_renewal, "slack", "T9", NOW, NOW + 60))

    def test_what_is_good_once_is_used_once(self) -> None:
        check: Any = self
        used = [self.asked(store, first_use, b"\0\0\0\1key", NOW) for store in (self.first, self.second)]
        check.assertEqual(used, [True, False])


class PostgresTests(GrantChecks, ServersCase):
    """Two servers on PostgreSQL."""


class SQLiteTests(GrantChecks, SynchronousTestCase):
    """One server on a file."""

    def setUp(self) -> None:
        store = SQLiteStore("")
        store.open(NOW)
        self.addCleanup(store.close)
        self.first = self.second = store
