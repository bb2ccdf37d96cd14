"""
Reads what stands in an item of Meta's messaging products: one function for each of its main keys.

Shapes and oddities: Meta, "Messenger Platform: Webhook events" (March to June 2026), "Instagram
Messaging: Webhooks" (edition of 2026).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from ..json_fields import (
    MalformedItem,
    an_object,
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
    AnyEvent,
    Attachment,
    Deleted,
    Echo,
    Edited,
    FormAnswered,
    Handover,
    MessageReceived,
    Notice,
    OptIn,
    OrderPlaced,
    Postback,
    Rated,
    Reaction,
    Receipt,
    Referral,
    Unknown,
)
from .attachments import is_unshown, read_attachments
from .item import Item

INBOX_APPS = frozenset({"263902037430900", "26390203743090", "1217981644879628"})
"""Apps in which humans answer: Page Inbox (one page of the documentation prints it without a digit)
and Instagram Inbox."""
_BESIDE = ("prior_message", "hop_context")
"""Keys beside a message that tell where its person comes from: another name, another app."""


def _message(item: Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    mid = identifier(content.get("mid"))
    if flag(content.get("is_deleted")) and mid:
        return item.event(Deleted, mid, mid=mid)
    if item.from_us:
        return _echo(item, content, mid)
    text = words(content.get("text")) or ""
    attachments = read_attachments(content)
    chosen = content.get("quick_reply")
    payload = words(chosen.get("payload")) if isinstance(chosen, dict) else None
    says_nothing = not text.strip() and not payload
    if says_nothing and not attachments and isinstance(content.get("referral"), dict):
        return _referred(item, mid, content["referral"])
    replied, story = _replied_to(content.get("reply_to"))
    shown = any(not is_unshown(attachment) for attachment in attachments)
    return item.event(
        MessageReceived,
        mid,
        text=text,
        payload=payload,
        title=text if payload is not None else None,
        attachments=attachments + story,
        reply_to=replied,
        mid=mid,
        referral=_came_from(item, content.get("referral")),
        observe_only=item.observe_only or (says_nothing and not shown),
    )


def _echo(item: Item, content: dict[str, Any], mid: str | None) -> AnyEvent:
    app = lenient_identifier(content.get("app_id")) or None
    return item.event(
        Echo,
        mid,
        text=words(content.get("text")) or "",
        mid=mid,
        app_id=app,
        by_human=None if app is None else app in INBOX_APPS,
        metadata=lenient_words(content.get("metadata")),
        attachments=read_attachments(content),
    )


def _replied_to(replied: JSON) -> tuple[str | None, tuple[Attachment, ...]]:
    """The id of what a message answers; a story (Instagram's) comes along, as people see it above."""
    if not isinstance(replied, dict):
        return None, ()
    mid, story = lenient_identifier(replied.get("mid")) or None, replied.get("story")
    if mid is not None or not isinstance(story, dict):
        return mid, ()
    url = lenient_words(story.get("url"))
    shown = Attachment(kind="share", url=url, title="story", raw={"type": "story", "payload": story})
    return lenient_identifier(story.get("id")) or None, (shown,)


def _came_from(item: Item, referral: JSON) -> JSON:
    """The referral, and what else beside a message tells where its person comes from."""
    beside = {key: item.json[key] for key in _BESIDE if item.json.get(key) is not None}
    return {**(referral if isinstance(referral, dict) else {}), **beside} if beside else referral


def _postback(item: Item, json: JSON) -> AnyEvent:
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


def _edit(item: Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    mid = identifier(content.get("mid"))
    if not mid:
        raise MalformedItem
    number = identifier(content.get("num_edit"))
    # Each edit of a message is an event of its own.
    return item.event(
        Edited, f"{mid}#{number}" if number else None, mid=mid, text=words(content.get("text")) or ""
    )


def _reaction(item: Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    return item.event(
        Reaction,
        mid=identifier(content.get("mid")),
        action="unreact" if content.get("action") == "unreact" else "react",
        emoji=lenient_words(content.get("emoji")),
        name=lenient_words(content.get("reaction")),
    )


def _receipt(status: Literal["read", "delivered"]) -> Callable[[Item, JSON], AnyEvent]:
    def receipt(item: Item, json: JSON) -> AnyEvent:
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


def _referral(item: Item, json: JSON) -> AnyEvent:
    return _referred(item, None, an_object(json))


def _referred(item: Item, id: str | None, content: dict[str, Any]) -> AnyEvent:
    lead = item.json.get("lead")
    return item.event(
        Referral,
        id,
        ref=lenient_words(content.get("ref")),
        source=lenient_words(content.get("source")),
        details=content if lead is None else {**content, "lead": lead},
    )


def _optin(item: Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    return item.event(OptIn, payload=lenient_words(content.get("payload")), details=content)


def _linking(item: Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    return item.event(
        AccountLinked,
        linked=content.get("status") == "linked",
        code=lenient_words(content.get("authorization_code")),
    )


def _handover(action: str) -> Callable[[Item, JSON], AnyEvent]:
    def handover(item: Item, json: JSON) -> AnyEvent:
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


def _order(item: Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    return item.event(OrderPlaced, items=content.get("products"), note=lenient_words(content.get("note")))


def _form(name: str, key: str) -> Callable[[Item, JSON], AnyEvent]:
    def form(item: Item, json: JSON) -> AnyEvent:
        content = an_object(json)
        return item.event(FormAnswered, name=name, data=content.get(key, content))

    return form


def _instant_form(item: Item, json: JSON) -> AnyEvent:
    return item.event(FormAnswered, name="instant_form", data=an_object(json))


def _coupon(item: Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    if content.get("type") != "coupon":
        return item.event(Unknown, name="template")
    code = lenient_words(content.get("coupon_code"))
    return item.event(Postback, payload=lenient_words(content.get("payload")) or code or "", title=code)


def _rated(item: Item, json: JSON) -> AnyEvent:
    content = an_object(json)
    mid = identifier(content.get("mid"))
    return item.event(Rated, mid=mid, verdict=lenient_words(content.get("feedback")))


def _notice(name: str) -> Callable[[Item, JSON], AnyEvent]:
    def notice(item: Item, json: JSON) -> AnyEvent:
        content = an_object(json)
        return item.event(
            Notice,
            name=name,
            action=lenient_words(content.get("action")),
            reason=lenient_words(content.get("reason")),
            details=content,
        )

    return notice


READERS: dict[str, Callable[[Item, JSON], AnyEvent]] = {
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
    "policy_enforcement": _notice("policy_enforcement"),
    "policy-enforcement": _notice("policy_enforcement"),
    "game_play": _notice("game_play"),
    "messaging_feedback": _form("feedback", "feedback_screens"),
    "messaging_customer_information": _form("customer_information", "screens"),
    "response_feedback": _rated,
    "order": _order,
    "template": _coupon,
    "form": _instant_form,
}
"""An item has one main key; the first that it has, in this order, says what it is."""
