"""The baseline's rules load, carry clients as kube-proxy's would, and go again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from onehop.lab import baseline
from onehop.lab.lab import Lab, LabSpec
from onehop.lab.observe import Capture, Counters, datagram_greeting, greeting, uplink_counters
from onehop.model.objects import Objects
from onehop.model.service import TrafficPolicy

pytestmark = [pytest.mark.root, pytest.mark.lab]

CLIENT = IPv4Address("192.168.200.10")
NODES = {f"node{n}": IPv4Address("192.168.200.200") + n for n in range(3)}
EXTERNAL = IPv4Address("192.168.200.241")
NODE_PORT = 30793


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab.up(LabSpec(name=f"labtest-{os.getpid()}-n", control=False)) as made:
        yield made


def with_policy(objects: Objects, policy: TrafficPolicy) -> Objects:
    """The cluster as the controller would leave it, with one policy for all Services."""
    return replace(
        objects,
        services={
            key: replace(
                service,
                traffic_policy=policy,
                ingress=(IPv4Address(service.annotations["metallb.io/loadBalancerIPs"]),),
            )
            for key, service in objects.services.items()
        },
    )


def via(lab: Lab, node: str) -> None:
    """Lead the client to the external addresses through `node`, as its announcement would."""
    route = ["ip", "route", "replace", "192.168.200.240/29", "via", str(NODES[node])]
    lab.run("client", route, check=True)


def test_a_node_port_crosses_a_node_that_has_no_part_in_it(lab: Lab) -> None:
    """Cluster: the broker sees the address of node0, whose link carries the bytes twice."""
    baseline.apply(lab, with_policy(lab.objects, TrafficPolicy.CLUSTER))
    before = uplink_counters(lab)["node0"]
    with Capture(lab, "node0", "eno1", "tcp") as capture:
        seen = greeting(lab, "client", NODES["node0"], NODE_PORT)
    after = uplink_counters(lab)["node0"]
    assert (seen.pod, seen.source) == ("kafka-0", NODES["node0"])
    moved: Counters = after - before
    assert capture.captured.lost == 0
    assert 6 <= capture.captured.received == capture.captured.sent
    assert capture.captured.received_bytes == capture.captured.sent_bytes
    assert moved.received_bytes >= capture.captured.received_bytes
    assert moved.sent_bytes >= capture.captured.sent_bytes


def test_a_load_balancer_address_with_policy_local_keeps_the_source(lab: Lab) -> None:
    baseline.apply(lab, with_policy(lab.objects, TrafficPolicy.LOCAL))
    via(lab, "node1")
    seen = greeting(lab, "client", EXTERNAL, 9096)
    assert (seen.pod, seen.source) == ("kafka-0", CLIENT)


def test_policy_local_drops_where_no_endpoint_is(lab: Lab) -> None:
    baseline.apply(lab, with_policy(lab.objects, TrafficPolicy.LOCAL))
    with pytest.raises(TimeoutError):
        greeting(lab, "client", NODES["node0"], NODE_PORT, timeout=0.3)
    assert greeting(lab, "client", NODES["node1"], NODE_PORT).source == CLIENT


def test_rules_go_and_may_go_twice(lab: Lab) -> None:
    baseline.apply(lab, with_policy(lab.objects, TrafficPolicy.CLUSTER))
    baseline.remove(lab)
    baseline.remove(lab)
    assert lab.run("node0", ["nft", "list", "ruleset"], check=True).stdout == ""
    with pytest.raises(ConnectionRefusedError):
        greeting(lab, "client", NODES["node0"], NODE_PORT)


def test_the_responder_answers_datagrams_too(lab: Lab) -> None:
    lab.route_pods()
    pod = lab.topology.pod("kafka/kafka-1")
    seen = datagram_greeting(lab, "client", pod.addresses[0], 9096)
    assert (seen.pod, seen.source) == ("kafka-1", CLIENT)


DUAL = """
{kind: Node, apiVersion: v1, metadata: {name: left},
 status: {addresses: [{type: InternalIP, address: 10.1.0.5},
                      {type: InternalIP, address: "fd00::5"}]}}
---
{kind: Node, apiVersion: v1, metadata: {name: right},
 spec: {podCIDRs: [10.2.1.0/24, "fd01::/64"]},
 status: {addresses: [{type: InternalIP, address: 10.1.0.6},
                      {type: InternalIP, address: "fd00::6"}]}}
---
{kind: Pod, apiVersion: v1, metadata: {name: web, namespace: one},
 spec: {nodeName: right, containers: [{name: a, ports: [{containerPort: 8080}]}]},
 status: {podIPs: [{ip: 10.2.1.7}, {ip: "fd01::7"}]}}
---
{kind: Service, apiVersion: v1, metadata: {name: web, namespace: one},
 spec: {type: NodePort, ports: [{name: a, port: 80, protocol: TCP, nodePort: 30080},
                                {name: b, port: 80, protocol: UDP, nodePort: 30081}]}}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, addressType: IPv4,
 metadata: {name: web-4, namespace: one, labels: {kubernetes.io/service-name: web}},
 ports: [{name: a, port: 8080, protocol: TCP}, {name: b, port: 8080, protocol: UDP}],
 endpoints: [{addresses: [10.2.1.7], nodeName: right}]}
---
{kind: EndpointSlice, apiVersion: discovery.k8s.io/v1, addressType: IPv6,
 metadata: {name: web-6, namespace: one, labels: {kubernetes.io/service-name: web}},
 ports: [{name: a, port: 8080, protocol: TCP}, {name: b, port: 8080, protocol: UDP}],
 endpoints: [{addresses: ["fd01::7"], nodeName: right}]}
"""


def test_both_families_and_both_protocols(tmp_path: Path) -> None:
    """A node port of either protocol, at a node of either family, ends in the one pod."""
    (tmp_path / "dual.yaml").write_text(DUAL)
    name = f"labtest-{os.getpid()}-d"
    with Lab.up(LabSpec(name=name, cluster=tmp_path, control=False)) as dual:
        baseline.apply(dual)
        for node in dual.topology.nodes:
            for interface in node.addresses:
                for ask, port in ((greeting, 30080), (datagram_greeting, 30081)):
                    seen = ask(dual, "client", interface.ip, port)
                    assert seen.pod == "web"
                    assert seen.source.version == interface.version
