"""What an agent says becomes rows: one per visible thing, each at its place, and controls are obeyed."""

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import ChannelOptions
from klein_channels.errors import AgentReplyError, StoreUnavailable
from klein_channels.model import (
    Button,
    Buttons,
    Card,
    Carousel,
    Delta,
    EndConversation,
    Handoff,
    Message,
    QuickReplies,
    QuickReply,
    Remember,
    Text,
    Turn,
    Typing,
)
from klein_channels.speech import APOLOGY_ORDINAL, Speech, TurnLost, structured_by_offer
from klein_channels.store import EndOfTurn, StartedTurn

from .doubles import PlainChannel, Scripted, address, message


class StoreDouble:
    def __init__(self):
        self.add_replies = Scripted(then=lambda *asked: succeed(True))

    @property
    def rows(self):
        return [row for _, rows, _, _ in self.add_replies.asked for row in rows]

    @property
    def offers(self):
        return [offers for _, _, offers, _ in self.add_replies.asked]


class SpeechCase(SynchronousTestCase):
    def setUp(self):
        self.store = StoreDouble()
        self.channel = PlainChannel(text_limit=10, quick_replies=13, buttons=3, cards=10)
        self.committed = []
        self.typing = []
        self.started = self.a_turn(message("hi", id="m-1"))
        self.speech = self.speaking()

    def a_turn(self, event, **more):
        turn = Turn(id=7, conversation="k", events=(event,), attempt=2)
        return StartedTurn(turn=turn, address=address(thread="t"), **more)

    def speaking(self, **more):
        return Speech(
            self.store,
            self.channel,
            self.started,
            lambda: 5.0,
            committed=self.committed.append,
            show_typing=self.typing.append,
            **more,
        )

    def say(self, *answers):
        for answer in answers:
            self.successResultOf(self.speech.say(answer))

    def ended(self, answer: object) -> EndOfTurn:
        """How the turn ends when the agent answers `answer` at the end."""
        ended = Deferred.fromCoroutine(self.speech.end(answer))
        if isinstance(getattr(ended, "result", None), Failure):
            self.failureResultOf(ended).raiseException()
        return self.successResultOf(ended)

    def texts(self, rows=None):
        return [row.message.parts[0].text for row in (self.store.rows if rows is None else rows)]


class RowTests(SpeechCase):
    def test_one_row_for_each_visible_thing_in_order(self):
        self.say("one two three four", ["a", "b"])
        end = self.ended("c")
        rows = [*self.store.rows, *end.replies]
        self.assertEqual("".join(self.texts(rows)[:-3]).replace(" ", ""), "onetwothreefour")
        self.assertEqual(self.texts(rows)[-3:], ["a", "b", "c"])
        places = [(row.ordinal, row.part) for row in rows]
        self.assertEqual(places, sorted(set(places)))
        self.assertEqual({len(row.message.parts) for row in rows}, {1})

    def test_where_and_why(self):
        self.say("x")
        row = self.store.rows[0]
        self.assertEqual((row.address, row.cause, row.attempt), (address(thread="t"), "m-1", 2))

    def test_attempts_of_a_deterministic_agent_share_their_places(self):
        self.speech = self.speaking(deterministic=True)
        self.say("x")
        self.assertEqual(self.store.rows[0].attempt, 0)

    def test_an_apology_takes_nobodys_place(self):
        speech = Speech.apology(self.store, self.channel, self.started, lambda: 5.0)
        rows = speech.rows(Message(parts=(Text(text="Sorry."),)))
        self.assertEqual([(row.ordinal, row.attempt) for row in rows], [(APOLOGY_ORDINAL, 2)])

    def test_all_parts_share_reply_to_and_metadata(self):
        self.say(Message(parts=(Text(text="a"), Text(text="b")), reply_to="m", metadata={"k": 1}))
        self.assertEqual(
            [(r.message.reply_to, r.message.metadata) for r in self.store.rows], [("m", {"k": 1})] * 2
        )

    def test_nothing_is_nothing(self):
        self.say(None, "", "  \n", [], [None, ""], Typing())
        end = self.ended(None)
        self.assertEqual((self.store.rows, end.replies, self.committed), ([], (), []))
        self.assertFalse(self.speech.has_spoken)

    def test_those_who_send_are_told_after_the_commit(self):
        self.say("x", "y")
        self.assertEqual((self.committed, self.speech.has_spoken), (["k", "k"], True))


class RefusedTests(SpeechCase):
    def test_a_turn_that_was_lost(self):
        self.store.add_replies.results = [succeed(False)]
        self.failureResultOf(self.speech.say("x"), TurnLost)
        self.assertEqual((self.committed, self.speech.has_spoken), ([], False))

    def test_a_store_that_is_away(self):
        self.store.add_replies.results = [fail(StoreUnavailable("away"))]
        self.failureResultOf(self.speech.say("x"), StoreUnavailable)
        self.assertEqual((self.committed, self.speech.has_spoken), ([], False))

    def test_what_is_no_reply_is_an_error_of_the_agent(self):
        for odd in (object(), 7, {"txet": "x"}, [["a", object()]], Remember(state=object())):
            self.failureResultOf(self.speech.say(odd), AgentReplyError)
            self.assertRaises(AgentReplyError, self.ended, odd)
        self.assertEqual(self.store.rows, [])


