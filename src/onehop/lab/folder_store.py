"""A lab whose objects are files: controller and speakers watch the folder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from onehop.lab import mode, settle
from onehop.lab.mode import Mode
from onehop.lab.state import Layout, set_traffic_policy
from onehop.lab.store import StoreKind, read_objects, shape_of
from onehop.lab.supervisor import Supervisor
from onehop.lab.topology import LAN, Topology
from onehop.model.address import IPAddress
from onehop.model.objects import Objects
from onehop.model.service import Key


class FolderStore:
    """The lab's own copy of a cluster's files, and the statuses beside them."""

    kind: StoreKind = "folder"
    controller_host = LAN

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder = layout.manifests

    @property
    def where(self) -> str:
        """The folder."""
        return str(self._folder)

    def shape(self) -> Topology:
        """The lab that the files describe now."""
        return shape_of(self.objects())

    def start(self, supervisor: Supervisor) -> None:
        """A folder is there."""
        del supervisor

    def objects(self) -> Objects:
        """Read the folder anew."""
        return read_objects(self._folder)

    def without_status(self, objects: Objects) -> tuple[Key, ...]:
        """The LoadBalancer Services without a status file."""
        return settle.without_status(self._layout, objects)

    def without_endpoints(self) -> tuple[Key, ...]:
        """The files say which endpoints there are, whatever the pods do."""
        return ()

    def set_policy(self, policy: str, services: Iterable[str] | None) -> int:
        """Edit the field where it stands."""
        return set_traffic_policy(self._folder, policy, services)

    def set_advertisements(self, wanted: Mode) -> None:
        """Edit the kind where it stands."""
        mode.set_advertisements(self._folder, wanted)

    def write_peers(self, addresses: Iterable[IPAddress], asn: int) -> None:
        """Write a file of peers."""
        mode.write_peers(self._folder, addresses, asn)

    def remove_peers(self) -> None:
        """Delete that file."""
        mode.remove_peers(self._folder)

    def controller(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """The folder."""
        return ("--manifests", str(self._folder)), {}

    def speaker(self) -> tuple[Sequence[str], Mapping[str, str]]:
        """The folder."""
        return self.controller()

    def environment(self) -> Mapping[str, str]:
        """The folder."""
        return {"ONEHOP_MANIFESTS": str(self._folder)}
