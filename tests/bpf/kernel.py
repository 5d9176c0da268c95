"""The datapath's object in the kernel, with maps filled by hand and packets run through it.

Layouts are written here a second time on purpose, from the comments of bpf/maps.h: a test that
used the loader's own would not see it drift.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from onehop.adapters.bpf import syscall
from onehop.adapters.bpf.libbpf import Object
from onehop.adapters.bpf.syscall import Map, MapInfo
from onehop.core import balance
from onehop.model import service
from onehop.model.reason import DATAPATH
from tests.bpf.packets import TCP, UDP, Packet

OBJECT = Path(__file__).resolve().parents[2] / "src/onehop/adapters/bpf/lb.bpf.o"

PASS, DROP, REDIRECT = 0xFFFFFFFF, 2, 7
GONE, ACTIVE, TERMINATING = 0, 1, 2
FROM_CLIENT, FROM_BACKEND = 0, 1
FAST, STACK = 0, 1
FIN_FROM_CLIENT, FIN_FROM_BACKEND, RESET, ANSWERED = 1, 2, 4, 8
TURNS = {0: 251, 1: 1021, 2: 4093}
TABLES = {0: "tables_small", 1: "tables_medium", 2: "tables_large"}
SMALLER = {"flows": 32768, "services": 4096, "service_stats": 4096, "tables_small": 1024}


def mapped(address: str) -> bytes:
    """The 16 bytes of an address in every map."""
    parsed = ip_address(address)
    return parsed.packed if parsed.version == 6 else bytes(10) + b"\xff\xff" + parsed.packed


def ticks() -> int:
    """The clock of the flow table."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> 30


@dataclass(frozen=True, kw_only=True)
class Backend:
    """A backend to put into the maps; a link of 0 is delivered by the host's stack."""

    address: str
    port: int
    local: bool = True
    link: int = 1
    state: int = ACTIVE


@dataclass(frozen=True, kw_only=True)
class Tuple:
    """What stands in a packet, as a flow's key or rewrite."""

    source: str
    sport: int
    destination: str
    dport: int
    protocol: int = TCP
    side: int = FROM_CLIENT

    @classmethod
    def of(cls, packet: Packet, side: int = FROM_CLIENT) -> Tuple:
        return cls(
            source=packet.source,
            sport=packet.sport,
            destination=packet.destination,
            dport=packet.dport,
            protocol=packet.protocol,
            side=side,
        )

    @property
    def mirror(self) -> Tuple:
        return Tuple(
            source=self.destination,
            sport=self.dport,
            destination=self.source,
            dport=self.sport,
            protocol=self.protocol,
            side=1 - self.side,
        )

    def pack(self) -> bytes:
        return (
            mapped(self.source)
            + mapped(self.destination)
            + struct.pack(">HHBBxx", self.sport, self.dport, self.protocol, self.side)
        )

    @classmethod
    def unpack(cls, data: bytes) -> Tuple:
        sport, dport, protocol, side = struct.unpack_from(">HHBB", data, 32)
        return cls(
            source=_text(data[:16]),
            sport=sport,
            destination=_text(data[16:32]),
            dport=dport,
            protocol=protocol,
            side=side,
        )


def _text(data: bytes) -> str:
    plain = data[12:] if data[:12] == bytes(10) + b"\xff\xff" else data
    return str(ip_address(plain))


@dataclass(frozen=True, kw_only=True)
class Flow:
    """One half of a flow."""

    rewrite: Tuple
    backend: int
    service: int
    seen: int
    tcp: int

    def pack(self) -> bytes:
        return self.rewrite.pack() + struct.pack(
            "<IIIBxxx", self.backend, self.service, self.seen, self.tcp
        )

    @classmethod
    def unpack(cls, data: bytes) -> Flow:
        backend, number, seen, tcp = struct.unpack_from("<IIIB", data, 40)
        return cls(rewrite=Tuple.unpack(data), backend=backend, service=number, seen=seen, tcp=tcp)