class DeltaTests(SpeechCase):
    def test_pieces_are_one_text_in_the_end(self):
        self.say(Delta(text="Hel"), Delta(text="lo "), Delta(text="you"))
        self.assertEqual(self.store.rows, [])
        self.assertEqual(self.texts(self.ended(None).replies), ["Hello you"])

    def test_what_is_said_of_a_text_on_its_way_is_whole_blocks(self):
        self.channel = PlainChannel(text_limit=4000, dialect="own")
        self.speech = self.speaking()
        words, code = "word " * 90, "~~~\nline\n\n" + "more\n" * 90
        self.say(Delta(text=words + "\n\n"))
        self.assertEqual(self.store.rows, [])
        self.say(Delta(text=code + "\n\n"))
        self.assertEqual(self.texts(), [words.rstrip()])
        self.say(Delta(text="~~~\n\nend"))
        self.assertEqual(self.texts()[1:], [(code + "\n\n~~~").rstrip()])
        self.assertEqual(self.texts(self.ended(None).replies), ["end"])

    def test_a_message_ends_the_text_before_it(self):
        self.say(Delta(text="one"), "two", Delta(text="three"))
        self.assertEqual(self.texts(), ["one", "two"])
        self.assertEqual(self.texts(self.ended("four").replies), ["three", "four"])

    def test_pieces_of_a_list(self):
        end = self.ended([Delta(text="a"), Delta(text="b"), "c", Delta(text="d")])
        self.assertEqual(self.texts(end.replies), ["ab", "c", "d"])

    def test_pieces_are_not_split_where_they_were_joined(self):
        self.say(Delta(text="\ud83d"), Delta(text="x"))
        self.assertNotIn("\ud83d", self.texts(self.ended(None).replies)[0])

    def test_empty_pieces_say_nothing(self):
        self.say(Delta(text=""), Delta(text=" \n"))
        self.assertEqual(self.ended(None).replies, ())


class ControlTests(SpeechCase):
    def test_handoff_sets_the_owner_and_keeps_the_words_before(self):
        self.say(Delta(text="wait"), Handoff())
        end = self.ended(None)
        self.assertEqual((end.owner, self.texts(end.replies)), ("human", ["wait"]))

    def test_nothing_after_a_handoff_is_said(self):
        self.say("bye", Handoff(), "not this", Delta(text="nor this"))
        end = self.ended(["or that", Delta(text="or those")])
        self.assertEqual((self.texts(), end.replies, end.offers), (["bye"], (), ()))

    def test_nothing_after_a_handoff_in_the_same_list(self):
        end = self.ended(["bye", Handoff(), "not this", Delta(text="nor this")])
        self.assertEqual(self.texts(end.replies), ["bye"])

    def test_the_last_memory_counts(self):
        self.say(Remember(state={"a": 1}))
        self.assertEqual(self.ended(Remember(state=[2, "ü"])).remember, '[2,"ü"]'.encode())

    def test_nothing_remembered_changes_nothing(self):
        self.assertIsNone(self.ended("x").remember)

    def test_the_end_of_a_conversation_forgets(self):
        self.say(Remember(state=1))
        self.assertEqual(self.ended(EndConversation()).remember, b"null")

    def test_typing_is_shown_when_the_agent_asks(self):
        self.say(Typing(), Typing(on=False))
        self.assertEqual(self.typing, [True, False])


class OfferTests(SpeechCase):
    def offered(self, answer):
        self.say(answer)
        return self.store.offers[-1]

    def test_structured_payloads_of_all_kinds_of_buttons_once_each(self):
        buttons = (
            Button(title="A", payload="/a{}"),
            Button(title="B", payload="/b"),
            Button(title="U", url="https://x"),
        )
        replies = (
            QuickReply(title="C", payload="/c"),
            QuickReply(title="A", payload="/a{}"),
            QuickReply(title="D"),
        )
        said = [
            Buttons(text="?", buttons=buttons),
            QuickReplies(text="?", replies=replies),
            Carousel(cards=(Card(title="x", buttons=(Button(title="E", payload="_e[x=1]"),)),)),
        ]
        self.assertEqual(self.offered(said), ("/a{}", "/b", "/c", "_e[x=1]"))

    def test_plain_payloads_are_no_offers(self):
        self.assertEqual(
            self.offered(QuickReplies(text="?", replies=(QuickReply(title="C", payload="yes"),))), ()
        )

    def test_words_are_no_offers(self):
        self.assertEqual(self.offered("/restart"), ())


class StructuredTests(SpeechCase):
    def structured(self, event, offers=(), allowed=False, signed=False):
        channel = PlainChannel(options=ChannelOptions(allow_structured_text=allowed), signed_payloads=signed)
        return structured_by_offer(self.a_turn(event, offers=frozenset(offers)), channel, (event,)).structured

    def test_a_payload_counts_where_it_is_vouched_for_or_was_offered(self):
        event = message("Yes", payload="/yes{}")
        self.assertFalse(self.structured(event))
        self.assertFalse(self.structured(event, allowed=True, offers=["/no{}"]))
        self.assertTrue(self.structured(event, signed=True))
        self.assertTrue(self.structured(event, offers=["/yes{}"]))

    def test_typed_text_counts_where_it_is_allowed_or_was_offered_exactly(self):
        event = message(" /yes{} ")
        self.assertFalse(self.structured(event, signed=True))
        self.assertFalse(self.structured(event, offers=["/yes"]))
        self.assertTrue(self.structured(event, allowed=True))
        self.assertTrue(self.structured(event, offers=["/yes{}"]))

    def test_the_event_that_was_looked_up_takes_its_place(self):
        looked_up = message("more", id="m-1")
        turn = structured_by_offer(self.started, self.channel, (looked_up,))
        self.assertEqual((turn.events, turn.id, turn.attempt), ((looked_up,), 7, 2))
