"""`onehop bgp`: the sessions of the speakers, the routes on them, and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from ipaddress import ip_network
from pathlib import Path

import click
import yaml

from onehop.app.bgp_report import NodeState, read_reports
from onehop.app.bgp_view import (
    PEER_COLUMNS,
    ROUTE_COLUMNS,
    peer_document,
    peer_rows,
    route_document,
    route_rows,
    table,
    wall_clock,
)
from onehop.cli import options

_node = click.option("--node", help="Only this node's speaker.")


@click.group()
def bgp() -> None:
    """Look at BGP sessions, what the routers were told, and why."""


@bgp.command("peers")
@options.manifests
@options.state
@_node
@options.output
def peers(*, folder: Path, state: Path | None, node: str | None, output: str) -> None:
    """Print every session: its state, since when, and what went over it."""
    reports = _reports(folder, state, node)
    if output == "table":
        click.echo(table(PEER_COLUMNS, peer_rows(reports, wall_clock())))
    else:
        _print(peer_document(reports), output)


@bgp.command("routes")
@options.manifests
@options.state
@_node
@click.option("--peer", help="Only what this BGPPeer has.")
@options.output
def routes(
    *, folder: Path, state: Path | None, node: str | None, peer: str | None, output: str
) -> None:
    """Print every route that a router has of us, and what it carries."""
    found = route_document(_reports(folder, state, node), peer)
    if output == "table":
        click.echo(table(ROUTE_COLUMNS, route_rows(found)))
    else:
        _print(found, output)


@bgp.command("why")
@click.argument("prefix")
@options.manifests
@options.state
@options.lb_class
@_node
@options.output
def why(
    *,
    prefix: str,
    folder: Path,
    state: Path | None,
    lb_class: str | None,
    node: str | None,
    output: str,
) -> None:
    """Print why the routers have a route to PREFIX, an address or a network, or have not."""
    from onehop.adapters.manifests import Manifests
    from onehop.app.bgp_why import answer, in_words

    try:
        wanted = ip_network(prefix, strict=False)
    except ValueError:
        raise click.ClickException(f"{prefix} is neither an address nor a network") from None
    state = state or folder / ".onehop"
    store = Manifests(folder, state=state)
    try:
        store.refresh()
        found = answer(store.objects(), wanted, state=state, lb_class=lb_class, node=node)
    finally:
        store.close()
    if output == "table":
        click.echo("\n".join(in_words(found)))
    else:
        _print(asdict(found), output)


def _reports(folder: Path, state: Path | None, node: str | None) -> tuple[NodeState, ...]:
    found = read_reports(state or folder / ".onehop", node)
    if not found:
        whose = f"the speaker of {node}" if node else "any speaker"
        raise click.ClickException(f"there is no report of {whose} in {state or folder}")
    return found


def _print(body: object, output: str) -> None:
    text = json.dumps(body, indent=2)
    if output == "json":
        click.echo(text)
    else:  # through JSON, so that both forms hold the same plain values
        click.echo(yaml.safe_dump(json.loads(text), sort_keys=False), nl=False)
