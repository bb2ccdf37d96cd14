"""What operators order is done, written down, and known to every server on the store."""

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.errors import ConfigError, StoreError
from klein_channels.operations import Operations
from klein_channels.policy import Policy
from klein_channels.store.people import Person
from klein_channels.store.selection import Selection
from klein_channels.testing.graph import Answer, refusal
from klein_channels.testing.memory import PAGE, PERSON, ServiceInMemory, conversation

KEY = conversation()
ME = Person(channel="facebook", id=PERSON)


async def echo(event):
    return f"re: {event.text}"


class OperationsCase(SynchronousTestCase):
    def served(self, agent=echo, **settings):
        self.kit = ServiceInMemory(agent, path=self.mktemp(), **settings)
        self.addCleanup(self.end)
        self.operate()
        return self.kit

    def operate(self):
        self.operations = Operations(self.kit.store, self.kit.clock.seconds, actor="test")

    def end(self):
        if self.kit.process.alive:
            self.kit.kill()

    def get(self, awaitable):
        waiting = awaitable if isinstance(awaitable, Deferred) else ensureDeferred(awaitable)
        self.kit.settle()
        return self.successResultOf(waiting)

    def pause(self, mode="hold", account=None, says=None):
        self.get(self.operations.pause("facebook", account, mode, says))
        self.kit.advance(1.5)

    def resume(self, account=None):
        self.assertTrue(self.get(self.operations.resume("facebook", account)))
        self.kit.advance(1.5)


class PauseTests(OperationsCase):
    def test_hold_keeps_accepting_and_answers_later(self):
        kit = self.served()
        self.pause()
        self.assertEqual(kit.message("one"), 200)
        self.assertEqual(kit.message("two"), 200)
        kit.advance(100)
        self.assertEqual(kit.sent, [])
        self.resume()
        self.assertEqual(kit.sent, ["re: one", "re: two"])

    def test_hold_counts_from_the_moment_it_is_stored(self):
        kit = self.served()
        self.get(self.operations.pause("facebook", None, "hold"))
        kit.message("one")
        self.assertEqual(kit.sent, [])

    def test_a_turn_at_work_ends_and_its_reply_waits(self):
        answer = Deferred()

        async def slow(event):
            return await answer

        kit = self.served(slow)
        kit.message("one")
        self.pause()
        answer.callback("late")
        kit.advance(30)
        self.assertEqual((kit.sent, kit.turns(), kit.outbox()), ([], ["done"], ["waiting"]))
        self.resume()
        self.assertEqual(kit.sent, ["late"])

    def test_a_restart_ends_no_pause(self):
        kit = self.served()
        self.pause()
        kit.message("one")
        kit.kill()
        kit.start()
        self.operate()
        kit.message("two")
        kit.advance(60)
        self.assertEqual(kit.sent, [])
        self.resume()
        self.assertEqual(kit.sent, ["re: one", "re: two"])

    def test_one_that_was_over_before_any_server_looked_leaves_nobody_waiting(self):
        kit = self.served(policy=Policy(poll_interval=10))
        kit.advance(15)
        self.get(self.operations.pause("facebook", None, "hold"))
        kit.message("one")
        self.get(self.operations.resume("facebook", None))
        self.assertEqual(kit.sent, [])
        kit.advance(11)
        self.assertEqual(kit.sent, ["re: one"])

    def test_one_account_alone(self):
        kit = self.served()
        self.pause(account="another page")
        kit.message("one")
        self.assertEqual(kit.sent, ["re: one"])
        self.pause(account=PAGE)
        kit.message("two")
        kit.advance(5)
        self.assertEqual(kit.sent, ["re: one"])

    def test_reject_lets_the_platform_deliver_again(self):
        kit = self.served()
        self.pause("reject")
        self.assertEqual(kit.message("one", mid="m_1"), 503)
        self.assertEqual(kit.rows("SELECT count(*) FROM inbox"), [(0,)])
        self.resume()
        self.assertEqual(kit.message("one", mid="m_1"), 200)
        self.assertEqual(kit.sent, ["re: one"])

    def test_reject_of_one_account_leaves_others_alone(self):
        kit = self.served()
        self.pause("reject", account="another page")
        self.assertEqual(kit.message("one"), 200)

    def test_maintenance_answers_once_in_each_conversation_and_keeps_the_events(self):
        kit = self.served()
        self.pause("maintenance", says="Back at noon.")
        kit.message("one")
        kit.message("two")
        kit.message("three", person="9")
        self.assertEqual(kit.sent, ["Back at noon.", "Back at noon."])
        self.assertEqual(kit.rows("SELECT count(*) FROM inbox"), [(3,)])
        self.assertEqual(kit.turns(), ["done"] * 3)
        self.resume()
        kit.message("four")
        self.assertEqual(kit.sent[2:], ["re: four"])

    def test_a_pause_that_is_made_anew_says_its_words_anew(self):
        kit = self.served()
        for words in ("Back at noon.", "Back at one."):
            self.pause("maintenance", says=words)
            kit.message("hello")
        self.assertEqual(kit.sent, ["Back at noon.", "Back at one."])

    def test_maintenance_without_words_is_refused(self):
        self.served()
        with self.assertRaises(ConfigError):
            self.operations.pause("facebook", None, "maintenance", "  ")

    def test_what_waits_under_a_pause_crowds_nobody_out(self):
        kit = self.served(policy=Policy(max_waiting_events=10_000))
        self.pause(account=PAGE)
        for person in range(20):
            kit.deliver(kit.item(person=str(person), message={"text": "hi"}))
        self.assertEqual(self.get(kit.store.due(kit.clock.seconds(), 10)).replies, ())

    def test_a_place_that_is_not_paused(self):
        self.served()
        self.assertFalse(self.get(self.operations.resume("facebook", None)))


