"""Every kind that is read, and every way in which an object can be wrong."""

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


def read(store: Manifests, folder: Path, text: str) -> Objects:
    (folder / "x.yaml").write_text(text)
    store.refresh()
    return store.objects()


SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: LoadBalancer
  clusterIP: 10.96.0.1
  ports:
  - {name: http, port: 80}
"""
SLICE = """\
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints:
- addresses: [10.0.0.1]
"""
POOL = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: pool, namespace: metallb-system}
spec:
  addresses:
  - 192.0.2.0/24
"""
ADVERTISEMENT = """\
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: adv, namespace: metallb-system}
spec:
  nodeSelectors:
  - matchExpressions:
    - {key: rack, operator: In, values: [a]}
"""
NODE = """\
apiVersion: v1
kind: Node
metadata: {name: node0}
status:
  addresses:
  - {type: InternalIP, address: 192.0.2.1}
"""
POD = """\
apiVersion: v1
kind: Pod
metadata: {name: web-0, namespace: shop}
spec:
  containers:
  - ports:
    - {containerPort: 80}
status:
  podIPs:
  - {ip: 10.0.0.1}
"""

BROKEN = [
    # the document
    ("a: [1", "x.yaml:1: did not find expected ',' or ']' [ManifestUnreadable]"),
    ("a: 'x", "x.yaml:1: found unexpected end of stream [ManifestUnreadable]"),
    ("\ta: 1", "x.yaml:1: found character that cannot start any token [ManifestUnreadable]"),
    (
        "a: 1\nb: 2\na: 3\n",
        "x.yaml:3: the key 'a' stands twice in one mapping [ManifestUnreadable]",
    ),
    ("a: *b", "x.yaml:1: alias *b has no anchor before it [ManifestUnreadable]"),
    ("a: &a [*a]", "x.yaml:1: alias *a has no anchor before it [ManifestUnreadable]"),
    ("a: !Ref b", "x.yaml:1: the tag !Ref has no meaning here [ManifestUnreadable]"),
    ("[a]: b", "x.yaml:1: a key that is not a string [ManifestUnreadable]"),
    ("<<: 1", "x.yaml:1: a merge key << takes mappings only [ManifestUnreadable]"),
    ("[" * 200, "x.yaml:1: more than 100 levels of nesting [ManifestUnreadable]"),
    (
        "a: \x01",
        "x.yaml:1: unacceptable character #x0001: "
        "control characters are not allowed [ManifestUnreadable]",
    ),
    ("just words", "x.yaml:1: expected a mapping, got a string [FieldInvalid]"),
    ("- 1", "x.yaml:1: expected a mapping, got a list [FieldInvalid]"),
    (
        "# note\n\nkind: Service\n",
        "x.yaml:3: apiVersion: is missing: this is not a Kubernetes object [FieldInvalid]",
    ),
    (
        "apiVersion: v1\nkind: 3\n",
        "x.yaml:2: kind: is missing: this is not a Kubernetes object [FieldInvalid]",
    ),
    (
        "apiVersion: v1\nkind: List\nitems: {}\n",
        "x.yaml:3: items: expected a list, got a mapping [FieldInvalid]",
    ),
    # metadata
    ("apiVersion: v1\nkind: Node\n", "x.yaml:1: metadata: is missing [FieldInvalid]"),
    (
        "apiVersion: v1\nkind: Node\nmetadata:\n  labels: {}\n",
        "x.yaml:3: metadata.name: is missing [FieldInvalid]",
    ),
    (
        SERVICE.replace("name: web,", "name: ../../etc,"),
        "x.yaml:3: Service shop/../../etc metadata.name: "
        "'../../etc' is not a DNS name of lower case [FieldInvalid]",
    ),
    (
        SERVICE.replace("namespace: shop", "namespace: a/b"),
        "x.yaml:3: Service a/b/web metadata.namespace: 'a/b' is not a DNS label [FieldInvalid]",
    ),
    (
        SERVICE.replace("name: web,", "name: 7,"),
        "x.yaml:3: metadata.name: expected a string, got a whole number: quote it [FieldInvalid]",
    ),
    (
        SERVICE.replace("namespace: shop", "namespace: shop, labels: {ok: a, bad: true}"),
        "x.yaml:3: Service shop/web metadata.labels.bad: "
        "expected a string, got true or false: quote it [FieldInvalid]",
    ),
    (
        SERVICE.replace("namespace: shop", "namespace: shop, annotations: {a.io/b: 1.5}"),
        "x.yaml:3: Service shop/web metadata.annotations[a.io/b]: "
        "expected a string, got a number: quote it [FieldInvalid]",
    ),
    # Service
    (
        SERVICE.split("spec:", maxsplit=1)[0],
        "x.yaml:1: Service shop/web spec: is missing [FieldInvalid]",
    ),
    (
        SERVICE.split("  ports:", maxsplit=1)[0],
        "x.yaml:4: Service shop/web spec.ports: "
        "a Service of type LoadBalancer needs a port [FieldInvalid]",
    ),
    (
        SERVICE.replace("LoadBalancer", "Loadbalancer"),
        "x.yaml:5: Service shop/web spec.type: 'Loadbalancer' is not one of "
        "ClusterIP, NodePort, LoadBalancer, ExternalName [FieldInvalid]",
    ),
    (
        SERVICE.replace("port: 80", "port: 65536"),
        "x.yaml:8: Service shop/web spec.ports[0].port: "
        "65536 is not between 1 and 65535 [FieldInvalid]",
    ),
    (
        SERVICE.replace("port: 80", "port: http"),
        "x.yaml:8: Service shop/web spec.ports[0].port: "
        "expected a whole number, got a string [FieldInvalid]",
    ),
    (
        SERVICE.replace("port: 80", "protocol: TCP"),
        "x.yaml:8: Service shop/web spec.ports[0].port: is missing [FieldInvalid]",
    ),
    (
        SERVICE.replace("port: 80", "port: 80, nodePort: -1"),
        "x.yaml:8: Service shop/web spec.ports[0].nodePort: "
        "-1 is not between 0 and 65535 [FieldInvalid]",
    ),
    (
        SERVICE.replace("port: 80", "port: 80, protocol: tcp"),
        "x.yaml:8: Service shop/web spec.ports[0].protocol: "
        "'tcp' is not one of TCP, UDP, SCTP [FieldInvalid]",
    ),
    (
        SERVICE + "  - {name: http, port: 81}\n",
        "x.yaml:9: Service shop/web spec.ports[1].name: "
        "the name 'http' belongs to another port as well [FieldInvalid]",
    ),
    (
        SERVICE.replace("10.96.0.1", "10.96.0.256"),
        "x.yaml:6: Service shop/web spec.clusterIP: "
        "'10.96.0.256' is not an IP address [FieldInvalid]",
    ),
    (
        SERVICE.replace("clusterIP: 10.96.0.1", "clusterIPs: [10.96.0.1, 'fe80::1%eth0']"),
        "x.yaml:6: Service shop/web spec.clusterIPs[1]: "
        "'fe80::1%eth0' is not an IP address [FieldInvalid]",
    ),
    (
        SERVICE + "  ipFamilies: [IPv5]\n",
        "x.yaml:9: Service shop/web spec.ipFamilies[0]: "
        "'IPv5' is not one of IPv4, IPv6 [FieldInvalid]",
    ),
    (
        SERVICE + "  ipFamilyPolicy: Dual\n",
        "x.yaml:9: Service shop/web spec.ipFamilyPolicy: 'Dual' is not one of "
        "SingleStack, PreferDualStack, RequireDualStack [FieldInvalid]",
    ),
    (
        SERVICE + "  externalTrafficPolicy: local\n",
        "x.yaml:9: Service shop/web spec.externalTrafficPolicy: "
        "'local' is not one of Cluster, Local [FieldInvalid]",
    ),
    (
        SERVICE + "  sessionAffinity: Cookie\n",
        "x.yaml:9: Service shop/web spec.sessionAffinity: "
        "'Cookie' is not one of None, ClientIP [FieldInvalid]",
    ),
    (
        SERVICE + "  loadBalancerSourceRanges:\n  - 10.0.0.0/8\n  - 10.0.0.0/33\n",
        "x.yaml:11: Service shop/web spec.loadBalancerSourceRanges[1]: "
        "'10.0.0.0/33' is not a CIDR [FieldInvalid]",
    ),
    (
        SERVICE + "status:\n  loadBalancer:\n    ingress:\n    - {ip: nowhere}\n",
        "x.yaml:12: Service shop/web status.loadBalancer.ingress[0].ip: "
        "'nowhere' is not an IP address [FieldInvalid]",
    ),
    # EndpointSlice
    (
        SLICE.replace("IPv4", "IPv7"),
        "x.yaml:4: EndpointSlice shop/web-x addressType: "
        "'IPv7' is not one of IPv4, IPv6, FQDN [FieldInvalid]",
    ),
    (
        SLICE.replace("10.0.0.1", "'fd00::1'"),
        "x.yaml:7: EndpointSlice shop/web-x endpoints[0].addresses[0]: "
        "fd00::1 is not of the slice's addressType [FieldInvalid]",
    ),
    (
        SLICE.replace("port: 8080", "port: 0"),
        "x.yaml:5: EndpointSlice shop/web-x ports[0].port: "
        "0 is not between 1 and 65535 [FieldInvalid]",
    ),
    (
        SLICE.replace("addresses: [10.0.0.1]", "nodeName: node0"),
        "x.yaml:7: EndpointSlice shop/web-x endpoints[0].addresses: is missing [FieldInvalid]",
    ),
    (
        SLICE + "  conditions: {ready: 'true'}\n",
        "x.yaml:8: EndpointSlice shop/web-x endpoints[0].conditions.ready: "
        "expected true or false, got a string [FieldInvalid]",
    ),
    # metallb.io
    (
        POOL + "  - 192.0.2.9-192.0.2.1\n",
        "x.yaml:7: IPAddressPool metallb-system/pool spec.addresses[1]: invalid range "
        "'192.0.2.9-192.0.2.1': start 192.0.2.9 is after end 192.0.2.1 [FieldInvalid]",
    ),
    (
        POOL.replace("192.0.2.0/24", "192.0.2.0/40"),
        "x.yaml:6: IPAddressPool metallb-system/pool spec.addresses[0]: "
        "invalid CIDR or range '192.0.2.0/40' [FieldInvalid]",
    ),
    (
        POOL.replace("\n  - 192.0.2.0/24", " []"),
        "x.yaml:5: IPAddressPool metallb-system/pool spec.addresses: "
        "a pool needs at least one CIDR or range [FieldInvalid]",
    ),
    (
        POOL.replace("\n  - 192.0.2.0/24", " 192.0.2.0/24"),
        "x.yaml:5: IPAddressPool metallb-system/pool spec.addresses: "
        "expected a list, got a string [FieldInvalid]",
    ),
    (
        POOL + "  autoAssign: 'no'\n",
        "x.yaml:7: IPAddressPool metallb-system/pool spec.autoAssign: "
        "expected true or false, got a string [FieldInvalid]",
    ),
    (
        POOL + "  serviceAllocation:\n    namespaces: [a, a]\n",
        "x.yaml:8: IPAddressPool metallb-system/pool spec.serviceAllocation.namespaces[1]: "
        "'a' stands in the list twice [FieldInvalid]",
    ),
    (
        POOL + "  serviceAllocation: {priority: -1}\n",
        "x.yaml:7: IPAddressPool metallb-system/pool spec.serviceAllocation.priority: "
        "-1 is below 0 [FieldInvalid]",
    ),
    (
        ADVERTISEMENT.replace("operator: In", "operator: Is"),
        "x.yaml:7: L2Advertisement metallb-system/adv "
        "spec.nodeSelectors[0].matchExpressions[0].operator: "
        "'Is' is not one of In, NotIn, Exists, DoesNotExist [FieldInvalid]",
    ),
    (
        ADVERTISEMENT.replace("[a]", "[]"),
        "x.yaml:7: L2Advertisement metallb-system/adv "
        "spec.nodeSelectors[0].matchExpressions[0].values: "
        "operator In needs at least one value [FieldInvalid]",
    ),
    (
        ADVERTISEMENT.replace("operator: In", "operator: Exists"),
        "x.yaml:7: L2Advertisement metallb-system/adv "
        "spec.nodeSelectors[0].matchExpressions[0].values: "
        "operator Exists takes no values [FieldInvalid]",
    ),
    (
        ADVERTISEMENT.replace("key: rack", "key: ''"),
        "x.yaml:7: L2Advertisement metallb-system/adv "
        "spec.nodeSelectors[0].matchExpressions[0].key: is empty [FieldInvalid]",
    ),
    (
        ADVERTISEMENT + "  preferredNodeSelectors:\n  - {weight: 101, preference: {}}\n",
        "x.yaml:9: L2Advertisement metallb-system/adv spec.preferredNodeSelectors[0].weight: "
        "101 is not between 1 and 100 [FieldInvalid]",
    ),
    (
        ADVERTISEMENT + "  ipAddressPools: [a, b, a]\n",
        "x.yaml:8: L2Advertisement metallb-system/adv spec.ipAddressPools[2]: "
        "'a' stands in the list twice [FieldInvalid]",
    ),
    # the rest
    (
        NODE.replace("192.0.2.1", "192.0.2"),
        "x.yaml:6: Node node0 status.addresses[0].address: "
        "'192.0.2' is not an IP address [FieldInvalid]",
    ),
    (
        NODE + "spec:\n  podCIDR: 10.0.0.0\n  podCIDRs: [10.0/16]\n",
        "x.yaml:9: Node node0 spec.podCIDRs[0]: '10.0/16' is not a CIDR [FieldInvalid]",
    ),
    (
        POD.replace("containerPort: 80", "containerPort: 99999"),
        "x.yaml:7: Pod shop/web-0 spec.containers[0].ports[0].containerPort: "
        "99999 is not between 1 and 65535 [FieldInvalid]",
    ),
    (
        POD.replace("10.0.0.1", "10.0.0.1/24"),
        "x.yaml:10: Pod shop/web-0 status.podIPs[0].ip: "
        "'10.0.0.1/24' is not an IP address [FieldInvalid]",
    ),
    (
        '{"apiVersion": "v1", "kind": "Service",\n "metadata": {"name": "web"},\n'
        ' "spec": {"ports": [{"port": 0}]}}',
        "x.yaml:3: Service default/web spec.ports[0].port: "
        "0 is not between 1 and 65535 [FieldInvalid]",
    ),
    (
        f"{NODE}---\n{SERVICE.replace('port: 80', 'port: 0')}",
        "x.yaml:15: Service shop/web spec.ports[0].port: "
        "0 is not between 1 and 65535 [FieldInvalid]",
    ),
    (
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n"
        "  metadata: {name: web}\n  spec: {ports: [{port: 0}]}\n",
        "x.yaml:7: Service default/web spec.ports[0].port: "
        "0 is not between 1 and 65535 [FieldInvalid]",
    ),
]


