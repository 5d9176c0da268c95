"""`onehop speaker`."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import click

from onehop.app.settings import SpeakerSettings, run_speaker
from onehop.app.speaker import End
from onehop.app.stores import StoreChoice
from onehop.cli import options
from onehop.model.address import IPAddress
from onehop.model.reason import Refusal


@click.command()
@click.option("--node-name", required=True, envvar="ONEHOP_NODE_NAME", help="Name of its Node.")
@options.store
@options.lb_class
@click.option(
    "--datapath",
    type=click.Choice(["ebpf", "none"]),
    default="ebpf",
    show_default=True,
    help="none: beside Cilium or kube-proxy, which then carry the traffic.",
)
@options.delivery
@options.bpf_dir
@click.option(
    "--uplink",
    "uplinks",
    multiple=True,
    help="Link that clients come in by; may be repeated.  [default: links with a node address]",
)
@click.option(
    "--hook",
    type=click.Choice(["auto", "tcx", "clsact"]),
    default="auto",
    show_default=True,
    help="Where programs are attached; auto takes tcx where the kernel has it.",
)
@click.option(
    "--bgp-listen",
    multiple=True,
    metavar="ADDRESS",
    help="Address where BGP peers may connect to us, port 179; may be repeated.  [default: none]",
)
@click.option(
    "--on-term",
    type=click.Choice(["withdraw", "restart"]),
    default="withdraw",
    show_default=True,
    help="What SIGTERM means for peers with enableGracefulRestart; restart: another speaker "
    "follows, and they keep the routes for it. A drained node's are withdrawn all the same.",
)
@click.option(
    "--drain-time",
    type=click.FloatRange(0, 3600),
    default=0.0,
    show_default=True,
    metavar="SECONDS",
    help="After SIGTERM, go on for so long with routes that carry GRACEFUL_SHUTDOWN.",
)
@options.metrics_address
@click.option("--ignore-exclude-lb", is_flag=True, help="Announce from excluded nodes too.")
def speaker(
    *,
    node_name: str,
    where: StoreChoice,
    lb_class: str | None,
    datapath: str,
    delivery: str,
    bpf_dir: Path,
    uplinks: tuple[str, ...],
    hook: str,
    bgp_listen: tuple[str, ...],
    on_term: str,
    drain_time: float,
    metrics_address: options.HostPort | None,
    ignore_exclude_lb: bool,
) -> None:
    """Announce addresses and forward their traffic on one node."""
    refusal = run_speaker(
        SpeakerSettings(
            node=node_name,
            where=where,
            lb_class=lb_class,
            datapath=datapath == "ebpf",
            delivery="stack" if delivery == "stack" else "fast",
            bpf_dir=bpf_dir,
            uplinks=uplinks,
            hook=hook,
            bgp_listen=_addresses(bgp_listen),
            metrics_address=metrics_address,
            end=End(successor=on_term == "restart", drain=drain_time),
            ignore_exclude_label=ignore_exclude_lb,
        )
    )
    if isinstance(refusal, Refusal):
        raise click.ClickException(str(refusal))


def _addresses(texts: tuple[str, ...]) -> tuple[IPAddress, ...]:
    found = []
    for text in texts:
        try:
            found.append(ip_address(text))
        except ValueError:
            raise click.BadParameter(
                f"{text} is no IP address", param_hint="--bgp-listen"
            ) from None
    return tuple(found)
