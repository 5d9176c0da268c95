"""`onehop service`: the service table of this node."""

from __future__ import annotations

import json
from pathlib import Path

import click
import yaml

from onehop.adapters.bpf.errors import DatapathError
from onehop.app.service_table import document, service_rows, table
from onehop.cli import options


@click.group()
def service() -> None:
    """Look at what this node's datapath serves."""


@service.command("list")
@options.bpf_dir
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml"]),
    default="table",
    show_default=True,
    help="Four columns, all that is known, or a form for programs.",
)
def list_services(bpf_dir: Path, output: str) -> None:
    """Print every frontend and its backends, read from the kernel's maps alone."""
    try:
        rows = service_rows(bpf_dir)
    except DatapathError as error:
        raise click.ClickException(str(error)) from error
    if output == "json":
        click.echo(json.dumps(document(rows), indent=2))
    elif output == "yaml":
        click.echo(yaml.safe_dump(document(rows), sort_keys=False), nl=False)
    else:
        click.echo(table(rows, wide=output == "wide"))
