"""The node's datapath as an effector: the whole wanted state goes in, a report comes out.

What is written follows the packet backwards: backends, tables, service words, frontends; what is
taken away goes the other way round. So no packet meets a name without its thing, and a single
change is a few stores into mapped memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path

from onehop.adapters.bpf import layout, syscall
from onehop.adapters.bpf.delivery import Delivery
from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.bpf.frontends import Frontends, FullError
from onehop.adapters.bpf.linger import Lingering
from onehop.adapters.bpf.links import ClsactHook, Hook, Links, Place, TcxHook
from onehop.adapters.bpf.loader import OBJECT, Loaded, preflight
from onehop.adapters.bpf.netlink import Netlink, device_index
from onehop.adapters.bpf.ports import reserve
from onehop.adapters.bpf.records import Ring
from onehop.adapters.bpf.tables import Row, Statistics, Tables
from onehop.model.address import IPAddress
from onehop.model.desired import DatapathDesired, Failure, FrontendDesired, Report
from onehop.model.diff import Diff, diff, moved
from onehop.model.reason import DATAPATH, Reason, Refusal
from onehop.model.service import Frontend, Key, Protocol, TrafficPolicy

PORTS = (49152, 65535)  # sources towards other nodes: above what hosts use by themselves
_RETRY = 1.0
_ONE = (1).to_bytes(4, "little")
# stands for what was applied of a Service that has to be looked at again: nobody can want it
_UNSETTLED = (
    FrontendDesired(
        frontend=Frontend(address=IPv4Address(0), port=0, protocol=Protocol.SCTP),
        service=Key("", ""),
        policy=TrafficPolicy.CLUSTER,
        backends=(),
        total=-1,
    ),
)


@dataclass(slots=True)
class _Batch:
    """What one writing has met: wanted frontends, those to take away, and what had to wait.

    A frontend goes only if it still belongs, at the end, to the Service that left it.
    """

    wanted: dict[bytes, FrontendDesired] = field(default_factory=dict)
    gone: dict[bytes, Key] = field(default_factory=dict)
    changed: int = 0
    deferred: bool = False

    def leave(self, service: Key, keys: Iterable[bytes]) -> None:
        """A Service wants these frontends no longer."""
        self.gone.update(dict.fromkeys(keys, service))


class Datapath:
    """Maps and programs of one node.

    `ring` gives the Maglev table of some backends as indexes into them. `sources` are the node's
    addresses that packets to other nodes' backends carry, one for each family. `hook` forces
    `tcx` or `clsact`; `auto` takes tcx where the kernel has it. For `linger` seconds a frontend
    under Local keeps its last backend when that moves to another node, and one whose backend has
    come sends the connections that began before to where it was.

    Raises:
        DatapathError: when this process or kernel cannot load it, with what to do.
    """

    def __init__(
        self,
        pin_dir: Path,
        *,
        ring: Ring,
        delivery: str = "fast",
        uplinks: tuple[str, ...] = (),
        hook: str = "auto",
        sources: tuple[IPAddress, ...] = (),
        ports: tuple[int, int] = PORTS,
        capacity: Mapping[str, int] | None = None,
        linger: float = 0.0,
        path: Path = OBJECT,
        clock: Callable[[], float] = time.monotonic,
        has_tcx: Callable[[], bool] = syscall.has_tcx,
    ) -> None:
        preflight()
        config = layout.pack_config(
            sources, ports, stack=delivery == "stack", many_uplinks=len(uplinks) > 1
        )
        self._clock = clock
        self._unreserved = _reserve(ports) if sources else ()
        self._loaded = Loaded(pin_dir, config, capacity=capacity, path=path)
        self._tables = Tables(self._loaded.maps)
        self._ring = ring
        self._linger = linger
        self._frontends = Frontends(self._loaded.maps, ring, clock, linger)
        self._lingering = Lingering(linger, clock)
        self._netlink = Netlink()
        links = self._opened_links(hook, uplinks, has_tcx=has_tcx())
        fast = delivery != "stack"
        self._delivery = Delivery(links, self._netlink, uplinks, fast=fast, clock=clock)
        self._applied: dict[Key, tuple[FrontendDesired, ...]] = {}
        self._unsettled: set[Key] = set()
        self._seen: Mapping[Key, tuple[FrontendDesired, ...]] | None = None
        self._keys: dict[Key, tuple[bytes, ...]] = {}
        self._addresses: set[bytes] = set()
        self._refused: dict[Key, tuple[Failure, ...]] = {}
        self._last: DatapathDesired | None = None
        self._adopted = False

    def _opened_links(self, hook: str, uplinks: tuple[str, ...], *, has_tcx: bool) -> Links:
        try:
            return self._links(hook, uplinks, has_tcx=has_tcx)
        except DatapathError:
            self._netlink.close()
            self._loaded.close()
            raise

    def _links(self, hook: str, uplinks: tuple[str, ...], *, has_tcx: bool) -> Links:
        programs = {each: self._loaded.object.program_fd(each.program) for each in Place}
        clsact = ClsactHook(self._netlink, map(device_index, uplinks))
        if hook == "tcx" and not has_tcx:
            raise DatapathError(
                "attach by tcx",
                "the kernel has no tcx hook (it came with 6.6)",
                "use the clsact hook",
                reason=Reason.KERNEL_LACKS,
            )
        self.hook = "clsact"
        if not has_tcx:
            return Links(clsact, (), programs)
        tcx = TcxHook(self._loaded.pin_dir / "links")
        chosen: tuple[Hook, Hook] = (clsact, tcx) if hook == "clsact" else (tcx, clsact)
        self.hook = chosen[0].name
        return Links(chosen[0], chosen[1:], programs)

    def fileno(self) -> int:
        """Readable when links or routes changed: sync again, with the same want."""
        return self._delivery.fileno()

    def observe(self) -> DatapathDesired:
        """What stands in the kernel's maps, read from them."""
        return self._tables.desired()

    def rows(self) -> tuple[Row, ...]:
        """What stands in the kernel's maps, for people."""
        return self._tables.rows()

    def refused_packets(self) -> Mapping[Reason, int]:
        """Packets that were dropped or left to the host since the maps are there, by reason."""
        kernel = self._loaded.maps["counters"]
        found = {}
        for number, reason in enumerate(DATAPATH, 1):
            copies = kernel.lookup(number.to_bytes(4, "little")) or b""
            found[reason] = sum(memoryview(copies).cast("Q"))
        return found

    def statistics(self) -> Iterator[tuple[Key, Statistics]]:
        """What was carried for each Service, read one by one as they are asked for."""
        return self._frontends.statistics()

    def sync(self, want: DatapathDesired, *, shrink: bool = True) -> Report:
        """Make the kernel hold `want`.

        With `shrink` false only what adds is done: nothing wanted before is taken away, no
        frontend loses its last backend, and no program is attached anew, since that takes long.
        """
        try:
            self._delivery.notice()  # first, or a failure would leave `fileno` readable for ever
            return self._sync(want, shrink=shrink)
        except DatapathError as error:  # unclear what was done: look again before the next one
            self._adopted = False
            self._last = None
            failure = Failure(
                subject="datapath", refusal=error.refusal, retry_at=self._clock() + _RETRY
            )
            return Report(failures=(failure,), is_unclear=True)

    def _sync(self, want: DatapathDesired, *, shrink: bool) -> Report:
        if not self._adopted:
            self._adopt()
        changed = 0
        if shrink:
            self._lingering.begin()
        if want is not self._last:
            changed = self._write(want, shrink=shrink)
            changed += self._write_addresses(want.node_addresses, shrink=shrink)
        if shrink:
            self._frontends.settle()
        failures = [*self._unreserved]
        failures += [each for refused in self._refused.values() for each in refused]
        failures += self._delivery.sync(self._frontends.backends, attach=shrink)
        due = [self._lingering.due, self._frontends.predecessors.due]
        again_at = min((each for each in due if each is not None), default=None)
        return Report(changed=changed, failures=tuple(failures), again_at=again_at)

    def _adopt(self) -> None:
        self._frontends = Frontends(self._loaded.maps, self._ring, self._clock, self._linger)
        self._frontends.adopt(self._tables)
        keys: dict[Key, tuple[bytes, ...]] = {}
        for key, entry in self._frontends.entries.items():
            keys[entry.owner] = (*keys.get(entry.owner, ()), key)
        self._keys = keys
        self._applied = dict.fromkeys(keys, _UNSETTLED)
        self._unsettled = set(keys)
        self._seen = None
        self._refused = {}
        self._addresses = set(self._loaded.maps["node_addresses"].items())
        self._adopted = True

    def _write(self, want: DatapathDesired, *, shrink: bool) -> int:
        self._retry()
        steps = self._steps(want.frontends)
        batch = _Batch()
        # by name, so that nodes that start together number alike
        for service, frontends in sorted({**steps.add, **steps.change}.items(), key=_name):
            whole = self._put(service, frontends, batch, shrink=shrink)
            self._applied[service] = frontends
            if not whole:
                self._unsettle(service)
        unlisted = self._frontends.flush()
        if shrink:
            for service in steps.remove:
                batch.leave(service, self._owned(service))
                del self._keys[service]
                del self._applied[service]
                self._refused.pop(service, None)
            gone = [key for key, owner in batch.gone.items() if self._owner(key) == owner]
            batch.changed += self._frontends.remove(gone)
            if unlisted and gone:
                unlisted = self._frontends.flush()
        for key in unlisted.keys() & batch.wanted.keys():
            self._refuse(batch.wanted[key], FullError("frontends"))
        self._seen = want.frontends
        if shrink:  # all that was only grown is settled now
            applied = self._applied
            self._unsettled = {s for s in self._unsettled if applied.get(s) is _UNSETTLED}
        finished = not self._refused and not batch.deferred and (shrink or not steps.remove)
        self._last = want if finished else None
        return batch.changed

    def _steps(
        self, frontends: Mapping[Key, tuple[FrontendDesired, ...]]
    ) -> Diff[Key, tuple[FrontendDesired, ...]]:
        """What differs from what was written, looking only where it can."""
        if self._seen is None:
            return diff(self._applied, frontends)
        gone, come = moved(self._seen, frontends)
        near = self._unsettled = {*gone, *come, *self._unsettled}
        return diff(
            {key: self._applied[key] for key in near if key in self._applied},
            {key: frontends[key] for key in near if key in frontends},
        )

    def _unsettle(self, service: Key) -> None:
        """Look at a Service again next time, whether or not its want differs."""
        self._applied[service] = _UNSETTLED
        self._unsettled.add(service)

    def _put(
        self,
        service: Key,
        frontends: tuple[FrontendDesired, ...],
        batch: _Batch,
        *,
        shrink: bool,
    ) -> bool:
        """Write one Service's frontends; whether there is nothing more to do for it."""
        self._refused.pop(service, None)
        keys: list[bytes] = []
        whole = True
        for each in frontends:
            key = layout.pack_frontend(each.frontend)
            batch.wanted[key] = each
            owner = self._owner(key)
            if owner is not None and owner != service:  # it may want its frontend back later
                self._unsettle(owner)
            try:
                keep_last = not shrink or self._lingers(key, each)
                written, complete = self._frontends.put(key, each, keep_last=keep_last)
            except FullError as error:
                self._refuse(each, error)
                written, complete = False, True
            if key in self._frontends.entries:
                keys.append(key)
            batch.changed += written
            whole = whole and complete
        vanished = [key for key in self._owned(service) if key not in keys]
        self._keys[service] = tuple(keys) if shrink else (*keys, *vanished)
        whole = whole and (shrink or not vanished)
        batch.leave(service, vanished)
        batch.deferred = batch.deferred or not whole
        return whole

    def _lingers(self, key: bytes, want: FrontendDesired) -> bool:
        entry = self._frontends.entries.get(key)
        return entry is not None and bool(entry.members) and self._lingering.holds(key, want)

    def _owned(self, service: Key) -> list[bytes]:
        """The keys of a Service's frontends, without those that another one took over."""
        return [key for key in self._keys.get(service, ()) if self._owner(key) == service]

    def _owner(self, key: bytes) -> Key | None:
        entry = self._frontends.entries.get(key)
        return None if entry is None else entry.owner

    def _refuse(self, want: FrontendDesired, error: FullError) -> None:
        frontend = want.frontend
        failure = Failure(
            subject=f"{want.service} {frontend.address} {frontend.port}/{frontend.protocol.value}",
            refusal=error.refusal,
            retry_at=self._clock() + _RETRY,
            address=frontend.address,
        )
        self._refused[want.service] = (*self._refused.get(want.service, ()), failure)

    def _retry(self) -> None:
        """Services that were refused a while ago count as not applied: room may have come."""
        now = self._clock()
        for service, failures in list(self._refused.items()):
            if any((each.retry_at or 0) <= now for each in failures):
                self._unsettle(service)
                del self._refused[service]

    def _write_addresses(self, addresses: Iterable[IPAddress], *, shrink: bool) -> int:
        wanted = {layout.pack_address(each) for each in addresses}
        kernel = self._loaded.maps["node_addresses"]
        new = wanted - self._addresses
        for each in new:
            kernel.update(each, _ONE)
        self._addresses |= new
        if not shrink:
            return len(new)
        old = self._addresses - wanted
        kernel.delete_batch(old)
        self._addresses -= old
        return len(new) + len(old)

    def close(self) -> None:
        """Give descriptors back. What is pinned and attached stays: traffic goes on."""
        self._delivery.close()
        self._netlink.close()
        self._loaded.close()

    def remove(self) -> None:
        """Take everything off the node: programs, maps and the folder of the pins."""
        self._delivery.remove()
        self.close()
        for folder in (self._loaded.pin_dir / "links", self._loaded.pin_dir):
            for path in folder.iterdir() if folder.is_dir() else ():
                if "." not in path.name:  # those with a dot are the kernel's own
                    path.unlink()
            with suppress(OSError):  # it may be the mount itself
                folder.rmdir()


def _name(item: tuple[Key, object]) -> Key:
    return item[0]


def _reserve(ports: tuple[int, int]) -> tuple[Failure, ...]:
    try:
        reserve(*ports)
    except OSError as error:
        detail = f"net.ipv4.ip_local_reserved_ports: {error.strerror}"
        refusal = Refusal(reason=Reason.DATAPATH_FAILED, detail=detail)
        return (Failure(subject=f"source ports {ports[0]}-{ports[1]}", refusal=refusal),)
    return ()
