"""
What a stories agent knows of: intents, entities, slots, responses and actions, read from ``domain.yml``.

The format is Rasa's, of both generations (``templates:`` and ``responses:``). Nothing that a domain names
is imported. What cannot be used is a `StartError` that names the file, the line and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import yaml

from ..errors import StartError
from ..model import JSON

SLOT_TYPES = frozenset({"text", "bool", "float", "list", "categorical", "any", "unfeaturized"})
BUILT_IN_ACTIONS = frozenset({"action_listen", "action_restart", "action_default_fallback"})
_CAPITAL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A thing to be remembered: of which type, and the entities that set it."""

    type: str = "text"
    initial_value: JSON = None
    values: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    influences: bool = True
    """Whether what is to be done next depends on it."""

    def feature(self, value: JSON) -> str:
        """What of a value decides what is to be done next; empty if nothing does."""
        if not self.influences or self.type in ("any", "unfeaturized") or value is None or value == []:
            return ""
        if self.type == "bool":
            return "true" if str(value).lower() in ("true", "1", "yes") else "false"
        if self.type == "categorical":
            return str(value).lower() if str(value).lower() in self.values else "other"
        return "set"


class Domain(msgspec.Struct, frozen=True, kw_only=True):
    """All that a stories agent can hear, remember, say and do."""

    intents: frozenset[str] = frozenset()
    entities: frozenset[str] = frozenset()
    slots: dict[str, Slot] = {}
    responses: dict[str, tuple[dict[str, JSON], ...]] = {}
    actions: frozenset[str] = frozenset()


def broken(path: Path, line: int, reason: str) -> NoReturn:
    """Raise the `StartError` about one line of a file."""
    raise StartError(f"{path}, line {line}: {reason}")


