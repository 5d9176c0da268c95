"""Options that several commands share, so that a name means the same everywhere."""

from __future__ import annotations

from pathlib import Path

import click

HostPort = tuple[str, int]


def _host_port(
    context: click.Context, param: click.Parameter, value: str | None
) -> HostPort | None:
    """`[HOST]:PORT` as host and port; no host is every address of the machine."""
    del context, param
    if value is None:
        return None
    host, colon, port = value.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host and not is_bracketed):
        raise click.BadParameter(f"{value} is not [HOST]:PORT, such as :7472 or [::1]:7472")
    if not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"'{port}' is no port: 0 to 65535")
    return (host[1:-1] if is_bracketed else host, int(port))


manifests = click.option(
    "--manifests",
    "folder",
    required=True,
    envvar="ONEHOP_MANIFESTS",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of Kubernetes objects as YAML, watched for change.",
)

state = click.option(
    "--state",
    envvar="ONEHOP_STATE",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder where the controller writes status.  [default: MANIFESTS/.onehop]",
)

lb_class = click.option(
    "--lb-class",
    help="loadBalancerClass to serve; without it, Services that name no class.",
)

bpf_dir = click.option(
    "--bpf-dir",
    envvar="ONEHOP_BPF_DIR",
    default=Path("/sys/fs/bpf/onehop"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder on a bpffs where the speaker pins the datapath.",
)

metrics_address = click.option(
    "--metrics-address",
    envvar="ONEHOP_METRICS_ADDRESS",
    metavar="[HOST]:PORT",
    callback=_host_port,
    help="Where to answer HTTP for /metrics, /healthz and /readyz.  [default: nowhere]",
)

output = click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "json", "yaml"]),
    default="table",
    show_default=True,
    help="A table for people, or a form for programs.",
)

delivery = click.option(
    "--delivery",
    type=click.Choice(["fast", "stack"]),
    default="fast",
    show_default=True,
    help="Local delivery: straight into the pod's device, or through the host's stack.",
)

router = click.option(
    "--router",
    type=click.Choice(["bird", "frr", "gobgp"]),
    help="The BGP daemon on the lab's router; every node is its neighbour.  [default: bird, once "
    "BGP is wanted]",
)
