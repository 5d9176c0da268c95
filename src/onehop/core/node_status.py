"""What a node ought to say of its Services: statuses out of what is wanted of the node."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from onehop.model.desired import Announcement, NodeDesired
from onehop.model.diff import diff
from onehop.model.service import Key
from onehop.model.status import NodeStatuses, ServiceBGPStatus, ServiceL2Status

_W = TypeVar("_W")
_S = TypeVar("_S")


class NodeStatusBuilder:
    """Answers `node_statuses` again and again; a Service that did not change costs a look."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._announced: Mapping[Key, tuple[Announcement, ...]] = {}
        self._advertised: Mapping[Key, tuple[str, ...]] = {}
        self._statuses = NodeStatuses()

    def statuses(self, want: NodeDesired) -> NodeStatuses:
        """The statuses of the node; the identical value while nothing in them differs."""
        l2 = _renewed(self._statuses.l2, self._announced, want.announced, self._l2)
        bgp = _renewed(self._statuses.bgp, self._advertised, want.advertised, self._bgp)
        self._announced, self._advertised = want.announced, want.advertised
        if l2 is not self._statuses.l2 or bgp is not self._statuses.bgp:
            self._statuses = NodeStatuses(l2=l2, bgp=bgp)
        return self._statuses

    def _l2(self, key: Key, announcements: tuple[Announcement, ...]) -> ServiceL2Status:
        # All announcements of a Service have the same links.
        links = announcements[0].links
        return ServiceL2Status(
            node=self._node, service=key, links=() if links is None else tuple(sorted(links))
        )

    def _bgp(self, key: Key, peers: tuple[str, ...]) -> ServiceBGPStatus:
        return ServiceBGPStatus(node=self._node, service=key, peers=peers)


def _renewed(
    statuses: Mapping[Key, _S],
    have: Mapping[Key, _W],
    want: Mapping[Key, _W],
    made: Callable[[Key, _W], _S],
) -> Mapping[Key, _S]:
    if have is want:
        return statuses
    steps = diff(have, want)
    come = {key: made(key, value) for key, value in (*steps.add.items(), *steps.change.items())}
    if not steps.remove and all(statuses.get(key) == status for key, status in come.items()):
        return statuses
    new = {**statuses, **come}
    for key in steps.remove:
        del new[key]
    return new


def node_statuses(want: NodeDesired, node: str) -> NodeStatuses:
    """What a node ought to say, computed from nothing."""
    return NodeStatusBuilder(node).statuses(want)
