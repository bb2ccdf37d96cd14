"""What operators ask of a store, and order: the same on both engines."""

from twisted.internet.defer import ensureDeferred

from klein_channels.errors import StoreError
from klein_channels.model import Sender
from klein_channels.operations import Operations
from klein_channels.store import Acquaintance, EndOfTurn, NotNow, StartedTurn
from klein_channels.store.people import Person
from klein_channels.store.purging import Cutoffs
from klein_channels.store.selection import Selection

from .doubles import NOW, address, arrival, message, said
from .test_store_letters import KEY, LettersCase
from .test_store_postgres import both

DAY = 86_400.0


class OperationsCase(LettersCase):
    def setUp(self):
        super().setUp()
        self.now = NOW
        self.operations = Operations(self.store, lambda: self.now, actor="test")

    def do(self, coroutine):
        return self.get(ensureDeferred(coroutine))

    def start(self, key=KEY):
        return self.get(self.store.start_turn(key, self.now, deterministic=False))


class PauseTests(OperationsCase):
    def test_no_turn_begins_and_no_reply_goes_out(self):
        self.get(self.store.enqueue([arrival(message("hi"))], NOW))
        self.get(self.store.post(KEY, [said("x")], None, NOW))
        for place in (("plain", None), ("plain", "a")):
            for mode in ("hold", "reject"):
                self.get(self.operations.pause(*place, mode))
                self.assertIsInstance(self.start(), NotNow)
                self.assertIsInstance(self.get(self.store.claim_reply(KEY, NOW)), NotNow)
                due = self.get(self.store.due(NOW + 100, 10))
                self.assertEqual((due.turns, due.replies), ((), ()))
            self.assertTrue(self.get(self.operations.resume(*place)))
        self.assertEqual(self.get(self.store.due(NOW + 100, 10)).replies, (KEY,))
        self.assertIsInstance(self.start(), StartedTurn)

    def test_neither_another_place_nor_maintenance_holds_anything(self):
        self.get(self.store.enqueue([arrival(message("hi"))], NOW))
        for channel, account in (("plai", None), ("plain", "b"), ("plain", "a:p"), ("pla_n", None)):
            self.get(self.operations.pause(channel, account, "hold"))
        self.get(self.operations.pause("plain", None, "maintenance", "Soon."))
        self.assertIsInstance(self.start(), StartedTurn)

    def test_the_last_word_on_a_place_counts(self):
        self.get(self.operations.pause("plain", None, "hold", note="one"))
        self.get(self.operations.pause("plain", None, "reject", note="two"))
        (one,) = self.get(self.operations.pauses())
        self.assertEqual((one.mode, one.note, one.since), ("reject", "two", NOW))
        self.assertFalse(self.get(self.operations.resume("plain", "a")))

    def test_a_command_beside_the_server(self):
        self.get(self.operations.pause("plain", None, "hold"))
        self.assertTrue(self.get(self.operations.resume("plain", None)))
        self.assertFalse(self.get(self.operations.resume("plain", None)))


