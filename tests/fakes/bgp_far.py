"""A BGP peer of a few lines, and a namespace of its own to hold a session in."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

from onehop.lab import namespace
from onehop.model.address import Family
from onehop.model.bgp import BGPPeer, PeerDesired, RouteAttributes
from onehop.model.service import Key
from onehop.proto.bgp.capability import Capabilities
from onehop.proto.bgp.constants import MessageType
from onehop.proto.bgp.framing import KEEPALIVE, Frame, Splitter
from onehop.proto.bgp.message import Open, encode_open

HOST, PORT = "127.0.0.1", 1790
OPEN = encode_open(
    Open(
        asn=64512,
        hold_time=90,
        identifier=IPv4Address("192.0.2.254"),
        capabilities=Capabilities(families=frozenset({Family.IPV4}), asn=64512),
    )
)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Inside a namespace whose loopback is up."""
    root = folder / "netns"
    root.mkdir()
    namespace.create(root / "bgp", f"oh-bgpu-{os.getpid()}")
    try:
        with namespace.entered(root / "bgp"):
            with socket.socket() as sock:  # `ip link set lo up`, as an ioctl
                fcntl.ioctl(sock.fileno(), 0x8914, struct.pack("16sH14x", b"lo", 1))
            yield
    finally:
        namespace.remove(root / "bgp")
        namespace.remove_names(root)
        shutil.rmtree(root)


def wanted(*prefixes: str, name: str = "router", host: str = HOST, **more: object) -> PeerDesired:
    values: dict[str, object] = {
        "key": Key("metallb-system", name),
        "my_asn": 64500,
        "peer_asn": 64512,
        "address": ip_address(host),
        "port": PORT,
        **more,
    }
    shared = RouteAttributes(next_hop=IPv4Address("192.0.2.1"))
    return PeerDesired(
        name=name,
        peer=BGPPeer(**values),  # type: ignore[arg-type]
        router_id=IPv4Address("192.0.2.1"),
        routes={ip_network(prefix): shared for prefix in prefixes},
    )


class Far:
    """The peer: accepts one connection after the other and reads what comes."""

    def __init__(self, host: str = HOST) -> None:
        self._listener = socket.create_server((host, PORT))
        # Little room in the kernel: a peer that does not read stalls us soon.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._listener.setblocking(False)
        self.sock: socket.socket | None = None
        self._splitter = Splitter()

    async def accept(self) -> None:
        loop = asyncio.get_running_loop()
        if self.sock is not None:
            self.sock.close()
        async with asyncio.timeout(10):
            self.sock, _ = await loop.sock_accept(self._listener)
        self.sock.setblocking(False)
        self._splitter = Splitter()

    async def say(self, octets: bytes) -> None:
        assert self.sock is not None
        await asyncio.get_running_loop().sock_sendall(self.sock, octets)

    async def hear(self, kind: MessageType) -> Frame:
        """The next message of a kind; those before it are passed over."""
        loop = asyncio.get_running_loop()
        assert self.sock is not None
        async with asyncio.timeout(10):
            while True:
                frame = self._splitter.next()
                if frame is None:
                    octets = await loop.sock_recv(self.sock, 65536)
                    assert octets, "the connection is over"
                    self._splitter.feed(octets)
                elif frame.kind is kind:
                    return frame

    def heard_now(self) -> list[Frame]:
        """What the kernel holds at this instant."""
        assert self.sock is not None
        try:
            self._splitter.feed(self.sock.recv(65536))
        except BlockingIOError:
            return []
        found = []
        while (frame := self._splitter.next()) is not None:
            found.append(frame)
        return found

    async def establish(self) -> None:
        await self.accept()
        await self.say(OPEN + KEEPALIVE)
        await self.hear(MessageType.UPDATE)

    def close(self) -> None:
        self._listener.close()
        if self.sock is not None:
            self.sock.close()
