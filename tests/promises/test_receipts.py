"""What a platform tells of a message afterwards decides: that it was shown, or that it failed after all."""

from __future__ import annotations

import json

import msgspec

from klein_channels.channel import ChannelOptions
from klein_channels.channels.whatsapp import WhatsAppInput
from klein_channels.model import WebhookRequest
from klein_channels.secret import Secret
from klein_channels.signatures import hub_signature
from klein_channels.testing.graph import NEVER, GraphStandIn
from klein_channels.testing.graph_numbers import Numbers
from klein_channels.testing.harness import ChannelInMemory, clock_of_tests

from .case import PromiseCase, echo_agent

NUMBER, PERSON, SECRET = "106540352242922", "16505551234", "an-app-secret-of-tests"


class ReceiptTests(PromiseCase):
    def begin(self, *script, **options):
        clock = clock_of_tests()
        self.graph = GraphStandIn(clock, products=[Numbers({NUMBER: "a-token-of-tests"})])
        self.graph.answers(*script)
        channel = WhatsAppInput(
            "v",
            SECRET,
            {NUMBER: "a-token-of-tests"},
            graph_url="http://127.0.0.1:9",
            options=ChannelOptions(**options),
        )
        kit = ChannelInMemory(echo_agent, channel, self.graph, clock=clock)
        self.addCleanup(self.end, kit)
        kit.trigger("text", "hi")
        return kit

    def status(self, kit, status, number=0, **more):
        item = {
            "id": "wamid.late",
            "status": status,
            "timestamp": str(int(kit.clock.seconds())),
            "recipient_id": PERSON,
            "biz_opaque_callback_data": self.graph.sent[number].body["biz_opaque_callback_data"],
            **more,
        }
        value = {"metadata": {"phone_number_id": NUMBER}, "statuses": [item]}
        change = {"field": "messages", "value": value}
        body = msgspec.json.encode(
            {"object": "whatsapp_business_account", "entry": [{"id": "1", "changes": [change]}]}
        )
        signature = hub_signature(body, Secret(SECRET)).encode()
        request = WebhookRequest(
            method="POST", path="", headers=((b"x-hub-signature-256", signature),), body=body
        )
        self.assertEqual(kit.receive(request), 200)

    def test_a_status_settles_an_unknown_outcome_before_anything_is_sent_again(self):
        kit = self.begin(msgspec.structs.replace(NEVER, shown=True))
        kit.advance(25)
        self.assertEqual(kit.outbox(), ["unknown"])
        self.status(kit, "sent")
        kit.advance(300)
        self.assertEqual((len(self.graph.sent), kit.outbox()), (1, ["sent"]))
        self.assertEqual(json.loads(kit.rows("SELECT mids FROM outbox")[0][0]), ["wamid.late"])

    def test_where_each_sender_is_a_conversation_it_does_so_too(self):
        kit = self.begin(msgspec.structs.replace(NEVER, shown=True), conversation="sender")
        kit.advance(25)
        self.status(kit, "sent")
        self.assertEqual(kit.outbox(), ["sent"])

    def test_a_status_that_is_faster_than_the_answer_counts(self):
        kit = self.begin(msgspec.structs.replace(NEVER, shown=True))
        self.status(kit, "delivered")
        kit.advance(300)
        self.assertEqual((len(self.graph.sent), kit.outbox()), (1, ["sent"]))

    def test_what_failed_after_it_was_taken_is_a_dead_letter_with_its_reason(self):
        kit = self.begin()
        self.assertEqual(kit.outbox(), ["sent"])
        self.status(kit, "failed", errors=[{"code": 131026, "title": "Message undeliverable"}])
        kit.advance(300)
        self.assertEqual(
            kit.rows("SELECT state, error FROM outbox"),
            [("dead", "undeliverable (131026): Message undeliverable")],
        )
        self.assertEqual(len(self.graph.sent), 1)

    def test_the_status_of_another_store_s_message_changes_nothing(self):
        kit = self.begin()
        self.status(kit, "failed", biz_opaque_callback_data=f"0123abcd-1 {PERSON}")
        self.assertEqual(kit.outbox(), ["sent"])
