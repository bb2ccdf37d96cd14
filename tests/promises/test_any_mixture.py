"""The promises together, under any mixture of kills, full disks and misbehaving platforms."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import deferLater

from klein_channels.channel import ChannelOptions
from klein_channels.policy import Policy
from klein_channels.testing.graph import CLOSE, GARBAGE, NEVER, Answer, refusal
from klein_channels.testing.memory import conversation, messenger, webhook

from .case import PromiseCase

PEOPLE = ("1", "2")
ANSWERS = (
    Answer(delay=3.0),
    Answer(ending="never", shown=False),
    Answer(ending="close", shown=False),
    NEVER,
    CLOSE,
    GARBAGE,
    refusal(2, "temporarily unavailable", status=500),
    refusal(4, "too many calls"),
)
STEPS = st.one_of(
    st.tuples(st.just("message"), st.sampled_from(PEOPLE)),
    st.tuples(st.just("message"), st.sampled_from(PEOPLE)),
    st.tuples(st.just("again"), st.integers(0, 5)),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 2.0, 25.0, 40.0])),
    st.tuples(st.just("answer"), st.sampled_from(ANSWERS)),
    st.tuples(st.just("die"), st.sampled_from(["before", "after"])),
    st.tuples(st.just("kill"), st.none()),
    st.tuples(st.just("stop"), st.none()),
    st.tuples(st.just("full"), st.booleans()),
    st.tuples(st.just("refuse"), st.booleans()),
)


async def careful_agent(event, turn):
    """Says two things to each message, and none of them a second time."""
    said = {part.text for message in turn.already_said for part in message.parts}
    for number in (1, 2):
        text = f"{event.text}.{number}"
        if text not in said:
            yield text


class MixtureCase(PromiseCase):
    """What may happen in any order, and what has to be true in the end."""

    def live_through(self, steps):
        self.kit = self.serve(careful_agent, durable=True, policy=Policy(agent_tries=100))
        self.asked, self.bodies = [], []
        for step, argument in steps:
            getattr(self, step)(argument)
        self.heal()
        self.check()
        self.end(self.kit)

    # What may happen

    def message(self, person):
        number = len(self.bodies)
        item = self.kit.item(f"m{number}", person, message={"text": f"{number}"})
        self.bodies.append((person, webhook(item)))
        self.deliver(number)

    def again(self, number):
        if number < len(self.bodies):
            self.deliver(number)

    def deliver(self, number):
        self.asked.append((number, self.kit.ask(self.bodies[number][1])))
        self.wait(0.0)

    def wait(self, seconds):
        self.kit.advance(seconds)
        if not self.kit.process.alive:
            self.restart()

    def answer(self, answer):
        self.kit.graph.answers(answer)

    def die(self, moment):
        """The process dies at its next commit but one."""
        at = self.kit.disk.commits + 2
        self.kit.disk.kill_at = lambda number: moment if number == at else None

    def kill(self, _):
        self.kit.kill()
        self.restart()

    def stop(self, _):
        stopped = self.kit.stop()
        self.kit.advance(self.kit.policy.drain)
        if self.kit.process.alive:
            self.assertTrue(stopped.called, "it did not stop in time")
        self.restart()

    def full(self, full):
        self.kit.disk.full = full

    def refuse(self, refuses):
        self.kit.process.refuses = refuses

    def restart(self):
        self.kit.disk.kill_at = lambda number: None
        self.kit.disk.full = False  # without room it would not start
        self.kit.start()

    # What has to be true in the end

    def heal(self):
        kit = self.kit
        kit.disk.kill_at = lambda number: None
        kit.disk.full = kit.process.refuses = False
        kit.graph._script.clear()
        kit.advance(600)
        acknowledged = {number for number, asked in self.asked if asked.status == 200}
        for number in set(range(len(self.bodies))) - acknowledged:
            self.deliver(number)
        kit.advance(600)

    def check(self):
        kit = self.kit
        self.assertEqual(kit.turns(), ["done"] * len(self.bodies))
        self.assertLessEqual(set(kit.outbox()), {"sent", "withdrawn", "dead"})
        # Only an outcome that stayed unknown at the second try is given up.
        reasons = [error for (error,) in kit.rows("SELECT error FROM outbox WHERE state = 'dead'")]
        self.assertTrue(all("unknown, twice" in reason for reason in reasons), reasons)
        for person in PEOPLE:
            self.check_person(person)

    def check_person(self, person):
        kit = self.kit
        texts = kit.sent_to(person)
        key = conversation(person)
        rows = kit.rows(
            "SELECT json_extract(CAST(message AS TEXT), '$.parts[0].text'), repeated, state"
            f" FROM outbox WHERE conversation = '{key}' AND state != 'withdrawn'"
        )
        expected = [f"{n}.{part}" for n in self.accepted(key) for part in (1, 2)]
        self.assertEqual([text for text, _, _ in rows], expected)
        for text, repeated, state in rows:
            self.assertLessEqual(texts.count(text), 1 + repeated, text)
            if state == "sent":
                self.assertGreaterEqual(texts.count(text), 1, text)
        self.assertEqual(list(dict.fromkeys(texts)), [text for text in expected if text in texts])

    def accepted(self, key):
        """The numbers of a person's messages in the order of acceptance."""
        rows = self.kit.rows(
            "SELECT json_extract(CAST(event AS TEXT), '$.text') FROM inbox"
            f" WHERE conversation = '{key}' ORDER BY id"
        )
        return [text for (text,) in rows]


