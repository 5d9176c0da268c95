"""Sets in which most requests are granted, and random edits of them, one after the other.

Requests are for the upper half of a pool, as automatic addresses come from its lower end; so a
request does not depend on which of the lower addresses are free. Those differ once something was
released: MetalLB hands it out again at once, we keep it for its Service for a while (decision 10).
Nor does anybody who shares an address change what lets it share: who then loses the address
differs, which a test of its own shows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from onehop.model.address import IPAddress
from tests.peers.sets import Draw, Drawn, Plain

REQUEST, SHARE, POOL = (
    f"metallb.io/{name}" for name in ("loadBalancerIPs", "allow-shared-ip", "address-pool")
)
Answers = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """What is put or taken away; `frees` says that an address may come free by it."""

    what: str
    put: tuple[Plain, ...] = ()
    gone: tuple[Plain, ...] = ()
    frees: bool = False


def named(item: Plain) -> str:
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"


class Roomy(Draw):
    """A set with room for everybody, and its edits."""

    def __init__(self, seed: int, *, system: str, spaces: Sequence[str], lb_class: str) -> None:
        super().__init__(seed, system=system, spaces=spaces, lb_class=lb_class)
        self._upper: list[dict[str, list[str]]] = []
        self._requested: list[Plain] = []

    def _ranges(self, index: int) -> list[str]:
        found = [f"10.{90 + index}.0.0/25", f"fd00:{90 + index}::/121"]
        self._upper.append({
            family: self._chance.sample([str(each) for each in ip_network(text)][64:], 64)
            for family, text in zip(("IPv4", "IPv6"), found, strict=True)
        })  # fmt: skip
        return found

    def _wishes(self, families: Sequence[str]) -> dict[str, str]:
        chance = self._chance
        found: dict[str, str] = {}
        what = chance.random()
        at = chance.randrange(len(self._names))
        if what < 0.5:
            found[REQUEST] = self._unheld(at, families)
        if 0.4 < what < 0.7:
            found[POOL] = self._names[at]
        if chance.random() < 0.3:
            found[SHARE] = chance.choice(["one", "two"])
        return found

    def _unheld(self, at: int, families: Sequence[str]) -> str:
        return ",".join(self._upper[at][family].pop() for family in sorted(families))

    def _service(self, index: int) -> Plain:
        """Now and then one that shares the address of one before, at a port of its own."""
        made = super()._service(index)
        found = made["metadata"]["annotations"]
        made["spec"]["ports"][0]["port"] = 1000 + index
        if self._requested and self._chance.random() < 0.35:
            other = self._chance.choice(self._requested)
            for field in ("selector", "ipFamilies", "ipFamilyPolicy", "externalTrafficPolicy"):
                made["spec"].pop(field, None)
                if field in other["spec"]:
                    made["spec"][field] = other["spec"][field]
            theirs = other["metadata"]["annotations"]
            made["metadata"]["annotations"] = dict(theirs)
        elif REQUEST in found and SHARE in found:
            self._requested.append(made)
        return made

    def edits(self, drawn: Drawn, count: int, now: Callable[[], Answers]) -> Iterator[Edit]:
        """The edits, each drawn when it is asked for; `now` gives the addresses at that time."""
        services = {named(each): copy.deepcopy(each) for each in drawn.services}
        pools = {each["metadata"]["name"]: copy.deepcopy(each) for each in drawn.pools}
        kinds = [
            self._ask_other, self._ask_other, self._other_pool, self._other_key, self._other_key,
            self._other_port, self._delete, self._retype,
        ]  # fmt: skip
        for at in range(count):
            if at % 5 == 4:
                yield self._shrink(pools, now()) if at % 2 else self._more_pools(pools)
                continue
            change = self._chance.choice(kinds)
            among = sorted(services, key=unspaced)  # the namespaces' names are of chance
            if change in (self._other_key, self._other_port):
                among = [name for name in among if is_alone(name, now())]
            name = self._chance.choice(among)
            edit = change(services[name])
            if edit.gone or edit.put[0]["spec"]["type"] != "LoadBalancer":
                del services[name]
            yield edit

    def _families(self, service: Plain) -> Sequence[str]:
        families: Sequence[str] = service["spec"]["ipFamilies"]
        return families

    def _ask_other(self, service: Plain) -> Edit:
        """Another address; now and then one that somebody else has asked for, or none any more."""
        wishes = service["metadata"]["annotations"]
        what = self._chance.random()
        if what < 0.15 and REQUEST in wishes:
            del wishes[REQUEST]
        elif what < 0.3 and self._requested:
            other = self._chance.choice(self._requested)
            wishes[REQUEST] = other["metadata"]["annotations"].get(REQUEST, "10.1.2.3")
        else:
            at = self._chance.randrange(len(self._names))
            wishes[REQUEST] = self._unheld(at, self._families(service))
        return Edit(what="request", put=(copy.deepcopy(service),))

    def _other_pool(self, service: Plain) -> Edit:
        wishes = service["metadata"]["annotations"]
        wishes.pop(POOL, None)
        if self._chance.random() < 0.8:
            wishes[POOL] = self._chance.choice([*self._names, "no-such-pool"])
        return Edit(what="pool annotation", put=(copy.deepcopy(service),))

    def _other_key(self, service: Plain) -> Edit:
        wishes = service["metadata"]["annotations"]
        wishes.pop(SHARE, None)
        if self._chance.random() < 0.7:
            wishes[SHARE] = self._chance.choice(["one", "two", "three"])
        return Edit(what="sharing key", put=(copy.deepcopy(service),))

    def _other_port(self, service: Plain) -> Edit:
        """Another port, which somebody at the same address may have; or another policy."""
        if self._chance.random() < 0.3:
            service["spec"]["externalTrafficPolicy"] = self._chance.choice(["Local", "Cluster"])
        else:
            service["spec"]["ports"][0]["port"] = 1000 + self._chance.randrange(30)
        return Edit(what="port or policy", put=(copy.deepcopy(service),))

    def _delete(self, service: Plain) -> Edit:
        return Edit(what="delete", gone=(service,), frees=True)

    def _retype(self, service: Plain) -> Edit:
        changed = copy.deepcopy(service)
        for name in (
            "loadBalancerClass",
            "allocateLoadBalancerNodePorts",
            "externalTrafficPolicy",
        ):
            changed["spec"].pop(name, None)
        changed["spec"]["type"] = "ClusterIP"
        return Edit(what="type", put=(changed,), frees=True)

    def _more_pools(self, pools: dict[str, Plain]) -> Edit:
        """A pool that is asked for by name only, so that it moves nobody."""
        name = f"more-{len(pools)}"
        made = copy.deepcopy(next(iter(pools.values())))
        made["metadata"]["name"] = name
        made["spec"] = {"autoAssign": False, "addresses": [f"10.{110 + len(pools)}.0.0/26"]}
        pools[name] = made
        self._names.append(name)
        text = made["spec"]["addresses"][0]
        upper = [str(each) for each in ip_network(text)][32:]
        self._upper.append({"IPv4": upper, "IPv6": [f"fd00:99::{n:x}" for n in range(64)]})
        return Edit(what="another pool", put=(copy.deepcopy(made),))

    def _shrink(self, pools: dict[str, Plain], now: Answers) -> Edit:
        """Take the IPv4 address of one Service out of its pool, which nobody shares with it."""
        held = [each for addresses in now.values() for each in addresses]
        alone = [
            each for each in sorted(held)
            if held.count(each) == 1 and each.startswith("10.9") and int(each.split(".")[3]) > 0
        ]  # fmt: skip
        address = ip_address(self._chance.choice(alone))
        pool = pools[self._names[int(str(address).split(".")[1]) - 90]]
        ranges = pool["spec"]["addresses"]
        pool["spec"]["addresses"] = [part for text in ranges for part in without(text, address)]
        return Edit(what="shrink", put=(copy.deepcopy(pool),), frees=True)


def unspaced(name: str) -> str:
    """A Service's name without its namespace: no two of a set are called the same."""
    return name.partition("/")[2]


def is_alone(name: str, answers: Answers) -> bool:
    """Whether nobody else has an address of this Service."""
    others = {each for other, held in answers.items() if other != name for each in held}
    return others.isdisjoint(answers[name])


def without(text: str, address: IPAddress) -> list[str]:
    """A range or prefix without one address."""
    if "/" in text:
        first, last = ip_network(text)[0], ip_network(text)[-1]
    else:
        first, last = (ip_address(each) for each in text.split("-"))
    if first.version != address.version or not first <= address <= last:
        return [text]
    below = [f"{first}-{address - 1}"] if first < address else []
    return below + ([f"{address + 1}-{last}"] if address < last else [])
