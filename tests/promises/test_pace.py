"""No account is sent from faster than its platform lets it, and no account's trouble is another's."""

from __future__ import annotations

import json

from twisted.internet.defer import Deferred
from twisted.web.server import NOT_DONE_YET

from klein_channels.model import Address
from klein_channels.policy import Policy
from klein_channels.testing.graph import Answer, refusal
from klein_channels.testing.graph_pace import Allowance
from klein_channels.testing.memory import PAGE, START, TOKEN, ServiceInMemory, messenger

from .case import PromiseCase

OTHER_PAGE, OTHER_TOKEN = "204512345678901", "other-page-token-of-tests"


class TwoPages(ServiceInMemory):
    """A service for two pages of one app."""

    def play(self, token, secret):
        graph = super().play(token, secret)
        graph.pages = type(graph.pages)({PAGE: token, OTHER_PAGE: OTHER_TOKEN})
        graph._products = (graph.pages, *graph._products[1:])
        return graph


class PaceCase(PromiseCase):
    def two_pages(self, **settings):
        channel = messenger(page_tokens={PAGE: TOKEN, OTHER_PAGE: OTHER_TOKEN})
        kit = TwoPages(settings.pop("agent", _silent), channel=channel, **settings)
        self.addCleanup(self.end, kit)
        return kit

    def tell(self, kit, people, page=PAGE, text="news"):
        for person in people:
            kit.service.send(Address(channel="facebook", account=page, peer=f"{person}"), text)
        kit.settle()

    def sent_by(self, kit, page):
        return [message for message in kit.graph.sent if message.page == page]

    def state(self, kit, page=PAGE):
        return next(s for s in kit.service._pipeline.deliveries.accounts() if s.account == page)


async def _silent(event):
    return None


class RateTests(PaceCase):
    def test_a_backlog_goes_out_without_a_throttle_answer_at_nearly_the_rate_allowed(self):
        kit = self.two_pages()
        kit.graph.allowance = Allowance()
        self.tell(kit, range(450))
        kit.advance(1.7)
        self.assertEqual((len(kit.graph.sent), kit.graph.allowance.throttled), (450, 0))

    def test_after_a_throttle_answer_nothing_is_asked_before_its_time(self):
        kit = self.two_pages(policy=Policy(poll_interval=5.0))
        kit.graph.allowance = Allowance(per_second=20, rests=300.0)
        self.tell(kit, range(40))
        kit.advance(299)
        self.assertEqual(kit.graph.allowance.early, 0)
        asked = kit.graph.requests
        kit.advance(300)
        self.assertGreater(kit.graph.requests, asked)

    def test_usage_headers_slow_a_page_and_stop_it_for_the_time_they_say(self):
        kit = self.two_pages()
        usage = {PAGE: [{"type": "messenger", "call_count": 100, "estimated_time_to_regain_access": 2}]}
        kit.graph.answers(Answer(headers={"X-Business-Use-Case-Usage": json.dumps(usage)}))
        self.tell(kit, ["first"])
        self.tell(kit, range(5))
        self.tell(kit, range(5), OTHER_PAGE)
        self.assertEqual((self.state(kit).state, self.state(kit).until), ("paused", START + 120))
        kit.advance(119)
        self.assertEqual((len(self.sent_by(kit, PAGE)), len(self.sent_by(kit, OTHER_PAGE))), (1, 5))
        kit.advance(2)
        self.assertEqual(len(self.sent_by(kit, PAGE)), 6)

    def test_a_header_that_cannot_be_read_changes_nothing(self):
        kit = self.two_pages()
        kit.graph.answers(*[Answer(headers={"X-App-Usage": "{call_count: 100"})] * 3)
        self.tell(kit, range(5))
        self.assertEqual((len(kit.graph.sent), self.state(kit).state), (5, "open"))


class OthersTests(PaceCase):
    def test_a_refused_token_is_an_alert_and_stops_its_page_alone(self):
        kit = self.two_pages()
        kit.graph.answers(*[refusal(190, "expired", 463)] * 5)
        self.tell(kit, range(5))
        self.tell(kit, range(5), OTHER_PAGE)
        state = self.state(kit)
        self.assertEqual((state.state, state.alert), ("paused", True))
        self.assertIn("token expired (190/463)", state.reason)
        self.assertFalse(self.state(kit, OTHER_PAGE).alert)
        self.assertEqual((len(self.sent_by(kit, PAGE)), len(self.sent_by(kit, OTHER_PAGE))), (0, 5))
        kit.advance(kit.policy.account_probe + 2)
        self.assertEqual((len(self.sent_by(kit, PAGE)), self.state(kit).alert), (5, False))

    def test_a_page_that_hangs_delays_no_other(self):
        kit = self.two_pages(policy=Policy(max_sends=9))
        asked = kit.graph.render_POST
        hangs = f"/{PAGE}/".encode()
        kit.graph.render_POST = lambda request: NOT_DONE_YET if hangs in request.path else asked(request)
        self.tell(kit, range(50))
        kit.advance(0.5)
        self.tell(kit, range(5), OTHER_PAGE)
        self.assertEqual(len(self.sent_by(kit, OTHER_PAGE)), 5)

    def test_an_outage_is_probed_and_keeps_all_that_waits_in_order(self):
        kit = self.two_pages(agent=_counting)
        kit.graph.answers(*[refusal(2, "unavailable", status=503)] * 8)
        for person in "12345":
            kit.message("hi", person=person)
        self.assertEqual((kit.graph.requests, self.state(kit).state), (5, "paused"))
        kit.advance(600)
        for person in "12345":
            self.assertEqual(kit.sent_to(person), ["1", "2"])
        self.assertEqual(set(kit.outbox()), {"sent"})

    def test_life_signs_go_first_when_a_page_is_slowed_down(self):
        kit = self.two_pages(agent=_slow)
        usage = json.dumps({"call_count": 95})
        kit.graph.answers(Answer(headers={"X-Page-Usage": usage}))
        self.tell(kit, ["first"])
        before = len(kit.graph.actions)
        kit.message("hi", person="7")
        kit.advance(2)
        self.assertEqual(len(kit.graph.actions), before)
        kit.advance(400)
        kit.message("hi", person="8")
        kit.advance(2)
        self.assertGreater(len(kit.graph.actions), before)


async def _counting(event):
    yield "1"
    yield "2"


async def _slow(event):
    return await Deferred()
