"""Texts that are seen while they grow: whatever fails on the way, one whole reply is seen in the end."""

import json

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import ChannelOptions
from klein_channels.model import Call, CallResult, Delta, Outgoing, Refused, Retry, Sent, Text, UnknownOutcome
from klein_channels.policy import Policy
from klein_channels.service import ChannelService
from klein_channels.store.sqlite import SQLiteStore

from .doubles import NOW, PlainChannel, message

UNKNOWN = CallResult(outcome="unknown", error="no answer")
LIMITED = CallResult(outcome="answered", status=429)
GONE = CallResult(outcome="answered", status=404)
EDIT_GONE = CallResult(outcome="answered", status=404, error="if it is an edit")


class EditingChannel(PlainChannel):
    """A platform that posts, and edits every two seconds at most."""

    def __init__(self, **capabilities):
        super().__init__(**{"edit_interval": 2.0, "dialect": "own", **capabilities})

    def parse(self, request):
        from klein_channels.model import Received

        return Received(events=(message(request.body.decode()),))

    def send(self, outgoing: Outgoing):
        return (yield from self._made("post", outgoing, None))

    def edit(self, outgoing: Outgoing, mid: str):
        return (yield from self._made("edit", outgoing, mid))

    def _made(self, what, outgoing, mid):
        body = json.dumps({"mid": mid, "text": outgoing.part.text}).encode()
        result = yield Call(method="POST", url=f"board:{what}", body=body, effect=True)
        return self._outcome(result, outgoing)

    def _outcome(self, result, outgoing):
        if result.outcome == "unknown":
            return UnknownOutcome(reason=result.error)
        if result.status == 429:
            return Retry(at=outgoing.now + 5, reason="limited")
        if result.status == 404:
            return Refused(reason="gone")
        return Sent(mids=(result.body.decode(),) if result.body else ())


class Board:
    """What people see: texts by their mids, in order. `script` answers calls; None is the usual answer."""

    def __init__(self):
        self.texts = {}
        self.calls = []
        self.script = []
        self.dead = False

    def run(self, steps, deadline):
        return Deferred.fromCoroutine(self._drive(steps))

    async def _drive(self, steps):
        try:
            call = next(steps)
            while True:
                call = steps.send(await self.answer(call))
        except StopIteration as stop:
            return stop.value

    async def answer(self, call):
        if self.dead:
            return await Deferred()
        body, what = json.loads(call.body), call.url.partition(":")[2]
        self.calls.append((what, body["text"]))
        result = self.script.pop(0) if self.script else None
        if isinstance(result, Deferred):
            result = await result
        if result is EDIT_GONE:
            result = GONE if what in ("edit", "append", "close") else None
        if result is LIMITED or result is GONE:
            return result
        mid = body["mid"] or f"mid{len(self.texts)}"
        self.texts[mid] = body["text"]
        return result or CallResult(outcome="answered", status=200, body=mid.encode())


class Pieces:
    """An agent that says what it is given, piece by piece."""

    def __init__(self):
        self.pieces = []
        self.more = Deferred()
        self.turns = []

    async def __call__(self, event, turn):
        self.turns.append(turn)
        while True:
            while self.pieces:
                piece = self.pieces.pop(0)
                if isinstance(piece, Exception):
                    raise piece
                if piece is None:
                    return
                yield piece
            self.more = Deferred()
            await self.more

    def say(self, *pieces):
        self.pieces += [Delta(text=piece) if isinstance(piece, str) else piece for piece in pieces]
        if not self.more.called:
            self.more.callback(None)


class Conversation:
    """One service with one editing platform, on a clock."""

    makes = EditingChannel

    def __init__(self, path="", **capabilities):
        self.path = path
        self.clock = Clock()
        self.clock.advance(NOW)
        self.clock.callFromThread = lambda function, *args: function(*args)
        self.board = Board()
        self.agent = Pieces()
        self.capabilities = capabilities
        self.start()

    def start(self):
        self.store = SQLiteStore(self.path)
        self.channel = self.makes(**self.capabilities)
        self.service = ChannelService(
            [self.channel], self.agent, store=self.store, reactor=self.clock, now=self.clock.seconds,
            jitter=lambda: 0.0, http=self.board, policy=Policy(typing_after=1e9, agent_deadline=1e9),
        )  # fmt: skip
        self.service.startService()

    def kill(self):
        """The process is gone; its successor finds the file, and a platform that remembers."""
        self.board.dead = True
        seen, self.board = self.board, Board()
        self.board.texts = seen.texts
        self.store._release_lock()
        self.clock = Clock()
        self.clock.advance(NOW + 1000)
        self.clock.callFromThread = lambda function, *args: function(*args)
        self.agent = Pieces()
        self.start()
        self.pass_time(1)

    def hear(self, text="hi"):
        from .doubles import request

        self.service.receive(self.channel, request(text.encode()))

    def pass_time(self, seconds):
        for _ in range(round(seconds * 2)):
            self.clock.advance(0.5)

    @property
    def seen(self):
        return list(self.board.texts.values())

    def rows(self, columns="state, repeated OR anew"):
        return [tuple(row) for row in self.store._reader._session.connection.execute(
            f"SELECT {columns} FROM outbox ORDER BY id")]  # fmt: skip