class MixtureTests(MixtureCase):
    @settings(deadline=None, derandomize=True, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(STEPS, min_size=3, max_size=25))
    def test_all_that_was_acknowledged_is_answered_in_order_and_repeats_are_marked(self, steps):
        self.live_through(steps)


class DoubleTextingCase(MixtureCase):
    """The same where messages become one turn, or put an end to one."""

    mode = "enqueue"

    async def slowly(self, event, turn):
        said = {part.text for message in turn.already_said for part in message.parts}
        for number in (1, 2):
            await deferLater(self.kit.clock, 0.7)
            text = f"{event.text}.{number}"
            if text not in said:
                yield text

    def serve(self, agent, **more):
        channel = messenger(options=ChannelOptions(double_texting=self.mode))
        return super().serve(self.slowly, channel=channel, **more)

    def check(self):
        kit = self.kit
        self.assertEqual(kit.rows("SELECT count(*) FROM inbox WHERE state = 'taken'"), [(len(self.bodies),)])
        ends = kit.rows(
            "SELECT turn.state, later.state FROM turn"
            " LEFT JOIN turn AS later ON later.id = turn.superseded_by"
        )
        self.assertLessEqual(set(ends), {("done", None), ("superseded", "done")})
        self.assertLessEqual(set(kit.outbox()), {"sent", "withdrawn", "dead"})
        for person in PEOPLE:
            self.check_person(person)

    def check_person(self, person):
        kit, key = self.kit, conversation(person)
        texts = kit.sent_to(person)
        rows = kit.rows(
            "SELECT json_extract(CAST(message AS TEXT), '$.parts[0].text'), repeated, turn.state FROM outbox"
            f" JOIN turn ON turn.id = outbox.turn WHERE outbox.conversation = '{key}'"
            " AND outbox.state != 'withdrawn'"
        )
        expected = [f"{words}.{part}" for words in self.answered(key) for part in (1, 2)]
        self.assertEqual([text for text, _, state in rows if state == "done"], expected)
        for text, repeated, _ in rows:
            self.assertLessEqual(texts.count(text), 1 + repeated, text)

    def answered(self, key):
        """The words of the turns that were not superseded; every message is in exactly one turn."""
        rows = self.kit.rows(
            "SELECT turn.id, turn.state, json_extract(CAST(event AS TEXT), '$.text') FROM inbox"
            f" JOIN turn ON turn.id = inbox.turn WHERE inbox.conversation = '{key}' ORDER BY inbox.id"
        )
        self.assertEqual([turn for turn, _, _ in rows], sorted(turn for turn, _, _ in rows))
        turns = dict.fromkeys(turn for turn, state, _ in rows if state == "done")
        return ["\n".join(text for turn, _, text in rows if turn == one) for one in turns]


class MergeMixtureTests(DoubleTextingCase):
    mode = "merge"

    @settings(deadline=None, derandomize=True, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(STEPS, min_size=3, max_size=25))
    def test_all_that_was_acknowledged_is_answered_in_turns_of_several(self, steps):
        self.live_through(steps)


class InterruptMixtureTests(DoubleTextingCase):
    mode = "interrupt"

    @settings(deadline=None, derandomize=True, max_examples=12, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(STEPS, min_size=3, max_size=25))
    def test_all_that_was_acknowledged_is_answered_or_made_way_for_what_came_later(self, steps):
        self.live_through(steps)
