"""TCP as BGP wants it: who may speak, from where, how far, and with what signature.

TCP-MD5 (RFC 2385) and TCP-AO (RFC 5925) keys, the TTL rules of RFC 5082, source address and VRF
are set before the first segment leaves; see tcp(7), ip(7) and linux/tcp.h. Sockets are plain and
non-blocking: whoever waits on one owns it, and nobody else closes it. What the kernel or the peer
refuses is a value, never an exception.
"""

from __future__ import annotations

import array
import errno
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import ip_address

from onehop.model.address import IPAddress, host_port
from onehop.model.reason import Reason, Refusal

_TCP_USER_TIMEOUT = 18
_TCP_MD5SIG = 14
_TCP_NOTSENT_LOWAT = 25
_TCP_AO_ADD_KEY, _TCP_AO_INFO = 38, 40
_IP_MINTTL, _IPV6_MINHOPCOUNT = 21, 73
_MAX_PASSWORD = 80  # TCP_MD5SIG_MAXKEYLEN, TCP_AO_MAXKEYLEN
_INTERNETWORK_CONTROL = 0xC0  # IP precedence of routing protocols, RFC 791 3.1
_TRAFFIC_PRIORITY = 7  # SO_PRIORITY of control traffic, TC_PRIO_CONTROL
_RECEIVE_AT_ONCE = 1 << 16
_BACKLOG = 16
_UNSENT_IN_KERNEL = 1 << 17  # what may wait behind the peer's window, soon out of date
MAX_TTL = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthenticationKey:
    """One TCP-AO master key (RFC 5925 3.1); `algorithm` as the kernel's crypto layer names it."""

    secret: str = field(repr=False)
    send_id: int
    receive_id: int
    algorithm: str = "hmac(sha1)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """How one peer is reached.

    `ttl` is what our packets start with. `hops` is how far away the peer may be, packets from
    farther being dropped by the kernel (RFC 5082 3): 1 for a direct neighbour that starts at 255
    too, None for no check. `link` scopes a link-local address. `patience` is how many seconds
    unacknowledged data may stand before the connection is over, 0 for the kernel's own minutes.
    """

    address: IPAddress
    port: int = 179
    source: IPAddress | None = None
    link: str = ""
    vrf: str = ""
    ttl: int = MAX_TTL
    hops: int | None = None
    password: str = field(default="", repr=False)
    key: AuthenticationKey | None = None
    patience: float = 0.0

    def __str__(self) -> str:
        return host_port(self.address, self.port)

    @property
    def silence(self) -> str:
        """What no answer may mean: the kernels drop without a word what breaks these rules."""
        doubts = []
        if self.password or self.key is not None:
            doubts.append("a password that is another at the peer")
        if self.hops is not None:
            doubts.append(f"a peer that is more than {self.hops} hops away or sends a low TTL")
        return f"no answer; it may be {' or '.join(doubts)}" if doubts else "no answer"


class BgpSocket:
    """One connection, non-blocking. Closing twice is no error."""

    def __init__(self, sock: socket.socket, path: Path) -> None:
        self._socket = sock
        self._path = path

    def fileno(self) -> int:
        """The descriptor to wait on: writable when connected, readable when octets came."""
        return self._socket.fileno()

    def failure(self) -> Refusal | None:
        """Why the connection did not come about; None when it has. Ask once it is writable."""
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        return _unreachable(self._path, number) if number else None

    @property
    def local(self) -> IPAddress:
        """Our address on the connection: the next hop of our routes."""
        return _address(self._socket.getsockname())

    @property
    def remote(self) -> IPAddress:
        """The peer's address on the connection."""
        return _address(self._socket.getpeername())

    def receive(self) -> bytes | Refusal:
        """What has come, empty when nothing has; a Refusal when the connection is over."""
        try:
            octets = self._socket.recv(_RECEIVE_AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return b""
        except OSError as error:
            return _unreachable(self._path, error.errno or 0)
        return octets or Refusal(
            reason=Reason.SESSION_DOWN, detail=f"{self._path}: closed by the peer"
        )

    def send(self, octets: bytes | bytearray) -> int | Refusal:
        """How many of the octets the kernel took; a Refusal when the connection is over."""
        try:
            return self._socket.send(octets, socket.MSG_NOSIGNAL)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            return _unreachable(self._path, error.errno or 0)

    @property
    def unacknowledged(self) -> int:
        """Octets that the peer's kernel has not acknowledged yet."""
        room = array.array("i", [0])
        try:
            fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, room)
        except OSError:
            return 0
        return room[0]

    def close(self) -> None:
        """End the connection; what was sent still arrives, when nothing received is unread."""
        self._socket.close()


