"""Where something on Slack happened: the address that a reply to it goes to, and who did it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from ..json_fields import lenient_identifier, lenient_words
from ..model import JSON, Address, Sender
from .teams import TeamTokens

_TS = re.compile(r"[0-9]{9,10}\.[0-9]{1,6}")


class Places:
    """Makes the addresses of one configured channel.

    With `use_threads` a message in a channel begins a thread that is answered in. A direct chat
    stays one conversation, except where Slack's own interface has put it into threads.
    """

    def __init__(self, channel: str, tokens: TeamTokens, use_threads: bool) -> None:
        self._channel = channel
        self._tokens = tokens
        self._use_threads = use_threads

    def at(self, account: str, peer: str, ts: JSON = None, thread_ts: JSON = None) -> Address:
        """The place of the message `ts` in the chat `peer`."""
        thread = lenient_identifier(thread_ts) or None
        if thread is None and self._use_threads and not is_direct(peer):
            thread = lenient_identifier(ts) or None
        return Address(channel=self._channel, account=account, peer=peer, thread=thread)

    def account(self, candidates: Iterable[JSON]) -> str:
        """Our account: of the workspaces and organisations named, the first that has a token."""
        named = [team for team in map(lenient_identifier, candidates) if team]
        known = set(self._tokens.teams)
        return next((team for team in named if team in known), named[0] if named else "")

    def answers(self, address: Address) -> bool:
        """Whether there is somebody at `address`, and a token to answer with."""
        return bool(address.peer) and bool(address.account) and self._tokens.covers(address.account)

    def named(self, key: JSON, account: str) -> Address | None:
        """The address that we put into a form of ours as text, if it is one of this account."""
        try:
            address = Address.parse(key) if isinstance(key, str) else None
        except ValueError:
            return None
        ours = address is not None and (address.channel, address.account) == (self._channel, account)
        return address if ours and address is not None and address.peer else None


def is_direct(peer: str) -> bool:
    """Whether a chat is one with a single person: an IM channel, or the person's own id."""
    return peer.startswith(("D", "U", "W"))


def moment(ts: JSON) -> float | None:
    """The time that a ``ts`` stands for; it is an identifier first."""
    return float(ts) if isinstance(ts, str) and _TS.fullmatch(ts) else None


def named_event(id: str, user: str) -> str:
    """The id of an event with its person's, so that whoever has the id of a cause knows whom we answer."""
    return f"{id}@{user}" if user else id


def person_of(cause: str | None) -> str | None:
    """The person's id in an id that `named_event` made."""
    return (cause or "").rpartition("@")[2] or None if "@" in (cause or "") else None


def message_of(cause: str | None) -> str | None:
    """The ``ts`` of the message that an id made by `named_event` stands for, if it is one."""
    ts = (cause or "").partition("@")[0].rpartition(":")[2]
    return ts if _TS.fullmatch(ts) else None


def sender_of(user: JSON, is_bot: bool = False) -> Sender | None:
    """The person in an id, or in a ``user`` object of an interaction."""
    fields: dict[str, Any] = user if isinstance(user, dict) else {"id": user}
    found = lenient_identifier(fields.get("id"))
    if not found:
        return None
    return Sender(
        id=found,
        name=lenient_words(fields.get("real_name")) or None,
        username=lenient_words(fields.get("username")) or lenient_words(fields.get("name")) or None,
        is_bot=is_bot,
    )
