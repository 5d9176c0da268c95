"""The scenes of the article, each with what must be seen and what was.

What was seen is read from kernel tables (`arp -a`, the service table's maps, link counters), from
answers on the wire (`arping`) and from Kafka's own words: never from onehop's memory. What is
expected is the article's own text, so the scenes belong to the article's cluster.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from onehop.lab import observe
from onehop.lab.kafka import KafkaCluster
from onehop.lab.kafka_remote import KafkaClient
from onehop.lab.lab import Lab
from onehop.lab.probe import Seen, eventually, kafka_probe, responder_probe
from onehop.lab.topology import CLIENT, CLIENT_LINK, UPLINK
from onehop.model.address import IPAddress

PORT = 9096
BOOTSTRAP = "192.168.200.240"
CLIENT_ADDRESS = "192.168.200.10"
NODE_ADDRESS = {
    "node0": "192.168.200.200",
    "node1": "192.168.200.201",
    "node2": "192.168.200.202",
}
MAC = {
    "node0": "f4:6b:8c:82:42:33",
    "node1": "f4:6b:8c:82:42:2b",
    "node2": "f4:6b:8c:82:41:f8",
}
CLUSTER_OWNER = {
    "192.168.200.240": "node2",
    "192.168.200.241": "node0",
    "192.168.200.242": "node2",
    "192.168.200.243": "node1",
}
LOCAL_OWNER = {
    "192.168.200.241": "node1",
    "192.168.200.242": "node2",
    "192.168.200.243": "node0",
}
BROKER_ADDRESS = ("192.168.200.241", "192.168.200.242", "192.168.200.243")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One scene played: the command a person would type, what the article shows, what was seen."""

    scene: int
    title: str
    command: str
    expected: str
    seen: str
    ok: bool


