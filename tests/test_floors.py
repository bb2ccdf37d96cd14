"""The house's floors: who may know whom. A module that is in no room is a breach of its own."""

import ast
import json
import subprocess
import sys
import unittest
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import klein_channels

PACKAGE = Path(klein_channels.__file__).parent
NAME = PACKAGE.name

# A package stands for all its modules, unless one of them is listed itself.
FLOORS = {
    0: "__init__ errors model secret policy environment waiting lanes meter tallies",
    1: "rates signatures sealing text backoff buckets interpreter logs json_log json_fields credentials"
    " replies markdown media_types",
    2: "channel fit channels meta slack telegram twilio whatsapp",
    3: "http exchange connections destinations transport store agents admin config",
    4: "intake slices admission installing exchanges observers live speech interruptions loops conversation"
    " delivery metered prometheus operations paused accounts queues settling signs"
    " sockets spool fetching acquaintances",
    5: "web polling renewal upkeep administration",
    6: "pipeline service",
    7: "run tap cli cli_operations cli_store demo fakes transcript provisioning testing",
    8: "agent",
}
PURE = {"channels", "meta", "slack", "telegram", "twilio", "whatsapp"}
"""What opens nothing and waits for nothing: the platforms, and the parts that they are made of."""
IMPURE = {"twisted", "klein", "treq", "socket", "threading", "time", "random", "os", "asyncio", "requests"}
HTTP = {"http", "exchange", "connections", "destinations"}
TYPES_OF_THE_FACADE = {("agent", "service")}
"""Its signatures name what it must not load."""


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


SOURCES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names.split()}


def floor_of(module: str) -> int | None:
    while module not in FLOOR_OF and "." in module:
        module = module.rpartition(".")[0]
    return FLOOR_OF.get(module)


def imports_of(module: str, source: str) -> Iterator[tuple[str, str]]:
    """The absolute names of what a source imports, wherever in it; (module, name) with name maybe empty."""
    is_package = SOURCES.get(module, Path()).name == "__init__.py"
    here = [NAME, *module.split(".")] if module != "__init__" else [NAME]
    package = here if is_package else here[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - (node.level - 1)] if node.level else []
            target = ".".join([*base, *(node.module or "").split(".")]).strip(".")
            yield from ((target, alias.name) for alias in node.names)


def ours(target: str, name: str) -> str | None:
    """The module of this package that an import names, if it does."""
    if target.split(".", maxsplit=1)[0] != NAME:
        return None
    inner = target.removeprefix(NAME).strip(".")
    below = f"{inner}.{name}".strip(".")
    return below if below in SOURCES else inner or "__init__"


def known_to(module: str) -> set[str]:
    text = SOURCES[module].read_text(encoding="utf-8")
    found = {target for pair in imports_of(module, text) if (target := ours(*pair)) is not None}
    return found - {module}


def outside_of(module: str) -> set[str]:
    text = SOURCES[module].read_text(encoding="utf-8")
    names = {f"{target}.{name}".strip(".") for target, name in imports_of(module, text)}
    return {name for name in names if name.split(".")[0] != NAME}


GRAPH = {module: known_to(module) for module in SOURCES}


class FloorTests(unittest.TestCase):
    def test_every_module_is_in_a_room(self):
        self.assertEqual([module for module in SOURCES if floor_of(module) is None], [])

    def test_no_room_is_kept_for_nobody(self):
        self.assertEqual(FLOOR_OF.keys() - SOURCES.keys(), set())

    def test_nobody_knows_a_higher_floor(self):
        breaches = [
            f"{module} ({floor_of(module)}) imports {other} ({floor_of(other)})"
            for module, others in GRAPH.items()
            for other in others
            if (floor_of(other) or 0) > (floor_of(module) or 0)
        ]
        self.assertEqual(breaches, [])

    def test_no_two_modules_know_each_other(self):
        graph = {
            module: {other for other in others if (module, other) not in TYPES_OF_THE_FACADE}
            for module, others in GRAPH.items()
        }
        try:
            list(TopologicalSorter(graph).static_order())
        except CycleError as error:
            self.fail(" -> ".join(reversed(error.args[1])))

    def test_conversation_and_delivery_do_not_know_each_other(self):
        self.assertNotIn("delivery", GRAPH["conversation"] | GRAPH["speech"])
        self.assertFalse(GRAPH["delivery"] & {"conversation", "speech"})

    def test_nobody_names_a_platform_but_itself_and_those_who_play_it(self):
        platforms = {module for module in SOURCES if module.startswith("channels.")}
        naming = {
            module for module, others in GRAPH.items() if others & platforms and module not in platforms
        }
        self.assertEqual([module for module in naming if floor_of(module) < 7], [])


