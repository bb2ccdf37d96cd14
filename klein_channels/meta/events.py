"""
Reads the events out of the webhooks that Meta's messaging products share.

A body is read leniently and completely: whatever JSON it is, each of its items becomes one event,
and one item that cannot be read becomes `Unknown` without touching its neighbours. What an item has
in it is read in `readers`, what happens to posts in `changes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..errors import MalformedWebhook
from ..json_fields import MalformedItem, flag, lenient_identifier
from ..model import JSON, Address, AnyEvent, Notice, Unknown
from .changes import read_change
from .item import COMMENT, USER_REF, Item, lenient_party, opted_in, party
from .readers import INBOX_APPS, READERS

__all__ = ["COMMENT", "INBOX_APPS", "USER_REF", "EventReader"]

_ENVELOPE = frozenset({"sender", "recipient", "timestamp", "prior_message", "hop_context", "lead"})


class EventReader:
    """Reads the webhooks of one channel.

    `subject` is what the platform puts into ``"object"``; `is_ours` tells which accounts are
    configured: events of others are kept, but only for observers.
    """

    def __init__(self, channel: str, subject: str, is_ours: Callable[[str], bool]) -> None:
        self._channel = channel
        self._subject = subject
        self._is_ours = is_ours

    def read(self, body: JSON) -> tuple[AnyEvent, ...]:
        """All events of a webhook's body, in order; `MalformedWebhook` only if it is no object."""
        if not isinstance(body, dict):
            raise MalformedWebhook(f"channel {self._channel!r}: the body is not a JSON object")
        entries, subject = body.get("entry"), body.get("object")
        if subject != self._subject or not isinstance(entries, list) or not entries:
            return (self._unknown(subject if isinstance(subject, str) else "malformed", body, ""),)
        return tuple(event for entry in entries for event in self._entry(entry))

    def _entry(self, entry: JSON) -> Iterator[AnyEvent]:
        if not isinstance(entry, dict):
            yield self._unknown("malformed", entry, "")
            return
        page, empty = lenient_identifier(entry.get("id")), True
        for key, value in entry.items():
            section = key.rstrip(":")  # one of Meta's examples misspells it as "messaging:"
            if section not in ("messaging", "standby", "changes") or value is None:
                continue
            for item in value if isinstance(value, list) else [value]:
                empty = False
                yield (
                    self._change(item, page)
                    if section == "changes"
                    else self._item(item, page, standby=section == "standby")
                )
        if empty:
            yield self._unknown("entry", entry, page)

    def _change(self, change: JSON, page: str) -> AnyEvent:
        field = change.get("field") if isinstance(change, dict) else None
        if not isinstance(field, str):
            return self._unknown("malformed", change, page)
        value = change.get("value")
        if field.startswith("messag") and isinstance(value, dict) and value.keys() & {"sender", "recipient"}:
            return self._item(value, page, standby=False)
        if field.startswith("messag") and page in ("", "0"):
            return self._alone(change, page).event(Notice, name="dashboard_test", details=value)
        try:
            read = read_change(self._channel, field, change, page, self._is_ours)
        except MalformedItem:
            return self._unknown("malformed", change, page)
        return read or self._unknown(field, change, page)

    def _item(self, json: JSON, page: str, standby: bool) -> AnyEvent:
        try:
            item = self._located(json, page, standby)
            kind = next((key for key in READERS if json.get(key) is not None), None)
            if kind is not None:
                return READERS[kind](item, json[kind])
            return item.event(Unknown, name=next((key for key in json if key not in _ENVELOPE), "empty"))
        except MalformedItem:
            return self._unknown("malformed", json, page)

    def _located(self, json: JSON, page: str, standby: bool) -> Item:
        """`json` with its two parties told apart: which of them is our account, which the person."""
        if not isinstance(json, dict):
            raise MalformedItem
        theirs, ours = party(json.get("sender")), party(json.get("recipient"))
        message = json.get("message")
        echo = isinstance(message, dict) and flag(message.get("is_echo"))
        swapped = self._only_first_is_ours(theirs, ours)
        if echo:
            # Some bodies have the flag and the parties of a received message: the flag is right.
            theirs, ours = ours, theirs
            swapped = self._only_first_is_ours(theirs, ours) or (
                theirs == page != ours and self._is_ours(theirs)
            )
        if swapped:
            theirs, ours = ours, theirs
        account = ours if ours and self._is_ours(ours) else page
        configured = bool(account) and self._is_ours(account)
        if not configured:
            account = ours or page
        peer = theirs or opted_in(json.get("optin"))
        return Item(
            json=json,
            address=Address(channel=self._channel, account=account, peer=peer),
            page=page,
            from_us=echo or swapped,
            observe_only=standby or swapped or not configured or not peer,
        )

    def _only_first_is_ours(self, first: str, second: str) -> bool:
        return bool(first) and self._is_ours(first) and not self._is_ours(second)

    def _unknown(self, name: str, json: JSON, page: str) -> Unknown:
        """What is kept of something unreadable, as much of its address as can be told."""
        return self._alone(json, page).event(Unknown, name=name)

    def _alone(self, json: JSON, page: str) -> Item:
        """`json` as an item that no agent is asked about."""
        fields = json if isinstance(json, dict) else {}
        account, peer = page or lenient_party(fields.get("recipient")), lenient_party(fields.get("sender"))
        return Item(
            json=json,
            address=Address(channel=self._channel, account=account, peer=peer),
            page=page,
            from_us=False,
            observe_only=True,
        )
