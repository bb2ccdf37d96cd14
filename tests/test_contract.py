"""Each class here breaks one promise of a good channel, and the contract's test of that promise fails."""

import importlib
import itertools
import unittest

import msgspec
from hypothesis import Phase

from klein_channels.channel import Fetched, Polled
from klein_channels.errors import MalformedWebhook, PlatformError, VerificationError
from klein_channels.model import (
    Call,
    Received,
    Refused,
    Retry,
    Sent,
    UnknownOutcome,
    WebhookRequest,
    WebhookResponse,
    read_json,
)
from klein_channels.testing import hostile

from .test_howto import WrittenPackage

HEADER = b"x-pigeon-signature"
AWAY = "https://elsewhere.example/x"


class Believes:
    def verify(self, request, now):
        pass


class BelievesAnyBody:
    def verify(self, request, now):
        given = request.header_values(HEADER)
        if len(given) != 1 or len(given[0]) != 64 or not given[0].isalnum() or request.method != "POST":
            raise VerificationError("no")


class BelievesOneOfTwo:
    def verify(self, request, now):
        first = [pair for pair in request.headers if pair[0] == HEADER][:1]
        super().verify(msgspec.structs.replace(request, headers=tuple(first)), now)


class FallsOverAHeader:
    def verify(self, request, now):
        for value in request.header_values(HEADER):
            value.decode("ascii")
        super().verify(request, now)


class TellsTheSecretToStrangers:
    def verify(self, request, now):
        try:
            super().verify(request, now)
        except VerificationError:
            raise VerificationError(f"not signed with {self._secret.reveal()}") from None


class RefusesWithAServerError:
    def verify(self, request, now):
        try:
            super().verify(request, now)
        except VerificationError as error:
            raise VerificationError(str(error), status=500) from None


class FallsOverABody:
    def parse(self, request):
        return super().parse(request) if read_json(request.body)["events"] else Received()


class QuotesABody:
    def parse(self, request):
        try:
            return super().parse(request)
        except MalformedWebhook:
            raise MalformedWebhook(f"cannot be read:\n{request.body!r}") from None


class Changing:
    def parse(self, request):
        events = super().parse(request).events
        return Received(
            events=tuple(msgspec.structs.replace(event, **self.change(event)) for event in events)
        )


class CountsItsEvents(Changing):
    numbers = itertools.count()

    def change(self, event):
        return {"id": str(next(self.numbers))}


class HasOneIdForAll(Changing):
    def change(self, event):
        return {"id": "1"}


class HasNoId(Changing):
    def change(self, event):
        return {"id": ""}


class SpeaksForAnother(Changing):
    def change(self, event):
        return {"address": msgspec.structs.replace(event.address, channel="crow")}


class CannotBeStored(Changing):
    def change(self, event):
        return {"raw": (1, 2)}


class Calling:
    """Changes the calls of a good channel."""

    def send(self, outgoing):
        steps = super().send(outgoing)
        try:
            call = next(steps)
            while True:
                result = yield from self.instead(call)
                call = steps.send(result)
        except StopIteration as end:
            return end.value

    def instead(self, call):
        return (yield msgspec.structs.replace(call, **self.change(call)))


class SendsTwice(Calling):
    def instead(self, call):
        yield call
        return (yield call)


class SendsAgainAfterSilence(Calling):
    def instead(self, call):
        result = yield call
        return result if result.outcome != "unknown" else (yield call)


class NeverEnds(Calling):
    def instead(self, call):
        result = yield call
        while result.status == 500:
            result = yield call
        return result


class HidesItsEffect(Calling):
    def change(self, call):
        return {"effect": False}


class TrustsStrangers(Calling):
    def instead(self, call):
        yield Call(method="GET", url="https://pigeon.test.evil.example/v1", trust="configured")
        return (yield call)


class ShowsStrangersItsToken(Calling):
    def instead(self, call):
        yield Call(method="GET", url=AWAY, headers=call.headers)
        return (yield call)


class WritesItsTokenIntoTheAddress(Calling):
    def change(self, call):
        return {"url": f"{call.url}?token={self._token.reveal()}"}


class Ending:
    """Changes the outcomes of a good channel."""

    def send(self, outgoing):
        outcome = yield from super().send(outgoing)
        return self.change(outcome)


class GivesUpWhatDidNotLeave(Ending):
    def change(self, outcome):
        return Refused(reason="x") if outcome == Retry(reason="not sent") else outcome


class CallsSilenceSent(Ending):
    def change(self, outcome):
        return Sent() if isinstance(outcome, UnknownOutcome) else outcome


class GivesUpWhenBusy(Ending):
    def change(self, outcome):
        return Refused(reason="x") if isinstance(outcome, Retry) and "429" in outcome.reason else outcome


class CallsAnErrorSent(Ending):
    def change(self, outcome):
        return Sent() if isinstance(outcome, Retry) and "503" in outcome.reason else outcome