class GrowthTests(SynchronousTestCase):
    def setUp(self):
        self.talk = Conversation()
        self.talk.hear()

    def test_a_text_is_seen_while_it_grows_and_is_one_message_in_the_end(self):
        self.talk.agent.say("One ")
        self.talk.agent.say("two ")
        self.assertEqual(self.talk.seen, ["One "])
        self.talk.pass_time(2)
        self.assertEqual(self.talk.seen, ["One two "])
        self.talk.agent.say("three", None)
        self.assertEqual(self.talk.seen, ["One two three"])
        self.assertEqual(self.talk.rows(), [("sent", 0)])

    def test_the_platform_sets_the_pace(self):
        for number in range(20):
            self.talk.agent.say(f"{number} ")
            self.talk.clock.advance(0.2)
        self.assertLessEqual(len(self.talk.board.calls), 3)

    def test_pieces_are_never_stored(self):
        self.talk.agent.say("a secret on its way")
        self.assertEqual([message for (message,) in self.talk.rows("message") if b"secret" in message], [])
        self.assertEqual(self.talk.rows("state, mids"), [("streaming", b'["mid0"]')])

    def test_what_does_not_fit_follows_as_a_message_of_its_own(self):
        talk = Conversation(text_limit=12)
        talk.hear()
        talk.agent.say("one two three ")
        talk.pass_time(2)
        self.assertEqual(talk.seen, ["one two"])
        talk.agent.say("four", None)
        talk.pass_time(2)
        self.assertEqual(talk.seen, ["one two", "three four"])

    def test_a_platform_that_rests_is_left_in_peace(self):
        self.talk.board.script = [None, LIMITED]
        self.talk.agent.say("One ", "two ")
        self.talk.pass_time(2)
        self.talk.agent.say("three ")
        self.talk.pass_time(4)
        self.assertEqual(len(self.talk.board.calls), 2)
        self.talk.pass_time(2)
        self.assertEqual(self.talk.seen, ["One two three "])

    def test_a_first_post_without_an_answer_is_posted_anew_and_marked(self):
        self.talk.board.script = [UNKNOWN]
        self.talk.agent.say("One ", "two", None)
        self.talk.pass_time(1)
        self.assertEqual(self.talk.seen[-1], "One two")
        self.assertEqual(self.talk.rows(), [("sent", 1)])

    def test_a_post_that_the_platform_refused_leaves_an_ordinary_reply(self):
        self.talk.board.script = [GONE]
        self.talk.agent.say("One ", "two", None)
        self.talk.pass_time(1)
        self.assertEqual((self.talk.seen, self.talk.rows()), (["One two"], [("sent", 0)]))

    def test_a_last_edit_without_an_answer_is_done_again_and_harmless(self):
        self.talk.board.script = [None, UNKNOWN]
        self.talk.agent.say("One ", "two", None)
        self.talk.pass_time(3)
        self.assertEqual((self.talk.seen, self.talk.rows()), (["One two"], [("sent", 0)]))

    def test_a_message_that_can_no_longer_be_edited_is_posted_anew(self):
        self.talk.board.script = [None, GONE]
        self.talk.agent.say("One ", "two", None)
        self.talk.pass_time(2)
        self.assertEqual(self.talk.seen, ["One ", "One two"])
        self.assertEqual(self.talk.rows(), [("sent", 1)])

    def test_a_last_edit_comes_after_the_one_under_way(self):
        late = Deferred()
        self.talk.board.script = [None, late]
        self.talk.agent.say("One ", "two ")
        self.talk.pass_time(2)
        self.talk.agent.say("three", None)
        self.assertEqual(len(self.talk.board.calls), 2)
        late.callback(None)
        self.talk.pass_time(1)
        self.assertEqual(self.talk.seen, ["One two three"])

    def test_nothing_grows_before_the_replies_that_went_ahead_are_out(self):
        late = Deferred()
        self.talk.board.script = [late]
        self.talk.agent.say(Text(text="first"), "One ", "two ")
        self.assertEqual(len(self.talk.board.calls), 1)
        late.callback(None)
        self.talk.agent.say("three ")
        self.assertEqual(self.talk.seen, ["first", "One two three "])

    def test_a_message_between_ends_a_text_and_the_next_one_is_another(self):
        self.talk.agent.say("One ", "two", Text(text="between"), "Three ", "four", None)
        self.talk.pass_time(3)
        self.assertEqual(self.talk.seen, ["One two", "between", "Three four"])

    def test_an_agent_that_fails_goes_on_in_the_same_message(self):
        self.talk.agent.say("One ", RuntimeError("no"))
        self.flushLoggedErrors(RuntimeError)
        self.talk.pass_time(16)
        self.talk.agent.say("Once more", None)
        self.talk.pass_time(3)
        self.assertEqual((self.talk.seen, self.talk.rows()), (["Once more"], [("sent", 0)]))
        self.assertEqual(self.talk.agent.turns[-1].already_said, ())

    def test_an_agent_that_fails_for_good_apologises_in_the_same_message(self):
        for _ in range(3):
            self.talk.agent.say("One ", RuntimeError("no"))
            self.talk.pass_time(90)
        self.flushLoggedErrors(RuntimeError)
        self.assertEqual(self.talk.seen, [Policy().apology])

    def test_an_attempt_that_says_nothing_leaves_what_is_seen(self):
        self.talk.agent.say("One ", RuntimeError("no"))
        self.flushLoggedErrors(RuntimeError)
        self.talk.pass_time(16)
        self.talk.agent.say(None)
        self.assertEqual((self.talk.seen, self.talk.rows()), (["One "], [("sent", 0)]))


