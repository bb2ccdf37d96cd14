"""``klein-channels store``: look at a store, bring it up to date, copy it into another."""

from __future__ import annotations

import time
from contextlib import closing

import click

from .errors import StartError
from .store import schema
from .store.moving import HELD, copy
from .store.opening import open_end, store_beside_server


@click.group("store")
def store_commands() -> None:
    """The store itself: look at it, bring it up to date, copy it to another engine."""


@store_commands.command()
@click.argument("url")
def check(url: str) -> None:
    """Say which schema the store URL has and how much is in it; no server may run on it."""
    with closing(open_end(url)) as end:
        version, known = end.version(), schema.newest("sqlite")
        if version == 0:
            raise StartError(f"store: {end.shown} is empty")
        schema.refuse_newer(end.shown, version, "sqlite")
        for table in end.tables():
            if table not in HELD | {"store"}:
                click.echo(f"{table}: {end.count(table)}")
    click.echo(f"schema {version}" + ("" if version == known else f"; `store migrate` makes it {known}"))


@store_commands.command()
@click.argument("url")
def migrate(url: str) -> None:
    """Bring the schema of the store URL up to date; servers of the former version may go on."""
    opened = store_beside_server(url)
    opened.open(time.time())
    opened.close()
    click.echo(f"schema {schema.newest('sqlite')}")


@store_commands.command("copy")
@click.argument("source")
@click.argument("target")
def copy_store(source: str, target: str) -> None:
    """Copy the store SOURCE into TARGET, which must be empty; no server may run on either.

    Both are URLs, of either engine. SOURCE stays as it is.
    """
    with closing(open_end(source)) as give, closing(open_end(target, new=True)) as take:
        copy(give, take, click.echo)
    click.echo("copied")
