"""The code blocks, links and test names in the documentation, so that tests can hold them to the truth."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *sorted((ROOT / "docs").rglob("*.rst"))]
_BLOCK = re.compile(r"( *)\.\. code-block:: (\S+)")
_LINK = re.compile(r"`[^`]*?<([^`>]+)>`__?")
_TEST = re.compile(r"``(tests\.[\w.]+)``")
_PATH = re.compile(r"``((?:tests|examples|docs|benchmarks|klein_channels|newsfragments)/[\w./-]+)``")


class Snippet(NamedTuple):
    """One code block."""

    page: str
    line: int
    language: str
    text: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets(page: Path) -> Iterator[Snippet]:
    """All code blocks of a page, their indentation taken away."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        found = _BLOCK.fullmatch(line)
        if found:
            body = dedent("\n".join(_indented(lines[number + 1 :], len(found[1]))))
            text = re.sub(r"\A(:\w+:.*\n)*\n*", "", body).rstrip("\n") + "\n"
            named = re.match(r"(?::\w+:.*\n)*?:name: (.+)", body)
            name = named[1] if named else ""
            yield Snippet(str(page.relative_to(ROOT)), number + 1, found[2], text, name)


def _indented(lines: list[str], indent: int) -> Iterator[str]:
    for line in lines:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            return
        yield line


def in_language(language: str) -> list[Snippet]:
    """All code blocks of all pages in one language that stand by themselves."""
    found = [one for page in PAGES for one in snippets(page) if one.language == language]
    return [one for one in found if not _belongs_to_others(one)]


def _belongs_to_others(one: Snippet) -> bool:
    """Whether it is one of the files that a page builds something of; `test_howto` runs them together."""
    return bool(one.name) and one.page.startswith("docs/howto/")


def files_of(page: Path) -> dict[str, str]:
    """The files that a page builds something of, by their names."""
    return {one.name: one.text for one in snippets(page) if one.name}


def commands(snippet: Snippet) -> Iterator[list[str]]:
    """The commands of a console block as words, those behind ``&&`` apart."""
    text = snippet.text.replace("\\\n", " ")
    for line in text.splitlines():
        if line.startswith("$ "):
            for command in line[2:].split(" && "):
                words = shlex.split(command)
                while re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    del words[0]
                yield words


def broken_links(page: Path) -> list[str]:
    """Links to files, and paths in the text, that lead nowhere; NAME stands for any name."""
    text = page.read_text(encoding="utf-8")
    links = [link for link in _LINK.findall(text) if "://" not in link and not link.startswith("#")]
    broken = [link for link in links if not (page.parent / link.partition("#")[0]).exists()]
    return broken + [
        path for path in _PATH.findall(text) if "NAME" not in path and not (ROOT / path).exists()
    ]


def missing_tests(page: Path) -> list[str]:
    """Names of tests on a page behind which there is none."""
    return [name for name in _TEST.findall(page.read_text(encoding="utf-8")) if not _exists(name)]


def named_tests(page: Path) -> list[str]:
    """All names of tests on a page."""
    return _TEST.findall(page.read_text(encoding="utf-8"))


def _exists(name: str) -> bool:
    words = name.split(".")
    for length in range(len(words), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(words[:length]))
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            found = getattr(found, word, None)
        return found is not None
    return False
