"""`onehop`: nouns look, verbs change.

Commands are imported when they are called, so that `onehop --help` answers at once and a missing
extra only matters to the command that needs it.
"""

from __future__ import annotations

import gc
from importlib import import_module

import click

from onehop import __version__

_COMMANDS = {
    "bgp": ("onehop.cli.bgp", "bgp"),
    "completion": ("onehop.cli.kubectl", "completion"),
    "controller": ("onehop.cli.controller", "controller"),
    "explain": ("onehop.cli.explain", "explain"),
    "lab": ("onehop.cli.lab", "lab"),
    "migrate": ("onehop.cli.migrate", "migrate"),
    "pool": ("onehop.cli.pool", "pool"),
    "service": ("onehop.cli.service", "service"),
    "speaker": ("onehop.cli.speaker", "speaker"),
    "status": ("onehop.cli.status", "status"),
}


class _Lazy(click.Group):
    """A group whose commands are imported on demand."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        gc.disable()  # what is imported stays: to look for garbage meanwhile only costs time
        try:
            command = getattr(import_module(module), name)
        finally:
            gc.enable()
        assert isinstance(command, click.Command), f"{module}.{name} is a command"
        return command


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onehop")
def main() -> None:
    """Bring a client to the node that serves it in one hop.

    \b
    onehop lab up           the article's cluster on this machine
    onehop lab tour         its scenes, expected and seen
    onehop status           the whole installation on one page
    onehop service list     a node's service table, out of the kernel's maps
    onehop explain NS/NAME  why a Service has its address and its announcer
    onehop pool list        how full the pools are, and for how long they last
    onehop bgp peers        the sessions with the routers, and what they were told
    onehop migrate plan     what a take-over from MetalLB would change
    onehop controller       gives Services their addresses
    onehop speaker          announces and forwards on one node
    """  # noqa: D301  (click reads the backspace as: keep these lines)


if __name__ == "__main__":
    main()