class LetterTests(OperationsCase):
    def names(self, after=None, limit=100, **which):
        return [one.id for one in self.do(self.operations.letters(Selection(**which), after, limit))]

    def test_chosen(self):
        names = [
            self.dead_reply(now=NOW + 1, reason="No such person_x"),
            self.dead_turn(now=NOW + 2, reason="ValueError: 100%"),
            self.dead_reply(now=NOW + 3, reason="refused!"),
        ]
        self.assertEqual(self.names(), names)
        self.assertEqual(self.names(kind="reply"), [names[0], names[2]])
        self.assertEqual(self.names(channel="plain"), names)
        for channel in ("pl_in", "pla%"):
            self.assertEqual(self.names(channel=channel), [])
        for reason, found in (("PERSON_X", 0), ("100%", 1), ("refused!", 2)):
            self.assertEqual(self.names(reason=reason), [names[found]])
        self.assertEqual(self.names(since=NOW + 2), names[1:])
        self.assertEqual(self.names(before=NOW + 2), names[:2])
        self.assertEqual(self.names(after=names[0], limit=1), [names[1]])

    def test_all_at_once(self):
        names = [self.dead_reply(now=NOW + n) for n in range(7)]
        self.assertEqual(self.do(self.operations.redrive_all(Selection(), "discard")), names)
        self.assertEqual(self.names(), [])

    def test_edited(self):
        reply, turn = self.dead_reply("wörds"), self.dead_turn("wörds")
        for name in (reply, turn):
            content = self.get(self.operations.letter(name)).content
            part = content["parts"][0] if name == reply else content[0]
            part["text"] = "other wörds"
            self.assertTrue(self.get(self.operations.edit(name, content)))
            self.assertEqual(self.get(self.operations.letter(name)).content, content)
            self.failureResultOf(self.operations.edit(name, {"type": "song"}), StoreError)
        content[0]["id"] = "another"
        self.failureResultOf(self.operations.edit(turn, content), StoreError)
        self.get(self.operations.redrive(reply, "replay"))
        self.assertEqual(self.get(self.store.claim_reply(KEY, NOW)).message.parts[0].text, "other wörds")

    def test_what_would_become_of_them(self):
        turn = self.dead_turn()
        self.assertEqual(self.do(self.operations.dry_run([turn], None))[0].would, "ask the agent")
        self.get(self.operations.set_owner(KEY, "human"))
        self.assertIn("withheld", self.do(self.operations.dry_run(None, Selection()))[0].would)
        self.get(self.operations.set_owner(KEY, "paused", NOW + 1))
        self.assertIn("wait", self.do(self.operations.dry_run([turn], None))[0].would)
        self.now = NOW + 2
        self.assertEqual(self.do(self.operations.dry_run([turn], None))[0].would, "ask the agent")


class OverviewTests(OperationsCase):
    def test_what_waits_where(self):
        self.get(self.store.enqueue([arrival(message(peer=p)) for p in "pq"], NOW))
        self.get(self.store.post(KEY, [said("x")], None, NOW))
        self.dead_turn(peer="r")
        plain, other = self.get(self.operations.backlog(["plain:", "plai_:"]))
        self.assertEqual(
            (plain.waiting_events, plain.oldest, plain.unsent_replies, plain.dead_turns, plain.dead_replies),
            (2, NOW, 1, 1, 0),
        )
        self.assertEqual((other.waiting_events, other.oldest), (0, None))
        states = self.get(self.operations.conversations("plain"))
        self.assertEqual([one.key for one in states], [str(address(p)) for p in "pqr"])
        second = self.get(self.operations.conversations("plain", after=states[0].key, limit=1))
        self.assertEqual(second, states[1:2])
        self.get(self.operations.set_owner(states[1].key, "human", NOW + 9))
        (one,) = self.get(self.operations.conversations("plain", "human"))
        self.assertEqual((one.key, one.owner_until), (states[1].key, NOW + 9))
        self.start()
        self.assertEqual(self.get(self.operations.conversation(KEY)).turn, "running")


