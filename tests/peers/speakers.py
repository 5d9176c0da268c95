"""Both sides' speakers on the plant, one side after the other, given the same objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from bench.kube_plant import Plant, lan_address
from bench.kube_sides import Side, metallb_kind, service, speaker_name, start_speaker, stop_speaker

from tests.peers.layer2_sets import Pools, State, Wanted

Plain = dict[str, Any]
SPACE = "peers"


class Given:
    """What the API server holds for one side; another state replaces it, object by object."""

    def __init__(self, plant: Plant, side: Side) -> None:
        self._plant, self._side = plant, side
        self._there: dict[str, Plain] = {}

    def put(self, objects: list[Plain]) -> None:
        """Make the cluster hold these objects and no others of ours."""
        wanted = {self._plant.client.path(each): each for each in objects}
        for path in self._there.keys() - wanted.keys():
            self._plant.client.delete(path)
        for path, each in wanted.items():
            if self._there.get(path) == each:
                continue
            if path in self._there and not each.get("spec", True):
                self._plant.delete(each)  # an applied spec that has lost its last field is null
            self._plant.apply(each)
        self._there = wanted

    def of_metallb(self, kind: str, name: str, spec: Plain, **labels: str) -> Plain:
        """An object of metallb.io in the side's configuration."""
        made = metallb_kind(self._side, kind, name, spec)
        made["metadata"]["labels"] = labels
        return made

    def state(self, state: State, pools: Pools, kind: str, more: Iterable[Plain] = ()) -> None:
        """Make the cluster hold a state and `more`; `kind` is that of the advertisements."""
        config = [
            self.of_metallb("IPAddressPool", name, spec, **labels)
            for name, (labels, spec) in pools.items()
        ]
        config += more
        config += [
            self.of_metallb(kind, name, spec) for name, spec in state.advertisements.items()
        ]
        nodes = [_addressed(each, at) for at, each in enumerate(state.nodes)]
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}}
        served = [each for wanted in state.services for each in self._served(wanted)]
        self.put([space, *nodes, *config, *served])

    def _served(self, wanted: Wanted) -> list[Plain]:
        made = service(
            wanted.name, SPACE, self._side,
            labels=dict(wanted.labels), annotations=dict(wanted.annotations),
            externalTrafficPolicy="Local" if wanted.local else "Cluster",
            ports=[{"name": "a", "port": wanted.port, "protocol": "TCP"}],
        )  # fmt: skip
        ingress = [{"ip": each, "ipMode": "VIP"} for each in wanted.addresses]
        made["status"] = {"loadBalancer": {"ingress": ingress}}
        slices = [
            {**each, "metadata": {**each["metadata"], "namespace": SPACE}}
            for each in wanted.slices
        ]
        return [*slices, made]

    def clear(self) -> None:
        """Delete all but the Nodes and the namespace, which the plant keeps."""
        self.put([each for each in self._there.values() if each["kind"] in ("Node", "Namespace")])


def _addressed(node: Plain, at: int) -> Plain:
    address = {"type": "InternalIP", "address": lan_address(at)}
    return {**node, "status": {**node["status"], "addresses": [address]}}


@contextmanager
def speaking(plant: Plant, side: Side) -> Iterator[None]:
    """Run a side's speaker on every node."""
    try:
        for at in range(len(plant.nodes)):
            start_speaker(plant, side, at)
        yield
        plant.alive()
    finally:
        for at in range(len(plant.nodes)):
            stop_speaker(plant, side, at)


def said(plant: Plant, side: Side) -> str:
    """The end of what the side's speakers have said."""
    logs = (plant.log(speaker_name(side, at)) for at in range(len(plant.nodes)))
    return "\n".join(log.read_text(errors="replace")[-1500:] for log in logs)
