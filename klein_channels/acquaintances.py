"""
Who people are, where the platform is asked for it: looked up before a turn, and remembered for a while.

It is an extra: a turn waits for it a moment at most and goes on without. What was learnt lies with the
conversation in the store, and goes with it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from .channel import Channel, KnowsPeople, able
from .http import Http
from .logs import Throttle
from .model import AnyEvent, PersonEvent, Sender
from .policy import Policy
from .store import Acquaintance, StartedTurn, Store

_log = Logger()
UNTOLD_LIFETIME = 3600.0
"""Seconds for which a platform that told nothing is not asked again."""


class Acquaintances:
    """Adds to events what the platform tells about their senders, on channels that ask for `profiles`."""

    def __init__(self, store: Store, http: Http, policy: Policy, *, now: Callable[[], float]) -> None:
        self._store = store
        self._http = http
        self._policy = policy
        self._now = now
        self._troubles = Throttle(now)

    async def introduced(self, channel: Channel, event: AnyEvent, started: StartedTurn) -> AnyEvent:
        """`event` with what is known of its sender; it never fails."""
        if not channel.options.profiles or not able(channel, KnowsPeople):
            return event
        if not isinstance(event, PersonEvent) or event.sender is None:
            return event
        known = next((one for one in started.people if one.person.id == event.sender.id), None)
        if known is None or known.until <= self._now():
            known = await self._asked(channel, event, event.sender, started)
        return msgspec.structs.replace(event, sender=_completed(event.sender, known.person))

    async def _asked(
        self, channel: Channel, event: PersonEvent, sender: Sender, started: StartedTurn
    ) -> Acquaintance:
        person = None
        assert isinstance(channel, KnowsPeople), "the caller looked"
        try:
            steps = channel.person(sender, event.address)
            person = await self._http.run(steps, self._policy.profile_deadline)
        except CancelledError:
            raise
        except Exception:
            if self._troubles.admit(channel.name) is not None:
                _log.failure("channel {channel}: nothing is told about people", channel=channel.name)
        lifetime = self._policy.profile_lifetime if person is not None else UNTOLD_LIFETIME
        learnt = Acquaintance(person=person or sender, until=self._now() + lifetime)
        noted = self._store.note_person(started.turn.conversation, learnt)
        noted.addErrback(lambda failure: _log.info("a person: {why}", why=failure.getErrorMessage()))
        return learnt


def _completed(sender: Sender, known: Sender) -> Sender:
    """What came with the event goes before what was told earlier."""
    return Sender(
        id=sender.id,
        name=sender.name or known.name,
        username=sender.username or known.username,
        locale=sender.locale or known.locale,
        is_bot=sender.is_bot,
    )
