"""Layer 2 or BGP: how a lab's objects say by which of the two its pools are announced.

An advertisement keeps its name, its pools and its selectors; its kind alone is edited where it
stands, so a file is replaced in one step and everything else in it stays as it was.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import yaml

from onehop.lab.state import LabError, manifest_files, write_atomically
from onehop.model.address import IPAddress

Mode = Literal["l2", "bgp"]
PEERS_FILE = "router-peers.yaml"

KINDS: dict[Mode, str] = {"l2": "L2Advertisement", "bgp": "BGPAdvertisement"}
OTHER: dict[Mode, Mode] = {"l2": "bgp", "bgp": "l2"}
# What one kind has and the other lacks: it would be lost, or refused.
_OWN_FIELDS: dict[Mode, tuple[str, ...]] = {
    "l2": ("interfaces",),
    "bgp": ("aggregationLength", "aggregationLengthV6", "communities", "localPref", "peers"),
}
_HEADER = "# The router of the LAN, while the lab announces by BGP.\n"


def peers(
    addresses: Iterable[IPAddress], asn: int, namespace: str = "metallb-system"
) -> Iterator[dict[str, Any]]:
    """The router's addresses as BGP peers of every node."""
    for number, address in enumerate(addresses):
        name = "router" if number == 0 else f"router-{number}"
        yield {
            "apiVersion": "metallb.io/v1beta2",
            "kind": "BGPPeer",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {"myASN": asn, "peerASN": asn, "peerAddress": str(address)},
        }


def check_kept(mode: Mode, name: str, fields: Container[str]) -> None:
    """Make sure that an advertisement with these fields of `spec` can go over to a mode.

    Raises:
        LabError: when the other kind lacks one.
    """
    for field in _OWN_FIELDS[OTHER[mode]]:
        if field in fields:
            raise LabError(
                f"{KINDS[OTHER[mode]]} {name}: spec.{field}: {KINDS[mode]} has no such field, so "
                f"the lab cannot go over to {mode}"
            )


def set_advertisements(folder: Path, mode: Mode) -> int:
    """Give every advertisement the kind of this mode; the count of those that changed.

    Raises:
        LabError: when one has a field that the other kind lacks; nothing is changed then.
    """
    edited: dict[Path, str] = {}
    changed = 0
    for path in manifest_files(folder):
        text = path.read_text()
        marks = [_kind_marks(found, mode) for found in _advertisements(text, OTHER[mode])]
        for start, end in sorted(marks, reverse=True):
            text = text[:start] + KINDS[mode] + text[end:]
        if marks:
            edited[path] = text
        changed += len(marks)
    for path, text in edited.items():
        write_atomically(path, text)
    return changed


def write_peers(folder: Path, addresses: Iterable[IPAddress], asn: int) -> None:
    """Make the router's addresses BGP peers of every node."""
    text = yaml.safe_dump_all(peers(addresses, asn), sort_keys=False)
    write_atomically(folder / PEERS_FILE, _HEADER + text)


def remove_peers(folder: Path) -> None:
    """Take away the peers that `write_peers` made; twice is fine."""
    (folder / PEERS_FILE).unlink(missing_ok=True)


def _advertisements(text: str, mode: Mode) -> Iterator[yaml.MappingNode]:
    for document in yaml.compose_all(text):
        yield from _of_kind((document,), KINDS[mode])


def _of_kind(nodes: Iterable[yaml.Node | None], kind: str) -> Iterator[yaml.MappingNode]:
    for node in nodes:
        found = _child(node, "kind")
        if not isinstance(node, yaml.MappingNode) or found is None:
            continue
        if found.value == kind:
            yield node
        elif str(found.value).endswith("List"):
            items = _child(node, "items")
            yield from _of_kind(items.value if items is not None else (), kind)


def _kind_marks(advertisement: yaml.MappingNode, mode: Mode) -> tuple[int, int]:
    spec, name = _child(advertisement, "spec"), _child(advertisement, "metadata")
    name = _child(name, "name")
    check_kept(mode, "" if name is None else str(name.value), _names(spec))
    kind = _child(advertisement, "kind")
    assert kind is not None, "it was found by its kind"
    return kind.start_mark.index, kind.end_mark.index


def _names(node: yaml.Node | None) -> frozenset[str]:
    pairs = node.value if isinstance(node, yaml.MappingNode) else ()
    return frozenset(str(name.value) for name, _ in pairs)


def _child(node: yaml.Node | None, key: str) -> yaml.Node | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if isinstance(name, yaml.ScalarNode) and name.value == key:
                assert isinstance(value, yaml.Node), "a mapping's values are nodes"
                return value
    return None
