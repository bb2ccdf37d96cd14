"""
Callers: ConversationRelay calls to a server, that listen to each token and break in now and then.

A token is the moment at which the agent wrote it, on the clock that all processes of a machine share; what
is measured is the time until it is here. Every third answer is broken into after five tokens; the tokens that
come after that are kept with how late they came. It says ``warm`` after a second, and prints JSON at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from klein_channels.secret import Secret
from klein_channels.signatures import twilio_signature

PUBLIC, PATH, AUTH = "wss://bot.example", "/app/conversation_relay/socket", "auth-token-of-benchmarks"
PAUSE = 0.2
"""Seconds between the end of an answer, or an interruption, and the caller's next words."""
LISTENS = 5
LATE = 0.010


class Caller(asyncio.Protocol):
    """One call."""

    def __init__(self, number: int, seen: dict) -> None:
        self._sid = f"CA{number:032d}"
        self._seen = seen
        self._data = b""
        self._open = False
        self._turn = number % 3
        self._heard = 0
        self._broke_in = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        signature = twilio_signature(PUBLIC + PATH, (), Secret(AUTH))
        transport.write(
            f"GET {PATH} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            f"X-Twilio-Signature: {signature}\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        self._data += data
        if not self._open:
            head, found, self._data = self._data.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head:
                raise SystemExit(f"no socket: {head[:60]!r}")
            self._open = True
            self._tell(type="setup", callSid=self._sid, **{"from": f"+{self._sid[2:]}", "to": "+1"})
            self._later(self._speak)
        while (frame := self._frame()) is not None:
            opcode, payload = frame
            if opcode == 1:
                self._take(json.loads(payload), now)
            elif opcode == 9:
                self._write(10, payload)

    def _frame(self) -> tuple[int, bytes] | None:
        data = self._data
        if len(data) < 2:
            return None
        size, start = data[1], 2
        if size == 126:
            size, start = struct.unpack_from("!H", data, 2)[0] if len(data) >= 4 else 1 << 16, 4
        if len(data) < start + size:
            return None
        self._data = data[start + size :]
        return data[0] & 15, data[start : start + size]

    def _take(self, frame: dict, now: int) -> None:
        token = frame.get("token", "")
        if self._broke_in:
            if token:
                self._seen["after"].append(now / 1e9 - self._broke_in)
            return
        for written in token.split():
            self._seen["tokens" if self._heard else "firsts"].append((now - int(written)) / 1e9)
            self._heard += 1
        if frame.get("last"):
            self._seen["answers"] += 1
            self._later(self._speak)
        elif self._turn % 3 == 0 and self._heard >= LISTENS:
            self._broke_in = time.monotonic()
            self._seen["interrupts"] += 1
            self._tell(
                type="interrupt", utteranceUntilInterrupt=token.strip(), durationUntilInterruptMs="460"
            )
            self._later(self._speak)

    def _later(self, what) -> None:
        asyncio.get_running_loop().call_later(PAUSE, what)

    def _speak(self) -> None:
        self._turn += 1
        self._heard, self._broke_in = 0, 0.0
        self._tell(type="prompt", voicePrompt=f"say {self._turn}", lang="en-US", last=True)

    def _tell(self, **frame) -> None:
        self._write(1, json.dumps(frame).encode())

    def _write(self, opcode: int, payload: bytes) -> None:
        size = (
            bytes([128 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
        )
        self._transport.write(bytes([128 | opcode]) + size + b"\0\0\0\0" + payload)


async def run(given: argparse.Namespace) -> dict:
    """Hold calls for a while; what was seen, but for the first seconds."""
    seen = {"tokens": [], "firsts": [], "after": [], "interrupts": 0, "answers": 0}
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda n=n: Caller(n, seen), "127.0.0.1", given.port)
        for n in range(given.calls)
    ]
    await asyncio.sleep(given.warm_up)
    for name in ("tokens", "firsts", "after"):
        seen[name].clear()
    seen["interrupts"] = seen["answers"] = 0
    print("warm", flush=True)
    await asyncio.sleep(given.seconds)
    result = {**seen, "tokens": list(seen["tokens"])}
    for transport, _ in made:
        transport.abort()
    return result


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--calls", type=int, required=True)
    options.add_argument("--seconds", type=float, required=True)
    options.add_argument("--warm-up", type=float, default=1.0)
    print(json.dumps(asyncio.run(run(options.parse_args()))))
