"""Stand-ins that several tests share: a channel without a platform, its events, a store, scripted ends."""

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from klein_channels.channel import Capabilities, ChannelOptions
from klein_channels.intake import conversation_key, dedupe_key, is_turn
from klein_channels.model import (
    Address,
    Message,
    MessageReceived,
    PersonEvent,
    Received,
    Sent,
    Text,
    WebhookRequest,
)
from klein_channels.store import Arrival, Reply
from klein_channels.store.sqlite import SQLiteStore

NOW = 1_800_000_000.0
OPTIONS = ChannelOptions()


def address(peer="p", thread=None, channel="plain", account="a"):
    return Address(channel=channel, account=account, peer=peer, thread=thread)


def message(text="hi", peer="p", id=None, **more):
    where = more.pop("address", None) or address(peer)
    message.count = getattr(message, "count", 0) + 1
    return MessageReceived(id=id or f"m{message.count}", address=where, text=text, **more)


def arrival(event, **more):
    """What `intake` would make of `event`."""
    made = {
        "conversation": conversation_key(event, OPTIONS),
        "dedupe": dedupe_key(event, stable_timestamps=True),
        "turn": is_turn(event, OPTIONS),
        "by_person": isinstance(event, PersonEvent),
    }
    return Arrival(event=event, **{**made, **more})


def said(text, **more):
    """One reply, a row of the outbox."""
    where = more.pop("address", None) or address()
    return Reply(address=where, message=Message(parts=(Text(text=text),)), **more)


def clock_at(now=NOW):
    clock = Clock()
    clock.advance(now)
    return clock


def opened(path="", now=NOW, **settings):
    """An open store that works at once."""
    store = SQLiteStore(path, **settings)
    store.open(now)
    return store


def request(body=b"{}", method="POST", **more):
    return WebhookRequest(method=method, path="/app/webhook", body=body, **more)


class PlainChannel:
    """A channel that proves everybody, reads what `reading` says, and sends nothing."""

    def __init__(self, name="plain", options=OPTIONS, **capabilities):
        self.name = name
        self.options = options
        self.capabilities = Capabilities(**{"malformed_status": 422, **capabilities})
        self.verified = 0
        self.refusal = None
        self.reading = lambda request: Received()

    def verify(self, request, now):
        self.verified += 1
        if self.refusal is not None:
            raise self.refusal

    def parse(self, request):
        return self.reading(request)

    def send(self, outgoing):
        return Sent()
        yield


class Scripted:
    """Hands out results one after the other; a callable is called, an exception raised, else returned."""

    def __init__(self, *results, then=None):
        self.results = list(results)
        self.then = then
        self.asked = []

    def __call__(self, *args, **kwargs):
        self.asked.append(args)
        result = self.results.pop(0) if self.results else self.then
        if isinstance(result, BaseException):
            raise result
        if callable(result) and not isinstance(result, Deferred):
            return result(*args, **kwargs)
        return result


class Transport:
    """Carries nothing; each send has the next of `outcomes`, else is sent."""

    def __init__(self, *outcomes, patience=None, rates=(), unknown="resend"):
        self.outcomes = Scripted(*outcomes, then=Sent(mids=("mid",)))
        self.sent = []
        self.typing = []
        self.typing_result = lambda: succeed(None)
        self.patience = lambda address: patience
        self.rates = lambda address: rates
        self.unknown = lambda address: unknown

    def send(self, outgoing):
        self.sent.append(outgoing)
        result = self.outcomes(outgoing)
        return result if isinstance(result, Deferred) else succeed(result)

    def show_typing(self, address, on, context):
        self.typing.append((str(address), on))
        return self.typing_result()

    @property
    def texts(self):
        return [outgoing.part.text for outgoing in self.sent]
