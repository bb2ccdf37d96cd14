"""A PostgreSQL server of a test's own, which may be killed, restarted, followed and pooled."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from tests.postgres import connected

DEBIAN = Path("/usr/lib/postgresql")
ACCOUNT = "postgres"
"""Who runs the servers where the tests are root's, for whom PostgreSQL does not run."""


def program(name: str) -> str | None:
    """The path of a program of PostgreSQL's."""
    of_debian = sorted(DEBIAN.glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    return str(of_debian[-1]) if of_debian else shutil.which(name)


def missing() -> str:
    """Why no server can be made here; empty if one can."""
    for name in ("initdb", "postgres", "pg_basebackup"):
        if program(name) is None:
            return f"{name} is not on this machine (Debian: apt install postgresql)"
    if os.geteuid() == 0 and not _has_account():
        return f"PostgreSQL does not run as root, and there is no account {ACCOUNT!r}"
    return ""


def _has_account() -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwnam(ACCOUNT))
    return False


class PrivateServer:
    """A server with its files in a folder of its own. `port` is one that nobody else is given."""

    def __init__(self, port: int, **settings: str) -> None:
        self.port = port
        self.settings = settings
        self.folder = Path(tempfile.mkdtemp(prefix="klein-pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        if os.geteuid() == 0:
            shutil.chown(self.folder, ACCOUNT, ACCOUNT)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def make(self) -> None:
        """Make an empty one."""
        self._run("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-N", "-E", "UTF8")
        # Anybody may follow it: it listens to this machine only.
        self._run_shell(f"echo 'host all all 127.0.0.1/32 trust' >> {self.data}/pg_hba.conf")

    def follow(self, other: PrivateServer) -> None:
        """Become a standby of another one, which runs."""
        address = ("-h", "127.0.0.1", "-p", str(other.port), "-U", "postgres")
        self._run("pg_basebackup", "-D", str(self.data), "-R", "-X", "stream", *address)

    def start(self) -> None:
        """Start it; it may take a moment until it answers."""
        told = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
            "max_wal_senders": "4",
            **self.settings,
        }
        options = [word for name, value in told.items() for word in ("-c", f"{name}={value}")]
        path = program("postgres")
        assert path is not None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [path, "-D", str(self.data), "-p", str(self.port), *options],
                stdout=subprocess.DEVNULL,
                stderr=log,
                **_account(),
            )

    def is_there(self) -> bool:
        """Whether it answers; it is started again if it could not yet."""
        if self._process is not None and self._process.poll() is not None:
            # What the dead one left needs a moment to go.
            self.start()
        with suppress(Exception), closing(connected(self.url)) as db:
            db.execute("SELECT 1")
            return True
        return False

    def ask(self, query: str) -> list[Any]:
        with closing(connected(self.url)) as db:
            return list(db.execute(query).fetchall())

    def kill(self) -> None:
        """End it as a crash would; its own processes end with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Freeze or wake the process that accepts, and all that belong to it."""
        assert self._process is not None
        for pid in (self._process.pid, *_children(self._process.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self) -> None:
        """Stop it and take its files away."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, name: str, *arguments: str) -> None:
        path = program(name)
        assert path is not None
        done = subprocess.run([path, *arguments], capture_output=True, cwd="/", check=False, **_account())
        if done.returncode:
            raise AssertionError(f"{name}: {done.stderr.decode()}")

    def _run_shell(self, command: str) -> None:
        subprocess.run(["sh", "-c", command], check=True, cwd="/", **_account())


class Pooler:
    """PgBouncer in transaction mode in front of a server."""

    def __init__(self, port: int, server: PrivateServer) -> None:
        self.port = port
        self.folder = server.folder
        path = self.folder / "pgbouncer.ini"
        path.write_text(
            f"[databases]\npostgres = host=127.0.0.1 port={server.port} user=postgres\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
            f"unix_socket_dir =\nlogfile = {self.folder}/pooler.log\n"
            "pool_mode = transaction\ndefault_pool_size = 4\n"
        )
        shutil.chown(path, *((ACCOUNT, ACCOUNT) if os.geteuid() == 0 else (os.getuid(), os.getgid())))
        self._process = subprocess.Popen(
            [str(shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"), str(path)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            **_account(),
        )

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


def no_pooler() -> str:
    """Why there is no pooler here; empty if there is one."""
    there = shutil.which("pgbouncer") or Path("/usr/sbin/pgbouncer").exists()
    return "" if there else "pgbouncer is not on this machine (Debian: apt install pgbouncer)"


def _account() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": ACCOUNT, "group": ACCOUNT, "extra_groups": []}


def _children(pid: int) -> list[int]:
    """The processes that a process has started, as Linux tells them."""
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in path.read_text().split()] if path.exists() else []
