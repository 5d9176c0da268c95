"""A small API server for tests: lists in pages, watches, and every way in which they fail.

It holds plain objects, serves them over HTTP on the loopback, and keeps a log of requests. What
it does wrong is ordered in advance: `answer` gives the next requests of a kind an error, `cut`
breaks the watches off inside an object, `silence` leaves them open without a byte, `compact` makes
old versions unknown, `go_back` restores an older version of everything.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

Plain = dict[str, Any]
PLURALS = {
    "services": ("v1", "Service"),
    "nodes": ("v1", "Node"),
    "namespaces": ("v1", "Namespace"),
    "secrets": ("v1", "Secret"),
    "configmaps": ("v1", "ConfigMap"),
    "endpointslices": ("discovery.k8s.io/v1", "EndpointSlice"),
    "ipaddresspools": ("metallb.io/v1beta1", "IPAddressPool"),
    "l2advertisements": ("metallb.io/v1beta1", "L2Advertisement"),
    "bgppeers": ("metallb.io/v1beta2", "BGPPeer"),
    "bgpadvertisements": ("metallb.io/v1beta1", "BGPAdvertisement"),
    "bfdprofiles": ("metallb.io/v1beta1", "BFDProfile"),
    "communities": ("metallb.io/v1beta1", "Community"),
}
Id = tuple[str, str, str]


@dataclass
class Call:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, str]
    accept: str
    authorization: str
    at: float = field(default_factory=time.monotonic)

    @property
    def plural(self) -> str:
        steps = self.path.strip("/").split("/")
        return next((step for step in reversed(steps) if step in PLURALS), "")

    @property
    def is_watch(self) -> bool:
        return "watch" in self.query


@dataclass
class Ordered:
    """An answer that was ordered: how often, and what; `watch` None for any request."""

    status: int
    left: int
    watch: bool | None = None
    retry_after: int = 0


class ApiServer:
    """Starts at once; `stop` and `start` are the server going away and coming back."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 100
        self.oldest = 0
        self.objects: dict[Id, Plain] = {}
        self.history: list[tuple[int, str, Plain]] = []
        self.calls: list[Call] = []
        self.ordered: dict[str, Ordered] = {}
        self.missing: set[str] = set()
        self.versions = {name: version for name, (version, _) in PLURALS.items()}
        self.epoch = 0  # open watches end when it changes
        self.cutting = False
        self.silent = False
        self.knows_its_past = False  # whether it refuses a version that is still to come
        self.token = ""
        self.bookmark_seconds = 0.0
        self._http: ThreadingHTTPServer | None = None
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_served_by(self, http: object) -> bool:
        """Whether that is the server that runs now: connections do not outlive theirs."""
        return self._http is http

    def start(self) -> None:
        api = self

        class Handler(_Handler):
            server_of = api

        ThreadingHTTPServer.daemon_threads = True
        ThreadingHTTPServer.request_queue_size = 64
        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """No connection is accepted any more, and open ones end."""
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        self.end_watches()

    def end_watches(self) -> None:
        with self.changed:
            self.epoch += 1
            self.changed.notify_all()

    def cut(self) -> None:
        """Break all watches off in the middle of an object."""
        self.cutting = True
        self.end_watches()

    def silence(self) -> None:
        """Open watches stay open, and nothing comes any more; new ones speak."""
        with self.changed:
            self.silent = True
            self.epoch += 1
            self.changed.notify_all()

    def compact(self) -> None:
        """Forget old versions: a watch from one of them is told 410."""
        with self.changed:
            self.version += 1
            self.oldest = self.version

    def answer(self, plural: str, status: int, times: int = 10**9, **more: Any) -> None:
        self.ordered[plural] = Ordered(status=status, left=times, **more)

    def put(self, *objects: Plain) -> None:
        with self.changed:
            for each in objects:
                name = identity(each)
                what = "MODIFIED" if name in self.objects else "ADDED"
                self._note(what, name, json.loads(json.dumps(each)))
            self.changed.notify_all()

    def delete(self, kind: str, namespace: str, name: str) -> None:
        with self.changed:
            gone = self.objects[kind, namespace, name]
            self._note("DELETED", (kind, namespace, name), json.loads(json.dumps(gone)))
            self.changed.notify_all()

    def _note(self, what: str, name: Id, body: Plain) -> None:
        self.version += 1
        meta = body["metadata"]
        meta["resourceVersion"] = str(self.version)
        before = self.objects.get(name)
        meta["uid"] = before["metadata"]["uid"] if before else f"uid-{self.version}"
        if what == "DELETED":
            del self.objects[name]
        else:
            self.objects[name] = body
        self.history.append((self.version, what, body))

    def go_back(self, objects: dict[Id, Plain], version: int) -> None:
        """Be as an older backup says."""
        with self.changed:
            self.objects, self.version, self.history = dict(objects), version, []
            self.epoch += 1
            self.changed.notify_all()

    def listed(self, call: Call) -> list[Plain]:
        kind = PLURALS[call.plural][1]
        found = [each for name, each in sorted(self.objects.items()) if name[0] == kind]
        return [each for each in found if selected(call, each)]

    def requests(self, plural: str, *, watch: bool | None = None) -> list[Call]:
        return [
            call
            for call in self.calls
            if call.plural == plural and (watch is None or call.is_watch == watch)
        ]


