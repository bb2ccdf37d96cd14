"""WhatsApp: who is believed, what is read out of a webhook, how the Cloud API is called."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import Channel, Live, Triggers, find_channel_class
from klein_channels.channels.whatsapp import WhatsAppInput, WhatsAppSettings, WindowTemplate
from klein_channels.errors import ConfigError, VerificationError
from klein_channels.fit import fit
from klein_channels.model import (
    TURN_KINDS,
    Address,
    AnyEvent,
    AnyPart,
    Button,
    Buttons,
    CallResult,
    Context,
    Custom,
    File,
    Image,
    ListMenu,
    ListRow,
    ListSection,
    Location,
    Message,
    Outgoing,
    QuickReplies,
    QuickReply,
    Refused,
    Retry,
    Sent,
    Text,
    WebhookRequest,
    from_json,
    to_json,
)
from klein_channels.secret import Secret
from klein_channels.signatures import appsecret_proof, hub_signature
from klein_channels.testing.contract import ChannelContract
from klein_channels.testing.graph import GraphStandIn
from klein_channels.testing.graph_numbers import Numbers
from klein_channels.testing.hostile import JSON_VALUES, for_all
from klein_channels.testing.platforms import Platform, served
from klein_channels.testing.steps import answered, play

NUMBER, OTHER, PERSON = "106540352242922", "106540352242933", "16505551234"
USER = "US.13491208655302741918"
SECRET, OLD_SECRET = "an-app-secret-of-tests", "the-app-secret-before"
NUMBERS = {NUMBER: "token-of-the-first-number", OTHER: "token-of-the-second-number"}
FIXTURES = Path(__file__).parent.parent / "fixtures" / "whatsapp"
NOW = 1_790_000_000.0
KINDS = """
text image video audio voice document sticker location contacts button_reply list_reply flow_reply
template_button reaction order system_number_changed edit revoke unsupported request_welcome
status_sent status_delivered status_read status_played status_failed echo_of_the_app account_errors
preference_stop user_id_update group_text group_update call other_field person_by_user_id
person_without_number text_from_ad text_about_product text_reply text_forwarded
"""
"""What the reference of WhatsApp's webhooks lists: one fixture each."""


def channel(**more: Any) -> WhatsAppInput:
    given: dict[str, Any] = {
        "verify": "open sesame",
        "secret": SECRET,
        "phone_numbers": NUMBERS,
        "graph_url": "https://graph.test",
    }
    return WhatsAppInput(**{**given, **more})


def signed(body: bytes, secret: str = SECRET) -> WebhookRequest:
    signature = hub_signature(body, Secret(secret)).encode()
    return WebhookRequest(
        method="POST", path="/app/webhook", headers=((b"x-hub-signature-256", signature),), body=body
    )


def read(body: Any, **more: Any) -> tuple[AnyEvent, ...]:
    return channel(**more).parse(signed(json.dumps(body).encode())).events


