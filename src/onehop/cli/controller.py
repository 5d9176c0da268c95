"""`onehop controller`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from onehop.cli import options


@click.command()
@options.manifests
@options.state
@options.lb_class
@options.metrics_address
def controller(
    folder: Path,
    state: Path | None,
    lb_class: str | None,
    metrics_address: options.HostPort | None,
) -> None:
    """Give Services of type LoadBalancer their addresses from IPAddressPools."""
    from onehop.adapters.manifests import Manifests
    from onehop.adapters.telemetry import Log
    from onehop.app.controller import Controller

    try:
        store = Manifests(folder, state=state)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"--manifests {folder}: {error}") from error
    made = Controller(store, Log(), lb_class=lb_class)
    try:
        if metrics_address is None:
            asyncio.run(made.run())
            return
        from onehop.app.controller_metrics import ControllerFigures
        from onehop.app.metrics import serve

        figures = ControllerFigures(made, store=store, staleness=store.staleness)
        refusal = asyncio.run(serve(metrics_address, figures, made.run))
        if refusal is not None:
            raise click.ClickException(str(refusal))
    finally:
        store.close()
