"""Random BGPPeers, Communities and BGPAdvertisements, beside random nodes and Services.

What MetalLB's native mode refuses as a whole is not drawn: other families, large communities,
equal advertisements, and two localPref for the same prefixes. Only serviceSelectors can still make
two of these meet, which both sides find at the Service; then no advertisement names peers, since
MetalLB takes the Service from all peers, and we from those that would see both (decision 85).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.peers.layer2_sets import TIERS, Draw, Plain, Pools

ROUTERS = ("192.168.200.1", "192.168.200.2", "192.168.200.3")
ROUTER_AS = (64512, 64513, 4_200_000_001)
NODE_AS = (64500, 4_200_000_500)
POOLS: Mapping[str, list[str]] = {
    "one": ["10.77.0.0/25"],
    "two": ["10.78.0.0-10.78.0.63"],
    "three": ["10.79.0.0/26", "10.79.1.0/26"],
}
ALIASES = {"red": "64500:77", "blue": "64501:88"}
VALUES = ("64500:1", "64500:2", "65535:65281", *ALIASES)  # one is NO_EXPORT
LENGTHS = (26, 28, 30, 32)  # none is wider than a pool


class BgpDraw(Draw):
    """One set, drawn from a seed."""

    def __init__(self, seed: int, *, hosts: int, services: int, states: int) -> None:
        super().__init__(seed, hosts=hosts, services=services, states=states)
        chance = self._chance
        self._pools = {name: {"tier": chance.choice(TIERS)} for name in POOLS}
        self._free = {
            "one": [f"10.77.0.{n}" for n in range(128)],
            "two": [f"10.78.0.{n}" for n in range(64)],
            "three": [f"10.79.{third}.{n}" for third in (0, 1) for n in range(64)],
        }
        for each in self._free.values():
            chance.shuffle(each)
        self._prefs = {length: chance.choice([0, 120, 200]) for length in LENGTHS}
        self._clashing = chance.random() < 0.4
        self.peers: Mapping[str, Plain] = {
            f"p{at}": self._peer(at) for at in range(chance.choice([1, 2, 3, 3]))
        }

    def pools(self) -> Pools:
        """The labels and the spec of each pool."""
        return {name: (self._pools[name], {"addresses": POOLS[name]}) for name in POOLS}

    def _addresses(self) -> tuple[str, ...]:
        return (self._free[self._chance.choice(list(POOLS))].pop(),)

    def _peer(self, at: int) -> Plain:
        chance = self._chance
        far = ROUTER_AS[at]
        spec: Plain = {
            "peerAddress": ROUTERS[at], "peerASN": far, "myASN": chance.choice([far, *NODE_AS]),
        }  # fmt: skip
        if chance.random() < 0.5:
            spec["holdTime"] = chance.choice(["3s", "30s", "1m30s"])
        if chance.random() < 0.3:
            spec["password"] = "a-secret"
        if chance.random() < 0.3:
            spec["ebgpMultiHop"] = spec["myASN"] != far
        if chance.random() < 0.4:
            spec["nodeSelectors"] = [self._node_selector() for _ in range(chance.randint(1, 2))]
        if chance.random() < 0.3:
            spec["routerID"] = f"10.255.0.{at + 1}"
        return spec

    def _advertisements(self) -> Mapping[str, Plain]:
        found: dict[str, Plain] = {}
        for at in range(self._chance.randint(1, 5)):
            spec = self._advertisement()
            if spec not in found.values():
                found[f"adv-{at}"] = spec
        return found

    def _advertisement(self) -> Plain:
        chance = self._chance
        spec = self._scope()
        length = chance.choice([*LENGTHS, 32, 32])
        if not self._sharing and chance.random() < 0.4:
            spec["serviceSelectors"] = [{"matchLabels": {"tier": chance.choice(TIERS)}}]
            length = 32
        if length != 32 or chance.random() < 0.3:
            spec["aggregationLength"] = length
        clashes = self._clashing and "serviceSelectors" in spec and chance.random() < 0.4
        pref = 300 if clashes else self._prefs[length]
        if pref:
            spec["localPref"] = pref
        if chance.random() < 0.6:
            spec["communities"] = chance.sample(VALUES, chance.randint(1, 3))
        if not self._clashing and chance.random() < 0.4:
            names = [*self.peers, "nobody"]
            spec["peers"] = chance.sample(names, chance.randint(1, len(names)))
        return spec

    def _scope(self) -> Plain:
        chance = self._chance
        spec = self._some_pools()
        if chance.random() < 0.4:
            spec["nodeSelectors"] = [self._node_selector()]
        return spec


def communities() -> Mapping[str, Any]:
    """The spec of a Community that has the aliases."""
    return {"communities": [{"name": name, "value": value} for name, value in ALIASES.items()]}
