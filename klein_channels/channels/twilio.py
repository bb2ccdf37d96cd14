"""
Twilio: SMS, MMS, RCS and WhatsApp.

One account with any of its numbers. A reply travels in the answer to the webhook where it is there in
time, and by the REST API elsewhere. Facts: Twilio's documentation (twilio.com/docs, read November 2026).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import msgspec

from ..channel import Capabilities, ChannelOptions, Fetched, Steps, fetch_by_address
from ..credentials import Credentials
from ..errors import ConfigError
from ..model import (
    Address,
    Attachment,
    CallResult,
    Outcome,
    Outgoing,
    Received,
    Refused,
    Retry,
    UnknownOutcome,
    WebhookRequest,
    WebhookResponse,
)
from ..rates import Rate
from ..secret import Secret
from ..twilio.api import TwilioApi
from ..twilio.buttons import ButtonTemplates
from ..twilio.credentials import SID_HINT, hide, read_proof
from ..twilio.forms import idempotency_token, own_query, read_fields, xml_response
from ..twilio.messages import MessageReader, is_whatsapp
from ..twilio.outcomes import twilio_outcome
from ..twilio.sends import (
    BUTTON_ID,
    BUTTON_TEXT,
    BUTTON_TITLE,
    BUTTONS,
    TEXT_LIMIT,
    Content,
    callback_url,
    carried,
    choices_of,
    content_of,
    message_verb,
    rest_fields,
    templated,
    words_over,
)
from ..twilio.triggers import MESSAGES, trigger_request
from ..twilio.twiml import NOTHING, document

MOST_BYTES = 16 << 20
_REPLIES = ("response", "rest")

CAPABILITIES = Capabilities(
    dialect="own",
    dialects=("plain", "whatsapp"),
    text_limit=TEXT_LIMIT,
    # Twilio says characters; emoji of two units may count as two.
    text_unit="utf16",
    media=frozenset({"image", "audio", "video", "file"}),
    redelivery_horizon=86_400.0,
    # A changed WhatsApp can send any payload as that of a button.
    signed_payloads=False,
    answer_deadline=10.0,
    # Twilio keeps the rate of each number itself, in a queue of hours; it takes about 100 requests a second.
    rates=(Rate(count=80.0, burst=20.0),),
    # Each message costs, and nothing tells what became of one that was not answered.
    unknown="hold",
)


class TwilioSettings(ChannelOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What stands under a channel of the type ``twilio`` in the configuration; the first three are Rasa's."""

    account_sid: str | None = None
    auth_token: Any = None
    """The auth token, or a list of them while one replaces another."""
    twilio_number: str | None = None
    number: str | None = None
    """The number that messages go out from where a conversation has none: also a messaging service."""
    shared_key: Secret | None = None
    """What signs webhooks in place of the auth token, where Twilio says that it does."""
    reply: Literal["response", "rest"] = "response"
    """Whether replies travel in the answers to webhooks, or by the REST API only."""
    status_callback: str | None = None
    """The address of our own webhook, to be told what became of each message."""
    mms: bool = True
    """Whether pictures and files go out by MMS; else as links."""
    whatsapp_buttons: bool = False
    """Whether buttons are shown on WhatsApp, by templates that are made as they are needed."""
    api_url: str | None = None
    content_url: str | None = None

    def __post_init__(self) -> None:
        """Hide the token, whose two forms have no type that a decoder could convert to."""
        hide(self, "auth_token")


