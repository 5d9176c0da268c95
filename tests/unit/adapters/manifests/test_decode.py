"""Every way in which a document can be wrong, and what the user is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from onehop.adapters.manifests import Manifests
from onehop.model.service import Key
from tests.unit.adapters.manifests.texts import (
    ADVERTISEMENT,
    NODE,
    POD,
    POOL,
    SERVICE,
    SLICE,
    read,
)

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
    (
        "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: List, items: []}\n",
        "x.yaml:4: items: a list cannot hold a list [FieldInvalid]",
    ),
    # metadata
    ("apiVersion: v1\nkind: Node\n", "x.yaml:1: metadata: is missing [FieldInvalid]"),
    (
        "apiVersion: v1\nkind: Node\nmetadata:\n  labels: {}\n",
        "x.yaml:3: metadata.name: is missing [FieldInvalid]",
    ),
    (
        SERVICE.replace("name: web,", "name: ../../etc,"),
        "x.yaml:3: metadata.name: '../../etc' is not a DNS name of lower case [FieldInvalid]",
    ),
    (
        SERVICE.replace("namespace: shop", "namespace: a/b"),
        "x.yaml:3: metadata.namespace: 'a/b' is not a DNS label [FieldInvalid]",
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
        SERVICE.replace("port: 80", f"port: {'9' * 5000}"),
        "x.yaml:8: Service shop/web spec.ports[0].port: "
        "expected a whole number, got a string [FieldInvalid]",
    ),
    (
        SERVICE.replace("port: 80", "port: 99999999999999999999"),
        "x.yaml:8: Service shop/web spec.ports[0].port: "
        "99999999999999999999 is not between 1 and 65535 [FieldInvalid]",
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
