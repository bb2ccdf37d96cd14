"""The stories agent: it answers as its directory says, and nothing a person types breaks it."""

import json
import random
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.agents.stories import StoriesAgent
from klein_channels.errors import AgentReplyError, StartError
from klein_channels.model import Address, Handoff, MessageReceived, Postback, Remember, Turn

EXAMPLE = Path(__file__).parent.parent / "examples/babi/models/policy/current"
HERE = Address(channel="test", account="us", peer="they")

DOMAIN = """\
intents: [greet, ask, yes, no, bye]
entities: [name, mood, tags]
slots:
  name: {type: text}
  mood: {type: categorical, values: [good, bad]}
  tags: {type: list}
  note: {type: unfeaturized}
responses:
  utter_hello: [{text: "Hello {name}"}]
  utter_again: [Hello again]
  utter_first: [First]
  utter_second: [Second]
  utter_good: [Good]
  utter_bad: [Bad]
  utter_bye: [Bye]
  utter_default: ["What?"]
actions: [action_look]
"""


class StoriesTestCase(SynchronousTestCase):
    """Writes directories and talks to the agents in them."""

    def directory(self, stories, domain=DOMAIN, max_history=3):
        path = Path(self.mktemp())
        path.mkdir()
        (path / "domain.yml").write_text(domain, encoding="utf-8")
        (path / "stories.md").write_text(stories, encoding="utf-8")
        (path / "policy_metadata.json").write_text(json.dumps({"max_history": max_history}))
        return path

    def agent(self, stories, domain=DOMAIN, max_history=3, **options):
        with Logged() as self.logged:
            return StoriesAgent.load(self.directory(stories, domain, max_history), **options)

    def talk(self, agent, *texts, **options):
        """The texts of the answers, one list for each of `texts`; the state is left in `self.state`."""
        answers, self.state = [], None
        for text in texts:
            replies, state = agent.respond(text, self.state, **options)
            self.state = json.loads(json.dumps(state))
            self.assertEqual(self.state, state)
            answers.append([reply["text"] for reply in replies])
        return answers


class Logged:
    """Collects the warnings that are logged within a block."""

    def __enter__(self):
        self.events = []
        globalLogPublisher.addObserver(self.events.append)
        return self.events

    def __exit__(self, *_):
        globalLogPublisher.removeObserver(self.events.append)


