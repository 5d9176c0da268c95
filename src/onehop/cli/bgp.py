"""`onehop bgp`: the sessions of the speakers, the routes on them, and why."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from ipaddress import ip_network

import click

from onehop.app.bgp_report import NodeState, read_reports
from onehop.app.bgp_view import (
    PEER_COLUMNS,
    ROUTE_COLUMNS,
    peer_document,
    peer_rows,
    route_document,
    route_rows,
    wall_clock,
)
from onehop.app.columns import table
from onehop.app.stores import IncompleteError, StoreChoice, complete_objects, open_store
from onehop.cli import options
from onehop.cli.output import show
from onehop.cli.reports import reports

_node = click.option("--node", help="Only this node's speaker.")


@click.group()
def bgp() -> None:
    """Look at BGP sessions, what the routers were told, and why."""


@bgp.command("peers")
@options.store
@_node
@options.output
def peers(*, where: StoreChoice, node: str | None, output: str) -> None:
    """Print every session: its state, since when, and what went over it."""
    found = _states(where, node)
    if output == "table":
        click.echo(table(PEER_COLUMNS, peer_rows(found, wall_clock())))
    else:
        show(peer_document(found), output)


@bgp.command("routes")
@options.store
@_node
@click.option("--peer", help="Only what this BGPPeer has.")
@options.output
def routes(*, where: StoreChoice, node: str | None, peer: str | None, output: str) -> None:
    """Print every route that a router has of us, and what it carries."""
    found = route_document(_states(where, node), peer)
    if output == "table":
        click.echo(table(ROUTE_COLUMNS, route_rows(found)))
    else:
        show(found, output)


@bgp.command("why")
@click.argument("prefix")
@options.store
@options.lb_class
@_node
@options.output
def why(
    *,
    prefix: str,
    where: StoreChoice,
    lb_class: str | None,
    node: str | None,
    output: str,
) -> None:
    """Print why the routers have a route to PREFIX, an address or a network, or have not."""
    from onehop.app.bgp_why import answer, in_words

    try:
        wanted = ip_network(prefix, strict=False)
    except ValueError:
        raise click.ClickException(f"{prefix} is neither an address nor a network") from None
    try:
        with closing(open_store(where)) as store, reports(where, node, needed=False) as state:
            objects = complete_objects(store)
            found = answer(objects, wanted, state=state, lb_class=lb_class, node=node)
    except IncompleteError as error:
        raise click.ClickException(str(error)) from error
    if output == "table":
        click.echo("\n".join(in_words(found)))
    else:
        show(asdict(found), output)


def _states(where: StoreChoice, node: str | None) -> tuple[NodeState, ...]:
    with reports(where, node) as state:
        found = read_reports(state, node)
    if not found:
        whose = f"the speaker of {node}" if node else "any speaker"
        raise click.ClickException(f"there is no report of {whose} in {state}")
    return found
