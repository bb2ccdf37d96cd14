"""Every example is started as its first lines say, and answers."""

import shutil

from .integration.processes import (
    PAGE,
    ROOT,
    SECRET,
    TOKEN,
    ProcessTestCase,
    get,
    item,
    message,
    webhook,
)

EXAMPLES = ROOT / "examples"
CREDENTIALS = {"FB_VERIFY": "a verify token", "FB_SECRET": SECRET, "FB_PAGE": PAGE, "FB_PAGE_TOKEN": TOKEN}


class ExampleTests(ProcessTestCase):
    async def test_the_bot_in_the_demonstration(self):
        program = self.run_command(
            "klein-channels",
            "demo",
            "--once",
            "--port",
            str(self.port),
            "--agent",
            "mybot:reply",
            cwd=EXAMPLES,
        )
        self.assertEqual(await self.status(program), 0, program.said)
        self.assertIn("sees: 'Hello! You said: Hello!'", program.stdout)

    async def test_the_bot_on_a_page(self):
        for name in ("mybot.py", "channels.yml"):
            shutil.copy(EXAMPLES / name, self.folder)
        environment = {**CREDENTIALS, "STORE": str(self.folder / "test.db")}
        config = self.write(
            "channels.yml", (self.folder / "channels.yml").read_text().replace("1234567890", PAGE)
        )
        await self.serve(config, **environment)
        pressed = item("7", postback={"mid": "m_2", "title": "Please do", "payload": "menu"})
        self.assertEqual(await self.ask(webhook(message("7", "m_1", "Good evening"), pressed)), 200)
        await self.until(lambda: len(self.graph.sent) == 3)
        self.assertEqual(
            self.texts,
            ["Hello! You said: Good evening", "Shall I read you the menu?", "Soup, pasta, or the fish."],
        )

    async def test_the_application_with_a_site_of_its_own(self):
        program = self.run_application("embedded.py", ENDPOINT=self.endpoint, **CREDENTIALS)
        await self.until_ready(program, "/chat/health/ready")
        self.assertEqual(await self.ask(get("/")), 200)
        self.assertEqual(await self.ask(webhook(message("7", "m_1", "hello"), path="/chat/webhook")), 200)
        self.assertEqual(await self.ask(webhook(message("7", "m_2"), path="/chat/webhook", secret="no")), 403)
        await self.until(lambda: self.texts == ["You wrote 5 characters."])

    async def test_two_services_in_one_process(self):
        ports = {"SHOP": self.port, "HELP": self.own_port()}
        environment = {f"{name}_{key}": value for name in ports for key, value in CREDENTIALS.items()}
        endpoints = {f"{name}_ENDPOINT": f"tcp:{port}:interface=127.0.0.1" for name, port in ports.items()}
        program = self.run_application("two_services.py", **environment, **endpoints)
        await self.until_ready(program)
        for port in ports.values():
            self.assertEqual(await self.ask(webhook(message("7", "m_1", "hello")), port=port), 200)
        answers = ["We have written down: hello", "What are you looking for?"]
        await self.until(lambda: sorted(self.texts) == answers)
        self.assertTrue(all((self.folder / f"{name}.db").exists() for name in ("shop", "help")))

    async def test_all_examples_are_tested(self):
        tested = {"mybot.py", "channels.yml", "embedded.py", "two_services.py", "babi", "README.rst"}
        there = {path.name for path in EXAMPLES.iterdir() if path.name != "__pycache__"}
        self.assertEqual(there, tested)

    def run_application(self, name, **environment):
        return self.run_command("twistd", "-n", "-y", str(EXAMPLES / name), **environment)