class ExampleTests(StoriesTestCase):
    def setUp(self):
        with Logged() as logged:
            self.example = StoriesAgent.load(EXAMPLE)
        self.assertEqual([event for event in logged if event["log_level"].name == "warn"], [])

    def test_buttons_alone_lead_from_a_greeting_to_a_booked_table(self):
        replies, state = self.example.respond("good evening", None)
        pressed = []
        for _ in range(7):
            payload = replies[-1]["buttons"][0]["payload"]
            pressed.append(payload)
            replies, state = self.example.respond(payload, state)
        self.assertEqual(pressed[0], "/greet")
        self.assertEqual(pressed[-2], "/affirm")
        booked = [r["text"] for r in self.example.respond("/affirm", self.before(pressed[:-2]))[0]]
        self.assertIn("italian", booked[0])
        self.assertIn("Lisbon", booked[0])
        self.assertIn("booked", booked[0])
        self.assertNotIn("{", "".join(booked))

    def before(self, pressed):
        state = None
        for payload in pressed:
            _, state = self.example.respond(payload, state)
        return state

    def test_every_button_of_every_question_is_understood(self):
        fallback = {"/greet", "/restart", "/goodbye"}
        self.offers, waiting, seen = {}, [None], set()
        while waiting:
            state = waiting.pop()
            offered = self.example.respond("plain words", state)[0][0]["buttons"]
            self.assertEqual({button["payload"] for button in offered}, fallback)
            for payload in self.offered_in(state) | fallback:
                replies, after = self.example.respond(payload, state)
                self.assertNotIn("only understand", replies[0]["text"], (payload, state))
                key = json.dumps(after["moments"][-1][1:4] if after["moments"] else [])
                if key not in seen:
                    seen.add(key)
                    self.offers[json.dumps(after)] = replies
                    waiting.append(after)
        self.assertGreater(len(seen), 8)

    def offered_in(self, state):
        replies = self.offers.get(json.dumps(state), [])
        return {button["payload"] for reply in replies for button in reply.get("buttons", ())}

    def test_plain_words_in_between_change_nothing(self):
        straight = self.talk(self.example, "/greet", '/inform{"cuisine":"thai"}', seed="s")
        state = self.state
        detour = self.talk(self.example, "/greet", "some thai food", '/inform{"cuisine":"thai"}', seed="s")
        self.assertEqual(detour[-1], straight[-1])
        self.assertEqual(self.state, state)

    def test_affirming_out_of_the_blue_books_nothing(self):
        for texts in (["/affirm"], ["/greet", "/affirm"], ['/inform{"cuisine":"thai"}', "/affirm"]):
            self.assertIn("only understand", self.talk(self.example, *texts)[-1][0])

    def test_wordings_are_stable_for_a_seed_and_vary_over_seeds(self):
        said = {n: self.example.respond("/greet", None, seed=f"c/{n}")[0] for n in range(20)}
        again = StoriesAgent.load(EXAMPLE)
        for n, replies in said.items():
            self.assertEqual(again.respond("/greet", None, seed=f"c/{n}")[0], replies)
        self.assertEqual(len({replies[0]["text"] for replies in said.values()}), 2)

    def test_an_injected_random_chooses_where_there_is_no_seed(self):
        def greetings(seed):
            agent = StoriesAgent.load(EXAMPLE, random=random.Random(seed))
            return [agent.respond("/greet", None)[0][0]["text"] for _ in range(20)]

        self.assertEqual(greetings(1), greetings(1))
        self.assertEqual(len(set(greetings(1))), 2)

    def test_a_hundred_turns_keep_the_state_small(self):
        state, sizes = None, []
        round_trip = (
            "/greet",
            '/inform{"cuisine":"thai"}',
            f"/inform{json.dumps({'location': 'x' * 50_000})}",
            '/inform{"people":"two"}',
            f"/inform{json.dumps({'price': [['deep'] * 1000] * 5})}",
            "/" + "y" * 50_000,
            f"/greet{json.dumps({'unknown': 'z' * 50_000})}",
            "/affirm",
        )
        for n in range(100):
            _, state = self.example.respond(round_trip[n % len(round_trip)], state)
            sizes.append(len(json.dumps(state)))
        self.assertLess(max(sizes), 3000)
        self.assertLessEqual(max(sizes[50:]), max(sizes[:50]) + 20)


