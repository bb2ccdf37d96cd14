"""``klein-channels dead-letters`` beside a running server."""

from __future__ import annotations

from typing import Any

from klein_channels.testing.graph import refusal
from tests.integration.processes import ENDED_BY_TERM, ProcessTestCase, message, webhook

POLICY = {"agent_patience": 0.8, "poll_interval": 0.1}
FAILING_AGENT = """
import os

async def reply(event):
    with open("asked", "a") as asked:
        asked.write(event.text + "\\n")
    if not os.path.exists("healed"):
        raise ValueError("a fault of the agent")
    return "healed: " + event.text
"""
APOLOGY = "Sorry, something went wrong. Please try again."


class DeadLetters(ProcessTestCase):
    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run ``dead-letters``; its status, and what it says."""
        program = self.run_command("klein-channels", "dead-letters", *arguments, "--config", str(self.config))
        return await self.status(program), program.said

    async def served(self, **more: Any) -> None:
        self.config = self.configure(FAILING_AGENT, POLICY, **more)
        self.program = await self.serve(self.config)

    async def a_dead_turn(self) -> str:
        """The name of a turn that the agent raised in until it was given up."""
        await self.served()
        self.assertEqual(await self.ask(webhook(message("7", "m_1", "book a table"))), 200)
        await self.until(lambda: self.texts)
        await self.until_all_is_done()
        return "turn-1"

    async def test_an_agent_that_raised_three_times_leaves_an_apology_and_a_letter(self) -> None:
        letter = await self.a_dead_turn()
        self.assertEqual(self.texts, [APOLOGY])
        self.assertEqual((self.folder / "asked").read_text(), "book a table\n" * 3)
        status, said = await self.command("list")
        self.assertEqual(status, 0)
        time = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ"
        self.assertRegex(said, rf"^{letter}  {time}  facebook:1000:7  ValueError: a fault of the agent\n$")
        status, said = await self.command("show", letter)
        self.assertEqual(status, 0)
        self.assertIn('"text": "book a table"', said)

    async def test_replayed_with_the_agent_healed_it_is_answered(self) -> None:
        letter = await self.a_dead_turn()
        self.write("healed", "")
        self.assertEqual(await self.command("replay", letter), (0, f"{letter} will be tried again\n"))
        await self.until(lambda: len(self.texts) > 1)
        self.assertEqual(self.texts, [APOLOGY, "healed: book a table"])
        self.assertEqual(await self.command("list"), (0, ""))
        self.assertIn(await self.stop(self.program), ENDED_BY_TERM)

    async def test_discarded_it_is_gone_for_good(self) -> None:
        letter = await self.a_dead_turn()
        self.write("healed", "")
        self.assertEqual(await self.command("discard", letter), (0, f"{letter} is put away\n"))
        self.assertEqual(await self.command("list"), (0, ""))
        self.assertEqual(
            await self.command("replay", letter, "turn-4711"),
            (1, f"Error: no dead letter {letter}, turn-4711\n"),
        )
        self.assertEqual(await self.ask(webhook(message("7", "m_2", "again"))), 200)
        await self.until(lambda: len(self.texts) > 1)
        self.assertEqual(self.texts, [APOLOGY, "healed: again"])

    async def test_a_reply_that_the_platform_refused_is_replayed_as_it_was(self) -> None:
        self.write("healed", "")
        self.graph.answers(refusal(100, "No matching user found", 2018001))
        await self.served()
        self.assertEqual(await self.ask(webhook(message("7", "m_1"))), 200)
        await self.until(lambda: self.graph.requests)
        await self.until_all_is_done()
        _, said = await self.command("list")
        self.assertRegex(said, r"^reply-1  \S+  facebook:1000:7  .*No matching user found.*\n$")
        self.assertEqual(await self.command("replay", "reply-1"), (0, "reply-1 will be tried again\n"))
        await self.until(lambda: self.texts)
        self.assertEqual(self.texts, ["healed: hello"])
        self.assertEqual((self.folder / "asked").read_text(), "hello\n")

    async def test_without_a_server_it_works_too(self) -> None:
        letter = await self.a_dead_turn()
        await self.stop(self.program)
        self.write("healed", "")
        self.assertEqual(await self.command("replay", letter), (0, f"{letter} will be tried again\n"))
        await self.serve(self.config)
        await self.until(lambda: len(self.texts) > 1)
        self.assertEqual(self.texts, [APOLOGY, "healed: book a table"])

    async def test_no_store_is_one_line(self) -> None:
        self.config = self.configure()
        status, said = await self.command("list")
        line = f"Error: store: {self.store.path} cannot be opened: unable to open database file\n"
        self.assertEqual((status, said), (1, line))
        self.assertFalse(self.store.path.exists())