class PersonTests(OperationsCase):
    def person(self, **more):
        return Person(**{"channel": "plain", "id": "p", **more})

    def test_all_of_one_and_nothing_of_another(self):
        events = [arrival(message("mine")), arrival(message("theirs", peer="q"))]
        events.append(arrival(message("elsewhere", address=address("p", channel="other"))))
        self.get(self.store.enqueue(events, NOW))
        turn = self.start().turn
        self.get(self.store.add_replies(turn, [said("to me", cause="m")], ["/offer"], NOW))
        self.get(self.store.post(str(address("q")), [said("to them", address=address("q"))], None, NOW))
        self.get(self.operations.set_owner(KEY, "human"))
        shown = self.do(self.operations.export(self.person()))["tables"]
        self.assertEqual([row["event"]["text"] for row in shown["inbox"]], ["mine"])
        self.assertEqual([row["message"]["parts"][0]["text"] for row in shown["outbox"]], ["to me"])
        self.assertEqual([row["key"] for row in shown["conversation"]], [KEY])
        self.assertEqual(self.do(self.operations.erase(self.person())), 4)
        shown = self.do(self.operations.export(self.person()))["tables"]
        self.assertEqual(set(map(len, shown.values())), {0})
        for channel, name in (("plain", "q"), ("other", "p")):
            shown = self.do(self.operations.export(self.person(channel=channel, id=name)))["tables"]
            self.assertEqual(len(shown["inbox"]), 1)
        self.assertFalse(self.get(self.store.add_replies(turn, [said("late")], [], NOW)))
        self.assertEqual(self.get(self.store.enqueue(events[:1], NOW)), [None])

    def test_in_a_group_what_they_said_and_what_was_answered(self):
        group = [
            arrival(message(text, peer="group", sender=Sender(id=who)))
            for who, text in (("p", "mine"), ("q", "theirs"))
        ]
        self.get(self.store.enqueue(group, NOW))
        key = str(address("group"))
        for words in ("to me", "to them"):
            turn = self.start(key).turn
            self.get(self.store.add_replies(turn, [said(words, address=address("group"))], [], NOW))
            self.get(self.store.end_turn(turn, EndOfTurn(state="done"), NOW))
        self.assertGreater(self.do(self.operations.erase(self.person())), 0)
        shown = self.do(self.operations.export(self.person(id="q")))["tables"]
        self.assertEqual([row["event"]["text"] for row in shown["inbox"]], ["theirs"])
        self.assertEqual([row["message"]["parts"][0]["text"] for row in shown["outbox"]], ["to them"])

    def test_a_direct_chat_with_a_name_of_its_own_is_theirs_alone(self):
        key = str(address("D123"))
        for peer, who in (("D123", "p"), ("C9", "p"), ("C9", "q")):
            event = message("hi", peer=peer, sender=Sender(id=who))
            self.get(self.store.enqueue([arrival(event)], NOW))
            self.get(
                self.store.post(
                    str(address(peer)), [said(f"news for {peer}", address=address(peer))], None, NOW
                )
            )
        self.do(self.operations.erase(self.person()))
        states = self.get(self.operations.conversations("plain"))
        self.assertEqual([one.key for one in states], [str(address("C9"))])
        (left,) = self.get(self.operations.backlog([key]))
        self.assertEqual((left.waiting_events, left.unsent_replies), (0, 0))
        shown = self.do(self.operations.export(self.person(id="q")))["tables"]
        self.assertEqual(len(shown["inbox"]), 1)

    def test_who_they_are_is_forgotten_in_the_conversations_of_others_too(self):
        key = str(address("group"))
        self.get(self.store.enqueue([arrival(message("hi", peer="group", sender=Sender(id="q")))], NOW))
        for who in "pq":
            known = Acquaintance(person=Sender(id=who, name=f"Name of {who}"), until=NOW + 9)
            self.get(self.store.note_person(key, known))
        shown = self.do(self.operations.export(self.person()))["tables"]
        self.assertEqual(shown["known_in"], [key])
        self.do(self.operations.erase(self.person()))
        started = self.start(key)
        self.assertEqual([one.person.name for one in started.people], ["Name of q"])

    def test_where_each_sender_is_a_conversation_of_their_own(self):
        mine, theirs = address("group", thread="p"), address("group", thread="q")
        self.get(self.store.enqueue([arrival(message("a", address=one)) for one in (mine, theirs)], NOW))
        self.assertEqual(self.do(self.operations.erase(self.person())), 0)
        self.assertGreater(self.do(self.operations.erase(self.person(by_sender=True))), 0)
        self.assertEqual([one.key for one in self.get(self.operations.conversations("plain"))], [str(theirs)])

    def test_what_is_on_record_names_them_no_more(self):
        self.get(self.operations.set_owner(KEY, "human"))
        self.do(self.operations.erase(self.person()))
        subjects = [deed.subject for deed in self.get(self.operations.deeds())]
        self.assertEqual(subjects[0], f"person {self.person().fingerprint}")
        self.assertNotIn(KEY, subjects)


class PurgeTests(OperationsCase):
    def test_each_table_has_its_own_time(self):
        self.dead_turn()
        self.get(self.operations.resume("plain", None))
        kept = Cutoffs(dead_letters=NOW - 1, audit=NOW - 1)
        self.assertEqual(self.get(self.store.purge(0, NOW + 1, kept)), 0)
        self.assertEqual(self.get(self.store.purge(0, NOW + 1, Cutoffs(audit=NOW + 1))), 1)
        gone = Cutoffs(dead_letters=NOW + 1)
        while self.get(self.store.purge(0, 0, gone)):
            pass
        self.assertEqual(self.listed(), [])


for _case in (PauseTests, LetterTests, OverviewTests, PersonTests, PurgeTests):
    _made = both(_case)
    _made.__module__ = __name__
    globals()[_made.__name__] = _made
del _case, _made
