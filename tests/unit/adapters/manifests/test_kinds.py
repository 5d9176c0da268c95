"""Every kind that is read, field by field."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from onehop.adapters.manifests import Manifests
from onehop.model.address import Family, parse_range
from onehop.model.config import (
    L2Advertisement,
    LabelSelector,
    Namespace,
    Operator,
    Pool,
    PreferredNode,
    Requirement,
    ServiceAllocation,
)
from onehop.model.node import Node, Pod
from onehop.model.objects import Objects
from onehop.model.service import (
    Endpoint,
    EndpointPort,
    EndpointSlice,
    FamilyPolicy,
    Key,
    Protocol,
    Service,
    ServicePort,
    TrafficPolicy,
)
from tests.unit.adapters.manifests.texts import POD, SERVICE, SLICE, read


def test_service(store: Manifests, folder: Path) -> None:
    """Every field of a Service that is read."""
    text = """\
apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  creationTimestamp: 2026-11-22T11:18:39Z
  labels: {app: web}
  annotations: {metallb.io/address-pool: pool}
  finalizers: [service.kubernetes.io/load-balancer-cleanup]
spec:
  type: LoadBalancer
  clusterIP: fd00::1
  clusterIPs: ["fd00::1", 10.96.0.1]
  ipFamilies: [IPv6, IPv4]
  ipFamilyPolicy: PreferDualStack
  externalTrafficPolicy: Local
  loadBalancerIP: 192.0.2.7
  loadBalancerClass: onehop.example/lb
  loadBalancerSourceRanges: [198.51.100.0/24]
  sessionAffinity: ClientIP
  selector: {app: web}
  ports:
  - {name: http, protocol: TCP, port: 80, targetPort: http, nodePort: 30080}
  - {name: dns, protocol: UDP, port: 53, targetPort: 5353}
status:
  loadBalancer:
    ingress:
    - {ip: 192.0.2.7, ipMode: VIP}
    - {hostname: web.example}
