"""Options that several commands share, so that a name means the same everywhere."""

from __future__ import annotations

from pathlib import Path

import click

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
