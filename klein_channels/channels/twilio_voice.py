"""
Twilio Voice: the agent on the telephone.

Twilio hears and speaks, we exchange words: each webhook is answered with what is said next and how to
listen. Replies have no other way. Facts: Twilio, "TwiML for Programmable Voice" (read November 2026).
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from ..channel import Capabilities, ChannelOptions, Steps
from ..credentials import Credentials
from ..errors import MalformedWebhook
from ..model import (
    AnyControl,
    AnyPart,
    Custom,
    EndConversation,
    Handoff,
    Outcome,
    Outgoing,
    Received,
    Refused,
    WebhookRequest,
    WebhookResponse,
)
from ..secret import Secret
from ..twilio.calls import CallReader, Heard
from ..twilio.credentials import SID_HINT, hide, read_proof
from ..twilio.forms import idempotency_token, read_fields, xml_response
from ..twilio.position import MOST_WAITS, Position
from ..twilio.speaking import Manner, Speaker
from ..twilio.triggers import CALLS, trigger_request
from ..twilio.twiml import NOTHING, document, element

REPROMPT = "I'm sorry I didn't get that could you rephrase."
"""Rasa's words."""
_INPUTS = frozenset({"speech dtmf", "dtmf speech", "speech", "dtmf"})
_SPEECH_TIMEOUT = re.compile(r"auto|[1-9][0-9]{0,2}")
_KEYS = re.compile(r"[0-9#*]*")

CAPABILITIES = Capabilities(
    dialect="own",
    dialects=("speech",),
    text_limit=3000,
    media=frozenset({"image", "audio", "video", "file"}),
    location=True,
    redelivery_horizon=86_400.0,
    # Twilio gives up after 15 s, of which the way there and back takes some.
    answer_deadline=10.0,
    answers_only=True,
)


