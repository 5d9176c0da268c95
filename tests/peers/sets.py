"""Random sets of pools, namespaces and Services, in which MetalLB leaves nothing to chance.

Between equal pools MetalLB draws lots. So all pools that place Services by themselves differ in
priority, but for one without a `serviceAllocation`, which comes after all others.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import Any

Plain = dict[str, Any]
TIERS = ("gold", "silver", "bronze")
FAMILIES = (
    ("SingleStack", ("IPv4",)),
    ("SingleStack", ("IPv4",)),
    ("SingleStack", ("IPv6",)),
    ("RequireDualStack", ("IPv4", "IPv6")),
    ("PreferDualStack", ("IPv6", "IPv4")),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What both controllers are given."""

    pools: tuple[Plain, ...]
    services: tuple[Plain, ...]


class Draw:
    """One set, drawn from a seed."""

    def __init__(self, seed: int, *, system: str, spaces: Sequence[str], lb_class: str) -> None:
        self._chance = random.Random(seed)
        self._system, self._spaces, self._lb_class = system, spaces, lb_class
        self._names = [f"pool-{each}" for each in "abcde"[: self._chance.randint(3, 5)]]
        self._edges: list[dict[str, list[str]]] = []  # what may be asked for, for each pool

    def all(self) -> Drawn:
        priorities = self._chance.sample(range(1, 100), len(self._names))
        pools = tuple(
            self._pool(index, name, priorities[index]) for index, name in enumerate(self._names)
        )
        count = self._chance.randint(25, 40)
        return Drawn(pools=pools, services=tuple(self._service(index) for index in range(count)))

    def _pool(self, index: int, name: str, priority: int) -> Plain:
        chance = self._chance
        spec: Plain = {
            "addresses": self._ranges(index),
            "autoAssign": index == 0 or chance.random() < 0.75,
            "avoidBuggyIPs": chance.random() < 0.4,
        }
        if index:  # the first is for everybody, after all others
            spec["serviceAllocation"] = {"priority": priority, **self._choice()}
        return {
            "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
            "metadata": {"name": name, "namespace": self._system}, "spec": spec,
        }  # fmt: skip

    def _ranges(self, index: int) -> list[str]:
        chance = self._chance
        net = f"10.{90 + index}"
        four = chance.choice([
            f"{net}.0.0/28", f"{net}.0.0/29", f"{net}.0.254-{net}.1.1", f"{net}.0.10-{net}.0.12",
        ])  # fmt: skip
        six = chance.choice(
            [f"fd00:{90 + index}::/124", f"fd00:{90 + index}::ff-fd00:{90 + index}::101"]
        )
        found = chance.choice(
            [[four], [four, six], [four, six], [six]] if index else [[four, six]]
        )
        self._edges.append({"IPv6" if ":" in each else "IPv4": _edges(each) for each in found})
        return found

    def _choice(self) -> Plain:
        chance = self._chance
        found: Plain = {}
        if chance.random() < 0.5:
            found["namespaces"] = chance.sample(self._spaces, 2)
        if chance.random() < 0.3:
            labels = {"space": str(chance.randrange(len(self._spaces)))}
            found["namespaceSelectors"] = [{"matchLabels": labels}]
        if chance.random() < 0.5:
            found["serviceSelectors"] = [{"matchLabels": {"tier": chance.choice(TIERS)}}]
        return found

    def _service(self, index: int) -> Plain:
        chance = self._chance
        policy, families = chance.choice(FAMILIES)
        spec: Plain = {
            "type": "LoadBalancer", "loadBalancerClass": self._lb_class,
            "allocateLoadBalancerNodePorts": False,
            "ports": [{"name": "a", "port": chance.choice([80, 443, 9092, 9094]),
                       "protocol": chance.choice(["TCP", "UDP"])}],
            "selector": {"app": chance.choice(["x", "y"])},
            "ipFamilyPolicy": policy, "ipFamilies": list(families),
        }  # fmt: skip
        if chance.random() < 0.2:
            spec["externalTrafficPolicy"] = "Local"
        return {
            "apiVersion": "v1", "kind": "Service", "spec": spec,
            "metadata": {
                "name": f"service-{index:02}", "namespace": chance.choice(self._spaces),
                "labels": {"tier": chance.choice(TIERS)}, "annotations": self._wishes(families),
            },
        }  # fmt: skip

    def _wishes(self, families: Sequence[str]) -> dict[str, str]:
        chance = self._chance
        found: dict[str, str] = {}
        what = chance.random()
        if what < 0.3:
            # Now and then of the wrong families, or too few or many.
            asked = families if chance.random() < 0.9 else ["IPv4", "IPv6"]
            able = [each for each in self._edges if set(asked) <= set(each)]
            edges = chance.choice([self._edges[0], *(able or self._edges)])
            wanted = [chance.choice(edges[each]) for each in asked if each in edges]
            found["metallb.io/loadBalancerIPs"] = ",".join(wanted) or "10.1.2.3"
        if not 0.04 < what < 0.85:
            found["metallb.io/address-pool"] = chance.choice([*self._names, "no-such-pool"])
        if chance.random() < 0.4:
            found["metallb.io/allow-shared-ip"] = chance.choice(["one", "two"])
        return found


def _edges(text: str) -> list[str]:
    """What a Service may ask for: mostly the end of a range, which is given out last."""
    if "/" in text:
        net = ip_network(text)
        low, high = net[0], net[-1]
    else:
        low, high = (ip_address(each) for each in text.split("-"))
    return [str(each) for each in (low, high - 3, high - 2, high - 1, high, high + 1)]
