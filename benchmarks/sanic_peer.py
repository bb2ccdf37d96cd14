"""
The same work as a careful user of Sanic would write it; its settings are those that serve it best.

A webhook is verified, parsed and stored, once, with synchronous=FULL before it is answered. With a
Graph address each message is then answered by a task: the agent is asked, its reply is sent with
aiohttp, and the message is marked done. ``executor`` runs the database in a thread of its own,
``inline`` on the event loop, which is cheaper and lets everybody wait for the disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import aiohttp
import answers
from sanic import Sanic, response
from wire import SECRET, TOKENS, WEBHOOK

TABLE = """
CREATE TABLE IF NOT EXISTS message (
    mid TEXT PRIMARY KEY, person TEXT NOT NULL, event BLOB NOT NULL, reply TEXT, state TEXT NOT NULL
) WITHOUT ROWID
"""
MOST_SENDS = 256


class Database:
    """One connection; each call is a commit of its own."""

    def __init__(self, path: str, where: str) -> None:
        self._thread = ThreadPoolExecutor(1) if where == "executor" else None
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(TABLE)

    def settings(self) -> str:
        mode = self._db.execute("PRAGMA journal_mode").fetchone()[0]
        level = self._db.execute("PRAGMA synchronous").fetchone()[0]
        return f"journal_mode={mode}, synchronous={level}"

    async def run(self, statement: str, *values: object) -> int:
        if self._thread is None:
            return self._run(statement, *values)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, statement, *values)

    def _run(self, statement: str, *values: object) -> int:
        return self._db.execute(statement, values).rowcount


def way_to(page: str, token: str, graph: str | None) -> dict:
    """The URL and the headers of the sends of a page."""
    proof = hmac.new(SECRET.encode(), token.encode(), hashlib.sha256).hexdigest()
    return {
        "url": f"{graph}/v25.0/{page}/messages?appsecret_proof={proof}",
        "headers": {"Authorization": f"Bearer {token}"},
    }


def create(path: str, where: str, graph: str | None) -> Sanic:
    app = Sanic("peer", configure_logging=False)
    database = Database(path, where)
    key = SECRET.encode()
    ways = {page: way_to(page, token, graph) for page, token in TOKENS.items()}

    @app.before_server_start
    async def connect(app: Sanic) -> None:
        app.ctx.graph = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=MOST_SENDS))
        print(
            f"settings: {where}, {database.settings()}, loop {type(asyncio.get_running_loop())}", flush=True
        )

    @app.post(WEBHOOK)
    async def webhook(request):
        given = request.headers.get("x-hub-signature-256", "")
        signed = "sha256=" + hmac.new(key, request.body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(given, signed):
            return response.empty(status=403)
        for entry in request.json["entry"]:
            for item in entry["messaging"]:
                message, person = item["message"], item["sender"]["id"]
                new = await database.run(
                    "INSERT INTO message VALUES (?, ?, ?, NULL, 'waiting') ON CONFLICT DO NOTHING",
                    *(message["mid"], person, request.body),
                )
                if new and graph:
                    app.add_task(answer(ways[entry["id"]], message["mid"], person, message["text"]))
        return response.text("")

    async def answer(way: dict, mid: str, person: str, text: str) -> None:
        reply = await answers.echo(SimpleNamespace(text=text))
        body = {
            "recipient": {"id": person},
            "message": {"metadata": mid, "text": reply},
            "messaging_type": "RESPONSE",
        }
        async with app.ctx.graph.post(json=body, **way) as sent:
            shown = await sent.json()
        state = "done" if sent.status == 200 else "failed"
        await database.run(
            "UPDATE message SET state = ?, reply = ? WHERE mid = ?", state, shown.get("message_id"), mid
        )

    return app


if __name__ == "__main__":
    port, path, where, graph = sys.argv[1:]
    app = create(path, where, graph or None)
    app.run("127.0.0.1", int(port), single_process=True, access_log=False, debug=False, motd=False)