class Listener:
    """Accepts connections of peers that open them, one family, non-blocking."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def fileno(self) -> int:
        """The descriptor to wait on: readable when a peer has connected."""
        return self._socket.fileno()

    def permit(self, path: Path) -> Refusal | None:
        """Demand a peer's signature; without this, a signed segment of it is dropped."""
        return _attempt(path, lambda: _sign(self._socket, path))

    def accept(self) -> tuple[socket.socket, IPAddress] | None:
        """A connection and whose it is; None when none waits. `adopted` makes it usable."""
        try:
            sock, name = self._socket.accept()
        except OSError:  # none there any more, or its peer has gone again
            return None
        sock.setblocking(False)
        return sock, _address(name)

    def close(self) -> None:
        """Accept nobody any more."""
        self._socket.close()


def dial(path: Path) -> BgpSocket | Refusal:
    """Begin to connect; the socket turns writable when that is decided, see `failure`."""
    sock = _socket(path.address)
    if isinstance(sock, Refusal):
        return sock

    def prepare() -> None:
        _prepare(sock, path)
        _sign(sock, path)
        if path.source is not None:
            sock.bind((str(path.source), 0))
        number = sock.connect_ex((str(path.address), path.port, *_scope(path)))
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, os.strerror(number))

    refusal = _attempt(path, prepare)
    if refusal is not None:
        sock.close()
        return refusal
    return BgpSocket(sock, path)


def adopted(sock: socket.socket, path: Path) -> BgpSocket | Refusal:
    """An accepted connection with the peer's rules; its signature was checked by the listener."""
    refusal = _attempt(path, lambda: _prepare(sock, path))
    if refusal is not None:
        sock.close()
        return refusal
    return BgpSocket(sock, path)


def listen(address: IPAddress, port: int = 179) -> Listener | Refusal:
    """Wait for peers at one of our addresses, or at the unspecified one."""
    sock = _socket(address)
    if isinstance(sock, Refusal):
        return sock
    path = Path(address=address, port=port)

    def prepare() -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.version == 6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _limit_hops(sock, path)  # the SYN-ACK of a connection goes out with the listener's TTL
        sock.bind((str(address), port))
        sock.listen(_BACKLOG)

    refusal = _attempt(path, prepare)
    if refusal is not None:
        sock.close()
        return refusal
    return Listener(sock)


