"""A lab whose objects are behind an API server: what the scenes change, they change there."""

from __future__ import annotations

import http.client
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from onehop.lab import kube_network
from onehop.lab.kube_client import MERGE, KubeClient, Object
from onehop.lab.kube_plane import KubePlane, Place, programs
from onehop.lab.kube_seed import (
    CONTROLLER,
    OWN_NAMESPACE,
    SPEAKER,
    configuration_namespace,
    given,
    seeded,
)
from onehop.lab.mode import KINDS, OTHER, Mode, check_kept, peers
from onehop.lab.state import LabError, Layout
from onehop.lab.store import StoreKind, read_items, read_objects, shape_of
from onehop.lab.supervisor import Supervisor
from onehop.lab.topology import API, Topology, TopologyError
from onehop.model.address import IPAddress, family_of
from onehop.model.objects import Objects
from onehop.model.service import Key, Service

_CONFIGURATION = "/apis/metallb.io/v1beta1"
_LISTS = {
    "Node": "/api/v1/nodes",
    "Namespace": "/api/v1/namespaces",
    "Pod": "/api/v1/pods",
    "Service": "/api/v1/services",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/endpointslices",
    "IPAddressPool": f"{_CONFIGURATION}/ipaddresspools",
    "L2Advertisement": f"{_CONFIGURATION}/l2advertisements",
    "BGPAdvertisement": f"{_CONFIGURATION}/bgpadvertisements",
    "BGPPeer": "/apis/metallb.io/v1beta2/bgppeers",
    "BFDProfile": f"{_CONFIGURATION}/bfdprofiles",
    "Community": f"{_CONFIGURATION}/communities",
}
# What the API server fills in says nothing that a mode without the field would lose.
_DEFAULTS = {"aggregationLength": 32, "aggregationLengthV6": 128}
_LAB_LABEL = "onehop.io/lab"


