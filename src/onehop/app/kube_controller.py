"""The controller of a cluster: the API server as its store, and a Lease that says who writes.

At the end the writes that are under way are waited for, and only then the Lease is given up: the
next controller begins where this one has ended.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from contextlib import closing
from dataclasses import dataclass

from onehop.adapters.kube.controller_writer import ControllerWriter
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.lease import TIMING, Lease, Timing
from onehop.adapters.kube.reader import Recall
from onehop.adapters.kube.released import released_path
from onehop.adapters.kube.store import KubeStore
from onehop.adapters.telemetry import Log
from onehop.app.controller import Controller
from onehop.core.pool_use import pools_used


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeControllerSettings:
    """What a cluster's controller is told at start.

    `namespace` holds the `metallb.io` objects, `own_namespace` the Lease. `pod` is the name of
    its pod, empty when it runs outside of one: a pod's name is nobody else's, so a controller
    that comes back under it takes its Lease back at once. `annotate` names each Service's pool in
    MetalLB's annotation.
    """

    namespace: str
    own_namespace: str
    pod: str = ""
    lb_class: str | None = None
    annotate: bool = False
    timing: Timing = TIMING


class KubeController:
    """The parts of a cluster's controller, wired, on the loop that runs."""

    def __init__(self, access: Access, settings: KubeControllerSettings, log: Log) -> None:
        identity = settings.pod or f"{socket.gethostname()}_{secrets.token_hex(4)}"
        self.lease = Lease(
            access, settings.own_namespace, identity=identity, timing=settings.timing
        )
        self.writer = ControllerWriter(
            access,
            namespace=settings.namespace,
            own_namespace=settings.own_namespace,
            instance=identity,
            counting=pools_used,
            annotate=settings.annotate,
            fence=self.lease.is_held,
        )
        self.store = KubeStore(
            access,
            namespace=settings.namespace,
            slices=False,
            writer=self.writer,
            recall=Recall(
                path=released_path(settings.own_namespace), decoded=self.writer.released.found
            ),
            loop=asyncio.get_running_loop(),
        )
        self.controller = Controller(
            self.store, log, lb_class=settings.lb_class, leadership=self.lease
        )

    async def run(self) -> None:
        """Serve until SIGTERM, then hand over."""
        with closing(self.lease), closing(self.store):
            # Only who hears a SIGTERM may hold the Lease: the next one would wait for its end.
            await self.controller.run(self.lease.start)