@pytest.mark.parametrize(("text", "expected"), BROKEN)
def test_broken_document(store: Manifests, folder: Path, text: str, expected: str) -> None:
    """A broken document gives one problem with file, line, object, field and sentence."""
    problems = read(store, folder, text).problems
    assert [str(each).replace(f"{folder}/", "") for each in problems] == [expected]


@pytest.mark.parametrize(("text", "_expected"), BROKEN)
def test_broken_document_disturbs_no_neighbour(
    store: Manifests, folder: Path, text: str, _expected: str
) -> None:
    """The other documents of the file are read, and its problem goes when it is mended."""
    other = NODE.replace("node0", "node9")
    assert Key("", "node9") in read(store, folder, f"{text}\n---\n{other}").nodes
    assert read(store, folder, other).problems == ()


def test_all_faults_of_an_object_are_told(store: Manifests, folder: Path) -> None:
    """A user mends a file once, not once for each fault."""
    text = SERVICE.replace("port: 80", "port: 0").replace("10.96.0.1", "here")
    problems = read(store, folder, text + "  ipFamilies: [IPv9]\n").problems
    assert [each.field for each in problems] == [
        "spec.clusterIP",
        "spec.ports[0].port",
        "spec.ipFamilies[0]",
    ]


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
        "apiVersion: metallb.io/v1beta2\nkind: BGPPeer\nmetadata: {name: peer}\n",
        "apiVersion: metallb.io/v1beta1\nkind: BFDProfile\nmetadata: {name: bfd}\n",
        "apiVersion: metallb.io/v1beta1\nkind: BGPAdvertisement\nmetadata: {name: adv}\n",
        "apiVersion: metallb.io/v1beta1\nkind: Community\nmetadata: {name: c}\n",
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
