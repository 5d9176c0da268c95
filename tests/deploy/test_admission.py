"""What takes several objects to see is refused by the API server too, and by no webhook."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.deploy import NAMESPACE

from onehop.lab.kube_client import RequestError
from onehop.model.address import parse_range
from tests.deploy.objects import LEAST, PLURALS, Object, an_object, changed, version_of
from tests.kube.cluster import Cluster

pytestmark = pytest.mark.kube

HELD = ["192.0.2.0/24", "10.3.0.5-10.3.0.9", "fd01::/64", "fd00::1 - fd00::9"]


def path(kind: str, namespace: str = NAMESPACE) -> str:
    return f"/apis/{version_of(kind)}/namespaces/{namespace}/{PLURALS[kind]}"


def refusal(cluster: Cluster, item: Object, namespace: str = NAMESPACE) -> str:
    """What the server says of an object that is not kept; empty when it takes it."""
    try:
        cluster.client.request("POST", f"{path(item['kind'], namespace)}?dryRun=All", item)
    except RequestError as error:
        return str(error)
    return ""


def a_pool(*addresses: str, name: str = "new") -> Object:
    return an_object("IPAddressPool", {"addresses": list(addresses)}, name=name)


@pytest.fixture(scope="module")
def cluster(installed: Cluster) -> Iterator[Cluster]:
    """With one pool, one alias, and a peer that uses a profile; once the policies know them."""
    names = [{"name": "mine", "value": "1:2"}]
    objects = [
        a_pool(*HELD, name="held"),
        an_object("Community", {"communities": names}, name="held"),
        an_object("BFDProfile", {}, name="used"),
        an_object("BFDProfile", {}, name="unused"),
        an_object("BGPPeer", changed("BGPPeer", bfdProfile="used"), name="held"),
    ]
    for each in objects:
        installed.client.request("POST", path(each["kind"]), each)
    # A policy takes a moment to be compiled and to list what it compares with.
    claims = (
        lambda: refusal(installed, a_pool(HELD[0])),
        lambda: refusal(installed, an_object("Community", {"communities": names})),
        lambda: _cannot_delete(installed, "used"),
        lambda: refusal(installed, a_pool("172.16.0.0/24"), "default"),
    )
    _await(lambda: all(claim() for claim in claims), "the policies refuse")
    yield installed
    for each in reversed(objects):
        installed.client.delete(f"{path(each['kind'])}/{each['metadata']['name']}")
        if each["kind"] == "BGPPeer":  # a policy takes a moment to see that it is gone, too
            _await(lambda: not _cannot_delete(installed, "used"), "the profile may go")


def _await(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def _cannot_delete(cluster: Cluster, profile: str) -> str:
    try:
        cluster.client.request("DELETE", f"{path('BFDProfile')}/{profile}?dryRun=All")
    except RequestError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", LEAST)
def test_objects_of_another_namespace_are_refused(cluster: Cluster, kind: str) -> None:
    spec = {"addresses": ["172.16.0.0/24"]} if kind == "IPAddressPool" else LEAST[kind]
    item = an_object(kind, spec, name="new")
    assert refusal(cluster, item) == ""
    assert f"count in namespace {NAMESPACE} alone" in refusal(cluster, item, "default")


def test_a_profile_in_use_stays(cluster: Cluster) -> None:
    assert "BGPPeer held uses it" in _cannot_delete(cluster, "used")
    assert _cannot_delete(cluster, "unused") == ""


def test_an_alias_is_given_once(cluster: Cluster) -> None:
    def community(name: str, alias: str) -> Object:
        spec = {"communities": [{"name": alias, "value": "1:3"}]}
        return an_object("Community", spec, name=name)

    said = refusal(cluster, community("new", "mine"))
    assert "Community held gives the name mine as well" in said
    assert refusal(cluster, community("new", "yours")) == ""
    change = {"spec": {"communities": [{"name": "mine", "value": "1:4"}]}}
    where = f"{path('Community')}/held?dryRun=All"
    cluster.client.request("PATCH", where, change, "application/merge-patch+json")


def test_a_pool_may_change_within_itself(cluster: Cluster) -> None:
    change = {"spec": {"addresses": ["192.0.2.0/25"]}}
    where = f"{path('IPAddressPool')}/held?dryRun=All"
    cluster.client.request("PATCH", where, change, "application/merge-patch+json")


def test_the_largest_pools_are_compared(cluster: Cluster) -> None:
    many = [f"172.16.{n // 256}.{n % 256}/32" for n in range(399)]
    assert refusal(cluster, a_pool(*many, "172.17.0.0/32")) == ""
    assert "192.0.2.255/32 overlaps pool held" in refusal(cluster, a_pool(*many, "192.0.2.255/32"))


@st.composite
def _ranges(draw: st.DrawFn) -> str:
    """A range or a CIDR, mostly near to what is held, of either family."""
    held = parse_range(draw(st.sampled_from(HELD)))
    kind, bits = type(held.first), held.first.max_prefixlen
    edges = st.sampled_from([int(held.first), int(held.last)])
    near = edges.flatmap(lambda edge: st.integers(max(0, edge - 3), min(2**bits - 1, edge + 3)))
    ends = sorted(draw(st.tuples(near, near | st.integers(0, 2**bits - 1))))
    if draw(st.booleans()):
        return f"{kind(ends[0])}/{draw(st.integers(0, bits))}"
    return f"{kind(ends[0])}-{kind(ends[1])}"


@settings(max_examples=60, deadline=None)
@given(_ranges())
def test_overlap_is_what_the_model_calls_overlap(cluster: Cluster, text: str) -> None:
    overlaps = any(
        one.overlaps(other) for one, other in product([parse_range(text)], map(parse_range, HELD))
    )
    said = refusal(cluster, a_pool(text))
    assert bool(said) is overlaps, said
    assert not overlaps or f"{text} overlaps pool held" in said
