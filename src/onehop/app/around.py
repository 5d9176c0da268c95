"""What stands around the objects in a cluster: who controls it, and whether MetalLB still does.

Asked of the API server once, for whoever looks at the installation as a whole. Each question is
one request and stands alone: who may not list Leases still learns of the pods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

from onehop.adapters.kube.connection import Connection
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.lease import NAME
from onehop.app.outside import OutsideError, answer_of, is_ready, pods

CONTROLLERS = "app.kubernetes.io/name=onehop,app.kubernetes.io/component=controller"
# The labels of its manifests, and those of its Helm chart.
METALLB = ("app=metallb", "app.kubernetes.io/name=metallb")
_LEASES = f"/apis/coordination.k8s.io/v1/leases?fieldSelector={quote(f'metadata.name={NAME}')}"
_Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A Lease of our controllers; `age` seconds since its renewal by this machine's clock."""

    namespace: str
    holder: str
    age: float | None
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """`controllers` are pods with whether they are ready; `unknown` says what was not told.

    `metallb` are its pods; `installed` what would start some, where none runs.
    """

    leases: tuple[Held, ...] = ()
    controllers: Mapping[str, bool] | None = None
    metallb: tuple[str, ...] = ()
    installed: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def look_around(access: Access, now: datetime | None = None) -> Around:
    """Leases, controllers and MetalLB's pods, in all namespaces."""
    connection = Connection(access, timeout=15.0)
    unknown: list[str] = []

    def told(what: str, ask: Callable[[], list[_Object]]) -> list[_Object] | None:
        try:
            return ask()
        except OutsideError as error:
            unknown.append(f"{what}: {error}")
            return None

    try:
        leases = told("Leases", lambda: answer_of(connection, _LEASES).get("items") or [])
        controllers = told("controllers", lambda: pods(connection, CONTROLLERS))
        metallb = {
            _name(pod)
            for labels in METALLB
            for pod in told("MetalLB", partial(pods, connection, labels)) or ()
        }
        installed = () if metallb else _installed(connection)
    finally:
        connection.close()
    at = now or datetime.now(UTC)
    return Around(
        leases=tuple(_held(each, at) for each in leases or ()),
        controllers=None if controllers is None else {_name(p): is_ready(p) for p in controllers},
        metallb=tuple(sorted(metallb)),
        installed=installed,
        unknown=tuple(unknown),
    )


def _installed(connection: Connection) -> tuple[str, ...]:
    """MetalLB's workloads without a pod; who may not list them is not told of them."""
    found = set()
    for kind, plural in (("DaemonSet", "daemonsets"), ("Deployment", "deployments")):
        for labels in METALLB:
            path = f"/apis/apps/v1/{plural}?labelSelector={quote(labels)}"
            with suppress(OutsideError):
                items = answer_of(connection, path).get("items") or ()
                found |= {f"{kind} {_name(each)}" for each in items}
    return tuple(sorted(found))


def _name(body: _Object) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def _held(body: _Object, now: datetime) -> Held:
    spec = body.get("spec") or {}
    try:
        renewed = datetime.fromisoformat(spec.get("renewTime") or "")
        age = (now - renewed).total_seconds()
    except (ValueError, TypeError):
        age = None
    return Held(
        namespace=body["metadata"]["namespace"],
        holder=spec.get("holderIdentity") or "",
        age=age,
        duration=float(spec.get("leaseDurationSeconds") or 15),
    )
