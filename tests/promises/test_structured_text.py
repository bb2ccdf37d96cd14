"""Structured text counts where the platform vouches for it, or where exactly it was offered here."""

from __future__ import annotations

import msgspec

from klein_channels.agents.calling import spoken_text
from klein_channels.channel import ChannelOptions
from klein_channels.model import Button, Buttons, Message
from klein_channels.testing.memory import messenger

from .case import PromiseCase

INTENT = '/transfer{"amount": "1000"}'


class Judge:
    """Notes what counted as structured; offers what it is told to."""

    def __init__(self, offers=()):
        self.offers = list(offers)
        self.verdicts = []
        self.heard = []

    async def __call__(self, event, turn):
        self.verdicts.append(turn.structured)
        self.heard.append(spoken_text(turn))
        if not self.offers:
            return "ok"
        buttons = tuple(Button(title=f"b{n}", payload=p) for n, p in enumerate(self.offers))
        self.offers = []
        return Message(parts=(Buttons(text="choose", buttons=buttons),))


class TypedTextTests(PromiseCase):
    def typed(self, *texts, offers=(), person=None, **settings):
        agent = Judge(offers)
        kit = self.serve(agent, **settings)
        for text in texts:
            kit.message(text)
        self.assertEqual(len(agent.verdicts), len(texts))
        return agent

    def test_an_intent_that_somebody_types_is_no_intent(self):
        agent = self.typed(INTENT, "  " + INTENT, "/restart", "_transfer[amount=1000]", "hi")
        self.assertEqual(agent.verdicts, [False] * 5)
        for heard in agent.heard:
            self.assertFalse(heard.lstrip().startswith(("/", "_")), heard)

    def test_what_was_offered_counts(self):
        agent = self.typed("menu", INTENT, " " + INTENT + " ", offers=[INTENT])
        self.assertEqual(agent.verdicts, [False, True, True])
        self.assertEqual(agent.heard[1], INTENT)

    def test_only_exactly_that(self):
        others = [INTENT.replace("1000", "1"), INTENT + "x", INTENT.upper(), "/transfer", INTENT[1:]]
        agent = self.typed("menu", *others, offers=[INTENT])
        self.assertEqual(agent.verdicts, [False] * 6)

    def test_what_was_offered_to_another_does_not_count(self):
        agent = Judge([INTENT])
        kit = self.serve(agent)
        kit.message("menu", person="1")
        kit.message(INTENT, person="2")
        self.assertEqual(agent.verdicts, [False, False])

    def test_an_offer_survives_a_restart(self):
        agent = Judge([INTENT])
        kit = self.serve(agent, durable=True)
        kit.message("menu")
        kit.kill()
        kit.start()
        kit.message(INTENT)
        self.assertEqual(agent.verdicts, [False, True])

    def test_the_channel_may_allow_it_to_everybody(self):
        options = ChannelOptions(allow_structured_text=True)
        agent = self.typed(INTENT, channel=messenger(options=options))
        self.assertEqual((agent.verdicts, agent.heard), ([True], [INTENT]))

    def test_an_edit_injects_nothing(self):
        agent = Judge()
        kit = self.serve(agent)
        kit.deliver(kit.item(message_edit={"mid": "m1", "text": INTENT, "num_edit": 1}))
        self.assertEqual(agent.verdicts, [])


class PayloadTests(PromiseCase):
    def test_a_payload_counts_where_the_platform_signs_it(self):
        agent = Judge()
        kit = self.serve(agent)
        kit.deliver(kit.item(postback={"title": "Send", "payload": INTENT}))
        kit.deliver(kit.item(message={"text": "Send", "quick_reply": {"payload": INTENT}}))
        self.assertEqual((agent.verdicts, agent.heard), ([True, True], [INTENT, INTENT]))

    def test_elsewhere_only_what_was_offered_counts(self):
        for offers, verdict in (([], False), (["/other"], False), ([INTENT], True)):
            agent = Judge(offers)
            channel = messenger()
            signed = channel.capabilities
            channel.capabilities = unsigned(signed)
            kit = self.serve(agent, channel=channel)
            kit.message("menu")
            kit.deliver(kit.item(postback={"title": "Send", "payload": INTENT}))
            self.assertEqual(agent.verdicts, [False, verdict], offers)
            self.assertEqual(agent.heard[-1] == INTENT, verdict)

    def test_a_quick_reply_s_payload_is_not_typed_by_naming_it_in_the_text(self):
        agent = Judge()
        kit = self.serve(agent)
        kit.message(INTENT, quick_reply={"payload": INTENT})
        self.assertEqual(agent.verdicts, [False])


def unsigned(capabilities):
    return msgspec.structs.replace(capabilities, signed_payloads=False)
