"""Which store a URL names."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from ..errors import StartError
from ..policy import Policy
from . import Store, open_url
from .commit import GroupCommitter
from .moving import End
from .moving_sqlite import SQLiteEnd
from .sqlite import SQLiteStore


def store_for_server(url: str, policy: Policy, call_from_thread: Callable[..., object]) -> Store:
    """The store of a server, whose commits are made in threads."""
    engine, place = open_url(url)
    threads = partial(GroupCommitter, call_from_thread=call_from_thread)
    bounds: dict[str, Any] = {
        "max_waiting": policy.max_waiting_events,
        "max_unsent": policy.max_unsent_replies,
        "unknown_wait": policy.unknown_wait,
    }
    if engine == "memory":
        return SQLiteStore("", **bounds)
    if engine == "sqlite":
        return SQLiteStore(place, committer=threads, **bounds)
    return _postgres()(
        place, committer=threads, lease=policy.lease, call_from_thread=call_from_thread, **bounds
    )


def store_beside_server(url: str) -> Store:
    """The store of a command, which works at once, beside the servers."""
    engine, place = open_url(url)
    if engine == "memory":
        raise StartError("store: memory: is known to its own process only")
    return SQLiteStore(place, shared=True) if engine == "sqlite" else _postgres()(place, shared=True)


def open_end(url: str, *, new: bool = False) -> End:
    """The store that `url` names; raise `StartError` if a server runs on it. `new`: it may not be there."""
    engine, place = open_url(url)
    if engine == "memory":
        raise StartError("store: memory: is known to its own process only")
    if engine == "sqlite":
        return SQLiteEnd(place, new=new)
    _postgres()
    from .moving_postgres import PostgresEnd

    return PostgresEnd(place)


def _postgres() -> Callable[..., Store]:
    try:
        from .postgres import PostgresStore
    except ImportError as error:
        raise StartError(
            f"store: PostgreSQL needs psycopg ({error}); pip install 'klein_channels[postgres]'"
        ) from None
    return PostgresStore