"""
    assert read(store, folder, text).services == {
        Key("shop", "web"): Service(
            key=Key("shop", "web"),
            type="LoadBalancer",
            labels={"app": "web"},
            annotations={"metallb.io/address-pool": "pool"},
            cluster_ips=(ip_address("fd00::1"), ip_address("10.96.0.1")),
            ip_families=(Family.IPV6, Family.IPV4),
            family_policy=FamilyPolicy.PREFER_DUAL,
            traffic_policy=TrafficPolicy.LOCAL,
            load_balancer_ip="192.0.2.7",
            load_balancer_class="onehop.example/lb",
            source_ranges=("198.51.100.0/24",),
            session_affinity="ClientIP",
            selector={"app": "web"},
            ports=(
                ServicePort(name="http", protocol=Protocol.TCP, port=80, node_port=30080),
                ServicePort(name="dns", protocol=Protocol.UDP, port=53),
            ),
            created="2026-11-22T11:18:39Z",
            ingress=(ip_address("192.0.2.7"),),
        )
    }


@pytest.mark.parametrize(
    ("spec", "cluster_ips", "families", "policy"),
    [
        ("clusterIP: None", 0, (), FamilyPolicy.SINGLE),
        ("clusterIP: 'None', clusterIPs: ['None']", 0, (), FamilyPolicy.SINGLE),
        ("clusterIP: null", 0, (), FamilyPolicy.SINGLE),
        ("clusterIP: 10.96.0.1", 1, (Family.IPV4,), FamilyPolicy.SINGLE),
        ("ipFamilies: [IPv6]", 0, (Family.IPV6,), FamilyPolicy.SINGLE),
        (
            "clusterIPs: [10.96.0.1, 'fd00::1']",
            2,
            (Family.IPV4, Family.IPV6),
            FamilyPolicy.REQUIRE_DUAL,
        ),
    ],
)
def test_service_defaults(
    store: Manifests,
    folder: Path,
    spec: str,
    cluster_ips: int,
    families: tuple[Family, ...],
    policy: FamilyPolicy,
) -> None:
    """What a hand-written Service leaves out is what the API server would have put there."""
    text = f"apiVersion: v1\nkind: Service\nmetadata: {{name: web}}\nspec: {{{spec}}}\n"
    service = read(store, folder, text).services[Key("default", "web")]
    assert len(service.cluster_ips) == cluster_ips
    assert (service.ip_families, service.family_policy) == (families, policy)
    assert service.type == "ClusterIP"


def test_slice(store: Manifests, folder: Path) -> None:
    """Missing conditions count as Kubernetes says: ready, serving as ready, not terminating."""
    text = SLICE + (
        "- {addresses: [10.0.0.2], nodeName: node1, conditions: {ready: false}}\n"
        "- {addresses: [10.0.0.3], conditions: "
        "{ready: false, serving: true, terminating: true}}\n"
        "- {addresses: [10.0.0.4], conditions: {ready: null, serving: null}, nodeName: null}\n"
    )
    text = text.replace("port: 8080}", "port: 8080}, {name: any, port: null}")
    assert read(store, folder, text).slices[Key("shop", "web-x")] == EndpointSlice(
        key=Key("shop", "web-x"),
        service=Key("shop", "web"),
        ports=(EndpointPort(name="http", protocol=Protocol.TCP, port=8080),),
        endpoints=(
            Endpoint(addresses=(ip_address("10.0.0.1"),)),
            Endpoint(
                addresses=(ip_address("10.0.0.2"),), node="node1", ready=False, serving=False
            ),
            Endpoint(
                addresses=(ip_address("10.0.0.3"),), ready=False, serving=True, terminating=True
            ),
            Endpoint(addresses=(ip_address("10.0.0.4"),)),
        ),
    )


@pytest.mark.parametrize(
    "text",
    [
        SLICE.replace("IPv4", "FQDN").replace("10.0.0.1", "web.example"),
        SLICE.replace("kubernetes.io/service-name: web", ""),
        SERVICE.replace("apiVersion: v1", "apiVersion: serving.knative.dev/v1"),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: 7}\n",
        "apiVersion: metallb.io/v1beta1\nkind: ServiceBGPStatus\nmetadata: {name: c}\n",
        "apiVersion: metallb.io/v1beta3\nkind: BGPPeer\nmetadata: {name: peer}\n",
        "apiVersion: v1\nkind: List\nitems: null\n",
        "# nothing\n---\n---\n# nothing\n...\n",
        "null",
        "",
    ],
)
def test_what_is_of_no_concern_is_no_problem(store: Manifests, folder: Path, text: str) -> None:
    """Other kinds, and slices that belong to no Service, are passed over in silence."""
    assert read(store, folder, text) == Objects(complete=True)


def test_null_lists(store: Manifests, folder: Path) -> None:
    """The API server writes null for the lists of an empty slice."""
    head = SLICE.split("ports:", maxsplit=1)[0]
    found = read(store, folder, head + "endpoints: null\nports: null\n").slices
    assert found[Key("shop", "web-x")].endpoints == ()


def test_node_and_namespace(store: Manifests, folder: Path) -> None:
    """InternalIPs and the two conditions of a Node; the labels of a Namespace."""
    text = """\
apiVersion: v1
kind: Node
metadata: {name: node0, labels: {rack: a}, annotations: {onehop.io/mac: "02:00:00:00:00:01"}}
spec: {podCIDR: 10.0.1.0/24}
status:
  addresses:
  - {type: Hostname, address: node0}
  - {type: InternalIP, address: 192.0.2.1}
  - {type: InternalIP, address: "2001:db8::1"}
  conditions:
  - {type: Ready, status: Unknown}
  - {type: NetworkUnavailable, status: "True"}