class WaitsForever(Ending):
    def change(self, outcome):
        return Retry(at=float("inf")) if isinstance(outcome, Retry) else outcome


class FallsOverAnAnswer(Calling):
    def instead(self, call):
        result = yield call
        if result.status == 201:
            read_json(result.body)["id"]
        return result


class FallsOverAPart:
    def send(self, outgoing):
        outgoing.part.text.strip()
        return (yield from super().send(outgoing))


class PromisesTooMuch:
    def __init__(self, settings):
        super().__init__(settings)
        self.capabilities = msgspec.structs.replace(self.capabilities, text_limit=501)


class ShowsItsSecret:
    def __repr__(self):
        return f"PigeonInput({self._secret.reveal()})"


class QuotesTheNetwork(Calling):
    def send(self, outgoing):
        self.said = ""
        outcome = yield from super().send(outgoing)
        return Retry(reason=self.said) if self.said else outcome

    def instead(self, call):
        result = yield call
        self.said = result.error
        return result


class TypesForReal:
    def show_typing(self, address, on, context):
        yield msgspec.structs.replace(self.call("PUT"), effect=True)

    def show_seen(self, address, context):
        yield from ()


class EditsByAnError:
    def edit(self, outgoing, mid):
        result = yield self.call("PUT")
        if result.status != 200:
            raise PlatformError(f"HTTP {result.status}")
        return Sent(mids=(mid,))


class FetchesIntoMemory:
    def fetch(self, attachment, address):
        result = yield self.call("GET")
        return Fetched(result=result)


class StreamsIntoNothing:
    def open_stream(self, outgoing):
        yield from ()
        return Sent(mids=("1",))

    def append(self, outgoing, stream, piece):
        yield from ()
        return Refused(reason="no")

    def close_stream(self, outgoing, stream):
        yield from ()
        return Refused(reason="no")


class PollsWithoutACursor:
    polled_account = "L1"

    def poll(self, cursor):
        yield self.call("GET")
        return Polled(cursor=object())


class PollsIntoAnAccident:
    polled_account = "L1"

    def poll(self, cursor):
        result = yield self.call("GET")
        return Polled(cursor=read_json(result.body))


class TellsTheSecretWhenSettingUp:
    def provision(self, webhook_url, *, dry_run):
        yield self.call("GET")
        raise PlatformError(f"refused: {self._token.reveal()}")


class ResolvesToAnother:
    def resolve(self, event):
        yield self.call("GET")
        return msgspec.structs.replace(event, id="another")


class RenewsByAccident:
    def keys(self):
        result = yield self.call("GET")
        self.known = read_json(result.body)["keys"]


class AnswersNothing:
    def answer(self, request, outgoing):
        return WebhookResponse() if outgoing else None

    def answer_later(self, request, event):
        return WebhookResponse()


class KnowsNobody:
    def knows_account(self, account):
        return account == "nobody"


class PlaysBadly:
    def trigger(self, kind, text, now):
        if kind != "text":
            raise ValueError(kind)
        return WebhookRequest(method="POST", path="", body=text.encode())


class PlaysOneMomentOnly(PlaysBadly):
    def trigger(self, kind, text, now):
        super().trigger(kind, text, now)
        return importlib.import_module("test_pigeon").signed(importlib.import_module("test_pigeon").HELLO)


class TakesWordsForAChoice(Changing):
    def trigger(self, kind, text, now):
        if kind != "text":
            raise ValueError(kind)
        page = importlib.import_module("test_pigeon")
        return page.signed(page.told(f"e{now}", "message", text=text))

    def change(self, event):
        return {"payload": event.text} if getattr(event, "text", "").startswith("/") else {}