class RecallTests(StoriesTestCase):
    STORIES = """
## once
* greet
 - utter_first
* ask
 - utter_second
* ask
 - utter_good
## asked at once
* ask
 - utter_bad
"""

    def test_the_same_words_are_answered_by_what_went_before(self):
        agent = self.agent(self.STORIES)
        self.assertEqual(self.talk(agent, "/ask"), [["Bad"]])
        self.assertEqual(self.talk(agent, "/greet", "/ask", "/ask"), [["First"], ["Second"], ["Good"]])

    def test_a_slot_makes_a_difference_and_an_unfeaturized_one_does_not(self):
        stories = """
## good
* greet{"mood": "good"}
 - utter_good
## bad
* greet{"mood": "bad"}
 - utter_bad
"""
        agent = self.agent(stories)
        self.assertEqual(self.talk(agent, '/greet{"mood": "good"}'), [["Good"]])
        self.assertEqual(self.talk(agent, '/greet{"mood": "bad"}'), [["Bad"]])
        self.assertEqual(self.talk(agent, '/greet{"mood": "so so"}'), [["What?"]])

    def test_a_story_begins_anywhere_as_if_the_past_were_forgotten(self):
        stories = """
## one
* greet{"name": "Ada"}
 - utter_hello
* ask
 - utter_first
## two
* bye
 - utter_bye
* yes
 - utter_second
"""
        answers = self.talk(self.agent(stories), '/greet{"name": "Ada"}', "/ask", "/bye", "/yes")
        self.assertEqual(answers, [["Hello Ada"], ["First"], ["Bye"], ["Second"]])

    ANOTHER_WAY = """
## another way to the question
* no
 - utter_again
* ask
 - utter_second
"""

    def test_a_shorter_history_counts_where_its_stories_agree(self):
        stories = "## one\n* greet\n - utter_first\n* ask\n - utter_second\n* yes\n - utter_good\n"
        agent = self.agent(stories + self.ANOTHER_WAY, max_history=4)
        self.assertEqual(self.talk(agent, "/no", "/ask", "/yes"), [["Hello again"], ["Second"], ["Good"]])

    def test_a_shorter_history_does_not_count_where_they_disagree(self):
        stories = "## one\n* greet\n - utter_first\n* ask\n - utter_second\n* yes\n - utter_good\n"
        stories += "## two\n* bye\n - utter_first\n* ask\n - utter_second\n* yes\n - utter_bad\n"
        agent = self.agent(stories + self.ANOTHER_WAY, max_history=4)
        self.assertEqual(self.talk(agent, "/greet", "/ask", "/yes")[-1], ["Good"])
        self.assertEqual(self.talk(agent, "/bye", "/ask", "/yes")[-1], ["Bad"])
        self.assertEqual(self.talk(agent, "/no", "/ask", "/yes")[-1], ["What?"])

    def test_one_intent_without_its_context_is_not_recalled(self):
        self.assertEqual(
            self.talk(self.agent("## s\n* greet\n - utter_first\n* yes\n - utter_good\n"), "/yes"),
            [["What?"]],
        )

    def test_alternatives(self):
        stories = """
## s
* greet OR ask{"name": "this OR that"} OR _bye[mood=good]
 - utter_first
* yes OR no
 - utter_second
"""
        agent = self.agent(stories)
        for opening in ("/greet", '/ask{"name": "x"}', "_bye[mood=good]"):
            for closing in ("/yes", "/no"):
                self.assertEqual(self.talk(agent, opening, closing), [["First"], ["Second"]])
        self.assertEqual(self.talk(agent, "/ask"), [["What?"]])

    def test_checkpoints_join_stories_in_circles_and_by_slots(self):
        stories = """
## start
* greet{"mood": "good"} OR greet{"mood": "bad"}
 - utter_first
> met
## in good mood
> met{"mood": "good"}
* ask
 - utter_good
> met
## in bad mood
> met{"mood": "bad"}
* ask
 - utter_bad
> met
## end
> met
* bye
 - utter_bye
"""
        agent = self.agent(stories)
        good = self.talk(agent, '/greet{"mood": "good"}', *["/ask"] * 5, "/bye")
        self.assertEqual(good, [["First"], *[["Good"]] * 5, ["Bye"]])
        self.assertEqual(
            self.talk(agent, '/greet{"mood": "bad"}', "/ask", "/bye"), [["First"], ["Bad"], ["Bye"]]
        )

    def test_a_checkpoint_within_a_story_is_a_way_in(self):
        stories = "## a\n* greet\n - utter_first\n> mid\n* yes\n - utter_good\n"
        stories += "## b\n* ask\n - utter_second\n> mid\n"
        self.assertEqual(self.talk(self.agent(stories), "/ask", "/yes"), [["Second"], ["Good"]])
        self.assertEqual(self.talk(self.agent(stories), "/yes"), [["What?"]])

    def test_comments_are_no_stories(self):
        stories = "<!-- ## x\n* greet\n - utter_bad -->\n"
        stories += "## s <!-- of old -->\n* greet <!-- hi -->\n - utter_first\n"
        self.assertEqual(self.talk(self.agent(stories), "/greet"), [["First"]])

    def test_contradictions_are_told_and_the_first_story_counts(self):
        agent = self.agent("## one\n* greet\n - utter_first\n## two\n* greet\n - utter_second\n")
        self.assertEqual(self.talk(agent, "/greet"), [["First"]])
        self.assertIn("utter_first in 'one' (line 3), utter_second in 'two' (line 6)", warnings(self.logged))

    def test_ten_actions_are_the_most(self):
        stories = "## s\n* greet\n" + " - utter_first\n" * 40
        with Logged() as logged:
            self.assertEqual(self.talk(self.agent(stories), "/greet"), [["First"] * 10])
        self.assertIn("stopped after 10 actions", warnings(logged))
        self.assertEqual(len(self.state["moments"]), 3)

    def test_many_alternatives_do_not_explode(self):
        # 4 to the power of 30 ways, which come together again.
        stories = "## s\n" + "* greet OR ask OR yes OR no\n - utter_first\n" * 30
        self.assertEqual(self.talk(self.agent(stories), *["/yes"] * 30)[-1], ["First"])


