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
def controller(folder: Path, state: Path | None, lb_class: str | None) -> None:
    """Give Services of type LoadBalancer their addresses from IPAddressPools."""
    from onehop.adapters.manifests import Manifests
    from onehop.adapters.telemetry import Log
    from onehop.app.controller import Controller

    try:
        store = Manifests(folder, state=state)
    except (OSError, ValueError) as error:
        raise click.ClickException(f"--manifests {folder}: {error}") from error
    try:
        asyncio.run(Controller(store, Log(), lb_class=lb_class).run())
    finally:
        store.close()
