"""Statuses: what a Service's status holds now, what it ought to hold, and the write between.

A write is a server-side apply on the status subresource, in our own name and by force: it says
only what is ours, so the conditions of others stay, and what it says no more goes. But for a
condition of ours that somebody else has said too, in the same words: that is theirs as well, and
takes a removal by name. Each write carries the uid and the version of the object that was decided
on, so the server itself refuses the write of whoever decided on an older one, a deposed controller
among them (docs/decisions/0112).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from onehop.adapters.kube.connection import APPLY_PATCH, STRATEGIC_PATCH, Request
from onehop.adapters.kube.structs import Live, LiveCondition
from onehop.model.address import IPAddress
from onehop.model.desired import ServiceStatus
from onehop.model.service import Condition, Key

FIELD_MANAGER = "onehop"
# The conditions that are ours: one that is not wanted any more is taken away.
CONDITIONS = frozenset({"AddressAllocated", "FullySupported"})
# The answer is the whole object otherwise, managedFields and all.
_BRIEF = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_encode = msgspec.json.Encoder().encode


def status_path(key: Key) -> str:
    """Where the status of a Service is written."""
    return f"/api/v1/namespaces/{key.namespace}/services/{key.name}/status"


def applied(path: str, body: Mapping[str, object], manager: str = FIELD_MANAGER) -> Request:
    """A server-side apply that takes over what others have set of the same fields."""
    return Request(
        "PATCH", f"{path}?fieldManager={manager}&force=true", _encode(body), APPLY_PATCH, _BRIEF
    )


def agrees(live: Live, status: ServiceStatus) -> bool:
    """Whether a status says already what it ought to say; a server without ipMode is forgiven."""
    return addresses_agree(live, status.addresses) and _conditions(live) == _said(status)


def addresses_agree(live: Live, addresses: tuple[IPAddress, ...]) -> bool:
    """Whether status.loadBalancer.ingress holds exactly these."""
    have = live.ingress
    return len(have) == len(addresses) and all(
        each.ip == str(address) and each.ip_mode in (None, "VIP") and not each.hostname
        for each, address in zip(have, addresses, strict=True)
    )


def has_ours(live: Live) -> bool:
    """Whether a status holds a condition of ours."""
    return any(each.type in CONDITIONS for each in live.conditions)


def _said(status: ServiceStatus) -> dict[str, tuple[str, str, str]]:
    return {each.type: (str(each.status), each.reason, each.message) for each in status.conditions}


def _conditions(live: Live) -> dict[str, tuple[str, str, str]]:
    return {
        each.type: (each.status, each.reason or "", each.message or "")
        for each in live.conditions
        if each.type in CONDITIONS
    }


def status_write(key: Key, live: Live, status: ServiceStatus, now: str) -> Request:
    """The write that makes a Service's status say this; `now` as Kubernetes writes an instant.

    When nothing is missing and conditions are to go, they are removed, whoever else has said them.
    """
    have, said = _conditions(live), _said(status)
    left = have.keys() - said.keys()
    if left and addresses_agree(live, status.addresses) and said.items() <= have.items():
        return _removal(key, live, left)
    before = {each.type: each for each in live.conditions}
    body: dict[str, object] = {
        "conditions": [_condition(each, before.get(each.type), now) for each in status.conditions]
    }
    if status.addresses or live.ingress:
        # An empty list is said, since to leave out what others have set as well changes nothing.
        ingress = [{"ip": str(each), "ipMode": "VIP"} for each in status.addresses]
        body["loadBalancer"] = {"ingress": ingress}
    return _apply(key, live, body)


def withdrawal(key: Key, live: Live) -> Request:
    """The write that takes away what is ours in a Service's status, and nothing else."""
    return _removal(key, live, _conditions(live))


def _removal(key: Key, live: Live, types: Iterable[str]) -> Request:
    status = {"conditions": [{"$patch": "delete", "type": each} for each in sorted(types)]}
    path = f"{status_path(key)}?fieldManager={FIELD_MANAGER}"
    return Request("PATCH", path, _encode(_body(key, live, status)), STRATEGIC_PATCH, _BRIEF)


def _apply(key: Key, live: Live, status: Mapping[str, object]) -> Request:
    return applied(status_path(key), _body(key, live, status))


def _body(key: Key, live: Live, status: Mapping[str, object]) -> Mapping[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": key.namespace,
            "name": key.name,
            "uid": live.uid,
            "resourceVersion": live.resource_version,
        },
        "status": status,
    }


def _condition(want: Condition, have: LiveCondition | None, now: str) -> dict[str, object]:
    """Its lastTransitionTime is when `status` last became another one, whatever the reason."""
    stays = have is not None and have.status == str(want.status) and have.last_transition_time
    return {
        "type": want.type,
        "status": str(want.status),
        "reason": want.reason,
        "message": want.message,
        "lastTransitionTime": have.last_transition_time if have is not None and stays else now,
    }


def owner_of(live: Live) -> str:
    """The uid of what a Service belongs to: a Kafka cluster, a StatefulSet; empty for nothing."""
    found = next((each for each in live.owners if each.controller), None)
    found = found or next(iter(live.owners), None)
    return found.uid if found is not None else ""


def together(writes: Iterable[tuple[Key, Live]]) -> tuple[Key, ...]:
    """The Services in the order in which they are to be written: those of one owner in a row.

    Who waits for all addresses of a cluster then waits for no write of another one, and who acts
    on each change acts once.
    """
    groups: dict[str, list[Key]] = {}
    for key, live in writes:
        groups.setdefault(owner_of(live) or f"/{key}", []).append(key)
    return tuple(key for group in groups.values() for key in group)