def earlier(flow: Flow, ticks_ago: int) -> int:
    """A time before the flow was last seen, also on a machine that is not up for so long."""
    return (flow.seen - ticks_ago) & 0xFFFFFFFF


class Kernel:
    """Programs and maps; a test names what it needs and asks what became of it."""

    def __init__(
        self,
        *,
        node_v4: str = "192.0.2.10",
        node_v6: str = "2001:db8:1::10",
        ports: tuple[int, int] = (49152, 65535),
        delivery: int = FAST,
        many_uplinks: bool = False,
        sizes: Mapping[str, int] = SMALLER,
        flows: MapInfo | None = None,
        path: Path = OBJECT,
    ) -> None:
        self.object = Object(path)
        config = struct.pack("<HHBBH", *ports, delivery, many_uplinks, 1)
        self.object.maps["lb.rodata"].set_bytes(0, mapped(node_v4) + mapped(node_v6) + config)
        for name, entries in sizes.items():
            self.object.maps[name].set_capacity(entries)
        if flows is not None:
            self.object.maps["flows"].reuse(syscall.create_map(flows))
        self.object.load()
        self.maps = {n: Map(m.fd, n) for n, m in self.object.maps.items() if not m.internal}
        self._backends = self._services = 0
        self._slots = dict.fromkeys(TABLES, 0)

    def close(self) -> None:
        self.object.close()

    def clear(self) -> None:
        """Forget everything but what is compiled in."""
        for name in ("frontends", "flows", "node_addresses", "predecessors"):
            self.maps[name].delete_batch(list(self.maps[name].keys()))
        for name in ("counters", "port_tries", "known_hops"):
            self._zero(name, self.maps[name].info.max_entries)
        self._zero("service_stats", self._services + 1)
        self._backends = self._services = 0
        self._slots = dict.fromkeys(TABLES, 0)

    def _zero(self, name: str, entries: int) -> None:
        copies = syscall.possible_cpus()
        size = (self.maps[name].info.value_size + 7) & ~7
        for index in range(entries):
            self.maps[name].update(struct.pack("<I", index), bytes(size * copies))

    # what user space writes

    def serve(
        self,
        address: str,
        port: int,
        backends: Sequence[Backend],
        *,
        protocol: int = TCP,
        table: int = 0,
        local: bool = False,
    ) -> int:
        """A frontend with these backends; answers with the number of its service."""
        first = self._backends
        for index, backend in enumerate(backends, first):
            self.write_backend(index, backend)
        self._backends += len(backends)
        slot = first
        if len(backends) > 1:
            slot = self._slots[table]
            self._slots[table] += 1
            turns = balance.ring(self.model(backends), TURNS[table])
            numbers = struct.pack(f"<{len(turns)}I", *(first + index for index in turns))
            self.maps[TABLES[table]].update(struct.pack("<I", slot), numbers)
        number = self._services
        self._services += 1
        word = struct.pack("<IHBB", slot, len(backends), table, local)
        self.maps["services"].update(struct.pack("<I", number), word)
        key = mapped(address) + struct.pack(">HBx", port, protocol)
        self.maps["frontends"].update(key, struct.pack("<I", number))
        return number

    def model(self, backends: Sequence[Backend]) -> tuple[service.Backend, ...]:
        """The same backends in the project's own words."""
        return tuple(
            service.Backend(address=ip_address(each.address), port=each.port, local=each.local)
            for each in backends
        )

    def write_backend(self, number: int, backend: Backend) -> None:
        value = mapped(backend.address) + struct.pack(
            ">HBB", backend.port, backend.state, backend.local
        )
        self.maps["backends"].update(
            struct.pack("<I", number), value + struct.pack("<IQ", backend.link, 0)
        )

    def precede(self, service: int, number: int, backend: Backend | None = None) -> None:
        """Connections that began before the service came go on at this backend."""
        if backend is not None:
            self.write_backend(number, backend)
        self.maps["predecessors"].update(struct.pack("<I", service), struct.pack("<I", number))

    def own(self, address: str) -> None:
        """An address of the node itself."""
        self.maps["node_addresses"].update(mapped(address), bytes(4))

    # what is asked

    def run(self, program: str, packet: Packet | bytes) -> tuple[int, bytes]:
        """Verdict and frame after the program."""
        data = packet if isinstance(packet, bytes) else packet.frame()
        verdict, after, _ = syscall.run_program(self.object.program_fd(program), data)
        return verdict, after

    def run_on(self, program: str, packet: Packet, device: str) -> tuple[int, bytes]:
        """The same on a device of the namespace instead of loopback."""
        data = packet.frame()
        before, after = ctypes.create_string_buffer(data), ctypes.create_string_buffer(2048)
        context = ctypes.create_string_buffer(192)  # struct __sk_buff
        struct.pack_into("<I", context, 40, socket.if_nametoindex(device))
        attr = ctypes.create_string_buffer(
            struct.pack(
                "<4I2Q4I2Q",
                self.object.program_fd(program),
                0,
                len(data),
                len(after),
                ctypes.addressof(before),
                ctypes.addressof(after),
                1,
                0,
                len(context),
                0,
                ctypes.addressof(context),
                0,
            ),
            128,
        )
        syscall.bpf(syscall.Command.PROG_TEST_RUN, attr, f"run {program} on {device}")
        _, verdict, _, size = struct.unpack_from("<4I", attr)
        return verdict, after.raw[:size]

    def uplink(self, packet: Packet | bytes) -> tuple[int, bytes]:
        return self.run("lb_uplink_ingress", packet)

    def egress(self, packet: Packet | bytes) -> tuple[int, bytes]:
        return self.run("lb_uplink_egress", packet)

    def pod(self, packet: Packet | bytes) -> tuple[int, bytes]:
        return self.run("lb_pod_ingress", packet)

    def counters(self) -> dict[str, int]:
        """Every counter that is not zero, by name; index 0 is no reason."""
        names = ["CONTINUE", *(reason.name for reason in DATAPATH)]
        values = {name: self._sum("counters", i, 1)[0] for i, name in enumerate(names)}
        return {name: value for name, value in values.items() if value}

    def stats(self, number: int) -> tuple[int, int, int, int]:
        """Packets, bytes, flows and drops of a service."""
        packets, octets, flows, drops = self._sum("service_stats", number, 4)
        return packets, octets, flows, drops

    def tries(self) -> dict[int, int]:
        """How many flows needed so many candidates."""
        values = {index: self._sum("port_tries", index, 1)[0] for index in range(33)}
        return {index: value for index, value in values.items() if value}

    def _sum(self, name: str, index: int, words: int) -> list[int]:
        data = self.maps[name].lookup(struct.pack("<I", index)) or b""
        copies = list(struct.iter_unpack(f"<{words}Q", data))
        return [sum(column) for column in zip(*copies, strict=True)]

    def flows(self) -> dict[Tuple, Flow]:
        """The flow table."""
        found = {}
        for key in list(self.maps["flows"].keys()):
            value = self.maps["flows"].lookup(key)
            if value is not None:
                found[Tuple.unpack(key)] = Flow.unpack(value)
        return found

    def flow(self, key: Tuple) -> Flow | None:
        value = self.maps["flows"].lookup(key.pack())
        return None if value is None else Flow.unpack(value)

    def write_flow(self, key: Tuple, flow: Flow) -> None:
        self.maps["flows"].update(key.pack(), flow.pack())

    def forget(self, key: Tuple) -> None:
        assert self.flow(key) is not None
        self.maps["flows"].delete_batch([key.pack()])


def number_of(protocol: int) -> service.Protocol:
    """The protocol in the project's own words."""
    return {TCP: service.Protocol.TCP, UDP: service.Protocol.UDP}[protocol]
