"""What a node ought to say of its Services: statuses out of what is wanted of the node.

Which Services a node takes over from another follows from why it withheld them: a reason that is
the node's own leaves them to others. That is remembered while no endpoint can serve, since a pod
that moves is nowhere for a while. So it is with a link that is lacking.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from onehop.model.desired import Announcement, NodeDesired
from onehop.model.diff import Edition, diff
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key
from onehop.model.status import NodeStatuses, ServiceBGPStatus, ServiceL2Status

# Why a node withholds what another one may announce.
_ELSEWHERE = frozenset(
    {
        Reason.NOT_OWNER,
        Reason.NO_LOCAL_ENDPOINT,
        Reason.NODE_UNKNOWN,
        Reason.NODE_EXCLUDED,
        Reason.NODE_NETWORK_UNAVAILABLE,
        Reason.NODE_NOT_SELECTED,
    }
)
_W = TypeVar("_W")
_S = TypeVar("_S")


class NodeStatusBuilder:
    """Answers `node_statuses` again and again; a Service that did not change costs a look."""

    def __init__(self, node: str) -> None:
        self._node = node
        self._announced: Mapping[Key, tuple[Announcement, ...]] = {}
        self._advertised: Mapping[Key, tuple[str, ...]] = {}
        self._withheld: Mapping[Key, Refusal] = {}
        self._elsewhere: set[Key] = set()  # Services that another node was the last to announce
        self._statuses = NodeStatuses()

    def statuses(self, want: NodeDesired) -> NodeStatuses:
        """The statuses of the node; the identical value while nothing in them differs."""
        l2 = _renewed(self._statuses.l2, self._announced, want.announced, self._l2)
        bgp = _renewed(self._statuses.bgp, self._advertised, want.advertised, self._bgp)
        unlinked = self._unlinked(want)
        taken_over = self._taken_over(want)
        self._announced, self._advertised = want.announced, want.advertised
        before = self._statuses
        if l2 is not before.l2 or bgp is not before.bgp or unlinked is not before.unlinked:
            self._statuses = NodeStatuses(l2=l2, bgp=bgp, taken_over=taken_over, unlinked=unlinked)
        return self._statuses

    def _unlinked(self, want: NodeDesired) -> Mapping[Key, Refusal]:
        """The Services that are this node's own, and that it has no link to announce on."""
        before = self._statuses.unlinked
        after = dict(before)
        for key in _differing(self._withheld, want.withheld):
            refusal = want.withheld.get(key)
            if refusal is not None and refusal.reason is Reason.NO_LINK:
                after[key] = refusal
            elif refusal is None or refusal.reason is not Reason.NO_ENDPOINTS:
                after.pop(key, None)
        return before if after == before else after

    def _taken_over(self, want: NodeDesired) -> frozenset[Key]:
        """The Services that were another node's until now."""
        taken_over = set()
        for key in _differing(self._withheld, want.withheld):
            refusal = want.withheld.get(key)
            if refusal is None or refusal.reason is not Reason.NO_ENDPOINTS:
                was_elsewhere = key in self._elsewhere
                self._elsewhere.discard(key)
                if refusal is not None and refusal.reason in _ELSEWHERE:
                    self._elsewhere.add(key)
                elif was_elsewhere and key in want.announced:
                    taken_over.add(key)
        self._withheld = want.withheld
        return frozenset(taken_over)

    def _l2(self, key: Key, announcements: tuple[Announcement, ...]) -> ServiceL2Status:
        # All announcements of a Service have the same links.
        links = announcements[0].links
        return ServiceL2Status(
            node=self._node, service=key, links=() if links is None else tuple(sorted(links))
        )

    def _bgp(self, key: Key, peers: tuple[str, ...]) -> ServiceBGPStatus:
        return ServiceBGPStatus(node=self._node, service=key, peers=peers)


def _differing(have: Mapping[Key, Refusal], want: Mapping[Key, Refusal]) -> Iterable[Key]:
    """The keys of which something else may be said now."""
    if have is want:
        return ()
    told = want.since(have) if isinstance(want, Edition) else None
    if told is not None:
        return told
    differ = [key for key, refusal in want.items() if have.get(key) is not refusal]
    return (*differ, *(have.keys() - want.keys()))


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
