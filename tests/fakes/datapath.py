"""A datapath in memory, with the contract of the kernel's: the same verbs, order and refusals."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from onehop.model.desired import DatapathDesired, Failure, FrontendDesired, Report
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Frontend, Key, Protocol

Refuses = Callable[[FrontendDesired], Refusal | None]


def _nothing(want: FrontendDesired) -> Refusal | None:
    del want
    return None


class FakeDatapath:
    """Holds frontends in a dict; `refuses` makes it fail for some of them."""

    def __init__(
        self, *, capacity: Mapping[str, int] | None = None, refuses: Refuses = _nothing
    ) -> None:
        self.refuses = refuses
        self.syncs = 0
        self._capacity = (capacity or {}).get("frontends", 65536)
        self._have: dict[Frontend, FrontendDesired] = {}
        self._addresses: dict[object, None] = {}
        self._want = DatapathDesired()

    def sync(self, want: DatapathDesired, *, shrink: bool = True) -> Report:
        """Hold `want`; without `shrink`, take nothing away yet."""
        self.syncs += 1
        wanted = {each.frontend: each for group in want.frontends.values() for each in group}
        changed = 0
        if shrink:
            gone = self._have.keys() - wanted.keys()
            changed += len(gone)
            for frontend in gone:
                del self._have[frontend]
        failures: list[Failure] = []
        for frontend, each in wanted.items():
            refusal = self._refusal(each)
            if refusal is not None:
                failures.append(Failure(subject=str(each.service), refusal=refusal, retry_at=0.0))
            elif self._differs(each, shrink=shrink):
                self._have[frontend] = each
                changed += 1
        changed += self._sync_addresses(want, shrink=shrink)
        return Report(changed=changed, failures=tuple(failures))

    def _sync_addresses(self, want: DatapathDesired, *, shrink: bool) -> int:
        addresses: dict[object, None] = dict.fromkeys(want.node_addresses)
        before = dict(self._addresses)
        self._addresses = addresses if shrink else {**before, **addresses}
        return len(before.keys() ^ self._addresses.keys())

    def _refusal(self, want: FrontendDesired) -> Refusal | None:
        if want.frontend not in self._have and len(self._have) >= self._capacity:
            return Refusal(reason=Reason.MAP_FULL, detail="frontends")
        return self.refuses(want)

    def _differs(self, want: FrontendDesired, *, shrink: bool) -> bool:
        have = self._have.get(want.frontend)
        robs = have is not None and bool(have.backends) and not want.backends
        return have != want and (shrink or not robs)

    def observe(self) -> DatapathDesired:
        """What is held."""
        by_service: dict[Key, tuple[FrontendDesired, ...]] = {}
        for each in self._have.values():
            by_service[each.service] = (*by_service.get(each.service, ()), each)
        return DatapathDesired(
            frontends=by_service,
            node_addresses=tuple(self._addresses),  # type: ignore[arg-type]
        )

    def fileno(self) -> int:
        """Nothing ever changes beneath it."""
        return -1

    def close(self) -> None:
        """What is held stays."""

    def __str__(self) -> str:
        """One line a frontend, as `onehop service list` prints them."""
        return "\n".join(
            _line(each)
            for each in sorted(
                self._have.values(), key=lambda e: (str(e.frontend.address), e.frontend.port)
            )
        )


def _line(each: FrontendDesired) -> str:
    frontend = each.frontend
    protocol = "" if frontend.protocol is Protocol.TCP else f"/{frontend.protocol.value}"
    backends = ", ".join(
        f"{number} => {backend.address}:{backend.port} ({backend.state.value})"
        for number, backend in enumerate(each.backends, 1)
    )
    line = f"{frontend.address}:{frontend.port}{protocol}  {frontend.kind.value}  {backends}"
    return line.rstrip()
