"""
``klein-channels`` for operators: short transactions on the store, beside any number of servers, or none.

The endpoint for operators does the same by the same `Operations`. Here no token is asked for: who may
write to the store may do everything anyway. Servers notice within a poll.
"""

from __future__ import annotations

import getpass
import json
import re
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import click
import msgspec
from twisted.internet.defer import Deferred, ensureDeferred

from .config import read_config
from .errors import ConfigError
from .model import JSON, Address
from .operations import PAGE, Operations, as_json
from .secret import redact
from .spool import Spool, folder_beside
from .store import DeadLetter
from .store.opening import store_beside_server
from .store.people import Person
from .store.selection import Selection

OWNERS = ("bot", "human", "paused")
MODES = ("hold", "maintenance", "reject")
DONE = {"replay": "will be tried again", "discard": "is put away"}
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
Command = Callable[..., None]


def _store_options(command: Command) -> Command:
    command = click.option("--store", help="The server's store, sqlite:///PATH.")(command)
    return click.option("--config", type=click.Path(), help="The configuration that names it.")(command)


def _selection_options(command: Command) -> Command:
    for option in (
        click.option("--kind", type=click.Choice(("turn", "reply")), help="Only turns, or only replies."),
        click.option("--channel", help="Only those of this channel."),
        click.option("--reason", help="Only those with these words in their reason."),
        click.option("--since", help="Only those of so late: 90s, 30m, 2h, 7d."),
        click.option("--older", help="Only those that are older than this."),
    ):
        command = option(command)
    return command


def _selection(options: dict[str, Any]) -> Selection:
    now = time.time()
    since, older = options["since"], options["older"]
    return Selection(
        kind=options["kind"],
        channel=options["channel"],
        reason=options["reason"],
        since=None if since is None else now - period("--since", since),
        before=None if older is None else now - period("--older", older),
    )


# -- dead letters


@click.group("dead-letters")
def dead_letters() -> None:
    """What was given up: turns that no agent answered, replies that no platform took."""


@dead_letters.command("list")
@click.option("--json", "as_lines", is_flag=True, help="A line of JSON for each.")
@_selection_options
@_store_options
def list_letters(as_lines: bool, store: str | None, config: str | None, **selection: Any) -> None:
    """List them, oldest first: name, time, conversation, reason."""
    with Opened(store, config) as operations:
        after: str | None = None
        while page := now(operations.letters(_selection(selection), after)):
            for letter in page:
                click.echo(json.dumps(_headed(letter)) if as_lines else _line(letter))
            after = page[-1].id


@dead_letters.command()
@click.argument("letter")
@_store_options
def show(letter: str, store: str | None, config: str | None) -> None:
    """Show all of one."""
    with Opened(store, config) as operations:
        found = now(operations.letter(letter))
    if found is None:
        raise ConfigError(f"no dead letter {letter!r}; `dead-letters list` names them")
    click.echo(_line(found))
    _echo_json(found.content)