def has_authentication_option() -> bool:
    """Whether the kernel has TCP-AO; ENOENT says that it has, and the socket no key yet."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.getsockopt(socket.IPPROTO_TCP, _TCP_AO_INFO, 64)
        except OSError as error:
            return error.errno != errno.ENOPROTOOPT
    return True


def _socket(address: IPAddress) -> socket.socket | Refusal:
    try:
        sock = socket.socket(_family(address), socket.SOCK_STREAM)
    except OSError as error:
        return Refusal(
            reason=Reason.KERNEL_LACKS, detail=f"TCP over IPv{address.version}: {error.strerror}"
        )
    sock.setblocking(False)
    return sock


def _family(address: IPAddress) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _scope(path: Path) -> tuple[int, ...]:
    """Flow label and scope of an IPv6 socket address; a link-local one needs its link."""
    if path.address.version == 4:
        return ()
    index = {name: number for number, name in socket.if_nameindex()}.get(path.link, 0)
    if path.link and not index:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
    return 0, index


def _prepare(sock: socket.socket, path: Path) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, _TCP_NOTSENT_LOWAT, _UNSENT_IN_KERNEL)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, _TRAFFIC_PRIORITY)
    if path.address.version == 4:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, _INTERNETWORK_CONTROL)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, _INTERNETWORK_CONTROL)
    if path.patience:
        patience_ms = int(path.patience * 1000)
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_USER_TIMEOUT, patience_ms)
    if path.vrf:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, path.vrf.encode() + b"\0")
    _limit_hops(sock, path)


def _limit_hops(sock: socket.socket, path: Path) -> None:
    """RFC 5082 3: send with a known TTL, and take nothing that came from farther away."""
    if path.address.version == 4:
        level, outgoing, least = socket.IPPROTO_IP, socket.IP_TTL, _IP_MINTTL
    else:
        level, outgoing, least = socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, _IPV6_MINHOPCOUNT
    sock.setsockopt(level, outgoing, path.ttl)
    if path.hops is not None:
        sock.setsockopt(level, least, MAX_TTL + 1 - path.hops)


def _sign(sock: socket.socket, path: Path) -> None:
    if path.password:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_MD5SIG, _md5_key(path))
    if path.key is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_AO_ADD_KEY, _ao_key(path, path.key))


def _md5_key(path: Path) -> bytes:
    """`struct tcp_md5sig` of linux/tcp.h."""
    secret = path.password.encode()
    key = struct.pack("=BBHi80s", 0, 0, len(secret), 0, secret)
    return _storage(path.address) + key


def _ao_key(path: Path, key: AuthenticationKey) -> bytes:
    """`struct tcp_ao_add` of linux/tcp.h: the key is current and asked for at once."""
    secret = key.secret.encode()
    prefix = path.address.max_prefixlen
    at_once = 0b11
    head = _storage(path.address) + struct.pack("=64siIH", key.algorithm.encode(), 0, at_once, 0)
    ids = struct.pack("=BBBBBB", prefix, key.send_id, key.receive_id, 0, 0, len(secret))
    return head + ids + struct.pack("=80s", secret)


def _storage(address: IPAddress) -> bytes:
    """`struct sockaddr_storage`; the port is no part of a key."""
    if address.version == 4:
        return struct.pack("=H2x4s120x", socket.AF_INET, address.packed)
    return struct.pack("=H6x16s104x", socket.AF_INET6, address.packed)


def _address(name: tuple[str, int] | tuple[str, int, int, int]) -> IPAddress:
    return ip_address(name[0].partition("%")[0])


def _attempt(path: Path, work: Callable[[], None]) -> Refusal | None:
    """Do it, and say in the user's words what the kernel held against it."""
    if len(path.password.encode()) > _MAX_PASSWORD:
        detail = f"{path}: a password of more than {_MAX_PASSWORD} octets"
        return Refusal(reason=Reason.FIELD_INVALID, detail=detail)
    if path.key is not None and not has_authentication_option():
        return Refusal(reason=Reason.KERNEL_LACKS, detail=f"{path}: TCP-AO (RFC 5925)")
    try:
        work()
    except OSError as error:
        return _unreachable(path, error.errno or 0)
    return None


def _unreachable(path: Path, number: int) -> Refusal:
    reason = _REASONS.get(number, Reason.PEER_UNREACHABLE)
    if number == errno.EADDRNOTAVAIL and path.source is not None:
        why = f"the source address {path.source} is not this node's"
    elif number == errno.ENODEV:
        why = f"there is no link {path.vrf or path.link}"
    elif number == errno.ETIMEDOUT:
        why = path.silence
    else:
        why = os.strerror(number).lower()
    return Refusal(reason=reason, detail=f"{path}: {why}")


_REASONS = {
    errno.EPERM: Reason.CAPABILITY_MISSING,
    errno.EACCES: Reason.CAPABILITY_MISSING,
    errno.ENOPROTOOPT: Reason.KERNEL_LACKS,
    errno.ECONNRESET: Reason.SESSION_DOWN,
    errno.EPIPE: Reason.SESSION_DOWN,
}
