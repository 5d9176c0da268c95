"""What a lab's API server is given: onehop's installation, and the objects of a cluster file.

Pure but for reading the files. A file may be a dump of a real cluster: what the server and its
controllers fill in (uid, owners, Pod status) is left out, since here others will, or nobody.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from onehop.adapters.manifests.document import chunks, document
from onehop.adapters.objects.kinds import KINDS
from onehop.lab.state import LabError, manifest_files

Object = dict[str, Any]

INSTALLATION = Path(__file__).resolve().parents[3] / "deploy" / "onehop.yaml"
OWN_NAMESPACE = "onehop-system"
CONTROLLER, SPEAKER = "onehop-controller", "onehop-speaker"

_SERVICE_LABEL = "kubernetes.io/service-name"
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_KEPT = ("name", "namespace", "labels", "annotations")
_RBAC = ("Namespace", "ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")
_CLUSTER_IPS = ("clusterIP", "clusterIPs")
_FILLED_IN = ("Pod", "EndpointSlice")  # somebody else says what their state is


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """What `deploy/` installs, but for what runs it: here the lab does."""

    definitions: tuple[Object, ...]
    rights: tuple[Object, ...]


def installation(namespace: str, file: Path = INSTALLATION) -> Installation:
    """The CRDs, and the accounts with their rights on `metallb.io` objects in `namespace`.

    Raises:
        LabError: when the file is not there.
    """
    try:
        items = [item for item in yaml.safe_load_all(file.read_text()) if item]
    except FileNotFoundError:
        what = "a lab on Kubernetes is installed from onehop's source tree"
        raise LabError(f"{what}: {file} is missing") from None
    rights = [_moved(item, namespace) for item in items if item["kind"] in _RBAC]
    return Installation(
        definitions=tuple(i for i in items if i["kind"] == "CustomResourceDefinition"),
        rights=tuple(sorted(rights, key=lambda item: _RBAC.index(item["kind"]))),
    )


def _moved(item: Object, namespace: str) -> Object:
    if item["kind"] in ("Role", "RoleBinding") and item["metadata"]["name"].endswith(
        "-configuration"
    ):
        return {**item, "metadata": {**item["metadata"], "namespace": namespace}}
    return item


def given(folder: Path) -> tuple[Object, ...]:
    """The objects in a cluster's files that onehop reads, as they stand there."""
    found: list[Object] = []
    for path in manifest_files(folder):
        for chunk in chunks(path.read_text()):
            found += _flat(document(chunk.text))
    return tuple(item for item in found if (item["apiVersion"], item["kind"]) in KINDS)


def _flat(item: object) -> Iterator[Object]:
    if not isinstance(item, dict):
        return
    if str(item.get("kind", "")).endswith("List") and "items" in item:
        own = {"apiVersion": item["apiVersion"], "kind": item["kind"].removesuffix("List")}
        for each in item["items"] or ():
            yield {**own, **each}
    else:
        yield item


def configuration_namespace(objects: Iterable[Object]) -> str:
    """The namespace of the `metallb.io` objects.

    Raises:
        LabError: when they lie in several: a cluster's controller reads one.
    """
    found = {_namespace(o) for o in objects if o["apiVersion"].startswith("metallb.io/")}
    if len(found) > 1:
        raise LabError(
            f"metallb.io objects lie in {' and '.join(sorted(found))}: on Kubernetes onehop "
            "reads those of one namespace"
        )
    return found.pop() if found else OWN_NAMESPACE


def seeded(objects: Iterable[Object], reserved: Container[str] = ()) -> tuple[Object, ...]:
    """The objects as the API server is to be given them: what others lean on comes first.

    `reserved` are ClusterIPs that the server has for itself: who has one in the file gets another.
    """
    aged = sorted(objects, key=lambda item: str(item["metadata"].get("creationTimestamp", "")))
    slim = [_slim(item, reserved) for item in aged if not _is_servers_own(item)]
    named = {item["metadata"]["name"] for item in slim if item["kind"] == "Namespace"}
    spaces = {_namespace(item) for item in slim if KINDS[_kind(item)].namespaced}
    made = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        for name in sorted(spaces - named)
    ]
    pods = [item for item in slim if item["kind"] == "Pod"]
    selected = {key for key, service in _services(slim) if any(_selects(service, p) for p in pods)}
    kept = [item for item in slim if _service_of(item) not in selected]
    made += kept
    return tuple(sorted(made, key=_order))


