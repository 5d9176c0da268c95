"""nftables rules of the form kube-proxy writes in its nftables mode, for one Service.

The same chain of jumps a packet takes there: a verdict map by address, protocol and port, the
service's external chain, a pick among endpoints, the endpoint's DNAT; masquerade by mark under
Cluster, none under Local. Conntrack is what carries the flow, as it does there.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One frontend of one endpoint: what the client addresses and what answers."""

    address: str
    port: int
    protocol: str
    pod: str
    pod_port: int
    masquerade: bool
    node_port: bool = False


def ruleset(rules: list[Rule]) -> str:
    """The table that holds all of them."""
    chains, by_address, by_node_port, node_addresses = [], [], [], set()
    for at, rule in enumerate(rules):
        chains.append(_chains(at, rule))
        if rule.node_port:
            node_addresses.add(rule.address)
            by_node_port.append(f"{rule.protocol} . {rule.port} : goto external-{at}")
        else:
            by_address.append(
                f"{rule.address} . {rule.protocol} . {rule.port} : goto external-{at}"
            )
    return _TABLE.format(
        chains="\n".join(chains),
        by_address=_elements(by_address),
        by_node_port=_elements(by_node_port),
        node_addresses=_elements(sorted(node_addresses)),
    )


def _elements(entries: list[str]) -> str:
    return f"elements = {{ {', '.join(entries)} }}" if entries else ""


def _chains(at: int, rule: Rule) -> str:
    mark = "jump mark-for-masquerade" if rule.masquerade else ""
    return f"""
  chain endpoint-{at} {{
    ip saddr {rule.pod} jump mark-for-masquerade
    meta l4proto {rule.protocol} dnat to {rule.pod}:{rule.pod_port}
  }}
  chain service-{at} {{
    numgen random mod 1 vmap {{ 0 : goto endpoint-{at} }}
  }}
  chain external-{at} {{
    {mark}
    goto service-{at}
  }}"""


_TABLE = """
table ip kube-proxy {{
  chain mark-for-masquerade {{
    meta mark set meta mark or 0x4000
  }}
{chains}
  map service-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict
    {by_address}
  }}
  map service-nodeports {{
    type inet_proto . inet_service : verdict
    {by_node_port}
  }}
  map no-endpoint-services {{
    type ipv4_addr . inet_proto . inet_service : verdict
  }}
  set nodeport-ips {{
    type ipv4_addr
    {node_addresses}
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
    ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
  }}
  chain service-endpoints-check {{
    ip daddr . meta l4proto . th dport vmap @no-endpoint-services
  }}
  chain masquerading {{
    meta mark and 0x4000 == 0 return
    meta mark set meta mark xor 0x4000
    masquerade fully-random
  }}
  chain filter-forward {{
    type filter hook forward priority -110; policy accept;
    ct state new jump service-endpoints-check
  }}
  chain filter-input {{
    type filter hook input priority -110; policy accept;
    ct state new jump service-endpoints-check
  }}
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }}
  chain nat-output {{
    type nat hook output priority -100; policy accept;
    jump services
  }}
  chain nat-postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    jump masquerading
  }}
}}
"""
