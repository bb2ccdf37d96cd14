"""
Reads `channels.yml`, or a Rasa `credentials.yml` as it is, into checked values.

All scalars are read as text and converted by the type of their key, so that a telephone number
keeps its plus. ``${NAME}``, ``${NAME:-default}`` and ``${file:/path}`` are filled in; ``$${`` is a
plain ``${``. Whatever is wrong is a `ConfigError` of one line that names the file, the path of the
key, and for an unknown key the nearest one. No line shows a value that may be secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec
import yaml
from twisted.logger import Logger

from .admin import AdminSettings, checked_endpoint
from .channel import Channel, find_channel_class, known_types, nearest
from .errors import ConfigError
from .json_log import LogSettings
from .policy import Policy
from .secret import Secret

_log = Logger()
T = TypeVar("T")
_BOOLEANS = {"yes": "true", "on": "true", "no": "false", "off": "false"}
_NAME = re.compile(r"[a-z0-9_-]+")
_PLACE = re.compile(r"\$(?:\$\{|\{([^{}]*)\})")
_NAMED_IN_YAML = re.compile(r"'[\w!-]{2,}'|\"[^\"]*\"")
_RASA_CHANNELS = frozenset(
    [
        "rest",
        "callback",
        "socketio",
        "botframework",
        "mattermost",
        "rocketchat",
        "webexteams",
        "hangouts",
        "rasa",
        "audiocodes",
        "jambonz",
    ]
)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration file says; `folder` is where it lies."""

    folder: str = ""
    agent: str | None = None
    store: str = "sqlite:///klein-channels.db"
    media: str | None = None
    public_url: str = ""
    prefix: str = "/app"
    observers: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    channels: tuple[Channel, ...] = ()
    policy: Policy = Policy()
    admin: AdminSettings | None = None
    log: LogSettings = LogSettings()


