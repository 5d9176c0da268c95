"""The datapath's tables as they stand in the kernel, read for people and after a restart."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onehop.adapters.bpf import layout, syscall
from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.bpf.layout import Title, Word
from onehop.adapters.bpf.syscall import Map
from onehop.model.desired import DatapathDesired, FrontendDesired
from onehop.model.reason import Reason
from onehop.model.service import Backend, Frontend, Key, TrafficPolicy

_NUMBER = struct.Struct("=I")
NAMES = ("frontends", "services", "backends", "titles", "service_stats", "node_addresses")


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What a frontend has carried, both directions together; `flows` are those begun."""

    packets: int = 0
    bytes: int = 0
    flows: int = 0
    drops: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One frontend of the kernel; `fast` counts backends reached past the host's stack."""

    id: int
    frontend: Frontend
    service: Key
    policy: TrafficPolicy
    total: int
    backends: tuple[Backend, ...]
    fast: int
    statistics: Statistics

    @property
    def mode(self) -> str:
        """How the backends are reached: fast, stack or snat, several joined by a plus sign."""
        local = sum(each.local for each in self.backends)
        found = [
            name
            for name, count in (
                ("fast", self.fast),
                ("stack", local - self.fast),
                ("snat", len(self.backends) - local),
            )
            if count > 0
        ]
        return "+".join(found) or "-"


class Tables:
    """Reads the pinned maps; nothing is loaded and nothing is changed."""

    def __init__(self, maps: Mapping[str, Map]) -> None:
        self._maps = maps
        self._words = maps["services"].memory().cast("Q")
        self._backends = maps["backends"].memory()
        self._titles = maps["titles"].memory()
        self._tables = [maps[name].memory() for name in layout.TABLES]

    @classmethod
    def open(cls, pin_dir: Path) -> Tables:
        """The tables pinned in `pin_dir`.

        Raises:
            DatapathError: when nothing is pinned there, or of another version.
        """
        names = (*NAMES, *layout.TABLES)
        missing = [name for name in names if not _exists(pin_dir / name)]
        if missing:
            raise DatapathError(
                f"read {pin_dir}",
                "no onehop datapath is pinned there" if len(missing) == len(names)
                else f"{', '.join(missing)} is missing",
                "is the speaker running on this node? --bpf-dir names another folder",
                reason=Reason.DATAPATH_FAILED,
            )  # fmt: skip
        maps = {name: Map(syscall.pinned(pin_dir / name), name, writable=False) for name in names}
        for name, sizes in layout.SIZES.items():
            if name not in maps:
                continue
            info = maps[name].info
            if (info.key_size, info.value_size) != sizes:
                raise DatapathError(
                    f"read {pin_dir / name}",
                    f"its sizes are {(info.key_size, info.value_size)}, not {sizes}",
                    "use the onehop that the speaker runs",
                    reason=Reason.DATAPATH_FAILED,
                )
        return cls(maps)

    def close(self) -> None:
        """Give the maps' descriptors back."""
        for each in self._maps.values():
            each.close()

    def frontends(self) -> dict[bytes, int]:
        """Frontend key to service id."""
        found = self._maps["frontends"].items()
        return {key: int(_NUMBER.unpack(value)[0]) for key, value in found.items()}

    def word(self, service: int) -> Word:
        """The service's word."""
        return Word.unpack(self._words[service])

    def members(self, word: Word) -> tuple[int, ...]:
        """The ids of a service's backends, in the order of their address and port."""
        if word.backends < 2:
            return (word.slot,) if word.backends else ()
        stride = (layout.TURNS[word.table] * 4 + 7) & ~7
        start = stride * word.slot
        table = self._tables[word.table][start : start + layout.TURNS[word.table] * 4].cast("I")
        return tuple(sorted(set(table), key=self.place))

    def place(self, backend: int) -> bytes:
        """Address and port of a backend, as they stand in its record."""
        start = backend * layout.BACKEND.size
        return bytes(self._backends[start : start + 18])

    def title(self, service: int) -> Title:
        """Names, policy and total of a service."""
        start = service * layout.TITLE_SIZE
        return Title.unpack(bytes(self._titles[start : start + layout.TITLE_SIZE]))

    def _backend(self, number: int) -> tuple[Backend, bool]:
        start = number * layout.BACKEND.size
        place, state, flags, link, _ = layout.BACKEND.unpack_from(self._backends, start)
        address, port = layout.unpack_place(place)
        local = bool(flags & layout.BACKEND_LOCAL)
        state_word = layout.STATE_OF.get(state)
        backend = (
            Backend(address=address, port=port, local=local)
            if state_word is None
            else Backend(address=address, port=port, local=local, state=state_word)
        )
        return backend, bool(link)

    def rows(self) -> tuple[Row, ...]:
        """Every frontend, by its number."""
        rows: list[Row] = []
        for key, number in sorted(self.frontends().items(), key=lambda item: item[1]):
            found = [self._backend(each) for each in self.members(self.word(number))]
            title = self.title(number)
            rows.append(
                Row(
                    id=number,
                    frontend=layout.unpack_frontend(key),
                    service=Key(title.namespace, title.name),
                    policy=title.policy,
                    total=title.total,
                    backends=tuple(backend for backend, _ in found),
                    fast=sum(fast for _, fast in found),
                    statistics=statistics(self._maps["service_stats"], (number,)),
                )
            )
        return tuple(rows)

    def desired(self) -> DatapathDesired:
        """What stands in the kernel, in the form of what is wanted of it."""
        by_service: dict[Key, tuple[FrontendDesired, ...]] = {}
        for row in self.rows():
            frontend = FrontendDesired(
                frontend=row.frontend,
                service=row.service,
                policy=row.policy,
                backends=row.backends,
                total=row.total,
            )
            by_service[row.service] = (*by_service.get(row.service, ()), frontend)
        addresses = map(layout.unpack_address, self._maps["node_addresses"].items())
        return DatapathDesired(frontends=by_service, node_addresses=tuple(addresses))


def statistics(kernel: Map, services: Iterable[int]) -> Statistics:
    """What these services have carried together, on all processors."""
    copies = b"".join(kernel.lookup(_NUMBER.pack(service)) or b"" for service in services)
    packets, size, flows, drops = (
        sum(column) for column in zip(*layout.STATISTICS.iter_unpack(copies), strict=True)
    )
    return Statistics(packets=packets, bytes=size, flows=flows, drops=drops)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:
        raise DatapathError(
            f"read {path.parent}",
            "only root may look into it",
            "run this as root",
            reason=Reason.CAPABILITY_MISSING,
        ) from None
