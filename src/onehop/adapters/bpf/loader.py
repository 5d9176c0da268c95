"""From an object file to programs in the kernel and maps that outlive the process.

The maps are pinned in one folder of a BPF file system. A process that finds them there takes
them over when they have this version's shape, and refuses them otherwise: a struct read by the
wrong layout would send packets anywhere.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path

from onehop.adapters.bpf import layout, syscall
from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.bpf.libbpf import Object, ObjectMap
from onehop.adapters.bpf.syscall import Map, MapInfo, MapType
from onehop.model.reason import Reason

OBJECT = Path(__file__).with_name("lb.bpf.o")
FLOOR = (5, 15)
_CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}
_LAYOUT = MapInfo(
    type=MapType.ARRAY, key_size=4, value_size=4, max_entries=1, flags=0, name="layout"
)
_FIRST = (0).to_bytes(4, "little")


def preflight(
    *,
    status: Path = Path("/proc/self/status"),
    types: Path = Path("/sys/kernel/btf/vmlinux"),
    release: str = "",
) -> None:
    """Say in one sentence what this process or this kernel lacks, before anything is touched.

    Raises:
        DatapathError: with the first thing that is missing.
    """
    release = release or os.uname().release
    major, minor = (int("".join(filter(str.isdigit, p))) for p in release.split(".")[:2])
    if (major, minor) < FLOOR:
        raise _lacks(f"Linux {FLOOR[0]}.{FLOOR[1]} or later is needed, this is {release}")
    line = next(x for x in status.read_text(encoding="ascii").splitlines() if "CapEff" in x)
    held = int(line.split()[1], 16)
    missing = [name for name, bit in _CAPABILITIES.items() if not held >> bit & 1]
    if missing:
        raise DatapathError(
            "load the datapath",
            f"this process lacks {' and '.join(missing)}",
            reason=Reason.CAPABILITY_MISSING,
        )
    if not types.exists():
        raise _lacks(f"the kernel does not describe its types: {types} is missing (BTF)")


def _lacks(why: str) -> DatapathError:
    return DatapathError("load the datapath", why, reason=Reason.KERNEL_LACKS)


class Loaded:
    """The datapath in the kernel: programs to attach, and the pinned maps by name."""

    def __init__(
        self,
        pin_dir: Path,
        config: bytes,
        *,
        capacity: Mapping[str, int] | None = None,
        path: Path = OBJECT,
    ) -> None:
        self.pin_dir = pin_dir
        self.maps: dict[str, Map] = {}
        self.object = Object(path)
        self._lock = -1
        try:
            self._load(config, capacity or {})
        except DatapathError:
            self.close()
            raise

    def _load(self, config: bytes, capacity: Mapping[str, int]) -> None:
        types = self.object.btf()
        shapes = {name: each.shape[1:3] for name, each in self.object.maps.items()}
        layout.compare(types, shapes)
        place = types.variables(".rodata").get("config")
        if place is None:
            raise _lacks(f"{self.object.path.name} holds no `config`")
        section = next(n for n in self.object.maps if n.endswith(".rodata"))
        self.object.maps[section].set_bytes(place.offset, config)
        for name, entries in capacity.items():
            self.object.maps[name].set_capacity(entries)
        self._lock = _locked(self.pin_dir)
        self.maps["layout"] = self._own(_LAYOUT)
        self._check_version()
        titles = MapInfo(
            type=MapType.ARRAY,
            key_size=4,
            value_size=layout.TITLE_SIZE,
            max_entries=self.object.maps["services"].shape[3],
            flags=syscall.MMAPABLE,
            name="titles",
        )
        self.maps["titles"] = self._own(titles)
        for each in self._shared():
            self._adopt(each)
        self.object.load()
        for each in self._shared():
            path = self.pin_dir / each.name
            if not path.exists():
                syscall.pin(each.fd, path)
            self.maps[each.name] = Map(os.dup(each.fd), each.name)

    def _shared(self) -> list[ObjectMap]:
        return [each for each in self.object.maps.values() if not each.internal]

    def _check_version(self) -> None:
        stored = int.from_bytes(self.maps["layout"].lookup(_FIRST) or b"", "little")
        if stored == 0:  # a fresh map: everything else is pinned after this one
            self.maps["layout"].update(_FIRST, layout.VERSION.to_bytes(4, "little"))
        elif stored != layout.VERSION:
            raise self._foreign("layout", f"version {stored}", str(layout.VERSION))

    def _own(self, info: MapInfo) -> Map:
        path = self.pin_dir / info.name
        if path.exists():
            found = self.maps[info.name] = Map(syscall.pinned(path), info.name)
            self._compare(found, _shape(info))
            return found
        fd = syscall.create_map(info)
        syscall.pin(fd, path)
        return Map(fd, info.name)

    def _adopt(self, each: ObjectMap) -> None:
        path = self.pin_dir / each.name
        if not path.exists():
            return
        found = Map(syscall.pinned(path), each.name)
        try:
            self._compare(found, each.shape)
            each.reuse(found.fd)
        finally:
            found.close()

    def _compare(self, found: Map, wanted: tuple[int, int, int, int, int]) -> None:
        if _shape(found.info) != wanted:
            raise self._foreign(found.name, _text(_shape(found.info)), _text(wanted))

    def _foreign(self, name: str, theirs: str, ours: str) -> DatapathError:
        return DatapathError(
            f"adopt {self.pin_dir / name}",
            f"it is of another version of onehop: {theirs} instead of {ours}",
            f"stop onehop and remove {self.pin_dir}; connections through it break",
            reason=Reason.DATAPATH_FAILED,
        )

    def close(self) -> None:
        """Give everything back that is not pinned or attached."""
        for each in self.maps.values():
            each.close()
        self.maps.clear()
        self.object.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _shape(info: MapInfo) -> tuple[int, int, int, int, int]:
    return (int(info.type), info.key_size, info.value_size, info.max_entries, info.flags)


def _text(shape: tuple[int, int, int, int, int]) -> str:
    return "type {}, key {}, value {}, entries {}, flags {}".format(*shape)


def _locked(pin_dir: Path) -> int:
    """The folder of the pins, ours alone until the process ends."""
    try:
        pin_dir.mkdir(parents=True, exist_ok=True)
        folder = os.open(pin_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _no_bpffs(pin_dir, f"it cannot be made ({error.strerror})") from error
    if not syscall.is_bpffs(folder):
        os.close(folder)
        raise _no_bpffs(pin_dir, "it is not in a BPF file system")
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(folder)
        raise DatapathError(
            f"take {pin_dir}",
            "another onehop process holds it",
            "stop that one first, or choose another folder",
            reason=Reason.DATAPATH_FAILED,
        ) from error
    return folder


def _no_bpffs(pin_dir: Path, why: str) -> DatapathError:
    return DatapathError(
        f"pin the datapath in {pin_dir}",
        why,
        "mount a BPF file system with `mount -t bpf bpf /sys/fs/bpf`, or start with"
        " --datapath=none",
        reason=Reason.DATAPATH_FAILED,
    )
