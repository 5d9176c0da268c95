"""A controller as a process of its own: KUBECONFIG NAMESPACE POD [quick]."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from onehop.adapters.kube.kubeconfig import load_access
from onehop.adapters.kube.lease import TIMING, Timing
from onehop.adapters.telemetry import Log
from onehop.app.kube_controller import KubeController, KubeControllerSettings

QUICK = Timing(duration=2.0, renew=0.5, valid=1.0, retry=0.1)


async def main(kubeconfig: str, namespace: str, pod: str, speed: str = "") -> None:
    settings = KubeControllerSettings(
        namespace=namespace, own_namespace=namespace, pod=pod, lb_class=f"example.org/{namespace}",
        timing=QUICK if speed else TIMING,
    )  # fmt: skip
    await KubeController(load_access(Path(kubeconfig)), settings, Log()).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
