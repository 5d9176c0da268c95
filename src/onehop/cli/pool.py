"""`onehop pool`: how full the pools are."""

from __future__ import annotations

import click

from onehop.app.pools import pool_document, pool_forecasts, pool_table
from onehop.app.stores import IncompleteError, StoreChoice, complete_objects, open_store
from onehop.cli import options
from onehop.cli.output import show


@click.group()
def pool() -> None:
    """Look at the pools that Services get their addresses from."""


@pool.command("list", short_help="Print how full every pool is.")
@options.store
@options.output
def list_pools(*, where: StoreChoice, output: str) -> None:
    """Print every pool: addresses used, free and in all, and when it will be full.

    FULL IN goes by the pace of the last 30 days and knows nothing of deletions: a pool lasts at
    least that long.
    """
    store = open_store(where)
    try:
        found = pool_forecasts(complete_objects(store))
    except IncompleteError as error:
        raise click.ClickException(str(error)) from error
    finally:
        store.close()
    if output == "table":
        click.echo(pool_table(found))
    else:
        show(pool_document(found), output)