@dead_letters.command()
@click.argument("letter")
@click.argument("content", type=click.Path(allow_dash=True))
@_store_options
def edit(letter: str, content: str, store: str | None, config: str | None) -> None:
    """Give one the CONTENT in a file (- for what is piped in), in the form in which `show` has it."""
    try:
        with click.open_file(content, "rb") as file:
            new = msgspec.json.decode(file.read())
    except OSError as error:
        raise ConfigError(f"{content} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, ValueError) as error:
        raise ConfigError(f"the content is no JSON: {error}") from None
    with Opened(store, config) as operations:
        if not now(operations.edit(letter, new)):
            raise ConfigError(f"no dead letter {letter!r}; `dead-letters list` names them")
    click.echo(f"{letter} is changed")


def _redriving(command: Command) -> Command:
    for option in (
        click.option("--all", "everything", is_flag=True, help="All of them, or all that the options name."),
        click.option("--dry-run", is_flag=True, help="Say what would become of them and change nothing."),
    ):
        command = option(command)
    command = click.argument("letters", nargs=-1)(command)
    return _store_options(_selection_options(command))


@dead_letters.command()
@_redriving
def replay(letters: tuple[str, ...], **options: Any) -> None:
    """Try them again, under their old names; a running server takes them up within seconds."""
    _redrive(letters, "replay", **options)


@dead_letters.command()
@_redriving
def discard(letters: tuple[str, ...], **options: Any) -> None:
    """Put them away for good."""
    _redrive(letters, "discard", **options)


def _redrive(
    letters: tuple[str, ...],
    action: Any,
    *,
    everything: bool,
    dry_run: bool,
    store: str | None,
    config: str | None,
    **selection: Any,
) -> None:
    if bool(letters) == everything:
        raise ConfigError("name letters, or say --all (with --channel, --reason … for those that they name)")
    if not everything and any(selection.values()):
        raise ConfigError("letters that are named are not chosen by options as well: leave one of both")
    which = _selection(selection) if everything else None
    with Opened(store, config) as operations:
        if dry_run:
            _echo_prospects(now(operations.dry_run(letters, which)), letters, action)
            return
        if which is not None:
            done = now(operations.redrive_all(which, action))
        else:
            done = [letter for letter in letters if now(operations.redrive(letter, action))]
    for letter in done:
        click.echo(f"{letter} {DONE[action]}")
    if missing := [letter for letter in letters if letter not in done]:
        raise ConfigError(f"no dead letter {', '.join(missing)}")


def _echo_prospects(prospects: Iterable[Any], letters: tuple[str, ...], action: str) -> None:
    found = list(prospects)
    for one in found:
        click.echo(f"{one.id} would {one.would if action == 'replay' else 'be put away'}")
    if len(found) == PAGE:
        click.echo(f"(these are the first {PAGE})")
    if missing := [letter for letter in letters if letter not in {one.id for one in found}]:
        raise ConfigError(f"no dead letter {', '.join(missing)}")


# -- conversations


@click.group()
def conversations() -> None:
    """Who answers a conversation: the bot, a human, or nobody while it is paused."""


@conversations.command("list")
@click.option("--owner", type=click.Choice(OWNERS), multiple=True, help="Only those of this owner.")
@_store_options
def list_conversations(owner: tuple[Any, ...], store: str | None, config: str | None) -> None:
    """List them by their keys: owner, until when (UTC; - for good), key."""
    with Opened(store, config) as operations:
        after: str | None = None
        while page := now(operations.owned(owner, after)):
            for one in page:
                click.echo(printable(f"{one.owner:6}  {when(one.until):20}  {one.key}"))
            after = page[-1].key


@conversations.command("show")
@click.argument("key")
@_store_options
def show_conversation(key: str, store: str | None, config: str | None) -> None:
    """Show how the conversation KEY is, and what waits in it; not what was said."""
    with Opened(store, config) as operations:
        _echo_json(as_json(now(operations.conversation(key))))


@conversations.command()
@click.argument("key")
@click.argument("owner", type=click.Choice(OWNERS))
@click.option("--for", "length", help="How long (90s, 30m, 2h, 7d); then the bot has it again.")
@_store_options
def owner(key: str, owner: Any, length: str | None, store: str | None, config: str | None) -> None:
    """Give the conversation KEY to the bot, to a human, or pause it; a running server obeys at once.

    What waits there when a human takes it is never answered by the bot.
    """
    seconds = period("--for", length) if length is not None else None
    if seconds is not None and owner == "bot":
        raise ConfigError("--for: the bot needs no end")
    try:
        Address.parse(key)
    except ValueError:
        raise ConfigError(f"{key!r} is no key of a conversation; `conversations list` names them") from None
    until = None if seconds is None else time.time() + seconds
    with Opened(store, config) as operations:
        now(operations.set_owner(key, owner, until))
    click.echo(printable(f"{key}: {owner}" + (f" until {when(until)}" if until is not None else "")))


# -- pauses


@click.command()
@click.argument("channel")
@click.option("--account", help="Only this account of it: a page id, a phone-number id …")
@click.option("--mode", type=click.Choice(MODES), default="hold", show_default=True,
              help="hold: accept, answer later; maintenance: answer with --says;"
              " reject: take nothing, the platform delivers again.")  # fmt: skip
@click.option("--says", help="What people are answered during maintenance.")
@click.option("--note", help="Why, for other operators.")
@_store_options
def pause(
    channel: str,
    account: str | None,
    mode: Any,
    says: str | None,
    note: str | None,
    store: str | None,
    config: str | None,
) -> None:
    """Pause CHANNEL, or one account of it, until `resume`; servers obey within a second or so."""
    with Opened(store, config) as operations:
        operations.known_channel(channel)
        now(operations.pause(channel, account, mode, says, note))
    click.echo(f"{channel}{f', account {account}' if account else ''}: {mode}")


@click.command()
@click.argument("channel")
@click.option("--account", help="Only this account of it.")
@_store_options
def resume(channel: str, account: str | None, store: str | None, config: str | None) -> None:
    """Let CHANNEL, or one account of it, go on."""
    with Opened(store, config) as operations:
        if not now(operations.resume(channel, account)):
            raise ConfigError(f"{channel}{f', account {account}' if account else ''} is not paused")
    click.echo(f"{channel}{f', account {account}' if account else ''}: goes on")


@click.command()
@_store_options
def pauses(store: str | None, config: str | None) -> None:
    """List what is paused: place, mode, since when (UTC), note."""
    with Opened(store, config) as operations:
        for one in now(operations.pauses()):
            click.echo(printable(f"{one.place}  {one.mode}  {when(one.since)}  {one.note or ''}").rstrip())


@click.command()
@_store_options
def backlog(store: str | None, config: str | None) -> None:
    """List what waits in each channel: events, since when (UTC), replies, dead letters."""
    with Opened(store, config) as operations:
        names = operations.channels()
        for name, one in zip(names, now(operations.backlog([f"{name}:" for name in names])), strict=True):
            click.echo(
                f"{name}: {one.waiting_events} events wait (since {when(one.oldest)}),"
                f" {one.unsent_replies} replies, {one.dead_turns + one.dead_replies} dead letters"
            )


# -- people and the record


@click.group()
def people() -> None:
    """All that is kept about one person."""


@people.command()
@click.argument("channel")
@click.argument("person")
@_store_options
def export(channel: str, person: str, store: str | None, config: str | None) -> None:
    """Show all that is kept about PERSON, whom CHANNEL knows by that id, as JSON."""
    with Opened(store, config) as operations:
        _echo_json(now(operations.export(operations.person(channel, person))))


@people.command()
@click.argument("channel")
@click.argument("person")
@click.option("--yes", is_flag=True, help="Do not ask.")
@_store_options
def erase(channel: str, person: str, yes: bool, store: str | None, config: str | None) -> None:
    """Delete all that is kept about PERSON; nothing brings it back but a backup."""
    if not yes:
        click.confirm(f"Delete all that is kept about {printable(person)} of {channel}?", abort=True)
    with Opened(store, config) as operations:
        gone = now(operations.erase(operations.person(channel, person)))
    click.echo(f"{gone} rows are gone")


@click.command()
@_store_options
def audit(store: str | None, config: str | None) -> None:
    """List what operators did: time (UTC), who, what, about what, what came of it."""
    with Opened(store, config) as operations:
        after = 0
        while page := now(operations.deeds(after)):
            for deed in page:
                line = f"{when(deed.at)}  {deed.actor}  {deed.action}  {deed.subject}  {deed.result}"
                click.echo(printable(line))
            after = page[-1].id


commands: tuple[click.Command, ...] = (
    dead_letters,
    conversations,
    backlog,
    pause,
    resume,
    pauses,
    people,
    audit,
)


# -- what they share


class _Operations(Operations):
    """With what a configuration says about channels, where one is given."""

    by_sender: dict[str, bool] | None = None

    def channels(self) -> list[str]:
        """The channels of the configuration."""
        if self.by_sender is None:
            raise ConfigError("give the --config: it has the names of the channels")
        return sorted(self.by_sender)

    def known_channel(self, channel: str) -> None:
        """Refuse a channel that the configuration does not have."""
        if self.by_sender is not None and channel not in self.by_sender:
            names = ", ".join(sorted(self.by_sender))
            raise ConfigError(f"no channel {channel!r} is configured (there are: {names})")

    def person(self, channel: str, name: str) -> Person:
        """Somebody as the channel knows them; how it makes conversations, only the configuration says."""
        if self.by_sender is None:
            raise ConfigError("give the --config: what is a person's depends on the settings of the channel")
        self.known_channel(channel)
        return Person(channel=channel, id=name, by_sender=self.by_sender[channel])


class Opened:
    """The operations on a store that is opened beside the server, and closed again."""

    def __init__(self, store: str | None, config: str | None) -> None:
        if store is None and config is None:
            raise ConfigError("name the store: --store URL, or --config channels.yml")
        read = read_config(config) if config is not None else None
        self._store = store_beside_server(store or (read.store if read is not None else ""))
        url = store or (read.store if read is not None else "")
        media = (read.media if read is not None else None) or folder_beside(url)
        keepers = (Spool(media),) if media is not None else ()
        actor = f"command line ({_user()})"
        self._operations = _Operations(self._store, time.time, actor=actor, keepers=keepers)
        if read is not None:
            channels = {one.name: one.options.conversation == "sender" for one in read.channels}
            self._operations.by_sender = channels

    def __enter__(self) -> _Operations:
        self._store.open(time.time())
        return self._operations

    def __exit__(self, *_: object) -> None:
        now(self._store.close())


def now(awaitable: Awaitable[Any]) -> Any:
    """The result of what is there at once: this process has no reactor to wait with."""
    results: list[Any] = []
    failures: list[Any] = []
    deferred = awaitable if isinstance(awaitable, Deferred) else ensureDeferred(awaitable)  # type: ignore[arg-type]
    deferred.addCallbacks(results.append, failures.append)
    if failures:
        failures[0].raiseException()
    return results[0]


def period(option: str, text: str) -> float:
    """Seconds in a period like ``2h``."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None or not int(match[1]):
        raise ConfigError(f"{option} {text!r} is no period; write it like 90s, 30m, 2h or 7d")
    return float(match[1]) * _UNITS[match[2]]


def when(at: float | None) -> str:
    """A time as an operator reads it, in UTC."""
    return "-" if at is None else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def printable(text: str) -> str:
    """`text` without what would give orders to a terminal, and without secrets; JSON stays JSON."""
    return "".join(c if c.isprintable() else _escaped(c) for c in redact(text))


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) < 0x10000 else json.dumps(character)[1:-1]


def _line(letter: DeadLetter) -> str:
    return printable(f"{letter.id}  {when(letter.at)}  {letter.conversation}  {letter.reason}")


def _headed(letter: DeadLetter) -> JSON:
    head = {"id": letter.id, "at": letter.at, "conversation": letter.conversation}
    return {**head, "reason": redact(letter.reason)}


def _echo_json(value: JSON) -> None:
    for line in json.dumps(value, indent=2, ensure_ascii=False).split("\n"):
        click.echo(printable(line))


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "nobody known"
