"""A cluster on one machine: namespaces, links and processes, brought up and taken down whole.

None of the lab's namespaces has a link to the machine's own: the LAN is a bridge in a namespace
by itself, so no packet can leave. `down` reads what is there from the lab's directory and from
the kernel, so it also clears what an interrupted or killed `up` left.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO

from onehop.lab import namespace, settle, wiring
from onehop.lab.brokers import brokers
from onehop.lab.folder_store import FolderStore
from onehop.lab.kafka import KafkaCluster
from onehop.lab.kafka_artifacts import ArtifactError, cache_directory, installed
from onehop.lab.lifecycle import claim, require_root, take_down, undisturbed
from onehop.lab.mode import Mode
from onehop.lab.router import (
    ASN,
    Daemon,
    Router,
    await_socket,
    implementation,
    routed_pools,
    router_spec,
)
from onehop.lab.state import (
    LabError,
    Layout,
    Record,
    copy_manifests,
    start_time,
)
from onehop.lab.store import LabStore, StoreKind, read_objects
from onehop.lab.supervisor import READY_FD, Supervisor
from onehop.lab.topology import ROUTER, UPLINK, PodHost, Route, Topology
from onehop.model.objects import Objects

ARTICLE = Path(__file__).parent / "article" / "cluster.yaml"

_ONEHOP = (sys.executable, "-P", "-m", "onehop.cli.main")
_RESPONDER = Path(__file__).parent / "responder.py"
_READY_TIMEOUT = 20.0
_ANNOUNCE_TIMEOUT = 10.0
_KAFKA_TIMEOUT = 90.0
_CONGESTION = Path("/proc/sys/net/ipv4/tcp_congestion_control")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSpec:
    """What a lab is to be.

    `control` False leaves out the controller and the speakers, `responders` False what answers in
    the pods: a bench starts its own. `router` None is BIRD, started when BGP is first wanted.
    `store` is where the objects are: files, or an API server of the lab's own.
    """

    name: str = "lab"
    cluster: Path = ARTICLE
    datapath: str = "ebpf"
    delivery: str = "fast"
    kafka: bool = False
    control: bool = True
    responders: bool = True
    router: str | None = None
    store: StoreKind = "folder"


class Lab:
    """A lab that is up; `Lab.up` makes one and `Lab.attach` finds one."""

    def __init__(
        self, layout: Layout, record: Record, store: LabStore, objects: Objects | None = None
    ) -> None:
        self.layout = layout
        self.record = record
        self._objects = objects
        self.store = store
        self.topology: Topology = store.shape()
        self.supervisor = Supervisor(layout)
        self.unsettled: tuple[str, ...] = ()

    @classmethod
    def up(cls, spec: LabSpec) -> Lab:
        """Build a lab; whatever stops that, an interrupt too, leaves nothing behind.

        Raises:
            LabError: with a sentence for the user.
        """
        layout = Layout(spec.name)
        require_root()
        if spec.kafka and not spec.control:
            raise LabError("--bare needs --no-kafka: a broker tells clients what was allocated")
        record = _record(spec, ready=False)
        claim(layout, record)
        supervisor = Supervisor(layout)
        try:
            copy_manifests(spec.cluster, layout.manifests)
            objects = read_objects(layout.manifests)
            if objects.problems:
                # Later edits may hold errors, and the good objects then stay in force; a lab
                # that is built from half of a cluster would only surprise.
                listed = "".join(f"\n  {problem}" for problem in objects.problems)
                raise LabError(f"the cluster's objects cannot all be read:{listed}")
            lab = cls(layout, record, store_of(layout, record), objects)
            lab.supervisor = supervisor
            lab._build(spec)
            lab.record = _record(spec, ready=True)
            layout.write(lab.record)
        except BaseException as error:
            with undisturbed():
                take_down(layout, supervisor)
            if isinstance(error, OSError):  # the kernel refuses, or a program is missing
                raise LabError(f"the lab cannot be built: {error}") from error
            raise
        return lab

    @classmethod
    def attach(cls, name: str) -> Lab:
        """The lab of this name, which another process brought up.

        Raises:
            LabError: when it is not up.
        """
        layout = Layout(name)
        require_root()
        record = layout.read()
        if record is None or not record.ready:
            raise LabError(f"lab {name!r} is not up: `onehop lab up --name {name}` builds it")
        return cls(layout, record, store_of(layout, record))

    def down(self) -> None:
        """End the processes, remove namespaces, mounts and files; twice is fine."""
        with undisturbed():
            take_down(self.layout, self.supervisor)

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        timeout: float = 30.0,
        check: bool = False,
        input: str | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the namespace of `host`, and return what it said.

        Raises:
            LabError: when there is no such host.
            subprocess.CalledProcessError: when `check` is set and it failed.
            subprocess.TimeoutExpired: when it did not end in time; it is killed then.
        """
        with namespace.entered(self._namespace(host)):
            return subprocess.run(
                argv, capture_output=True, text=True, timeout=timeout, check=check, input=input
            )

    def popen(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: int | IO[bytes] | None = subprocess.DEVNULL,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        env: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a command in the namespace of `host`; the process is the command itself.

        Raises:
            LabError: when there is no such host.
        """
        with namespace.entered(self._namespace(host)):
            return subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=env,
            )

    @contextmanager
    def inside(self, host: str) -> Iterator[None]:
        """The calling thread is in the namespace of `host`; sockets opened there stay there.

        Raises:
            LabError: when there is no such host.
        """
        with namespace.entered(self._namespace(host)):
            yield

    def host(self, name: str) -> str:
        """The host of this name; a pod may also be called `namespace/name`.

        Raises:
            LabError: naming the hosts there are.
        """
        if name in self.topology.hosts:
            return name
        try:
            return self.topology.pod(name).host
        except KeyError:
            known = ", ".join(self.topology.hosts)
            raise LabError(f"the lab has no host {name!r}; it has {known}") from None

    def _namespace(self, host: str) -> Path:
        return self.layout.namespace(self.host(host))

    def set_policy(self, policy: str, services: Iterable[str] | None = None) -> int:
        """Give LoadBalancer Services this externalTrafficPolicy.

        `services` are `namespace/name`, None is all; the count of those that changed comes back.
        """
        return self.store.set_policy(policy, services)

    def set_mode(self, mode: Mode) -> None:
        """Announce the pools by layer 2 or by BGP, and lead the client to them on that path.

        Raises:
            LabError: when an advertisement cannot go over, or the router cannot start.
        """
        if mode == "bgp":
            self.start_router()
            if not self.refresh().bgp_peers:
                self.store.write_peers((own.ip for own in self.topology.router.addresses), ASN)
        self.store.set_advertisements(mode)
        if mode == "l2":
            self.store.remove_peers()
        self._lead_client(through_router=mode == "bgp")

    def _lead_client(self, *, through_router: bool) -> None:
        # In L2 mode the addresses are on the link itself. A route must be there to be deleted.
        client, batch = self.topology.client, ""
        for network, via in routed_pools(self.refresh(), self.topology):
            words = wiring.route_words(Route(network=network, via=via), client.link)
            batch += f"route replace {words}\n"
            if not through_router:
                batch += f"route del {words}\n"
        if not through_router:
            for route in client.routes:
                batch += f"route replace {wiring.route_words(route, client.link)}\n"
        self._ip(client.name, batch)

    def router(self) -> Router:
        """The router of the LAN, started or not."""

        def start(daemon: Daemon) -> None:
            self.supervisor.start(daemon.name, ROUTER, daemon.argv)
            await_socket(daemon, partial(self.supervisor.check, daemon.name))

        kind = implementation(self.record.router)
        return Router(kind, self.layout.router, start, partial(self.run, ROUTER))

    def start_router(self) -> None:
        """Start the router's daemons, unless they run.

        Raises:
            LabError: when one is not installed, or does not come up.
        """
        router = self.router()
        alive = {record.name for record in self.supervisor.records() if record.is_alive()}
        if not alive.issuperset(daemon.name for daemon in router.kind.daemons(router.folder)):
            router.start(router_spec(self.topology, self.objects))

    def refresh(self) -> Objects:
        """Read the store anew: what the objects and their status say now."""
        self._objects = self.store.objects()
        return self._objects

    @property
    def objects(self) -> Objects:
        """The objects as last read, which nobody did before somebody asks."""
        return self.refresh() if self._objects is None else self._objects

    def route_pods(self, host: str = "client") -> None:
        """Give `host` routes to the pods through their nodes: the direct baseline's path."""
        link = self.topology.lan_host(host).link
        words = (wiring.route_words(route, link) for route in self.topology.pod_routes)
        batch = "".join(f"route replace {line}\n" for line in words)
        self._ip(host, batch)

    def kafka(self) -> KafkaCluster:
        """The brokers of this lab, running or not; they need their Services' addresses.

        Raises:
            LabError: when no pod can be a broker, or Kafka is not installed.
        """
        found = brokers(self.refresh(), self.topology)
        if not found:
            raise LabError(
                "no Pod has a LoadBalancer Service with an address to itself, so no Kafka broker "
                "has an address to tell its clients: --no-kafka puts a responder there"
            )
        try:
            artifacts = installed(cache_directory(os.environ))
        except ArtifactError as error:
            raise LabError(str(error)) from error
        return KafkaCluster(found, self.layout.kafka, self._popen_broker, artifacts)

    def _popen_broker(
        self, host: str, argv: Sequence[str], *, stdout: IO[bytes], stderr: int
    ) -> subprocess.Popen[bytes]:
        child = self.popen(host, argv, stdout=stdout, stderr=stderr)
        # A broker that is asked to leave while the whole quorum does waits for votes that never
        # come, so brokers are ended without being asked.
        name = f"broker-{host}"
        self.supervisor.adopt(name, host, child, log=Path(str(stdout.name)), sudden=True)
        return child

    def mount_bpf(self, node: str) -> Path:
        """Mount the BPF file system of a node, in which its maps and links are pinned."""
        path = self.layout.bpf / node
        if not path.is_mount():
            namespace.mount_bpf(path)
        return path

    def _build(self, spec: LabSpec) -> None:
        self._wire()
        self.store.start(self.supervisor)
        if spec.router is not None or self.objects.bgp_peers:
            self.start_router()
        if spec.control:
            self.start_controller()
            for node in self.topology.nodes:
                self.start_speaker(node.name)
        if spec.responders and not spec.kafka:
            self._start_responders(self.topology.pods)
        self.supervisor.await_ready(_READY_TIMEOUT)
        if spec.control:
            self._await_statuses()
        if spec.kafka:
            self._start_kafka()
        if spec.control:
            self._await_endpoints(served=spec.responders or spec.kafka)
            self._await_answers()
        self.supervisor.check()

    def _wire(self) -> None:
        for host in self.topology.hosts:
            path = self.layout.namespace(host)
            namespace.create(path, self.layout.netns_name(host))
            namespace.write_sysctls(path, wiring.sysctls(self.topology, host))
            _choose_congestion_control(path)
        for host, batch in wiring.batches(self.topology, self.layout.namespace):
            self._ip(host, batch)

    def _await_statuses(self) -> None:
        """Wait until the controller has spoken; whom it left out goes to `unsettled`."""

        def silent() -> tuple[object, ...]:
            self.supervisor.check()
            return self.store.without_status(self.objects)

        left = settle.wait(_READY_TIMEOUT, silent)
        self.unsettled += tuple(f"Service {key} has no status yet" for key in left)

    def _await_endpoints(self, *, served: bool) -> None:
        """Wait until it is known that the pods serve; what lacks some, to `unsettled`."""

        def unknown() -> tuple[object, ...]:
            self.supervisor.check()
            return self.store.without_endpoints() if served else ()

        left = settle.wait(_READY_TIMEOUT, unknown)
        self.unsettled += tuple(f"Service {key} has not all its endpoints yet" for key in left)

    def _await_answers(self) -> None:
        """Wait until the client's questions are answered; those that are not, to `unsettled`."""
        wanted = settle.expected(self.refresh(), self.topology)

        def unknown() -> tuple[object, ...]:
            self.supervisor.check()
            return settle.unanswered(self.layout, self.topology, wanted)

        left = settle.wait(_ANNOUNCE_TIMEOUT, unknown)
        self.unsettled += tuple(f"no node answers for {address} yet" for address in left)

    def _start_kafka(self) -> None:
        cluster = self.kafka()
        hosts = {broker.host for broker in cluster.brokers}
        self._start_responders(pod for pod in self.topology.pods if pod.host not in hosts)
        cluster.start()
        cluster.wait_ready(time.monotonic() + _KAFKA_TIMEOUT)
        self.supervisor.await_ready(_READY_TIMEOUT)

    def _ip(self, host: str, batch: str) -> None:
        done = self.run(host, ("ip", "-batch", "-"), input=batch)
        if done.returncode != 0:
            raise LabError(f"{host}: ip -batch: {done.stderr.strip()}\n{batch}")

    def _start_responders(self, pods: Iterable[PodHost]) -> None:
        for pod in pods:
            if not pod.ports:
                continue
            argv = [sys.executable, "-IS", str(_RESPONDER), "--name", pod.key.name]
            for port in pod.ports:
                argv += ["--port", str(port)]
            argv += ["--ready-fd", READY_FD]
            self.supervisor.start(f"responder-{pod.name}", pod.host, argv)

    def start_controller(self) -> None:
        """Start the controller; the one before must have ended."""
        words, env = self.store.controller()
        argv = [*_ONEHOP, "controller", *words]
        host = self.store.controller_host
        self.supervisor.start("controller", host, argv, env=_own_environment(env))

    def start_speaker(self, node: str) -> None:
        """Start the speaker of a node; the one before must have ended."""
        options = ["--node-name", node, "--datapath", self.record.datapath]
        if self.record.datapath != "none":
            options += ["--delivery", self.record.delivery]
            options += ["--bpf-dir", str(self.mount_bpf(node)), "--uplink", UPLINK]
        words, env = self.store.speaker()
        argv = [*_ONEHOP, "speaker", *words, *options]
        self.supervisor.start(f"speaker-{node}", node, argv, env=_own_environment(env))


def store_of(layout: Layout, record: Record) -> LabStore:
    """Where the objects of a lab are."""
    if record.store == "kubernetes":
        from onehop.lab.kube_store import KubeLabStore

        return KubeLabStore(layout)
    return FolderStore(layout)


def _own_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Our environment, without what a user set to lead onehop to another store."""
    own = {k: v for k, v in os.environ.items() if k != "KUBECONFIG" and "ONEHOP_" not in k}
    return {**own, **more}


def _choose_congestion_control(path: Path) -> None:
    # A namespace inherits the machine's default. BBR paces by its own estimate, which on links
    # without a rate measures BBR; a namespace may not choose cubic where it is restricted.
    with namespace.entered(path):
        for name in ("cubic", "reno"):
            with suppress(OSError):
                _CONGESTION.write_text(name)
                return


def _record(spec: LabSpec, *, ready: bool) -> Record:
    return Record(
        builder=os.getpid(),
        builder_started=start_time(os.getpid()) or 0,
        ready=ready,
        datapath=spec.datapath,
        delivery=spec.delivery,
        kafka=spec.kafka,
        router=spec.router or "bird",
        store=spec.store,
    )