def identity(body: Plain) -> Id:
    meta = body["metadata"]
    return body["kind"], meta.get("namespace", ""), meta["name"]


def selected(call: Call, body: Plain) -> bool:
    steps = call.path.strip("/").split("/")
    meta = body["metadata"]
    if (
        "namespaces" in steps[:-1]
        and meta.get("namespace") != steps[steps.index("namespaces") + 1]
    ):
        return False
    _, _, name = call.query.get("fieldSelector", "").partition("metadata.name=")
    return not name or meta["name"] == name


def status(code: int, message: str, **more: Any) -> Plain:
    return {"kind": "Status", "apiVersion": "v1", "code": code, "message": message, **more}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of: ApiServer

    def handle(self) -> None:
        with suppress(ConnectionError):  # clients that leave are what tests are about
            super().handle()

    def log_message(self, *args: object) -> None:
        """Tests read the log of calls."""

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        call = Call(
            method="GET",
            path=url.path,
            query=query,
            accept=self.headers.get("Accept", ""),
            authorization=self.headers.get("Authorization", ""),
        )
        api = self.server_of
        if not api.is_served_by(self.server):
            self.close_connection = True
            return
        api.calls.append(call)
        if api.token and call.authorization != f"Bearer {api.token}":
            self._send(401, status(401, "Unauthorized"))
        elif self._refused(call):
            return
        elif not self._is_served(call):
            self._send(404, status(404, "the server could not find the requested resource"))
        elif call.is_watch:
            self._watch(call)
        else:
            self._list(call)

    def _refused(self, call: Call) -> bool:
        order = self.server_of.ordered.get(call.plural)
        if order is None or order.left <= 0 or order.watch not in (None, call.is_watch):
            return False
        order.left -= 1
        after = {"Retry-After": str(order.retry_after)} if order.retry_after else {}
        self._send(order.status, status(order.status, f"ordered {order.status}"), **after)
        return True

    def _is_served(self, call: Call) -> bool:
        api, steps = self.server_of, call.path.strip("/").split("/")
        version = "/".join(steps[1:3]) if steps[0] == "apis" else steps[1]
        return call.plural not in api.missing and api.versions.get(call.plural) == version

    def _list(self, call: Call) -> None:
        api = self.server_of
        with api.changed:
            items, version = api.listed(call), api.version
            start, _, then = call.query.get("continue", "0").partition(".")
            if then and int(then) < api.oldest:
                self._send(410, status(410, "the continue token is too old", reason="Expired"))
                return
        size = int(call.query.get("limit", 0)) or len(items)
        at = int(start)
        meta: Plain = {"resourceVersion": then or str(version)}
        if at + size < len(items):
            meta["continue"] = f"{at + size}.{meta['resourceVersion']}"
        name = PLURALS[call.plural][1]
        self._send(200, {"kind": f"{name}List", "metadata": meta, "items": items[at:][:size]})

    def _watch(self, call: Call) -> None:
        api = self.server_of
        if api.knows_its_past and int(call.query["resourceVersion"]) > api.version:
            self._send(504, status(504, "Too large resource version", reason="Timeout"))
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for piece in self._events(call):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            if self.close_connection or not self.server_of.is_served_by(self.server):
                self.close_connection = True
                return
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True

    def _events(self, call: Call) -> Iterator[bytes]:
        """The lines of a watch, those that come together in one piece."""
        api, epoch, at = self.server_of, self.server_of.epoch, 0
        since = int(call.query["resourceVersion"])
        if since < api.oldest:
            yield line("ERROR", status(410, "too old resource version", reason="Expired"))
            return
        until = time.monotonic() + float(call.query.get("timeoutSeconds", 60))
        while time.monotonic() < until:
            with api.changed:
                new, at = api.history[at:], len(api.history)
                if not new and api.epoch == epoch:
                    api.changed.wait(api.bookmark_seconds or 1.0)
                ended, version = api.epoch != epoch, api.version
            kind = PLURALS[call.plural][1]
            lines = [
                line(what, body)
                for number, what, body in new
                if number > since and body["kind"] == kind and selected(call, body)
            ]
            if lines:
                yield b"".join(lines)
            elif api.bookmark_seconds and version >= since:
                yield line("BOOKMARK", {"metadata": {"resourceVersion": str(version)}})
            if ended:
                yield from self._end(call)
                return

    def _end(self, call: Call) -> Iterator[bytes]:
        api = self.server_of
        if api.cutting:
            self.close_connection = True
            yield b'{"type":"MODIFIED","object":{"metadata":{"name":"ha'
        while api.silent and api.is_served_by(self.server):
            time.sleep(0.02)
        del call

    def _send(self, code: int, body: Plain, **headers: str) -> None:
        text = json.dumps(body).encode()
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def line(what: str, body: Plain) -> bytes:
    return json.dumps({"type": what, "object": body}).encode() + b"\n"