class ConversationTests(OperationsCase):
    def test_who_owns_it_and_what_waits(self):
        kit = self.served()
        self.get(self.operations.set_owner(KEY, "paused"))
        kit.message("hi")
        (state,) = self.get(self.operations.conversations("facebook"))
        self.assertEqual((state.key, state.owner, state.turn), (KEY, "paused", None))
        self.assertEqual(state.backlog.waiting_events, 1)
        self.assertEqual(self.get(self.operations.conversation(KEY)), state)
        self.assertEqual(self.get(self.operations.conversations("facebook", "human")), [])
        (place,) = self.get(self.operations.backlog(["facebook:"]))
        self.assertEqual((place.waiting_events, place.oldest), (1, kit.clock.seconds()))

    def test_a_key_that_is_none(self):
        self.served()
        with self.assertRaises(ConfigError):
            self.operations.conversation("facebook")

    def test_channels_whose_names_are_alike_are_told_apart(self):
        self.served()
        self.kit.message("hi")
        self.assertEqual(self.get(self.operations.conversations("f_cebook")), [])
        self.assertEqual(self.get(self.operations.conversations("face")), [])


class LetterTests(OperationsCase):
    def dead_replies(self, *texts):
        kit = self.kit if hasattr(self, "kit") else self.served()
        for text in texts:
            kit.graph.answers(refusal(100, "No matching user found", 2018001))
            kit.message(text)
            kit.advance(1)

    def names(self, **which):
        return [letter.id for letter in self.get(self.operations.letters(Selection(**which)))]

    def test_found_by_what_they_have_in_common(self):
        self.dead_replies("a", "b")
        now = self.kit.clock.seconds()
        self.assertEqual(self.names(), ["reply-1", "reply-2"])
        self.assertEqual(self.names(kind="turn"), [])
        self.assertEqual(self.names(channel="slack"), [])
        self.assertEqual(self.names(channel="facebook", reason="MATCHING user"), ["reply-1", "reply-2"])
        self.assertEqual(self.names(reason="matching_user"), [])
        self.assertEqual(self.names(before=now - 1.5), ["reply-1"])
        self.assertEqual(self.names(since=now - 1.5), ["reply-2"])

    def test_all_at_once(self):
        self.dead_replies("a", "b", "c")
        self.assertEqual(
            self.get(self.operations.redrive_all(Selection(), "replay")), ["reply-1", "reply-2", "reply-3"]
        )
        self.kit.advance(2)
        self.assertEqual(self.kit.sent, ["re: a", "re: b", "re: c"])
        self.assertEqual(self.names(), [])

    def test_edited_it_goes_out_with_the_new_words_under_its_old_id(self):
        self.dead_replies("a")
        letter = self.get(self.operations.letter("reply-1"))
        letter.content["parts"][0]["text"] = "sorry for that"
        self.assertTrue(self.get(self.operations.edit("reply-1", letter.content)))
        self.get(self.operations.redrive("reply-1", "replay"))
        self.kit.advance(2)
        self.assertEqual(self.kit.sent, ["sorry for that"])
        ids = [message.body["metadata"] for message in self.kit.graph.sent if "metadata" in message.body]
        self.assertTrue(all(one.endswith("-1") for one in ids), ids)

    def test_a_turn_is_edited_too(self):
        async def agent(event):
            if event.text == "bad":
                raise ValueError("bad words")
            return f"re: {event.text}"

        kit = self.served(agent, policy=Policy(agent_tries=1, apology=""))
        kit.message("bad")
        letter = self.get(self.operations.letter("turn-1"))
        letter.content[0]["text"] = "good"
        self.get(self.operations.edit("turn-1", letter.content))
        self.get(self.operations.redrive("turn-1", "replay"))
        kit.advance(2)
        self.assertEqual(kit.sent, ["re: good"])
        self.flushLoggedErrors(ValueError)

    def test_an_edit_that_makes_something_else_of_it_is_refused_and_changes_nothing(self):
        self.dead_replies("a")
        before = self.kit.rows("SELECT message FROM outbox")
        content = self.get(self.operations.letter("reply-1")).content
        for wrong in (
            None,
            [],
            "words",
            {"type": "song"},
            {**content, "parts": []},
            {**content, "parts": content["parts"] * 2},
            {**content, "parts": [{"type": "text", "text": 7}]},
        ):
            failure = self.failureResultOf(self.settled(self.operations.edit("reply-1", wrong)), StoreError)
            self.assertNotIn("\n", failure.getErrorMessage())
        self.assertEqual(self.kit.rows("SELECT message FROM outbox"), before)
        self.assertFalse(self.get(self.operations.edit("reply-77", content)))

    def settled(self, deferred):
        self.kit.settle()
        return deferred

    def test_what_a_replay_would_do(self):
        self.dead_replies("a")
        for owner, would in (("bot", "send"), ("human", "withheld"), ("paused", "wait")):
            self.get(self.operations.set_owner(KEY, owner))
            (found,) = self.get(self.operations.dry_run(None, Selection()))
            self.assertIn(would, found.would)
        self.get(self.operations.set_owner(KEY, "bot"))
        self.pause()
        (found,) = self.get(self.operations.dry_run(["reply-1", "reply-9"], None))
        self.assertIn("wait", found.would)
        self.assertEqual(self.names(), ["reply-1"])