def one(**item: Any) -> dict[str, Any]:
    """A webhook with one item in one section."""
    [(section, fields)] = item.items()
    base = {"timestamp": "1790000000", "from": PERSON, "id": "wamid.1"}
    value = {"metadata": {"phone_number_id": NUMBER}, section: [{**base, **fields}]}
    change = {"field": "messages", "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}


def text(words: str = "same", **more: Any) -> dict[str, Any]:
    return one(messages={"type": "text", "text": {"body": words}, **more})


class ContractTests(ChannelContract, SynchronousTestCase):
    secrets = (SECRET, "open sesame", *NUMBERS.values())
    base_urls = ("https://graph.test", "https://lookaside.fbsbx.com")
    proof_headers = (b"x-hub-signature-256",)
    trigger_kinds = ("text", "postback", "image")

    def make_channel(self) -> WhatsAppInput:
        return channel()

    def make_platform(self) -> Platform:
        clock = Clock()
        return served(GraphStandIn(clock, secret=SECRET, products=[Numbers(NUMBERS)]), clock)

    def bodies(self) -> Sequence[bytes]:
        files = sorted(FIXTURES.glob("*.json"), key=lambda file: file.name != "text.json")
        return [json.dumps(json.loads(file.read_bytes())["body"]).encode() for file in files]

    def signed(self, body: bytes) -> WebhookRequest:
        return signed(body)

    def accepted(self) -> Sequence[WebhookRequest]:
        good = "hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token=open%20sesame"
        return [*super().accepted(), WebhookRequest(method="GET", path="/app/webhook", query=good)]

    def refused(self) -> Sequence[WebhookRequest]:
        return [WebhookRequest(method="GET", path="", query="hub.mode=subscribe&hub.challenge=1&x=open")]

    def different(self) -> Sequence[bytes]:
        made = [text(id=mid) for mid in ("wamid.1", "wamid.2")]
        made += [one(statuses={"id": "wamid.9", "status": status}) for status in ("sent", "read")]
        made += [one(statuses={"id": mid, "status": "sent"}) for mid in ("wamid.7", "wamid.8")]
        member = {"id": "wamid.6", "status": "read", "recipient_id": "G", "recipient_type": "group"}
        made += [one(statuses={**member, "recipient_participant_id": who}) for who in ("1", "2")]
        return [json.dumps(body).encode() for body in made]


class FixtureTests(SynchronousTestCase):
    """Every kind of event that WhatsApp sends, one file each."""

    def fixtures(self) -> list[tuple[str, Any]]:
        return [(file.stem, json.loads(file.read_bytes())) for file in sorted(FIXTURES.glob("*.json"))]

    def test_each_is_read_as_it_expects_and_names_its_source(self) -> None:
        for name, fixture in self.fixtures():
            self.assertRegex(fixture["source"], r"^(Meta, WhatsApp|Code: )", name)
            events = read(fixture["body"])
            self.assertEqual(len(events), len(fixture["expect"]), name)
            for event, expected in zip(events, fixture["expect"], strict=True):
                shown = {"type": event.kind, "address": str(event.address)}
                found = {key: shown.get(key, _plain(getattr(event, key, None))) for key in expected}
                for number, wanted in enumerate(expected.get("attachments", ())):
                    found["attachments"][number] = {
                        key: found["attachments"][number].get(key) for key in wanted
                    }
                self.assertEqual(found, expected, name)

    def test_every_kind_of_the_reference_has_one(self) -> None:
        self.assertEqual(set(KINDS.split()) - {name for name, _ in self.fixtures()}, set())

    def test_each_event_survives_the_store(self) -> None:
        for name, fixture in self.fixtures():
            for event in read(fixture["body"]):
                self.assertEqual(from_json(to_json(event)), event, name)

    def test_strangers_and_nobody_are_never_answered(self) -> None:
        for name, fixture in self.fixtures():
            for event in read(fixture["body"]):
                if event.kind in TURN_KINDS and not event.observe_only:
                    self.assertIn(event.address.account, NUMBERS, name)
                    self.assertTrue(event.address.peer, name)

    def test_any_json_becomes_events_that_can_be_stored(self) -> None:
        def check(item: Any, kind: str, section: str) -> None:
            item = {"id": "wamid.1", "from": PERSON, "type": kind, kind: item}
            body = one(messages={})
            body["entry"][0]["changes"][0]["value"] = {
                "metadata": {"phone_number_id": NUMBER},
                section: [item, item[kind]],
            }
            for event in read(json.loads(json.dumps(body))):
                self.assertEqual(from_json(to_json(event)), event)

        kinds = ["text", "image", "interactive", "button", "reaction", "order", "edit", "revoke", "contacts"]
        sections = ["messages", "statuses", "message_echoes", "groups", "calls", "contacts"]
        for_all(check, JSON_VALUES, st.sampled_from(kinds), st.sampled_from(sections), examples=150)


def _plain(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def outgoing(part: AnyPart = Text(text="hi"), **more: Any) -> Outgoing:  # noqa: B008
    address = Address(channel="whatsapp", account=NUMBER, peer=more.pop("peer", PERSON))
    return Outgoing(
        **{"id": "0123abcd-7", "address": address, "part": part, "cause": "m", "now": NOW, **more}
    )


SUCCESS = answered(body={"messages": [{"id": "wamid.out"}]})


def sent_body(part: AnyPart = Text(text="hi"), whatsapp: Any = None, **more: Any) -> Any:  # noqa: B008
    calls, outcome = play((whatsapp or channel()).send(outgoing(part, **more)), SUCCESS)
    assert isinstance(outcome, Sent), outcome
    return json.loads(calls[0].body)


def shown(part: AnyPart) -> list[Any]:
    """The bodies that `part` is, without what all have."""
    bodies = [sent_body(piece) for piece in fit(Message(parts=(part,)), channel().capabilities)]
    return [{key: value for key, value in body.items() if key in (body["type"], "type")} for body in bodies]


class SendTests(SynchronousTestCase):
    def test_the_call_goes_to_the_number_with_its_token_and_proof(self) -> None:
        for number, token in NUMBERS.items():
            address = Address(channel="whatsapp", account=number, peer=PERSON)
            [call], outcome = play(channel().send(outgoing(address=address)), SUCCESS)
            proof = appsecret_proof(Secret(token), Secret(SECRET))
            self.assertEqual(call.url, f"https://graph.test/v25.0/{number}/messages?appsecret_proof={proof}")
            self.assertIn(("Authorization", f"Bearer {token}"), call.headers)
            self.assertEqual(outcome, Sent(mids=("wamid.out",)))

    def test_one_token_may_be_good_for_all_numbers(self) -> None:
        whatsapp = channel(phone_numbers=dict.fromkeys(NUMBERS, "a-system-user-s"))
        self.assertTrue(all(whatsapp.knows_account(number) for number in NUMBERS))

    def test_to_whom_it_goes(self) -> None:
        for peer, fields in (
            (PERSON, {"recipient_type": "individual", "to": f"+{PERSON}"}),
            (USER, {"recipient_type": "individual", "recipient": USER}),
            ("US.ENT.abc1", {"recipient_type": "individual", "recipient": "US.ENT.abc1"}),
            ("group:GRP1", {"recipient_type": "group", "to": "GRP1"}),
        ):
            body = sent_body(peer=peer)
            self.assertEqual(
                {k: v for k, v in body.items() if k in ("to", "recipient", "recipient_type")}, fields
            )
            self.assertEqual(body["biz_opaque_callback_data"], f"0123abcd-7 {peer}")

    def test_what_comes_back_with_a_status_names_the_send_and_its_conversation(self) -> None:
        for peer in (PERSON, USER, "group:GRP1", "odd peer"):
            data = sent_body(peer=peer)["biz_opaque_callback_data"]
            status = {
                "id": "wamid.o",
                "status": "sent",
                "recipient_id": "?",
                "biz_opaque_callback_data": data,
            }
            [event] = read(one(statuses=status))
            self.assertEqual((event.metadata, event.address.peer), ("0123abcd-7", peer))  # type: ignore[union-attr]

    def test_texts_in_whatsapps_marks(self) -> None:
        self.assertEqual(shown(Text(text="**b** a*b", format="markdown"))[0]["text"]["body"][:4], "*b* ")
        [body] = shown(Text(text="https://x.example"))
        self.assertEqual(body["text"], {"body": "https://x.example", "preview_url": True})

    def test_a_reply_names_what_it_answers(self) -> None:
        self.assertEqual(sent_body(reply_to="wamid.in")["context"], {"message_id": "wamid.in"})

    def test_media_by_address_and_by_id(self) -> None:
        self.assertEqual(
            shown(Image(url="https://x.example/a.png"))[0]["image"], {"link": "https://x.example/a.png"}
        )
        self.assertEqual(sent_body(Image(url="media:123"))["image"], {"id": "123"})
        body = sent_body(File(url="media:9", name="ä" * 500))
        self.assertEqual((body["type"], body["document"]["id"]), ("document", "9"))
        self.assertLessEqual(len(body["document"]["filename"]), 240)

    def test_a_place(self) -> None:
        [body] = shown(Location(latitude=1.5, longitude=2.5, title="here"))
        self.assertEqual(body["location"], {"latitude": 1.5, "longitude": 2.5, "name": "here"})

    def test_three_buttons_are_buttons_and_more_are_a_list(self) -> None:
        def buttons(number: int) -> Buttons:
            return Buttons(
                text="Well?", buttons=tuple(Button(title=f"B{n}", payload=f"/{n}") for n in range(number))
            )

        for number, kind in ((3, "button"), (4, "list"), (10, "list")):
            [body] = shown(buttons(number))
            self.assertEqual(body["interactive"]["type"], kind)
        [body] = shown(buttons(11))
        self.assertIn("11. B10", body["text"]["body"])
        replies = QuickReplies(text="Well?", replies=tuple(QuickReply(title=f"Q{n}") for n in range(5)))
        self.assertEqual(shown(replies)[0]["interactive"]["type"], "list")

    def test_a_lone_link_is_a_button_and_links_among_others_are_words(self) -> None:
        site = Button(title="Site", url="https://x.example")
        [body] = shown(Buttons(text="See", buttons=(site,)))
        self.assertEqual(
            body["interactive"]["action"],
            {"name": "cta_url", "parameters": {"display_text": "Site", "url": "https://x.example"}},
        )
        [body] = shown(Buttons(text="See", buttons=(site, Button(title="No"))))
        self.assertIn("1. Site: https://x.example", body["text"]["body"])

    def test_choices_that_look_alike_are_kept_apart_and_come_back_as_they_were(self) -> None:
        part = Buttons(text="?", buttons=(Button(title="A" * 30, payload="/x"),) * 3)
        *_, body = shown(part)
        replies = [button["reply"] for button in body["interactive"]["action"]["buttons"]]
        self.assertEqual((len({r["id"] for r in replies}), len({r["title"] for r in replies})), (3, 3))
        for reply in replies:
            chosen = {"type": "interactive", "interactive": {"type": "button_reply", "button_reply": reply}}
            self.assertEqual(read(one(messages=chosen))[0].payload, "/x")

    def test_a_list(self) -> None:
        rows = (ListRow(title="Blue", payload="/blue", description="new"), ListRow(title="Red"))
        menu = ListMenu(text="Well?", button="Hats", sections=(ListSection(title="All", rows=rows),))
        [body] = shown(menu)
        self.assertEqual(
            body["interactive"]["action"],
            {
                "button": "Hats",
                "sections": [
                    {
                        "title": "All",
                        "rows": [
                            {"id": "/blue", "title": "Blue", "description": "new"},
                            {"id": "Red", "title": "Red"},
                        ],
                    }
                ],
            },
        )

    def test_whatsapps_own_words_are_held_against_its_limits(self) -> None:
        template = {"template": {"name": "hello_world", "language": {"code": "en_US"}}}
        self.assertEqual(sent_body(Custom(json=template))["type"], "template")
        body = sent_body(Custom(json={"reaction": {"emoji": "👍"}}), cause="wamid.in")
        self.assertEqual(body["reaction"], {"message_id": "wamid.in", "emoji": "👍"})
        for json_, place in (
            ({"type": "sticker"}, "sticker: is missing"),
            ({"text": {"body": "x" * 4097}}, "text.body: 4097 characters"),
            ({"template": {"name": "Not Good", "language": {"code": "en"}}}, "template.name"),
            ({"template": {"name": "x"}}, "template.language: is missing"),
            (
                {"interactive": {"type": "flow", "body": {"text": "x"}, "action": {}}},
                "interactive.action.name",
            ),
            ([], "JSON object"),
            ({"image": {"id": "1", "link": "https://x"}}, "only one"),
        ):
            calls, outcome = play(channel().send(outgoing(Custom(json=json_))))
            self.assertEqual(calls, [])
            self.assertIn(place, outcome.reason)

    def test_nobody_else_is_written_to_by_a_custom_part(self) -> None:
        body = sent_body(Custom(json={"to": "+1", "text": {"body": "x"}, "recipient": "US.9"}))
        self.assertEqual(body["to"], f"+{PERSON}")
        self.assertNotIn("recipient", body)


class UploadTests(SynchronousTestCase):
    PNG = answered(body=b"\x89PNG\r\n\x1a\n--border\r\n" + bytes(range(256)))
    PICTURE = Image(url="https://x.example/a.png")

    def sent(self, whatsapp: WhatsAppInput, *answers: Any, **more: Any) -> Any:
        return play(whatsapp.send(outgoing(self.PICTURE, **more)), *answers)

    def test_the_file_is_given_once_and_sent_by_its_id(self) -> None:
        whatsapp, numbers = channel(upload_media=True), Numbers(NUMBERS)
        platform = served(GraphStandIn(Clock(), secret=SECRET, products=[numbers]))
        for number in (1, 2):
            steps, calls = whatsapp.send(outgoing(self.PICTURE)), []
            result: Any = None
            try:
                while True:
                    calls.append(steps.send(result) if result else next(steps))
                    stranger = calls[-1].trust == "content"
                    result = self.PNG if stranger else platform(calls[-1])
            except StopIteration as end:
                self.assertIsInstance(end.value, Sent)
            self.assertEqual(len(calls), 3 if number == 1 else 1)
            self.assertEqual([call.effect for call in calls].count(True), 1)
        [(_, content)] = numbers.media.values()
        self.assertEqual(content, self.PNG.body)
        self.assertIn(json.loads(calls[-1].body)["image"]["id"], numbers.media)

    def test_the_stranger_s_address_gets_no_token(self) -> None:
        [call, *_], _ = self.sent(channel(upload_media=True), self.PNG, answered(body={"id": "1"}), SUCCESS)
        self.assertEqual((call.trust, call.headers, call.max_response), ("content", (), 5 << 20))

    def test_ids_are_of_one_number_and_end(self) -> None:
        whatsapp = channel(upload_media=True)
        for more in (
            {},
            {"address": Address(channel="whatsapp", account=OTHER, peer=PERSON)},
            {"now": NOW + 30 * 86_400},
        ):
            calls, _ = self.sent(whatsapp, self.PNG, answered(body={"id": "1"}), SUCCESS, **more)
            self.assertEqual(len(calls), 3)

    def test_what_cannot_be_given(self) -> None:
        too_long = CallResult(outcome="unknown", error="answer longer than 5242880 bytes")
        for answers, kind in (
            ((answered(404),), Refused),
            ((too_long,), Refused),
            ((answered(503),), Retry),
            ((CallResult(outcome="unknown", error="lost"),), Retry),
            ((self.PNG, CallResult(outcome="unknown", error="lost")), Retry),
            ((self.PNG, answered(body={})), Retry),
            ((self.PNG, answered(400, {"error": {"code": 190, "message": "x"}})), Refused),
        ):
            calls, outcome = self.sent(channel(upload_media=True), *answers)
            self.assertIsInstance(outcome, kind)
            self.assertFalse(any(call.effect for call in calls))


class WindowTests(SynchronousTestCase):
    LATE = Context(last_event="m", last_at=NOW - 86_401)

    def test_after_24_hours_nothing_is_sent_and_the_rule_is_named(self) -> None:
        for part in (Text(text="hi"), Image(url="https://x.example/a.png")):
            calls, outcome = play(channel().send(outgoing(part, context=self.LATE)))
            self.assertEqual((calls, isinstance(outcome, Refused)), ([], True))
            self.assertTrue(outcome.reason.startswith("window closed: "))

    def test_until_then_it_is_open(self) -> None:
        sent_body(context=Context(last_at=NOW - 86_400))
        sent_body(context=Context())

    def test_templates_and_groups_know_no_window(self) -> None:
        template = Custom(json={"template": {"name": "x", "language": {"code": "en"}}})
        self.assertEqual(sent_body(template, context=self.LATE)["type"], "template")
        self.assertEqual(sent_body(peer="group:G", context=self.LATE)["type"], "text")

    def test_a_template_goes_in_the_place_of_a_text(self) -> None:
        plain = channel(window_template=WindowTemplate(name="come_back", language="de"))
        body = sent_body(whatsapp=plain, context=self.LATE)
        self.assertEqual(body["template"], {"name": "come_back", "language": {"code": "de"}})
        worded = channel(window_template=WindowTemplate(name="news", with_text=True))
        body = sent_body(Text(text="one\n two"), whatsapp=worded, context=self.LATE)
        [component] = body["template"]["components"]
        self.assertEqual(component["parameters"], [{"type": "text", "text": "one two"}])
        _, outcome = play(worded.send(outgoing(Text(text="x" * 1025), context=self.LATE)))
        self.assertIn("too long for the template 'news'", outcome.reason)

    def test_meta_s_own_word_is_the_last(self) -> None:
        clock = Clock()
        numbers = Numbers(NUMBERS)
        graph = GraphStandIn(clock, products=[numbers])
        clock.advance(NOW)
        numbers.people.heard(NUMBER, PERSON, NOW - 90_000)
        platform = served(graph, clock)
        [call], _ = play(channel().send(outgoing()), SUCCESS)
        _, outcome = play(channel().send(outgoing()), platform(call))
        self.assertEqual(outcome.reason.partition(" (131047)")[0], "window closed")


class LifeSignTests(SynchronousTestCase):
    def test_they_name_the_message_that_is_answered(self) -> None:
        context, address = Context(last_event="wamid.in"), outgoing().address
        for steps, typing in (
            (channel().show_typing(address, True, context), {"typing_indicator": {"type": "text"}}),
            (channel().show_seen(address, context), {}),
        ):
            [call], _ = play(steps, answered(400, {"error": {"code": 100}}))
            expected = {"messaging_product": "whatsapp", "status": "read", "message_id": "wamid.in", **typing}
            self.assertEqual((json.loads(call.body), call.effect), (expected, False))

    def test_where_there_is_nothing_to_name_nothing_is_shown(self) -> None:
        address = outgoing().address
        self.assertEqual(play(channel().show_typing(address, False, Context(last_event="m"))), ([], None))
        self.assertEqual(play(channel().show_typing(address, True, Context())), ([], None))


class SettingsTests(SynchronousTestCase):
    def test_it_is_found_by_its_name_and_has_its_abilities(self) -> None:
        self.assertIs(find_channel_class("whatsapp"), WhatsAppInput)
        for ability in (Channel, Live, Triggers):
            self.assertIsInstance(channel(), ability)

    def test_from_a_configuration(self) -> None:
        given = {
            "verify": "v",
            "secret": [SECRET, OLD_SECRET],
            "phone_numbers": NUMBERS,
            "graph_version": "v26.0",
        }
        given["window_template"] = {"name": "x", "with_text": "true"}
        made = msgspec.convert(
            given, WhatsAppSettings, strict=False, dec_hook=lambda kind, value: kind(value)
        )
        self.assertNotIn(SECRET, repr(made))
        shop = WhatsAppInput.from_settings("shop", made)
        shop.verify(signed(b"{}", OLD_SECRET), NOW)
        [call], _ = play(shop.send(outgoing()), SUCCESS)
        self.assertIn(f"/v26.0/{NUMBER}/messages", call.url)

    def test_each_mistake_names_channel_and_key_and_no_secret(self) -> None:
        for key, given in (
            ("verify", {"verify": None}),
            ("secret", {"secret": ""}),
            ("phone_numbers", {"phone_numbers": None}),
            ("phone_numbers", {"phone_numbers": {}}),
            ("phone_numbers", {"phone_numbers": ["hide-me"]}),
            ("phone_numbers[1]", {"phone_numbers": {"1": "hide-me\n" + "x"}}),
            ("phone_numbers", {"phone_numbers": {"": "hide-me"}}),
            ("graph_url", {"graph_url": "graph"}),
        ):
            line = str(self.assertRaises(ConfigError, channel, name="shop", **given))
            self.assertIn(f"channel 'shop': {key}", line)
            self.assertNotIn("hide-me", line)

    def test_repr_shows_numbers_and_no_secret(self) -> None:
        self.assertIn(NUMBER, repr(channel()))
        for hidden in (SECRET, "open sesame", *NUMBERS.values()):
            self.assertNotIn(hidden, repr(channel()))

    def test_debug_mode_checks_no_less(self) -> None:
        from klein_channels.channel import ChannelOptions

        forged = signed(b"{}", "another")
        shop = channel(options=ChannelOptions(debug_mode=True))
        self.assertRaises(VerificationError, shop.verify, forged, NOW)