def warnings(logged):
    return "\n".join(
        event["log_format"].format(**event) for event in logged if event["log_level"].name == "warn"
    )


class SlotTests(StoriesTestCase):
    STORY = '## s\n* greet{"name": "Ada"}\n - utter_hello\n'

    def hello(self, name, domain=DOMAIN):
        return self.talk(self.agent(self.STORY, domain), f"/greet{json.dumps({'name': name})}")[0][0]

    def test_values_are_shown_and_never_evaluated(self):
        for hostile in (
            "{__class__}",
            "{0.x}",
            "{name}",
            "{note}",
            "%s",
            "{name.__init__.__globals__}",
            "{",
            "}{",
        ):
            self.assertEqual(self.hello(hostile), f"Hello {hostile}")

    def test_only_names_of_slots_are_filled_in(self):
        for text in (
            "{name.__class__}",
            "{name[0]}",
            "{0}",
            "{}",
            "{note}",
            "{name!r}",
            "{ name }",
            "{self}",
        ):
            domain = DOMAIN.replace("Hello {name}", text)
            self.assertEqual(self.hello("Ada", domain), text)

    def test_a_value_does_not_break_out_of_a_payload(self):
        buttons = """[{text: "{name}?", buttons: [{title: "{name}", payload: '/greet{"name":"{name}"}'}]}]"""
        agent = self.agent(self.STORY, DOMAIN.replace('[{text: "Hello {name}"}]', buttons))
        hostile = '","mood":"good'
        replies, _ = agent.respond(f"/greet{json.dumps({'name': hostile})}", None)
        self.assertEqual(replies[0]["buttons"][0]["title"], hostile)
        payload = replies[0]["buttons"][0]["payload"]
        self.assertEqual(json.loads(payload.removeprefix("/greet")), {"name": hostile})

    def test_variations_keep_all_that_they_hold(self):
        variation = {
            "text": "yes",
            "image": "https://x/{name}.png",
            "buttons": [{"title": "5", "payload": "/yes"}, {"title": "open", "url": "https://x"}],
            "quick_replies": [{"title": "on", "payload": "/no"}],
            "custom": {"n": 5, "day": "2020-01-01", "deep": ["{name}", True, None]},
        }
        agent = self.agent(self.STORY, DOMAIN.replace('[{text: "Hello {name}"}]', json.dumps([variation])))
        replies, _ = agent.respond('/greet{"name": "Ada"}', None)
        variation["image"] = "https://x/Ada.png"
        variation["custom"]["deep"][0] = "Ada"
        self.assertEqual(replies, [variation])

    def test_custom_json_keeps_to_the_types_of_json(self):
        domain = DOMAIN.replace("[First]", "[{custom: {day: 2020-01-01, n: 1.5, on: true}}]")
        replies, _ = self.agent("## s\n* greet\n - utter_first\n", domain).respond("/greet", None)
        self.assertEqual(replies[0]["custom"], {"day": "2020-01-01", "n": 1.5, "on": True})

    def test_entities_that_the_domain_does_not_name_make_no_difference(self):
        text = '/greet{"name": "Ada", "unheard": "of"}'
        self.assertEqual(self.talk(self.agent(self.STORY), text), [["Hello Ada"]])

    def test_yaml_does_not_turn_words_into_other_things(self):
        domain = (
            DOMAIN.replace("[Hello again]", "[yes]")
            .replace("[First]", "[12:30]")
            .replace("[Second]", "[2020-01-01]")
        )
        stories = "## s\n* greet\n - utter_again\n - utter_first\n - utter_second\n"
        self.assertEqual(self.talk(self.agent(stories, domain), "/greet"), [["yes", "12:30", "2020-01-01"]])

    def test_templates_are_the_responses_of_old(self):
        agent = self.agent(self.STORY, DOMAIN.replace("responses:", "templates:"))
        self.assertEqual(self.talk(agent, "_greet[name=Ada]"), [["Hello Ada"]])

    def test_entities_fill_slots_unless_the_domain_says_no(self):
        self.talk(self.agent(self.STORY), '/greet{"name": "Ada", "tags": ["a", "b"]}')
        self.talk(self.agent('## s\n* greet{"tags": ["a"]}\n - utter_first\n'), '/greet{"tags": ["a", "b"]}')
        self.assertEqual(self.state["slots"], {"tags": ["a", "b"]})
        self.talk(
            self.agent(self.STORY, DOMAIN + "config: {store_entities_as_slots: false}\n"),
            '/greet{"name": "Ada"}',
        )
        self.assertEqual(self.state["slots"], {})


