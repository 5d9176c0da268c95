"""Random nodes, pools, L2Advertisements and Services with addresses and endpoints.

A set is a row of states. All have the same pools and addresses, as a speaker of MetalLB takes no
configuration that leaves an announced address in no pool; the rest is drawn anew in part. A set
has either Services that share an address or advertisements with serviceSelectors: where both meet
the two sides differ, which a test of its own shows.
"""

from __future__ import annotations

import random
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

Plain = dict[str, Any]
Pools = Mapping[str, tuple[Plain, Plain]]
EXCLUDE = "node.kubernetes.io/exclude-from-external-load-balancers"
ZONES = ("a", "b", "c")
TIERS = ("gold", "silver")
POOLS: Mapping[str, list[str]] = {
    "lan": ["192.168.200.128/27", "fd00:200::/120"],
    "more": ["192.168.200.160-192.168.200.190"],
    "far": ["10.77.0.0/24", "fd00:77::/120"],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A Service before it has a class: its addresses, and where its endpoints are."""

    name: str
    addresses: tuple[str, ...]
    local: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    port: int
    slices: tuple[Plain, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is there at one time; Nodes stand in the order of the hosts."""

    nodes: tuple[Plain, ...]
    advertisements: Mapping[str, Plain]
    services: tuple[Wanted, ...]


class Draw:
    """One set, drawn from a seed."""

    def __init__(self, seed: int, *, hosts: int, services: int, states: int) -> None:
        self._chance = random.Random(seed)
        self._names = [self._name() for _ in range(self._chance.randint(3, hosts))]
        self._sharing = self._chance.random() < 0.5
        self._pools = {name: {"tier": self._chance.choice(TIERS)} for name in POOLS}
        self._services, self._states = services, states
        self._free = {
            "lan": [f"192.168.200.{n}" for n in range(128, 160)],
            "more": [f"192.168.200.{n}" for n in range(160, 191)],
            "far": [f"10.77.0.{n}" for n in range(256)],
        }
        for each in self._free.values():
            self._chance.shuffle(each)

    @property
    def names(self) -> Sequence[str]:
        """The names of the nodes."""
        return self._names

    def pools(self) -> Pools:
        """The labels and the spec of each pool."""
        return {name: (self._pools[name], {"addresses": POOLS[name]}) for name in POOLS}

    def all(self) -> Sequence[State]:
        """The states, each made of the one before."""
        found = [
            State(
                nodes=tuple(map(_undisturbed, self._nodes())),
                advertisements=self._advertisements(), services=self._first_services(),
            )
        ]  # fmt: skip
        for _ in range(self._states - 1):
            found.append(self._after(found[-1]))
        return found

    def _after(self, state: State) -> State:
        chance = self._chance
        services = tuple(
            replace(each, slices=self._slices(each.name, each.port))
            if chance.random() < 0.5
            else each
            for each in state.services
        )
        what = chance.choice(["nodes", "advertisements", "both"])
        return State(
            nodes=state.nodes if what == "advertisements" else self._nodes(),
            advertisements=state.advertisements if what == "nodes" else self._advertisements(),
            services=services,
        )

    def _name(self) -> str:
        letters = string.ascii_lowercase + string.digits
        word = "".join(self._chance.choices(letters, k=self._chance.randint(1, 12)))
        return word + self._chance.choice(["", "-0", ".example.org", "-a.b"])

    def _nodes(self) -> tuple[Plain, ...]:
        return tuple(self._node(name) for name in self._names)

    def _node(self, name: str) -> Plain:
        chance = self._chance
        labels = {"kubernetes.io/hostname": name, "zone": chance.choice(ZONES)}
        if chance.random() < 0.12:
            labels[EXCLUDE] = chance.choice(["", "true", "false"])
        conditions = [{"type": "Ready", "status": "True"}]
        if chance.random() < 0.4:
            status = chance.choice(["True", "False", "Unknown"])
            conditions.append({"type": "NetworkUnavailable", "status": status})
        return {
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
            "status": {"conditions": conditions},
        }  # fmt: skip

    def _advertisements(self) -> Mapping[str, Plain]:
        return {f"adv-{at}": self._advertisement() for at in range(self._chance.randint(1, 4))}

    def _some_pools(self) -> Plain:
        """The part of an advertisement that says for which pools it is."""
        spec: Plain = {}
        which = self._chance.random()
        if which < 0.4:
            count = self._chance.randint(1, 2)
            spec["ipAddressPools"] = self._chance.sample(list(self._pools), count)
        if 0.3 < which < 0.6:
            tier = self._chance.choice(TIERS)
            spec["ipAddressPoolSelectors"] = [{"matchLabels": {"tier": tier}}]
        return spec

    def _advertisement(self) -> Plain:
        chance = self._chance
        spec = self._some_pools()
        if chance.random() < 0.5:
            spec["nodeSelectors"] = [self._node_selector() for _ in range(chance.randint(1, 2))]
        if chance.random() < 0.3:
            spec["interfaces"] = chance.choice([["eno1"], ["mgmt0", "eno1"], ["mgmt0"], ["eno9"]])
        if not self._sharing and chance.random() < 0.4:
            spec["serviceSelectors"] = [{"matchLabels": {"tier": chance.choice(TIERS)}}]
        return spec

    def _node_selector(self) -> Plain:
        chance = self._chance
        some = chance.sample(ZONES, 2)
        names = chance.sample(self._names, 2)
        return chance.choice([
            {"matchLabels": {"zone": some[0]}},
            {"matchLabels": {"kubernetes.io/hostname": names[0]}},
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": some}]},
            {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn",
                                   "values": names}]},
            {"matchExpressions": [{"key": "zone", "operator": "Exists"},
                                  {"key": "gone", "operator": "DoesNotExist"}]},
        ])  # fmt: skip

    def _first_services(self) -> tuple[Wanted, ...]:
        found: list[Wanted] = []
        for at in range(self._services):
            if self._sharing and self._chance.random() < 0.3:
                found += self._sharers(at)
            else:
                found.append(self._service(f"s{at:02}", self._addresses()))
        return tuple(found)

    def _addresses(self) -> tuple[str, ...]:
        chance = self._chance
        pool = chance.choice(list(POOLS))
        four = self._free[pool].pop()
        six = {"lan": "fd00:200::", "far": "fd00:77::"}.get(pool)
        if six is None or chance.random() < 0.6:
            return (four,)
        both = (four, f"{six}{int(four.rpartition('.')[2]):x}")
        return chance.choice([both, both[::-1], both[1:]])

    def _sharers(self, at: int) -> list[Wanted]:
        """Two Services behind one address, each at a port of its own."""
        addresses = self._addresses()[:1]
        annotations = {"metallb.io/allow-shared-ip": "key"}
        return [
            replace(
                self._service(f"s{at:02}-{port}", addresses), port=port, local=False,
                annotations=annotations,
            )
            for port in (80, 443)
        ]  # fmt: skip

    def _service(self, name: str, addresses: tuple[str, ...]) -> Wanted:
        return Wanted(
            name=name, addresses=addresses, local=self._chance.random() < 0.5,
            labels={"tier": self._chance.choice(TIERS)}, annotations={}, port=80,
            slices=self._slices(name, 80),
        )  # fmt: skip

    def _slices(self, name: str, port: int) -> tuple[Plain, ...]:
        chance = self._chance
        return tuple(
            a_slice(name, at, port, [
                self._endpoint(at * 10 + n) for n in range(chance.choice([0, 1, 1, 2, 3]))
            ])
            for at in range(chance.choice([1, 1, 1, 2]))
        )  # fmt: skip

    def _endpoint(self, number: int) -> Plain:
        chance = self._chance
        found: Plain = {"addresses": [f"10.1.0.{number + 1}"], "conditions": self._conditions()}
        if chance.random() < 0.95:
            found["nodeName"] = chance.choice(self._names)
        return found

    def _conditions(self) -> Plain:
        chance = self._chance
        if chance.random() < 0.5:
            return {"ready": True}
        drawn = {name: chance.choice([True, False, None])
                 for name in ("ready", "serving", "terminating")}  # fmt: skip
        return {name: value for name, value in drawn.items() if value is not None}


def _undisturbed(node: Plain) -> Plain:
    """The node as one that may announce.

    A speaker of MetalLB that starts may learn of the Services before it learns of its own Node; it
    then announces what it should not, until something else makes it look at all Services again.
    """
    meta = node["metadata"]
    labels = {name: value for name, value in meta["labels"].items() if name != EXCLUDE}
    ready = node["status"]["conditions"][:1]
    return {**node, "metadata": {**meta, "labels": labels}, "status": {"conditions": ready}}


def a_slice(name: str, at: int, port: int, endpoints: list[Plain]) -> Plain:
    """One of the EndpointSlices of a Service."""
    labels = {"kubernetes.io/service-name": name}
    return {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": f"{name}-{at}", "labels": labels}, "addressType": "IPv4",
        "ports": [{"name": "a", "port": port, "protocol": "TCP"}], "endpoints": endpoints,
    }  # fmt: skip
