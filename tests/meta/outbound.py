"""What a fixture of something that goes out is held against: the body, and the stand-in's judgement."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from twisted.internet.task import Clock

from klein_channels.fit import fit
from klein_channels.model import (
    Address,
    Call,
    CallResult,
    Message,
    Outcome,
    Outgoing,
    Refused,
    Sent,
    Text,
    from_json,
)
from klein_channels.testing.graph import GraphStandIn
from klein_channels.testing.platforms import served
from klein_channels.testing.steps import drive

PERSON = "6789012345678901"
NOW = 1_790_000_000.0


class OutboundFixtures:
    """Every kind of message that a platform takes, one file each; those it would not take as well."""

    folder: Path
    account: str
    person = PERSON
    mark: ClassVar[dict[str, Any]] = {}
    """What our id looks like in the body of a message."""

    def make_channel(self) -> Any:
        """The channel that sends."""
        raise NotImplementedError

    def make_graph(self) -> GraphStandIn:
        """The stand-in that takes or refuses what is sent."""
        raise NotImplementedError

    def test_each_message_is_sent_as_its_fixture_expects_and_taken(self: Any) -> None:
        for name, fixture in self.fixtures():
            if "expect" in fixture:
                bodies = []
                for outcome, body in self.sent(fixture):
                    self.assertIsInstance(outcome, Sent, f"{name}: {outcome}")
                    bodies.append(body)
                self.assertEqual(bodies, [self.marked(body) for body in fixture["expect"]], name)

    def test_what_breaks_a_limit_is_refused_before_it_is_sent_and_the_reason_names_the_place(
        self: Any,
    ) -> None:
        for name, fixture in self.fixtures():
            if "refused" in fixture:
                [(outcome, body)] = self.sent(fixture)
                self.assertIsInstance(outcome, Refused, name)
                self.assertEqual((outcome.scope, body), ("message", None), name)
                self.assertIn(fixture["refused"], outcome.reason, name)

    def test_the_graph_would_refuse_the_same(self: Any) -> None:
        graph = self.make_graph()
        for name, fixture in self.fixtures():
            custom = fixture["message"]["parts"][0].get("json")
            if "refused" in fixture and custom and "message" not in custom:
                body = {"recipient": {"id": self.person}, "message": custom}
                problem = self.judged(graph, body)
                self.assertEqual(problem.get("error", {}).get("code"), 100, f"{name}: {problem}")

    def fixtures(self) -> list[tuple[str, Any]]:
        """All of them, by name."""
        return [(file.stem, json.loads(file.read_bytes())) for file in sorted(self.folder.glob("*.json"))]

    def marked(self, body: dict[str, Any]) -> dict[str, Any]:
        """An expected body with our id in it."""
        return {**body, "message": {**self.mark, **body["message"]}} if "message" in body else body

    def sent(self, fixture: Any) -> list[tuple[Outcome, Any]]:
        """What becomes of each part of a fixture's message, and the body that was posted for it."""
        channel, graph = self.make_channel(), self.make_graph()
        message = from_json(json.dumps(fixture["message"]).encode())
        assert isinstance(message, Message)
        address = Address(channel=channel.name, account=self.account, peer=fixture.get("peer", self.person))
        found: list[tuple[Outcome, Any]] = []
        for part in fit(message, channel.capabilities):
            outgoing = Outgoing(
                id="o1",
                address=address,
                part=part,
                cause="m_1",
                now=NOW,
                reply_to=message.reply_to,
                metadata=message.metadata,
            )
            posted: list[Call] = []
            outcome = drive(channel.send(outgoing), _noting(graph, posted))[1]
            found.append((outcome, json.loads(posted[-1].body) if posted else None))
        return found

    def judged(self, graph: GraphStandIn, body: Any) -> Any:
        """What the stand-in answers to the channel's own call with another body."""
        channel = self.make_channel()
        address = Address(channel=channel.name, account=self.account, peer=self.person)
        outgoing = Outgoing(id="o1", address=address, part=Text(text="x"), cause="m", now=NOW)
        call = msgspec.structs.replace(next(channel.send(outgoing)), body=json.dumps(body).encode())
        return json.loads(served(graph)(call).body)


def _noting(graph: GraphStandIn, posted: list[Call]) -> Any:
    answer = served(graph, Clock())

    def judge(call: Call) -> CallResult:
        posted.append(call)
        return answer(call)

    return judge