class ActionTests(StoriesTestCase):
    STORIES = """
## found
* ask
 - action_look
 - slot{"mood": "good"}
 - utter_good
## not found
* ask
 - action_look
 - slot{"mood": "bad"}
 - utter_bad
"""

    def test_an_action_that_nobody_passed_is_skipped_with_one_warning(self):
        agent = self.agent('## s\n* ask\n - action_look\n - slot{"name": "Ada"}\n - utter_hello\n')
        self.assertEqual(self.talk(agent, "/ask"), [["Hello Ada"]])
        told = [event for event in self.logged if event["log_level"].name == "warn"]
        self.assertEqual(len(told), 1)
        self.assertIn("action_look", warnings(told))

    def test_a_passed_action_answers_and_sets_slots(self):
        def look(tracker):
            tracker.set_slot("mood", tracker.latest_message["text"].removeprefix("/ask") or "good")
            return ["looking", {"text": "still"}, None]

        agent = self.agent(self.STORIES, actions={"action_look": look})
        self.assertEqual(warnings(self.logged), "")
        self.assertEqual(self.talk(agent, "/ask"), [["looking", "still", "Good"]])

    def test_what_it_sets_decides_what_comes_next(self):
        agent = self.agent(
            self.STORIES, actions={"action_look": lambda tracker: tracker.set_slot("mood", "bad")}
        )
        self.assertEqual(self.talk(agent, "/ask"), [["Bad"]])

    def test_what_an_action_sets_goes_before_what_the_story_says(self):
        stories = '## s\n* ask\n - action_look\n - slot{"name": "Ada"}\n - utter_hello\n'
        agent = self.agent(stories, actions={"action_look": lambda tracker: tracker.set_slot("name", "Bob")})
        self.assertEqual(self.talk(agent, "/ask"), [["Hello Bob"]])

    def test_a_skipped_action_that_ends_now_so_now_so_sets_nothing(self):
        self.assertEqual(self.talk(self.agent(self.STORIES), "/ask"), [[]])

    def test_controls_pass_through(self):
        agent = self.agent(
            "## s\n* ask\n - action_look\n", actions={"action_look": lambda _: Handoff(to="desk")}
        )
        self.assertEqual(agent.respond("/ask", None)[0], [Handoff(to="desk")])

    def test_what_is_no_reply_is_refused(self):
        async def later(_tracker):
            return "never"

        for action in (later, lambda _: Deferred(), lambda _: 5):
            agent = self.agent("## s\n* ask\n - action_look\n", actions={"action_look": action})
            self.assertRaises(AgentReplyError, agent.respond, "/ask", None)

    def test_a_fallback_action_goes_before_utter_default(self):
        agent = self.agent(
            "## s\n* ask\n - utter_first\n", actions={"action_default_fallback": lambda _: "a human?"}
        )
        self.assertEqual(self.talk(agent, "what"), [["a human?"]])

    def test_restart_resets(self):
        agent = self.agent('## s\n* greet{"name": "Ada"}\n - utter_hello\n* ask\n - utter_first\n')
        answers = self.talk(agent, '/greet{"name": "Ada"}', "/restart", "/ask")
        self.assertEqual(answers[1:], [[], ["What?"]])
        self.assertEqual(self.state, agent.respond("x", None)[1])

    def test_a_paused_conversation_hears_only_restart(self):
        agent = self.agent("## s\n* bye\n - utter_bye\n - pause\n## t\n* greet\n - utter_first\n")
        answers = self.talk(agent, "/bye", "/greet", "what", "/restart", "/greet")
        self.assertEqual(answers, [["Bye"], [], [], [], ["First"]])

    def test_reset_slots(self):
        agent = self.agent('## s\n* greet{"name": "Ada"}\n - utter_hello\n - reset_slots\n')
        self.talk(agent, '/greet{"name": "Ada"}')
        self.assertEqual(self.state["slots"]["name"], None)


