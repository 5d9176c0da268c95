"""The sessions of a node as its report shows them: from the machines' values to plain words."""

from __future__ import annotations

from onehop.app.bgp_peer import PeerDriver
from onehop.app.bgp_report import PeerState, RouteGroup, grouped
from onehop.model.address import IPNetwork
from onehop.model.bgp import Routes
from onehop.proto.bgp.status import PeerStatus, State

_PATIENCE = 2.0  # seconds after which a peer that is connected and silent is worth a word


class Describer:
    """Remembers what is dear to write anew: prefixes as text, and the groups of equal routes."""

    def __init__(self) -> None:
        self._texts: dict[IPNetwork, str] = {}
        self._groups: dict[str, tuple[Routes, int, tuple[RouteGroup, ...]]] = {}

    def peer_state(self, driver: PeerDriver, *, now: float, wall: float) -> PeerState:
        """One peer; `now` is the loop's clock, `wall` the same instant since the epoch."""
        status = driver.machine.describe()
        peer = driver.desired.peer
        ours, theirs = status.ours, status.theirs
        return PeerState(
            name=driver.desired.name,
            address=str(driver.path.address),
            port=driver.path.port,
            local_asn=peer.local_asn or peer.my_asn if ours is None else ours.asn,
            peer_asn=peer.peer_asn if theirs is None else theirs.asn,
            state=status.state.value,
            since=wall - (now - status.since_at),
            established=status.counters.established,
            wanted=status.wanted,
            sent=status.advertised,
            received=status.counters.prefixes_standing,
            info=_info(driver, status, now),
            messages=_messages(status),
            routes=self._routes(driver, status),
        )

    def _routes(self, driver: PeerDriver, status: PeerStatus) -> tuple[RouteGroup, ...]:
        """What the peer has; worked out again only when that is other than at the last look."""
        name = driver.desired.name
        if status.state is not State.ESTABLISHED or not status.advertised:
            self._groups.pop(name, None)
            return ()
        routes = driver.desired.routes
        known = self._groups.get(name)
        if known is not None and known[0] is routes and known[1] == status.advertised:
            return known[2]
        sent = routes
        if status.advertised != len(routes):
            machine = driver.machine
            sent = {prefix: routes[prefix] for prefix in routes if machine.why_not(prefix) is None}
        groups = grouped(sent, self._texts)
        self._groups[name] = (routes, status.advertised, groups)
        return groups

    def forget(self, names: set[str]) -> None:
        """Keep nothing of peers that are not among these, nor of prefixes that nobody has."""
        for name in [name for name in self._groups if name not in names]:
            del self._groups[name]
        held = sum(len(routes) for routes, _, _ in self._groups.values())
        if len(self._texts) > 2 * held + 1024:
            self._texts.clear()


def _info(driver: PeerDriver, status: PeerStatus, now: float) -> str:
    """Why it is not up, or what is not as it should be while it is."""
    if status.state is State.OPEN_SENT and now - status.since_at > _PATIENCE:
        return f"connected, but no OPEN from the peer: {driver.path.silence}"
    if status.state is not State.ESTABLISHED:
        return driver.problem
    if status.fault:
        return status.fault
    if status.advertised == status.wanted:
        return ""
    why = next(
        (why for p in driver.desired.routes if (why := driver.machine.why_not(p)) is not None), ""
    )
    return f"{status.wanted - status.advertised} routes not sent: {why}" if why else ""


def _messages(status: PeerStatus) -> dict[str, int]:
    """Messages by kind, those that were never seen left out."""
    counters = status.counters
    found = {f"{kind.name.lower()}_sent": n for kind, n in counters.sent.items() if n}
    found |= {f"{kind.name.lower()}_received": n for kind, n in counters.received.items() if n}
    if counters.faults:
        found["faults"] = counters.faults
    return found
