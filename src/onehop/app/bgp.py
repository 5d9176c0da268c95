"""BGP made so: the sessions of this node, and what is advertised on each, from now on.

An effector: `sync` is handed all peers that are wanted with all their routes, and the first UPDATE
of a change has left when it returns. A peer that only changed what it is to be told keeps its
session. It never chooses a route or a peer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial

from onehop.adapters.linux.bgp_socket import Listener, Path, listen
from onehop.app.bgp_peer import BgpFact, PeerDriver, path_of
from onehop.model.address import Family, IPAddress
from onehop.model.bgp import PeerDesired
from onehop.model.desired import Failure, Report
from onehop.model.node import Link
from onehop.model.reason import Reason, Refusal
from onehop.proto.bgp.constants import Cease
from onehop.proto.bgp.effect import SessionUp
from onehop.proto.bgp.rib_out import Encodings
from onehop.proto.bgp.terms import Restart

WITHDRAWN_WITHIN = 1.0  # what a peer that stalls may hold up the end of the process
_LOOK_AGAIN = 0.0005
RETRY = 1.0
_FORWARDING = Restart(forwarding=frozenset(Family))


class BgpPeers:
    """The effector of a node's BGP; all methods belong to the loop's own thread.

    `listen_at` are addresses at which peers may connect to us; none: we connect, they do not.
    """

    def __init__(
        self,
        on_fact: Callable[[str, BgpFact], None],
        *,
        listen_at: Iterable[tuple[IPAddress, int]] = (),
        restart: Restart | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._on_fact = on_fact
        self._loop = loop or asyncio.get_running_loop()
        self._restart = restart
        self._encodings = Encodings()
        self._drivers: dict[str, PeerDriver] = {}
        self._leaving: set[PeerDriver] = set()
        self._unheard = dict.fromkeys(listen_at)
        self._listeners: dict[tuple[IPAddress, int], Listener] = {}
        self._wanted: tuple[PeerDesired, ...] = ()
        self._failures: tuple[Failure, ...] = ()
        self._is_draining = False

    def sync(self, peers: tuple[PeerDesired, ...], links: tuple[Link, ...] = ()) -> Report:
        """Hold exactly these sessions, and advertise exactly this; names are unique."""
        if peers is self._wanted and not self._failures and not self._unheard:
            return Report()
        names = {desired.name for desired in peers}
        gone = [name for name in self._drivers if name not in names]
        for name in gone:
            self._leave(name)
        failures: list[Failure] = []
        changed = len(gone)
        for desired in peers:
            driver = self._drivers.get(desired.name)
            if driver is not None and driver.desired is desired:
                continue
            changed += 1
            refusal = self._want(desired, driver, links)
            if refusal is not None:
                failures.append(Failure(subject=f"BGPPeer {desired.name}", refusal=refusal))
        failures += self._listen()
        self._wanted, self._failures = peers, tuple(failures)
        return Report(changed=changed, failures=self._failures)

    def _want(
        self, desired: PeerDesired, driver: PeerDriver | None, links: tuple[Link, ...]
    ) -> Refusal | None:
        path: Path | Refusal = path_of(desired)
        if desired.peer.passive and not (self._unheard or self._listeners):
            path = _unreachable(desired)
        if isinstance(path, Refusal):
            if driver is not None:
                self._leave(desired.name)
            return path
        if driver is not None:
            is_elsewhere = path != driver.path
            driver.links = links
            driver.set_desired(desired, path)
        else:
            is_elsewhere = True
            driver = PeerDriver(
                desired,
                path,
                encodings=self._encodings,
                loop=self._loop,
                on_fact=self._heard,
                restart=self._restart,
                links=links,
            )
            self._drivers[desired.name] = driver
            driver.start()
            if self._is_draining:
                driver.perform(partial(driver.machine.set_draining, True))
        return self._permit(driver) if is_elsewhere else None

    def _heard(self, name: str, fact: BgpFact) -> None:
        if isinstance(fact, SessionUp) and name in self._drivers:
            # Whatever was left by the process before, from here on we forward what we advertise:
            # a session that is lost and comes back says so.
            self._drivers[name].machine.set_restart(_FORWARDING)
        self._on_fact(name, fact)

    def _leave(self, name: str) -> None:
        driver = self._drivers.pop(name)
        driver.perform(partial(driver.machine.stop, subcode=Cease.PEER_DECONFIGURED))
        driver.close()

    def _permit(self, driver: PeerDriver) -> Refusal | None:
        """A listener has to know the signature before the first segment."""
        for (address, _), listener in self._listeners.items():
            if address.version == driver.path.address.version:
                refusal = listener.permit(driver.path)
                if refusal is not None:
                    return refusal
        return None

    def _listen(self) -> list[Failure]:
        """Listen where it is asked and not done yet: an address may come later than its use."""
        failures = []
        for where in list(self._unheard):
            listener = listen(*where)
            if isinstance(listener, Refusal):
                retry_at = self._loop.time() + RETRY
                subject = f"BGP at {where[0]} port {where[1]}"
                failures.append(Failure(subject=subject, refusal=listener, retry_at=retry_at))
                continue
            del self._unheard[where]
            self._listeners[where] = listener
            self._loop.add_reader(listener.fileno(), self._accept, listener)
            for driver in self._drivers.values():
                self._permit(driver)
        return failures

    def _accept(self, listener: Listener) -> None:
        """Whoever is not configured, or said no word about, is hung up on at once."""
        come = listener.accept()
        if come is None:
            return
        sock, address = come
        for driver in self._drivers.values():
            if driver.path.address == address:
                driver.offer(sock)
                return
        sock.close()

    def peers(self) -> tuple[PeerDriver, ...]:
        """Every peer as it stands, in the order in which they were first wanted."""
        return tuple(self._drivers.values())

    def path_down(self, address: IPAddress, why: str) -> None:
        """BFD has lost a peer: its sessions end now, not when the hold time is over."""
        for driver in self._drivers.values():
            if driver.path.address == address:
                driver.perform(partial(driver.machine.path_down, why))

    def drain(self) -> None:
        """From now on every peer is asked to use our routes last (RFC 8326 4)."""
        self._is_draining = True
        for driver in self._drivers.values():
            driver.perform(partial(driver.machine.set_draining, True))

    async def close(self, *, graceful: bool = True, keep: bool = False) -> None:
        """End all sessions.

        Gracefully: every route is withdrawn and the peers' kernels have that before a session
        ends, while what is on its way is still carried. With `keep` a peer that was promised a
        graceful restart is left without a word instead, and so keeps what it has.
        """
        if graceful:
            await self._withdraw(keep=keep)
        for driver in self._drivers.values():
            driver.perform(driver.machine.stop)
        for driver in self._drivers.values():
            driver.close()
        for listener in self._listeners.values():
            self._loop.remove_reader(listener.fileno())
            listener.close()
        self._drivers.clear()
        self._listeners.clear()
        self._wanted = ()

    async def _withdraw(self, *, keep: bool) -> None:
        drivers = tuple(self._drivers.values())
        for driver in drivers:
            is_kept = keep and driver.desired.peer.graceful_restart
            driver.perform(driver.machine.leave if is_kept else driver.machine.withdraw_all)
        end = self._loop.time() + WITHDRAWN_WITHIN
        # The kernel tells nobody when the last octet is acknowledged.
        while self._loop.time() < end and not all(driver.is_delivered for driver in drivers):  # noqa: ASYNC110
            await asyncio.sleep(_LOOK_AGAIN)


def _unreachable(desired: PeerDesired) -> Refusal:
    detail = f"BGPPeer {desired.name} is passive, and this speaker listens nowhere: --bgp-listen"
    return Refusal(reason=Reason.PEER_UNREACHABLE, detail=detail)
