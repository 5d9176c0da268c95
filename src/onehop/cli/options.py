"""Options that several commands share, so that a name means the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path

import click

from onehop.app.stores import StoreChoice, StoreError

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


_folder = click.option(
    "--manifests",
    "folder",
    envvar="ONEHOP_MANIFESTS",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of Kubernetes objects as YAML, watched for change, in place of an API server.",
)

kubeconfig = click.option(
    "--kubeconfig",
    type=click.Path(dir_okay=False, path_type=Path),
    help="How to reach the API server.  [default: $KUBECONFIG, the pod's service account, or "
    "~/.kube/config]",
)

context = click.option("--context", help="The kubeconfig's context.  [default: its current one]")

_namespace = click.option(
    "--namespace",
    envvar=["ONEHOP_NAMESPACE", "METALLB_NAMESPACE"],
    help="Namespace of the metallb.io objects.  [default: the pod's own, else onehop-system]",
)

state = click.option(
    "--state",
    envvar="ONEHOP_STATE",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder where the controller writes status.  [default: MANIFESTS/.onehop]",
)


def store(command: Callable[..., None]) -> Callable[..., None]:
    """Options that choose the store, handed to the command as one `where`."""

    @wraps(command)
    def chosen(
        *,
        folder: Path | None,
        state: Path | None,
        kubeconfig: Path | None,
        context: str | None,
        namespace: str | None,
        **more: object,
    ) -> None:
        if folder is not None and (kubeconfig is not None or context is not None):
            raise click.UsageError("--manifests stands in place of --kubeconfig and --context")
        more["where"] = StoreChoice(
            folder=folder,
            state_folder=state,
            kubeconfig=kubeconfig,
            context=context,
            namespace=namespace,
        )
        try:
            command(**more)
        except StoreError as error:
            raise click.ClickException(str(error)) from error

    for option in (state, _namespace, context, kubeconfig, _folder):
        chosen = option(chosen)
    return chosen


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

lab_store = click.option(
    "--store",
    type=click.Choice(["folder", "kubernetes"]),
    default="folder",
    show_default=True,
    help="Where the lab's objects are: files that are watched, or a Kubernetes API server in the "
    "lab.",
)
