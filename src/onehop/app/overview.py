"""`status`: the whole installation on one page, and what of it needs a person.

It runs the controller's own pure functions on the same objects, so it cannot disagree with them;
what only speakers know comes from their reports.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onehop.app.around import Around, Held
from onehop.app.bgp_report import is_alive, read_reports, report_path
from onehop.app.bgp_view import span
from onehop.app.outside import SpeakerPod
from onehop.app.pools import pool_document, pool_forecasts, pool_table
from onehop.app.written_by import in_words as written_by
from onehop.core.allocate import cluster_desired
from onehop.core.forecast import PoolForecast
from onehop.core.validate import problems as problems_of
from onehop.model.desired import ClusterDesired
from onehop.model.objects import Objects
from onehop.model.reason import Severity
from onehop.model.service import Key

UNWRITTEN = "its address is not written: no controller has got to it yet"
_DRIFT = 30.0  # seconds that two machines' clocks may differ before a renewal looks late


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerLine:
    """One node's speaker; `established` of `sessions`. `why` it does not run, else empty."""

    node: str
    why: str = ""
    established: int = 0
    sessions: int = 0
    failures: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The page. `waiting` are Services without an address by why; `findings` need a person."""

    store: str
    around: Around | None
    speakers: tuple[SpeakerLine, ...]
    served: int
    waiting: Mapping[str, tuple[Key, ...]]
    pools: tuple[PoolForecast, ...]
    problems: tuple[str, ...] = ()
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What the speakers told: a folder of reports, their pods, and why some say nothing.

    `pods` is None where no API server says which speakers there ought to be.
    """

    state: Path
    pods: tuple[SpeakerPod, ...] | None = None
    silent: Mapping[str, str] | None = None


def overview(
    objects: Objects,
    *,
    store: str,
    told: Told,
    around: Around | None,
    lb_class: str | None,
    others: Mapping[Key, tuple[str, ...]] | None = None,
) -> Overview:
    """The page about these objects; `others` wrote the addresses of some Services."""
    desired = cluster_desired(objects, lb_class=lb_class)
    waiting = _waiting(objects, desired)
    lines = _speakers(told)
    pools = pool_forecasts(objects)
    problems = (*objects.problems, *problems_of(objects))
    findings = (
        *_about_controllers(around),
        *_about_speakers(lines, objects, told),
        *(f"{len(keys)} of the Services: {why}" for why, keys in waiting.items()),
        *(
            f"Service {key}: {written_by(objects, key, managers)}"
            for key, managers in (others or {}).items()
        ),
        *(str(each) for each in problems if each.reason.severity is not Severity.INFO),
    )
    return Overview(
        store=store,
        around=around,
        speakers=lines,
        served=len(desired.statuses) - sum(map(len, waiting.values())),
        waiting=waiting,
        pools=pools,
        problems=tuple(map(str, problems)),
        findings=findings,
    )


def _waiting(objects: Objects, desired: ClusterDesired) -> dict[str, tuple[Key, ...]]:
    groups: dict[str, list[Key]] = {}
    for key, status in sorted(desired.statuses.items()):
        service = objects.services.get(key)
        if service is None or service.type != "LoadBalancer" or service.ingress:
            continue
        refusal = status.refusal
        why = f"{refusal.reason.code}: {refusal.reason.sentence}" if refusal else UNWRITTEN
        groups.setdefault(why, []).append(key)
    return {why: tuple(keys) for why, keys in groups.items()}


def _speakers(told: Told) -> tuple[SpeakerLine, ...]:
    files = (told.state / "nodes").glob("*.json")
    names = {path.name.removesuffix(".json").removesuffix(".bgp") for path in files}
    pods = {pod.node: pod for pod in told.pods or ()}
    silent = told.silent or {}
    lines = []
    for node in sorted(names | set(pods) | set(silent)):
        pod = pods.get(node)
        why = silent.get(node, "")
        if not why and pod is not None and not pod.is_ready:
            why = "its pod is not ready"
        lines.append(_line(node, why, told.state))
    return tuple(lines)


def _line(node: str, why: str, state: Path) -> SpeakerLine:
    sessions = next(iter(read_reports(state, node)), None)
    if sessions is not None and not is_alive(sessions):
        why = why or "it does not run"
    peers = sessions.peers if sessions is not None and not why else ()
    try:
        body = json.loads((report_path(state, node).parent / f"{node}.json").read_text())
    except (OSError, ValueError):
        body = {}
    return SpeakerLine(
        node=node,
        why=why,
        established=sum(peer.state == "Established" for peer in peers),
        sessions=len(peers),
        failures=tuple(map(str, body.get("failures", ()))),
        conflicts=tuple(sorted(address for address, n in body.get("conflicts", {}).items() if n)),
    )


