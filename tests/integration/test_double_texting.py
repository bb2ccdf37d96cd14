"""Messages that come while something is answered, with real servers: tasks of asyncio, threads, kills."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.processes import ProcessTestCase, message, webhook

ANNA = "1001"
# A task of asyncio that only its cancellation ends, and that says so.
TASK = """
import asyncio

async def reply(event, turn):
    if event.text != "slow":
        earlier = [one.text for one in turn.interrupted]
        return f"re: {event.text} after {earlier}"
    open("asked", "w").close()
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        open("cancelled", "w").close()
        raise
"""
# A function that nothing can stop; it goes on until it is let.
THREAD = """
import os, time

def reply(event):
    if event.text == "slow":
        open("asked", "w").close()
        while not os.path.exists("go-on"):
            time.sleep(0.02)
    return "re: " + event.text
"""
ASYNCIO = ("twistd", "-n", "--reactor=asyncio", "channels")


class DoubleTexting(ProcessTestCase):
    def with_mode(self, mode: str, agent: str) -> Path:
        config = self.configure(agent, policy={"merge_window": 1.5, "poll_interval": 0.2})
        tree = json.loads(config.read_text())
        tree["channels"]["facebook"]["double_texting"] = mode
        config.write_text(json.dumps(tree))
        return config

    async def writes(self, text: str) -> None:
        self.assertEqual(await self.ask(webhook(message(ANNA, f"m-{text}", text))), 200)

    async def until_there_is(self, name: str) -> None:
        await self.until((self.folder / name).exists)

    async def test_an_interruption_reaches_the_task(self) -> None:
        config = self.with_mode("interrupt", TASK)
        server = self.run_command(*ASYNCIO, "--config", str(config), "--port", self.endpoint)
        await self.until_ready(server)
        await self.writes("slow")
        await self.until_there_is("asked")
        await self.writes("quick")
        await self.until_there_is("cancelled")
        await self.until(lambda: self.texts)
        self.assertEqual(self.texts, ["re: quick after ['slow']"])
        await self.stop(server)

    async def test_a_thread_is_waited_for_and_not_heard(self) -> None:
        server = await self.serve(self.with_mode("interrupt", THREAD))
        await self.writes("slow")
        await self.until_there_is("asked")
        await self.writes("quick")
        self.assertEqual(self.texts, [])
        (self.folder / "go-on").touch()
        await self.until(lambda: self.texts)
        self.assertEqual(self.texts, ["re: quick"])
        await self.stop(server)

    async def test_a_killed_server_s_turn_makes_way_in_the_next_one(self) -> None:
        config = self.with_mode("interrupt", THREAD)
        server = await self.serve(config)
        await self.writes("slow")
        await self.until_there_is("asked")
        await self.writes("quick")
        self.kill(server)
        await self.until(lambda: server.is_gone)
        server = await self.serve(config)
        await self.until(lambda: self.texts)
        self.assertEqual(self.texts, ["re: quick"])
        await self.stop(server)

    async def test_what_is_to_be_merged_outlives_a_kill(self) -> None:
        config = self.with_mode("merge", THREAD)
        server = await self.serve(config)
        await self.writes("a")
        await self.writes("b")
        self.kill(server)
        await self.until(lambda: server.is_gone)
        server = await self.serve(config)
        await self.until(lambda: self.texts)
        self.assertEqual(self.texts, ["re: a\nb"])
        await self.stop(server)
