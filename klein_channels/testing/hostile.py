"""
What strangers, platforms and agents may come up with, as strategies of hypothesis.

Every draw is the same in every run (`for_all`): a test that fails today fails tomorrow.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, urlencode

import msgspec

from ..model import (
    JSON,
    AnyPart,
    Audio,
    Button,
    Buttons,
    CallResult,
    Card,
    Carousel,
    File,
    Image,
    ListMenu,
    ListRow,
    ListSection,
    Location,
    QuickReplies,
    QuickReply,
    Text,
    Video,
    WebhookRequest,
    from_json,
    to_json,
)

try:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st
    from hypothesis.errors import HypothesisWarning
except ImportError:
    raise ImportError("the contract needs hypothesis: pip install 'klein_channels[test]'") from None

__all__ = [
    "GARBAGE",
    "JSON_VALUES",
    "LONG_WORDS",
    "NOT_SENT",
    "NO_ANSWER",
    "ONE_OF_EACH",
    "URLS",
    "WORDS",
    "bodies_like",
    "for_all",
    "is_storable",
    "parts",
    "results_like",
    "st",
    "strange_requests",
]

Strategy: TypeAlias = st.SearchStrategy[Any]
PHASES = (Phase.generate, Phase.target, Phase.shrink)
METHODS = st.sampled_from(["GET", "POST", "PUT", "HEAD", "OPTIONS", "get", ""]) | st.text(max_size=6)
JSON_VALUES: Strategy = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 1 << 200)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["", " ", "\ud800", "\0", "x" * 5000, -1, 1e300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
LETTERS = ["👩‍👩‍👧", "🇩🇪", "e\u0301", *"aBéß日𝄞 \n\t<&*_[]()`\\@"]
WORDS = st.text(max_size=30) | st.lists(st.sampled_from(LETTERS), max_size=40).map("".join)
LONG_WORDS = st.builds(
    lambda words, times: words * times,
    st.sampled_from(["word ", "日本", "👩‍👩‍👧", "a", "line\n", "*b* "]),
    st.sampled_from([10, 21, 81, 257, 700, 2500, 9000]),
)
URLS = st.sampled_from(
    ["https://files.example/a.png", "https://files.example/%20x?y=1&z=%C3%A9#f", "http://files.example/b"]
)


def for_all(check: Callable[..., None], *strategies: Strategy, examples: int = 100) -> None:
    """Call `check` with many draws of `strategies`; it shall raise if one of them breaks a promise."""
    slow = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]

    def checked(values: tuple[Any, ...]) -> None:
        check(*values)

    settled = settings(
        deadline=None,
        derandomize=True,
        database=None,
        max_examples=examples,
        phases=PHASES,
        report_multiple_bugs=False,
        suppress_health_check=slow,
    )
    with warnings.catch_warnings():
        # A long text that breaks a promise is shown cut, and that is no failure of its own.
        warnings.simplefilter("ignore", HypothesisWarning)
        settled(given(st.tuples(*strategies))(checked))()


# ---------------------------------------------------------------------------------------------
# Requests


def strange_requests(like: Sequence[WebhookRequest]) -> Strategy:
    """Requests that nobody signed, with the header names of those in `like`."""
    names = sorted({name for request in like for name, _ in request.headers}) or [b"x"]
    header = st.tuples(st.sampled_from(names), st.binary(max_size=100))
    return st.builds(
        WebhookRequest,
        method=METHODS,
        path=st.text(max_size=10),
        query=st.text(max_size=40),
        headers=st.lists(header, max_size=5).map(tuple),
        body=st.binary(max_size=100) | st.sampled_from([r.body for r in like]),
        url=st.text(max_size=20),
    )


def bodies_like(bodies: Sequence[bytes]) -> Strategy:
    """Bodies that are nonsense, or one of `bodies` with a part of it damaged or exchanged."""
    parts = [part for body in bodies for part in _values_in(body)][:2000] or [None]
    path = st.lists(st.integers(0, 30), min_size=1, max_size=8)
    damage = st.builds(damaged, st.sampled_from(bodies), path, JSON_VALUES | st.sampled_from(parts))
    noise = st.builds(_with_noise, st.sampled_from(bodies), st.integers(0, 1 << 20), st.binary(max_size=3))
    nonsense = st.binary(max_size=60) | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    return damage | damage | noise | nonsense


def damaged(body: bytes, path: Sequence[int], by: JSON) -> bytes:
    """`body`, JSON or a form, with the value at `path` replaced by `by`; what is neither stays as it is."""
    try:
        return json.dumps(_replaced(json.loads(body), path, by)).encode()
    except (ValueError, RecursionError):
        pass
    fields = parse_qsl(body.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
    if not fields:
        return body
    step = path[0] % len(fields)
    name, value = fields[step]
    inner = damaged(value.encode("latin-1"), path[1:], by) if value[:1] in "{[" and value else b""
    text = inner.decode("latin-1") or (by if isinstance(by, str) else json.dumps(by))
    fields[step] = (name, text.encode("utf-8", "replace").decode("latin-1") if not inner else text)
    return urlencode(fields, encoding="latin-1").encode()


def _replaced(value: JSON, path: Sequence[int], by: JSON) -> JSON:
    if not path or not isinstance(value, dict | list) or not value:
        return by
    step, rest = path[0] % len(value), path[1:]
    if isinstance(value, list):
        return [_replaced(item, rest, by) if n == step else item for n, item in enumerate(value)]
    chosen = list(value)[step]
    return {name: _replaced(item, rest, by) if name == chosen else item for name, item in value.items()}


def _with_noise(body: bytes, place: int, noise: bytes) -> bytes:
    place %= len(body) + 1
    return body[:place] + noise + body[place + 1 :]


def _values_in(body: bytes) -> Iterator[JSON]:
    try:
        waiting = [json.loads(body)]
    except (ValueError, RecursionError):
        return
    while waiting:
        value = waiting.pop()
        yield value
        waiting += value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


# ---------------------------------------------------------------------------------------------
# What agents say


def is_storable(part: AnyPart) -> bool:
    """Whether a reply with `part` can be committed: what cannot never reaches a channel."""
    try:
        return from_json(to_json(part)) == part
    except (UnicodeEncodeError, ValueError, RecursionError):
        return False


def parts(words: Strategy = WORDS, urls: Strategy = URLS) -> Strategy:
    """One part of any kind but `Custom`, which is the platform's own."""
    payload = st.none() | words
    button = st.one_of(
        st.builds(Button, title=words, payload=payload),
        st.builds(Button, title=words, url=urls),
        st.builds(Button, title=words, phone=st.just("+4312345678")),
    )
    reply = st.builds(QuickReply, title=words, payload=payload) | st.builds(
        QuickReply, ask=st.sampled_from(["phone", "email"])
    )
    card = st.builds(
        Card,
        title=words,
        subtitle=st.none() | words,
        image_url=st.none() | urls,
        url=st.none() | urls,
        buttons=st.lists(button, max_size=5).map(tuple),
    )
    row = st.builds(ListRow, title=words, payload=payload, description=st.none() | words)
    section = st.builds(ListSection, rows=st.lists(row, max_size=5).map(tuple), title=st.none() | words)
    formats = st.sampled_from(["plain", "markdown"])
    degrees = st.floats(-90, 90, allow_nan=False)
    return st.one_of(
        st.builds(Text, text=words, format=formats),
        st.builds(Image, url=urls, alt=st.none() | words),
        st.builds(Audio, url=urls),
        st.builds(Video, url=urls),
        st.builds(File, url=urls, name=st.none() | words),
        st.builds(Buttons, text=words, buttons=st.lists(button, max_size=12).map(tuple), format=formats),
        st.builds(QuickReplies, text=words, replies=st.lists(reply, max_size=15).map(tuple), format=formats),
        st.builds(Carousel, cards=st.lists(card, max_size=12).map(tuple)),
        st.builds(
            ListMenu,
            text=words,
            sections=st.lists(section, max_size=4).map(tuple),
            button=words,
            format=formats,
        ),
        st.builds(Location, latitude=degrees, longitude=degrees, title=st.none() | words),
    )