class TwilioVoiceSettings(ChannelOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands under a channel of the type ``twilio_voice``; the first six are Rasa's."""

    initial_prompt: str = ""
    """What a caller is taken to say by calling, for agents that know texts only."""
    reprompt_fallback_phrase: str = REPROMPT
    assistant_voice: str | None = None
    speech_timeout: str = "5"
    """Seconds of silence after which a caller has said all, or ``auto``."""
    speech_model: str = "default"
    enhanced: bool = False
    account_sid: str | None = None
    auth_token: Any = None
    """The auth token, or a list of them while one replaces another."""
    number: str | None = None
    shared_key: Secret | None = None
    language: str | None = None
    """As in ``en-GB``; what is heard and how it is spoken."""
    input: str = "speech dtmf"
    timeout: int = 5
    """Seconds that a caller has to begin."""
    num_digits: int | None = None
    finish_on_key: str = "#"
    hints: str | None = None
    """Words that callers are likely to say, with commas between."""
    barge_in: bool = True
    """Whether a caller may interrupt."""
    min_confidence: float = 0.25
    """Speech that Twilio is less sure of (0 to 1) is asked for again."""
    max_reprompts: int = 3
    """How often in a row a caller is asked again, before the call ends."""
    goodbye: str = ""
    """What is said then."""
    hold_phrase: str = "One moment, please."
    """What is said while the agent takes its time."""
    transfer_to: str | None = None
    """Where a `Handoff` goes that names no place."""
    transfer_failed: str = "Nobody is there right now."
    """What is said to a caller who comes back from there."""

    def __post_init__(self) -> None:
        """Hide the token, whose two forms have no type that a decoder could convert to."""
        hide(self, "auth_token")


class TwilioVoiceInput:
    """The Twilio Voice channel: calls to, and from, the numbers of one account.

    Raises `ConfigError`.
    """

    Settings: ClassVar[type[TwilioVoiceSettings]] = TwilioVoiceSettings
    capabilities = CAPABILITIES

    def __init__(  # noqa: PLR0913  (the first six are those of Rasa's TwilioVoiceInput)
        self,
        initial_prompt: str = "",
        reprompt_fallback_phrase: str = REPROMPT,
        assistant_voice: str | None = None,
        speech_timeout: str | int = "5",
        speech_model: str = "default",
        enhanced: bool | str = False,
        *,
        auth_token: Any = None,
        account_sid: str | None = None,
        shared_key: Any = None,
        language: str | None = None,
        input: str = "speech dtmf",
        timeout: int = 5,
        num_digits: int | None = None,
        finish_on_key: str = "#",
        hints: str | None = None,
        barge_in: bool = True,
        min_confidence: float = 0.25,
        max_reprompts: int = 3,
        goodbye: str = "",
        hold_phrase: str = "One moment, please.",
        transfer_to: str | None = None,
        transfer_failed: str = "Nobody is there right now.",
        name: str = "twilio_voice",
        options: ChannelOptions = ChannelOptions(),  # noqa: B008  (immutable)
    ) -> None:
        self.name = name
        self.options = options
        credentials = Credentials(name)
        if account_sid is not None:
            credentials.token("account_sid", account_sid, SID_HINT)
        self._proof = read_proof(credentials, auth_token, shared_key)
        self._manner = Manner(
            voice=assistant_voice or None,
            language=language or None,
            input=input,
            timeout=timeout,
            speech_timeout=str(speech_timeout),
            speech_model=speech_model,
            enhanced=enhanced in (True, "true"),
            num_digits=num_digits,
            finish_on_key=finish_on_key,
            hints=hints or None,
            barge_in=barge_in,
        )
        _check_manner(credentials, self._manner)
        if not 0 <= min_confidence <= 1:
            raise credentials.problem("min_confidence", "must be a number from 0 to 1")
        if max_reprompts < 0:
            raise credentials.problem("max_reprompts", "must be 0 or more")
        self._reader = CallReader(name, initial_prompt.strip(), min_confidence)
        self._reprompt = reprompt_fallback_phrase
        self._most_reprompts = max_reprompts
        self._goodbye = goodbye
        self._hold_phrase = hold_phrase
        self._transfer_to = transfer_to
        self._transfer_failed = transfer_failed

    @classmethod
    def from_settings(cls, name: str, settings: TwilioVoiceSettings) -> TwilioVoiceInput:
        """The channel that the configuration calls `name`."""
        general = set(ChannelOptions.__struct_fields__) | {"number"}
        own = {key: getattr(settings, key) for key in settings.__struct_fields__ if key not in general}
        return cls(**own, name=name, options=settings)

    def __repr__(self) -> str:
        return f"TwilioVoiceInput({self.name!r})"

    # In

    def verify(self, request: WebhookRequest, now: float) -> None:
        """Prove that a request is Twilio's, over the URL that it called and all that it said."""
        self._proof.check(request)

    def parse(self, request: WebhookRequest) -> Received:
        """What the caller said or pressed; whoever said nothing is asked again in the answer."""
        fields = read_fields(request)
        if not fields.get("CallSid"):
            raise MalformedWebhook(f"channel {self.name!r}: a request without CallSid")
        position = Position.of(request)
        heard = self._reader.read(fields, position, idempotency_token(request))
        if position.wait is not None and heard.waits:
            return Received(joins=position.wait, conversation=self._reader.address(fields))
        return Received(events=heard.events, response=self._response(position, heard))

    def _response(self, position: Position, heard: Heard) -> WebhookResponse | None:
        """The answer that needs no agent."""
        if not heard.waits:
            return xml_response(NOTHING)
        if not heard.understood:
            return self._asked_again(position, silent=position.silent + 1)
        if heard.returned:
            speaker = Speaker(self._manner, position)
            return xml_response(document([speaker.listen(speaker.say(self._transfer_failed))]))
        if heard.events[0].kind == "handover":
            return xml_response(document([element("Hangup")]))
        return None

    def _asked_again(self, position: Position, *, silent: int) -> WebhookResponse:
        speaker = Speaker(self._manner, position)
        if silent > self._most_reprompts:
            return xml_response(document([*speaker.say(self._goodbye), element("Hangup")]))
        return xml_response(document([speaker.listen(speaker.say(self._reprompt), silent=silent)]))

    # Out

    def answer(self, request: WebhookRequest, outgoing: tuple[Outgoing, ...]) -> WebhookResponse:
        """What is said, and then how to listen, whom to call or that the call is over."""
        speaker = Speaker(self._manner, Position.of(request))
        return xml_response(document(speaker.replies(one.part for one in outgoing)))

    def answer_later(self, request: WebhookRequest, event: str) -> WebhookResponse:
        """A word to hold the line, and the way to ask again."""
        position = Position.of(request)
        if position.waited >= MOST_WAITS:
            return self._asked_again(position, silent=position.silent)
        speaker = Speaker(self._manner, position)
        return xml_response(document(speaker.wait_for(event, self._hold_phrase)))

    def part_for(self, control: AnyControl) -> AnyPart | None:
        """What a control does to the call: it ends, or goes on elsewhere. None for all others."""
        if isinstance(control, EndConversation):
            return Custom(json={"hangup": True})
        to = (control.to or self._transfer_to) if isinstance(control, Handoff) else None
        return Custom(json={"transfer": to}) if to else None

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Nothing: a caller hears answers only."""
        yield from ()
        return Refused(reason="nobody is on the line who would hear it")

    # Playing Twilio

    def trigger_at(self, kind: str, text: str, now: float, url: str) -> WebhookRequest:
        """An authentic webhook as Twilio would send it to `url`; ValueError names the kinds."""
        return trigger_request(CALLS, kind, text, now, url, self._proof.tokens[0])


def _check_manner(credentials: Credentials, manner: Manner) -> None:
    """Refuse what Twilio would warn of in each call."""
    if manner.input not in _INPUTS:
        raise credentials.problem("input", f"must be one of {', '.join(sorted(_INPUTS))}")
    if not _SPEECH_TIMEOUT.fullmatch(manner.speech_timeout):
        raise credentials.problem("speech_timeout", "must be seconds, or auto")
    if manner.speech_timeout == "auto" and manner.speech_model == "default":
        raise credentials.problem("speech_timeout", "auto needs another speech_model, like phone_call")
    if manner.enhanced and manner.speech_model != "phone_call":
        raise credentials.problem("enhanced", "needs the speech_model phone_call")
    if not _KEYS.fullmatch(manner.finish_on_key):
        raise credentials.problem("finish_on_key", "must be keys of a telephone")
    if not 1 <= manner.timeout <= 600:
        raise credentials.problem("timeout", "must be from 1 to 600 seconds")
    if manner.num_digits is not None and manner.num_digits < 1:
        raise credentials.problem("num_digits", "must be 1 or more")


channel_class = TwilioVoiceInput
