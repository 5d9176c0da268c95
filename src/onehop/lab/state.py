"""A lab's directory under /run/onehop/lab: what it holds, and who is building it.

`down` works from what lies here and in the kernel, never from what a builder remembered: a
builder may have been killed at any instruction. The layout is

    lab.json      who builds or built it, and with which options
    manifests/    the cluster's objects; controller and speakers watch it, unless kube/ is there
    kube/         the API server's data, keys and kubeconfigs, and where it is reached
    netns/        one pinned network namespace for each host
    bpf/NODE/     one BPF file system for each node
    logs/ pids/   one file for each process
    kafka/        the brokers' data and logs
    router/       the router's configuration and sockets
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

ROOT = Path("/run/onehop/lab")
NAME_FORM = re.compile(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?")
_SUFFIXES = (".yaml", ".yml")


class LabError(Exception):
    """The lab cannot do what was asked: a sentence for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What lab.json holds; the builder is named by process and start time, which never recur."""

    builder: int
    builder_started: int
    ready: bool
    datapath: str
    delivery: str
    kafka: bool
    router: str = "bird"
    store: str = "folder"


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one lab."""

    name: str

    def __post_init__(self) -> None:
        if not NAME_FORM.fullmatch(self.name):
            raise LabError(
                f"--name {self.name!r}: a lab's name has up to 32 lower-case letters, digits and "
                "dashes, and a letter or digit at both ends"
            )

    @property
    def root(self) -> Path:
        """The lab's own directory."""
        return ROOT / self.name

    @property
    def manifests(self) -> Path:
        """The folder that controller and speakers watch."""
        return self.root / "manifests"

    @property
    def namespaces(self) -> Path:
        """The folder of pinned network namespaces."""
        return self.root / "netns"

    @property
    def bpf(self) -> Path:
        """The folder that holds a BPF file system for each node."""
        return self.root / "bpf"

    @property
    def logs(self) -> Path:
        """The folder of the processes' output."""
        return self.root / "logs"

    @property
    def pids(self) -> Path:
        """The folder of the processes' records."""
        return self.root / "pids"

    @property
    def kafka(self) -> Path:
        """The folder of the brokers' data and logs."""
        return self.root / "kafka"

    @property
    def kube(self) -> Path:
        """The folder of the API server: its data, its keys, and how it is reached."""
        return self.root / "kube"

    @property
    def router(self) -> Path:
        """The folder of the router's configuration and sockets."""
        return self.root / "router"

    def namespace(self, host: str) -> Path:
        """Where the namespace of `host` is pinned."""
        return self.namespaces / host

    def netns_name(self, host: str) -> str:
        """What `ip netns` calls the namespace of `host`."""
        return f"onehop-{self.name}-{host}"

    def create(self, record: Record) -> bool:
        """Make the directory with its record; False when it is there already.

        It appears whole, by a rename: nobody sees a lab of which it is not said who builds it.
        """
        draft = ROOT / f".{self.name}.{os.getpid()}"
        draft.mkdir(parents=True)
        for folder in ("manifests", "netns", "bpf", "logs", "pids"):
            (draft / folder).mkdir()
        write_atomically(draft / "lab.json", json.dumps(asdict(record)))
        try:
            draft.rename(self.root)
        except OSError:
            shutil.rmtree(draft)
            return False
        return True

    def write(self, record: Record) -> None:
        """Replace lab.json in one step."""
        write_atomically(self.root / "lab.json", json.dumps(asdict(record)))

    def read(self) -> Record | None:
        """What lab.json says; None when it is not there, or was never finished."""
        try:
            return Record(**json.loads((self.root / "lab.json").read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def delete(self) -> None:
        """Remove the directory, and the folders above it that are empty then."""
        shutil.rmtree(self.root, ignore_errors=True)
        for draft in ROOT.glob(f".{self.name}.*"):
            if not Path("/proc", draft.suffix[1:]).exists():
                shutil.rmtree(draft, ignore_errors=True)
        for folder in (ROOT, ROOT.parent):
            try:
                folder.rmdir()
            except OSError:
                return


def labs() -> tuple[str, ...]:
    """The names of all labs on this machine."""
    if not ROOT.is_dir():
        return ()
    return tuple(sorted(p.name for p in ROOT.iterdir() if p.is_dir() and p.name[0] != "."))


def start_time(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None when it is gone or a zombie.

    With the PID it names one process for ever: a reused PID has another start time.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


def write_atomically(path: Path, text: str) -> None:
    """Replace a file so that a reader sees the old content or the new, never a part."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    draft.write_text(text)
    draft.replace(path)


def manifest_files(source: Path) -> tuple[Path, ...]:
    """The YAML files of a cluster: the file itself, or those of a directory.

    Raises:
        LabError: when there are none.
    """
    if source.is_file():
        return (source,)
    if not source.is_dir():
        raise LabError(f"--cluster {source}: there is no such file or directory")
    found = sorted(p for p in source.iterdir() if p.suffix in _SUFFIXES and p.is_file())
    if not found:
        raise LabError(f"--cluster {source}: the directory holds no .yaml or .yml file")
    return tuple(found)


def copy_manifests(source: Path, target: Path) -> None:
    """Copy a cluster's files to where the lab may change them.

    Raises:
        LabError: when there are none.
    """
    for path in manifest_files(source):
        name = path.name if path.suffix in _SUFFIXES else f"{path.name}.yaml"
        write_atomically(target / name, path.read_text())


def set_traffic_policy(folder: Path, policy: str, services: Iterable[str] | None) -> int:
    """Give LoadBalancer Services this externalTrafficPolicy; the count of those that changed.

    `services` are `namespace/name`; None means every one. The text is edited where the field
    stands, so comments and the form of every other scalar stay as they were.
    """
    wanted = None if services is None else frozenset(services)
    changed = 0
    for path in manifest_files(folder):
        text = path.read_text()
        documents = [document for document in yaml.compose_all(text) if document is not None]
        edits = [
            edit
            for service in _services(documents)
            if _named(service, wanted) and (edit := _policy_edit(service, policy)) is not None
        ]
        for start, end, replacement in sorted(edits, reverse=True):
            text = text[:start] + replacement + text[end:]
        if edits:
            write_atomically(path, text)
        changed += len(edits)
    return changed


def _services(documents: Iterable[yaml.Node]) -> Iterator[yaml.MappingNode]:
    for document in documents:
        if not isinstance(document, yaml.MappingNode):
            continue
        kind = _text(document, "kind")
        items = _child(document, "items")
        if kind.endswith("List") and isinstance(items, yaml.SequenceNode):
            yield from _services(items.value)
        elif kind == "Service":
            yield document


def _named(service: yaml.MappingNode, wanted: frozenset[str] | None) -> bool:
    spec, metadata = _child(service, "spec"), _child(service, "metadata")
    if not isinstance(spec, yaml.MappingNode) or _text(spec, "type") != "LoadBalancer":
        return False
    if wanted is None:
        return True
    if not isinstance(metadata, yaml.MappingNode):
        return False
    namespace = _text(metadata, "namespace") or "default"
    return f"{namespace}/{_text(metadata, 'name')}" in wanted


def _child(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    for name, value in mapping.value:
        if isinstance(name, yaml.ScalarNode) and name.value == key:
            assert isinstance(value, yaml.Node)
            return value
    return None


def _text(mapping: yaml.MappingNode, key: str) -> str:
    value = _child(mapping, key)
    return str(value.value) if isinstance(value, yaml.ScalarNode) else ""


def _policy_edit(service: yaml.MappingNode, policy: str) -> tuple[int, int, str] | None:
    """What to put between which characters of the file; None when the policy is there already."""
    spec = _child(service, "spec")
    assert isinstance(spec, yaml.MappingNode), "only Services with a spec come here"
    present = _child(spec, "externalTrafficPolicy")
    if present is not None:
        unchanged = isinstance(present, yaml.ScalarNode) and present.value == policy
        return None if unchanged else (present.start_mark.index, present.end_mark.index, policy)
    field = f"externalTrafficPolicy: {policy}"
    start = spec.start_mark.index
    if spec.flow_style:
        return start + 1, start + 1, f"{field}, "
    return start, start, f"{field}\n{' ' * spec.start_mark.column}"
