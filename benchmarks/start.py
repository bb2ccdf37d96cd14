"""How long ``twistd -n channels`` takes from its start until it listens, and until it is ready for work."""

from __future__ import annotations

import argparse
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from measure import Process, Table, ours

MOST = 1.0


def ready(server: Process) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/health/ready"):
            return True
    except (urllib.error.URLError, OSError):
        return False


def timed() -> tuple[float, float]:
    """Seconds until it listens, and until it is ready."""
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        server = ours(Path(folder), "echo")
        try:
            while not server.listening():
                time.sleep(0.005)
            listening = time.monotonic() - began
            while not ready(server):
                time.sleep(0.005)
            return listening, time.monotonic() - began
        finally:
            server.stop()


if __name__ == "__main__":
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    table = Table("listening ms", "ready ms")
    for _ in range(given.rounds):
        table.add("start", *(1000 * seconds for seconds in timed()))
    table.print()
    seconds = table.medians("start")[0] / 1000
    print(
        f"  {seconds:.2f} s to listening (under {MOST:g} s: {'reached' if seconds < MOST else 'NOT reached'})"
    )
