"""
What each platform can show, as the tables in ``docs/channels``: made from `capabilities`, never by hand.

``python -m tests.capability_tables`` writes them anew; the tests fail where one differs.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from klein_channels.channel import (
    Answers,
    Capabilities,
    Edits,
    Fetches,
    KnowsPeople,
    Live,
    Provisions,
    Streams,
    Triggers,
    find_channel_class,
    known_types,
)

PAGES = Path(__file__).parent.parent / "docs" / "channels"
BEGIN, END = ".. What follows is made by tests/capability_tables.py.", ".. End of what is made."
UNITS = {"characters": "characters", "utf16": "UTF-16 units", "bytes": "bytes"}
WIDTH = 84


def table_of(channel: Any) -> str:
    """The table for a channel class, in reStructuredText."""
    rows = list(_rows(channel, channel.capabilities))
    left = max(len(name) for name, _ in rows)
    rule = f"{'=' * left} {'=' * WIDTH}"
    lines = [rule]
    for name, words in rows:
        first, *others = _wrapped(words)
        lines.append(f"{name.ljust(left)} {first}")
        lines += [f"{' ' * left} {line}" for line in others]
    return "\n".join([*lines, rule])


def _rows(channel: Any, able: Capabilities) -> Iterator[tuple[str, str]]:
    unit = UNITS[able.text_unit]
    yield "Text", f"{able.text_limit:,} {unit} in one message"
    yield "Markdown", "rendered as the platform shows it" if able.dialect == "own" else "becomes plain words"
    yield "A text that grows", _growth(channel, able)
    yield "Buttons", _buttons(able)
    yield "Quick replies", _quick_replies(able)
    yield "Lists", _lists(able)
    yield "Cards", _cards(able)
    yield "Media", ", ".join(sorted(able.media)) or "as links"
    yield "Location", "a place" if able.location else "in words"
    yield "The platform's own JSON", "yes" if able.custom else "no, it is shown as text"
    yield "Payloads of buttons", _payloads(able)
    yield "Files of people", "saved where asked for" if issubclass(channel, Fetches) else "by their address"
    yield "Who people are", _people(channel)
    yield "Typing", _typing(channel, able)
    yield "Replies travel", _way_out(channel, able)
    # Protocols with properties cannot be asked for by class.
    yield "Events come", "by webhook, or are asked for" if hasattr(channel, "poll") else "by webhook"
    yield (
        "An album is one turn",
        f"up to {able.grouped} messages" if able.grouped > 1 else "not sent in parts",
    )
    yield "A redelivery is known", f"for {_span(able.redelivery_horizon)}"
    yield "Set up by a command", "yes" if issubclass(channel, Provisions) else "no"
    yield "Accounts join by OAuth", "yes" if hasattr(channel, "grants_key") else "no"
    yield "Tried without an account", "yes" if issubclass(channel, Triggers) else "no"


def _growth(channel: Any, able: Capabilities) -> str:
    ways = ["the platform's own stream"] if issubclass(channel, Streams) else []
    if issubclass(channel, Edits) and able.edit_interval:
        ways.append(f"edits, one in {able.edit_interval:g} s")
    return ", else ".join(ways) or "whole blocks, one by one"


def _buttons(able: Capabilities) -> str:
    if not able.buttons:
        return "listed in words"
    lone = "; a link only alone" if able.lone_link else "; none with links"
    links = "" if able.button_links else lone
    unit = UNITS[able.text_unit]
    titles = f"{able.buttons}, titles of {able.button_title} {unit}"
    return f"{titles}, under {able.button_text:,} {unit} of text{links}"


def _lists(able: Capabilities) -> str:
    if not able.list_rows:
        return "as quick replies, buttons, or words"
    unit = UNITS[able.title_unit or able.text_unit]
    rows = (
        f"{able.list_rows} rows, titles of {able.list_title} {unit}, descriptions of {able.list_description}"
    )
    return f"{rows}, under {able.list_text:,}"


def _people(channel: Any) -> str:
    return "asked for with ``profiles``" if issubclass(channel, KnowsPeople) else "as far as messages say it"


def _quick_replies(able: Capabilities) -> str:
    if able.quick_replies:
        return f"{able.quick_replies}, titles of {able.quick_reply_title} {UNITS[able.text_unit]}"
    return "as buttons" if able.buttons else "listed in words"


def _cards(able: Capabilities) -> str:
    if not able.cards:
        return "as pictures and words"
    together = "one by one" if able.cards == 1 else f"{able.cards} together"
    return (
        f"{together}; title {able.card_title}, subtitle {able.card_subtitle},"
        f" {able.card_buttons} buttons each"
    )


def _payloads(able: Capabilities) -> str:
    unit = UNITS[able.payload_unit or able.text_unit]
    vouched = "the platform vouches for them" if able.signed_payloads else "those that were offered count"
    return f"{able.payload_limit:,} {unit}; {vouched}"


def _typing(channel: Any, able: Capabilities) -> str:
    return f"shown for {able.typing_lasts:g} s" if issubclass(channel, Live) else "not shown"


def _way_out(channel: Any, able: Capabilities) -> str:
    if not issubclass(channel, Answers):
        return "by calls"
    return (
        "in the answer to the webhook only"
        if able.answers_only
        else "in the answer to the webhook, or by calls"
    )


def _span(seconds: float) -> str:
    days, hours = seconds / 86_400, seconds / 3600
    return f"{days:g} days" if days > 1 else f"{hours:g} hours"


def _wrapped(words: str) -> list[str]:
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + len(word) + 1 > WIDTH:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def with_table(page: str, table: str) -> str:
    """`page` with its table; at its end, where it has none yet."""
    made = f"{BEGIN}\n\n{table}\n\n{END}"
    before, begin, rest = page.partition(BEGIN)
    if begin:
        return before + made + rest.partition(END)[2]
    title = "What the platform can show"
    return f"{page.rstrip()}\n\n{title}\n{'-' * len(title)}\n\n{made}\n"


def pages() -> Iterator[tuple[Path, str]]:
    """Each channel's page and what it should be."""
    for name in known_types():
        page = PAGES / f"{name}.rst"
        yield page, with_table(page.read_text("utf-8"), table_of(find_channel_class(name)))


if __name__ == "__main__":
    for path, text in pages():
        path.write_text(text, "utf-8")
