"""
Where the files lie that people send: kept for a while, deleted with their person.

A file lies in a folder of its person. Neither the folder nor the name has a word of the sender's, and
nobody but the server's own user may read them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from twisted.internet.defer import Deferred, succeed

from .media_types import HEAD
from .model import JSON
from .store import open_url
from .store.people import Person

PART = ".part"
"""How the name ends of a file that is not whole yet."""
LOOKED_AT = 1000
"""Files whose age one purge looks at: it holds up everything else."""


def folder_beside(store: object) -> str | None:
    """The folder of files for a store, by its URL or itself: beside it; None where it is not a file."""
    engine, path = open_url(store) if isinstance(store, str) else ("sqlite", getattr(store, "path", ""))
    return f"{path}.media" if engine == "sqlite" and path else None


class FileSink:
    """Writes one file that only its owner may read; it takes `most` bytes."""

    def __init__(self, path: Path, most: int) -> None:
        self.most = most
        self.size = 0
        self.head = b""
        self.sum = hashlib.sha256()
        self._path = path
        self._file: int | None = None

    def begin(self) -> None:
        """A body begins; what came before is forgotten."""
        self.close()
        for folder in (self._path.parent.parent, self._path.parent):
            folder.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        self._file = os.open(self._path, flags, 0o600)
        self.size, self.head, self.sum = 0, b"", hashlib.sha256()

    def write(self, data: bytes) -> None:
        """The next piece; raises OSError where the disk takes no more."""
        assert self._file is not None, "a body has begun"
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._file, rest) :]
        self.size += len(data)
        self.head += data[: HEAD - len(self.head)]
        self.sum.update(data)

    def close(self) -> None:
        """Write nothing more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def keep(self, name: str) -> Path:
        """Give the file its name."""
        self.close()
        return self._path.rename(self._path.with_name(name))

    def discard(self) -> None:
        """Leave nothing of it."""
        self.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


class Spool:
    """The files in `folder`; one of `operations`' keepers."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder).absolute()
        self._walk = self._round_and_round()

    def folder_of(self, channel: str, person: str) -> Path:
        """Where the files of a person lie, if there are any."""
        return self._folder / Person(channel=channel, id=person).fingerprint

    def find(self, folder: Path, name: str) -> Path | None:
        """The whole file of that name, whatever it ends with."""
        return next((path for path in folder.glob(f"{name}.*") if path.suffix != PART), None)

    def purge(self, before: float) -> int:
        """Delete some of what is older than the time `before`; how many files went."""
        gone = 0
        for path in islice(self._walk, LOOKED_AT):
            if path == self._folder:
                break
            with suppress(OSError):
                if path.stat().st_mtime < before:
                    path.unlink()
                    gone += 1
                    path.parent.rmdir()  # if that was its last
        return gone

    def show(self, person: Person) -> Deferred[JSON]:
        """The files of a person, by their paths."""
        return succeed(sorted(str(path) for path in (self._folder / person.fingerprint).glob("*")))

    def erase(self, person: Person) -> Deferred[int]:
        """Delete the files of a person; how many went."""
        folder = self._folder / person.fingerprint
        files = len(list(folder.glob("*")))
        shutil.rmtree(folder, ignore_errors=True)
        return succeed(files)

    def _round_and_round(self) -> Iterator[Path]:
        """All files, again and again; a look at their age goes on where the last one stopped."""
        while True:
            yield from self._folder.glob("*/*")
            yield self._folder
