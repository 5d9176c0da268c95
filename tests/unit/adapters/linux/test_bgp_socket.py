"""TCP for BGP, on the loopback of a namespace of its own."""

from __future__ import annotations

import os
import select
import shutil
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path as File

import pytest

from onehop.adapters.linux.bgp_socket import (
    AuthenticationKey,
    BgpSocket,
    Listener,
    Path,
    adopted,
    dial,
    has_authentication_option,
    listen,
)
from onehop.lab import namespace
from onehop.model.reason import Reason, Refusal

pytestmark = pytest.mark.root

PORT = 1790
BOTH = pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
SILENCE = 0.3  # how long a segment that must not be taken gets to be taken


@pytest.fixture(autouse=True)
def alone(tmp_path: File) -> Iterator[None]:
    root = tmp_path / "netns"
    root.mkdir()
    namespace.create(root / "tcp", f"oh-bgps-{os.getpid()}")
    try:
        with namespace.entered(root / "tcp"):
            with socket.socket() as sock:  # `ip link set lo up`, as an ioctl
                import fcntl

                fcntl.ioctl(sock.fileno(), 0x8914, struct.pack("16sH14x", b"lo", 1))
            yield
    finally:
        namespace.remove(root / "tcp")
        namespace.remove_names(root)
        shutil.rmtree(root)


def ready(sock: BgpSocket | Listener, *, to_write: bool = False, within: float = 5.0) -> bool:
    fds = ([], [sock.fileno()]) if to_write else ([sock.fileno()], [])
    return any(select.select(*fds, [], within)[:2])


def a_listener(host: str, path: Path | None = None) -> Listener:
    listener = listen(ip_address(host), PORT)
    assert isinstance(listener, Listener), listener
    if path is not None:
        assert listener.permit(path) is None
    return listener


def a_pair(ours: Path, theirs: Path) -> tuple[BgpSocket, BgpSocket | None]:
    """A dialled connection, and what the other side sees of it, None when it never comes."""
    listener = a_listener(str(ours.address), theirs)
    sock = dial(ours)
    assert isinstance(sock, BgpSocket), sock
    come = listener.accept() if ready(listener, within=SILENCE) else None
    listener.close()
    if come is None:
        return sock, None
    other = adopted(come[0], theirs)
    assert isinstance(other, BgpSocket), other
    return sock, other


@BOTH
def test_octets_go_both_ways_and_the_end_is_told(host: str) -> None:
    path = Path(address=ip_address(host), port=PORT)
    sock, other = a_pair(path, path)
    assert other is not None
    assert ready(sock, to_write=True)
    assert sock.failure() is None
    assert sock.local == sock.remote == other.local == ip_address(host)
    assert sock.receive() == b""
    assert sock.send(b"there") == 5
    assert ready(other)
    assert other.receive() == b"there"
    assert sock.unacknowledged == 0
    other.close()
    assert ready(sock)
    end = sock.receive()
    assert isinstance(end, Refusal)
    assert end.reason is Reason.SESSION_DOWN
    assert "closed by the peer" in end.detail
    sock.close()


@BOTH
def test_a_shared_password_connects_and_another_one_does_not(host: str) -> None:
    path = Path(address=ip_address(host), port=PORT, password="ours")
    sock, other = a_pair(path, path)
    assert other is not None
    other.close()
    sock.close()
    sock, other = a_pair(path, Path(address=ip_address(host), port=PORT, password="theirs"))
    assert other is None
    sock.close()
    sock, other = a_pair(Path(address=ip_address(host), port=PORT), path)
    assert other is None, "an unsigned segment is dropped"
    sock.close()


@BOTH
def test_a_packet_from_farther_away_than_allowed_is_dropped(host: str) -> None:
    address = ip_address(host)
    near = Path(address=address, port=PORT, hops=1)
    sock, other = a_pair(near, near)
    assert other is not None, "TTL 255 is a direct neighbour"
    sock.send(b"near")
    assert ready(other)
    assert other.receive() == b"near"
    other.close()
    sock.close()
    sock, other = a_pair(Path(address=address, port=PORT, ttl=64), near)
    assert other is not None
    sock.send(b"far")
    assert not ready(other, within=SILENCE)
    other.close()
    sock.close()


def test_the_source_address_is_bound_and_one_that_is_not_ours_is_named() -> None:
    address, source = ip_address("127.0.0.1"), ip_address("127.0.0.77")
    path = Path(address=address, port=PORT, source=source)
    sock, other = a_pair(path, Path(address=source, port=PORT))
    assert other is not None
    assert (sock.local, other.remote) == (source, source)
    other.close()
    sock.close()
    refusal = dial(Path(address=address, port=PORT, source=ip_address("192.0.2.5")))
    assert isinstance(refusal, Refusal)
    assert refusal.detail == "127.0.0.1:1790: the source address 192.0.2.5 is not this node's"


@BOTH
def test_nobody_listening_is_said(host: str) -> None:
    sock = dial(Path(address=ip_address(host), port=PORT))
    if isinstance(sock, BgpSocket):
        assert ready(sock, to_write=True)
        refusal = sock.failure()
        sock.close()
    else:
        refusal = sock
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.PEER_UNREACHABLE
    assert "connection refused" in refusal.detail


def test_what_the_kernel_lacks_is_said_and_not_tried() -> None:
    assert not has_authentication_option(), "this kernel has TCP-AO: test a connection with it"
    key = AuthenticationKey(secret="s", send_id=1, receive_id=1)
    refusal = dial(Path(address=ip_address("127.0.0.1"), port=PORT, key=key))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.KERNEL_LACKS
    assert "TCP-AO" in refusal.detail


@pytest.mark.parametrize(
    ("path", "reason", "words"),
    [
        ({"vrf": "blue"}, Reason.PEER_UNREACHABLE, "there is no link blue"),
        ({"password": "é" * 41}, Reason.FIELD_INVALID, "more than 80 octets"),
        ({"link": "nowhere"}, Reason.PEER_UNREACHABLE, "there is no link nowhere"),
    ],
)
def test_what_cannot_be_done_is_said_in_words(
    path: dict[str, str], reason: Reason, words: str
) -> None:
    refusal = dial(Path(address=ip_address("::1"), port=PORT, **path))
    assert isinstance(refusal, Refusal)
    assert refusal.reason is reason
    assert words in refusal.detail


def test_secrets_are_not_printed() -> None:
    key = AuthenticationKey(secret="hush", send_id=1, receive_id=1)
    path = Path(address=ip_address("::1"), password="hush", key=key)
    assert "hush" not in f"{path!r} {path}"
    assert str(path) == "[::1]:179"


def test_an_address_in_use_is_no_listener() -> None:
    first = a_listener("127.0.0.1")
    second = listen(ip_address("127.0.0.1"), PORT)
    first.close()
    assert isinstance(second, Refusal)
    assert "address already in use" in second.detail
    assert first.accept() is None


def test_silence_names_what_the_kernels_would_hide() -> None:
    address = ip_address("192.0.2.1")
    assert Path(address=address).silence == "no answer"
    assert "password" in Path(address=address, password="x").silence
    assert "more than 2 hops" in Path(address=address, hops=2).silence