class Stage:
    """A lab that is up, and Kafka in it unless the pods hold responders."""

    def __init__(self, lab: Lab, kafka: KafkaCluster | None) -> None:
        self.lab = lab
        self.kafka = kafka
        self.witness = "broker's request log" if kafka is not None else "the responder's greeting"

    def policy(self, policy: str) -> None:
        """Set externalTrafficPolicy on layer 2 and wait until the client sees its owners."""
        self.lab.set_mode("l2")
        self.lab.set_policy(policy)
        owners = CLUSTER_OWNER if policy == "Cluster" else LOCAL_OWNER
        for address, owner in owners.items():
            eventually(partial(self.owns, owner, address))
        self.forget_neighbours()

    def forget_neighbours(self) -> None:
        """Empty the client's neighbour table, so that what it holds next was asked for."""
        observe.forget_neighbours(self.lab, CLIENT)

    def answers(self, address: str, seconds: float = 1.0) -> set[str]:
        """The MACs that answer ARP requests for an address in a time, as `arping` saw them."""
        argv = ("arping", "-r", "-b", "-c", "3", "-W", "0.2", "-w", str(seconds))
        said = self.lab.run(CLIENT, (*argv, "-I", CLIENT_LINK, address), timeout=15).stdout
        return set(re.findall(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", said.lower()))

    def owns(self, owner: str, address: str) -> bool:
        """Whether the first answer for an address is its owner's."""
        argv = ("arping", "-r", "-b", "-c", "1", "-C", "1", "-w", "0.3", "-I", CLIENT_LINK)
        return self.lab.run(CLIENT, (*argv, address), timeout=15).stdout.strip() == MAC[owner]

    def arp(self, address: str) -> str:
        """The client's `arp -a` line for an address."""
        return observe.arp_line(self.lab, CLIENT, ip_address(address))

    def probe(self, address: str, port: int, times: int = 20) -> Seen:
        """What the server behind an address sees of the client."""
        where: IPAddress = ip_address(address)
        if self.kafka is None:
            return responder_probe(self.lab, CLIENT, where, port, times)
        return kafka_probe(self.lab, self.kafka, CLIENT, where, port, times)

    def service_row(self, node: str, address: str) -> str:
        """The line of `onehop service list` on a node for an address, spaces folded."""
        argv = (
            sys.executable, "-P", "-m", "onehop.cli.main", "service", "list",
            "--bpf-dir", str(self.lab.layout.bpf / node),
        )  # fmt: skip
        done = self.lab.run(node, argv)
        lines = [line for line in done.stdout.splitlines() if f" {address}:" in f" {line}"]
        return re.sub(r" {2,}", "  ", lines[0].strip()) if lines else done.stderr.strip()


def node_port(stage: Stage) -> Scene:
    """Scene 1: a NodePort on a node that does not hold the broker costs a node and the source."""
    stage.policy("Cluster")
    # An ARP entry for node0 is there before the counting starts.
    stage.probe(NODE_ADDRESS["node0"], 30793, 1)
    before = observe.counters(stage.lab, "node0", UPLINK)
    seen = stage.probe(NODE_ADDRESS["node0"], 30793, 200)
    carried = observe.counters(stage.lab, "node0", UPLINK) - before
    came, went = carried.received_bytes, carried.sent_bytes
    payload = seen.payload_bytes
    return Scene(
        scene=1,
        title="NodePort 30793 on node0: through a node that has no part in it",
        command=f"client$ connect 192.168.200.200 30793; {stage.witness}",
        expected=f"kafka-0 sees 192.168.200.200; node0's {UPLINK} carries the bytes in and out",
        seen=(
            f"{seen.server} sees {seen.source}; node0's {UPLINK} carried {came} bytes in and "
            f"{went} out for {payload} of payload"
        ),
        ok=(seen.server, seen.source) == ("kafka-0", NODE_ADDRESS["node0"])
        and min(came, went) >= payload,
    )


def l2_cluster(stage: Stage) -> Scene:
    """Scene 2: under Cluster the elected node answers, wherever the broker is."""
    stage.policy("Cluster")
    line, seen = _asked(stage, "192.168.200.241")
    owners = {a: stage.answers(a) for a in CLUSTER_OWNER}
    expected = f"? (192.168.200.241) at {MAC['node0']} [ether] on {CLIENT_LINK}"
    return Scene(
        scene=2,
        title="L2, Cluster: node0 answers though the broker is on node1",
        command="client$ arp -a",
        expected=f"{expected}; owners {_owners(CLUSTER_OWNER)}",
        seen=f"{line}; owners {_seen_owners(owners)}; {seen.server} answered",
        ok=line == expected
        and owners == {a: {MAC[o]} for a, o in CLUSTER_OWNER.items()}
        and seen.server == "kafka-0",
    )


def l2_local(stage: Stage) -> Scene:
    """Scene 3: under Local the broker's own node answers, and the broker sees the client."""
    stage.policy("Local")
    line, seen = _asked(stage, "192.168.200.241")
    expected = f"? (192.168.200.241) at {MAC['node1']} [ether] on {CLIENT_LINK}"
    return Scene(
        scene=3,
        title="L2, Local: node1, the broker's node, answers",
        command=f"client$ arp -a; {stage.witness}",
        expected=f"{expected}; kafka-0 sees {CLIENT_ADDRESS}",
        seen=f"{line}; {seen.server} sees {seen.source}",
        ok=line == expected and (seen.server, seen.source) == ("kafka-0", CLIENT_ADDRESS),
    )


def _asked(stage: Stage, address: str) -> tuple[str, Seen]:
    """The client connects, and its neighbour table then holds who answered."""
    stage.forget_neighbours()
    seen = stage.probe(address, PORT)
    return stage.arp(address), seen


def _table(stage: Stage, number: int, node: str, title: str, expected: str) -> Scene:
    stage.policy("Local")
    # The ID column is a number that nobody promises.
    eventually(lambda: _without_id(stage.service_row(node, "192.168.200.241")) == expected)
    seen = _without_id(stage.service_row(node, "192.168.200.241"))
    return Scene(
        scene=number,
        title=title,
        command=f"{node}$ onehop service list",
        expected=expected,
        seen=seen,
        ok=seen == expected,
    )


def _without_id(row: str) -> str:
    return re.sub(r"^\d+ +", "", row)


def table_with_backend(stage: Stage) -> Scene:
    """Scene 4: the broker's node has the backend."""
    return _table(
        stage,
        4,
        "node1",
        "service table of node1, Local: the broker is its backend",
        "192.168.200.241:9096  LoadBalancer  1 => 10.0.2.233:9096 (active)",
    )


def table_without_backend(stage: Stage) -> Scene:
    """Scene 5: another node has the frontend, and no backend."""
    return _table(
        stage,
        5,
        "node0",
        "service table of node0, Local: the frontend without a backend",
        "192.168.200.241:9096  LoadBalancer",
    )


def kafka_client(stage: Stage) -> Scene:
    """Scene 6: a Kafka client bootstraps at one address and then meets each broker at its own."""
    stage.policy("Local")
    title = "a Kafka client bootstraps at .240 and meets each broker at its own address"
    command = f"client$ kafka client --bootstrap {BOOTSTRAP}:{PORT}"
    expected = "Metadata .241 .242 .243; 30 of 30 records; sockets to .241 .242 .243"
    if stage.kafka is None:
        return Scene(
            scene=6, title=title, command=command, expected=expected,
            seen="there is no Kafka in this lab (--no-kafka)", ok=False,
        )  # fmt: skip
    client = KafkaClient(stage.lab.run, CLIENT, f"{BOOTSTRAP}:{PORT}")
    named = {broker.host for broker in client.metadata().brokers}
    trip = client.roundtrip(records=10)
    used = {socket.rpartition(":")[0].strip("[]") for socket in trip.sockets}
    met = sorted(used & set(BROKER_ADDRESS))
    hosts = {member.host.strip("/") for member in client.group_hosts()}
    return Scene(
        scene=6,
        title=title,
        command=command,
        expected=f"{expected}; coordinators see {CLIENT_ADDRESS}",
        seen=(
            f"Metadata {_short(named)}; {trip.consumed} of {trip.produced} records; "
            f"sockets to {_short(met)}; coordinators see {', '.join(sorted(hosts))}"
        ),
        ok=named == set(BROKER_ADDRESS)
        and trip.produced == trip.consumed == 30
        and met == sorted(BROKER_ADDRESS)
        and hosts == {CLIENT_ADDRESS},
    )


def one_owner(stage: Stage) -> Scene:
    """Scene 9: endpoints on several nodes, and still one node at a time owns the address."""
    stage.policy("Local")
    owner = CLUSTER_OWNER[BOOTSTRAP]
    eventually(partial(stage.owns, owner, BOOTSTRAP))
    seen = stage.answers(BOOTSTRAP)
    return Scene(
        scene=9,
        title="L2 with endpoints on three nodes: one node at a time owns the address",
        command=f"client$ arping -b -c 3 -I {CLIENT_LINK} {BOOTSTRAP}",
        expected=f"every answer from {owner} ({MAC[owner]})",
        seen="answers from " + ", ".join(_named(mac) for mac in sorted(seen)),
        ok=seen == {MAC[owner]},
    )


SCENES: dict[int, Callable[[Stage], Scene]] = {
    1: node_port,
    2: l2_cluster,
    3: l2_local,
    4: table_with_backend,
    5: table_without_backend,
    6: kafka_client,
    9: one_owner,
}


def _named(mac: str) -> str:
    name = next((name for name, own in MAC.items() if own == mac), "a stranger")
    return f"{name} ({mac})"


def _short(addresses: object) -> str:
    assert isinstance(addresses, (set, list)), "addresses come as a set or a list"
    return " ".join(f".{str(a).rpartition('.')[2]}" for a in sorted(addresses)) or "none"


def _owners(owners: dict[str, str]) -> str:
    return " ".join(f".{a.rpartition('.')[2]}={owner}" for a, owner in owners.items())


def _seen_owners(owners: dict[str, set[str]]) -> str:
    names = {mac: name for name, mac in MAC.items()}
    return " ".join(
        f".{a.rpartition('.')[2]}={'+'.join(sorted(names.get(m, m) for m in macs)) or 'nobody'}"
        for a, macs in owners.items()
    )
