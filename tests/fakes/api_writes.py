"""An API server that takes writes: it keeps what it is given, and fails where it is told to.

It speaks HTTP/1.1 over real sockets, so that connections break as they do. Applies of a status
check uid and resourceVersion as the real one does. `script` holds answers that come before all
else: a tuple (status, headers, body), or one of the words in `TRICKS`.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import unquote

from onehop.adapters.kube.requests import Requests

TRICKS = ("drop", "close", "hang", "half", "chunked", "interim")
Script = tuple[int, dict[str, str], bytes] | str


class Seen(NamedTuple):
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class FakeAccess:
    """How to reach it; tokens are used up by `renew`."""

    tls = None
    prefix = ""
    server_name = "localhost"
    namespace = "onehop-system"

    def __init__(self, port: int, tokens: tuple[str, ...] = ("good",)) -> None:
        self.host, self.port = "127.0.0.1", port
        self.server = f"http://127.0.0.1:{port}"
        self._tokens = deque(tokens)

    def authorization(self) -> str:
        return f"Bearer {self._tokens[0]}" if self._tokens else ""

    def renew(self, spoilt: str) -> bool:
        if self.authorization() != spoilt:
            return True
        if len(self._tokens) < 2:
            return False
        self._tokens.popleft()
        return True


class ApiWrites:
    """Serves until `close`; `objects` are by path, the status subresource cut off."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.seen: list[Seen] = []
        self.script: deque[Script] = deque()
        self.version = 100
        self.shown = 0  # events of watches
        self.delay = 0.0
        self.lists = False  # whether a GET of a folder lists what is in it
        self.discovery: list[str] = []
        self.on_write: Callable[[str, dict[str, Any]], None] = lambda path, body: None
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self._closed = False
        self.active = self.most_active = 0
        self._tokens = {"Bearer good"}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def access(self, *tokens: str) -> FakeAccess:
        return FakeAccess(self.port, tokens or ("good",))

    def put(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Hold an object under the next version."""
        with self.lock:
            self.version += 1
            body.setdefault("metadata", {})["resourceVersion"] = str(self.version)
            self.objects[path] = body
            self.changed.notify_all()
            return body

    def service(self, namespace: str, name: str, **status: Any) -> dict[str, Any]:
        meta = {"namespace": namespace, "name": name, "uid": f"uid-{name}"}
        path = f"/api/v1/namespaces/{namespace}/services/{name}"
        return self.put(path, {"metadata": meta, "status": status})

    def writes(self) -> list[Seen]:
        with self.lock:
            return [each for each in self.seen if each.method != "GET"]

    def break_connections(self) -> None:
        """Close all that are open, as a restart does."""
        with self.lock:
            for each in self._sockets:
                with suppress(OSError):  # it may have gone by itself
                    each.shutdown(socket.SHUT_RDWR)
            self._sockets.clear()

    def close(self) -> None:
        self._closed = True
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.break_connections()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self.lock:
                self._sockets.append(connection)
                number = len(self._threads)
                thread = threading.Thread(
                    target=self._serve, args=(connection, number), daemon=True
                )
                self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                while (request := _read(stream, number)) is not None:
                    if not self._answer(connection, request):
                        return
            except (OSError, ValueError):
                return
            finally:
                with self.lock:
                    if connection in self._sockets:
                        self._sockets.remove(connection)

    def _answer(self, connection: socket.socket, request: Seen) -> bool:
        with self.lock:
            self.active += 1
            self.most_active = max(self.most_active, self.active)
            trick = self.script.popleft() if self.script else None
            if trick != "drop":
                self.seen.append(request)
        if self.delay:
            time.sleep(self.delay)
        try:
            return self._tricked(connection, request, trick)
        finally:
            with self.lock:
                self.active -= 1

    def _tricked(self, connection: socket.socket, request: Seen, trick: Script | None) -> bool:
        if trick in ("drop", "hang"):
            time.sleep(1.0 if trick == "hang" else 0.0)
            return False
        if "watch=1" in request.path and not isinstance(trick, tuple):
            return self._watched(connection, request)
        if isinstance(trick, tuple):
            status, headers, body = trick
        else:
            status, headers, body = self._done(request)
        if trick == "half":
            connection.sendall(_head(status, headers, len(body)) + body[: len(body) // 2])
            return False
        if trick == "chunked":
            parts = b"".join(b"%x\r\n%s\r\n" % (1, body[i : i + 1]) for i in range(len(body)))
            head = _head(status, {**headers, "Transfer-Encoding": "chunked"}, None)
            connection.sendall(head + parts + b"0\r\nX-Trailer: 1\r\n\r\n")
            return True
        if trick == "interim":
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        if trick == "close":
            headers = {**headers, "Connection": "close"}
        connection.sendall(_head(status, headers, len(body)) + body)
        return trick != "close"

    def _watched(self, connection: socket.socket, request: Seen) -> bool:
        """Every change of the one object that the field selector names."""
        collection, _, query = request.path.partition("?")
        name = query.partition("metadata.name%3D")[2].partition("&")[0]
        shown = query.partition("resourceVersion=")[2].partition("&")[0]
        connection.sendall(_head(200, {"Transfer-Encoding": "chunked"}, None))
        while not self._closed:
            with self.changed:
                self.changed.wait(0.05)
                now = self.objects.get(f"{collection}/{name}")
            version = now["metadata"]["resourceVersion"] if now else ""
            if version == shown:
                continue
            event = {"type": "MODIFIED" if now else "DELETED", "object": now or {"metadata": {}}}
            line = _text(event) + b"\n"
            connection.sendall(b"%x\r\n%s\r\n" % (len(line), line))
            self.shown += 1
            shown = version
        return False

    def _done(self, request: Seen) -> tuple[int, dict[str, str], bytes]:
        if request.headers.get("authorization") not in self._tokens:
            return _status(401, "Unauthorized")
        path = request.path.split("?")[0]
        with self.lock:
            if request.method == "GET":
                found = self.objects.get(path) or self._folder(path, request)
                return (200, {}, _text(found)) if found else _status(404, "not found")
            if request.method == "POST":
                return self._created(path, request)
            if request.method == "DELETE":
                gone = self.objects.pop(path, None)
                return (200, {}, b"{}") if gone else _status(404, "not found")
            return self._changed(path, request)

    def _folder(self, path: str, request: Seen) -> dict[str, Any] | None:
        """A list, by a selector of equals and unequals alone; or the kinds of a group."""
        if not self.lists:
            return None
        if path.count("/") == 3:
            return {"resources": [{"name": each} for each in self.discovery]}
        selector = unquote(request.path.partition("labelSelector=")[2]).split(",")[0]
        label, _, value = selector.replace("!=", "=").partition("=")
        items = [
            body for at, body in self.objects.items()
            if at.rpartition("/")[0] == path
            and (body["metadata"].get("labels", {}).get(label) == value) == ("!=" not in selector)
        ]  # fmt: skip
        return {"items": items}

    def _created(self, path: str, request: Seen) -> tuple[int, dict[str, str], bytes]:
        body = request.json
        path = f"{path}/{body['metadata']['name']}"
        if path in self.objects:
            return _status(409, "already exists")
        made = self.put(path, body)
        self.on_write(path, made)
        return 201, {}, _text(made)

    def _changed(self, path: str, request: Seen) -> tuple[int, dict[str, str], bytes]:
        body = request.json
        is_status = path.endswith("/status")
        path = path.removesuffix("/status")
        old = self.objects.get(path)
        if old is None and (is_status or request.method == "PUT"):
            return _status(404, f'"{path}" not found')
        meta = body.get("metadata", {})
        for name in ("uid", "resourceVersion") if old is not None else ():
            if name in meta and meta[name] != old["metadata"].get(name):
                return _status(409, f"Operation cannot be fulfilled: {name}")
        if old is not None:
            body = _without_deleted(body, old)
            is_merge = request.headers["content-type"] == "application/merge-patch+json"
            kept = old.get("spec", {}) if is_merge else {}
            body = {**old, **body, "metadata": {**old["metadata"], **meta}}
            if kept:
                body["spec"] = {**kept, **body["spec"]}
        made = self.put(path, body)
        self.on_write(path, made)
        return 200, {}, _text(made)


def _without_deleted(body: dict[str, Any], old: dict[str, Any]) -> dict[str, Any]:
    """A strategic merge patch that deletes conditions, as the whole that comes of it."""
    said = body.get("status", {}).get("conditions", [])
    types = {each["type"] for each in said if each.get("$patch") == "delete"}
    if not types:
        return body
    have = old["status"]["conditions"]
    kept = [each for each in have if each["type"] not in types]
    return {**body, "status": {**old["status"], "conditions": kept}}


def _read(stream: Any, number: int) -> Seen | None:
    line = stream.readline().decode()
    if not line:
        return None
    method, path, _ = line.split(" ", 2)
    headers: dict[str, str] = {}
    while (line := stream.readline().decode().strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    return Seen(method, path, headers, body, number)


def _text(body: Any) -> bytes:
    return json.dumps(body).encode()


def _status(code: int, message: str) -> tuple[int, dict[str, str], bytes]:
    body = {"kind": "Status", "message": message, "code": code}
    return code, {}, json.dumps(body, separators=(",", ":")).encode()


def _head(status: int, headers: dict[str, str], length: int | None) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items())]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def settled(requests: Requests) -> None:
    """Wait until every request has ended, and a moment for what its end brings about."""
    until = time.monotonic() + 5
    while requests.waiting():
        assert time.monotonic() < until
        time.sleep(0.001)
    time.sleep(0.01)