class CrashTests(SynchronousTestCase):
    def setUp(self):
        self.talk = Conversation(self.mktemp())
        self.addCleanup(self.end)
        self.talk.hear()

    def end(self):
        self.talk.store.close()

    def test_a_killed_stream_goes_on_in_the_same_message(self):
        self.talk.agent.say("One ")
        self.talk.kill()
        self.talk.agent.say("Again ", "and whole", None)
        self.talk.pass_time(3)
        self.assertEqual((self.talk.seen, self.talk.rows()), (["Again and whole"], [("sent", 0)]))

    def test_a_stream_killed_before_its_name_was_known_is_posted_anew_and_marked(self):
        self.talk.board.script = [Deferred()]
        self.talk.agent.say("One ")
        self.talk.board.texts["lost"] = "One "
        self.talk.kill()
        self.talk.agent.say(Text(text="Whole"), None)
        self.talk.pass_time(3)
        self.assertEqual((self.talk.seen, self.talk.rows()), (["One ", "Whole"], [("sent", 1)]))

    def test_a_kill_before_the_last_edit_was_sent_withdraws_nothing_that_is_seen(self):
        late = Deferred()
        self.talk.board.script = [None, late]
        self.talk.agent.say("One ", "two", None)
        self.talk.kill()
        self.talk.pass_time(40)
        self.assertEqual((self.talk.seen, self.talk.rows()), (["One two"], [("sent", 1)]))