class TwilioInput:
    """The Twilio channel for messages: one account.

    `twilio_number` (or `number`) is where messages come from that answer nothing; a conversation is
    answered from the number that it is held with. Raises `ConfigError`.
    """

    Settings: ClassVar[type[TwilioSettings]] = TwilioSettings
    capabilities: Capabilities = CAPABILITIES

    def __init__(  # noqa: PLR0913  (the first three are those of Rasa's TwilioInput)
        self,
        account_sid: Any = None,
        auth_token: Any = None,
        twilio_number: str | None = None,
        *,
        number: str | None = None,
        shared_key: Any = None,
        reply: Literal["response", "rest"] = "response",
        status_callback: str | None = None,
        mms: bool = True,
        whatsapp_buttons: bool = False,
        api_url: str | None = None,
        content_url: str | None = None,
        name: str = "twilio",
        options: ChannelOptions = ChannelOptions(),  # noqa: B008  (immutable)
    ) -> None:
        self.name = name
        self.options = options
        credentials = Credentials(name)
        sid = credentials.token("account_sid", account_sid, SID_HINT).reveal()
        self._proof = read_proof(credentials, auth_token, shared_key)
        self._number = (number or twilio_number or "").strip()
        self._api = TwilioApi(name, sid, self._proof.tokens[0], api_url, content_url)
        self._templates = ButtonTemplates(self._api) if whatsapp_buttons else None
        self._callback = _read_callback(name, status_callback)
        self._mms = mms
        if reply not in _REPLIES:
            raise credentials.problem("reply", f"must be one of {', '.join(_REPLIES)}")
        self.capabilities = _capabilities(in_answers=reply == "response", buttons=whatsapp_buttons)

    @classmethod
    def from_settings(cls, name: str, settings: TwilioSettings) -> TwilioInput:
        """The channel that the configuration calls `name`."""
        return cls(
            account_sid=settings.account_sid,
            auth_token=settings.auth_token,
            twilio_number=settings.twilio_number,
            number=settings.number,
            shared_key=settings.shared_key,
            reply=settings.reply,
            status_callback=settings.status_callback,
            mms=settings.mms,
            whatsapp_buttons=settings.whatsapp_buttons,
            api_url=settings.api_url,
            content_url=settings.content_url,
            name=name,
            options=settings,
        )

    def __repr__(self) -> str:
        return f"TwilioInput({self.name!r}, account_sid={self._api.account_sid!r})"

    # In

    def verify(self, request: WebhookRequest, now: float) -> None:
        """Prove that a request is Twilio's, over the URL that it called and all that it said."""
        self._proof.check(request)

    def parse(self, request: WebhookRequest) -> Received:
        """The message, or what became of one of ours; keywords like STOP are for observers."""
        reader = MessageReader(self.name)
        events = reader.read(read_fields(request), own_query(request), idempotency_token(request))
        return Received(events=events, response=xml_response(NOTHING))

    def download(self, url: str, most_bytes: int = MOST_BYTES) -> Steps[bytes]:
        """The bytes of an attachment, by its `url`; raises `PlatformError`."""
        return self._api.download(url, most_bytes)

    # Out, in the answer

    def carries(self, outgoing: tuple[Outgoing, ...]) -> int:
        """How many of `outgoing`, from the first, an answer can carry; the others need `send`."""
        verbs = []
        for one in outgoing:
            content = self._content(one)
            if content is None or not content.in_twiml or self._choices(one):
                break
            verbs.append(message_verb(content, callback_url(self._callback, one)))
        return carried(verbs)

    def answer(self, request: WebhookRequest, outgoing: tuple[Outgoing, ...]) -> WebhookResponse:
        """The messages that answer the one that came."""
        verbs = [
            message_verb(content, callback_url(self._callback, one))
            for one in outgoing
            if (content := self._content(one)) is not None and (content.body or content.media)
        ]
        return xml_response(document(verbs[: carried(verbs)]))

    def answer_later(self, request: WebhookRequest, event: str) -> WebhookResponse:
        """Nothing for now: what is said later goes out by `send`."""
        return xml_response(NOTHING)

    def _content(self, outgoing: Outgoing) -> Content | None:
        try:
            return content_of(outgoing, mms=self._mms)
        except ValueError:
            return None

    # Out, by the REST API

    def fetch(self, attachment: Attachment, address: Address) -> Steps[Fetched | None]:
        """Fetch a file by the address that came with it."""
        return fetch_by_address(attachment)

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Send one message."""
        try:
            content = content_of(outgoing, mms=self._mms)
        except ValueError as error:
            return Refused(reason=str(error))
        choices = self._choices(outgoing)
        if choices and self._templates is not None:
            found = yield from self._templates.sid(choices, outgoing.now)
            if not isinstance(found, str):
                # Nobody has seen anything, whether the template was made or not.
                return Retry(reason=found.reason) if isinstance(found, UnknownOutcome) else found
            content = templated(found, words_over(outgoing.part, "whatsapp"))
        if not (outgoing.address.account or self._number):
            return Refused(
                reason=f"channel {self.name!r}: no number to send from; set number", scope="account"
            )
        callback = callback_url(self._callback, outgoing)
        fields = rest_fields(outgoing, content, self._number, callback)
        result: CallResult = yield self._api.send_message(fields)
        return twilio_outcome(result, outgoing.now)

    def _choices(self, outgoing: Outgoing) -> tuple[Any, ...]:
        shows = self._templates is not None and is_whatsapp(outgoing.address.peer)
        return choices_of(outgoing.part) if shows else ()

    # Playing Twilio

    def trigger_at(self, kind: str, text: str, now: float, url: str) -> WebhookRequest:
        """An authentic webhook as Twilio would send it to `url`; ValueError names the kinds."""
        return trigger_request(MESSAGES, kind, text, now, url, self._proof.tokens[0])


def _read_callback(name: str, url: str | None) -> str | None:
    if url and not url.startswith(("https://", "http://")):
        raise ConfigError(f"channel {name!r}: status_callback must be an address like https://…")
    return url or None


def _capabilities(*, in_answers: bool, buttons: bool) -> Capabilities:
    """Without a time to wait for, every webhook is answered at once and every reply goes by REST."""
    able = CAPABILITIES if in_answers else msgspec.structs.replace(CAPABILITIES, answer_deadline=0.0)
    if not buttons:
        return able
    return msgspec.structs.replace(
        able,
        buttons=BUTTONS,
        button_title=BUTTON_TITLE,
        button_text=BUTTON_TEXT,
        button_links=False,
        payload_limit=BUTTON_ID,
    )


channel_class = TwilioInput
