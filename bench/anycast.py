"""Datagrams to an address that every node serves itself, and who answers them.

It runs as a file of its own with `python -IS`, one process a role:

    anycast.py serve PORT         answers each datagram from the address that it was sent to
    anycast.py ask ADDRESS PORT   asks each 5 ms until its input ends; then prints the seconds
                                  between the first that was lost and the next that was answered,
                                  at their longest, and how many were sent and lost
"""

import contextlib
import select
import socket
import struct
import sys
import time

IP_PKTINFO = 8
EVERY = 0.005
LIMIT = 0.3  # for the last answers


def serve(port: int) -> None:
    """Answer for ever."""
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    sock.bind(("0.0.0.0", port))
    print("ready", flush=True)
    while True:
        data, extra, _, far = sock.recvmsg(64, 64)
        asked = extra[0][2][8:12]  # in_pktinfo: link, own address, address of the datagram
        info = struct.pack("=i4s4s", 0, asked, bytes(4))
        with contextlib.suppress(OSError):
            sock.sendmsg([data], [(socket.IPPROTO_IP, IP_PKTINFO, info)], 0, far)


def ask(address: str, port: int) -> None:
    """Ask until the input ends."""
    sock = socket.socket(type=socket.SOCK_DGRAM)
    sock.connect((address, port))
    sock.setblocking(False)
    sent: list[float] = []
    answered: set[int] = set()
    print("ready", flush=True)
    until = 0.0
    while not until or time.monotonic() < until:
        now = time.monotonic()
        if not until and (not sent or now >= sent[-1] + EVERY):
            with contextlib.suppress(OSError):  # nobody answered ARP, so the kernel says so
                sock.send(len(sent).to_bytes(4, "big"))
            sent.append(now)
        ready, _, _ = select.select([sock, sys.stdin] if not until else [sock], [], [], 0.001)
        if sock in ready:
            with contextlib.suppress(OSError):
                answered.add(int.from_bytes(sock.recv(64), "big"))
        if sys.stdin in ready:
            until = now + LIMIT
    lost = [number for number in range(len(sent)) if number not in answered]
    print(longest(sent, set(lost)), len(sent), len(lost))


def longest(sent: list[float], lost: set[int]) -> float:
    """The longest stretch of lost datagrams; one that never ended lasts to the last of all."""
    found, begin = 0.0, 0.0
    for number, at in enumerate(sent):
        if number in lost:
            begin = begin or at
            found = max(found, at - begin + EVERY)
        elif begin:
            found, begin = max(found, at - begin), 0.0
    return found


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    else:
        ask(sys.argv[2], int(sys.argv[3]))