---
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {team: blue}}
"""
    objects = read(store, folder, text)
    assert objects.nodes[Key("", "node0")] == Node(
        name="node0",
        labels={"rack": "a"},
        annotations={"onehop.io/mac": "02:00:00:00:00:01"},
        addresses=(ip_address("192.0.2.1"), ip_address("2001:db8::1")),
        pod_cidrs=("10.0.1.0/24",),
        ready=False,
        network_unavailable=True,
    )
    assert objects.namespaces == {Key("", "shop"): Namespace(name="shop", labels={"team": "blue"})}


def test_pod(store: Manifests, folder: Path) -> None:
    """Node, addresses and container ports; podIP alone will do."""
    text = POD.replace("podIPs:\n  - {ip: 10.0.0.1}", "podIP: 10.0.0.1")
    text = text.replace("spec:\n", "spec:\n  nodeName: node0\n")
    assert read(store, folder, text).pods[Key("shop", "web-0")] == Pod(
        name="web-0",
        namespace="shop",
        node="node0",
        addresses=(ip_address("10.0.0.1"),),
        ports=(80,),
    )


def test_pool_and_advertisement(store: Manifests, folder: Path) -> None:
    """Every field of the two metallb.io kinds."""
    text = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: pool, namespace: metallb-system, labels: {zone: z0}}
spec:
  addresses: ["192.0.2.240-192.0.2.250", "2001:db8::/120"]
  autoAssign: false
  avoidBuggyIPs: true
  serviceAllocation:
    priority: 50
    namespaces: [shop]
    namespaceSelectors: [{matchLabels: {team: blue}}]
    serviceSelectors: [{matchExpressions: [{key: app, operator: DoesNotExist}]}]
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: adv, namespace: metallb-system}
spec:
  ipAddressPools: [pool]
  ipAddressPoolSelectors: [{matchLabels: {zone: z0}}]
  nodeSelectors: [{matchExpressions: [{key: rack, operator: NotIn, values: [b, c]}]}]
  interfaces: [eth0]
  serviceSelectors: [{}]
  preferredNodeSelectors: [{weight: 100, preference: {matchLabels: {rack: a}}}]
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: all, namespace: metallb-system}
"""
    objects = read(store, folder, text)
    key = Key("metallb-system", "pool")
    assert objects.pools[key] == Pool(
        key=key,
        ranges=(parse_range("192.0.2.240-192.0.2.250"), parse_range("2001:db8::/120")),
        labels={"zone": "z0"},
        auto_assign=False,
        avoid_buggy_ips=True,
        allocation=ServiceAllocation(
            priority=50,
            namespaces=frozenset({"shop"}),
            namespace_selectors=(LabelSelector(match_labels={"team": "blue"}),),
            service_selectors=(
                LabelSelector(
                    match_expressions=(Requirement(key="app", operator=Operator.DOES_NOT_EXIST),)
                ),
            ),
        ),
    )
    not_in = Requirement(key="rack", operator=Operator.NOT_IN, values=frozenset({"b", "c"}))
    assert objects.l2_advertisements[Key("metallb-system", "adv")] == L2Advertisement(
        key=Key("metallb-system", "adv"),
        pools=("pool",),
        pool_selectors=(LabelSelector(match_labels={"zone": "z0"}),),
        node_selectors=(LabelSelector(match_expressions=(not_in,)),),
        links=("eth0",),
        service_selectors=(LabelSelector(),),
        preferred_nodes=(
            PreferredNode(weight=100, selector=LabelSelector(match_labels={"rack": "a"})),
        ),
    )
    assert objects.l2_advertisements[Key("metallb-system", "all")] == L2Advertisement(
        key=Key("metallb-system", "all")
    )


def test_lists(store: Manifests, folder: Path) -> None:
    """`kind: List` as kubectl writes it, and the typed list whose items do not say their kind."""
    text = """\
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Namespace
  metadata: {name: one}
- apiVersion: v1
  kind: ConfigMap
---
apiVersion: v1
kind: NamespaceList
items:
- metadata: {name: two}
"""
    objects = read(store, folder, text)
    assert sorted(key.name for key in objects.namespaces) == ["one", "two"]
    assert objects.problems == ()
