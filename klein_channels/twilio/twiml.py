"""
Builds TwiML, which is well-formed XML whatever a text holds.

What XML 1.0 does not allow (https://www.w3.org/TR/xml/#charsets, 2008) is left out: one bell in a text
ends a call with an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, tostring

MOST_BYTES = 60_000
"""A document of over 64 kB is error 11750 (Twilio, "Error and Warning Dictionary", 2026)."""
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LINE_ENDS = re.compile("\r\n?")
_HEAD = b'<?xml version="1.0" encoding="UTF-8"?>\n'


def element(name: str, text: str | None = None, /, **attributes: str | int | bool | None) -> Element:
    """A verb or a noun; attributes that are None are left out."""
    made = Element(name)
    for key, value in attributes.items():
        if value is not None:
            said = str(value).lower() if isinstance(value, bool) else str(value)
            made.set(key, allowed(said))
    if text is not None:
        made.text = allowed(text)
    return made


def document(verbs: Iterable[Element] = ()) -> bytes:
    """A whole answer."""
    response = Element("Response")
    response.extend(verbs)
    return _HEAD + tostring(response, encoding="unicode").encode()


def size(verb: Element) -> int:
    """The bytes that a verb takes in a document."""
    return len(tostring(verb, encoding="unicode").encode())


def allowed(text: str) -> str:
    """`text` without what XML cannot hold, and with line ends as XML reads them."""
    return _NOT_XML.sub("", _LINE_ENDS.sub("\n", text))


NOTHING = document()
"""An answer that does and says nothing."""
