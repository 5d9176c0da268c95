"""What a speaker is told at start, and the wiring of its parts."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.linux.link import Links
from onehop.adapters.linux.netlink import NetlinkError
from onehop.adapters.manifests.node_status import NodeStatusFiles
from onehop.adapters.telemetry import Log
from onehop.app.announcers import Announcers
from onehop.app.bgp_node import NodeBgp
from onehop.app.bgp_report import read_reports, report_path
from onehop.app.node_status import NodeStatusTeller
from onehop.app.ports import Forwarding, NoDatapath, Telling
from onehop.app.speaker import End, Speaker
from onehop.app.stores import (
    OpenStore,
    StoreChoice,
    await_complete,
    namespace_of,
    open_store,
    own_namespace_of,
    reach,
)
from onehop.core.balance import ring
from onehop.core.decide import DecisionRules
from onehop.model.address import Family, IPAddress, family_of
from onehop.model.node import Link
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key
from onehop.proto.bgp.terms import RESTART_TIME, Restart
from onehop.proto.machine import AddressConflict

BGP_PORT = 179


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerSettings:
    """The command line of `onehop speaker`, checked."""

    node: str
    where: StoreChoice
    lb_class: str | None = None
    datapath: bool = True
    delivery: Literal["fast", "stack"] = "fast"
    bpf_dir: Path = Path("/sys/fs/bpf/onehop")
    uplinks: tuple[str, ...] = ()
    hook: str = "auto"
    ignore_exclude_label: bool = False
    bgp_listen: tuple[IPAddress, ...] = ()
    metrics_address: tuple[str, int] | None = None
    end: End = field(default_factory=End)


def run_speaker(settings: SpeakerSettings) -> Refusal | None:
    """Serve until SIGTERM; a Refusal says why it could not start.

    Raises:
        StoreError: when the store cannot be opened.
    """
    return asyncio.run(_main(settings))


async def _main(settings: SpeakerSettings) -> Refusal | None:
    try:
        links = Links()
    except NetlinkError as error:
        return error.refusal
    loop = asyncio.get_running_loop()
    with closing(links), closing(open_store(settings.where, loop=loop)) as store:
        if settings.where.folder is None:
            await await_complete(store, Log())
        else:
            store.refresh()
        links.refresh()
        restart = _restart(settings, store)
        datapath = _datapath(settings, store, links.links())
        if isinstance(datapath, Refusal):
            return datapath
        return await _serve(settings, store, links, datapath, restart)


async def _serve(
    settings: SpeakerSettings,
    store: OpenStore,
    links: Links,
    datapath: Forwarding,
    restart: Restart,
) -> Refusal | None:
    log = Log()
    speaker: Speaker | None = None

    def conflict(fact: AddressConflict) -> None:
        if speaker is not None:
            speaker.conflict(fact)

    announcers = Announcers(on_fact=conflict)
    bgp = _bgp(settings, log, restart)
    speaker = Speaker(
        DecisionRules(
            node=settings.node,
            datapath=settings.datapath,
            ignore_exclude_label=settings.ignore_exclude_label,
            lb_class=settings.lb_class,
        ),
        store=store,
        links=links,
        announcers=announcers,
        datapath=datapath,
        bgp=bgp,
        statuses=_statuses(settings, store, log),
        log=log,
        report_file=settings.where.state / "nodes" / f"{settings.node}.json",
        end=settings.end,
    )
    return await _run(settings, speaker, store, announcers=announcers, datapath=datapath, bgp=bgp)


def _statuses(settings: SpeakerSettings, store: OpenStore, log: Log) -> Telling:
    """Where this node says what it carries: in files, or in objects that its pod owns."""
    where, node = settings.where, settings.node
    if where.folder is not None:
        return NodeStatusTeller(node, NodeStatusFiles(where.state, node), log=log)
    from onehop.adapters.kube.store import KubeStore
    from onehop.app.kube_node_status import KubeNodeStatus, owner

    assert isinstance(store, KubeStore), "what is no folder is an API server"
    access = reach(where)
    namespace = namespace_of(where, access)
    # An owner in another namespace is none: the garbage collector would take its objects away.
    is_near = own_namespace_of(where, access) == namespace
    pod = os.environ.get("ONEHOP_POD_NAME", "") if is_near else ""
    return KubeNodeStatus(
        access,
        node=node,
        namespace=namespace,
        pod=owner(pod, os.environ.get("ONEHOP_POD_UID", "")),
        store=store,
        log=log,
    )


def _bgp(settings: SpeakerSettings, log: Log, restart: Restart) -> NodeBgp:
    return NodeBgp(
        settings.node,
        log=log,
        report_file=report_path(settings.where.state, settings.node),
        listen_at=((address, BGP_PORT) for address in settings.bgp_listen),
        restart=restart,
    )


async def _run(
    settings: SpeakerSettings,
    speaker: Speaker,
    store: OpenStore,
    *,
    announcers: Announcers,
    datapath: Forwarding,
    bgp: NodeBgp,
) -> Refusal | None:
    if settings.metrics_address is None:
        await speaker.run()
        return None
    # Whoever does not ask for metrics does not wait for their import either.
    from onehop.app.metrics import serve
    from onehop.app.speaker_metrics import SpeakerFigures

    figures = SpeakerFigures(
        speaker,
        staleness=store.staleness,
        announcers=announcers,
        datapath=datapath,
        bgp=bgp,
        services=partial(_service_page, settings),
    )
    return await serve(settings.metrics_address, figures, speaker.run)


def _service_page(settings: SpeakerSettings) -> str:
    if not settings.datapath:
        return "[]"
    from onehop.app.service_table import service_page

    return service_page(settings.bpf_dir)


def _restart(settings: SpeakerSettings, store: OpenStore) -> Restart:
    """What may be promised to routers that keep our routes over a restart (RFC 4724 3).

    That we forward, only when what the last process left in the kernel still holds frontends: it
    is looked at before anything is loaded. Another program's datapath does not hang on us.
    """
    if not any(peer.graceful_restart for peer in store.objects().bgp_peers.values()):
        return Restart()
    before = next(iter(read_reports(settings.where.state, settings.node)), None)
    is_recent = before is not None and time.time() - before.at < RESTART_TIME
    if not settings.datapath:
        return Restart(is_restarting=is_recent, forwarding=frozenset(Family))
    from onehop.app.service_table import service_rows

    try:
        rows = service_rows(settings.bpf_dir)
    except DatapathError:
        rows = ()
    forwarding = frozenset(family_of(row.frontend.address) for row in rows)
    return Restart(is_restarting=is_recent, forwarding=forwarding)


def _datapath(
    settings: SpeakerSettings, store: OpenStore, links: tuple[Link, ...]
) -> Forwarding | Refusal:
    if not settings.datapath:
        return NoDatapath()
    uplinks = settings.uplinks or _uplinks(store, settings.node, links)
    if not uplinks:
        return Refusal(
            reason=Reason.NO_LINK,
            detail=f"no link carries an address of Node {settings.node}: name it with --uplink",
        )
    # Imported only where it is used: without it a speaker starts sooner.
    from onehop.adapters.bpf.datapath import Datapath
    from onehop.adapters.bpf.linger import LINGER

    try:
        return Datapath(
            settings.bpf_dir,
            ring=ring,
            delivery=settings.delivery,
            uplinks=uplinks,
            hook=settings.hook,
            sources=_addresses(store, settings.node),
            linger=LINGER,
        )
    except DatapathError as error:
        return Refusal(reason=error.reason, detail=str(error))


def _addresses(store: OpenStore, node: str) -> tuple[IPAddress, ...]:
    """The Node's own addresses: what packets to other nodes' backends carry as their source."""
    here = store.objects().nodes.get(Key("", node))
    return here.addresses if here is not None else ()


def _uplinks(store: OpenStore, node: str, links: tuple[Link, ...]) -> tuple[str, ...]:
    """The links that carry one of the Node's addresses."""
    wanted = frozenset(_addresses(store, node))
    return tuple(link.name for link in links if any(own.ip in wanted for own in link.addresses))
