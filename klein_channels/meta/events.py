"""
Reads the events out of the webhooks that Meta's messaging products share.

A body is read leniently and completely: whatever JSON it is, each of its items becomes one event,
and one item that cannot be read becomes `Unknown` without touching its neighbours. Shapes and
oddities: Meta, "Messenger Platform: Webhook events" (March to June 2026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from ..errors import MalformedWebhook
from ..json_fields import (
    MalformedItem,
    an_object,
    digest,
    flag,
    identifier,
    lenient_identifier,
    lenient_words,
    seconds,
    words,
)
from ..model import (
    JSON,
    AccountLinked,
    Address,
    AnyEvent,
    Deleted,
    Echo,
    Edited,
    Event,
    FormAnswered,
    Handover,
    MessageReceived,
    OptIn,
    OrderPlaced,
    PersonEvent,
    Postback,
    Reaction,
    Receipt,
    Referral,
    Sender,
    Unknown,
)
from .attachments import read_attachments

E = TypeVar("E", bound=Event)

INBOX_APPS = frozenset({"263902037430900", "26390203743090", "1217981644879628"})
"""Apps in which humans answer: Page Inbox (one page of the documentation prints it without a digit)
and Instagram Inbox."""
USER_REF = "user_ref:"
"""Before a peer that is known by a plug-in's reference only, not yet by an id of its own."""

_ENVELOPE = frozenset({"sender", "recipient", "timestamp", "prior_message", "hop_context", "lead"})


