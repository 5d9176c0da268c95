"""The stream: octets from a real socket, in the clear and by TLS, to a function."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.stream import EndError, Stream, connect

BIG = bytes(range(256)) * 8192  # 2 MiB: more than a record of TLS, a read or a socket holds


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a self-signed certificate for localhost and its key."""
    folder = tmp_path_factory.mktemp("pki")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-days", "1", "-keyout", "key", "-out", "crt"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    return folder


class Peer:
    """A server of one connection that does in a thread what it is told."""

    def __init__(self, act: Callable[[socket.socket], None], pair: Path | None = None) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._act = act
        self._tls = None
        if pair is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(pair / "crt", pair / "key")
        self.failed: OSError | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            made, _ = self._listener.accept()
            made.settimeout(10)
            with self._tls.wrap_socket(made, server_side=True) if self._tls else made as there:
                self._act(there)
        except OSError as error:
            self.failed = error

    def access(self, trusted: Path | None = None, host: str = "localhost") -> Access:
        tls = ssl.create_default_context(cafile=trusted) if self._tls else None
        port = self._listener.getsockname()[1]
        return Access(server="x", host=host, port=port, tls=tls, server_name="localhost")

    def end(self) -> None:
        self._thread.join()
        self._listener.close()


Act = Callable[[socket.socket], None]
Say = Callable[[Stream], Awaitable[object]]
Talk = Callable[[Act, Say], object]


@pytest.fixture(params=[True, False], ids=["tls", "plain"])
def talk(request: pytest.FixtureRequest, pair: Path) -> Talk:
    """Has a peer act, and what a coroutine makes of it."""

    def run(act: Act, say: Say) -> object:
        peer = Peer(act, pair if request.param else None)

        async def main() -> object:
            stream = await connect(peer.access(pair / "crt"), ())
            try:
                async with asyncio.timeout(20):
                    return await say(stream)
            finally:
                stream.close()

        try:
            return asyncio.run(main())
        finally:
            peer.end()
            assert peer.failed is None

    return run


def test_all_that_comes_is_handed_on_and_then_the_end(talk: Talk) -> None:
    async def say(stream: Stream) -> bytes:
        heard = bytearray()
        assert not await stream.hear(lambda data: bool(heard.extend(data)), 5.0)
        return bytes(heard)

    assert talk(lambda peer: peer.sendall(BIG), say) == BIG


def test_more_is_sent_than_the_socket_holds(talk: Talk) -> None:
    def act(peer: socket.socket) -> None:
        left = len(BIG)
        while left:
            left -= len(peer.recv(4096))
        peer.sendall(b"all")

    async def say(stream: Stream) -> list[bytes]:
        await stream.send(BIG)
        heard: list[bytes] = []
        assert await stream.hear(lambda data: not heard.append(data), 10.0)
        return heard

    assert talk(act, say) == [b"all"]


def test_who_has_enough_leaves_the_rest_for_the_next(talk: Talk) -> None:
    gone_on = threading.Event()

    def act(peer: socket.socket) -> None:
        peer.sendall(b"one")
        gone_on.wait(10)
        peer.sendall(b"two")

    async def say(stream: Stream) -> list[bytes]:
        heard: list[bytes] = []
        assert await stream.hear(lambda data: not heard.append(data), 5.0)
        gone_on.set()
        await asyncio.sleep(0.05)
        assert heard == [b"one"]
        assert await stream.hear(lambda data: not heard.append(data), 5.0)
        return heard

    assert talk(act, say) == [b"one", b"two"]


def test_silence_is_counted_from_what_was_heard_last(talk: Talk) -> None:
    over = threading.Event()

    def act(peer: socket.socket) -> None:
        for _ in range(4):
            peer.sendall(b"x")
            over.wait(0.2)
        over.wait(10)

    async def say(stream: Stream) -> int:
        heard: list[bytes] = []
        with pytest.raises(TimeoutError):
            await stream.hear(lambda data: bool(heard.append(data)), 0.5)
        over.set()
        return len(heard)

    assert talk(act, say) == 4


def test_what_the_hearer_raises_is_raised(talk: Talk) -> None:
    def refuse(data: bytes) -> bool:
        raise EndError(data.decode())

    async def say(stream: Stream) -> None:
        with pytest.raises(EndError, match="hm"):
            await stream.hear(refuse, 5.0)

    talk(lambda peer: peer.sendall(b"hm"), say)


def test_a_connection_that_is_reset_is_at_its_end(talk: Talk) -> None:
    connected = threading.Event()

    def act(peer: socket.socket) -> None:
        connected.wait(10)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    async def say(stream: Stream) -> None:
        connected.set()
        with suppress(ConnectionResetError):
            assert not await stream.hear(lambda _: False, 5.0)

    talk(act, say)


def test_a_certificate_of_nobody_we_trust_is_refused(pair: Path) -> None:
    peer = Peer(lambda _: None, pair)
    with pytest.raises(ssl.SSLCertVerificationError):
        asyncio.run(connect(peer.access(), ()))
    peer.end()
    assert isinstance(peer.failed, ssl.SSLError)


def test_who_hangs_up_instead_of_a_handshake_is_an_error(pair: Path) -> None:
    peer = Peer(lambda _: None)
    tls = ssl.create_default_context(cafile=pair / "crt")
    access = replace(peer.access(), tls=tls)
    with pytest.raises(OSError, match=r"EOF|reset"):
        asyncio.run(connect(access, ()))
    peer.end()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_where_nobody_listens_the_refusal_is_told(host: str) -> None:
    peer = Peer(lambda _: None)
    access = peer.access(host=host)
    socket.create_connection((access.host, access.port)).close()
    peer.end()
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(connect(access, ()))
