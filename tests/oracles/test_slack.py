"""Signatures, calls, blocks and OAuth held against slack_sdk."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels.slack import SlackInput
from klein_channels.errors import VerificationError
from klein_channels.fit import fit
from klein_channels.model import (
    Address,
    AnyPart,
    Audio,
    Button,
    Buttons,
    Card,
    Carousel,
    Context,
    Custom,
    File,
    Image,
    Location,
    Message,
    Outgoing,
    QuickReplies,
    QuickReply,
    Text,
    Video,
    WebhookRequest,
)
from klein_channels.testing.steps import answered, play

from . import missing

REASON = missing("slack_sdk")
NOW = 1_790_000_000.0
SECRET = "signing-secret-of-tests"
SENT = answered(body={"ok": True, "ts": "1790000000.000100", "channel": "C1"})
BUTTONS = (Button(title="a", payload="/a"), Button(title="b", url="https://x.example"))
CARD = Card(
    title="t *x*", subtitle="s", url="https://x.example", image_url="https://x.example/a.png", buttons=BUTTONS
)
PARTS: tuple[AnyPart, ...] = (
    Text(text="hi"),
    Text(text="**bold** [link](https://x.example) `code`", format="markdown"),
    Buttons(text="choose & take <it>", buttons=BUTTONS),
    Buttons(text="**long** " * 400, buttons=BUTTONS * 12, format="markdown"),
    QuickReplies(text="choose", replies=(QuickReply(title="a", payload="/a"),)),
    Carousel(cards=(CARD,) * 5),
    Image(url="https://x.example/a.png", alt="a picture"),
    Audio(url="https://x.example/a.mp3"),
    Video(url="https://x.example/a.mp4"),
    File(url="https://x.example/a.pdf", name="a"),
    Location(latitude=1.0, longitude=2.0, title="Here"),
    Custom(json={"reaction": "eyes", "timestamp": "1790000000.000100"}),
    Custom(json={"reaction": "eyes", "timestamp": "1790000000.000100", "remove": True}),
)
VIEW = {
    "type": "modal",
    "callback_id": "form",
    "title": {"type": "plain_text", "text": "Form"},
    "submit": {"type": "plain_text", "text": "Send"},
    "blocks": [
        {
            "type": "input",
            "block_id": "b",
            "label": {"type": "plain_text", "text": "Name"},
            "element": {"type": "plain_text_input", "action_id": "a"},
        }
    ],
}


def shop(**more: Any) -> SlackInput:
    return SlackInput(**{"slack_signing_secret": SECRET, "slack_token": "xoxb-1", **more})


def outgoing(part: AnyPart, **more: Any) -> Outgoing:
    address = Address(channel="slack", account="T1", peer="C1", thread=more.pop("thread", None))
    return Outgoing(**{"id": "o-1", "address": address, "part": part, "now": NOW, **more})


class SignatureTests(SynchronousTestCase):
    skip = REASON

    @settings(deadline=None, derandomize=True, max_examples=60)
    @given(st.text(max_size=40), st.booleans())
    def test_both_sign_and_take_the_same(self, text: str, wrong: bool) -> None:
        from slack_sdk.signature import Clock, SignatureVerifier

        class Still(Clock):
            def now(self) -> float:
                return NOW

        verifier = SignatureVerifier(SECRET, Still())
        body = json.dumps({"type": "url_verification", "challenge": text}).encode()
        stamp = str(int(NOW))
        signature = verifier.generate_signature(timestamp=stamp, body=body)
        given_body = body + b" " if wrong else body
        headers = (
            (b"x-slack-request-timestamp", stamp.encode()),
            (b"x-slack-signature", str(signature).encode()),
        )
        request = WebhookRequest(method="POST", path="", headers=headers, body=given_body)
        theirs = verifier.is_valid(given_body, stamp, str(signature))
        try:
            shop().verify(request, NOW)
            ours = True
        except VerificationError:
            ours = False
        self.assertEqual((ours, theirs), (not wrong, not wrong))

    def test_every_request_that_we_play_is_valid_to_the_sdk(self) -> None:
        from slack_sdk.signature import Clock, SignatureVerifier

        class Still(Clock):
            def now(self) -> float:
                return NOW

        for kind in ("text", "button", "slash", "form"):
            request = shop().trigger(kind, "hi", NOW)
            headers = {name.decode(): value.decode() for name, value in request.headers}
            self.assertTrue(SignatureVerifier(SECRET, Still()).is_valid_request(request.body, headers), kind)


class CallTests(SynchronousTestCase):
    skip = REASON

    def check(self, call: Any) -> None:
        """The SDK's client has the method, and takes each of these fields."""
        from slack_sdk import WebClient

        method = urlsplit(call.url).path.rpartition("/")[2].replace(".", "_")
        body = json.loads(call.body)
        known = set(inspect.signature(getattr(WebClient, method)).parameters)
        self.assertEqual(set(body) - known, set(), method)
        self.check_blocks(body.get("blocks", []))

    def check_blocks(self, blocks: list[dict[str, Any]]) -> None:
        from slack_sdk.models.blocks import Block

        made = Block.parse_all(blocks)
        self.assertEqual(len(made), len(blocks))
        for block, ours in zip(made, blocks, strict=True):
            # To a dict means to be checked: lengths, what is required, what excludes what.
            self.assertEqual(json.loads(json.dumps(block.to_dict())), ours)

    def test_every_part_is_a_call_that_the_sdk_could_make(self) -> None:
        for part in PARTS:
            for shown in fit(Message(parts=(part,)), shop().capabilities):
                for more in ({}, {"thread": "1790000000.000100"}, {"metadata": {"ephemeral": "U1"}}):
                    for call in play(shop().send(outgoing(shown, **more)), SENT)[0]:
                        self.check(call)
                if not isinstance(shown, Custom):
                    self.check(play(shop().edit(outgoing(shown), "1790000000.000100"), SENT)[0][0])

    def test_forms_and_life_signs_and_streams(self) -> None:
        from slack_sdk.models.views import View

        for custom in (
            {"view": VIEW, "trigger_id": "1.2"},
            {"view": VIEW, "view_id": "V1"},
            {"view": {"type": "home", "blocks": VIEW["blocks"]}, "user_id": "U1"},
        ):
            [call], _ = play(shop().send(outgoing(Custom(json=custom))), SENT)
            self.check(call)
            view = json.loads(call.body)["view"]
            self.assertEqual(json.loads(json.dumps(View(**view).to_dict())), view)
        thread = outgoing(Text(text="one"), thread="1790000000.000100", cause="m@U1")
        ended = answered(body={"ok": True, "ts": "1", "message": {"text": "one"}})
        address = thread.address
        for steps in (
            shop().open_stream(thread),
            shop().append(thread, "1790000000.000100", "two"),
            shop().close_stream(thread, "1790000000.000100"),
            shop().show_typing(address, True, Context()),
        ):
            for call in play(steps, ended)[0]:
                self.check(call)