class StateTests(StoriesTestCase):
    def setUp(self):
        self.fresh = self.agent("## s\n* greet\n - utter_first\n* ask\n - utter_second\n")

    def test_foreign_and_corrupt_states_are_none(self):
        _, state = self.fresh.respond("/greet", None)
        corrupt = [
            5, "x", [], {}, [state], {"agent": "other"}, {**state, "step": "1"}, {**state, "extra": 1},
            {**state, "moments": [[1]]}, {**state, "slots": None}, {**state, "agent": None}, object(), {1: 2},
        ]  # fmt: skip
        for value in corrupt:
            self.assertEqual(self.fresh.respond("/ask", value), self.fresh.respond("/ask", None), value)
        self.assertNotEqual(self.fresh.respond("/ask", state), self.fresh.respond("/ask", None))

    def test_a_state_of_another_domain_keeps_to_this_one(self):
        _, state = self.fresh.respond("/greet", None)
        foreign = {
            **state,
            "slots": {"gone": "x" * 10_000},
            "set_at": {"gone": 0},
            "moments": state["moments"] * 1000,
        }
        for text, answer in (("/greet", "First"), ("what", "What?")):
            replies, after = self.fresh.respond(text, foreign)
            self.assertEqual(replies, [{"text": answer}])
            self.assertLess(len(json.dumps(after)), 500)

    @settings(deadline=None, derandomize=True, max_examples=100)
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        ),
        st.text(),
    )
    def test_no_state_and_no_text_raise(self, state, text):
        replies, after = self.fresh.respond(text, state)
        self.assertEqual(self.fresh.respond(text, None), (replies, after))


class AnswerTests(StoriesTestCase):
    def setUp(self):
        self.agent_ = self.agent("## s\n* greet\n - utter_first\n - utter_second\n* ask\n - utter_good\n")
        self.said = []

    def answer(self, event, **fields):
        turn = Turn(id=fields.pop("id", 1), conversation=str(HERE), events=(event,), **fields)

        def say(reply):
            self.said.append(reply)
            return succeed(None)

        return self.successResultOf(self.agent_.answer(turn, say))

    def postback(self, payload):
        return Postback(id="e", address=HERE, payload=payload, title="Press me")

    def message(self, text, payload=None):
        return MessageReceived(id="e", address=HERE, text=text, payload=payload)

    def test_replies_are_said_in_order_and_the_state_last(self):
        self.answer(self.postback("/greet"), structured=True)
        self.assertEqual(self.said[:2], [{"text": "First"}, {"text": "Second"}])
        self.assertIsInstance(self.said[2], Remember)
        self.assertEqual(len(self.said), 3)

    def test_the_remembered_state_goes_on(self):
        self.answer(self.postback("/greet"), structured=True)
        state = json.loads(json.dumps(self.said.pop().state))
        self.answer(self.postback("/ask"), structured=True, state=state, id=2)
        self.assertEqual(self.said[2], {"text": "Good"})

    def test_the_payload_of_a_quick_reply_counts_not_its_title(self):
        self.answer(self.message("Hello", payload="/greet"), structured=True)
        self.assertEqual(self.said[0], {"text": "First"})

    def test_typed_text_injects_no_intent(self):
        for text in ("/greet", " _greet", "greet{}", "/restart"):
            self.said.clear()
            self.answer(self.message(text), structured=False)
            self.assertEqual(self.said[:-1], [{"text": "What?"}], text)
        self.said.clear()
        self.answer(self.postback("/greet"), structured=False)
        self.assertEqual(self.said[:-1], [{"text": "What?"}])

    def test_other_interpreters_are_not_asked_about_injected_text(self):
        class Clever:
            def parse(self, text):
                return {"text": text, "intent": {"name": "greet"}, "entities": [{"entity": "name"}, None, 5]}

        self.agent_ = self.agent("## s\n* greet\n - utter_first\n", interpreter=Clever())
        self.answer(self.message("/restart"), structured=False)
        self.assertEqual(self.said[0], {"text": "What?"})
        self.said.clear()
        self.agent_.respond("hello there", None, structured=False)

    def test_careless_interpreters_do_no_harm(self):
        for answer in (
            {},
            {"intent": None},
            {"intent": "greet"},
            {"intent": {"name": 5}, "entities": {"a": 1}},
        ):
            interpreter = type("Careless", (), {"parse": lambda self, text, answer=answer: answer})()
            agent = self.agent("## s\n* greet\n - utter_first\n", interpreter=interpreter)
            expected = "First" if answer.get("intent") == "greet" else "What?"
            self.assertEqual(agent.respond("x", None)[0], [{"text": expected}])

    def test_each_reply_waits_for_the_one_before(self):
        waiting = []
        turn = Turn(id=1, conversation="c", events=(self.postback("/greet"),), structured=True)

        def say(reply):
            waiting.append((reply, Deferred()))
            return waiting[-1][1]

        done = self.agent_.answer(turn, say)
        self.assertEqual(len(waiting), 1)
        waiting[0][1].callback(None)
        self.assertEqual(len(waiting), 2)
        waiting[1][1].errback(RuntimeError("gone"))
        self.failureResultOf(done, RuntimeError)
        self.assertEqual(len(waiting), 2)

    def test_a_retried_turn_says_the_same(self):
        self.agent_ = StoriesAgent.load(EXAMPLE)
        for id_ in range(10):
            self.said.clear()
            self.answer(self.postback("/greet"), structured=True, id=id_)
            self.answer(self.postback("/greet"), structured=True, id=id_, attempt=2)
            self.assertEqual(self.said[:2], self.said[2:])

    def test_events_without_words_are_answered(self):
        self.answer(self.message(""), structured=True)
        self.assertEqual(self.said[0], {"text": "What?"})


