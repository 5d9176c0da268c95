"""Who wrote the addresses in a Service's status, where that was not onehop.

The API server notes the manager of each field, in `metadata.managedFields`, which nothing else
here reads: it is asked about single Services only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import quote

from onehop.adapters.kube.connection import Connection
from onehop.adapters.kube.kubeconfig import Access
from onehop.adapters.kube.statuses import FIELD_MANAGER
from onehop.app.outside import OutsideError, answer_of
from onehop.core.allocate import cluster_desired
from onehop.model.objects import Objects
from onehop.model.service import Key

_ASKED = 20  # Services at most, when many are in dispute


def disputed(objects: Objects, *, lb_class: str | None) -> tuple[Key, ...]:
    """Services that hold other addresses than they are to hold."""
    found = []
    for key, status in sorted(cluster_desired(objects, lb_class=lb_class).statuses.items()):
        service = objects.services.get(key)
        holds = service.ingress if service is not None else ()
        if holds and status.addresses and holds != status.addresses:
            found.append(key)
    return tuple(found)


def others(access: Access, keys: Iterable[Key]) -> dict[Key, tuple[str, ...]]:
    """The field managers of the addresses of those Services whose addresses are not of onehop.

    A Service that the API server does not show is left out.
    """
    found = {}
    with closing(Connection(access, timeout=15.0)) as connection:
        for key in tuple(keys)[:_ASKED]:
            path = f"/api/v1/namespaces/{quote(key.namespace)}/services/{quote(key.name)}"
            try:
                managers = managers_of(answer_of(connection, path))
            except OutsideError:
                continue
            if managers and FIELD_MANAGER not in managers:
                found[key] = managers
    return found


def managers_of(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Who has set status.loadBalancer.ingress, by name."""
    names = set()
    for entry in body.get("metadata", {}).get("managedFields") or ():
        status = (entry.get("fieldsV1") or {}).get("f:status") or {}
        if "f:ingress" in (status.get("f:loadBalancer") or {}):
            names.add(str(entry.get("manager") or "somebody without a name"))
    return tuple(sorted(names))


def in_words(objects: Objects, key: Key, managers: tuple[str, ...]) -> str:
    """Who overwrites one Service's addresses."""
    holds = ", ".join(map(str, objects.services[key].ingress))
    return f"its status holds {holds}, written by {', '.join(managers)} and not by {FIELD_MANAGER}"