NOTICED_BY = {
    Believes: "no_request_whatever_is_an_accident_or_believed",
    BelievesAnyBody: "another_body_is_not_believed",
    BelievesOneOfTwo: "a_proof_counts_only_whole_and_once",
    FallsOverAHeader: "no_request_whatever_is_an_accident_or_believed",
    TellsTheSecretToStrangers: "a_proof_counts_only_whole_and_once",
    RefusesWithAServerError: "a_proof_counts_only_whole_and_once",
    FallsOverABody: "every_authentic_body_is_events_or_malformed",
    QuotesABody: "every_authentic_body_is_events_or_malformed",
    CountsItsEvents: "a_redelivery_has_the_same_keys",
    HasOneIdForAll: "different_events_have_different_keys",
    HasNoId: "what_is_authentic_is_believed_and_read",
    SpeaksForAnother: "what_is_authentic_is_believed_and_read",
    CannotBeStored: "what_is_authentic_is_believed_and_read",
    SendsTwice: "every_part_is_one_visible_call",
    SendsAgainAfterSilence: "what_may_have_left_is_not_sent_twice",
    NeverEnds: "a_platform_that_is_busy_or_broken_is_not_called_sent",
    HidesItsEffect: "every_part_is_one_visible_call",
    TrustsStrangers: "every_part_is_one_visible_call",
    ShowsStrangersItsToken: "every_part_is_one_visible_call",
    WritesItsTokenIntoTheAddress: "no_secret_is_shown",
    GivesUpWhatDidNotLeave: "what_did_not_leave_is_tried_again",
    CallsSilenceSent: "what_may_have_left_is_not_sent_twice",
    GivesUpWhenBusy: "a_platform_that_is_busy_or_broken_is_not_called_sent",
    CallsAnErrorSent: "a_platform_that_is_busy_or_broken_is_not_called_sent",
    WaitsForever: "no_result_whatever_is_an_accident",
    FallsOverAnAnswer: "no_result_whatever_is_an_accident",
    FallsOverAPart: "no_part_whatever_is_an_accident",
    PromisesTooMuch: "what_fit_gave_is_never_too_much_for_the_platform",
    ShowsItsSecret: "no_secret_is_shown",
    QuotesTheNetwork: "no_secret_is_shown",
    TypesForReal: "life_signs_end_whatever_comes_back_and_count_for_nothing",
    EditsByAnError: "a_message_of_ours_can_be_changed",
    FetchesIntoMemory: "files_are_fetched_or_not_whatever_comes_back",
    StreamsIntoNothing: "streams_end_whatever_comes_back",
    PollsWithoutACursor: "a_poll_brings_events_and_a_cursor_or_says_why_not",
    PollsIntoAnAccident: "a_poll_brings_events_and_a_cursor_or_says_why_not",
    TellsTheSecretWhenSettingUp: "setting_up_ends_in_lines_or_says_why_not",
    ResolvesToAnother: "a_look_up_leaves_the_event_what_it_is",
    RenewsByAccident: "fetching_keys_ends_whatever_comes_back",
    AnswersNothing: "answers_are_responses",
    KnowsNobody: "accounts_are_known_or_not",
    PlaysBadly: "what_it_plays_itself_is_authentic",
    PlaysOneMomentOnly: "what_it_plays_itself_is_authentic",
    TakesWordsForAChoice: "what_somebody_types_is_text_and_never_a_payload",
}
IN_SERVICE = {
    CountsItsEvents: "a_message_is_answered_once_however_often_it_comes",
    GivesUpWhatDidNotLeave: "a_platform_that_was_away_gets_the_answer_later",
    RefusesWithAServerError: "a_server_takes_each_authentic_request_and_no_other",
}


def _call(self, method):
    return Call(method=method, url="https://pigeon.test/v1/other", trust="configured")


class NoticingTests(WrittenPackage):
    def setUp(self):
        super().setUp()
        self.install()
        # What breaks a promise is enough here, the smallest that does is not looked for.
        self.patch(hostile, "PHASES", (Phase.generate,))
        self.page = importlib.import_module("test_pigeon")

    def outcome(self, name, breaking=None):
        """Whether the test of the contract called `name` passes for a channel that `breaking` breaks."""
        good = self.page.PigeonInput
        made = type("Broken", (breaking, good), {"call": _call}) if breaking else good
        page, template = self.page, self.page.pigeon_input()

        class Tests(self.page.ContractTests):
            def make_channel(self):
                return made(template.options)

            def make_platform(self):
                pigeon = page.Pigeon()
                return lambda call: pigeon(call) if call.method == "POST" else page.answered(200, {})

            def refused(self):
                return [msgspec.structs.replace(self.signed(b"{}"), body=b"[]")]

        result = unittest.TestResult()
        Tests(f"test_{name}").run(result)
        self.assertEqual(result.testsRun, 1)
        return result

    def test_each_broken_promise_is_noticed_by_its_test(self):
        for breaking, name in (*NOTICED_BY.items(), *IN_SERVICE.items()):
            self.assertFalse(self.outcome(name, breaking).wasSuccessful(), breaking.__name__)

    def test_a_good_channel_passes_each(self):
        for name in sorted({*NOTICED_BY.values(), *IN_SERVICE.values()}):
            result = self.outcome(name)
            self.assertEqual([text for _, text in result.errors + result.failures], [], name)

    def test_there_is_a_breach_for_each_promise(self):
        tests = unittest.defaultTestLoader.getTestCaseNames(self.page.ContractTests)
        noticed = {f"test_{name}" for name in (*NOTICED_BY.values(), *IN_SERVICE.values())}
        self.assertEqual(set(tests) - noticed, {"test_what_is_not_authentic_is_refused"})

    def test_what_was_not_told_is_missed(self):
        for name in ("secrets", "base_urls", "proof_headers"):
            without = type("Tests", (self.page.ChannelContract, unittest.TestCase), {})
            self.assertFalse(hasattr(without, name), name)
