"""Each rule of the definitions, by one object that it lets pass and one that it refuses.

What MetalLB's webhooks refuse of a single object, the API server refuses by itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from onehop.lab.kube_client import RequestError
from tests.deploy.objects import PLURALS, Object, an_object, changed
from tests.kube.cluster import Cluster

pytestmark = pytest.mark.kube

POOL, L2, PEER, ADV, BFD, ALIAS = (
    "IPAddressPool", "L2Advertisement", "BGPPeer", "BGPAdvertisement", "BFDProfile", "Community",
)  # fmt: skip
WEB = {"matchLabels": {"app": "web"}}


def expression(operator: str, *values: str, key: str = "zone") -> Object:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


def a(kind: str, /, **fields: Any) -> tuple[str, Object]:
    return kind, changed(kind, **fields)


def pool(*addresses: str) -> tuple[str, Object]:
    return a(POOL, addresses=list(addresses))


def allocation(**fields: Any) -> tuple[str, Object]:
    return a(POOL, serviceAllocation=fields)


def alias(*pairs: tuple[str, str]) -> tuple[str, Object]:
    return a(ALIAS, communities=[{"name": name, "value": value} for name, value in pairs])


def preferred(weight: int) -> tuple[str, Object]:
    return a(L2, preferredNodeSelectors=[{"weight": weight, "preference": WEB}])


# What passes, what does not, and where the refusal points with what it says.
RULES = [
    # IPAddressPool
    (pool("192.0.2.0/24"), pool(), "spec.addresses", "at least 1"),
    (pool("192.0.2.7/24"), pool("192.0.2.0/33"), "spec.addresses[0]", "neither a CIDR"),
    (pool("fd00::/64"), pool("fd00::/129"), "spec.addresses[0]", "neither a CIDR"),
    (pool("192.0.2.1/32"), pool("192.0.2.1"), "spec.addresses[0]", "neither a CIDR"),
    (pool("192.0.2.1-192.0.2.9"), pool("192.0.2.1-9"), "spec.addresses[0]", "neither a CIDR"),
    (
        pool(" 192.0.2.1 - 192.0.2.9 "),
        pool("192.0.2.1-192.0.2.9-192.0.2.10"),
        "spec.addresses[0]",
        "neither a CIDR",
    ),
    (pool("192.0.2.1-192.0.2.1"), pool("-"), "spec.addresses[0]", "neither a CIDR"),
    (
        pool("192.0.2.0/24", "192.0.1.255-192.0.2.0"),
        pool("192.0.2.0/24", "192.0.2.0-192.0.1.255"),
        "spec.addresses[1]",
        "ends before it starts",
    ),
    (
        pool("0.0.0.0-255.255.255.255"),
        pool("128.0.0.0-127.255.255.255"),
        "spec.addresses[0]",
        "ends before it starts",
    ),
    (
        pool("fd00::ffff-fd00::1:0"),
        pool("fd00::1:0-fd00::ffff"),
        "spec.addresses[0]",
        "ends before it starts",
    ),
    (
        pool("::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        pool("8000::-7fff::"),
        "spec.addresses[0]",
        "ends before it starts",
    ),
    (
        pool("192.0.2.1-192.0.2.2", "fd00::1-fd00::2"),
        pool("1.1.1.1-fe80::"),
        "spec.addresses[0]",
        "two families",
    ),
    (
        pool("192.0.2.0/25", "192.0.2.128/25"),
        pool("192.0.2.0/25", "192.0.2.0/25"),
        "spec.addresses",
        "twice",
    ),
    (
        pool(*(f"10.0.{n // 256}.{n % 256}/32" for n in range(400))),
        pool(*(f"10.0.{n // 256}.{n % 256}/32" for n in range(401))),
        "spec.addresses",
        "at most 400",
    ),
    (a(POOL, autoAssign=False), a(POOL, addresses=None), "spec.addresses", "Required"),
    (allocation(priority=0), allocation(priority=-1), "spec.serviceAllocation.priority", ""),
    (
        allocation(namespaces=["a", "b"]),
        allocation(namespaces=["a", "a"]),
        "spec.serviceAllocation.namespaces",
        "twice",
    ),
    (
        allocation(namespaceSelectors=[WEB]),
        allocation(namespaceSelectors=[WEB, WEB]),
        "spec.serviceAllocation.namespaceSelectors",
        "twice",
    ),
    (
        allocation(serviceSelectors=[WEB, expression("Exists")]),
        allocation(serviceSelectors=[WEB, WEB]),
        "spec.serviceAllocation.serviceSelectors",
        "twice",
    ),
    # label selectors, the same everywhere
    (
        a(L2, nodeSelectors=[expression("In", "a", "b")]),
        a(L2, nodeSelectors=[expression("Equals", "a")]),
        "spec.nodeSelectors[0].matchExpressions[0].operator",
        "Unsupported value",
    ),
    (
        a(L2, nodeSelectors=[expression("NotIn", "a")]),
        a(L2, nodeSelectors=[expression("In")]),
        "spec.nodeSelectors[0].matchExpressions[0].values",
        "need at least one value",
    ),
    (
        a(L2, nodeSelectors=[expression("DoesNotExist")]),
        a(L2, nodeSelectors=[expression("Exists", "a")]),
        "spec.nodeSelectors[0].matchExpressions[0].values",
        "take none",
    ),
    (
        a(L2, nodeSelectors=[expression("Exists", key="kubernetes.io/hostname")]),
        a(L2, nodeSelectors=[expression("Exists", key="a/b/c")]),
        "spec.nodeSelectors[0].matchExpressions[0].key",
        "",
    ),
    (
        a(L2, nodeSelectors=[{"matchLabels": {"a": ""}}]),
        a(L2, nodeSelectors=[{"matchLabels": {"a": "b c"}}]),
        "spec.nodeSelectors[0].matchLabels.a",
        "",
    ),
    # L2Advertisement
    (
        a(L2, ipAddressPools=["a", "b"], interfaces=["eth0"]),
        a(L2, ipAddressPools=["a", "a"]),
        "spec.ipAddressPools",
        "twice",
    ),
    (
        a(L2, ipAddressPoolSelectors=[WEB]),
        a(L2, ipAddressPoolSelectors=[WEB, WEB]),
        "spec.ipAddressPoolSelectors",
        "twice",
    ),
    (
        a(L2, serviceSelectors=[WEB]),
        a(L2, serviceSelectors=[WEB, WEB]),
        "spec.serviceSelectors",
        "twice",
    ),
    (preferred(1), preferred(0), "spec.preferredNodeSelectors[0].weight", ""),
    (preferred(100), preferred(101), "spec.preferredNodeSelectors[0].weight", ""),
    # BGPPeer
    (a(PEER, myASN=4294967295), a(PEER, myASN=0), "spec.myASN", ""),
    (a(PEER), a(PEER, myASN=None), "spec.myASN", "Required"),
    (a(PEER, localASN=64502), a(PEER, localASN=0), "spec.localASN", ""),
    (a(PEER, peerASN=64501), a(PEER, peerASN=4294967296), "spec.peerASN", ""),
    (
        a(PEER, peerASN=None, dynamicASN="external"),
        a(PEER, peerASN=None),
        "spec",
        "either peerASN or dynamicASN",
    ),
    (
        a(PEER, peerASN=0, dynamicASN="internal"),
        a(PEER, dynamicASN="external"),
        "spec",
        "either peerASN or dynamicASN",
    ),
    (
        a(PEER, peerASN=None, dynamicASN="internal"),
        a(PEER, peerASN=None, dynamicASN="any"),
        "spec.dynamicASN",
        "Unsupported value",
    ),
    (
        a(PEER, peerAddress=None, interface="eth0"),
        a(PEER, peerAddress=None),
        "spec",
        "either peerAddress or interface",
    ),
    (
        a(PEER, peerAddress="", interface="eth0"),
        a(PEER, interface="eth0"),
        "spec",
        "either peerAddress or interface",
    ),
    (
        a(PEER, peerAddress="fe80::1"),
        a(PEER, peerAddress="192.0.2"),
        "spec.peerAddress",
        "not an IP address",
    ),
    (
        a(PEER, peerAddress="127.0.0.1"),
        a(PEER, peerAddress="224.0.0.1"),
        "spec.peerAddress",
        "not the address of a host",
    ),
    (
        a(PEER, sourceAddress="192.0.2.2"),
        a(PEER, sourceAddress="tor"),
        "spec.sourceAddress",
        "not an IP address",
    ),
    (
        a(PEER, peerAddress="fd00::1", sourceAddress="fd00::2"),
        a(PEER, sourceAddress="fd00::2"),
        "spec.sourceAddress",
        "family of peerAddress",
    ),
    (a(PEER, peerPort=16384), a(PEER, peerPort=16385), "spec.peerPort", ""),
    (a(PEER, peerPort=1), a(PEER, peerPort=0), "spec.peerPort", ""),
    (a(PEER, holdTime="0s"), a(PEER, holdTime="2s"), "spec.holdTime", "neither 0s nor"),
    (a(PEER, holdTime="3s"), a(PEER, holdTime="65536s"), "spec.holdTime", "neither 0s nor"),
    (a(PEER, holdTime="1m30s"), a(PEER, holdTime="90"), "spec.holdTime", ""),
    (
        a(PEER, holdTime="9s", keepaliveTime="9s"),
        a(PEER, holdTime="9s", keepaliveTime="10s"),
        "spec.keepaliveTime",
        "above holdTime",
    ),
    (
        a(PEER, keepaliveTime="1s"),
        a(PEER, keepaliveTime="500ms"),
        "spec.keepaliveTime",
        "three times as long",
    ),
    (a(PEER, connectTime="1s"), a(PEER, connectTime="0s"), "spec.connectTime", "between 1s"),
    (
        a(PEER, connectTime="2000ms"),
        a(PEER, connectTime="1500ms"),
        "spec.connectTime",
        "whole number of seconds",
    ),
    (
        a(PEER, routerID="192.0.2.9"),
        a(PEER, routerID="fd00::1"),
        "spec.routerID",
        "not an IPv4 address",
    ),
    (a(PEER, routerID=""), a(PEER, routerID="0.0.0.0"), "spec.routerID", "not an IPv4 address"),
    (
        a(PEER, password="secret"),
        a(PEER, password="secret", passwordSecret={"name": "s"}),
        "spec.passwordSecret",
        "beside",
    ),
    (
        a(PEER, passwordSecret={"name": "s"}),
        a(PEER, password="p" * 81),
        "spec.password",
        "may not be more than 80",
    ),
    (
        a(PEER, ebgpMultiHop=True),
        a(PEER, peerASN=64500, ebgpMultiHop=True),
        "spec.ebgpMultiHop",
        "another AS",
    ),
    (
        a(PEER, peerASN=None, dynamicASN="external", ebgpMultiHop=True),
        a(PEER, peerASN=None, dynamicASN="internal", ebgpMultiHop=True),
        "spec.ebgpMultiHop",
        "another AS",
    ),
    (
        a(PEER, nodeSelectors=[WEB]),
        a(PEER, nodeSelectors=[WEB, WEB]),
        "spec.nodeSelectors",
        "twice",
    ),
    # BGPAdvertisement
    (a(ADV, aggregationLength=32), a(ADV, aggregationLength=33), "spec.aggregationLength", ""),
    (a(ADV, aggregationLength=1), a(ADV, aggregationLength=0), "spec.aggregationLength", ""),
    (
        a(ADV, aggregationLengthV6=128),
        a(ADV, aggregationLengthV6=129),
        "spec.aggregationLengthV6",
        "",
    ),
    (a(ADV, localPref=0), a(ADV, localPref=-1), "spec.localPref", ""),
    (
        a(ADV, communities=["65535:0", "my-alias", "no-export"]),
        a(ADV, communities=["65536:0"]),
        "spec.communities[0]",
        "neither A:B",
    ),
    (
        a(ADV, communities=["large:4294967295:1:2"]),
        a(ADV, communities=["large:4294967296:1:2"]),
        "spec.communities[0]",
        "neither A:B",
    ),
    (
        a(ADV, communities=["large:1:2:3"]),
        a(ADV, communities=["huge:1:2:3"]),
        "spec.communities[0]",
        "neither A:B",
    ),
    (a(ADV, communities=["1:2"]), a(ADV, communities=["1:2", "1:2"]), "spec.communities", "twice"),
    (a(ADV, peers=["a", "b"]), a(ADV, peers=["a", "a"]), "spec.peers", "twice"),
    (
        a(ADV, serviceSelectors=[WEB], aggregationLength=32),
        a(ADV, serviceSelectors=[WEB], aggregationLength=24),
        "spec.aggregationLength",
        "beside serviceSelectors",
    ),
    (
        a(ADV, serviceSelectors=[], aggregationLengthV6=64),
        a(ADV, serviceSelectors=[WEB], aggregationLengthV6=64),
        "spec.aggregationLengthV6",
        "beside serviceSelectors",
    ),
    # BFDProfile
    (a(BFD, receiveInterval=10), a(BFD, receiveInterval=9), "spec.receiveInterval", ""),
    (
        a(BFD, transmitInterval=60000),
        a(BFD, transmitInterval=60001),
        "spec.transmitInterval",
        "",
    ),
    (a(BFD, echoInterval=10), a(BFD, echoInterval=9), "spec.echoInterval", ""),
    (a(BFD, detectMultiplier=2), a(BFD, detectMultiplier=1), "spec.detectMultiplier", ""),
    (a(BFD, minimumTtl=254), a(BFD, minimumTtl=255), "spec.minimumTtl", ""),
    # Community
    (alias(("a", "1:2")), alias(("a", "1:65536")), "spec.communities[0].value", "neither A:B"),
    (alias(("a", "large:1:2:3")), alias(("a", "b")), "spec.communities[0].value", "neither A:B"),
    (alias(("a", "1:2"), ("b", "1:2")), alias(("a", "1:2"), ("a", "1:3")), "spec.communities", ""),
]


@pytest.fixture(scope="module")
def room(cluster: Cluster) -> str:
    """A namespace for objects that are not kept."""
    return cluster.namespace()


def put(cluster: Cluster, namespace: str, item: Object) -> Object:
    """Try to create an object; nothing is kept."""
    plural = PLURALS[item["kind"]]
    path = f"/apis/{item['apiVersion']}/namespaces/{namespace}/{plural}?dryRun=All"
    return cluster.client.request("POST", path, item)


def cases() -> Iterator[Any]:
    """Every rule, in every version of its kind."""
    for (kind, good), (_, bad), field, said in RULES:
        for version in ("v1beta1", "v1beta2") if kind == PEER else ("v1beta1",):
            name = f"{kind}-{version}-{field}-{said}"
            yield pytest.param(f"metallb.io/{version}", kind, good, bad, field, said, id=name)


@pytest.mark.parametrize(("version", "kind", "good", "bad", "field", "said"), tuple(cases()))
def test_rule(
    cluster: Cluster,
    room: str,
    version: str,
    kind: str,
    good: Object,
    bad: Object,
    field: str,
    said: str,
) -> None:
    put(cluster, room, an_object(kind, good, version=version))
    with pytest.raises(RequestError) as refused:
        put(cluster, room, an_object(kind, bad, version=version))
    assert refused.value.status == 422
    assert re.search(rf"[ \[]{re.escape(field)}: ", str(refused.value))
    assert said in str(refused.value)