class _Sections(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The top level of the file."""

    agent: str | None = None
    store: str = "sqlite:///klein-channels.db"
    media: str | None = None
    public_url: str = ""
    prefix: str = "/app"
    observers: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    channels: dict[str, Any] = {}
    policy: dict[str, str] = {}
    admin: dict[str, Any] | None = None
    log: dict[str, Any] = {}


class _TwiceError(yaml.MarkedYAMLError):
    """A key that stands twice."""


class _Loader(yaml.BaseLoader):
    """YAML in which every scalar is text and no key stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping; a key that stands twice would silently lose its first value."""
        seen: list[Any] = []
        for key, _ in node.value:
            if key.value in seen:
                raise _TwiceError(problem=f"{key.value!r} stands twice", problem_mark=key.start_mark)
            seen.append(key.value)
        return super().construct_mapping(node, deep)


def read_config(path: str, environment: Mapping[str, str] | None = None) -> Config:
    """The checked configuration in the file `path`."""
    reader = _Reader(path, os.environ if environment is None else environment)
    tree = reader.tree()
    known = _field_names(_Sections)
    if tree and not any(key in known for key in tree):
        tree = {"channels": reader.served_of_rasa(tree)}
    for key in ("channels", "policy", "log", *(["admin"] if "admin" in tree else [])):
        tree[key] = reader.mapping(tree.get(key), key)
    for key in ("observers", "trusted_proxies"):
        tree[key] = tree.get(key) or []
    sections = reader.converted(tree, _Sections, "")
    names = sections.channels
    return Config(
        folder=str(Path(path).absolute().parent),
        agent=sections.agent,
        store=sections.store,
        media=sections.media,
        public_url=sections.public_url,
        prefix=sections.prefix,
        observers=sections.observers,
        trusted_proxies=sections.trusted_proxies,
        channels=tuple(reader.channel(name, settings) for name, settings in names.items()),
        policy=reader.converted(sections.policy, Policy, "policy"),
        admin=reader.admin(sections.admin),
        log=reader.converted(_with_list(sections.log, "fields"), LogSettings, "log"),
    )


class _Reader:
    """Reads one file; every error that it raises begins with the file's name."""

    def __init__(self, path: str, environment: Mapping[str, str]) -> None:
        self._path = path
        self._environment = environment

    def problem(self, where: str, what: str) -> ConfigError:
        return ConfigError(f"{self._path}: {where}: {what}" if where else f"{self._path}: {what}")

    def tree(self) -> dict[str, Any]:
        """The file as mappings, lists and texts, with its places filled in."""
        try:
            text = Path(self._path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise self.problem("", f"cannot be read: {_reason(error)}") from None
        try:
            tree = yaml.load(text, Loader=_Loader)  # noqa: S506  (builds only texts, lists and mappings)
        except (yaml.YAMLError, RecursionError) as error:
            raise self.problem("", f"is no YAML: {_yaml_reason(error)}") from None
        filled: dict[str, Any] = self._filled(self.mapping(tree, ""), "")
        return filled

    def mapping(self, value: Any, where: str) -> dict[str, Any]:
        """`value` if it is a mapping with text keys; nothing at all counts as an empty one."""
        if value in (None, ""):
            return {}
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise self.problem(where, "must be keys with values")
        return value

    def served_of_rasa(self, tree: dict[str, Any]) -> dict[str, Any]:
        """The channels of a Rasa credentials file that are served here; the others are named."""
        others = _RASA_CHANNELS.difference(known_types())
        served = {name: settings for name, settings in tree.items() if name not in others}
        for name in tree:
            if name not in served:
                _log.warn("{path}: channel {name} is not served here", path=self._path, name=name)
        return served

    def channel(self, name: str, value: Any) -> Channel:
        """The channel `name`, made by the class of its type."""
        where = f"channels.{name}"
        settings = self.mapping(value, where)
        type_name = settings.get("type", name)
        if not _NAME.fullmatch(name) and "type" in settings:
            raise self.problem(where, "a name has only lower-case letters, digits, - and _")
        try:
            made_by = find_channel_class(str(type_name))
            checked = self.converted(settings, made_by.Settings, where)
            return made_by.from_settings(name if _NAME.fullmatch(name) else _last_word(name), checked)
        except ConfigError as error:
            if str(error).startswith(self._path):
                raise
            raise self.problem(where, str(error)) from None

    def admin(self, value: dict[str, Any] | None) -> AdminSettings | None:
        """The settings of the admin endpoint, if there is to be one."""
        if value is None:
            return None
        settings = self.converted(_with_list(value, "hosts"), AdminSettings, "admin")
        try:
            checked_endpoint(settings)
        except ConfigError as error:
            raise self.problem("", str(error)) from None
        return settings

    def converted(self, value: dict[str, Any], to: type[T], where: str) -> T:
        """`value` as a struct; its keys are checked first, so that a typo names its neighbour."""
        known = _field_names(to)
        for key in value:
            if key not in known:
                raise self.problem(_join(where, key), f"unknown key{nearest(key, sorted(known))}")
        try:
            return msgspec.convert(_with_yaml_booleans(value, to), to, strict=False, dec_hook=_secret)
        except msgspec.ValidationError as error:
            what, _, path = str(error).partition(" - at `$")
            key = path.strip("`").lstrip(".")
            raise self.problem(_join(where, key), what + _choices(what, to, key)) from None

    def _filled(self, value: Any, where: str) -> Any:
        if isinstance(value, dict):
            return {key: self._filled(item, _join(where, str(key))) for key, item in value.items()}
        if isinstance(value, list):
            return [self._filled(item, f"{where}[{number}]") for number, item in enumerate(value)]
        if isinstance(value, str):
            return _PLACE.sub(lambda match: self._place(match, where), value)
        return value

    def _place(self, match: re.Match[str], where: str) -> str:
        inside = match.group(1)
        if inside is None:
            return "${"
        if inside.startswith("file:"):
            try:
                return Path(inside[5:]).read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise self.problem(where, f"{inside[5:]} cannot be read: {_reason(error)}") from None
        name, has_default, default = inside.partition(":-")
        found = self._environment.get(name)
        if not found and has_default:
            return default
        if found is None:
            raise self.problem(where, f"the environment has no {name}")
        return found


def _with_list(value: dict[str, Any], key: str) -> dict[str, Any]:
    """`value` with a list under `key`, where nothing stands there."""
    return {**value, key: value.get(key) or []}


def _secret(wanted: type, value: Any) -> Any:
    if wanted is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError("must be a text")


def _with_yaml_booleans(value: dict[str, Any], to: Any) -> dict[str, Any]:
    """`value` with YAML's ``yes`` and ``no`` spelled out where a boolean is wanted."""
    wanted = {field.encode_name for field in msgspec.structs.fields(to) if field.type is bool}
    return {
        key: _BOOLEANS.get(item.lower(), item) if key in wanted and isinstance(item, str) else item
        for key, item in value.items()
    }


def _choices(what: str, struct: Any, key: str) -> str:
    """What may stand in the place of a word that is none of those that a key takes."""
    word = re.fullmatch(r"Invalid enum value '(.+)'", what)
    known = {field.encode_name: list(get_args(field.type)) for field in msgspec.structs.fields(struct)}
    return nearest(word[1], known[key]) if word and known.get(key) else ""


def _field_names(struct: Any) -> set[str]:
    return {field.encode_name for field in msgspec.structs.fields(struct)}


def _join(where: str, key: str) -> str:
    return f"{where}.{key}" if where and key else where or key


def _last_word(dotted: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", dotted.rpartition(".")[2].lower()).strip("-") or "channel"


def _reason(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())


def _yaml_reason(error: BaseException) -> str:
    """What is wrong and in which line, without the words there: they may be a secret."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        problem = str(error.problem)
        if not isinstance(error, _TwiceError):
            problem = _NAMED_IN_YAML.sub("…", problem)
        return f"line {error.problem_mark.line + 1}: {problem}"
    return "nested too deeply" if isinstance(error, RecursionError) else _reason(error)
