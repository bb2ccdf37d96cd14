"""``klein-channels demo`` and ``trigger``: the whole way of a message, on this machine, in one command."""

from __future__ import annotations

from tests.integration.processes import ECHO_AGENT, ENDED_BY_TERM, ProcessTestCase, Program


class DemoTestCase(ProcessTestCase):
    def demo(self, *arguments: str) -> Program:
        return self.run_command("klein-channels", "demo", "--port", str(self.port), *arguments)

    async def running(self, *arguments: str) -> Program:
        """A demonstration whose own first message was answered."""
        program = self.demo(*arguments)
        await self.until(lambda: "It stays up" in program.stdout or program.is_gone)
        return program

    async def trigger(self, *arguments: str) -> Program:
        """Run `trigger` to its end."""
        program = self.run_command("klein-channels", "trigger", *arguments)
        await self.status(program)
        return program

    @property
    def url(self) -> tuple[str, str]:
        return "--url", f"http://127.0.0.1:{self.port}/app/webhook"


class Demonstrations(DemoTestCase):
    async def test_once_shows_the_whole_way_and_ends_with_0(self) -> None:
        program = self.demo("--once")
        self.assertEqual((await self.status(program), program.stderr), (0, ""))
        parts = (
            f"klein_channels serves Messenger at http://127.0.0.1:{self.port}/app/webhook\n",
            "a stand-in for the Graph API listens at http://127.0.0.1:",
            f"  webhook> POST http://127.0.0.1:{self.port}/app/webhook\n",
            "           x-hub-signature-256: sha256=",
            '"text":"Hello!"',
            "  agent    is asked: 'Hello!' (event m_",
            '  Graph  < POST /1000/messages {"recipient": {"id": "1000000000000001"}, "message": {',
            "  person   sees: 'You said: Hello!'\n",
        )
        for part in parts:
            self.assertIn(part, program.stdout)
        places = [program.stdout.index(part) for part in parts]
        self.assertEqual(places, sorted(places))
        self.assertRegex(
            program.stdout, r"  webhook< 200 after \d+\.\d ms, stored before it was acknowledged"
        )
        self.assertEqual([path for path in self.folder.rglob("*") if path.is_file()], [])

    async def test_once_with_an_agent_that_does_not_answer_does_not_end_with_0(self) -> None:
        self.write("bot.py", "def reply(event):\n    return None\n")
        self.write("sitecustomize.py", "import klein_channels.transcript as t; t.PATIENCE = 1.0\n")
        program = self.run_command(
            *("klein-channels", "demo", "--once", "--port", str(self.port), "--agent", "bot:reply"),
            PYTHONPATH=self.python_path(self.folder),
        )
        self.assertEqual(await self.status(program), 1)
        self.assertIn("no reply arrived within 1 s\n", program.stdout)

    async def test_on_a_taken_port_it_is_one_line(self) -> None:
        self.port = self._graph_port.getHost().port
        for once in ((), ("--once",)):
            program = self.demo(*once)
            self.assertEqual(await self.status(program), 1)
            line = f"Error: port tcp:{self.port}:interface=127.0.0.1: [Errno 98] Address already in use\n"
            self.assertEqual((program.stdout, program.stderr), ("", line))

    async def test_with_an_agent_that_is_not_there_it_is_one_line(self) -> None:
        program = self.demo("--agent", "nobody:reply")
        self.assertEqual(await self.status(program), 1)
        line = "Error: agent: 'nobody:reply': no module 'nobody' in the current directory or among the"
        self.assertEqual((program.stdout, program.stderr), ("", f"{line} installed\n"))

    async def test_the_curl_command_that_it_prints_is_signed_rightly(self) -> None:
        program = await self.running()
        self.assertIn(
            "curl -i -H 'content-type: application/json' -H 'x-hub-signature-256: sha256=", program.stdout
        )
        curl = next(line for line in program.stdout.splitlines() if line.strip().startswith("curl "))
        body = curl.partition("--data-raw '")[2].partition("' http")[0].encode()
        signature = curl.partition("x-hub-signature-256: ")[2].partition("'")[0].encode()
        for altered, status in ((b"", 200), (b" ", 403)):
            request = (
                b"POST /app/webhook HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Hub-Signature-256: %s\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (signature, len(body + altered), body + altered)
            )
            self.assertEqual(await self.ask(request), status)
        await self.until(lambda: "sees: 'You said: And with curl?'" in program.stdout)


class Triggers(DemoTestCase):
    async def test_it_plays_the_platform_beside_a_running_demonstration(self) -> None:
        demo = await self.running()
        for kind, text, seen in (
            ("text", "hi there", "You said: hi there"),
            ("postback", "pressed", "You said: pressed"),
            ("image", "https://example.org/a.png", "Thank you for the image."),
        ):
            told = await self.trigger("facebook", kind, text, *self.url)
            self.assertRegex(told.stdout, r"^200 .*\(\d+\.\d ms\)\n$")
            await self.until(lambda seen=seen: f"sees: {seen!r}" in demo.stdout)
        self.assertIn(await self.stop(demo), ENDED_BY_TERM)
        self.assertNotIn("Traceback", demo.said)

    async def test_its_refusals_are_one_line(self) -> None:
        await self.running()
        for arguments, line in (
            (("facebook", "smoke", "x", *self.url), "Error: no kind 'smoke': text, quick_reply, postback,"),
            (
                ("telegram", "text", "x", *self.url),
                "Error: the demonstration has the channel 'facebook' only",
            ),
            (("facebook", "text", "x", "--url", "ftp://x"), "Error: "),
        ):
            told = await self.trigger(*arguments)
            self.assertEqual(told.stdout, "")
            self.assertTrue(told.stderr.startswith(line), told.stderr)
            self.assertEqual(told.stderr.count("\n"), 1)

    async def test_without_a_demonstration_it_says_so(self) -> None:
        told = await self.trigger("facebook", "text", "hi", *self.url)
        self.assertIn(f"Error: no demonstration of yours runs at port {self.port}:", told.stderr)
        self.assertEqual(told.stderr.count("\n"), 1)

    async def test_with_a_configuration_it_signs_as_that_says(self) -> None:
        config = self.configure(ECHO_AGENT)
        await self.serve(config)
        told = await self.trigger("facebook", "text", "hi", *self.url, "--config", str(config))
        self.assertTrue(told.stdout.startswith("200 "), told.said)
        await self.until(lambda: self.texts == ["re: hi"])
