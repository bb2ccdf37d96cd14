"""A PostgreSQL server for tests: the one at the DSN, or the one of this machine.

Each test has a schema of its own. To make one takes longer than most tests, so that those which are
done with theirs leave it, emptied, to the next.
"""

import atexit
import os
import secrets
from contextlib import closing
from functools import cache
from urllib.parse import quote

VARIABLE = "KLEIN_CHANNELS_TEST_POSTGRES"
LOCAL = ("postgresql://127.0.0.1:5432/test?user=root", "postgresql:///test", "postgresql:///postgres")
_free = []


@cache
def server():
    """The URL of a server that answers and takes schemas, and why there is none."""
    given = os.environ.get(VARIABLE)
    reasons = []
    for url in (given,) if given else LOCAL:
        try:
            with closing(connected(url)) as db:
                db.execute(f"CREATE SCHEMA kc_probe_{os.getpid()}")
                db.execute(f"DROP SCHEMA kc_probe_{os.getpid()}")
        except Exception as error:
            reasons.append(f"{url.rpartition('@')[2]}: {' '.join(str(error).split())}")
        else:
            return url, ""
    return "", f"no PostgreSQL ({'; '.join(reasons)}); name one in {VARIABLE}"


def connected(url):
    import psycopg

    db = psycopg.connect(url, autocommit=True, connect_timeout=3)
    db.execute("SET synchronous_commit = off; SET client_min_messages = warning")
    return db


def has_server(case):
    """Skip a test where there is no server; the server's URL."""
    url, reason = server()
    if not url:
        case.skipTest(reason)
    return url


def new_store_url(case):
    """The URL of an empty store of its own, which others have when the test has ended."""
    url = has_server(case)
    schema = _free.pop() if _free else _made(url)
    case.addCleanup(_leave, url, schema)
    return in_schema(url, schema)


def in_schema(url, schema):
    """The URL of a store in that schema."""
    options = quote(f"-csearch_path={schema} -csynchronous_commit=off")
    return f"{url}{'&' if '?' in url else '?'}options={options}"


def _made(url):
    schema = f"kc_test_{secrets.token_hex(6)}"
    with closing(connected(url)) as db:
        db.execute(f"CREATE SCHEMA {schema}")
    atexit.register(_drop, url, schema)
    return schema


def empty(url):
    """Take everything out of the store at `url` but its tables, and count from 1 again."""
    with closing(connected(url)) as db:
        tables = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = current_schema").fetchall()
        for (table,) in tables:
            if table != "store":
                db.execute(f"DELETE FROM {table}")
        sequences = db.execute(
            "SELECT sequencename FROM pg_sequences WHERE schemaname = current_schema"
            " AND last_value IS NOT NULL"
        ).fetchall()
        for (sequence,) in sequences:
            db.execute("SELECT setval(%s, 1, false)", (sequence,))


def _leave(url, schema):
    empty(in_schema(url, schema))
    _free.append(schema)


def _drop(url, schema):
    with closing(connected(url)) as db:
        db.execute(f"DROP SCHEMA {schema} CASCADE")
