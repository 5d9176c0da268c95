"""Which nodes may announce, and the reason of each that may not."""

from onehop.core.eligible import (
    all_refusals,
    eligibility,
    node_refusal,
    pool_advertisements,
    service_advertisements,
    serving_nodes,
    with_endpoints,
)
from onehop.model.node import EXCLUDE_LABEL
from onehop.model.reason import Reason, Refusal
from tests.builders import (
    LOCAL,
    a_node,
    a_pool,
    a_service,
    a_slice,
    an_advertisement,
    an_endpoint,
    labels,
)


def test_advertisement_without_pools_announces_all() -> None:
    pool = a_pool("kafka", labels={"tier": "gold"})
    every = an_advertisement("every")
    named = an_advertisement("named", pools=("kafka",))
    selected = an_advertisement("selected", pool_selectors=(labels(tier="gold"),))
    other = an_advertisement("other", pools=("web",))
    unlike = an_advertisement("unlike", pool_selectors=(labels(tier="tin"),))
    found = pool_advertisements(pool, [every, named, selected, other, unlike])
    assert [adv.key.name for adv in found] == ["every", "named", "selected"]


def test_service_selectors_choose_among_the_advertisements() -> None:
    service = a_service(labels={"app": "kafka"})
    fits = an_advertisement("fits", service_selectors=(labels(app="kafka"),))
    every = an_advertisement("every")
    unfit = an_advertisement("unfit", service_selectors=(labels(app="web"),))
    assert service_advertisements(service, [fits, every, unfit]) == (fits, every)
    refusal = service_advertisements(service, [unfit])
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.NO_ADVERTISEMENT


def test_shared_address_with_service_selectors_is_refused_aloud() -> None:
    shared = a_service(labels={"app": "a"}, annotations={"metallb.io/allow-shared-ip": "k"})
    every, fits = an_advertisement(), an_advertisement("s", service_selectors=(labels(app="a"),))
    assert service_advertisements(shared, [every]) == (every,)
    refusal = service_advertisements(shared, [every, fits])
    assert isinstance(refusal, Refusal)
    assert refusal.reason is Reason.SHARED_WITH_SELECTOR


def test_each_node_that_is_out_says_why() -> None:
    nodes = [
        a_node("good", labels={"zone": "a"}),
        a_node("excluded", labels={EXCLUDE_LABEL: "", "zone": "a"}),
        a_node("offline", network_unavailable=True, labels={"zone": "a"}),
        a_node("elsewhere", labels={"zone": "b"}),
    ]
    adv = an_advertisement(node_selectors=(labels(zone="a"),))
    found = eligibility(nodes, (adv,))
    assert [node.name for node in found.nodes] == ["good"]
    assert {name: refusal.reason for name, refusal in found.refused.items()} == {
        "excluded": Reason.NODE_EXCLUDED,
        "offline": Reason.NODE_NETWORK_UNAVAILABLE,
        "elsewhere": Reason.NODE_NOT_SELECTED,
    }


def test_exclude_label_can_be_ignored() -> None:
    node = a_node("edge", labels={EXCLUDE_LABEL: "true"})
    assert node_refusal(node, [an_advertisement()], ignore_exclude_label=True) is None


def test_terminating_endpoints_that_serve_still_attract() -> None:
    slices = [
        a_slice(
            "web",
            an_endpoint("10.0.0.1", "node0", ready=False, serving=True, terminating=True),
            an_endpoint("10.0.0.2", "node1", ready=False, serving=False),
            an_endpoint("10.0.0.3", ""),
        )
    ]
    assert serving_nodes(slices) == (True, frozenset({"node0"}))
    assert serving_nodes([]) == (False, frozenset())


def test_local_keeps_only_nodes_with_endpoints() -> None:
    found = eligibility([a_node("node0"), a_node("node1")], (an_advertisement(),))
    cluster = with_endpoints(found, a_service(), frozenset({"node1"}))
    assert cluster is found.nodes
    local = with_endpoints(found, a_service(policy=LOCAL), frozenset({"node1"}))
    assert [node.name for node in local] == ["node1"]
    refused = all_refusals(found, a_service(policy=LOCAL), frozenset({"node1"}))
    assert list(refused) == ["node0"]
    assert refused["node0"].reason is Reason.NO_LOCAL_ENDPOINT