class BrokenDirectoryTests(StoriesTestCase):
    def refused(self, path):
        return str(self.assertRaises(StartError, StoriesAgent.load, path))

    def test_no_directory(self):
        line = self.refused("no/such/agent")
        self.assertTrue(
            line.startswith("no agent at no/such/agent — run `klein-channels init --example babi`")
        )
        self.assertNotIn("\n", line)

    def test_missing_files_are_named(self):
        for name in ("domain.yml", "stories.md"):
            path = self.directory("## s\n* greet\n - utter_first\n")
            (path / name).unlink()
            self.assertIn(f"{path / name} is missing", self.refused(path))

    def test_broken_lines_of_stories(self):
        start = "## s\n* greet\n"
        cases = [
            (start + "hello\n", 3, "begins with"),
            ("\n* greet\n", 2, "no story has begun"),
            (start + " -\n", 3, "nothing stands behind -"),
            (start + " - utter_fist\n", 3, "no action 'utter_fist' (did you mean 'utter_first'?)"),
            ("## s\n* gret\n - utter_first\n", 2, "no intent 'gret' (did you mean 'greet'?)"),
            ('## s\n* greet{"nam": 1}\n', 2, "no entity 'nam' (did you mean 'name'?)"),
            ('## s\n* greet{"name": }\n', 2, "not JSON"),
            ("## s\n* greet OR \n - utter_first\n", 2, "no intent"),
            ("## s\n* greet OR  OR ask\n", 2, "an intent has no name"),
            ("## s\n* _greet[name=Ada\n", 2, "not closed"),
            (start + ' - slot{"moood": 1}\n', 3, "no slot 'moood' (did you mean 'mood'?)"),
            (start + " - slot{\n", 3, "not JSON"),
            (start + " - slot{1}\n", 3, "not JSON"),
            (start + ' - reminder{"action": "x"}\n', 3, "unknown event 'reminder'"),
            (
                "## s\n> nowhere\n* greet\n - utter_first\n",
                2,
                "no checkpoint that a story ends with 'nowhere'",
            ),
            ("## s\n\n<!-- never\n closed", 3, "the comment <!-- is not closed"),
            ("## s <!-- a\nb\n -->\n* gret\n", 4, "no intent 'gret'"),
            ("## s\u2028\x0b\n* greet\n x\n", 3, "begins with"),
        ]
        for stories, line, reason in cases:
            path = self.directory(stories)
            told = self.refused(path)
            self.assertIn(f"{path / 'stories.md'}, line {line}: ", told, stories)
            self.assertIn(reason, told)
            self.assertNotIn("\n", told)

    def test_broken_lines_of_a_domain(self):
        cases = [
            ("intents: [greet\nslots: {}\n", 2, "not YAML"),
            ("- greet\n", 1, "a domain is a mapping"),
            ("", 1, "a domain is a mapping"),
            ("intents:\n  greet: 1\n", 1, "intents must be a list of names"),
            ("intents:\n- greet\n- [x]\n", 3, "intents must be a list of names"),
            ("intents: []\nslots: [a]\n", 2, "slots must be a mapping"),
            ("slots:\n  a:\n    type: txt\n", 3, "slot 'a' has the unknown type 'txt'"),
            ("slots:\n  a: text\n", 2, "slots.a must be a mapping"),
            ("responses:\n  utter_a: hello\n", 2, "must be a list of variations"),
            ("responses:\n  utter_a:\n  - text: [1]\n", 3, "text must be a text"),
            ("responses:\n  utter_a:\n  - hello\n  - []\n", 4, "a variation must be a text or a mapping"),
            (
                "responses:\n  utter_a:\n  - text: a\n    buttons:\n    - payload: /x\n",
                5,
                "a button needs a title",
            ),
            ("responses:\n  utter_a:\n  - text: a\n    buttons: no\n", 4, "buttons must be a list"),
            ("a: 1\nslots: !!python/object/apply:os.system ['true']\n", 2, "not YAML"),
            ("a: 1\nb: \x07\n", 2, "not YAML"),
            ("a: " + "[" * 2000, 1, "not YAML"),
        ]
        for domain, line, reason in cases:
            path = self.directory("## s\n", domain)
            told = self.refused(path)
            self.assertIn(f"{path / 'domain.yml'}, line {line}: ", told, domain)
            self.assertIn(reason, told)
            self.assertNotIn("\n", told)

    def test_broken_metadata(self):
        cases = [
            ('{\n"max_history": }', 2),
            ("[]", 1),
            ('{"max_history": 0}', 1),
            ('{"max_history": "3"}', 1),
        ]
        cases += [('{"max_history": true}', 1), ("[" * 100_000, 1), ('{"max_histories": "five"}', 1)]
        for text, line in cases:
            path = self.directory("## s\n* greet\n - utter_first\n")
            (path / "policy_metadata.json").write_text(text)
            self.assertIn(f"{path / 'policy_metadata.json'}, line {line}: ", self.refused(path))

    def test_bytes_that_are_no_text(self):
        path = self.directory("")
        (path / "stories.md").write_bytes(b"## s\n* greet\n - utter\xff\n")
        self.assertIn("stories.md, line 3: not UTF-8", self.refused(path))

    def test_too_many_ways_are_refused_in_time(self):
        names = [f"s{n}" for n in range(24)]
        domain = f"intents: [greet]\nentities: {names}\nresponses: {{utter_a: [a]}}\nslots:\n"
        domain = domain.replace("'", "") + "".join(f"  {name}: {{type: text}}\n" for name in names)
        lines = [f'* greet{{"{name}": 1}} OR greet\n - utter_a\n' for name in names]
        self.patch(__import__("klein_channels.agents.story_recall", fromlist=["x"]), "MAX_WALKS", 2000)
        self.assertIn(
            "ORs make more than 2000 ways", self.refused(self.directory("## s\n" + "".join(lines), domain))
        )

    def test_nothing_that_a_directory_names_is_imported(self):
        domain = DOMAIN.replace("[action_look]", "[no.such.module.ActionLookAround]").replace(
            "unfeaturized", "no.such.Slot"
        )
        agent = self.agent("## s\n* ask\n - action_look_around\n - utter_first\n", domain)
        self.assertEqual(self.talk(agent, "/ask"), [["First"]])
