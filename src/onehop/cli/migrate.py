"""`onehop migrate`: what a take-over would do, before anything is changed."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import click

from onehop.app.migrate import document, in_words, migration_plan
from onehop.app.stores import IncompleteError, StoreChoice, StoreError, open_store
from onehop.cli import options
from onehop.cli.output import show
from onehop.core.migrate import Plan

UNREADABLE = 2


@click.group()
def migrate() -> None:
    """Take over from MetalLB, and know before what it will change."""


@migrate.command("plan")
@options.store
@options.lb_class
@options.output
@click.pass_context
def plan_command(
    context: click.Context, *, where: StoreChoice, lb_class: str | None, output: str
) -> None:
    """Print for every Service whether its addresses stay, move or are refused, and why.

    Only reads: a cluster, or a folder of manifests with the statuses that stand in them. The exit
    code is 0 when all stay, 1 when something changes, and 2 when not everything could be read.
    """
    try:
        found = _planned(where, lb_class)
    except (IncompleteError, StoreError) as error:
        click.echo(f"Error: {error}", err=True)
        context.exit(UNREADABLE)
    if output == "table":
        click.echo("\n".join(in_words(found)))
    else:
        show(document(found), output)
    context.exit(0 if found.all_stay else 1)


def _planned(where: StoreChoice, lb_class: str | None) -> Plan:
    with tempfile.TemporaryDirectory() as nowhere:
        if where.folder is not None and where.state_folder is None:
            # What an onehop wrote beside a dump is not what the cluster holds.
            where = replace(where, state_folder=Path(nowhere) / "state")
        store = open_store(where)
        try:
            return migration_plan(store, lb_class=lb_class)
        finally:
            store.close()
