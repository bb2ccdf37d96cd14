"""
Buttons on WhatsApp, which Twilio shows by content templates only.

One template serves all messages with the same buttons, whatever their words; within a conversation it
needs no approval (Twilio, "twilio/quick-reply", read November 2026).
"""

from __future__ import annotations

from ..channel import Steps
from ..model import Button, Outcome, Sent
from .api import TwilioApi
from .outcomes import twilio_outcome
from .sends import template_of

MOST_KNOWN = 500


class ButtonTemplates:
    """The templates that were made so far, by their buttons."""

    def __init__(self, api: TwilioApi) -> None:
        self._api = api
        self._known: dict[tuple[Button, ...], str] = {}

    def sid(self, choices: tuple[Button, ...], now: float) -> Steps[str | Outcome]:
        """The template for `choices`; where none can be made, what becomes of the send."""
        known = self._known.get(choices)
        if known is not None:
            return known
        result = yield self._api.create_content(template_of(choices))
        outcome = twilio_outcome(result, now)
        if not isinstance(outcome, Sent):
            return outcome
        if len(self._known) >= MOST_KNOWN:
            self._known.pop(next(iter(self._known)))
        self._known[choices] = outcome.mids[0]
        return outcome.mids[0]
