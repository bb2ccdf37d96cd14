"""``klein-channels facebook setup``, ``check-config --live`` and ``fake graph``, as an operator runs them."""

from __future__ import annotations

import json
import re

from tests.integration.processes import PAGE, TOKEN, ProcessTestCase, Program

WEBHOOK = "https://bot.example/app/facebook/webhook"


class SetupTests(ProcessTestCase):
    async def ended(self, *arguments: str, status: int = 0) -> Program:
        """A command that ended with that status."""
        program = self.run_command("klein-channels", *arguments)
        self.assertEqual(await self.status(program), status, program.said)
        return program

    async def test_a_page_is_set_up_once_and_then_found_good(self) -> None:
        config = str(self.configure(public_url="https://bot.example"))
        before = await self.ended("check-config", config, "--live", status=1)
        self.assertIn(f"facebook: FAULT: {PAGE}: not subscribed to messages", before.stdout)
        self.assertIn("not all of it works at the platforms", before.stderr)
        dry = await self.ended("facebook", "setup", "--config", config, "--dry-run")
        self.assertEqual(self.graph.app.webhooks, {})
        done = await self.ended("facebook", "setup", "--config", config)
        self.assertEqual((done.stdout, done.stderr), (dry.stdout, ""))
        self.assertIn(f"facebook: webhook: none -> {WEBHOOK}\n", done.stdout)
        again = await self.ended("facebook", "setup", "--config", config)
        self.assertEqual(again.stdout, "facebook: nothing differs\n")
        after = await self.ended("check-config", config, "--live")
        self.assertNotIn("FAULT", after.said)
        for program in (before, done, after):
            self.assertNotIn(TOKEN, program.said)

    async def test_a_stand_in_takes_what_a_server_says(self) -> None:
        fake = self.run_command("klein-channels", "fake", "graph", "--port", "0", "--page", f"{PAGE}={TOKEN}")
        await self.until(lambda: "is played at" in fake.stdout or fake.is_gone)
        url = re.search(r"http://[\d.:]+", fake.stdout)
        assert url is not None, fake.said
        config = self.configure()
        tree = json.loads(config.read_text())
        tree["channels"]["facebook"]["graph_url"] = url[0]
        config.write_text(json.dumps(tree))
        await self.serve(config)
        self.run_command(
            *("klein-channels", "trigger", "facebook", "text", "hello", "--config", str(config)),
            *("--url", f"http://127.0.0.1:{self.port}/app/webhook"),
        )
        await self.until(lambda: f"{PAGE} -> 1000000000000001: " in fake.stdout)
        self.signal(fake, "INT")
        self.assertEqual(await self.status(fake), 0)
