"""Other daemons that announce many prefixes to the router: FRR and ExaBGP."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from bench.bgp_rivals import NODE_AS, ROUTER, ROUTER_AS, WITHIN, ended, started
from bench.network import Network
from bench.row import ROOT

VENV = ROOT / "build" / "exabgp"
BULK = 200  # prefixes in one line of ExaBGP's
BGPD = Path("/usr/lib/frr/bgpd")


class Frr:
    """FRR's bgpd, told on the standard input of a `vtysh` that stays in the address family."""

    name = "FRR"

    def __init__(self, net: Network, nodes: Sequence[str]) -> None:
        self._net, self._nodes = net, nodes
        self.children: list[subprocess.Popen[str]] = []
        self._shells: list[subprocess.Popen[str]] = []
        self._told: Sequence[str] = ()
        self._text = ""

    def start(self) -> None:
        """Begin to hold the sessions."""
        for node in self._nodes:
            folder = self._net.root / f"{node}-frr"
            folder.mkdir(exist_ok=True)
            own = self._net.nodes[node].address
            (folder / "vtysh.conf").write_text("")
            (folder / "bgpd.conf").write_text(_FRR.format(own=own))
            command = [str(BGPD), "-S", "-Z", "-P", "0", "-f", str(folder / "bgpd.conf")]
            command += ["-i", str(folder / "pid"), "--vty_socket", str(folder)]
            self.children.append(started(self._net, node, command))

    def open(self) -> None:
        """Shells, once the daemons listen."""
        for node in self._nodes:
            folder = self._net.root / f"{node}-frr"
            command = ["vtysh", "--config_dir", str(folder), "--vty_socket", str(folder)]
            # It would append every line to a file in the user's home, which slows it down.
            home = {"HOME": str(folder), "VTYSH_HISTFILE": "/dev/null"}
            shell = started(self._net, node, command, stdin=subprocess.PIPE, environment=home)
            self._shells.append(shell)
            _say(shell, f"configure terminal\nrouter bgp {NODE_AS}\naddress-family ipv4 unicast\n")

    def prepare(self, prefixes: Sequence[str]) -> None:
        """A line for each."""
        no, which = ("", prefixes) if prefixes else ("no ", self._told)
        self._told = prefixes
        self._text = "".join(f"{no}network {prefix}/32\n" for prefix in which)
        if not self._shells:
            self.open()
            time.sleep(0.5)

    def tell(self) -> None:
        """The lines to each shell."""
        for shell in self._shells:
            _say(shell, self._text)

    def close(self) -> None:
        """End the processes."""
        ended(self._net, [*self._shells, *self.children])
        for shell in self._shells:
            assert shell.stdin is not None
            shell.stdin.close()
        self._shells.clear()
        self.children.clear()


_FRR = f"""\
frr defaults datacenter
router bgp {NODE_AS}
 bgp router-id {{own}}
 no bgp ebgp-requires-policy
 no bgp network import-check
 bgp graceful-restart-disable
 coalesce-time 0
 neighbor {ROUTER} remote-as {ROUTER_AS}
 neighbor {ROUTER} timers connect 1
 neighbor {ROUTER} advertisement-interval 0
"""


def _say(shell: subprocess.Popen[str], text: str) -> None:
    assert shell.stdin is not None
    shell.stdin.write(text)
    shell.stdin.flush()


class ExaBgp:
    """ExaBGP, told in its bulk form through a pipe that `cat` hands to it."""

    name = "ExaBGP"

    def __init__(self, net: Network, nodes: Sequence[str]) -> None:
        self._net, self._nodes = net, nodes
        self.children: list[subprocess.Popen[str]] = []
        self._pipes: list[IO[str]] = []
        self._told: Sequence[str] = ()
        self._text = b""

    def start(self) -> None:
        """Begin to hold the sessions."""
        environment = {
            "exabgp_api_ack": "false",
            "exabgp_api_cli": "false",
            "exabgp_daemon_user": "root",
            "exabgp_log_level": "ERROR",
        }
        for node in self._nodes:
            own, pipe = self._net.nodes[node].address, self._net.root / f"{node}.pipe"
            os.mkfifo(pipe)
            config = self._net.root / f"{node}-exabgp.conf"
            config.write_text(
                f"process feed {{ run /bin/cat {pipe}; encoder text; }}\n"
                f"neighbor {ROUTER} {{ router-id {own}; local-address {own}; local-as {NODE_AS};"
                f" peer-as {ROUTER_AS}; family {{ ipv4 unicast; }}"
                " api { processes [ feed ]; } }\n"
            )
            command = [str(VENV / "bin" / "exabgp"), "server", str(config)]
            self.children.append(started(self._net, node, command, environment=environment))
            # Both ends at once: opening waits for nobody, and `cat` never sees an end.
            self._pipes.append(os.fdopen(os.open(pipe, os.O_RDWR), "w"))

    def prepare(self, prefixes: Sequence[str]) -> None:
        """Its bulk form: many prefixes in a line."""
        verb, which = ("announce", prefixes) if prefixes else ("withdraw", self._told)
        self._told = prefixes
        self._text = "".join(
            f"{verb} attributes next-hop self nlri "
            + " ".join(f"{prefix}/32" for prefix in which[first : first + BULK])
            + "\n"
            for first in range(0, len(which), BULK)
        ).encode()

    def tell(self) -> None:
        """The lines to each; a pipe that is full is waited for."""
        waiting = dict.fromkeys((p.fileno() for p in self._pipes), self._text)
        for pipe in waiting:
            os.set_blocking(pipe, False)
        end = time.monotonic() + WITHIN
        while any(waiting.values()) and time.monotonic() < end:
            for pipe, rest in waiting.items():
                try:
                    waiting[pipe] = rest[os.write(pipe, rest[:65536]) :] if rest else rest
                except BlockingIOError:
                    time.sleep(0.001)

    def close(self) -> None:
        """End the processes."""
        for pipe in self._pipes:
            pipe.close()
        ended(self._net, self.children)
        for node in self._nodes:
            (self._net.root / f"{node}.pipe").unlink(missing_ok=True)
        self._pipes.clear()
        self.children.clear()


def has_exabgp() -> bool:
    """Whether ExaBGP is there: from PyPI, in a virtual environment of its own under build/."""
    if not (VENV / "bin" / "exabgp").exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=False)
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-q", "exabgp==5.0.15"]
        subprocess.run(pip, check=False, timeout=60)
    return (VENV / "bin" / "exabgp").exists()


def has_frr() -> bool:
    """Whether FRR is there."""
    return BGPD.exists() and shutil.which("vtysh") is not None
