"""BIRD and FRR as BFD peers on the router of a `bfd_lan`."""

from __future__ import annotations

import re
import shutil
import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path as File
from typing import Protocol

from tests.lab.bfd_lan import NODE, NODE6, ROUTER, ROUTER6, Lan
from tests.lab.wire import eventually


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the peer is told to ask for."""

    interval_ms: int = 100
    multiplier: int = 3
    multihop: bool = False


class Peer(Protocol):
    """A daemon that speaks BFD with the node, over both families."""

    def start(self, asked: Asked) -> None: ...

    def ask(self, asked: Asked) -> None:
        """Change what the running daemon asks for."""
        ...

    def timeout_ms(self, address: str) -> int:
        """Its detection time, 0 while the session is not up."""
        ...

    def downs(self) -> list[float]:
        """The wall-clock times at which a session went down by silence."""
        ...

    def close(self) -> None: ...


class Bird:
    def __init__(self, lan: Lan) -> None:
        self._lan = lan
        self._config = lan.root / "bird.conf"
        self._socket = lan.root / "bird.ctl"
        self._log = lan.root / "bird.log"

    def _write(self, asked: Asked) -> None:
        where = "multihop yes" if asked.multihop else 'dev "net0"'
        values = f"interval {asked.interval_ms} ms; multiplier {asked.multiplier};"
        self._config.write_text(
            f'log "{self._log}" all; router id {ROUTER}; debug protocols {{ states, events }};\n'
            "protocol device {}\n"
            "protocol bfd watch {\n"
            f'  interface "*" {{ {values} }}; multihop {{ {values} }};\n'
            + "".join(
                f"  neighbor {node} {'' if asked.multihop else where} local {router}"
                f"{' multihop yes' if asked.multihop else ''};\n"
                for node, router in ((NODE, ROUTER), (NODE6, ROUTER6))
            )
            + "}\n"
        )

    def start(self, asked: Asked) -> None:
        self._write(asked)
        self._lan.start("router", "bird", "-f", "-c", str(self._config), "-s", str(self._socket))
        eventually(self._socket.exists)

    def ask(self, asked: Asked) -> None:
        self._write(asked)
        self._birdc("configure")

    def _birdc(self, *words: str) -> str:
        return self._lan.run("router", "birdc", "-s", str(self._socket), *words)

    def timeout_ms(self, address: str) -> int:
        said = self._birdc("show", "bfd", "sessions")
        found = re.search(rf"^{address}\s+\S+\s+Up\s.*\s([\d.]+)\s*$", said, re.MULTILINE)
        return round(float(found[1]) * 1000) if found else 0

    def downs(self) -> list[float]:
        found = re.findall(
            r"^(\S+ \S+) <TRACE> watch: Session to .* expired", self._log.read_text(), re.MULTILINE
        )
        return [datetime.fromisoformat(stamp).timestamp() for stamp in found]

    def close(self) -> None:
        """Its files go with the LAN's."""


class Frr:
    """zebra and bfdd, which change to the user frr and so need a folder of that user's."""

    def __init__(self, lan: Lan) -> None:
        self._lan = lan
        self._folder = File(tempfile.mkdtemp(prefix="oh-bfd-frr-"))
        shutil.chown(self._folder, "frr", "frr")

    def _lines(self, asked: Asked) -> list[str]:
        lines = ["bfd"]
        for node, router in ((NODE, ROUTER), (NODE6, ROUTER6)):
            lines += [
                f" peer {node} {'multihop ' if asked.multihop else ''}local-address {router}"
                f"{'' if asked.multihop else ' interface net0'}",
                f"  detect-multiplier {asked.multiplier}",
                f"  receive-interval {asked.interval_ms}",
                f"  transmit-interval {asked.interval_ms}",
                " exit",
            ]
        return [*lines, "exit"]

    def _options(self, name: str) -> list[str]:
        folder = self._folder
        return [
            "-P", "0", "-f", str(folder / f"{name}.conf"), "-i", str(folder / f"{name}.pid"),
            "-z", str(folder / "zserv.api"), "--vty_socket", str(folder), "--log", "stdout",
        ]  # fmt: skip

    def start(self, asked: Asked) -> None:
        for name, lines in {
            "zebra": [],
            "bfdd": ["log timestamp precision 6", "debug bfd peer", *self._lines(asked)],
            "vtysh": [],
        }.items():
            (self._folder / f"{name}.conf").write_text("".join(f"{line}\n" for line in lines))
        self._lan.start("router", "/usr/lib/frr/zebra", *self._options("zebra"))
        eventually((self._folder / "zserv.api").exists)
        control = ["--bfdctl", str(self._folder / "bfdd.sock")]
        self._lan.start("router", "/usr/lib/frr/bfdd", *self._options("bfdd"), *control)
        eventually((self._folder / "bfdd.vty").exists)

    def ask(self, asked: Asked) -> None:
        self.configure(*self._lines(asked))

    def configure(self, *lines: str) -> None:
        """Lines of its configuration."""
        words = [word for line in ("configure terminal", *lines) for word in ("-c", line)]
        self._vtysh(*words)

    def _vtysh(self, *words: str) -> str:
        folder = str(self._folder)
        command = ("vtysh", "--config_dir", folder, "--vty_socket", folder)
        return self._lan.run("router", *command, *words)

    def timeout_ms(self, address: str) -> int:
        said = self._vtysh("-c", "show bfd peers")
        for peer in said.split("\tpeer ")[1:]:
            if peer.split()[0] == address and "Status: up" in peer:
                local, remote = peer.split("Remote timers:")
                interval = max(_number("Receive interval", local), _number("Transmission", remote))
                return _number("Detect-multiplier", remote) * interval
        return 0

    def diagnostics(self) -> str:
        """All that it knows of its sessions."""
        return self._vtysh("-c", "show bfd peers")

    def downs(self) -> list[float]:
        log = (self._lan.root / "bfdd.log").read_text()
        found = re.findall(
            r"^(\S+ \S+) BFD: .*up -> down reason:control-expired", log, re.MULTILINE
        )
        return [datetime.strptime(at, "%Y/%m/%d %H:%M:%S.%f").timestamp() for at in found]

    def close(self) -> None:
        shutil.rmtree(self._folder)


def _number(what: str, text: str) -> int:
    found = re.search(rf"{what}[^:]*: (\d+)", text)
    return int(found[1]) if found else 0