class OAuthTests(SynchronousTestCase):
    skip = REASON

    def test_people_are_sent_where_the_sdk_sends_them(self) -> None:
        from slack_sdk.oauth import AuthorizeUrlGenerator

        joining = shop(client_id="1.2", client_secret="client-secret")
        ours = urlsplit(joining.authorize_url("st&te", "https://us.example/in"))
        scopes = parse_qs(ours.query)["scope"][0].split(",")
        theirs = urlsplit(
            AuthorizeUrlGenerator(
                client_id="1.2", scopes=scopes, redirect_uri="https://us.example/in"
            ).generate("st%26te")
        )
        self.assertEqual((ours.scheme, ours.netloc, ours.path), (theirs.scheme, theirs.netloc, theirs.path))
        self.assertEqual(parse_qs(ours.query), parse_qs(theirs.query))

    def test_a_code_is_exchanged_with_the_sdks_fields(self) -> None:
        from slack_sdk import WebClient

        joining = shop(client_id="1.2", client_secret="client-secret")
        good = answered(body={"ok": True, "access_token": "xoxb-1", "team": {"id": "T1"}})
        [call], _ = play(joining.join("code", "https://us.example/in", NOW), good)
        fields = parse_qs(call.body.decode())
        known = inspect.signature(WebClient.oauth_v2_access).parameters
        self.assertEqual(set(fields) - set(known), set())
        self.assertTrue(re.search("oauth.v2.access$", call.url))
