"""Files that people send: on this machine before the agent is asked, and gone with their person."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channel import ChannelOptions
from klein_channels.channels.facebook import FacebookInput
from klein_channels.channels.telegram import TelegramInput
from klein_channels.channels.whatsapp import WhatsAppInput
from klein_channels.errors import ConfigError
from klein_channels.media_types import extension, mismatch, recognised
from klein_channels.model import Address, Attachment
from klein_channels.policy import Policy
from klein_channels.service import ChannelService
from klein_channels.spool import folder_beside
from klein_channels.store.people import Person
from klein_channels.testing.graph import GraphStandIn
from klein_channels.testing.graph_numbers import Numbers
from klein_channels.testing.harness import ChannelInMemory, clock_of_tests
from klein_channels.testing.steps import answered, play

NUMBER, PERSON, TOKEN = "106540352242922", "16505551234", "a-token-of-tests"
PNG = b"\x89PNG\r\n\x1a\n" + b"pixels" * 1000


def channel(**options) -> WhatsAppInput:
    settings = ChannelOptions(**{"fetch_media": True, **options})
    return WhatsAppInput("v", "s" * 20, {NUMBER: TOKEN}, graph_url="http://127.0.0.1:9", options=settings)


class FetchCase(SynchronousTestCase):
    def serve(self, files=None, *, agent=None, **settings):
        clock = clock_of_tests()
        self.numbers = Numbers({NUMBER: TOKEN})
        self.numbers.media.update(files if files is not None else {"77": ("image/png", PNG)})
        self.graph = GraphStandIn(clock, products=[self.numbers])
        self.asked = []
        self.folder = Path(settings.pop("media", self.mktemp())).absolute()

        async def remembering(event):
            self.asked.append(event)
            return "seen"

        kit = ChannelInMemory(
            agent or remembering,
            settings.pop("channel", None) or channel(),
            self.graph,
            clock=clock,
            media=str(self.folder),
            **settings,
        )
        self.addCleanup(lambda: kit.kill() if kit.process.alive else None)
        return kit

    def sent(self, kit, id="77"):
        kit.trigger("image", id)
        kit.advance(0.1)

    def file(self):
        [event] = self.asked
        [attachment] = event.attachments
        return attachment

    def files(self):
        return [path for path in self.folder.rglob("*") if path.is_file()]


class FetchTests(FetchCase):
    def test_the_agent_finds_the_file_on_this_machine(self):
        kit = self.serve()
        self.sent(kit)
        found = self.file()
        self.assertEqual((found.content_type, found.size, found.problem), ("image/png", len(PNG), None))
        self.assertEqual(Path(found.path).read_bytes(), PNG)
        self.assertEqual([message.text for message in self.graph.sent], ["seen"])

    def test_only_the_servers_own_user_may_read_it_and_no_name_is_the_senders(self):
        kit = self.serve()
        self.sent(kit)
        path = Path(self.file().path)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        for folder in (path.parent, self.folder):
            self.assertEqual(stat.S_IMODE(folder.stat().st_mode), 0o700)
        relative = str(path.relative_to(self.folder))
        self.assertRegex(relative, r"^[0-9a-f]{16}/[0-9a-f]{32}\.png$")

    def test_observers_get_it_too_and_it_is_fetched_once(self):
        seen = []
        kit = self.serve(observers=[seen.append])
        self.sent(kit)
        self.assertEqual(seen[0].attachments[0].path, self.file().path)
        self.assertEqual(len(self.files()), 1)

    def test_it_is_off_unless_asked_for(self):
        kit = self.serve(channel=channel(fetch_media=False))
        self.sent(kit)
        self.assertEqual((self.file().path, self.files()), (None, []))

    def test_a_turn_that_is_tried_again_finds_it(self):
        attempts = []

        async def failing(event):
            attempts.append(event.attachments[0].path)
            if len(attempts) == 1:
                raise ValueError("not yet")
            return "seen"

        kit = self.serve(agent=failing)
        self.sent(kit)
        self.numbers.media.clear()
        kit.advance(120)
        self.flushLoggedErrors(ValueError)
        self.assertEqual(len(attempts), 2)
        self.assertEqual(attempts[0], attempts[1])


class TroubleTests(FetchCase):
    def test_what_is_not_what_it_says_is_not_kept(self):
        for content in (b"<html><script>", b"MZ" + b"\0" * 100, b"no magic at all", b""):
            kit = self.serve({"77": ("image/png", content)})
            self.sent(kit)
            self.assertIn("it is no image", self.file().problem)
            self.assertEqual((self.file().path, self.files()), (None, []))
            self.assertEqual([message.text for message in self.graph.sent], ["seen"])

    def test_what_is_too_large_is_not_kept(self):
        kit = self.serve(policy=Policy(media_most=len(PNG) - 1))
        self.sent(kit)
        self.assertIn("longer than", self.file().problem)
        self.assertEqual(self.files(), [])

    def test_a_file_that_is_exactly_as_large_as_may_be(self):
        kit = self.serve(policy=Policy(media_most=len(PNG)))
        self.sent(kit)
        self.assertEqual(self.file().size, len(PNG))

    def test_what_is_gone(self):
        kit = self.serve({})
        self.sent(kit)
        self.assertIn("no address for the file 77", self.file().problem)
        self.assertNotIn(TOKEN, self.file().problem)

    def test_a_full_disk_is_the_files_trouble_alone(self):
        kit = self.serve()
        writes = []

        def full(file, data):
            writes.append(len(data))
            raise OSError(28, "No space left on device")

        self.patch(os, "write", full)
        self.sent(kit)
        self.assertTrue(writes)
        self.assertIn("No space left", self.file().problem)
        self.assertEqual([message.text for message in self.graph.sent], ["seen"])
        self.assertEqual(self.files(), [])

    def test_a_folder_that_cannot_be_used(self):
        place = self.mktemp()
        Path(place).write_text("a file")
        kit = self.serve(media=place)
        self.sent(kit)
        self.assertIsNotNone(self.file().problem)
        self.assertEqual([message.text for message in self.graph.sent], ["seen"])

    def test_a_platform_that_does_not_answer_delays_a_turn_by_the_deadline_at_most(self):
        kit = self.serve(policy=Policy(media_deadline=5.0))
        self.patch(self.graph, "_give", lambda request, answer, usual=None: 1)
        kit.trigger("image", "77")
        kit.advance(4.9)
        self.assertEqual(self.asked, [])
        kit.advance(0.2)
        self.assertIsNotNone(self.file().problem)

    def test_the_token_goes_nowhere_but_to_the_graph_and_to_where_files_are(self):
        whatsapp, attachment = channel(), Attachment(kind="image", raw={"id": "77"})
        address = Address(channel="whatsapp", account=NUMBER, peer=PERSON)
        for url in (
            "https://evil.example/x",
            "https://lookaside.fbsbx.com.evil.example/",
            "http://127.0.0.1:99/",
        ):
            steps = whatsapp.fetch(attachment, address)
            calls = [next(steps)]
            with self.assertRaisesRegex(Exception, "no address"):
                steps.send(answered(body={"url": url}))
            self.assertEqual(len(calls), 1)
        steps = whatsapp.fetch(attachment, address)
        next(steps)
        call = steps.send(answered(body={"url": "https://lookaside.fbsbx.com/a?b"}))
        self.assertEqual((call.url, call.save), ("https://lookaside.fbsbx.com/a?b", True))
        self.assertIn(("Authorization", f"Bearer {TOKEN}"), call.headers)


class KeepingTests(FetchCase):
    def test_old_files_are_deleted(self):
        kit = self.serve(policy=Policy(media_retention=3600.0))
        self.sent(kit)
        kit.advance(3500)
        self.assertEqual(len(self.files()), 1)
        kit.advance(200)
        self.assertEqual(self.files(), [])

    def test_they_go_with_their_person(self):
        kit = self.serve()
        self.sent(kit)
        operations = kit.service.operations("a test")
        person = Person(channel="whatsapp", id=PERSON)
        shown = self.successResultOf(operations._keepers[0].show(person))
        self.assertEqual(shown, [str(path) for path in self.files()])
        erased = Deferred.fromCoroutine(operations.erase(person))
        kit.advance(1)
        self.assertGreater(self.successResultOf(erased), 0)
        self.assertEqual(self.files(), [])

    def test_the_folder_lies_beside_the_store_unless_it_is_named(self):
        self.assertEqual(folder_beside("sqlite:////var/bot.db"), "/var/bot.db.media")
        self.assertIsNone(folder_beside("memory:"))
        with self.assertRaisesRegex(ConfigError, "channel 'whatsapp': fetch_media needs a folder"):
            ChannelService([channel()], lambda event: None, store="memory:")
        ChannelService([channel()], lambda event: None, store="memory:", media=self.mktemp())


class PlatformTests(SynchronousTestCase):
    def test_by_its_address(self):
        facebook = FacebookInput("v", "s", {"1": "t"})
        address = Address(channel="facebook", account="1", peer="2")
        image = Attachment(kind="image", url="https://cdn.example/a.jpg")
        [call], _ = play(facebook.fetch(image, address), answered(body=b""))
        self.assertEqual((call.trust, call.save, call.headers), ("content", True, ()))
        for nothing in (Attachment(kind="share", url="https://x.example"), Attachment(kind="image")):
            self.assertEqual(play(facebook.fetch(nothing, address)), ([], None))

    def test_telegrams_by_its_id(self):
        telegram = TelegramInput("123:abc", secret_token="s", api_url="https://tg.test")
        address = Address(channel="telegram", account="123", peer="2")
        voice = Attachment(kind="audio", raw={"voice": {"file_id": "F"}})
        asked = answered(body={"ok": True, "result": {"file_path": "voice/file_1.oga"}})
        calls, _ = play(telegram.fetch(voice, address), asked, answered(body=b""))
        self.assertEqual(calls[1].url, "https://tg.test/file/bot123:abc/voice/file_1.oga")
        self.assertTrue(calls[1].save)
        self.assertEqual(play(telegram.fetch(Attachment(kind="audio"), address)), ([], None))


class TypeTests(SynchronousTestCase):
    def test_files_are_known_by_their_first_bytes(self):
        for head, found in (
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
            (b"\0\0\0\x18ftypmp42", "video/mp4"),
            (b"OggS\0", "audio/ogg"),
            (b"%PDF-1.7", "application/pdf"),
            (b"  <!DOCTYPE html>", "text/html"),
            (b"", None),
        ):
            self.assertEqual(recognised(head), found)

    def test_what_may_be_what(self):
        self.assertIsNone(mismatch("audio", b"\0\0\0\x18ftypisom"))
        self.assertIsNone(mismatch("file", b"MZ"))
        self.assertIn("image/png", mismatch("audio", PNG))
        self.assertIsNotNone(mismatch("video", b"%PDF-"))

    def test_nothing_gets_a_name_that_could_be_run(self):
        for odd in ("text/html", "application/x-dosexec", "text/x-script", "../../x", "application/zip"):
            self.assertEqual(extension(odd), "bin")
