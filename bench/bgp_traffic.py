"""A thousand questions a second by UDP, and who answers them; run as a file with `python -IS`.

bgp_traffic.py answer PORT
bgp_traffic.py ask ADDRESS PORT SECONDS    prints how many were asked and how many answered
"""

import select
import socket
import sys
import time

RATE = 1000
SOCKETS = 64  # as many flows, for a router spreads flows and not packets
PATIENCE = 0.5  # for the last answers


def answer(port: int) -> None:
    """Send each datagram back."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", port))
    print("ready", flush=True)
    while True:
        sock.sendto(*sock.recvfrom(64))


def ask(address: str, port: int, seconds: float) -> None:
    """One datagram after the other at an even rate, each with a number of its own."""
    poll = select.epoll()
    socks = []
    for _ in range(SOCKETS):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect((address, port))
        sock.setblocking(False)
        poll.register(sock.fileno(), select.EPOLLIN)
        socks.append(sock)
    by_number = {sock.fileno(): sock for sock in socks}
    answered: set[bytes] = set()
    asked = 0
    begin = time.monotonic()
    print("ready", flush=True)
    while asked < seconds * RATE:
        wait = begin + asked / RATE - time.monotonic()
        if wait <= 0:
            socks[asked % SOCKETS].send(asked.to_bytes(8, "big"))
            asked += 1
        for number, _ in poll.poll(max(0.0, wait)):
            answered.add(by_number[number].recv(64))
    end = time.monotonic() + PATIENCE
    while len(answered) < asked and (wait := end - time.monotonic()) > 0:
        for number, _ in poll.poll(wait):
            answered.add(by_number[number].recv(64))
    print(asked, len(answered))


if __name__ == "__main__":
    if sys.argv[1] == "answer":
        answer(int(sys.argv[2]))
    else:
        ask(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]))