ONE_OF_EACH: tuple[AnyPart, ...] = (
    Text(text="hi"),
    Text(text="*hi* **there**", format="markdown"),
    Image(url="https://files.example/a.png", alt="a picture"),
    Audio(url="https://files.example/a.mp3"),
    Video(url="https://files.example/a.mp4"),
    File(url="https://files.example/a.pdf", name="a.pdf"),
    Buttons(text="Well?", buttons=(Button(title="Yes", payload="/yes"), Button(title="No", payload="/no"))),
    Buttons(text="See", buttons=(Button(title="Site", url="https://www.example/"),)),
    QuickReplies(text="Well?", replies=(QuickReply(title="Yes", payload="/yes"), QuickReply(title="No"))),
    Carousel(cards=(Card(title="Hat", subtitle="blue", buttons=(Button(title="Buy", payload="/buy"),)),)),
    ListMenu(
        text="Well?",
        sections=(
            ListSection(title="Hats", rows=(ListRow(title="Blue", payload="/blue", description="new"),)),
        ),
        button="See",
    ),
    Location(latitude=48.2, longitude=16.37, title="Vienna"),
)

# ---------------------------------------------------------------------------------------------
# What comes back

NOT_SENT = CallResult(outcome="not_sent", error="connection refused")
NO_ANSWER = CallResult(outcome="unknown", error="the connection\nwas lost")
GARBAGE = b"<html>\xff an answer of some proxy</html>"


def results_like(answers: Sequence[CallResult]) -> Strategy:
    """Any result of a call; many are nearly one of `answers`."""
    names = st.sampled_from(["Retry-After", "retry-after", "Content-Type", "Location", "X-RateLimit-Reset"])
    values = st.text(max_size=10) | st.sampled_from(
        ["0", "-1", "1e9", "9" * 5000, "٣", "nan", "5", "text/html"]
    )
    statuses = [200, 201, 202, 204, 301, 400, 401, 403, 404, 409, 410, 413, 429, 500, 503, 599]
    bodies = bodies_like([*(answer.body for answer in answers), b"{}"])
    strange = st.builds(
        CallResult,
        outcome=st.sampled_from(["answered"] * 5 + ["not_sent", "unknown"]),
        status=st.sampled_from(statuses),
        headers=st.lists(st.tuples(names, values), max_size=3).map(tuple),
        body=bodies,
        error=st.text(max_size=20),
    )
    return strange | st.builds(_with_body, st.sampled_from(answers), bodies) if answers else strange


def _with_body(result: CallResult, body: bytes) -> CallResult:
    return msgspec.structs.replace(result, body=body)