class InterruptedTests(SynchronousTestCase):
    def setUp(self):
        self.talk = Conversation(self.mktemp(), options=ChannelOptions(double_texting="interrupt"))
        self.addCleanup(lambda: self.talk.store.close())  # noqa: PLW0108  (it may be another by then)
        self.talk.hear("a")

    def told(self):
        turn = self.talk.agent.turns[-1]
        return [part.text for message in turn.already_said for part in message.parts]

    def test_what_is_seen_stays_and_the_next_text_is_a_message_of_its_own(self):
        self.talk.agent.say("One ")
        self.talk.agent.say("unseen ")
        self.talk.hear("b")
        self.talk.agent.say("Two", None)
        self.talk.pass_time(3)
        self.assertEqual(self.talk.seen, ["One ", "Two"])
        self.assertEqual((self.talk.rows(), self.told()), ([("sent", 0), ("sent", 0)], ["One "]))

    def test_what_is_under_way_is_waited_for(self):
        post = Deferred()
        self.talk.board.script = [post]
        self.talk.agent.say("One ")
        self.talk.hear("b")
        self.assertEqual(len(self.talk.agent.turns), 1)
        post.callback(None)
        self.talk.agent.say("Two", None)
        self.talk.pass_time(3)
        self.assertEqual((self.talk.seen, self.told()), (["One ", "Two"], ["One "]))

    def test_what_the_platform_refused_to_show_is_withdrawn(self):
        self.talk.board.script = [GONE]
        self.talk.agent.say("One ")
        self.talk.hear("b")
        self.talk.agent.say("Two", None)
        self.talk.pass_time(3)
        self.assertEqual((self.talk.seen, self.told()), (["Two"], []))
        self.assertEqual(self.talk.rows("state"), [("withdrawn",), ("sent",)])

    def test_what_may_be_seen_is_left_alone(self):
        self.talk.board.script = [UNKNOWN]
        self.talk.agent.say("One ")
        self.talk.hear("b")
        self.talk.agent.say("Two", None)
        self.talk.pass_time(60)
        self.assertEqual(self.talk.seen, ["One ", "Two"])
        self.assertEqual(self.talk.rows(), [("sent", 0), ("sent", 0)])

    def test_after_a_kill_what_is_seen_stays_and_the_next_message_is_answered(self):
        self.talk.agent.say("One ")
        self.talk.kill()
        self.talk.hear("b")
        self.talk.agent.say("Two", None)
        self.talk.pass_time(3)
        self.assertEqual(self.talk.seen, ["One ", "Two"])
        self.assertEqual([event.text for event in self.talk.agent.turns[-1].interrupted], ["a"])


class ElsewhereTests(SynchronousTestCase):
    def test_where_nothing_can_be_edited_paragraphs_are_said_one_by_one(self):
        talk = Conversation(edit_interval=0.0)
        talk.hear()
        paragraph = "word " * 100
        talk.agent.say(paragraph, "\n\nand ", "more")
        self.assertEqual(talk.seen, [paragraph.strip()])
        talk.agent.say(None)
        self.assertEqual(talk.seen, [paragraph.strip(), "and more"])

    def test_a_block_of_code_is_not_torn(self):
        talk = Conversation(edit_interval=0.0)
        talk.hear()
        talk.agent.say("```\n" + "code " * 100 + "\n\n", "more code\n```", None)
        self.assertEqual(len(talk.seen), 1)


class AnythingMayFailTests(SynchronousTestCase):
    @settings(deadline=None, derandomize=True, max_examples=60, suppress_health_check=list(HealthCheck))
    @given(
        st.lists(st.sampled_from([None, LIMITED, EDIT_GONE]), max_size=6),
        st.integers(-1, 6),
        st.lists(st.sampled_from(["one ", "two ", "three\n\n", "four "]), min_size=1, max_size=6),
        st.lists(st.sampled_from([0, 1, 3, 7]), min_size=6, max_size=6),
    )
    def test_one_whole_final_text_is_seen_last(self, script, unknown_at, pieces, waits):
        talk = Conversation()
        talk.hear()
        if unknown_at >= 0:
            # One: what is unknown twice is a dead letter, by promise.
            script = [*script[:unknown_at], UNKNOWN, *script[unknown_at:]]
        talk.board.script = list(script)
        for piece, wait in zip(pieces, waits, strict=False):
            talk.agent.say(piece)
            talk.pass_time(wait)
        talk.agent.say(None)
        talk.pass_time(60)
        whole = "".join(pieces).strip()
        self.assertEqual(talk.seen[-1].strip() if talk.seen else "", whole)
        self.assertEqual([state for state, _ in talk.rows()], ["sent"])
        if UNKNOWN not in script and EDIT_GONE not in script:
            self.assertEqual(len(talk.seen), 1)
        if len(talk.seen) > 1:
            self.assertEqual([repeated for _, repeated in talk.rows()], [1])


class FadingTests(SynchronousTestCase):
    def test_what_the_platform_would_forget_is_shown_again_while_the_agent_thinks(self):
        talk = Conversation(growth_lasts=30.0)
        talk.hear()
        talk.agent.say("one ")
        talk.pass_time(65)
        self.assertEqual(talk.board.calls, [("post", "one "), *[("edit", "one ")] * 3])
        talk.agent.say("two", None)
        talk.pass_time(60)
        # Once more as it grew, and in its final form; after that nothing.
        self.assertEqual(talk.board.calls[4:], [("edit", "one two")] * 2)
        self.assertEqual((talk.seen, talk.rows()), (["one two"], [("sent", 0)]))

    def test_elsewhere_it_stays_and_costs_nothing(self):
        talk = Conversation()
        talk.hear()
        talk.agent.say("one ")
        talk.pass_time(120)
        self.assertEqual(len(talk.board.calls), 1)
