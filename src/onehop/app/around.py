"""What stands around the objects in a cluster: who controls it, and whether MetalLB still does.

Asked of the API server once, for whoever looks at the installation as a whole. Each question is
one request and stands alone: who may not list Leases still learns of the pods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from onehop.adapters.kube.connection import Connection
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.lease import NAME
from onehop.app.outside import OutsideError, answer_of

CONTROLLERS = "app.kubernetes.io/name=onehop,app.kubernetes.io/component=controller"
# The labels of its manifests, and those of its Helm chart.
METALLB = ("app=metallb", "app.kubernetes.io/name=metallb")
_MOST = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A Lease of our controllers; `age` seconds since its renewal by this machine's clock."""

    namespace: str
    holder: str
    age: float | None
    duration: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """`controllers` are pods with whether they are ready; `unknown` says what was not told."""

    leases: tuple[Held, ...] = ()
    controllers: Mapping[str, bool] | None = None
    metallb: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def look_around(access: Access, now: datetime | None = None) -> Around:
    """Leases, controllers and MetalLB's pods, in all namespaces."""
    connection = Connection(access, timeout=15.0)
    unknown: list[str] = []

    def items(what: str, path: str) -> list[dict[str, Any]] | None:
        try:
            return answer_of(connection, path).get("items") or []
        except OutsideError as error:
            unknown.append(f"{what}: {error}")
            return None

    try:
        leases = items(
            "Leases",
            f"/apis/coordination.k8s.io/v1/leases?fieldSelector={quote(f'metadata.name={NAME}')}",
        )
        controllers = items("controllers", _pods(CONTROLLERS))
        metallb = _names(items)
    finally:
        connection.close()
    at = now or datetime.now(UTC)
    return Around(
        leases=tuple(_held(each, at) for each in leases or ()),
        controllers=None if controllers is None else {_name(p): _ready(p) for p in controllers},
        metallb=metallb,
        unknown=tuple(unknown),
    )


def _names(items: Callable[[str, str], list[dict[str, Any]] | None]) -> tuple[str, ...]:
    found = {_name(pod) for labels in METALLB for pod in items("MetalLB", _pods(labels)) or ()}
    return tuple(sorted(found))


def _pods(labels: str) -> str:
    return f"/api/v1/pods?labelSelector={quote(labels)}&limit={_MOST}"


def _name(body: dict[str, Any]) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def _ready(pod: dict[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def _held(body: dict[str, Any], now: datetime) -> Held:
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
