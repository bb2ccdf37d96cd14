"""Senders that mean harm or know no better, against a whole server."""

from __future__ import annotations

from pathlib import Path

from tests.integration.processes import (
    ProcessTestCase,
    Program,
    message,
    post,
    status_of,
    webhook,
)

MEGABYTE = 1 << 20
COUNTING_AGENT = """
async def reply(event):
    with open("asked", "a") as asked:
        asked.write(event.describe() + "\\n")
    return "re: " + event.describe()
"""


class HostileTestCase(ProcessTestCase):
    async def served(self, **policy: float) -> Program:
        self.configured = self.configure(COUNTING_AGENT, policy)
        return await self.serve(self.configured)

    def asked(self) -> list[str]:
        """What the agent was asked."""
        path = self.folder / "asked"
        return path.read_text().splitlines() if path.exists() else []

    async def sentinel(self) -> None:
        """Wait until a message of somebody else has gone all the way."""
        self.assertEqual(await self.ask(webhook(message("sentinel", "m_sentinel", "sentinel"))), 200)
        await self.until(lambda: self.seen_by("sentinel"))
        await self.until_all_is_done()


class Bodies(HostileTestCase):
    async def test_a_body_that_drips_is_ended_and_nobody_is_asked(self) -> None:
        await self.served(body_deadline=1)
        request = webhook(message("7", "m_1"))
        head = request.index(b"\r\n\r\n") + 4
        wire = await self.wire()
        wire.send(request[:head])
        for byte in request[head:-1]:
            if wire.closed:
                break
            wire.send(bytes([byte]))
            await self.pause(0.05)
        await wire.lost
        self.assertEqual(status_of(wire.heard), 408)
        await self.sentinel()
        self.assertEqual(self.asked(), ["sentinel"])

    async def test_300_megabytes_are_refused_at_once_and_memory_stays_flat(self) -> None:
        program = await self.served()
        await self.sentinel()
        before = resident(program)
        chunk = b"100000\r\n" + b"x" * MEGABYTE + b"\r\n"
        for head, piece in (
            (b"Content-Length: 314572800", b"x" * MEGABYTE),
            (b"Transfer-Encoding: chunked", chunk),
        ):
            wire = await self.wire()
            wire.send(b"POST /app/webhook HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
            sent, highest = 0, before
            while not wire.heard and not wire.closed:
                wire.send(piece)
                sent += 1
                await self.pause()
                highest = max(highest, resident(program))
                self.assertLess(sent, 100)
            self.assertEqual(status_of(wire.heard), 413)
            wire.hang_up()
            self.assertLess(highest - before, 40 * MEGABYTE)
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)

    if not Path("/proc/self/statm").exists():
        test_300_megabytes_are_refused_at_once_and_memory_stays_flat.skip = (  # type: ignore[attr-defined]
            "memory is read from /proc, which this system does not have"
        )

    async def test_authentic_nonsense_is_acknowledged_kept_and_not_answered(self) -> None:
        await self.served()
        for body in (b"", b"[]", b"{", b"\xff\xfe", b'{"object": "page", "entry": 7}', b"[" * 100_000):
            self.assertEqual(await self.ask(post(body)), 200, body[:40])
        await self.sentinel()
        self.assertEqual(self.asked(), ["sentinel"])


class Numbers(HostileTestCase):
    async def test_fifty_entries_in_one_webhook_are_all_answered_in_order(self) -> None:
        await self.served()
        people = [f"p{number}" for number in range(10)]
        texts = {person: [f"{person} {number}" for number in range(5)] for person in people}
        in_turn = [(person, texts[person][number]) for number in range(5) for person in people]
        items = [message(person, f"m_{text}", text) for person, text in in_turn]
        self.assertEqual(await self.ask(webhook(*items)), 200)
        await self.until(lambda: len(self.texts) >= 50)
        await self.until_all_is_done()
        for person in people:
            self.assertEqual(self.seen_by(person), [f"re: {text}" for text in texts[person]])

    async def test_one_message_six_times_at_once_is_answered_once(self) -> None:
        await self.served()
        wires = [await self.wire() for _ in range(6)]
        request = webhook(message("7", "m_1"))
        for wire in wires:
            wire.send(request[:-1])
        for wire in wires:
            wire.send(request[-1:])
        for wire in wires:
            self.assertEqual(status_of(await wire.lost), 200)
        await self.sentinel()
        self.assertEqual(self.seen_by("7"), ["re: hello"])
        self.assertEqual(sorted(self.asked()), ["hello", "sentinel"])


class Strangers(HostileTestCase):
    async def test_what_is_not_signed_touches_neither_store_nor_agent_nor_log(self) -> None:
        program = await self.served()
        stranger = message("7", "m_1", "a stranger's words")
        signed = webhook(stranger)
        for request in (
            webhook(stranger, secret=None),
            webhook(stranger, secret="a guess"),
            signed.replace(b"sha256=", b"sha1="),
            signed.replace(b"stranger's", b"STRANGER'S"),
            signed.replace(b"\r\n\r\n", b"\r\nX-Hub-Signature-256: sha256=00\r\n\r\n", 1),
        ):
            self.assertEqual(await self.ask(request), 403)
        await self.sentinel()
        self.assertEqual(self.asked(), ["sentinel"])
        self.assertEqual(len(self.store.rows("SELECT * FROM inbox")), 1)
        self.assertEqual(len(self.store.rows("SELECT * FROM seen")), 1)
        self.assertNotIn("stranger's words", program.said.lower())

    async def test_no_text_is_a_format(self) -> None:
        program = await self.served()
        typed = "{0.__class__} %s %(x)s {log_source} {{ \u202e"
        self.assertEqual(await self.ask(webhook(message("7", "m_1", typed))), 200)
        await self.until(lambda: self.texts)
        self.assertEqual(self.texts, [f"re: {typed}"])
        self.assertNotIn("Unable to format", program.said)

    async def test_a_page_of_somebody_else_is_kept_and_never_answered(self) -> None:
        await self.served()
        other = {**message("7", "m_1"), "recipient": {"id": "4711"}}
        self.assertEqual(await self.ask(webhook(other, page="4711")), 200)
        await self.sentinel()
        self.assertEqual(self.asked(), ["sentinel"])
        self.assertEqual(len(self.store.rows("SELECT * FROM inbox")), 2)


def resident(program: Program) -> int:
    """Bytes of memory that a process has now."""
    return int(Path(f"/proc/{program.pid}/statm").read_text().split()[1]) * 4096
