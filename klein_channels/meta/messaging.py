"""What Messenger and Instagram have in common: one app, its webhook, its accounts, its Send API."""

from __future__ import annotations

from dataclasses import dataclass

from ..channel import Steps
from ..json_fields import lenient_words
from ..model import (
    Address,
    CallResult,
    Outcome,
    Outgoing,
    Received,
    Refused,
    Sender,
    Video,
    WebhookRequest,
    read_json,
)
from ..secret import Secret
from .events import EventReader
from .graph import SEND_DEADLINE, AccountTokens, Graph
from .outcomes import graph_object, graph_outcome
from .reuse import AttachmentIds
from .sends import SendFormat
from .webhook import MetaWebhook

VIDEO_DEADLINE = 90.0
"""Seconds; the Graph itself waits 75 s for a video's address before it answers."""


@dataclass(frozen=True, slots=True)
class MetaMessaging:
    """One configured app of one of the two platforms.

    `node` stands in the path of a send in place of the account, where the Graph has another name for
    it: ``me`` is whoever the token belongs to. `media` is None where files are not reused.
    """

    webhook: MetaWebhook
    reader: EventReader
    graph: Graph
    tokens: AccountTokens
    format: SendFormat
    media: AttachmentIds | None = None
    node: str | None = None

    def parse(self, request: WebhookRequest) -> Received:
        """The answer to a handshake, or the events of a notification."""
        response = self.webhook.handshake(request)
        if response is not None:
            return Received(response=response)
        return Received(events=self.reader.read(read_json(request.body)))

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Show one part to a person, as the account that they wrote to."""
        try:
            body = self.format.send_body(outgoing)
        except ValueError as error:
            return Refused(reason=str(error))
        account = outgoing.address.account
        token = yield from self.tokens.token_for(self.graph, account, outgoing.now)
        if not isinstance(token, Secret):
            return token
        if self.media is not None:
            body = self.media.put_into(body, outgoing)
        deadline = VIDEO_DEADLINE if isinstance(outgoing.part, Video) else SEND_DEADLINE
        node = self.node or account
        result: CallResult = yield self.graph.post(token, node, "messages", body, True, deadline)
        outcome = graph_outcome(result, outgoing.now, outgoing.attempt)
        return outcome if self.media is None else self.media.learn(outgoing, body, result, outcome)

    def person(self, sender: Sender, address: Address, fields: str) -> Steps[Sender | None]:
        """What the Graph tells of somebody; nothing, where the app may not ask or they are unknown."""
        token = yield from self.tokens.token_for(self.graph, address.account, 0.0)
        if not isinstance(token, Secret):
            return None
        told = graph_object((yield self.graph.get(token, sender.id, fields)))
        if not told:
            return None
        parts = (lenient_words(told.get(key)) for key in ("first_name", "last_name"))
        name = lenient_words(told.get("name")) or " ".join(part for part in parts if part)
        username = lenient_words(told.get("username"))
        return Sender(id=sender.id, name=name or None, username=username or None)

    def act(self, address: Address, action: str) -> Steps[None]:
        """A sender action, whose outcome matters to nobody."""
        token = yield from self.tokens.token_for(self.graph, address.account, 0.0)
        if isinstance(token, Secret):
            body = self.format.action_body(address.peer, action)
            yield self.graph.post(token, self.node or address.account, "messages", body, False)
