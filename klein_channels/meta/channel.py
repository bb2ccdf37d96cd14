"""What a channel does in the same way on Messenger and on Instagram, with what its platform gave it."""

from __future__ import annotations

from ..channel import Fetched, Finding, Steps, fetch_by_address
from ..model import Address, Attachment, Context, Outcome, Outgoing, Received, WebhookRequest
from .live_check import LiveCheck
from .messaging import MetaMessaging
from .setup import Setup


class MessagingChannel:
    """The methods that the channels of both platforms have in common; they make the three parts."""

    _messaging: MetaMessaging
    _setup: Setup
    _check: LiveCheck

    # In

    def knows_account(self, account: str) -> bool:
        """Whether `account` is configured, or may be: tokens in a list name no page."""
        return self._messaging.tokens.covers(account)

    def verify(self, request: WebhookRequest, now: float) -> None:
        """Prove that a handshake knows the verify token, or a notification an app secret."""
        self._messaging.webhook.verify(request)

    def parse(self, request: WebhookRequest) -> Received:
        """The answer to a handshake, or the events of a notification."""
        return self._messaging.parse(request)

    def fetch(self, attachment: Attachment, address: Address) -> Steps[Fetched | None]:
        """Fetch a file by the address that came with it."""
        return fetch_by_address(attachment)

    # Out

    def send(self, outgoing: Outgoing) -> Steps[Outcome]:
        """Show one part to a person, as the account that they wrote to."""
        return self._messaging.send(outgoing)

    def show_typing(self, address: Address, on: bool, context: Context) -> Steps[None]:
        """Show the dots for up to 20 seconds, or hide them."""
        return self._messaging.act(address, "typing_on" if on else "typing_off")

    def show_seen(self, address: Address, context: Context) -> Steps[None]:
        """Mark the person's messages as read."""
        return self._messaging.act(address, "mark_seen")

    # Setting up

    def provision(self, webhook_url: str, *, dry_run: bool) -> Steps[tuple[str, ...]]:
        """Let Meta send what happens to `webhook_url`, and each account show its profile.

        With Instagram's login the address itself is entered in the app dashboard. Raises `PlatformError`.
        """
        return self._setup.provision(webhook_url, dry_run=dry_run)

    def check_live(self, now: float) -> Steps[tuple[Finding, ...]]:
        """Whether tokens, permissions, subscriptions and the version of the Graph are good."""
        return self._check.findings(now)
