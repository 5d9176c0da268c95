"""`onehop status`: the whole installation on one page."""

from __future__ import annotations

from contextlib import ExitStack, closing
from typing import TYPE_CHECKING

import click

from onehop.app.stores import (
    IncompleteError,
    StoreChoice,
    StoreError,
    complete_objects,
    open_store,
    reach,
)
from onehop.cli import options
from onehop.cli.output import show

if TYPE_CHECKING:
    from onehop.app.around import Around
    from onehop.app.overview import Overview, Told
    from onehop.model.objects import Objects
    from onehop.model.service import Key

_PATIENCE = 8.0


@click.command(short_help="Print how the whole installation stands.")
@options.store
@options.lb_class
@options.output
@click.pass_context
def status(ctx: click.Context, *, where: StoreChoice, lb_class: str | None, output: str) -> None:
    """Print how the whole installation stands, and what of it needs a person.

    The exit code is 0 when all is well, 1 when something needs a person, and 2 when the store
    cannot be read.
    """
    from onehop.app.overview import document, in_words

    try:
        page = _page(where, lb_class)
    except (StoreError, IncompleteError) as error:
        click.echo(f"Error: {error}", err=True)
        ctx.exit(2)
    if output == "table":
        click.echo("\n".join(in_words(page)))
    else:
        show(document(page), output)
    ctx.exit(1 if page.findings else 0)


def _page(where: StoreChoice, lb_class: str | None) -> Overview:
    from onehop.app.overview import overview

    with ExitStack() as stack:
        store = stack.enter_context(closing(open_store(where)))
        objects = complete_objects(store, patience=_PATIENCE)
        name, told, around = _beyond(where, stack)
        others = _others(where, objects, lb_class)
        return overview(
            objects, store=name, told=told, around=around, lb_class=lb_class, others=others
        )


def _others(
    where: StoreChoice, objects: Objects, lb_class: str | None
) -> dict[Key, tuple[str, ...]]:
    """Who else writes addresses of Services that are to hold others."""
    from onehop.app.written_by import disputed, others

    keys = disputed(objects, lb_class=lb_class) if where.folder is None else ()
    return others(reach(where), keys) if keys else {}


def _beyond(where: StoreChoice, stack: ExitStack) -> tuple[str, Told, Around | None]:
    """The store's name, and what it does not hold."""
    from onehop.app.around import look_around
    from onehop.app.outside import OutsideError, mirrored, speakers
    from onehop.app.overview import Told

    if where.folder is not None:
        return str(where.folder), Told(state=where.state), None
    access = reach(where)
    around = look_around(access)
    try:
        pods = speakers(access)
    except OutsideError as error:
        raise StoreError(f"the speakers cannot be asked: {error}") from error
    if not pods:
        return access.server, Told(state=where.state, pods=()), around
    state, silent = stack.enter_context(mirrored(access, pods))
    return access.server, Told(state=state, pods=pods, silent=silent), around
