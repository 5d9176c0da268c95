"""Where a lab's objects are: in a folder, or behind an API server. Scenes know no difference."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from onehop.lab.mode import Mode
from onehop.lab.plan import topology
from onehop.lab.state import LabError
from onehop.lab.supervisor import Supervisor
from onehop.lab.topology import Topology, TopologyError
from onehop.model.address import IPAddress
from onehop.model.objects import Objects
from onehop.model.service import Key

StoreKind = Literal["folder", "kubernetes"]


class LabStore(Protocol):
    """What a lab asks of the place of its objects; `kind` is how a user names it."""

    @property
    def kind(self) -> StoreKind:
        """How a user chose it."""
        ...

    @property
    def where(self) -> str:
        """Where a user finds the objects."""
        ...

    @property
    def controller_host(self) -> str:
        """The host in which the controller runs."""
        ...

    def shape(self) -> Topology:
        """The lab that the cluster's objects describe.

        Raises:
            LabError: when they cannot all be read, or make no lab.
        """
        ...

    def start(self, supervisor: Supervisor) -> None:
        """Make it serve the cluster's objects; the hosts are there.

        Raises:
            LabError: with a sentence for the user.
        """
        ...

    def objects(self) -> Objects:
        """The objects and their statuses as they are now."""
        ...

    def without_status(self, objects: Objects) -> tuple[Key, ...]:
        """The LoadBalancer Services on which the controller has said nothing yet."""
        ...

    def without_endpoints(self) -> tuple[Key, ...]:
        """The Services that do not name all pods yet that are to serve them."""
        ...

    def set_policy(self, policy: str, services: Iterable[str] | None) -> int:
        """Give LoadBalancer Services this externalTrafficPolicy; the count of those changed."""
        ...

    def set_advertisements(self, mode: Mode) -> None:
        """Give every advertisement the kind of this mode.

        Raises:
            LabError: when one has a field that the other kind lacks; nothing is changed then.
        """
        ...

    def write_peers(self, addresses: Iterable[IPAddress], asn: int) -> None:
        """Make the router's addresses BGP peers of every node."""
        ...

    def remove_peers(self) -> None:
        """Take away the peers that `write_peers` made; twice is fine."""
        ...

    def controller(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """Words that lead a controller here, and variables of its environment."""
        ...

    def speaker(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """Words that lead a speaker here, and variables of its environment."""
        ...

    def environment(self) -> Mapping[str, str]:
        """Variables that lead a person's commands on a host here."""
        ...


def read_objects(folder: Path) -> Objects:
    """The objects in a folder of manifests, with what is wrong with them."""
    from onehop.adapters.manifests import Manifests

    store = Manifests(folder)
    try:
        store.refresh()
        objects = store.objects()
    finally:
        store.close()
    return objects


def read_items(items: Sequence[Mapping[str, object]]) -> Objects:
    """The objects in a list, as a dump of them would be read."""
    with tempfile.TemporaryDirectory() as folder:
        whole = {"apiVersion": "v1", "kind": "List", "items": items}
        Path(folder, "list.json").write_text(json.dumps(whole))
        return read_objects(Path(folder))


def shape_of(objects: Objects) -> Topology:
    """The lab that objects describe.

    Raises:
        LabError: when they make none.
    """
    try:
        return topology(objects)
    except TopologyError as error:
        raise LabError(f"the cluster makes no lab: {error}") from error
