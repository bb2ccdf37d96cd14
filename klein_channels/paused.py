"""What operators have paused, as this process knows it: read with every poll, asked with every event."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred

from .model import Address, AnyEvent, Message, Text
from .store import Reply, StartedTurn, Store
from .store.pauses import Pause, pauses_ever, place_of


class Paused:
    """Knows the pauses of a store. In which of them no turn begins and nothing is sent, the store sees to."""

    def __init__(self, store: Store, now: Callable[[], float]) -> None:
        self._store = store
        self._now = now
        self._known: dict[str, Pause] = {}
        self._places: dict[str, Pause] = {}

    def now(self) -> list[Pause]:
        """All of them."""
        return list(self._places.values())

    def refresh(self) -> Deferred[bool]:
        """Read them again; whether somebody may go on who could not before."""
        return self._store.look(pauses_ever).addCallback(self._read)

    def _read(self, found: list[Pause]) -> bool:
        before = self._known
        self._known = {pause.place: pause for pause in found}
        self._places = {place: pause for place, pause in self._known.items() if pause.mode != "over"}
        # What is over may have been on and off between two looks, and held somebody up all the same.
        changed = (pause for place, pause in self._known.items() if before.get(place) != pause)
        return any(pause.mode in ("over", "maintenance") for pause in changed)

    def refuses(self, events: Iterable[AnyEvent]) -> bool:
        """Whether any of these events is for a place that takes nothing."""
        if not self._places:
            return False
        return any(self._is(event.address, "reject") for event in events)

    def _is(self, address: Address, mode: str) -> bool:
        return any(pause.mode == mode for pause in self._of(address))

    def _of(self, address: Address) -> list[Pause]:
        """The pauses that an address is under, the nearer one first."""
        places = (place_of(address.channel, address.account), place_of(address.channel, None))
        return [pause for place in places if (pause := self._places.get(place)) is not None]

    def maintenance(self, started: StartedTurn) -> Pause | None:
        """The pause whose words answer a turn in place of the agent, if there is one."""
        if not self._places:
            return None
        of = self._of(started.address)
        return of[0] if of and of[0].mode == "maintenance" else None

    def say(self, pause: Pause, started: StartedTurn, *, by_answer: bool) -> Deferred[bool]:
        """Commit the words of a pause, once in each conversation; whether they are new there."""
        event = started.turn.event
        message = Message(parts=(Text(text=pause.says or ""),))
        reply = Reply(address=started.address, message=message, cause=event.id, by_answer=by_answer)
        return self._store.post(
            started.turn.conversation, [reply], f"maintenance {pause.number}", self._now()
        )
