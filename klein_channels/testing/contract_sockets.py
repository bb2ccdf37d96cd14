"""
What a channel with sockets promises, as tests that its own tests inherit beside those of its webhooks::

    class PigeonSocketTests(SocketContract, SynchronousTestCase):
        secrets = (SECRET,)
        proof_headers = (b"x-pigeon-signature",)

        def make_channel(self): ...
        def handshake(self): ...
        def frames(self): ...

A session opens nothing, so all of it is tested without a socket. Needs the extra ``[test]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec

from ..channel import Fed, Said, Session, Sockets
from ..errors import VerificationError
from ..fit import fit
from ..model import Address, Message, Outgoing, Refused, Sent, Text, WebhookRequest, from_json, to_json
from .contract_subject import Subject, without
from .hostile import JSON_VALUES, ONE_OF_EACH, bodies_like, for_all, strange_requests

__all__ = ["SocketContract"]

NAME = "socket-of-tests"


class SocketContract(Subject):
    """The promises of `Sockets` and its sessions."""

    def handshake(self) -> WebhookRequest:
        """An authentic handshake at `now`: a GET whose `url` begins with ``ws``."""
        raise NotImplementedError

    def frames(self) -> Sequence[str]:
        """Frames of one talk; the first says whose it is, one of the others is for the agent."""
        raise NotImplementedError

    def test_a_handshake_counts_only_with_its_proof(self) -> None:
        """The authentic one passes; without its proof, and whatever else comes, none does."""
        channel, request = self.make_channel(), self.handshake()
        self.assertIsInstance(channel, Sockets)
        self.assertTrue(self._is_let_in(request))
        for name in self.proof_headers:
            self.assertFalse(self._is_let_in(without(request, name)), name)
        for_all(
            lambda strange: self.assertFalse(
                self._is_let_in(msgspec.structs.replace(strange, url=request.url))
            ),
            strange_requests([request]),
        )

    def test_a_talk_brings_events_and_a_place_to_answer_to(self) -> None:
        """The first frame says where; what comes is of that place, can be stored, and is told apart."""
        session, ids = self._session(0), []
        for frame in self.frames():
            fed = session.feed(frame, self.now)
            self._assert_in_order(session, fed)
            ids += [(event.kind, event.id) for event in fed.events]
        self.assertIsNotNone(session.address)
        self.assertTrue(ids)
        self.assertEqual(len(set(ids)), len(ids), "two events of one socket are taken for one")

    def test_no_frame_whatever_is_an_accident(self) -> None:
        """Damaged frames, other JSON and noise mean nothing or something, and the session goes on."""
        talk, session = [frame.encode() for frame in self.frames()], self._session()

        def check(frame: bytes) -> None:
            for said in (frame, frame.decode("utf-8", "replace")):
                self._assert_in_order(session, session.feed(said, self.now))

        for_all(check, bodies_like(talk) | JSON_VALUES.map(msgspec.json.encode), examples=150)

    def test_whatever_is_said_is_frames_and_an_outcome(self) -> None:
        """One of each part that `fit` gives here."""
        capabilities = self.make_channel().capabilities
        for number, part in enumerate(fit(Message(parts=ONE_OF_EACH), capabilities)):
            said = self._session().render(self._outgoing(part, number))
            self._assert_said(said)
            self.assertIsInstance(said.outcome, Sent, repr(part))

    def test_what_grew_is_ended_where_it_began_and_nowhere_else(self) -> None:
        """The whole takes the place of its beginning on this socket; on another one it is refused."""
        here, elsewhere = self._session(), self._session(name="another")
        for text in ("Hello", "Hello there"):
            self._assert_said(here.render(self._outgoing(Text(text=text), partial=True)))
        whole = self._outgoing(Text(text="Hello there"), replaces=NAME)
        self.assertIsInstance(elsewhere.render(whole).outcome, Refused)
        self.assertIsInstance(here.render(whole).outcome, Sent)

    def test_what_is_hushed_is_not_said(self) -> None:
        """No frame of an answer leaves after it was hushed."""
        session = self._session()
        growing = self._outgoing(Text(text="Hello"), partial=True)
        self.assertTrue(session.render(growing).frames)
        session.hush("cause")
        for more in ({"partial": True}, {"replaces": NAME}, {}):
            said = session.render(self._outgoing(Text(text="Hello there"), **more))
            self.assertEqual(said.frames, (), more)

    # What the checks share

    def _is_let_in(self, request: WebhookRequest) -> bool:
        try:
            self.make_channel().verify(request, self.now)
        except VerificationError as error:
            self.assert_tells_no_secret(str(error))
            return False
        return True

    def _session(self, known: int = 1, name: str = NAME) -> Session:
        """A session that has heard the first `known` frames."""
        session = cast("Sockets", self.make_channel()).session(self.handshake(), name)
        for frame in list(self.frames())[:known]:
            session.feed(frame, self.now)
        return session

    def _outgoing(self, part: Any, number: int = 1, **more: Any) -> Outgoing:
        address = self._session().address
        assert isinstance(address, Address), "the first of frames() does not say whose it is"
        return Outgoing(
            id=f"contract-{number}", address=address, part=part, cause="cause", now=self.now, **more
        )

    def _assert_in_order(self, session: Session, fed: Fed) -> None:
        for event in fed.events:
            self.assertEqual(from_json(to_json(event)), event)
            self.assertEqual(event.address, session.address)
            self.assertEqual(event.address.channel, self.make_channel().name)
        self.assertTrue(all(isinstance(frame, str | bytes) for frame in fed.frames))
        if session.wake_at is not None:
            self.assertGreaterEqual(session.wake_at, 0)

    def _assert_said(self, said: Said) -> None:
        self.assertTrue(all(isinstance(frame, str | bytes) for frame in said.frames))
        if isinstance(said.outcome, Refused):
            self.assert_tells_no_secret(said.outcome.reason)
