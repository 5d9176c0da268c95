"""Talks to a lab's API server as its administrator, or as any ServiceAccount.

This is the hand of tests, benches and labs: it makes what a cluster's users and its kubelets make.
onehop's own controller and speakers have a client of their own and use none of this.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any

from onehop.lab.kube_server import Site
from onehop.lab.state import LabError

Object = dict[str, Any]
JSON = "application/json"
APPLY = "application/apply-patch+yaml"  # JSON is YAML
MERGE = "application/merge-patch+json"
FIELD_MANAGER = "lab"
CRD = "CustomResourceDefinition"

_TIMEOUT = 30.0
_PATIENCE = 10.0  # with a server that asks to come back later
_PAUSE = 0.1
_TOKEN_SECONDS = 3600


class RequestError(LabError):
    """The API server refused a request."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason


class KubeClient:
    """Requests to one API server with one token; threads may share it.

    Each thread has a connection of its own, made where the server can be reached.
    """

    def __init__(self, site: Site, token: str) -> None:
        self._site = site
        self._token = token
        self._local = threading.local()
        self._opened: list[http.client.HTTPSConnection] = []
        self._paths: dict[tuple[str, str], tuple[str, bool, bool]] = {}

    def __enter__(self) -> KubeClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        while self._opened:
            self._opened.pop().close()

    def request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        content_type: str = JSON,
    ) -> Object:
        """Make one request and return the object that answers it.

        Raises:
            RequestError: when the server refuses it.
            OSError: when the server cannot be reached.
        """
        data = json.dumps(body).encode() if body is not None else None
        deadline = time.monotonic() + _PATIENCE
        while True:
            status, text = self._exchange(method, path, data, content_type)
            # A server that has just started knows no custom resources for a moment.
            if status != HTTPStatus.TOO_MANY_REQUESTS or time.monotonic() > deadline:
                break
            time.sleep(_PAUSE)
        answer: Object = {}
        with suppress(ValueError):
            answer = json.loads(text)
        if status >= HTTPStatus.BAD_REQUEST:
            message = answer.get("message") or text.decode(errors="replace").strip()
            raise RequestError(status, answer.get("reason", ""), message)
        return answer

    def get(self, path: str) -> Object:
        """The object or list at `path`."""
        return self.request("GET", path)

    def delete(self, path: str) -> None:
        """Delete the object at `path` at once; the absent is no error."""
        try:
            self.request("DELETE", path, {"gracePeriodSeconds": 0})
        except RequestError as refusal:
            if refusal.status != HTTPStatus.NOT_FOUND:
                raise

    def apply(self, objects: Iterable[Mapping[str, Any]], manager: str = FIELD_MANAGER) -> None:
        """Apply each object by server-side apply, and its `status` where the kind has one.

        Raises:
            RequestError: when the server refuses one.
        """
        for item in objects:
            path, has_status = self._locate(item)
            query = f"?fieldManager={manager}&force=true"
            self.request("PATCH", f"{path}{query}", item, APPLY)
            if "status" in item and has_status:
                slim = {"name": item["metadata"]["name"]}
                if "namespace" in item["metadata"]:
                    slim["namespace"] = item["metadata"]["namespace"]
                wanted = ("apiVersion", "kind", "status")
                body = {**{key: item[key] for key in wanted}, "metadata": slim}
                self.request("PATCH", f"{path}/status{query}", body, APPLY)
            if item["kind"] == CRD:
                self._await_established(path)

    def path(self, item: Mapping[str, Any]) -> str:
        """Where an object lies, by its apiVersion, kind, namespace and name."""
        return self._locate(item)[0]

    def create_token(self, namespace: str, account: str) -> str:
        """A token for a ServiceAccount, which is made when it is missing."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
        with suppress(RequestError):  # it exists
            self.request("POST", path, {"metadata": {"name": account}})
        body = {"spec": {"expirationSeconds": _TOKEN_SECONDS}}
        answer = self.request("POST", f"{path}/{account}/token", body)
        return str(answer["status"]["token"])

    def _await_established(self, path: str) -> None:
        for _ in range(500):  # ten of these are usual
            conditions = self.get(path).get("status", {}).get("conditions") or []
            if any(c["type"] == "Established" and c["status"] == "True" for c in conditions):
                return
            time.sleep(0.02)
        raise LabError(f"{path} is not established")

    def _locate(self, item: Mapping[str, Any]) -> tuple[str, bool]:
        """The path of an object, and whether its kind has a status of its own."""
        kind = (str(item["apiVersion"]), str(item["kind"]))
        if kind not in self._paths:
            self._discover(kind[0])
        if kind not in self._paths:
            raise LabError(f"the API server knows no {kind[1]} of {kind[0]}")
        plural, namespaced, has_status = self._paths[kind]
        metadata = item["metadata"]
        inside = f"/namespaces/{metadata.get('namespace', 'default')}" if namespaced else ""
        return f"{_root(kind[0])}{inside}/{plural}/{metadata['name']}", has_status

    def _discover(self, version: str) -> None:
        resources = self.get(_root(version)).get("resources", [])
        names = {resource["name"] for resource in resources}
        for resource in resources:
            name = resource["name"]
            if "/" not in name:
                found = (name, resource["namespaced"], f"{name}/status" in names)
                self._paths[version, resource["kind"]] = found

    def _exchange(
        self, method: str, path: str, data: bytes | None, content_type: str
    ) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": JSON}
        if data is not None:
            headers["Content-Type"] = content_type
        kept = getattr(self._local, "connection", None)
        connection = kept or self._connect()
        try:
            return _ask(connection, method, path, data, headers)
        except (OSError, http.client.HTTPException) as failure:
            self._forget(connection)
            # Only a connection that was kept may be stale: the server restarted in between.
            if kept is None or isinstance(failure, TimeoutError):
                raise
        connection = self._connect()
        try:
            return _ask(connection, method, path, data, headers)
        except BaseException:
            self._forget(connection)
            raise

    def _connect(self) -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self._site.ca))
        connection = http.client.HTTPSConnection(
            self._site.address, self._site.port, timeout=_TIMEOUT, context=context
        )
        with self._site.inside():
            connection.connect()
        self._opened.append(connection)
        self._local.connection = connection
        return connection

    def _forget(self, connection: http.client.HTTPSConnection) -> None:
        connection.close()
        self._opened.remove(connection)
        self._local.connection = None


def _ask(
    connection: http.client.HTTPSConnection,
    method: str,
    path: str,
    data: bytes | None,
    headers: dict[str, str],
) -> tuple[int, bytes]:
    connection.request(method, path, data, headers)
    with connection.getresponse() as response:
        return response.status, response.read()


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def read_audit(log: Path) -> list[Object]:
    """The events of an audit log, oldest first; a line half written is not one yet."""
    try:
        lines = log.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines[:-1]]
