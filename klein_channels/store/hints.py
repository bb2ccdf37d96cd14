"""
What servers tell each other so that nobody has to wait for the next poll. Only a hint: any may be lost.

One thread listens, and tells what was gathered meanwhile. It is never part of a transaction that writes:
NOTIFY locks the whole database for its commit.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import msgspec
import psycopg
from psycopg import sql
from twisted.logger import Logger

from ..errors import StoreUnavailable
from . import Due
from .session import Connection

_log = Logger()
GATHER = 0.1
"""Seconds between two times that hints go out."""
LONGEST = 4000
"""Characters of one hint; PostgreSQL takes 8,000 bytes."""
REST = 2.0
"""Seconds after a connection was lost."""
_hints = msgspec.json.Decoder(Due)


class Hints:
    """Hears what is told to this server, and tells others. `heard` is called in its thread."""

    def __init__(
        self, connect: Callable[[], Connection], instance: str, heard: Callable[[Due], None]
    ) -> None:
        self._connect = connect
        self._instance = instance
        self._heard = heard
        self._server = 0
        self._told: dict[tuple[int, Due], None] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="store-hints", daemon=True)

    def start(self, server: int) -> None:
        """Hear what is told to the server of that number."""
        self._server = server
        self._thread.start()

    def move(self, server: int) -> None:
        """Our number is another one now."""
        self._server = server

    def tell(self, server: int, hint: Due) -> None:
        """Tell another server what it may look at."""
        with self._lock:
            self._told[server, hint] = None

    def stop(self) -> None:
        """Hear and tell nothing more."""
        self._over.set()

    def _serve(self) -> None:
        while not self._over.is_set():
            try:
                with self._connect() as connection:
                    self._listen(connection)
            except (psycopg.Error, StoreUnavailable) as error:
                _log.info("hints between servers: {error}; polling goes on", error=str(error).strip())
                self._over.wait(REST)

    def _listen(self, connection: Connection) -> None:
        listening = 0
        while not self._over.is_set():
            if listening != self._server:
                listening = self._server
                connection.execute("UNLISTEN *")
                connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel(listening))))
            for notice in connection.notifies(timeout=GATHER):
                self._hear(notice.payload)
            self._tell(connection)

    def _hear(self, payload: str) -> None:
        try:
            self._heard(_hints.decode(payload))
        except msgspec.DecodeError:
            _log.info("a hint that is none: {payload}", payload=payload[:100])

    def _tell(self, connection: Connection) -> None:
        with self._lock:
            told, self._told = list(self._told), {}
        texts = [(self._channel(server), msgspec.json.encode(hint).decode()) for server, hint in told]
        short: list[Any] = [(channel, text) for channel, text in texts if len(text) < LONGEST]
        if short:
            connection.execute(
                "SELECT pg_notify(channel, text) FROM unnest(%s::text[], %s::text[]) AS told (channel, text)",
                ([channel for channel, _ in short], [text for _, text in short]),
            )

    def _channel(self, server: int) -> str:
        return f"klein_channels_{self._instance}_{server}"
