"""What a speaker tells of its BGP and BFD sessions.

Labels are those of MetalLB's FRR mode: `peer` is address and port for BGP, the address for BFD.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from onehop.adapters.exposition import Family, Metric, Sample
from onehop.app.bgp_peer import PeerDriver
from onehop.app.metrics import SPEAKER
from onehop.model.address import host_port
from onehop.proto.bgp.constants import MessageType
from onehop.proto.bgp.status import PeerStatus, State

if TYPE_CHECKING:
    from onehop.app.bfd_client import BfdClient, PathState

_LABELS = ("peer", "vrf")
_Number = Callable[[PeerStatus], int]


def _metric(name: str, kind: str, help_: str, labels: tuple[str, ...] = _LABELS) -> Metric:
    is_counter = kind == "counter"
    metric = Metric(
        name=name, kind="counter" if is_counter else "gauge", help=help_, labels=labels
    )
    SPEAKER.append(metric)
    return metric


def _sent(kind: MessageType) -> _Number:
    return lambda status: status.counters.sent[kind]


def _received(kind: MessageType) -> _Number:
    return lambda status: status.counters.received[kind]


_BGP: tuple[tuple[Metric, _Number], ...] = (
    (
        _metric("metallb_bgp_session_up", "gauge", "1 while the session is Established."),
        lambda status: int(status.state is State.ESTABLISHED),
    ),
    (
        _metric(
            "metallb_bgp_announced_prefixes_total", "gauge", "Prefixes that the peer has of us."
        ),
        lambda status: status.advertised,
    ),
    (
        _metric(
            "metallb_bgp_pending_prefixes_total",
            "gauge",
            "Prefixes that the peer ought to have and has not.",
        ),
        lambda status: max(0, status.wanted - status.advertised),
    ),
    (
        _metric("metallb_bgp_opens_sent", "counter", "OPEN messages sent."),
        _sent(MessageType.OPEN),
    ),
    (
        _metric("metallb_bgp_opens_received", "counter", "OPEN messages received."),
        _received(MessageType.OPEN),
    ),
    (
        _metric("metallb_bgp_notifications_sent", "counter", "NOTIFICATION messages sent."),
        _sent(MessageType.NOTIFICATION),
    ),
    (
        _metric("metallb_bgp_updates_total", "counter", "UPDATE messages sent."),
        _sent(MessageType.UPDATE),
    ),
    (
        _metric("metallb_bgp_updates_total_received", "counter", "UPDATE messages received."),
        _received(MessageType.UPDATE),
    ),
    (
        _metric("metallb_bgp_keepalives_sent", "counter", "KEEPALIVE messages sent."),
        _sent(MessageType.KEEPALIVE),
    ),
    (
        _metric("metallb_bgp_keepalives_received", "counter", "KEEPALIVE messages received."),
        _received(MessageType.KEEPALIVE),
    ),
    (
        _metric("metallb_bgp_route_refresh_sent", "counter", "ROUTE-REFRESH messages sent."),
        _sent(MessageType.ROUTE_REFRESH),
    ),
    (
        _metric("metallb_bgp_total_sent", "counter", "Messages sent, of every kind."),
        lambda status: sum(status.counters.sent.values()),
    ),
    (
        _metric("metallb_bgp_total_received", "counter", "Messages received, of every kind."),
        lambda status: sum(status.counters.received.values()),
    ),
    (
        _metric(
            "onehop_bgp_established_total", "counter", "How often the session became Established."
        ),
        lambda status: status.counters.established,
    ),
    (
        _metric(
            "onehop_bgp_received_prefixes",
            "gauge",
            "Prefixes that the peer has sent; they are counted and dropped.",
        ),
        lambda status: status.counters.prefixes_standing,
    ),
    (
        _metric(
            "onehop_bgp_faults_total",
            "counter",
            "Faults in the peer's messages that the session survived.",
        ),
        lambda status: status.counters.faults,
    ),
)
_BFD: tuple[tuple[Metric, Callable[[PathState], int]], ...] = (
    (
        _metric("metallb_bfd_session_up", "gauge", "1 while BFD calls the path up."),
        lambda state: int(state.is_up),
    ),
    (
        _metric("metallb_bfd_control_packet_input", "counter", "BFD control packets received."),
        lambda state: state.received,
    ),
    (
        _metric("metallb_bfd_control_packet_output", "counter", "BFD control packets sent."),
        lambda state: state.sent,
    ),
    (
        _metric("metallb_bfd_session_up_events", "counter", "How often the path came up."),
        lambda state: state.ups,
    ),
    (
        _metric("metallb_bfd_session_down_events", "counter", "How often the path went down."),
        lambda state: state.downs,
    ),
)
_STARTS = _metric(
    "onehop_bfd_process_starts_total", "counter", "How often the BFD process was started.", ()
)
_LATENESS = _metric(
    "onehop_bfd_lateness_seconds",
    "gauge",
    "How late the BFD process woke at worst within its last second.",
    (),
)


def bgp_families(drivers: tuple[PeerDriver, ...], bfd: BfdClient | None) -> Iterator[Family]:
    """All that is told of the sessions of a node; `bfd` None while no path is watched."""
    seen = [(_labels(driver), driver.machine.describe()) for driver in drivers]
    for metric, number in _BGP:
        samples: list[Sample] = [(labels, number(status)) for labels, status in seen]
        yield metric, samples
    states = bfd.states() if bfd is not None else ()
    for metric, of_state in _BFD:
        samples = [((str(s.path.peer), s.path.link), of_state(s)) for s in states]
        yield metric, samples
    yield _STARTS, [((), bfd.starts if bfd is not None else 0)]
    yield _LATENESS, [((), bfd.statistics.lateness if bfd is not None else 0.0)]


def _labels(driver: PeerDriver) -> tuple[str, str]:
    path = driver.path
    return host_port(path.address, path.port), path.vrf
