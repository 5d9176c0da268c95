"""`onehop controller`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import click

from onehop.app.stores import (
    OpenStore,
    StoreChoice,
    namespace_of,
    open_store,
    own_namespace_of,
    reach,
)
from onehop.cli import options
from onehop.model.reason import Refusal

if TYPE_CHECKING:
    from onehop.app.controller import Controller


@click.command(short_help="Give Services their addresses.")
@options.store
@options.lb_class
@options.metrics_address
@click.option(
    "--pool-annotation",
    is_flag=True,
    help="Name each Service's pool in metallb.io/ip-allocated-from-pool, in a cluster.",
)
def controller(
    *,
    where: StoreChoice,
    lb_class: str | None,
    metrics_address: options.HostPort | None,
    pool_annotation: bool,
) -> None:
    """Give Services of type LoadBalancer their addresses from IPAddressPools."""
    if where.folder is None:
        serve = _of_cluster(where, lb_class, metrics_address, annotate=pool_annotation)
    else:
        serve = _of_folder(where, lb_class, metrics_address)
    refusal = asyncio.run(serve)
    if refusal is not None:
        raise click.ClickException(str(refusal))


async def _of_folder(
    where: StoreChoice, lb_class: str | None, metrics_address: options.HostPort | None
) -> Refusal | None:
    from onehop.adapters.telemetry import Log
    from onehop.app.controller import Controller

    store = open_store(where)
    try:
        made = Controller(store, Log(), lb_class=lb_class)
        return await _served(made, store, metrics_address, made.run)
    finally:
        store.close()


async def _of_cluster(
    where: StoreChoice,
    lb_class: str | None,
    metrics_address: options.HostPort | None,
    *,
    annotate: bool,
) -> Refusal | None:
    from onehop.adapters.telemetry import Log
    from onehop.app.kube_controller import KubeController, KubeControllerSettings

    access = reach(where)
    settings = KubeControllerSettings(
        namespace=namespace_of(where, access),
        own_namespace=own_namespace_of(where, access),
        pod=os.environ.get("ONEHOP_POD_NAME", ""),
        lb_class=lb_class,
        annotate=annotate,
    )
    made = KubeController(access, settings, Log())
    return await _served(made.controller, made.store, metrics_address, made.run)


async def _served(
    made: Controller,
    store: OpenStore,
    metrics_address: options.HostPort | None,
    run: Callable[[], Awaitable[None]],
) -> Refusal | None:
    if metrics_address is None:
        await run()
        return None
    from onehop.app.controller_metrics import ControllerFigures
    from onehop.app.metrics import serve

    figures = ControllerFigures(made, store=store, staleness=store.staleness)
    return await serve(metrics_address, figures, run)