class OutsideTests(unittest.TestCase):
    def using(self, library, allowed):
        """The modules that import `library` though they may not."""
        return [
            module
            for module in SOURCES
            if not allowed(module)
            and any(name == library or name.startswith(library + ".") for name in outside_of(module))
        ]

    def test_channels_open_nothing_and_wait_for_nothing(self):
        for module in SOURCES:
            if module.split(".")[0] in PURE:
                self.assertEqual({name.split(".")[0] for name in outside_of(module)} & IMPURE, set(), module)

    def test_klein_is_known_in_web_only(self):
        self.assertEqual(self.using("klein", lambda module: module.split(".")[0] == "web"), [])

    def test_treq_is_known_in_http_only(self):
        self.assertEqual(self.using("treq", HTTP.__contains__), [])

    def test_the_reactor_is_imported_where_processes_begin(self):
        allowed = {"service"} | {module for module in SOURCES if floor_of(module) == 7}
        self.assertEqual(self.using("twisted.internet.reactor", allowed.__contains__), [])

    def test_no_reactor_is_imported_when_a_module_is(self):
        for module, path in SOURCES.items():
            body = ast.parse(path.read_text(encoding="utf-8")).body
            top = "\n".join(
                ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)
            )
            self.assertNotIn("import reactor", top, module)

    def test_nobody_borrows_the_reactors_threads(self):
        for name in ("deferToThread", "deferToThreadPool"):
            users = [module for module, path in SOURCES.items() if name in path.read_text(encoding="utf-8")]
            self.assertEqual(users, [])

    def test_nothing_is_unpickled_or_evaluated(self):
        for module, path in SOURCES.items():
            self.assertFalse(outside_of(module) & {"pickle", "shelve", "marshal"}, module)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                    self.assertNotIn(node.func.id, {"eval", "exec"}, module)


class ReaderTests(unittest.TestCase):
    """The eyes of this file: a breach in any disguise is seen."""

    def seen(self, module, source):
        return {target for pair in imports_of(module, source) if (target := ours(*pair)) is not None}

    def test_imports_in_all_their_forms(self):
        for source in (
            "from .service import ChannelService",
            "from . import service",
            "import klein_channels.service",
            "from klein_channels import service",
            "from klein_channels.service import X as Y",
            "def f():\n    from .service import X",
            "if TYPE_CHECKING:\n    from .service import X",
            "try:\n    from .service import X\nexcept ImportError: pass",
        ):
            self.assertEqual(self.seen("model", source), {"service"}, source)

    def test_imports_from_packages(self):
        self.assertEqual(self.seen("web.site", "from ..policy import P"), {"policy"})
        self.assertEqual(self.seen("web.site", "from .limits import P"), {"web.limits"})
        self.assertEqual(self.seen("web.site", "from . import limits"), {"web.limits"})
        self.assertEqual(self.seen("web", "from .limits import P"), {"web.limits"})
        self.assertEqual(self.seen("web", "from ..policy import P"), {"policy"})


class LoadTests(unittest.TestCase):
    def loaded_by(self, module):
        """What stands in sys.modules after an import in a new process."""
        script = f"import json, sys; import {module}; print(json.dumps(list(sys.modules)))"
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", script],
            cwd=PACKAGE.parent,
            env={"PYTHONPATH": str(PACKAGE.parent), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return set(json.loads(done.stdout))

    def test_the_facade_loads_neither_klein_nor_treq_nor_a_reactor(self):
        loaded = self.loaded_by("klein_channels.agent")
        self.assertEqual(
            loaded & {"klein", "treq", "twisted.internet.reactor", "asyncio"} - {"asyncio"}, set()
        )

    def test_the_command_line_of_twistd_installs_no_reactor(self):
        for module in (
            "klein_channels.tap",
            "klein_channels.cli",
            "klein_channels.service",
            "klein_channels.run",
        ):
            self.assertFalse(self.loaded_by(module) & {"klein", "twisted.internet.reactor"}, module)
