"""`onehop explain NS/NAME`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict

import click

from onehop.app.explain import Explanation, explanation
from onehop.app.stores import IncompleteError, StoreChoice, complete_objects, open_store
from onehop.cli import options
from onehop.cli.output import show
from onehop.cli.reports import reports
from onehop.model.service import Key


@click.command(short_help="Say why a Service stands as it does.")
@click.argument("service", metavar="NS/NAME")
@options.store
@options.lb_class
@click.option("--node", help="Only this node's part.")
@options.output
def explain(
    *,
    service: str,
    where: StoreChoice,
    lb_class: str | None,
    node: str | None,
    output: str,
) -> None:
    """Print why a Service has its address, its announcer and its backends, or has not."""
    namespace, _, name = service.rpartition("/")
    try:
        with closing(open_store(where)) as store, reports(where, node, needed=False) as state:
            found = explanation(
                complete_objects(store),
                Key(namespace or "default", name),
                lb_class=lb_class,
                state=state,
                node=node,
            )
    except IncompleteError as error:
        raise click.ClickException(str(error)) from error
    if found is None:
        raise click.ClickException(f"there is no Service {namespace or 'default'}/{name}")
    if output == "table":
        click.echo("\n".join(_lines(found)))
    else:
        show(asdict(found), output)


def _lines(found: Explanation) -> list[str]:
    addresses = ", ".join(found.addresses) or "none"
    pool = f" from pool {found.pool}" if found.pool else ""
    lines = [f"Service {found.service}", f"  address   {addresses}{pool}"]
    lines += [f"            - {line}" for line in found.allocation]
    lines += [f"  election  {' > '.join(found.election) or 'no node is eligible'}"]
    for node in found.nodes:
        says = "announces" if node.announces else f"does not announce: {node.reason}"
        lines.append(f"  {node.node}  {says}")
        lines += [f"            {frontend}" for frontend in node.frontends]
        lines += [f"            bgp {line}" for line in node.bgp]
        lines += [f"            reported {report}" for report in node.reports]
    lines += [f"  problem   {problem}" for problem in found.problems]
    return lines