class PersonTests(OperationsCase):
    def everything(self):
        """All bytes of all tables, but those of the hashes."""
        tables = [name for (name,) in self.kit.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return repr(
            [self.kit.rows(f"SELECT * FROM {name}") for name in tables if name not in ("seen", "store")]
        )

    def test_erased_nothing_of_them_is_left_and_others_stay(self):
        kit = self.served()
        kit.graph.answers(refusal(100, "No matching user found", 2018001))
        for text in ("secret one", "secret two"):
            kit.message(text)
        kit.message("of another", person="9")
        self.get(self.operations.set_owner(KEY, "human"))
        kit.message("secret three")
        self.assertGreater(self.get(self.operations.erase(ME)), 5)
        left = self.everything()
        self.assertNotIn(PERSON, left)
        self.assertNotIn("secret", left)
        self.assertIn("of another", left)

    def test_a_redelivery_brings_nothing_back(self):
        kit = self.served()
        kit.message("secret", mid="m_1")
        self.get(self.operations.erase(ME))
        self.assertEqual(kit.message("secret", mid="m_1"), 200)
        self.assertNotIn("secret", self.everything())
        self.assertEqual(kit.sent, ["re: secret"])

    def test_during_a_turn_it_ends_the_turn_and_nothing_is_written_afterwards(self):
        answer = Deferred()

        async def slow(event):
            return await answer

        kit = self.served(slow)
        kit.message("secret")
        kit.message("secret, too")
        self.get(self.operations.erase(ME))
        answer.callback("secret answer")
        kit.advance(60)
        self.assertEqual(kit.sent, [])
        self.assertNotIn("secret", self.everything())

    def test_during_a_send_it_is_safe(self):
        kit = self.served()
        kit.graph.answers(Answer(delay=5))
        kit.message("secret")
        self.assertEqual(kit.outbox(), ["sending"])
        self.get(self.operations.erase(ME))
        kit.advance(300)
        self.assertNotIn("secret", self.everything())
        kit.message("new")
        kit.advance(300)
        self.assertIn("re: new", kit.sent)

    def test_exported_it_is_all_there(self):
        kit = self.served()
        kit.message("one")
        kit.message("of another", person="9")
        shown = self.get(self.operations.export(ME))
        self.assertEqual(shown["person"], {"channel": "facebook", "id": PERSON})
        self.assertEqual([row["event"]["text"] for row in shown["tables"]["inbox"]], ["one"])
        self.assertEqual(
            [row["message"]["parts"][0]["text"] for row in shown["tables"]["outbox"]], ["re: one"]
        )
        self.assertNotIn("another", repr(shown))

    def test_somebody_whom_nobody_knows(self):
        self.served()
        nobody = Person(channel="facebook", id="nobody")
        self.assertEqual(self.get(self.operations.erase(nobody)), 0)


class RecordTests(OperationsCase):
    def test_every_order_is_written_down(self):
        self.served()
        self.pause()
        self.resume()
        self.get(self.operations.set_owner(KEY, "human"))
        self.get(self.operations.redrive("reply-7", "discard"))
        self.get(self.operations.erase(ME))
        self.get(self.operations.export(ME))
        deeds = self.get(self.operations.deeds())
        self.assertEqual(
            [(deed.actor, deed.action, deed.result) for deed in deeds],
            [
                ("test", "pause", "hold"),
                ("test", "resume", "done"),
                ("test", "set owner", "human"),
                ("test", "discard", "there is none"),
                ("test", "erase", "1 rows"),
                ("test", "export", "0 rows"),
            ],
        )
        self.assertEqual(self.get(self.operations.deeds(after=deeds[-2].id)), deeds[-1:])
