"""A BGP session in any of its states, and every message that may come then."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from onehop.model.address import Family
from onehop.model.bgp import Routes
from onehop.proto.bgp import notification
from onehop.proto.bgp.constants import Cease, MessageType
from onehop.proto.bgp.effect import BgpEffects
from onehop.proto.bgp.framing import KEEPALIVE, framed
from onehop.proto.bgp.message import (
    Open,
    RouteRefresh,
    encode_open,
    encode_route_refresh,
)
from onehop.proto.bgp.rib_out import Encodings
from onehop.proto.bgp.session import Session
from onehop.proto.bgp.status import Tally
from onehop.proto.bgp.terms import Local, Terms, terms_of
from onehop.proto.bgp.update import updates
from tests.fakes.bgp_wire import BOTH, desired, router, routes

LOCAL = Local(ipv4=IPv4Address("192.0.2.1"), ipv6=IPv6Address("2001:db8::1"))
OURS = terms_of(desired())
THEIRS = terms_of(router()).ours
OPENED = "Opened"
CEASE = notification.cease(Cease.ADMINISTRATIVE_SHUTDOWN)
UPDATE = updates(routes(3), (), terms_of(router()).outbound(BOTH, LOCAL))[0]
REFRESH = encode_route_refresh(RouteRefresh(family=Family.IPV4))
GARBAGE = b"GET / HTTP/1.1\r\n\r\n"
BAD_UPDATE = framed(MessageType.UPDATE, b"\0\xff\0\0")


def a_session(terms: Terms = OURS, jitter: float = 1.0) -> Session:
    return Session(
        7,
        terms=terms,
        local=LOCAL,
        encodings=Encodings(),
        tally=Tally(),
        jitter=lambda: jitter,
    )


def in_state(
    state: str,
    terms: Terms = OURS,
    theirs: Open = THEIRS,
    want: Routes | None = None,
    jitter: float = 1.0,
) -> Session:
    """A session that came to a state at the instant 0."""
    session = a_session(terms, jitter)
    session.open(0.0)
    session.set_routes(want or {}, 0.0)
    if state in (OPENED, "OpenConfirm", "Established"):
        assert session.receive_bytes(encode_open(theirs), 0.0) == ()
    if state in ("OpenConfirm", "Established"):
        session.admit(0.0)
    if state == "Established":
        session.receive_bytes(KEEPALIVE, 0.0)
    if state == "Closed":
        session.closed("gone")
    assert state == (OPENED if session.is_opened else session.state.value)
    return session


MESSAGES = {
    "OPEN": encode_open(THEIRS),
    "UPDATE": UPDATE,
    "bad UPDATE": BAD_UPDATE,
    "KEEPALIVE": KEEPALIVE,
    "NOTIFICATION": notification.encode(CEASE, 4096),
    "ROUTE-REFRESH": REFRESH,
    "garbage": GARBAGE,
    "half a message": KEEPALIVE[:18],
    "nothing": b"",
}


def given_input(session: Session, name: str) -> BgpEffects:
    if name in MESSAGES:
        return session.receive_bytes(MESSAGES[name], 1.0)
    if name == "stalled":
        # The peer's side is alive: its hold timer is not what ends it.
        assert session.written(100, 1.0) == ()
        session._hold_at = None
        assert session.deadline is None or session.deadline == 481.0
        return session.wake(481.0)
    return {
        "admit": lambda: session.admit(1.0),
        "deadline": lambda: session.wake(session.deadline or 1.0),
        "silence": lambda: session.wake(1000.0),
        "routes": lambda: session.set_routes(routes(2), 1.0),
        "written": lambda: session.written(0, 1.0),
        "closed": lambda: session.closed("closed by the peer"),
        "stop": lambda: session.stop(CEASE, "stopped", 1.0),
        "abandon": lambda: session.abandon("left"),
    }[name]()


def their_open(ours: Open = THEIRS, **fields: object) -> Open:
    return replace(ours, **fields)  # type: ignore[arg-type]


STATES = ("OpenSent", OPENED, "OpenConfirm", "Established", "Closed")
LOST, DOWN = ["close", "failed"], ["close", "down"]

# input: what is said, and the state afterwards, by state; "-" is nothing and no change
TABLE: dict[str, tuple[tuple[list[str], str] | str, ...]] = {
    "OPEN": (
        ([], OPENED),
        "-",
        (["notify 5/2", *LOST], "Closed"),
        (["notify 5/3", *DOWN], "Closed"),
        "-",
    ),
    "UPDATE": (
        (["notify 5/1", *LOST], "Closed"),
        "-",
        (["notify 5/2", *LOST], "Closed"),
        "-",
        "-",
    ),
    "bad UPDATE": (
        (["notify 5/1", *LOST], "Closed"),
        "-",
        (["notify 5/2", *LOST], "Closed"),
        (["notify 3/1", *DOWN], "Closed"),
        "-",
    ),
    "KEEPALIVE": (
        (["notify 5/1", *LOST], "Closed"),
        "-",
        (["up", "end of rib", "routes +0 -0 =0"], "Established"),
        "-",
        "-",
    ),
    "NOTIFICATION": ((LOST, "Closed"), "-", (LOST, "Closed"), (DOWN, "Closed"), "-"),
    "ROUTE-REFRESH": (
        (["notify 5/1", *LOST], "Closed"),
        "-",
        (["notify 5/2", *LOST], "Closed"),
        (["refresh begin", "refresh end", "routes +0 -0 =0"], "Established"),
        "-",
    ),
    "garbage": (
        (["notify 1/1", *LOST], "Closed"),
        "-",
        (["notify 1/1", *LOST], "Closed"),
        (["notify 1/1", *DOWN], "Closed"),
        "-",
    ),
    "half a message": ("-", "-", "-", "-", "-"),
    "nothing": ("-", "-", "-", "-", "-"),
    "admit": (
        "refused",
        (["keepalive"], "OpenConfirm"),
        "refused",
        "refused",
        "refused",
    ),
    "deadline": (
        (["notify 4/0", *LOST], "Closed"),
        (["notify 4/0", *LOST], "Closed"),
        (["keepalive"], "OpenConfirm"),
        (["keepalive"], "Established"),
        "-",
    ),
    "silence": (
        (["notify 4/0", *LOST], "Closed"),
        (["notify 4/0", *LOST], "Closed"),
        (["notify 4/0", *LOST], "Closed"),
        (["notify 4/0", *DOWN], "Closed"),
        "-",
    ),
    "routes": (
        "-",
        "-",
        "-",
        (["update", "routes +2 -0 =2"], "Established"),
        "-",
    ),
    "stalled": (
        (["notify 8/0", *LOST], "Closed"),
        (["notify 8/0", *LOST], "Closed"),
        (["notify 8/0", *LOST], "Closed"),
        (["notify 8/0", *DOWN], "Closed"),
        "-",
    ),
    "written": ("-", "-", "-", "-", "-"),
    "closed": (
        (["failed"], "Closed"),
        (["failed"], "Closed"),
        (["failed"], "Closed"),
        (["down"], "Closed"),
        "-",
    ),
    "stop": (
        (["notify 6/2", *LOST], "Closed"),
        (["notify 6/2", *LOST], "Closed"),
        (["notify 6/2", *LOST], "Closed"),
        (["notify 6/2", *DOWN], "Closed"),
        "-",
    ),
    "abandon": ((LOST, "Closed"), (LOST, "Closed"), (LOST, "Closed"), (DOWN, "Closed"), "-"),
}
