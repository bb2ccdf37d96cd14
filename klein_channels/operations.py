"""
What an operator can do, whichever way the order comes: over HTTP, or from the command line.

Everything is a short transaction on the store, with the record of it in the same transaction; so it
works beside any number of servers, and with none. Servers notice within a poll. No method gives out
what a person wrote, except those that are asked for exactly that.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol, TypeVar

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from .errors import ConfigError
from .model import JSON, Address, Owner
from .store import Conversation, DeadLetter, Store
from .store.audit import Deed, record, recorded
from .store.database import Database
from .store.letters import dead_letter, redrive
from .store.overview import (
    Backlog,
    ConversationState,
    backlog_of_places,
    conversation,
    conversations,
)
from .store.owners import set_owner
from .store.pauses import Mode, Pause, pause, pauses, place_of, resume
from .store.people import Person, Traces, chunks_of, erase, in_conversations, others_in, shown, traces
from .store.selection import Prospect, Selection, edit, place_of_letter, prospect, selected

_log = Logger()
T = TypeVar("T")
PAGE = 100
ERASED_AT_ONCE = 200
"""Rows that one transaction of an erasure deletes at most."""
PASSES = 5
"""How often an erasure looks again for what was written while it was at work."""
KEYS_AT_ONCE = 200
"""Conversations that one question names at most."""


class Keeper(Protocol):
    """What keeps something about people beside the tables: files of theirs, for instance."""

    def show(self, person: Person) -> Deferred[JSON]:
        """What it has of them, as JSON."""

    def erase(self, person: Person) -> Deferred[int]:
        """Delete it; how many things went."""


class Operations:
    """Carries out orders on `store` for `actor`, and calls `changed` after each that changed something."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], float],
        *,
        actor: str,
        changed: Callable[[], object] = lambda: None,
        keepers: Sequence[Keeper] = (),
    ) -> None:
        self._store = store
        self._now = now
        self._actor = actor
        self._changed = changed
        self._keepers = keepers

    # -- pauses

    def pauses(self) -> Deferred[list[Pause]]:
        """What is paused."""
        return self._store.look(pauses)

    def pause(
        self,
        channel: str,
        account: str | None,
        mode: Mode,
        says: str | None = None,
        note: str | None = None,
    ) -> Deferred[None]:
        """Pause a channel, or one account of it; raises `ConfigError` where the words are missing."""
        if mode == "maintenance" and not (says and says.strip()):
            raise ConfigError("maintenance needs the text with which people are answered")
        place = place_of(channel, account)
        new = Pause(place=place, mode=mode, says=says, note=note, since=self._now())
        return self._do("pause", place, lambda db: pause(db, new), lambda _: mode)

    def resume(self, channel: str, account: str | None) -> Deferred[bool]:
        """Let it go on; False if it was not paused."""
        place, now = place_of(channel, account), self._now()
        return self._do("resume", place, lambda db: resume(db, place, now), _done)

    # -- conversations

    def backlog(self, places: Sequence[str]) -> Deferred[list[Backlog]]:
        """What waits in each of `places`."""
        return self._store.look(lambda db: backlog_of_places(db, places))

    def conversations(
        self, channel: str, owner: Owner | None = None, after: str = "", limit: int = PAGE
    ) -> Deferred[list[ConversationState]]:
        """The conversations of a channel, by key."""
        place, now = place_of(channel, None), self._now()
        return self._store.look(lambda db: conversations(db, place, owner, after, limit, now))

    def owned(self, owners: Sequence[Owner], after: str | None) -> Deferred[list[Conversation]]:
        """Conversations of all channels by key: all, or those of one of `owners`."""
        return self._store.conversations(owners, after, PAGE, self._now())

    def conversation(self, key: str) -> Deferred[ConversationState]:
        """One conversation."""
        _checked_key(key)
        return self._store.look(lambda db: conversation(db, key, self._now()))

    def set_owner(self, key: str, owner: Owner, until: float | None = None) -> Deferred[None]:
        """Give a conversation to the bot, a human or nobody; `until` a time, or for good."""
        _checked_key(key)
        now = self._now()
        return self._do("set owner", key, lambda db: set_owner(db, key, owner, until, now), lambda _: owner)

    # -- dead letters

    async def letters(
        self, which: Selection, after: str | None = None, limit: int = PAGE
    ) -> list[DeadLetter]:
        """The dead letters that are meant, oldest first."""
        return await self._store.look(lambda db: selected(db, which, place_of_letter(db, after), limit))

    def letter(self, name: str) -> Deferred[DeadLetter | None]:
        """One of them, with what people wrote; that somebody looked is written down."""
        return self._do(
            "show", name, lambda db: dead_letter(db, name), lambda found: _done(found is not None)
        )

    def edit(self, name: str, content: JSON) -> Deferred[bool]:
        """Give one another content; fails with `StoreError` that says what is wrong with it."""
        return self._do("edit", name, lambda db: edit(db, name, content), _done)

    async def dry_run(self, names: Sequence[str] | None, which: Selection | None) -> list[Prospect]:
        """What a replay of these, or of the first page of those that are meant, would do now."""
        now = self._now()

        def work(db: Database) -> list[Prospect]:
            meant = selected(db, which, place_of_letter(db, None), PAGE) if which is not None else []
            named = [dead_letter(db, name) for name in names or ()]
            return [prospect(db, letter, now) for letter in (*meant, *named) if letter is not None]

        return await self._store.look(work)

    def redrive(self, name: str, action: Literal["replay", "discard"]) -> Deferred[bool]:
        """Try one again under its old ids, or put it away; False if there is none."""
        now = self._now()
        return self._do(action, name, lambda db: redrive(db, name, action, now), _done)

    async def redrive_all(self, which: Selection, action: Literal["replay", "discard"]) -> list[str]:
        """The same with all that are meant and dead by now; their names."""
        # All names first: what dies again meanwhile is not meant, or this might never end.
        meant: dict[str, None] = {}
        after: str | None = None
        while page := await self.letters(which, after):
            meant.update((letter.id, None) for letter in page)
            after = page[-1].id
        return [name for name in meant if await self.redrive(name, action)]

    # -- people

    async def export(self, person: Person) -> JSON:
        """All that is kept about somebody."""
        found = await self._traces(person)
        kept = await self._store.look(lambda db: shown(db, found))
        files = [await keeper.show(person) for keeper in self._keepers]
        await self._do("export", _named(person), lambda db: None, lambda _: f"{found.rows()} rows")
        return {"person": {"channel": person.channel, "id": person.id}, "tables": kept, "files": files}

    async def erase(self, person: Person) -> int:
        """Delete all that is kept about somebody; how much went.

        What was written meanwhile goes too. What a platform delivers again is known as seen and does
        not come back; what they write afterwards is new.
        """
        gone = 0
        for _ in range(PASSES):
            found = await self._traces(person)
            if not found.rows() and not found.conversations and gone:
                break
            rows = 0
            for piece in chunks_of(found, ERASED_AT_ONCE):
                rows += await self._store.operate(partial(erase, found=piece, person=person))
            gone += rows
            if not rows:
                break
        for keeper in self._keepers:
            gone += await keeper.erase(person)
        await self._do("erase", _named(person), lambda db: None, lambda _: f"{gone} rows")
        return gone

    async def _traces(self, person: Person) -> Traces:
        """Where somebody left something, chunk by chunk, so that nobody else waits for the reader."""
        found = Traces()
        key: str | None = ""
        while key is not None:
            more, key = await self._store.look(partial(in_conversations, person=person, after=key))
            found |= more
        found |= await self._in_table(person, "inbox")
        # On some platforms a direct chat has a name of its own: it is known by who speaks there.
        theirs = await self._spoken_alone(person, found.spoke_in)
        for table in ("inbox", "turn", "outbox") if theirs else ("turn", "outbox"):
            found |= await self._in_table(person, table, theirs)
        return found

    async def _in_table(self, person: Person, table: str, theirs: Sequence[str] = ()) -> Traces:
        found = Traces()
        at: int | None = 0
        while at is not None:
            work = partial(traces, person=person, table=table, after=at, theirs=theirs)
            more, at = await self._store.look(work)
            found |= more
        return found

    async def _spoken_alone(self, person: Person, keys: Sequence[str]) -> list[str]:
        """Those of `keys` in which nobody else speaks."""
        shared: set[str] = set()
        for begin in range(0, len(keys), KEYS_AT_ONCE):
            some = keys[begin : begin + KEYS_AT_ONCE]
            at: int | None = 0
            while at is not None:
                more, at = await self._store.look(partial(others_in, person=person, keys=some, after=at))
                shared |= more
        return [key for key in keys if key not in shared]

    # -- the record

    def deeds(self, after: int = 0, limit: int = PAGE) -> Deferred[list[Deed]]:
        """What operators did, oldest first."""
        return self._store.look(lambda db: recorded(db, after, limit))

    def _do(
        self, action: str, subject: str, work: Callable[[Database], T], result: Callable[[T], str]
    ) -> Deferred[T]:
        """Do `work` and write it down, in one transaction; then say so in the log."""
        at = self._now()

        def recorded_work(db: Database) -> T:
            done = work(db)
            record(db, Deed(at=at, actor=self._actor, action=action, subject=subject, result=result(done)))
            return done

        def told(done: T) -> T:
            _log.info(
                "operator {actor}: {action} {subject}: {result}",
                actor=self._actor,
                action=action,
                subject=subject,
                result=result(done),
            )
            self._changed()
            return done

        return self._store.operate(recorded_work).addCallback(told)


def _found(found: object) -> str:
    return _done(found is not None)


def _done(done: bool) -> str:
    return "done" if done else "there is none"


def _named(person: Person) -> str:
    """The person in a record, which must not be the place where they live on."""
    return f"{person.channel}: person {person.fingerprint}"


def _checked_key(key: str) -> None:
    try:
        Address.parse(key)
    except ValueError:
        raise ConfigError(f"{key!r} is no conversation; `conversations list` names them") from None


def as_json(value: Any) -> JSON:
    """A value of this module's, or a list of them, as plain JSON."""
    return msgspec.to_builtins(value, builtin_types=(bytes,))
