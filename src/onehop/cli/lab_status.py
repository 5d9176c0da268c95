"""What `onehop lab status` shows, read from the kernel and the process table."""

from __future__ import annotations

from typing import Any

from onehop.lab.lab import Lab
from onehop.lab.topology import API, LAN

Seen = dict[str, Any]


def observed(lab: Lab) -> Seen:
    """Hosts with addresses and processes, as plain values for JSON and YAML."""
    processes = lab.supervisor.records()
    return {
        "name": lab.layout.name,
        "store": lab.store.kind,
        "objects": lab.store.where,
        "hosts": [
            {
                "host": host,
                "kind": _kind(lab, host),
                "namespace": lab.layout.netns_name(host),
                "present": lab.layout.namespace(host).exists(),
                "addresses": _addresses(lab, host),
                "processes": [
                    {"name": p.name, "pid": p.pid, "alive": p.is_alive()}
                    for p in processes
                    if p.host == host
                ],
            }
            for host in lab.topology.hosts
        ],
    }


def _kind(lab: Lab, host: str) -> str:
    if host == LAN:
        return "bridge"
    if host == API:
        return "API server"
    if any(node.name == host for node in lab.topology.nodes):
        return "node"
    if host in (lab.topology.client.name, lab.topology.router.name):
        return "host"
    return f"pod on {lab.topology.pod(host).node}"


def _addresses(lab: Lab, host: str) -> list[str]:
    for lan_host in lab.topology.lan_hosts:
        if lan_host.name == host:
            return [str(interface) for interface in lan_host.addresses]
    if host == API and lab.topology.management is not None:
        return [str(lab.topology.management.address)]
    return [] if host == LAN else [str(a) for a in lab.topology.pod(host).addresses]


def table(seen: Seen) -> None:
    """Print it for people."""
    from rich.console import Console
    from rich.table import Table

    shown = Table(title=f"lab {seen['name']}", box=None, title_justify="left")
    for column in ("HOST", "KIND", "ADDRESSES", "PROCESSES"):
        shown.add_column(column, no_wrap=True)
    for host in seen["hosts"]:
        processes = ", ".join(
            f"{p['name']} {p['pid']}" if p["alive"] else f"[red]{p['name']} ended[/red]"
            for p in host["processes"]
        )
        present = host["kind"] if host["present"] else "[red]missing[/red]"
        shown.add_row(host["host"], present, ", ".join(host["addresses"]), processes)
    console = Console()
    console.print(shown)
    console.print(f"store: {seen['store']}; objects: {seen['objects']}", soft_wrap=True)
