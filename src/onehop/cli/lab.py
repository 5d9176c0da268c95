"""`onehop lab`: a cluster on this machine, in namespaces that no packet leaves.

What builds and measures a lab is imported by the commands that do, so that `exec` starts as fast
as the command that it runs.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from onehop.cli import options
from onehop.cli.output import show
from onehop.lab import namespace
from onehop.lab.lifecycle import abandon, require_root, take_down
from onehop.lab.state import LabError, Layout, labs
from onehop.lab.store import StoreKind

_NAME = click.option(
    "--name", default="lab", show_default=True, help="Labs of several names stand side by side."
)


class _WithTour(click.Group):
    """The tour is a file of its own, imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), "tour"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name != "tour":
            return super().get_command(ctx, cmd_name)
        from onehop.cli.tour import tour

        return tour


@click.group(cls=_WithTour, short_help="Build the article's cluster on this machine.")
def lab() -> None:
    """A whole cluster on this machine: nodes, pods, a client and a router."""


@lab.command()
@_NAME
@click.option(
    "--cluster",
    type=click.Path(path_type=Path),
    help="File or folder of Node, Pod, Service and EndpointSlice objects.  [default: the "
    "article's cluster]",
)
@click.option("--no-kafka", is_flag=True, help="A small TCP and UDP responder in each pod.")
@click.option(
    "--datapath",
    type=click.Choice(["ebpf", "none"]),
    default="ebpf",
    show_default=True,
    help="none: the speakers announce, and something else forwards.",
)
@options.delivery
@click.option("--bare", is_flag=True, help="No controller and no speakers.")
@options.router
@options.lab_store
def up(
    *,
    name: str,
    cluster: Path | None,
    no_kafka: bool,
    datapath: str,
    delivery: str,
    bare: bool,
    router: str | None,
    store: StoreKind,
) -> None:
    """Build a lab and leave it running."""
    from onehop.lab.lab import ARTICLE, Lab, LabSpec

    spec = LabSpec(
        name=name,
        cluster=cluster or ARTICLE,
        datapath=datapath,
        delivery=delivery,
        kafka=not no_kafka,
        control=not bare,
        router=router,
        store=store,
    )
    with _plainly(), ended_by_signals(Layout(name)):
        built = Lab.up(spec)
    hosts = ", ".join(built.topology.hosts)
    click.echo(f"lab {name} is up: {hosts}")
    for sentence in built.unsettled:
        click.echo(f"but {sentence}", err=True)
    click.echo(f"onehop lab exec {_named(name)}client -- arp -a")
    if store == "kubernetes":
        click.echo(f"{built.store.where} kubectl get services -A")


@lab.command()
@_NAME
def down(*, name: str) -> None:
    """End a lab and remove all of it; of one that is not there, too."""
    with _plainly():
        require_root()
        gone = take_down(Layout(name))
    click.echo(f"lab {name} is down" if gone else f"lab {name} was not up")


@lab.command()
@_NAME
@options.output
def status(*, name: str, output: str) -> None:
    """Hosts, their addresses, and the processes in them."""
    from onehop.cli.lab_status import observed, table
    from onehop.lab.lab import Lab

    with _plainly():
        if name not in labs():
            others = ", ".join(labs()) or "none"
            raise LabError(f"lab {name!r} is not up; labs that are: {others}")
        seen = observed(Lab.attach(name))
    if output == "table":
        table(seen)
    else:
        show(seen, output)


@lab.command()
@_NAME
def kubeconfig(*, name: str) -> None:
    """Print the kubeconfig of a lab that has an API server, for use on this machine."""
    from onehop.lab.kube_plane import KubePlane, Place

    with _plainly():
        require_root()
        layout = Layout(name)
        if layout.read() is None:
            raise LabError(f"lab {name!r} is not up: `onehop lab up --name {name}` builds it")
        text = KubePlane(layout, Place.read(layout)).outer_kubeconfig.read_text()
    click.echo(text)


@lab.command(
    name="exec",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@_NAME
@click.argument("host")
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(*, name: str, host: str, command: tuple[str, ...]) -> None:
    """Run COMMAND in the namespace of HOST; its exit code is passed through."""
    with _plainly():
        path = _namespace_of(name, host)
    command = command[1:] if command[0] == "--" else command
    if not command:
        raise click.UsageError("there is no command after --")
    _lead_there(Layout(name), path.name)
    with namespace.entered(path):
        try:
            os.execvp(command[0], command)
        except FileNotFoundError:
            click.echo(f"{command[0]}: no such command", err=True)
            sys.exit(127)
        except PermissionError:
            click.echo(f"{command[0]}: it may not be executed", err=True)
            sys.exit(126)


def _lead_there(layout: Layout, host: str) -> None:
    """Set what a person would have set on that host, so that `onehop` needs no options there."""
    os.environ.setdefault("ONEHOP_BPF_DIR", str(layout.bpf / host))
    record = layout.read()
    if record is None or record.store == "folder":
        os.environ.setdefault("ONEHOP_MANIFESTS", str(layout.manifests))
        return
    from onehop.lab.kube_store import KubeLabStore

    os.environ.pop("ONEHOP_MANIFESTS", None)
    os.environ.update(KubeLabStore(layout).environment())


def _namespace_of(name: str, host: str) -> Path:
    layout = Layout(name)
    require_root()
    record = layout.read()
    if record is not None and record.ready and host in os.listdir(layout.namespaces):
        return layout.namespace(host)
    from onehop.lab.lab import Lab

    found = Lab.attach(name)  # for a pod's longer name, and for the error of any other
    return layout.namespace(found.host(host))


def _named(name: str) -> str:
    return "" if name == "lab" else f"--name {name} "


@contextmanager
def _plainly() -> Iterator[None]:
    """An error of the lab's is a sentence, not a traceback."""
    try:
        yield
    except LabError as error:
        raise click.ClickException(str(error)) from error


@contextmanager
def ended_by_signals(layout: Layout) -> Iterator[None]:
    """SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that they too leave nothing.

    An interrupt that comes when the lab is just complete takes it down all the same; one that
    comes later, while the process ends, is too late and ignored.
    """
    told: list[int] = []

    def unwind(number: int, _: FrameType | None) -> None:
        told.append(number)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    numbers = [signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # else it is to be ignored
        numbers.append(signal.SIGINT)
    for number in numbers:
        signal.signal(number, unwind)
    try:
        yield
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        if told:  # and what it raised was lost: no exception leaves a destructor
            raise KeyboardInterrupt
    except (KeyboardInterrupt, SystemExit):
        abandon(layout)
        raise
