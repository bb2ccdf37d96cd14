"""
Breaks each promise on purpose and sees its test fail.

A file in ``mutants/`` is a patch whose first line is ``# breaks: <test id>`` (several, with spaces
between). The tests named must pass on the tree as it is, and each of them must fail on a copy with
the patch. Run it from anywhere::

    python tests/promises/run_mutants.py [NAME ...]
"""

from __future__ import annotations

import compileall
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
COPIED = (
    "klein_channels",
    "tests/__init__.py",
    "tests/doubles.py",
    "tests/test_exchanges.py",
    "tests/test_fit.py",
    "tests/test_installing.py",
    "tests/test_live.py",
    "tests/test_fetching.py",
    "tests/postgres.py",
    "tests/test_store_servers.py",
    "tests/promises",
)
AT_ONCE = 2
DEADLINE = 60.0
"""Seconds for the tests of one mutant."""
_LONG_AGO = 1_000_000_000
_NOT_A_PROMISE = re.compile(r"^\S*(SyntaxError|IndentationError|ImportError|ModuleNotFoundError)\b", re.M)


class Mutant(NamedTuple):
    """One way to break a promise, and the tests that must notice."""

    name: str
    patch: Path
    tests: tuple[str, ...]


def read(patch: Path) -> Mutant:
    """The mutant in `patch`; its first line names the tests."""
    first = patch.read_text(encoding="utf-8").partition("\n")[0]
    if not first.startswith("# breaks: "):
        raise SystemExit(f"{patch}: the first line must be '# breaks: <test id>'")
    return Mutant(patch.stem, patch, tuple(first.removeprefix("# breaks: ").split()))


def copy_tree(target: Path) -> None:
    """Copy what git knows, or would add, as it is in the work tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z", *COPIED],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, copy = ROOT / name, target / name
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            # Old files: a patched one cannot be taken for the one that was compiled.
            os.utime(copy, (_LONG_AGO, _LONG_AGO))
    compileall.compile_dir(target, quiet=2)


def run(tree: Path, tests: Iterable[str]) -> str:
    """What trial says about `tests` in `tree`."""
    command = [sys.executable, "-W", "error", "-m", "twisted.trial", "--reporter=text", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=DEADLINE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "the tests did not end"
    return done.stdout.decode("utf-8", "replace")


def failed(output: str, test: str) -> bool:
    """Whether `test` is among those that failed: each is named in a line of its own."""
    return re.search(rf"^{re.escape(test)}$", output, re.M) is not None


def problem(mutant: Mutant, base: Path, folder: Path) -> str:
    """Why `mutant` does not show that its promise is tested; empty if it does."""
    tree = folder / mutant.name
    # Links are enough: git replaces what it patches and writes into nothing.
    shutil.copytree(base, tree, copy_function=os.link)
    try:
        applied = subprocess.run(
            ["git", "apply", "-p1", str(mutant.patch)], cwd=tree, capture_output=True, check=False
        )
        if applied.returncode:
            return "the patch does not apply: " + applied.stderr.decode().strip().replace("\n", "; ")
        output = run(tree, mutant.tests)
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    broken = _NOT_A_PROMISE.search(output)
    if broken:
        return f"the patch breaks more than a promise: {broken.group()}"
    unnoticed = [test for test in mutant.tests if not failed(output, test)]
    return f"not noticed by {', '.join(unnoticed)}" if unnoticed else ""


def unbroken(base: Path, mutants: list[Mutant]) -> str:
    """Why the tests do not pass as things are; empty if they do."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    output = run(base, tests)
    passed = re.search(r"^PASSED \(successes=(\d+)\)$", output, re.M)
    if passed and int(passed.group(1)) == len(tests):
        return ""
    return "without any mutant:\n" + output[-4000:]


def main(names: list[str]) -> int:
    """Run the mutants named, or all; the number that show nothing."""
    mutants = [read(patch) for patch in sorted((HERE / "mutants").glob("*.patch"))]
    mutants = [mutant for mutant in mutants if not names or mutant.name in names]
    if not mutants:
        raise SystemExit("no such mutant")
    # Git would look for a repository above the copy and, in one, apply nothing.
    os.environ["GIT_CEILING_DIRECTORIES"] = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(prefix="klein-channels-mutants-") as temporary:
        folder = Path(temporary).resolve()
        base = folder / "base"
        copy_tree(base)
        trouble = unbroken(base, mutants)
        if trouble:
            print(trouble)
            print(f"0 passed, {len(mutants)} failed")
            return len(mutants)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            problems = list(pool.map(lambda mutant: problem(mutant, base, folder), mutants))
    width = max(len(mutant.name) for mutant in mutants)
    for mutant, found in zip(mutants, problems, strict=True):
        print(f"{mutant.name:{width}}  {found or 'noticed'}")
    survivors = sum(map(bool, problems))
    print(f"{len(mutants) - survivors} passed, {survivors} failed")
    return survivors


if __name__ == "__main__":
    sys.exit(1 if main(sys.argv[1:]) else 0)