@dataclass(frozen=True, slots=True)
class _Item:
    """One item of a batch, with what every event made of it shares."""

    json: dict[str, Any]
    address: Address
    page: str
    from_us: bool
    observe_only: bool

    def event(self, kind: type[E], id: str | None = None, **fields: Any) -> E:
        """An event of `kind`; without an id of the platform's, the item's own bytes make one."""
        if issubclass(kind, PersonEvent) and self.address.peer and not self.from_us:
            fields["sender"] = Sender(id=self.address.peer)
        fields.setdefault("observe_only", self.observe_only)
        return kind(
            id=id or digest(self.page, self.json),
            address=self.address,
            timestamp=seconds(self.json.get("timestamp")),
            raw=self.json,
            **fields,
        )


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
        return self._unknown(field, change, page)

    def _item(self, json: JSON, page: str, standby: bool) -> AnyEvent:
        try:
            item = self._located(json, page, standby)
            kind = next((key for key in _READERS if json.get(key) is not None), None)
            if kind is not None:
                return _READERS[kind](item, json[kind])
            return item.event(Unknown, name=next((key for key in json if key not in _ENVELOPE), "empty"))
        except MalformedItem:
            return self._unknown("malformed", json, page)

    def _located(self, json: JSON, page: str, standby: bool) -> _Item:
        """`json` with its two parties told apart: which of them is our account, which the person."""
        if not isinstance(json, dict):
            raise MalformedItem
        theirs, ours = _party(json.get("sender")), _party(json.get("recipient"))
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
        peer = theirs or _opted_in(json.get("optin"))
        return _Item(
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
        fields = json if isinstance(json, dict) else {}
        account = page or _lenient_party(fields.get("recipient"))
        return Unknown(
            id=digest(page, json),
            address=Address(
                channel=self._channel, account=account, peer=_lenient_party(fields.get("sender"))
            ),
            timestamp=seconds(fields.get("timestamp")),
            raw=json,
            name=name,
            observe_only=True,
        )


# ---------------------------------------------------------------------------------------------
# One reader per key


def _message(item: _Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    mid = identifier(content.get("mid"))
    if flag(content.get("is_deleted")) and mid:
        return item.event(Deleted, mid, mid=mid)
    text = words(content.get("text")) or ""
    attachments = read_attachments(content)
    if item.from_us:
        app = lenient_identifier(content.get("app_id")) or None
        return item.event(
            Echo,
            mid,
            text=text,
            mid=mid,
            app_id=app,
            by_human=None if app is None else app in INBOX_APPS,
            metadata=lenient_words(content.get("metadata")),
            attachments=attachments,
        )
    chosen = content.get("quick_reply")
    payload = words(chosen.get("payload")) if isinstance(chosen, dict) else None
    replied = content.get("reply_to")
    silent = not text.strip() and not attachments and not payload
    return item.event(
        MessageReceived,
        mid,
        text=text,
        payload=payload,
        title=text if payload is not None else None,
        attachments=attachments,
        reply_to=lenient_identifier(replied.get("mid")) or None if isinstance(replied, dict) else None,
        mid=mid,
        referral=content.get("referral"),
        observe_only=item.observe_only or silent,
    )


def _postback(item: _Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    mid = identifier(content.get("mid"))
    return item.event(
        Postback,
        mid,
        payload=words(content.get("payload")) or "",
        title=lenient_words(content.get("title")),
        mid=mid,
        referral=content.get("referral"),
    )


def _edit(item: _Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    mid = identifier(content.get("mid"))
    if not mid:
        raise MalformedItem
    number = identifier(content.get("num_edit"))
    # Each edit of a message is an event of its own.
    return item.event(
        Edited, f"{mid}#{number}" if number else None, mid=mid, text=words(content.get("text")) or ""
    )


def _reaction(item: _Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    return item.event(
        Reaction,
        mid=identifier(content.get("mid")),
        action="unreact" if content.get("action") == "unreact" else "react",
        emoji=lenient_words(content.get("emoji")),
        name=lenient_words(content.get("reaction")),
    )


def _receipt(status: Literal["read", "delivered"]) -> Callable[[_Item, JSON], AnyEvent]:
    def receipt(item: _Item, json: JSON) -> AnyEvent:
        content = an_object(json)
        mids = content.get("mids")
        named = [*(mids if isinstance(mids, list) else ()), content.get("mid")]
        return item.event(
            Receipt,
            status=status,
            mids=tuple(mid for mid in map(lenient_identifier, named) if mid),
            watermark=seconds(content.get("watermark")),
        )

    return receipt


def _referral(item: _Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    lead = item.json.get("lead")
    return item.event(
        Referral,
        ref=lenient_words(content.get("ref")),
        source=lenient_words(content.get("source")),
        details=content if lead is None else {**content, "lead": lead},
    )


def _optin(item: _Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    return item.event(OptIn, payload=lenient_words(content.get("payload")), details=content)


def _linking(item: _Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    return item.event(
        AccountLinked,
        linked=content.get("status") == "linked",
        code=lenient_words(content.get("authorization_code")),
    )


def _handover(action: str) -> Callable[[_Item, JSON], AnyEvent]:
    def handover(item: _Item, json: JSON) -> AnyEvent:
        content = an_object(json)
        return item.event(Handover, action=action, owner=_owner(action, content), details=content)

    return handover


def _owner(action: str, content: dict[str, Any]) -> Literal["bot", "human"] | None:
    """Who answers now, where it is clear: we are told of threads passed to us and taken from us."""
    new = lenient_identifier(content.get("new_owner_app_id"))
    if action in ("pass_thread_control", "take_thread_control") and new in INBOX_APPS:
        return "human"
    if action == "take_thread_control" and lenient_identifier(content.get("previous_owner_app_id")):
        return "human"
    return "bot" if action == "pass_thread_control" and new else None


def _order(item: _Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    return item.event(OrderPlaced, items=content.get("products"), note=lenient_words(content.get("note")))


def _form(name: str, key: str) -> Callable[[_Item, JSON], AnyEvent]:
    def form(item: _Item, json: JSON) -> AnyEvent:
        content = an_object(json)
        return item.event(FormAnswered, name=name, data=content.get(key, content))

    return form


def _kept(name: str) -> Callable[[_Item, JSON], AnyEvent]:
    return lambda item, _: item.event(Unknown, name=name)


_READERS: dict[str, Callable[[_Item, JSON], AnyEvent]] = {
    "message": _message,
    "postback": _postback,
    "message_edit": _edit,
    "reaction": _reaction,
    "read": _receipt("read"),
    "delivery": _receipt("delivered"),
    "referral": _referral,
    "optin": _optin,
    "account_linking": _linking,
    "pass_thread_control": _handover("pass_thread_control"),
    "take_thread_control": _handover("take_thread_control"),
    "request_thread_control": _handover("request_thread_control"),
    "app_roles": _handover("app_roles"),
    "policy_enforcement": _kept("policy_enforcement"),
    "policy-enforcement": _kept("policy_enforcement"),
    "game_play": _kept("game_play"),
    "messaging_feedback": _form("feedback", "feedback_screens"),
    "messaging_customer_information": _form("customer_information", "screens"),
    "response_feedback": _kept("response_feedback"),
    "order": _order,
    "template": _kept("template"),
    "form": _kept("form"),
}
"""An item has one main key; the first that it has, in this order, says what it is."""


# ---------------------------------------------------------------------------------------------
# Parties


def _party(value: JSON) -> str:
    if value is None:
        return ""
    fields = an_object(value)
    reference = identifier(fields.get("user_ref"))
    return identifier(fields.get("id")) or (USER_REF + reference if reference else "")


def _lenient_party(value: JSON) -> str:
    try:
        return _party(value)
    except MalformedItem:
        return ""


def _opted_in(optin: JSON) -> str:
    """The checkbox plug-in names its person in the opt-in itself."""
    return _party({"user_ref": optin.get("user_ref")}) if isinstance(optin, dict) else ""