class KubeLabStore:
    """An API server of the lab's own, and the files from which it was filled."""

    kind: StoreKind = "kubernetes"
    controller_host = API

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    @property
    def plane(self) -> KubePlane:
        """The API server.

        Raises:
            LabError: when it was never started.
        """
        return KubePlane(self._layout, Place.read(self._layout))

    @contextmanager
    def _asked(self) -> Iterator[KubeClient]:
        """An administrator's client.

        Raises:
            LabError: when the API server cannot be reached.
        """
        try:
            with self.plane.client() as client:
                yield client
        except (OSError, http.client.HTTPException) as error:
            raise LabError(
                f"the API server of lab {self._layout.name!r} cannot be reached: {error}"
            ) from error

    @property
    def where(self) -> str:
        """How the API server is reached from the machine."""
        return f"KUBECONFIG={self.plane.outer_kubeconfig}"

    def shape(self) -> Topology:
        """The lab that the files describe: what happens to objects later builds no pods."""
        objects = read_objects(self._layout.manifests)
        shape = shape_of(objects)
        try:
            return replace(shape, management=kube_network.management(objects, shape))
        except TopologyError as error:
            raise LabError(f"the cluster makes no lab: {error}") from error

    def start(self, supervisor: Supervisor) -> None:
        """Start the API server and give it the objects of the files."""
        documents = given(self._layout.manifests)
        objects = read_objects(self._layout.manifests)
        management = self.shape().management
        assert management is not None, "this store's labs have one"
        try:
            networks = kube_network.service_networks(objects)
        except TopologyError as error:
            raise LabError(f"the cluster makes no lab: {error}") from error
        place = Place(
            address=str(management.address.ip),
            service_networks=",".join(map(str, networks)),
            namespace=configuration_namespace(documents),
            programs=str(programs()),
        )
        place.write(self._layout)
        seed = seeded(documents, kube_network.reserved(networks))
        KubePlane(self._layout, place).start(supervisor, seed)

    def objects(self) -> Objects:
        """Ask for all objects anew."""
        with self._asked() as client:
            return read_items([item for kind in _LISTS for item in _listed(client, kind)])

    def without_status(self, objects: Objects) -> tuple[Key, ...]:
        """The LoadBalancer Services whose status has neither an address nor a condition."""
        del objects
        with self._asked() as client:
            services = _listed(client, "Service")
        return tuple(
            _key(item)
            for item in services
            if item["spec"].get("type") == "LoadBalancer" and not _speaks(item.get("status", {}))
        )

    def without_endpoints(self) -> tuple[Key, ...]:
        """The Services that select a Pod which is not among their ready endpoints."""
        objects = self.objects()
        ready = {
            (piece.service, address)
            for piece in objects.slices.values()
            for endpoint in piece.endpoints
            if endpoint.ready
            for address in endpoint.addresses
        }
        return tuple(
            key
            for key, service in sorted(objects.services.items())
            if any((key, address) not in ready for address in _selected(service, objects))
        )

    def set_policy(self, policy: str, services: Iterable[str] | None) -> int:
        """Patch the field where it is another one."""
        wanted = None if services is None else frozenset(services)
        body = {"spec": {"externalTrafficPolicy": policy}}
        with self._asked() as client:
            changed = [
                item
                for item in _listed(client, "Service")
                if item["spec"].get("type") == "LoadBalancer"
                and item["spec"].get("externalTrafficPolicy") != policy
                and (wanted is None or str(_key(item)) in wanted)
            ]
            for item in changed:
                client.request("PATCH", client.path(item), body, MERGE)
        return len(changed)

    def set_advertisements(self, wanted: Mode) -> None:
        """Make each anew with the other kind, and then delete it."""
        with self._asked() as client:
            old = [
                {**item, "spec": _said(item.get("spec") or {})}
                for item in _listed(client, KINDS[OTHER[wanted]])
            ]
            for item in old:
                check_kept(wanted, item["metadata"]["name"], item["spec"])
            for item in old:
                metadata = {k: item["metadata"][k] for k in ("name", "namespace")}
                metadata["labels"] = item["metadata"].get("labels") or {}
                made = {"apiVersion": item["apiVersion"], "kind": KINDS[wanted]}
                client.apply([{**made, "metadata": metadata, "spec": item["spec"]}])
                client.delete(client.path(item))

    def write_peers(self, addresses: Iterable[IPAddress], asn: int) -> None:
        """Apply a peer for each address."""
        namespace = self.plane.place.namespace
        with self._asked() as client:
            client.apply(_labelled(peer) for peer in peers(addresses, asn, namespace))

    def remove_peers(self) -> None:
        """Delete the peers that have our label."""
        with self._asked() as client:
            for item in _listed(client, "BGPPeer"):
                if _LAB_LABEL in (item["metadata"].get("labels") or {}):
                    client.delete(client.path(item))

    def controller(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """The API server, as the controller's account."""
        return self._led(CONTROLLER), {
            "ONEHOP_POD_NAMESPACE": OWN_NAMESPACE,
            "ONEHOP_POD_NAME": f"{CONTROLLER}-lab",
        }

    def speaker(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """The API server, as the speakers' account."""
        return self._led(SPEAKER), {"ONEHOP_POD_NAMESPACE": OWN_NAMESPACE}

    def _led(self, account: str) -> Sequence[str]:
        plane = self.plane
        return (
            *("--kubeconfig", str(plane.kubeconfig(account))),
            *("--namespace", plane.place.namespace),
            *("--state", str(self._state)),
        )

    @property
    def _state(self) -> Path:
        return self._layout.kube / "state"

    def environment(self) -> Mapping[str, str]:
        """The administrator's way in, which the nodes have and the API server's host."""
        plane = self.plane
        return {
            "KUBECONFIG": str(plane.kubeconfig()),
            "ONEHOP_NAMESPACE": plane.place.namespace,
            "ONEHOP_STATE": str(self._state),
            "PATH": f"{os.environ.get('PATH', os.defpath)}:{plane.place.programs}",
        }


def _listed(client: KubeClient, kind: str) -> list[Object]:
    """All objects of a kind, each with its kind, which the items of a list lack."""
    answer = client.get(_LISTS[kind])
    return [{**item, "apiVersion": answer["apiVersion"], "kind": kind} for item in answer["items"]]


def _key(item: Object) -> Key:
    return Key(item["metadata"].get("namespace", ""), item["metadata"]["name"])


def _said(spec: Object) -> Object:
    """What somebody wrote of an advertisement."""
    return {field: value for field, value in spec.items() if _DEFAULTS.get(field) != value}


def _speaks(status: Object) -> bool:
    return bool(status.get("loadBalancer", {}).get("ingress") or status.get("conditions"))


def _selected(service: Service, objects: Objects) -> Iterator[IPAddress]:
    """The addresses of the Pods that a Service selects."""
    for key, pod in objects.pods.items():
        is_beside = key.namespace == service.key.namespace
        if service.selector and is_beside and service.selector.items() <= pod.labels.items():
            yield from (a for a in pod.addresses if family_of(a) in service.ip_families)


def _labelled(peer: Object) -> Object:
    return {**peer, "metadata": {**peer["metadata"], "labels": {_LAB_LABEL: "router"}}}
