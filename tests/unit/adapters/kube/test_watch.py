"""The connection that lists and watches come on, down to the octets."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.watch import Body, Channel, LostError, QuietError

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"


def cut(data: bytes, places: list[int]) -> Iterator[bytes]:
    """`data` in pieces."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    for start, end in pairwise(edges):
        yield data[start:end]


PLACES = st.lists(st.integers(0), max_size=9)


@given(st.lists(st.binary(min_size=1, max_size=300), max_size=6), PLACES)
def test_chunks_make_the_same_body_however_they_arrive(
    chunks: list[bytes], places: list[int]
) -> None:
    wire = b"".join(b"%x;ext=1\r\n%s\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
    body = Body(CHUNKED)
    assert b"".join(body.feed(piece) for piece in cut(wire, places)) == b"".join(chunks)
    assert body.done


@given(st.binary(max_size=300), PLACES)
def test_a_body_of_a_length_is_the_same_however_it_arrives(data: bytes, places: list[int]) -> None:
    body = Body(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(data))
    assert b"".join(body.feed(piece) for piece in cut(data, places)) == data
    assert body.done


def test_a_body_of_no_length_ends_with_the_connection() -> None:
    body = Body(b"HTTP/1.1 200 OK\r\n")
    assert (body.endless, body.feed(b"abc"), body.done) == (True, b"abc", False)


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"x\r\n", "a chunk has no size"),
        (b"-1\r\n", "a chunk has no size"),
        (b"1\r\nab\r\n", "a chunk is longer than it says"),
    ],
)
def test_what_is_no_chunk_is_refused(wire: bytes, why: str) -> None:
    with pytest.raises(LostError, match=why):
        Body(CHUNKED).feed(wire)


class Script:
    """A server that answers each request on each connection with the next text, then closes."""

    def __init__(self, *answers: bytes, hold: bool = False) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.answers = list(answers)
        self.hold = threading.Event()
        if not hold:
            self.hold.set()
        self.requests: list[bytes] = []
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while self.answers:
            connection, _ = self.listener.accept()
            with connection:
                self.requests.append(connection.recv(4096))
                connection.sendall(self.answers.pop(0))
                self.hold.wait(5)
        self.listener.close()

    @property
    def access(self) -> Access:
        return Access(server="http://x", host="127.0.0.1", port=self.port, prefix="/k8s")


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"


async def asked(script: Script, *, times: int = 1, patience: float = 2.0) -> list[bytes]:
    channel = Channel(script.access, answer_seconds=patience)
    try:
        return [await channel.body(await channel.ask("/api")) for _ in range(times)]
    finally:
        channel.close()


def test_a_request_names_the_host_and_starts_with_the_path_of_the_server() -> None:
    script = Script(OK)
    assert asyncio.run(asked(script)) == [b"hi"]
    assert script.requests[0].startswith(b"GET /k8s/api HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"Authorization" not in script.requests[0]


def test_a_kept_connection_that_the_server_closed_is_made_anew() -> None:
    script = Script(OK, OK)
    assert asyncio.run(asked(script, times=2)) == [b"hi", b"hi"]


def test_interim_answers_are_stepped_over() -> None:
    assert asyncio.run(asked(Script(b"HTTP/1.1 103 Early Hints\r\n\r\n" + OK))) == [b"hi"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "an endless head"),
    ],
)
def test_an_answer_that_is_none_is_a_lost_connection(answer: bytes, why: str) -> None:
    with pytest.raises(LostError, match=why):
        asyncio.run(asked(Script(answer)))


def test_nobody_listening_is_a_lost_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    channel = Channel(Access(server="x", host="127.0.0.1", port=port))
    with pytest.raises(LostError, match="refused"):
        asyncio.run(channel.ask("/"))


def test_a_server_that_does_not_answer_is_given_up() -> None:
    script = Script(b"", hold=True)
    with pytest.raises(LostError, match=r"no answer in 0\.1 s"):
        asyncio.run(asked(script, patience=0.1))
    script.hold.set()


def test_a_body_that_stops_coming_is_given_up_after_a_while() -> None:
    script = Script(CHUNKED + b"\r\n2\r\nhi\r\n", hold=True)

    async def heard() -> None:
        channel = Channel(script.access)
        await channel.attend(await channel.ask("/"), 0.1, pieces.append)

    pieces: list[bytes] = []
    with pytest.raises(QuietError, match=r"silent for 0\.1 s"):
        asyncio.run(heard())
    assert pieces == [b"hi"]
    script.hold.set()


class Slow:
    """Credentials that are asked where nobody else waits for them."""

    is_slow = True

    def __init__(self) -> None:
        self.asked_in: list[threading.Thread] = []

    def authorization(self) -> str:
        self.asked_in.append(threading.current_thread())
        return f"Bearer {len(self.asked_in)}"

    def renew(self, spoilt: str) -> bool:
        self.asked_in.append(threading.current_thread())
        return spoilt == "Bearer 1"


def test_credentials_that_take_their_time_are_asked_in_a_thread() -> None:
    slow = Slow()
    script = Script(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", OK)

    async def ask() -> bytes:
        channel = Channel(replace(script.access, credentials=slow))
        try:
            return await channel.body(await channel.ask("/api"))
        finally:
            channel.close()

    assert asyncio.run(ask()) == b"hi"
    assert b"Authorization: Bearer 3\r\n" in script.requests[1]
    assert threading.current_thread() not in slow.asked_in
