"""What operators do to a real server: at its endpoint, by command, by a scrape, and in its log."""

from __future__ import annotations

import json
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.integration.processes import ENDED_BY_TERM, LOOPBACK, ProcessTestCase, message, webhook

TOKEN = "token-of-operators-for-tests"


class Operators(ProcessTestCase):
    async def served(self, **more: Any) -> None:
        self.admin = self.own_port()
        admin = {"port": f"tcp:{self.admin}:interface={LOOPBACK}", "token": TOKEN, "metrics": "true"}
        self.config = self.configure(policy={"poll_interval": 0.1}, admin=admin, **more)
        self.program = await self.serve(self.config)

    async def ordered(
        self, method: str, path: str, order: Any = None, token: str = TOKEN
    ) -> tuple[int, bytes]:
        """The status and the body of an answer at the endpoint."""
        body = b"" if order is None else json.dumps(order).encode()
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        wire = await self.wire(self.admin)
        wire.send(head.encode() + body)
        answer = await wire.lost
        status, _, rest = answer.partition(b"\r\n")
        return int(status.split()[1]), rest.partition(b"\r\n\r\n")[2]

    async def command(self, *arguments: str) -> tuple[int, str]:
        program = self.run_command("klein-channels", *arguments, "--config", str(self.config))
        return await self.status(program), program.said

    async def test_a_pause_by_command_is_obeyed_and_a_resume_at_the_endpoint_ends_it(self) -> None:
        await self.served()
        self.assertEqual(await self.command("pause", "facebook"), (0, "facebook: hold\n"))
        self.assertEqual(await self.ask(webhook(message("7", "m_1", "hello"))), 200)
        status, body = await self.ordered("GET", "/admin/v1/status")
        self.assertEqual(status, 200)
        self.assertEqual(json.loads(body)["channels"][0]["waiting_events"], 1)
        self.assertEqual(self.texts, [])
        status, _ = await self.ordered("POST", "/admin/v1/resume", {"channel": "facebook"})
        self.assertEqual(status, 200)
        await self.until(lambda: self.texts)
        status, said = await self.command("audit")
        self.assertEqual([line.split("  ")[2] for line in said.splitlines()], ["pause", "resume"])
        self.assertEqual((await self.ordered("GET", "/admin/v1/status", token="x" * 20))[0], 401)

    async def test_a_scrape_is_what_prometheus_reads(self) -> None:
        await self.served()
        self.assertEqual(await self.ask(webhook(message("7", "m_1", "hello"))), 200)
        await self.until(lambda: self.texts)
        await self.until_all_is_done()
        status, page = await self.ordered("GET", "/metrics")
        self.assertEqual(status, 200)
        values = {
            sample.name: sample.value
            for family in text_string_to_metric_families(page.decode())
            for sample in family.samples
        }
        for name in (
            "events_received_total",
            "turns_total",
            "messages_sent_total",
            "ack_duration_seconds_count",
        ):
            self.assertEqual(values[f"klein_channels_{name}"], 1, name)
        self.assertEqual(values["klein_channels_queue_depth"], 0)

    async def test_a_log_of_json_has_one_event_a_line_and_nobodys_words(self) -> None:
        await self.served(log={"format": "json"})
        self.assertEqual(await self.ask(webhook(message("7654321", "m_1", "my wish"))), 200)
        await self.until(lambda: self.texts)
        await self.command("people", "erase", "facebook", "7654321", "--yes")
        self.assertIn(await self.stop(self.program), ENDED_BY_TERM)
        lines = [line for line in self.program.stdout.splitlines() if line.startswith("{")]
        self.assertGreater(len(lines), 3)
        for line in lines:
            self.assertLessEqual({"time", "level", "from", "event"}, set(json.loads(line)))
        self.assertNotIn("my wish", self.program.said)
        self.assertNotIn("7654321", self.program.said)
        self.assertEqual(self.store.rows("SELECT * FROM inbox"), [])
