"""Patience has numbers, and these are they."""

from __future__ import annotations

from klein_channels.errors import AgentUnreachable
from klein_channels.policy import Policy
from klein_channels.testing.graph import Answer, refusal
from klein_channels.testing.memory import START, messenger, webhook

from .case import HeldAgent, PromiseCase, echo_agent

BUSY = refusal(2, "temporarily unavailable", status=500)
DAY = 86_400.0


class DefaultTests(PromiseCase):
    def test_the_documented_numbers(self):
        policy = Policy()
        for name, value in {
            "max_body": 1 << 20,
            "header_deadline": 10.0,
            "body_deadline": 30.0,
            "max_connections_per_address": 1000,
            "max_waiting_events": 100_000,
            "agent_threads": 10,
            "agent_deadline": 60.0,
            "agent_tries": 3,
            "agent_patience": 120.0,
            "agent_unreachable_patience": 900.0,
            "stuck_thread_patience": 300.0,
            "max_unsent_replies": 20,
            "retry_first": 1.0,
            "retry_longest": 300.0,
            "retry_patience": DAY,
            "unknown_wait": 30.0,
            "drain": 10.0,
        }.items():
            self.assertEqual(getattr(policy, name), value, name)

    def test_the_platform_s_own_limits_go_before_them(self):
        capabilities = self.serve().channel.capabilities
        self.assertEqual((capabilities.max_body, capabilities.retry_patience), (4 << 20, DAY))


class SendTests(PromiseCase):
    def count(self, kit):
        """Note in `times` when the platform is asked to show something, from the start of the test."""
        self.times = []
        asked = kit.graph.render_POST

        def render(request):
            if b"sender_action" not in request.content.getvalue():
                self.times.append(kit.clock.seconds() - START)
            return asked(request)

        kit.graph.render_POST = render

    def test_waits_double_from_a_second_to_five_minutes(self):
        kit = self.serve(policy=Policy(poll_interval=1.0))
        self.count(kit)
        kit.graph.answers(*[BUSY] * 20)
        kit.message("hi")
        kit.advance(2000)
        waits = [round(b - a) for a, b in zip(self.times, self.times[1:], strict=False)]
        self.assertEqual(waits[:11], [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300])

    def test_after_a_day_it_is_a_dead_letter(self):
        kit = self.serve(policy=Policy(poll_interval=60.0))
        kit.graph.answers(*[BUSY] * 1000)
        kit.message("hi")
        kit.advance(DAY - 600)
        self.assertEqual(kit.outbox(), ["waiting"])
        kit.advance(1200)
        self.assertEqual(kit.outbox(), ["dead"])
        asked = kit.graph.requests
        kit.advance(3600)
        self.assertEqual(kit.graph.requests, asked)

    def test_the_platform_s_own_time_is_kept(self):
        kit = self.serve()
        self.count(kit)
        kit.graph.answers(Answer(status=503, body=b"", headers={"Retry-After": "90"}))
        kit.message("hi")
        kit.advance(120)
        self.assertEqual((self.times, kit.sent), ([0, 90], ["re: hi"]))

    def test_a_throttled_account_rests_as_a_whole_and_nothing_is_lost(self):
        kit = self.serve()
        kit.graph.answers(refusal(4, "too many calls"))
        kit.message("hi")
        asked = kit.graph.requests
        for person in "123":
            kit.message(f"from {person}", person=person)
        self.assertEqual((kit.graph.requests, kit.sent), (asked, []))
        kit.advance(70)
        self.assertEqual(sorted(kit.sent), ["re: from 1", "re: from 2", "re: from 3", "re: hi"])

    def test_a_refused_token_holds_the_account_until_it_is_right_again(self):
        kit = self.serve()
        kit.graph.answers(*[refusal(190, "token expired", 463)] * 3)
        kit.message("hi")
        kit.advance(4 * kit.policy.account_probe + 4)
        self.assertEqual((kit.sent, kit.outbox()), (["re: hi"], ["sent"]))

    def test_waits_survive_a_restart(self):
        kit = self.serve(durable=True)
        kit.graph.answers(*[BUSY] * 6)
        kit.message("hi")
        kit.advance(40)
        asked = kit.graph.requests
        kit.kill()
        kit.start()
        kit.advance(10)
        self.assertEqual(kit.graph.requests, asked)
        kit.advance(60)
        self.assertEqual(kit.sent, ["re: hi"])


