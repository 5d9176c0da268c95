"""How a tour looks to a person."""

from __future__ import annotations

import click
from rich.console import Console
from rich.table import Table

from onehop.lab.measure import Cost, KafkaCost
from onehop.lab.scenes import Scene


def show_scene(scene: Scene) -> None:
    """One scene: what was typed, expected and seen."""
    mark = click.style("ok  ", fg="green") if scene.ok else click.style("FAIL", fg="red")
    click.echo(f"{mark} scene {scene.scene}: {scene.title}")
    for label, text in (
        ("typed", scene.command),
        ("expected", scene.expected),
        ("seen", scene.seen),
    ):
        first, *more = text.splitlines() or [""]
        click.echo(f"       {label:9} {first}")
        for line in more:
            click.echo(f"       {'':9} {'  ' if line.startswith('nexthop') else ''}{line}")


def show_costs(costs: tuple[Cost, ...], kafka: tuple[KafkaCost, ...]) -> None:
    """What the hop costs, each path beside the same path forwarded by nftables."""
    nodes = list(costs[0].node_bytes)
    table = Table(title="what the hop costs: 64-byte requests, one connection, one CPU")
    for title in ("PATH", "FORWARDER", "REQ/S", "P50 us", "P99 us", "CPU us/req", "SERVER SEES"):
        table.add_column(title, no_wrap=True)
    for node in nodes:
        table.add_column(f"{node} B/B", justify="right")
    for cost in costs:
        figures = (f"{cost.rate:.0f}", f"{cost.p50_us:.1f}", f"{cost.p99_us:.1f}")
        shares = (f"{cost.node_bytes[node]:.2f}" for node in nodes)
        table.add_row(
            cost.path, cost.forwarder, *figures, f"{cost.cpu_us:.1f}", cost.source, *shares
        )
    console = Console(width=140)
    console.print(table)
    console.print("B/B: bytes in and out on that node's uplink for a byte of payload", style="dim")
    if not kafka:
        return
    table = Table(title="Kafka: 1 kB records, acks=all, three brokers")
    for title in ("POLICY", "FORWARDER", "PRODUCE MB/s", "CONSUME MB/s", "P50 ms", "P99 ms"):
        table.add_column(title, no_wrap=True)
    for row in kafka:
        table.add_row(
            row.policy,
            row.forwarder,
            f"{row.produce_mb_s:.1f}",
            f"{row.consume_mb_s:.1f}",
            f"{row.p50_ms:.2f}",
            f"{row.p99_ms:.2f}",
        )
    console.print(table)