def read_text(path: Path) -> str:
    """The UTF-8 text of a file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise StartError(f"{path} is missing: an agent's directory holds domain.yml and stories.md") from None
    except OSError as error:
        raise StartError(f"{path} cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        broken(path, data.count(b"\n", 0, error.start) + 1, "not UTF-8")


def _resolvers(*kinds: str) -> Any:
    return {
        first: [(tag, pattern) for tag, pattern in pairs if tag.rpartition(":")[2] in kinds]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _TextLoader(yaml.SafeLoader):
    """Reads ``yes``, ``5`` and ``12:30`` as the words they are in a reply."""

    yaml_implicit_resolvers = _resolvers("null", "merge")


class _JsonLoader(yaml.SafeLoader):
    """Reads the types that JSON has: a date, ``on`` and ``yes`` stay the texts that they are."""

    yaml_implicit_resolvers = _resolvers("null", "merge", "int", "float")


_JsonLoader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


class _DomainFile:
    """The content of a domain file as plain values, and the line on which each of them stands."""

    def __init__(self, path: Path) -> None:
        self.path = path
        source = read_text(path)
        try:
            self._root = yaml.compose(source, Loader=_TextLoader)
            # Both loaders are safe ones: they make nothing but plain values.
            self.words = yaml.load(source, Loader=_TextLoader)  # noqa: S506
            self._typed = yaml.load(source, Loader=_JsonLoader)  # noqa: S506
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            broken(path, mark.line + 1 if mark else 1, f"not YAML: {error.problem or error.context}")
        except yaml.reader.ReaderError as error:
            line = source.count("\n", 0, error.position) + 1
            broken(path, line, "not YAML: a character that YAML does not allow")
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            broken(path, 1, f"not YAML: {str(error).splitlines()[0]}")
        if not isinstance(self.words, dict):
            broken(path, 1, "a domain is a mapping with intents, slots, responses and actions")

    def fail(self, reason: str, *keys: str | int) -> NoReturn:
        """Raise the error about what the keys lead to."""
        node, line = self._root, 1
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == key), None)
                marked, node = pair or (None, None)
            else:
                items = node.value if isinstance(node, yaml.SequenceNode) else []
                marked = node = items[key] if isinstance(key, int) and key < len(items) else None
            line = marked.start_mark.line + 1 if marked is not None else line
        broken(self.path, line, reason)

    def typed(self, *keys: str | int) -> JSON:
        """The value under the keys with the types of JSON, None where there is none."""
        found = self._typed
        for key in keys:
            if isinstance(found, dict):
                # A key such as ``yes`` or ``5`` has a type here too; its spelling is lost.
                found = found.get(key)
            else:
                found = found[key] if isinstance(found, list) and isinstance(key, int) else None
        return found

    def mapping(self, *keys: str) -> dict[str, JSON]:
        """The mapping under the keys, empty where there is none."""
        found: Any = self.words
        for key in keys:
            found = found.get(key)
            if found is None:
                return {}
            if not isinstance(found, dict):
                self.fail(f"{'.'.join(keys)} must be a mapping", *keys)
        return {str(key): value for key, value in found.items()}

    def names(self, key: str) -> list[str]:
        """The names listed under a key; an item with settings is a mapping of its one name."""
        listed = self.words.get(key) or []
        if not isinstance(listed, list):
            self.fail(f"{key} must be a list of names", key)
        found = []
        for place, item in enumerate(listed):
            name = next(iter(item)) if isinstance(item, dict) and len(item) == 1 else item
            if not isinstance(name, str) or not name:
                self.fail(f"{key} must be a list of names", key, place)
            found.append(name)
        return found


def read_domain(path: Path) -> Domain:
    """The domain in the file `path`."""
    file = _DomainFile(path)
    responses = {
        name: _variations(file, section, name, listed)
        for section in ("templates", "responses")
        for name, listed in file.mapping(section).items()
    }
    store = str(file.mapping("config").get("store_entities_as_slots", "true")).lower() != "false"
    slots = {name: _slot(file, name, store) for name in file.mapping("slots")}
    return Domain(
        intents=frozenset(file.names("intents")) | {"restart"},
        entities=frozenset(file.names("entities")),
        slots=slots,
        responses=responses,
        actions=frozenset(map(_action_name, file.names("actions"))) | responses.keys() | BUILT_IN_ACTIONS,
    )


def _slot(file: _DomainFile, name: str, store_entities: bool) -> Slot:
    settings = file.mapping("slots", name)
    kind = str(settings.get("type", "text"))
    # A dotted path names a class of the model's author: it is not imported, only kept.
    if kind not in SLOT_TYPES and "." not in kind:
        file.fail(f"slot {name!r} has the unknown type {kind!r}", "slots", name, "type")
    values = settings.get("values") or []
    if not isinstance(values, list):
        file.fail(f"the values of slot {name!r} must be a list", "slots", name, "values")
    return Slot(
        type=kind if kind in SLOT_TYPES else "unfeaturized",
        initial_value=file.typed("slots", name, "initial_value"),
        values=tuple(str(value).lower() for value in values),
        entities=_entities_of(file, name, settings) if store_entities else (),
        influences=str(settings.get("influence_conversation", "true")).lower() != "false",
    )


def _entities_of(file: _DomainFile, name: str, settings: Mapping[str, JSON]) -> tuple[str, ...]:
    mappings = settings.get("mappings")
    if mappings is None:
        return (name,)
    if not isinstance(mappings, list) or not all(isinstance(item, dict) for item in mappings):
        file.fail(f"the mappings of slot {name!r} must be a list of mappings", "slots", name, "mappings")
    return tuple(str(item.get("entity", name)) for item in mappings if item.get("type") == "from_entity")


def _action_name(listed: str) -> str:
    """An action's name; a dotted path to a class stands for the name that such a class had."""
    if "." not in listed:
        return listed
    return _CAPITAL.sub("_", listed.rpartition(".")[2]).lower()


def _variations(file: _DomainFile, section: str, name: str, listed: JSON) -> tuple[dict[str, JSON], ...]:
    if not isinstance(listed, list) or not listed:
        file.fail(f"response {name!r} must be a list of variations", section, name)
    return tuple(_variation(file, item, section, name, place) for place, item in enumerate(listed))


def _variation(file: _DomainFile, item: JSON, *place: str | int) -> dict[str, JSON]:
    if isinstance(item, str) and item:
        return {"text": item}
    if not isinstance(item, dict) or not item:
        file.fail("a variation must be a text or a mapping", *place)
    for key in ("text", "image"):
        if not isinstance(item.get(key, ""), str):
            file.fail(f"{key} must be a text", *place, key)
    for key in ("buttons", "quick_replies"):
        if key in item:
            _check_buttons(file, item[key], *place, key)
    if "custom" in item:
        item = {**item, "custom": file.typed(*place, "custom")}
    return {str(key): value for key, value in item.items() if value is not None}


def _check_buttons(file: _DomainFile, listed: JSON, *place: str | int) -> None:
    if not isinstance(listed, list):
        file.fail("buttons must be a list", *place)
    for number, button in enumerate(listed):
        if not isinstance(button, dict) or not all(isinstance(value, str) for value in button.values()):
            file.fail("a button must be a mapping of texts", *place, number)
        if not button.get("title") and not button.get("content_type"):
            file.fail("a button needs a title", *place, number)