class AgentTests(PromiseCase):
    def failing(self, *errors):
        """An agent that fails with each of `errors`, and then answers; and when it was asked."""
        left, asked = list(errors), []

        async def agent(event):
            asked.append(kit.clock.seconds() - START)
            if left:
                raise left.pop(0)
            return f"re: {event.text}"

        kit = self.serve(agent)
        kit.message("hi")
        return kit, asked

    def test_an_agent_that_raised_is_asked_three_times_within_two_minutes(self):
        kit, asked = self.failing(*[ValueError()] * 9)
        kit.advance(600)
        self.assertEqual(len(asked), 3)
        self.assertLess(asked[-1], 120)
        self.assertEqual((kit.sent, kit.turns()), ([kit.policy.apology], ["dead"]))
        letters = self.successResultOf(kit.store.dead_letters(None, 10))
        self.assertEqual([(each.kind, each.content[0]["text"]) for each in letters], [("turn", "hi")])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 3)

    def test_an_agent_that_recovers_in_time_answers(self):
        kit, asked = self.failing(ValueError(), ValueError())
        kit.advance(120)
        self.assertEqual((len(asked), kit.sent), (3, ["re: hi"]))
        self.flushLoggedErrors(ValueError)

    def test_a_dead_letter_lets_the_next_turn_pass(self):
        kit, _ = self.failing(*[ValueError()] * 3)
        kit.message("there")
        kit.advance(120)
        self.assertEqual(kit.sent, [kit.policy.apology, "re: there"])
        self.flushLoggedErrors(ValueError)

    def test_an_unreachable_agent_is_waited_for_up_to_a_quarter_of_an_hour(self):
        kit, asked = self.failing(*[AgentUnreachable("refused")] * 500)
        kit.advance(890)
        self.assertEqual((kit.sent, kit.turns()), ([], ["retry"]))
        self.assertGreater(len(asked), 10)
        kit.advance(120)
        self.assertEqual((kit.sent, kit.turns()), ([kit.policy.apology], ["dead"]))

    def test_an_agent_that_is_reachable_again_answers_in_order(self):
        kit, _ = self.failing(*[AgentUnreachable("refused")] * 8)
        kit.message("there")
        kit.advance(600)
        self.assertEqual(kit.sent, ["re: hi", "re: there"])

    def test_a_turn_that_ends_its_server_is_not_tried_for_ever(self):
        agent = HeldAgent()
        kit = self.serve(agent, durable=True)
        kit.message("poison")
        for _ in range(5):
            kit.kill()
            kit.start()
            kit.advance(5)
        self.assertEqual((len(agent.asked), kit.sent), (3, [kit.policy.apology]))

    def test_a_look_up_that_falls_over_is_no_end_of_its_conversation(self):
        channel = messenger()

        def resolve(event):
            yield from ()
            if event.text == "bad":
                raise ValueError
            return event

        channel.resolve = resolve
        kit = self.serve(channel=channel)
        kit.message("bad")
        kit.message("good")
        self.assertEqual(kit.sent, ["re: bad", "re: good"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_the_numbers_can_be_changed(self):
        async def agent(event):
            raise ValueError

        kit = self.serve(agent, policy=Policy(agent_tries=1, apology="Ouch."))
        kit.message("hi")
        self.assertEqual(kit.sent, ["Ouch."])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_an_apology_that_is_empty_is_not_made(self):
        async def agent(event):
            raise ValueError

        kit = self.serve(agent, policy=Policy(agent_tries=1, apology=""))
        kit.message("hi")
        self.assertEqual((kit.sent, kit.turns()), ([], ["dead"]))
        self.flushLoggedErrors(ValueError)


class InboxTests(PromiseCase):
    def test_a_full_inbox_answers_503_until_there_is_room(self):
        agent = HeldAgent()
        kit = self.serve(agent, policy=Policy(max_waiting_events=2, purge_interval=5.0))
        statuses = [kit.message(str(number)) for number in range(5)]
        self.assertEqual(statuses.count(200), len(kit.rows("SELECT 1 FROM inbox")))
        self.assertEqual(statuses[-1], 503)
        for _ in range(statuses.count(200)):
            agent.answer("ok")
            kit.settle()
        kit.advance(6)
        self.assertEqual(kit.message("again"), 200)

    def test_a_body_over_its_limit_is_refused_before_it_is_read(self):
        kit = self.serve()
        limit = kit.channel.capabilities.max_body
        asked = kit.raw(
            f"POST /app/webhook HTTP/1.1\r\nHost: a\r\nContent-Length: {limit + 1}\r\n\r\n".encode()
        )
        kit.settle()
        self.assertEqual(asked.status, 413)

    def test_a_body_of_exactly_its_limit_is_taken(self):
        kit = self.serve(echo_agent)
        limit = kit.channel.capabilities.max_body
        item = kit.item(message={"text": "hi"}, padding="")
        item["padding"] = " " * (limit - len(webhook(item)))
        padded = webhook(item)
        asked = kit.ask(padded)
        kit.settle()
        self.assertEqual((asked.status, kit.sent), (200, ["re: hi"]))
