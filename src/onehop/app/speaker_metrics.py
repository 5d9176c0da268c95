"""What a speaker tells: what it announces, what it is asked, and what its datapath counts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from onehop.adapters.exposition import Family, Metric, Sample
from onehop.adapters.telemetry_http import Pages
from onehop.app.bgp_metrics import bgp_families
from onehop.app.bgp_node import NodeBgp
from onehop.app.metrics import SPEAKER, RoundFigures, process_families, round_families
from onehop.app.ports import Announcing, Forwarding
from onehop.app.speaker import Speaker
from onehop.model.desired import NodeDesired
from onehop.model.objects import Objects
from onehop.model.reason import Reason
from onehop.model.service import Key

if TYPE_CHECKING:
    from onehop.adapters.bpf.tables import Statistics


def _metric(name: str, kind: str, help_: str, *labels: str) -> Metric:
    is_counter = kind == "counter"
    metric = Metric(
        name=name, kind="counter" if is_counter else "gauge", help=help_, labels=labels
    )
    SPEAKER.append(metric)
    return metric


ANNOUNCED = _metric(
    "metallb_speaker_announced",
    "gauge",
    "1 for each address of a Service that this node announces.",
    "service",
    "protocol",
    "node",
    "ip",
)
_LAYER2 = tuple(
    (counter, _metric(name, "counter", help_, "ip"))
    for counter, name, help_ in (
        (
            "requests_received",
            "metallb_layer2_requests_received",
            "ARP and NDP requests for the address, since this node began to announce it.",
        ),
        (
            "replies_sent",
            "metallb_layer2_responses_sent",
            "Answers to ARP and NDP requests for the address, since it is announced.",
        ),
        (
            "gratuitous_sent",
            "metallb_layer2_gratuitous_sent",
            "Frames by which the address was announced unasked, since it is announced.",
        ),
        (
            "conflicts",
            "onehop_layer2_conflicts_total",
            "Frames in which another station claimed the address, since it is announced.",
        ),
    )
)
REFUSED = _metric(
    "onehop_datapath_refused_packets_total",
    "counter",
    "Packets that the datapath dropped, or left to the host, by reason.",
    "reason",
)
_STATISTICS: tuple[tuple[Metric, Callable[[Statistics], int]], ...] = (
    (
        _metric(
            "onehop_datapath_packets_total",
            "counter",
            "Packets carried for a Service, both directions together.",
            "service",
        ),
        lambda found: found.packets,
    ),
    (
        _metric(
            "onehop_datapath_bytes_total",
            "counter",
            "Octets carried for a Service, both directions together.",
            "service",
        ),
        lambda found: found.bytes,
    ),
    (
        _metric("onehop_datapath_flows_total", "counter", "Flows begun to a Service.", "service"),
        lambda found: found.flows,
    ),
    (
        _metric(
            "onehop_datapath_drops_total",
            "counter",
            "Packets to a Service that were dropped.",
            "service",
        ),
        lambda found: found.drops,
    ),
)


class SpeakerFigures:
    """All that a speaker tells. Gathered when somebody asks, on the loop's own thread."""

    def __init__(
        self,
        speaker: Speaker,
        *,
        staleness: Callable[[], float],
        announcers: Announcing,
        datapath: Forwarding,
        bgp: NodeBgp,
        services: Callable[[], str] = lambda: "[]",
    ) -> None:
        self._speaker = speaker
        self._staleness = staleness
        self._announcers = announcers
        self._datapath = datapath
        self._bgp = bgp
        self._services = services
        self._rounds = speaker.figures = RoundFigures()

    def unready(self) -> str:
        """Why the node announces nothing yet; empty when it does what it should."""
        return self._rounds.unready()

    def pages(self) -> Pages:
        """What only this node knows, for whoever looks at the cluster from outside."""
        return {
            "/state/node": lambda: json.dumps(self._speaker.report()),
            "/state/bgp": self._bgp.report,
            # Ten thousand frontends take the kernel's maps a while.
            "/state/services": lambda: asyncio.to_thread(self._services),
        }

    def families(self) -> Iterator[Family]:
        """Every metric with its samples."""
        yield from process_families()
        yield from round_families(self._rounds, self._staleness)
        speaker = self._speaker
        yield ANNOUNCED, _announced(speaker.node, speaker.wanted, speaker.objects)
        counters = self._announcers.counters()
        for counter, metric in _LAYER2:
            yield metric, _of(counters, counter)
        yield from bgp_families(self._bgp.peers.peers(), self._bgp.bfd)
        yield REFUSED, _refused(self._datapath.refused_packets())
        yield from self._carried()

    def _carried(self) -> Iterator[Family]:
        """The kernel is read once, for the first of these, while its text is made."""
        seen: list[tuple[Key, Statistics]] = []
        for number, (metric, part) in enumerate(_STATISTICS):
            found = _kept(self._datapath.statistics(), seen) if number == 0 else seen
            yield metric, _parts(found, part)


def _announced(node: str, want: NodeDesired, objects: Objects) -> Iterator[Sample]:
    for key, announcements in want.announced.items():
        for each in announcements:
            yield (str(key), "layer2", node, str(each.address)), 1
    for key in want.advertised:
        service = objects.services.get(key)
        for address in service.ingress if service is not None else ():
            yield (str(key), "bgp", node, str(address)), 1


def _of(counters: Mapping[str, Mapping[str, int]], name: str) -> Iterator[Sample]:
    return (((address,), found[name]) for address, found in counters.items())


def _refused(packets: Mapping[Reason, int]) -> Iterator[Sample]:
    return (((reason.code,), number) for reason, number in packets.items())


def _kept(
    found: Iterable[tuple[Key, Statistics]], into: list[tuple[Key, Statistics]]
) -> Iterator[tuple[Key, Statistics]]:
    for each in found:
        into.append(each)
        yield each


def _parts(
    found: Iterable[tuple[Key, Statistics]], part: Callable[[Statistics], int]
) -> Iterator[Sample]:
    return (((str(key),), part(statistics)) for key, statistics in found)
