"""A function is called with what its signature asks for; a stranger's text is never taken for an intent."""

import functools

from twisted.trial.unittest import SynchronousTestCase

from klein_channels.agents.calling import CollectedOutput, caller_of, caller_of_handle_message, spoken_text
from klein_channels.errors import ConfigError
from klein_channels.model import CallStarted, Postback, Sender, Turn

from .doubles import address, message

KEY = str(address())


def turn(event=None, structured=False):
    return Turn(id=1, conversation=KEY, events=(event or message("hi"),), structured=structured)


class SignatureTests(SynchronousTestCase):
    def called(self, function, event=None):
        return caller_of(function)(turn(event))

    def test_the_event_alone(self):
        event = message("hi")
        for function in (lambda event: event, lambda e, *more: e, lambda e, flag=1: e, lambda *all: all[0]):
            self.assertIs(self.called(function, event), event)

    def test_the_text_where_it_is_asked_for(self):
        def named(text):
            return text

        def annotated(x: str):
            return x

        def as_words(x: "str"):
            return x

        for function in (named, annotated, as_words):
            self.assertEqual(self.called(function), "hi")
            self.assertEqual(self.called(function, CallStarted(id="1", address=address())), "[call_started]")

    def test_the_turn_or_the_sender_as_a_second(self):
        self.assertEqual(self.called(lambda event, turn: turn.id), 1)
        self.assertEqual(self.called(lambda event, anything: anything.id), 1)
        self.assertEqual(self.called(lambda event, sender_id: sender_id, message(sender=Sender(id="s"))), "s")
        self.assertEqual(self.called(lambda text, sender_id: (text, sender_id)), ("hi", KEY))

    def test_methods_objects_and_partials(self):
        class Bot:
            def method(self, event):
                return event.text

            def __call__(self, event):
                return event.text

            @staticmethod
            def static(event):
                return event.text

            @classmethod
            def of_class(cls, event):
                return event.text

        def with_database(database, event):
            return event.text

        bots = (Bot().method, Bot(), Bot.static, Bot.of_class, functools.partial(with_database, None))
        self.assertEqual([self.called(bot) for bot in bots], ["hi"] * 5)

    def test_decorated_functions(self):
        def plain(text):
            return text

        @functools.wraps(plain)
        def wrapped(*args):
            return plain(*args)

        self.assertEqual(self.called(wrapped), "hi")

    def test_what_cannot_be_called_is_told_at_the_start(self):
        def three(a, b, c):
            pass

        def none():
            pass

        def by_name(event, *, database):
            pass

        for function in (three, none, by_name):
            with self.subTest(function=function.__name__), self.assertRaises(ConfigError) as caught:
                caller_of(function)
            self.assertIn(function.__name__, str(caught.exception))

    def test_what_has_no_signature_gets_the_event(self):
        event = message("hi")
        self.assertEqual(self.called(str, event), str(event))


class RasaTests(SynchronousTestCase):
    """Objects that are called as rasa_core called its agents."""

    def test_text_sender_and_channel(self):
        class Agent:
            def handle_message(self, text, output_channel=None, sender_id="default"):
                output_channel.send_text_message(sender_id, f"{sender_id}: {text}")
                output_channel.send_image_url(sender_id, "https://x/y.png")
                output_channel.send_text_with_buttons(sender_id, "?", [{"title": "A", "payload": "/a"}])
                output_channel.send_custom_message(sender_id, [{"title": "card"}])
                return "not this"

        self.assertEqual(
            caller_of_handle_message(Agent())(turn()),
            [
                {"text": f"{KEY}: hi"},
                {"image": "https://x/y.png"},
                {"text": "?", "buttons": [{"title": "A", "payload": "/a"}]},
                {"elements": [{"title": "card"}]},
            ],
        )

    def test_what_is_returned_where_nothing_is_pushed(self):
        class Agent:
            def handle_message(self, text):
                return [text, "b"]

        self.assertEqual(caller_of_handle_message(Agent())(turn()), ["hi", "b"])

    def test_conversations_do_not_share_an_output(self):
        class Agent:
            def handle_message(self, text, output_channel=None):
                output_channel.send_text_message("x", text)

        call = caller_of_handle_message(Agent())
        self.assertEqual((call(turn()), call(turn())), ([{"text": "hi"}],) * 2)

    def test_coroutines(self):
        class Agent:
            async def handle_message(self, text, output_channel=None):
                output_channel.send_text_message("x", text)
                return "not this"

        coroutine = caller_of_handle_message(Agent())(turn())
        with self.assertRaises(StopIteration) as ended:
            coroutine.send(None)
        self.assertEqual(ended.exception.value, [{"text": "hi"}])

    def test_the_output_keeps_the_order(self):
        output = CollectedOutput()
        output.send_text_message("x", "1")
        output.send_image_url("x", "2")
        self.assertEqual(output.replies, [{"text": "1"}, {"image": "2"}])


class SpokenTests(SynchronousTestCase):
    def spoken(self, event, structured):
        return spoken_text(turn(event, structured))

    def test_a_chosen_payload_where_it_counts(self):
        button = Postback(id="1", address=address(), payload="/yes{}", title="Yes")
        reply = message("Yes", payload="/yes{}")
        for event in (button, reply):
            self.assertEqual((self.spoken(event, True), self.spoken(event, False)), ("/yes{}", "Yes"))

    def test_typed_intents_lose_what_makes_them_one(self):
        typed = {"/restart": "restart", "/a{}": "a{}", "_x[a=b]": "x[a=b]", "  /_ /y{}": "y{}", "//z": "z"}
        for text, harmless in typed.items():
            with self.subTest(text=text):
                self.assertEqual(self.spoken(message(text), False), harmless)
                self.assertEqual(self.spoken(message(text), True), text)

    def test_a_payload_that_nobody_vouches_for_is_no_way_around(self):
        for event in (
            message("", payload="/restart"),
            Postback(id="1", address=address(), payload="/restart"),
        ):
            self.assertEqual(self.spoken(event, False), "restart")

    def test_other_words_are_left_as_they_are(self):
        for text in ("hi /there", "1/2", "a_b", "", "ü"):
            self.assertEqual(self.spoken(message(text), False), text or "[message]")
