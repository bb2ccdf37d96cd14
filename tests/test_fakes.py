"""``klein-channels fake graph``: what it takes, and what it writes down."""

from __future__ import annotations

from typing import Any

from click.testing import CliRunner
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from klein_channels.channels.facebook import FacebookInput
from klein_channels.channels.whatsapp import WhatsAppInput
from klein_channels.cli import main
from klein_channels.errors import ConfigError
from klein_channels.fakes import describe, make_graph, read_accounts
from klein_channels.model import Address, AnyPart, Image, Outgoing, Sent, Text
from klein_channels.testing.graph import SentMessage
from klein_channels.testing.platforms import served
from klein_channels.testing.steps import drive


class FakeGraphTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines: list[str] = []
        accounts = {
            "--page": {"1000": "page-token"},
            "--instagram": {"17841400000000001": "instagram-token"},
            "--whatsapp": {"2000": "number-token"},
        }
        self.graph = make_graph(Clock(), accounts, "secret", 0.0, self.lines.append)

    def send(self, part: AnyPart, **more: Any) -> Any:
        channel = FacebookInput(
            "v", "secret", page_tokens={"1000": "page-token"}, graph_url="https://graph.test"
        )
        address = Address(channel="facebook", account="1000", peer="77")
        outgoing = Outgoing(id="o1", address=address, part=part, cause="m")
        return drive(channel.send(outgoing), served(self.graph))[1]

    def test_what_a_person_sees_is_written_down(self) -> None:
        self.assertIsInstance(self.send(Text(text="Hello {braces}")), Sent)
        self.send(Image(url="https://x.example/hat.png"))
        self.assertEqual(self.lines[0], f"1000 -> 77: Hello {{braces}} ({self.graph.sent[0].mid})")
        self.assertIn("https://x.example/hat.png", self.lines[1])

    def test_any_body_has_a_line(self) -> None:
        for body in (
            {},
            {"recipient": []},
            {"recipient": {}},
            {"to": "1", "text": {"body": "x"}},
            {"message": 5},
        ):
            self.assertIn("1000 -> ", describe(SentMessage(page="1000", body=body)))

    def test_numbers_of_whatsapp_are_played_too(self) -> None:
        numbers = {"2000": "number-token"}
        whatsapp = WhatsAppInput("v", "secret", numbers, graph_url="https://graph.test")
        address = Address(channel="whatsapp", account="2000", peer="77")
        outgoing = Outgoing(id="o1", address=address, part=Text(text="hi"), cause="m")
        outcome = drive(whatsapp.send(outgoing), served(self.graph))[1]
        self.assertIsInstance(outcome, Sent)
        self.assertIn("2000 -> +77: hi", self.lines[0])

    def test_accounts_have_the_token_that_is_given_or_one_of_their_own(self) -> None:
        found = read_accounts("--page", ("1=a=b", "2"))
        self.assertEqual(found["1"], "a=b")
        self.assertGreater(len(found["2"]), 20)
        for wrong in (("=x",), ("a b=x",), ("1", "1"), ("1=x\n",), ("é=1",)):
            line = str(self.assertRaises(ConfigError, read_accounts, "--page", wrong))
            self.assertIn("--page", line)

    def test_the_command_refuses_what_it_cannot_read_in_one_line(self) -> None:
        result = CliRunner().invoke(main, ["fake", "graph", "--page", "a b"])
        self.assertEqual(
            (result.exit_code, result.output), (1, "Error: --page 'a b': write ID=TOKEN, each id once\n")
        )
