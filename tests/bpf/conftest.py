"""A network namespace with one uplink, and the datapath loaded once for each configuration."""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.bpf.kernel import STACK, Kernel

CLONE_NEWNET = 0x40000000
ROUTER_MAC = "02:bb:00:00:00:01"
UPLINK_MAC = "02:bb:00:00:00:02"

# The uplink carries the node's addresses; the client is behind the router, the remote pod too.
SETUP = f"""
link set lo up
link add uplink address {UPLINK_MAC} type veth peer name wire address {ROUTER_MAC}
link set wire up
link set uplink up
address add 192.0.2.10/24 dev uplink
address add 2001:db8:1::10/64 dev uplink nodad
neighbour add 192.0.2.1 lladdr {ROUTER_MAC} dev uplink nud permanent
neighbour add 2001:db8:1::1 lladdr {ROUTER_MAC} dev uplink nud permanent
route add default via 192.0.2.1
route add default via 2001:db8:1::1
route add unreachable 203.0.113.0/24
route add blackhole 198.51.100.128/25
route add prohibit 198.51.100.64/26
route add unreachable 2001:db8:dead::/48
"""


def _libc(name: str, *arguments: int) -> None:
    function = getattr(ctypes.CDLL(None, use_errno=True), name)
    if function(*arguments):
        raise OSError(ctypes.get_errno(), name)


def _sysctl(name: str) -> None:
    with open(f"/proc/sys/net/{name}", "w", encoding="ascii") as file:
        file.write("1")


@pytest.fixture(scope="package")
def namespace() -> Iterator[None]:
    """This process inside a namespace of its own, which has no way out."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    _libc("unshare", CLONE_NEWNET)
    try:
        subprocess.run(["ip", "-batch", "-"], input=SETUP, text=True, check=True)
        for name in ("ipv4/conf/all/forwarding", "ipv6/conf/all/forwarding"):
            _sysctl(name)
        yield
    finally:
        _libc("setns", home, CLONE_NEWNET)
        os.close(home)


@pytest.fixture(scope="package")
def loaded(namespace: None) -> Iterator[Kernel]:
    kernel = Kernel()
    yield kernel
    kernel.close()


@pytest.fixture(scope="package")
def loaded_stack(namespace: None) -> Iterator[Kernel]:
    kernel = Kernel(delivery=STACK)
    yield kernel
    kernel.close()


@pytest.fixture
def kernel(loaded: Kernel) -> Kernel:
    """The datapath with delivery `fast`, all maps empty."""
    loaded.clear()
    return loaded


@pytest.fixture
def stack(loaded_stack: Kernel) -> Kernel:
    """The datapath with delivery `stack`, all maps empty."""
    loaded_stack.clear()
    return loaded_stack
