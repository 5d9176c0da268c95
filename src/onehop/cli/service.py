"""`onehop service`: the service table of this node, or of a cluster's."""

from __future__ import annotations

from pathlib import Path

import click

from onehop.adapters.bpf.errors import DatapathError
from onehop.app.service_table import document, node_table, rows_of, service_rows, table
from onehop.app.stores import StoreChoice, StoreError, reach
from onehop.cli import options
from onehop.cli.output import show


@click.group()
def service() -> None:
    """Look at what the datapath serves."""


@service.command("list")
@options.bpf_dir
@options.kubeconfig
@options.context
@click.option("--node", help="The table of this node of the cluster.")
@click.option("-A", "--all-nodes", is_flag=True, help="The tables of all nodes of the cluster.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Four columns, all that is known, or a form for programs.",
)
def list_services(
    *,
    bpf_dir: Path,
    kubeconfig: Path | None,
    context: str | None,
    node: str | None,
    all_nodes: bool,
    output: str,
) -> None:
    """Print every frontend and its backends, read from the kernel's maps alone.

    Without a word about a cluster it is the table of this machine. With --kubeconfig, --context,
    --node or --all-nodes the speakers of a cluster are asked, through its API server.
    """
    if kubeconfig or context or node or all_nodes:
        _list_far(StoreChoice(kubeconfig=kubeconfig, context=context), node, output)
        return
    try:
        rows = service_rows(bpf_dir)
    except DatapathError as error:
        raise click.ClickException(str(error)) from error
    if output in ("json", "yaml"):
        show(document(rows), output)
    else:
        click.echo(table(rows, wide=output == "wide"))


def _list_far(where: StoreChoice, node: str | None, output: str) -> None:
    from onehop.app.outside import OutsideError, ask, speakers

    try:
        access = reach(where)
        answers = ask(access, speakers(access, node), "services")
        found = {at: rows_of(records) for at, records in answers.found.items()}
    except (StoreError, OutsideError, ValueError) as error:
        raise click.ClickException(str(error)) from error
    for at, why in answers.silent.items():
        click.echo(f"Warning: the speaker of {at} does not answer: {why}", err=True)
    if not found:
        raise click.ClickException(f"no speaker{f' of {node}' if node else ''} answers")
    if output in ("json", "yaml"):
        show([{"node": at} | each for at in found for each in answers.found[at]], output)
    else:
        click.echo(node_table(found, wide=output == "wide"))
