"""nftables rules of kube-proxy's form: what a cluster without onehop's datapath would run.

The shape is that of kube-proxy's nftables mode: one verdict map from address, protocol and port
to a chain for each Service port, one for node ports, a chain for each endpoint that rewrites the
destination, and a mark that makes postrouting masquerade. Policy Cluster marks; Local does not,
and goes to endpoints of the node alone, or drops. Rules are text first, so that they can be read
and compared; `apply` loads them into every node of a lab in one transaction each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from onehop.lab.lab import Lab
from onehop.lab.state import LabError
from onehop.model.address import IPAddress, host_port
from onehop.model.node import Node
from onehop.model.objects import Objects
from onehop.model.service import EndpointSlice, Service, ServicePort, TrafficPolicy

TABLE = "onehop-baseline"
_MASQUERADE = "0x4000"
_NFT_FAMILY = {4: "ip", 6: "ip6"}
_NFT_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """An endpoint of one Service port."""

    address: IPAddress
    port: int
    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frontend:
    """One Service port in one family, as a node sees it."""

    chain: str
    protocol: str
    port: int
    node_port: int
    addresses: tuple[IPAddress, ...]
    policy: TrafficPolicy
    targets: tuple[_Target, ...]

    def targets_on(self, node: str) -> tuple[_Target, ...]:
        """The endpoints that this node may send an external client to."""
        if self.policy is TrafficPolicy.CLUSTER:
            return self.targets
        return tuple(target for target in self.targets if target.node == node)


def ruleset(objects: Objects, node: Node) -> str:
    """The rules of one node: a script for `nft -f` that replaces what was there.

    Services of type LoadBalancer and NodePort are served at their external addresses, their
    cluster addresses and the node's own addresses.
    """
    versions = sorted({address.version for address in node.addresses})
    return "".join("\n".join(_table(objects, node, version)) + "\n" for version in versions)


def removal(node: Node) -> str:
    """A script for `nft -f` that takes the rules of `node` away; twice is fine."""
    versions = sorted({address.version for address in node.addresses})
    return "".join("\n".join(_emptied(version)) + "\n" for version in versions)


def apply(lab: Lab, objects: Objects | None = None) -> None:
    """Load the rules for these objects (those of the lab's folder) into every node.

    Raises:
        LabError: when nft is missing, or refuses them.
    """
    current = lab.refresh() if objects is None else objects
    for node in current.nodes.values():
        _load(lab, node.name, ruleset(current, node))


def remove(lab: Lab) -> None:
    """Take the rules away from every node; deleting the absent is success.

    Raises:
        LabError: when nft is missing, or refuses.
    """
    for node in lab.objects.nodes.values():
        _load(lab, node.name, removal(node))


def _load(lab: Lab, node: str, script: str) -> None:
    try:
        done = lab.run(node, ("nft", "-f", "-"), input=script)
    except FileNotFoundError:
        raise LabError("nft is not installed") from None
    if done.returncode != 0:
        raise LabError(f"{node}: nft refuses the baseline: {done.stderr.strip()}")


def _emptied(version: int) -> Iterator[str]:
    name = f"{_NFT_FAMILY[version]} {TABLE}"
    yield f"add table {name}"  # so that there is one to delete
    yield f"delete table {name}"


def _table(objects: Objects, node: Node, version: int) -> Iterator[str]:
    frontends = tuple(_frontends(objects, version))
    own = [str(a) for a in node.addresses if a.version == version]
    yield from _emptied(version)
    yield f"table {_NFT_FAMILY[version]} {TABLE} {{"
    yield from _maps(frontends, own, node.name, version)
    for frontend in frontends:
        yield from _chains(frontend, node.name, version)
    yield from _hooks(_NFT_FAMILY[version])
    yield "}"


def _maps(
    frontends: tuple[_Frontend, ...], own: list[str], node: str, version: int
) -> Iterator[str]:
    kind = _NFT_TYPE[version]
    served = [f for f in frontends if f.targets_on(node)]
    silent = [f for f in frontends if not f.targets_on(node)]
    yield from _block(f"set nodeport-ips {{ type {kind};", own)
    by_address = f"type {kind} . inet_proto . inet_service : verdict;"
    by_port = "type inet_proto . inet_service : verdict;"
    yield from _block(f"map service-ips {{ {by_address}", _addressed(served, "goto external-"))
    yield from _block(f"map service-nodeports {{ {by_port}", _ported(served, "goto external-"))
    yield from _block(f"map no-endpoint-services {{ {by_address}", _addressed(silent, "drop"))
    yield from _block(f"map no-endpoint-nodeports {{ {by_port}", _ported(silent, "drop"))


def _block(head: str, elements: Iterable[str]) -> Iterator[str]:
    listed = ", ".join(elements)
    yield f"  {head} elements = {{ {listed} }}; }}" if listed else f"  {head} }}"


def _addressed(frontends: Iterable[_Frontend], verdict: str) -> Iterator[str]:
    for frontend in frontends:
        for address in frontend.addresses:
            yield f"{address} . {frontend.protocol} . {frontend.port} : {_to(frontend, verdict)}"


def _ported(frontends: Iterable[_Frontend], verdict: str) -> Iterator[str]:
    for frontend in frontends:
        if frontend.node_port:
            yield f"{frontend.protocol} . {frontend.node_port} : {_to(frontend, verdict)}"


def _to(frontend: _Frontend, verdict: str) -> str:
    return verdict + frontend.chain if verdict.endswith("-") else verdict


def _chains(frontend: _Frontend, node: str, version: int) -> Iterator[str]:
    targets = frontend.targets_on(node)
    if not targets:
        return
    for number, target in enumerate(targets):
        family = _NFT_FAMILY[version]
        yield f"  chain endpoint-{frontend.chain}-{number} {{"
        # A pod that reaches itself through its Service must see another source.
        yield f"    {family} saddr {target.address} jump mark-for-masquerade"
        where = host_port(target.address, target.port)
        yield f"    meta l4proto {frontend.protocol} dnat {family} to {where}"
        yield "  }"
    verdicts = ", ".join(
        f"{number} : goto endpoint-{frontend.chain}-{number}" for number in range(len(targets))
    )
    yield f"  chain external-{frontend.chain} {{"
    if frontend.policy is TrafficPolicy.CLUSTER:
        yield "    jump mark-for-masquerade"
    yield f"    numgen random mod {len(targets)} vmap {{ {verdicts} }}"
    yield "  }"


def _hooks(family: str) -> Iterator[str]:
    yield f"""  chain mark-for-masquerade {{
    meta mark set meta mark or {_MASQUERADE}
  }}
  chain services {{
    {family} daddr . meta l4proto . th dport vmap @service-ips
    {family} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }}
  chain service-endpoints-check {{
    {family} daddr . meta l4proto . th dport vmap @no-endpoint-services
    {family} daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
  }}
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat;
    jump services
  }}
  chain nat-output {{
    type nat hook output priority -100;
    jump services
  }}
  chain nat-postrouting {{
    type nat hook postrouting priority srcnat;
    meta mark and {_MASQUERADE} == 0 return
    meta mark set meta mark xor {_MASQUERADE}
    masquerade fully-random
  }}
  chain filter-input {{
    type filter hook input priority filter;
    ct state new jump service-endpoints-check
  }}
  chain filter-forward {{
    type filter hook forward priority filter;
    ct state new jump service-endpoints-check
  }}"""


def _frontends(objects: Objects, version: int) -> Iterator[_Frontend]:
    slices = _by_service(objects.slices.values())
    for key, service in sorted(objects.services.items()):
        if service.type not in ("LoadBalancer", "NodePort"):
            continue
        addresses = (*service.ingress, *service.cluster_ips)
        for port in service.ports:
            identity = f"{key}/{port.name}/{port.protocol.value}/{port.port}"
            yield _Frontend(
                chain=sha256(identity.encode()).hexdigest()[:8].upper(),
                protocol=port.protocol.value.lower(),
                port=port.port,
                node_port=port.node_port,
                addresses=tuple(a for a in addresses if a.version == version),
                policy=service.traffic_policy,
                targets=tuple(_targets(service, port, slices, version)),
            )


def _by_service(slices: Iterable[EndpointSlice]) -> Mapping[object, list[EndpointSlice]]:
    found: dict[object, list[EndpointSlice]] = {}
    for piece in slices:
        found.setdefault(piece.service, []).append(piece)
    return found


def _targets(
    service: Service,
    port: ServicePort,
    slices: Mapping[object, list[EndpointSlice]],
    version: int,
) -> Iterator[_Target]:
    for piece in slices.get(service.key, ()):
        numbers = [
            p.port for p in piece.ports if p.name == port.name and p.protocol is port.protocol
        ]
        for endpoint in piece.endpoints:
            if not endpoint.ready or not numbers:
                continue
            for address in endpoint.addresses:
                if address.version == version:
                    yield _Target(address=address, port=numbers[0], node=endpoint.node)