def namespaces_of(objects: Iterable[Object], kind: str) -> tuple[str, ...]:
    """The namespaces that hold an object of a kind."""
    return tuple(sorted({_namespace(item) for item in objects if item["kind"] == kind}))


def _order(item: Object) -> tuple[int, bool]:
    first = ("Namespace", "Node", "Service", "Pod")
    rank = first.index(item["kind"]) if item["kind"] in first else len(first)
    # Who is given a ClusterIP comes after those who have theirs, which would be taken else.
    return rank, item["kind"] == "Service" and not item["spec"].get("clusterIP")


def _kind(item: Object) -> tuple[str, str]:
    return item["apiVersion"], item["kind"]


def _namespace(item: Object) -> str:
    return item["metadata"].get("namespace") or "default"


def _is_servers_own(item: Object) -> bool:
    """Whether this is how a cluster's Pods reach its API server: every server makes its own."""
    own = ("Service", "EndpointSlice")
    is_named = item["metadata"].get("name") == "kubernetes" and _namespace(item) == "default"
    return is_named and item["kind"] in own


def _slim(item: Object, reserved: Container[str]) -> Object:
    metadata = {k: v for k, v in item["metadata"].items() if k in _KEPT and v}
    slim = {**item, "metadata": metadata}
    if item["kind"] in _FILLED_IN or item["apiVersion"].startswith("metallb.io/"):
        slim.pop("status", None)
    if item["kind"] == "Pod":
        slim["spec"] = _pod_spec(item.get("spec") or {})
    elif item["kind"] == "Node":
        slim["status"] = _node_status(item.get("status") or {})
    elif item["kind"] == "Service":
        slim["spec"] = _service_spec(item.get("spec") or {}, reserved)
    elif item["kind"] == "EndpointSlice":
        # The controller that this label may name would take the slice for its own.
        metadata["labels"] = {**metadata.get("labels", {}), _MANAGED_BY: "onehop-lab"}
    return slim


def _pod_spec(spec: Mapping[str, Any]) -> Object:
    """What is left of a Pod where the lab runs its process: a name, ports, a node."""
    containers = [
        {
            "name": each.get("name") or f"container-{number}",
            "image": each.get("image") or "lab",
            "ports": each.get("ports") or [],
        }
        for number, each in enumerate(spec.get("containers") or ({"name": "lab"},))
    ]
    slim: Object = {"containers": containers, "terminationGracePeriodSeconds": 0}
    return slim | {key: spec[key] for key in ("nodeName", "hostNetwork") if spec.get(key)}


def _service_spec(spec: Mapping[str, Any], reserved: Container[str]) -> Object:
    own = {spec.get("clusterIP"), *(spec.get("clusterIPs") or ())}
    if not any(address in reserved for address in own):
        return dict(spec)
    return {field: value for field, value in spec.items() if field not in _CLUSTER_IPS}


def _node_status(status: Mapping[str, Any]) -> Object:
    conditions = list(status.get("conditions") or ())
    if not any(each.get("type") == "Ready" for each in conditions):
        conditions.append({"type": "Ready", "status": "True"})
    told = {"reason": "Lab", "message": "the lab says so"}
    return {**status, "conditions": [{**told, **each} for each in conditions]}


def _services(objects: Iterable[Object]) -> Iterator[tuple[tuple[str, str], Object]]:
    for item in objects:
        if item["kind"] == "Service":
            yield (_namespace(item), item["metadata"]["name"]), item


def _selects(service: Object, pod: Object) -> bool:
    selector = service.get("spec", {}).get("selector") or {}
    labels = pod["metadata"].get("labels") or {}
    is_beside = _namespace(service) == _namespace(pod)
    return bool(selector) and is_beside and selector.items() <= labels.items()


def _service_of(item: Object) -> tuple[str, str] | None:
    """The Service whose endpoints a slice lists; None for what is no slice."""
    if item["kind"] != "EndpointSlice":
        return None
    return _namespace(item), item["metadata"].get("labels", {}).get(_SERVICE_LABEL, "")
