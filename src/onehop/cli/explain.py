"""`onehop explain NS/NAME`."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict, replace

import click

from onehop.app.explain import Explanation, explanation
from onehop.app.stores import IncompleteError, StoreChoice, complete_objects, open_store, reach
from onehop.cli import options
from onehop.cli.output import show
from onehop.cli.reports import reports
from onehop.model.objects import Objects
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
            objects, key = complete_objects(store), Key(namespace or "default", name)
            found = explanation(
                objects,
                key,
                lb_class=lb_class,
                state=state,
                node=node,
            )
    except IncompleteError as error:
        raise click.ClickException(str(error)) from error
    if found is not None:
        found = replace(found, written=_written(where, objects, key))
    if found is None:
        raise click.ClickException(f"there is no Service {namespace or 'default'}/{name}")
    if output == "table":
        click.echo("\n".join(_lines(found)))
    else:
        show(asdict(found), output)


def _written(where: StoreChoice, objects: Objects, key: Key) -> str:
    """Who else wrote its addresses; empty when that was onehop, or nobody can tell."""
    if where.folder is not None or not objects.services[key].ingress:
        return ""
    access = reach(where)
    if access.is_pod:
        return ""  # a speaker may list Services and get none
    from onehop.app.written_by import in_words, others

    managers = others(access, (key,)).get(key)
    return in_words(objects, key, managers) if managers else ""


def _lines(found: Explanation) -> list[str]:
    addresses = ", ".join(found.addresses) or "none"
    pool = f" from pool {found.pool}" if found.pool else ""
    lines = [f"Service {found.service}", f"  address   {addresses}{pool}"]
    lines += [f"            - {line}" for line in found.allocation]
    lines += [f"            - {found.written}"] if found.written else []
    lines += [f"  election  {' > '.join(found.election) or 'no node is eligible'}"]
    for node in found.nodes:
        says = "announces" if node.announces else f"does not announce: {node.reason}"
        lines.append(f"  {node.node}  {says}")
        lines += [f"            {frontend}" for frontend in node.frontends]
        lines += [f"            bgp {line}" for line in node.bgp]
        lines += [f"            reported {report}" for report in node.reports]
    lines += [f"  problem   {problem}" for problem in found.problems]
    return lines
