"""A cluster looked at from outside: what only the speakers know, asked of each of them.

The API server passes the question on to the speaker's own endpoint (the `proxy` of a pod), so
whoever asks needs to reach nothing but the API server, and needs the rights to list pods and to
get `pods/proxy`. What a speaker answers is put where it would have written it itself, so that
everything that reads a node's reports reads these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

from onehop.adapters.kube.connection import Connection, LostError, Request
from onehop.adapters.kube.kubeconfig import Access
from onehop.app.bgp_report import ANSWERED, report_path

SELECTOR = "app.kubernetes.io/name=onehop,app.kubernetes.io/component=speaker"
_AT_ONCE = 16
_PAGE = 250
_PORTS = ("telemetry", "metrics")  # of these names the first that a speaker's container has


class OutsideError(Exception):
    """The speakers cannot be asked; the text is for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeakerPod:
    """A speaker as the API server knows it; `port` 0 when it has no endpoint."""

    node: str
    namespace: str
    name: str
    port: int = 0
    is_ready: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What the speakers say to one question, by node, and why the others say nothing."""

    found: Mapping[str, Any] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)


def speakers(access: Access, node: str | None = None) -> tuple[SpeakerPod, ...]:
    """All speakers by node, or that of one node.

    Raises:
        OutsideError: when the API server does not tell.
    """
    connection = Connection(access, timeout=15.0)
    where = f"spec.nodeName={node}" if node is not None else ""
    try:
        found = [_speaker(pod) for pod in pods(connection, SELECTOR, fields=where)]
    finally:
        connection.close()
    return tuple(sorted(found, key=lambda each: each.node))


def some_speakers(access: Access, node: str | None = None) -> tuple[SpeakerPod, ...]:
    """The same, when there is at least one.

    Raises:
        OutsideError: when there is none, or the API server does not tell.
    """
    found = speakers(access, node)
    if not found:
        where = f" on node {node}" if node else ""
        raise OutsideError(f"there is no speaker{where}: no pod carries {SELECTOR}")
    return found


def pods(connection: Connection, labels: str, *, fields: str = "") -> list[dict[str, Any]]:
    """All pods that labels, and fields, select, in all namespaces.

    Raises:
        OutsideError: when the API server does not tell.
    """
    path = f"/api/v1/pods?labelSelector={quote(labels)}&limit={_PAGE}"
    if fields:
        path += f"&fieldSelector={quote(fields)}"
    found: list[dict[str, Any]] = []
    after = ""
    while True:
        body = answer_of(connection, path + (f"&continue={quote(after)}" if after else ""))
        found += body.get("items") or ()
        after = body.get("metadata", {}).get("continue") or ""
        if not after:
            return found


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod's condition Ready is true."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def ask(access: Access, asked: tuple[SpeakerPod, ...], page: str) -> Answers:
    """One page of each speaker."""

    def one(pod: SpeakerPod) -> tuple[SpeakerPod, Any, str]:
        if not pod.port:
            return pod, None, "its pod names no port for telemetry"
        connection = Connection(access, timeout=15.0)
        try:
            where = f"{pod.namespace}/pods/{pod.name}:{pod.port}"
            return pod, answer_of(connection, f"/api/v1/namespaces/{where}/proxy/state/{page}"), ""
        except OutsideError as error:
            return pod, None, str(error)
        finally:
            connection.close()

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        told = list(pool.map(one, asked))
    return Answers(
        found={pod.node: body for pod, body, why in told if not why},
        silent={pod.node: why for pod, _, why in told if why},
    )


@contextmanager
def mirrored(
    access: Access, there: tuple[SpeakerPod, ...]
) -> Iterator[tuple[Path, Mapping[str, str]]]:
    """A folder that holds the reports of these speakers, and why some have none."""
    with TemporaryDirectory(prefix="onehop-") as name:
        state = Path(name)
        (state / "nodes").mkdir()
        silent: dict[str, str] = {}
        for page, suffix in (("node", ".json"), ("bgp", ".bgp.json")):
            answers = ask(access, there, page)
            silent |= answers.silent
            for at, body in answers.found.items():
                if page == "bgp":
                    body = body | {"process": ANSWERED}
                (report_path(state, at).parent / f"{at}{suffix}").write_text(json.dumps(body))
        yield state, silent


def answer_of(connection: Connection, path: str) -> Any:
    """The JSON at a path.

    Raises:
        OutsideError: when there is none, with what the server says of it.
    """
    try:
        answer = connection.exchange(Request("GET", path))
    except LostError as error:
        raise OutsideError(str(error)) from error
    try:
        body = json.loads(answer.body)
    except ValueError:
        body = None
    if answer.status != 200:
        why = body.get("message") if isinstance(body, dict) else ""
        text = why or answer.body[:200].decode(errors="replace").strip()
        raise OutsideError(f"HTTP {answer.status}: {text or 'no reason given'}")
    if body is None:
        raise OutsideError("the answer is no JSON")
    return body


def _speaker(pod: dict[str, Any]) -> SpeakerPod:
    spec = pod.get("spec", {})
    ports = {
        port.get("name"): port.get("containerPort", 0)
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
    }
    return SpeakerPod(
        node=spec.get("nodeName", ""),
        namespace=pod["metadata"]["namespace"],
        name=pod["metadata"]["name"],
        port=next((ports[name] for name in _PORTS if ports.get(name)), 0),
        is_ready=is_ready(pod),
    )