def _about_controllers(around: Around | None) -> Iterable[str]:
    if around is None:
        return
    yield from (f"not told by the API server: {what}" for what in around.unknown)
    is_known = not any(what.startswith("Leases") for what in around.unknown)
    if is_known and not any(each.holder for each in around.leases):
        yield "no controller holds the Lease: nothing gives Services their addresses"
    yield from (f"the Lease in {each.namespace}: {late}" for each in around.leases
                if (late := _late(each)))  # fmt: skip
    yield from (
        f"the controller {name} is not ready"
        for name, is_ready in (around.controllers or {}).items()
        if not is_ready
    )
    if around.metallb:
        yield (
            f"MetalLB runs beside this ({len(around.metallb)} pods, such as {around.metallb[0]}): "
            "both answer for the same addresses"
        )


def _late(lease: Held) -> str:
    if not lease.holder or lease.age is None:
        return ""
    if lease.age > lease.duration + _DRIFT:
        return f"{lease.holder} renewed it {span(lease.age)} ago, or the clocks differ"
    return ""


def _about_speakers(lines: Iterable[SpeakerLine], objects: Objects, told: Told) -> Iterable[str]:
    lines = tuple(lines)
    if told.pods is not None:
        without = sorted({node.name for node in objects.nodes.values()} - {x.node for x in lines})
        if without:
            yield f"no speaker runs on {len(without)} nodes, such as {without[0]}"
    for line in lines:
        if line.why:
            yield f"speaker of {line.node}: {line.why}"
        elif line.established < line.sessions:
            yield (
                f"speaker of {line.node}: {line.established} of {line.sessions} BGP sessions "
                "are Established"
            )
        yield from (f"speaker of {line.node}: {each}" for each in line.failures)
        yield from (f"speaker of {line.node}: another host claims {a}" for a in line.conflicts)


def in_words(page: Overview) -> list[str]:
    """The page for people."""
    lines = [f"Store        {page.store}", *_controller_lines(page.around)]
    running = sum(not line.why for line in page.speakers)
    lines.append(f"Speakers     {running} of {len(page.speakers)} running, "
                 f"{sum(x.established for x in page.speakers)} of "
                 f"{sum(x.sessions for x in page.speakers)} BGP sessions Established")  # fmt: skip
    without = sum(map(len, page.waiting.values()))
    lines.append(f"Services     {page.served} with an address, {without} without")
    lines += [f"  {len(keys):>5}  {why} (such as {keys[0]})" for why, keys in page.waiting.items()]
    lines += ["", *pool_table(page.pools).splitlines(), ""]
    if not page.findings:
        return [*lines, "All is well."]
    return [*lines, "Needs a person:", *(f"  {each}" for each in page.findings)]


def _controller_lines(around: Around | None) -> list[str]:
    if around is None:
        return []
    lines = []
    for each in around.leases:
        age = "never" if each.age is None else f"{span(each.age)} ago"
        who = each.holder or "nobody"
        lines.append(f"Controller   {who} holds the Lease in {each.namespace}, renewed {age}")
    ready = sum((around.controllers or {}).values())
    lines.append(f"Replicas     {ready} of {len(around.controllers or {})} ready")
    if around.installed:
        lines.append(f"MetalLB      installed, without a pod: {', '.join(around.installed)}")
    return lines


def document(page: Overview) -> dict[str, object]:
    """The page for programs."""
    around = page.around
    return {
        "healthy": not page.findings,
        "store": page.store,
        "controller": None
        if around is None
        else {
            "leases": [
                {
                    "namespace": each.namespace,
                    "holder": each.holder or None,
                    "renewedSecondsAgo": None if each.age is None else round(each.age, 3),
                }
                for each in around.leases
            ],
            "replicas": [
                {"pod": name, "ready": is_ready}
                for name, is_ready in (around.controllers or {}).items()
            ],
            "metallb": list(around.metallb),
            "metallbInstalled": list(around.installed),
        },
        "speakers": [_speaker_document(line) for line in page.speakers],
        "services": {
            "withAddress": page.served,
            "withoutAddress": [
                {"reason": why, "count": len(keys), "example": str(keys[0])}
                for why, keys in page.waiting.items()
            ],
        },
        "pools": pool_document(page.pools),
        "problems": list(page.problems),
        "findings": list(page.findings),
    }


def _speaker_document(line: SpeakerLine) -> dict[str, object]:
    return {
        "node": line.node,
        "running": not line.why,
        "why": line.why or None,
        "sessions": {"established": line.established, "all": line.sessions},
        "failures": list(line.failures),
        "conflicts": list(line.conflicts),
    }
