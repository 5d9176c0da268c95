"""What the controller writes to a real API server, and what it leaves alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from onehop.adapters.kube.connection import Connection, Request
from onehop.adapters.kube.kubeconfig import load_access
from onehop.lab.kube_client import APPLY, MERGE
from tests.kube.cluster import Cluster
from tests.kube.site import Ring, Site

pytestmark = pytest.mark.kube


@pytest.fixture
def site(cluster: Cluster) -> Site:
    return Site(cluster)


@pytest.fixture
def ring(site: Site) -> Iterator[Ring]:
    made = Ring(site)
    yield made
    made.close()


def test_a_service_gets_its_address_in_one_write(site: Site, ring: Ring) -> None:
    site.cluster.apply([site.pool("10.99.0.0/24", "fd00:99::/120")])
    ring.until(lambda: any(len(each.ranges) == 2 for each in ring.store.objects().pools.values()))
    site.cluster.apply([site.service("web", ipFamilyPolicy="PreferDualStack")])
    ring.until(lambda: len(site.addresses("web")) == 2)
    ring.until(lambda: True)
    status = site.get("web")["status"]
    assert status["loadBalancer"]["ingress"] == [
        {"ip": "10.99.0.0", "ipMode": "VIP"},
        {"ip": "fd00:99::", "ipMode": "VIP"},
    ]
    [condition] = status["conditions"]
    assert (condition["type"], condition["status"]) == ("AddressAllocated", "True")
    assert site.status_writes() == ["web"]
    [manager] = [
        each for each in site.get("web")["metadata"]["managedFields"] if "subresource" in each
    ]
    assert (manager["manager"], manager["operation"]) == ("onehop", "Apply")


def test_events_counts_and_the_state_of_the_configuration_follow(site: Site, ring: Ring) -> None:
    site.cluster.apply([site.service("web")])
    ring.until(lambda: bool(site.addresses("web")))
    pool = f"/apis/metallb.io/v1beta1/namespaces/{site.system}/ipaddresspools/a"
    ring.until(lambda: site.cluster.get(pool).get("status", {}).get("assignedIPv4") == 1)
    assert site.cluster.get(pool)["status"]["availableIPv4"] == 255
    events = site.cluster.get(f"/apis/events.k8s.io/v1/namespaces/{site.apps}/events")["items"]
    assert [(each["reason"], each["regarding"]["name"]) for each in events] == [
        ("IPAllocated", "web")
    ]
    said = site.cluster.kubectl("describe", "service", "web", "-n", site.apps)
    assert "IPAllocated" in said
    state = f"/apis/metallb.io/v1beta1/namespaces/{site.system}/configurationstates/controller"
    ring.until(lambda: site.cluster.get(state).get("status", {}).get("result") == "Valid")


def test_a_restart_writes_nothing(site: Site, ring: Ring) -> None:
    pool = f"/apis/metallb.io/v1beta1/namespaces/{site.system}/ipaddresspools/a"
    state = f"/apis/metallb.io/v1beta1/namespaces/{site.system}/configurationstates/controller"
    site.cluster.apply([site.service(f"web-{n}") for n in range(5)])
    ring.until(lambda: all(site.addresses(f"web-{n}") for n in range(5)))
    ring.until(lambda: site.cluster.get(pool).get("status", {}).get("assignedIPv4") == 5)
    ring.until(lambda: "result" in site.cluster.get(state).get("status", {}))
    ring.close()
    before = site.writes()
    second = Ring(site)
    second.until(lambda: second.writer.counters.by_status.get(200, 0) > 0)  # it has read its state
    second.until(lambda: True)
    second.close()
    assert site.writes() == before


def test_every_service_of_a_burst_gets_an_address_of_its_own(site: Site, ring: Ring) -> None:
    names = [f"web-{n:03d}" for n in range(60)]
    threads = [
        threading.Thread(target=_create, args=(site, names[n::3])) for n in range(3)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    found: dict[str, tuple[str, ...]] = {}

    def is_done() -> bool:
        items = site.cluster.get(f"/api/v1/namespaces/{site.apps}/services")["items"]
        found.clear()
        for item in items:
            ingress = item["status"].get("loadBalancer", {}).get("ingress", ())
            found[item["metadata"]["name"]] = tuple(each["ip"] for each in ingress)
        return len(found) == len(names) and all(found.values())

    ring.until(is_done)
    for thread in threads:
        thread.join()
    assert len(set(found.values())) == len(names)
    assert sorted(site.status_writes()) == names  # one each


def _create(site: Site, names: list[str]) -> None:
    for name in names:
        site.cluster.kubectl("create", "-f", "-", stdin=json.dumps(site.service(name)))


def test_services_of_other_controllers_are_never_touched(site: Site, ring: Ring) -> None:
    other = {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}
    site.cluster.apply([
        {**site.service("other", loadBalancerClass="example.org/other"), "status": other},
        {**site.service("plain", loadBalancerClass=None), "status": other},
        site.service("ours"),
    ])  # fmt: skip
    ring.until(lambda: bool(site.addresses("ours")))
    ring.until(lambda: True)
    assert site.status_writes() == ["ours"]
    assert site.addresses("other") == site.addresses("plain") == ("203.0.113.1",)


def test_conditions_of_others_stay(site: Site, ring: Ring) -> None:
    foreign = {
        "type": "example.org/Checked", "status": "True", "reason": "Checked", "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    site.cluster.apply([{**site.service("web"), "status": {"conditions": [foreign]}}])
    ring.until(lambda: bool(site.addresses("web")))
    assert site.conditions("web").keys() == {"example.org/Checked", "AddressAllocated"}


def owners_of_status(site: Site, name: str) -> dict[str, str]:
    """Who set what in a status: the JSON of the fields by the name of each manager."""
    return {
        each["manager"]: json.dumps(each["fieldsV1"]["f:status"])
        for each in site.get(name)["metadata"]["managedFields"]
        if each.get("subresource") == "status"
    }


def test_an_address_of_metallb_is_taken_over_and_released(site: Site) -> None:
    site.cluster.kubectl("create", "-f", "-", stdin=json.dumps(site.service("web")))
    theirs = site.get("web")
    theirs["status"] = {"loadBalancer": {"ingress": [{"ip": "10.99.0.7", "ipMode": "VIP"}]}}
    site.cluster.client.request(
        "PUT", f"{site.path('web')}/status?fieldManager=controller", theirs
    )
    ring = Ring(site)
    ring.until(lambda: "AddressAllocated" in site.conditions("web"))
    assert site.addresses("web") == ("10.99.0.7",)
    managers = owners_of_status(site, "web")
    assert managers.keys() == {"controller", "onehop"}  # both say the same
    assert "f:ingress" in managers["onehop"]
    site.cluster.kubectl("delete", "ipaddresspool", "a", "-n", site.system)
    ring.until(lambda: site.addresses("web") == ())
    ring.close()
    assert owners_of_status(site, "web").keys() == {"onehop"}
    assert site.status_writes() == ["web", "web"]


def test_what_somebody_else_wrote_over_ours_is_ours_again(site: Site, ring: Ring) -> None:
    site.cluster.apply([site.service("web")])
    ring.until(lambda: bool(site.addresses("web")))
    before = site.addresses("web")
    body = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}}
    path = f"{site.path('web')}/status?fieldManager=another"
    site.cluster.client.request("PATCH", path, body, MERGE)
    ring.until(lambda: site.addresses("web") == before)
    assert owners_of_status(site, "web").keys() == {"onehop"}


def test_a_pool_that_goes_takes_its_addresses_with_it(site: Site, ring: Ring) -> None:
    site.cluster.apply([site.service("web")])
    ring.until(lambda: site.addresses("web") == ("10.99.0.0",))
    site.cluster.apply([site.pool("10.98.0.0/24")])
    ring.until(lambda: site.addresses("web") == ("10.98.0.0",))
    site.cluster.kubectl("delete", "ipaddresspool", "a", "-n", site.system)
    ring.until(lambda: site.addresses("web") == ())
    condition = site.conditions("web")["AddressAllocated"]
    assert (condition["status"], condition["reason"]) == ("False", "NoPools")
    assert site.get("web")["status"]["loadBalancer"] == {}


def test_a_service_of_another_type_keeps_nothing_of_ours(site: Site, ring: Ring) -> None:
    site.cluster.apply([site.service("web")])
    ring.until(lambda: bool(site.addresses("web")))
    site.cluster.kubectl(
        "patch", "service", "web", "-n", site.apps, "--type=merge", "-p",
        '{"spec":{"type":"ClusterIP","loadBalancerClass":null,'
        '"allocateLoadBalancerNodePorts":null}}',
    )  # fmt: skip
    ring.until(lambda: not site.conditions("web"))
    assert site.addresses("web") == ()
    site.cluster.apply([site.service("next")])
    ring.until(lambda: bool(site.addresses("next")))


def shared_with_another(site: Site, name: str) -> None:
    """Another manager says the same conditions in the same words, as who restores a dump does."""
    conditions = list(site.conditions(name).values())
    body = {
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": site.apps}, "status": {"conditions": conditions},
    }  # fmt: skip
    path = f"{site.path(name)}/status?fieldManager=backup&force=true"
    site.cluster.client.request("PATCH", path, body, APPLY)
    managers = owners_of_status(site, name)
    assert "AddressAllocated" in managers["backup"]
    assert "AddressAllocated" in managers["onehop"]


def test_a_condition_that_somebody_else_says_too_goes_with_ours(site: Site, ring: Ring) -> None:
    site.cluster.apply([site.service("web", sessionAffinity="ClientIP")])
    ring.until(lambda: "FullySupported" in site.conditions("web"))
    shared_with_another(site, "web")
    patch = '{"spec":{"sessionAffinity":"None"}}'
    site.cluster.kubectl("patch", "service", "web", "-n", site.apps, "--type=merge", "-p", patch)
    ring.until(lambda: site.conditions("web").keys() == {"AddressAllocated"})
    assert bool(site.addresses("web"))
    shared_with_another(site, "web")
    patch = (
        '{"spec":{"type":"ClusterIP","loadBalancerClass":null,'
        '"allocateLoadBalancerNodePorts":null}}'
    )
    site.cluster.kubectl("patch", "service", "web", "-n", site.apps, "--type=merge", "-p", patch)
    ring.until(lambda: not site.conditions("web"))


def test_who_comes_back_gets_the_same_address_also_from_the_next_controller(
    site: Site, ring: Ring
) -> None:
    site.cluster.apply([site.service("first"), site.service("second")])
    ring.until(lambda: all(map(site.addresses, ("first", "second"))))
    before = site.addresses("first")
    site.cluster.kubectl("delete", "service", "first", "-n", site.apps)
    kept = f"/api/v1/namespaces/{site.system}/configmaps/onehop-released"
    ring.until(lambda: ("configmaps", "onehop-released") in [
        (each[1], each[3]) for each in site.writes()
    ])  # fmt: skip
    assert site.cluster.get(kept)["data"] == {f"{site.apps}.first": before[0]}
    ring.close()
    second = Ring(site)
    site.cluster.apply([site.service("third")])
    second.until(lambda: bool(site.addresses("third")))
    site.cluster.apply([site.service("first")])
    second.until(lambda: bool(site.addresses("first")))
    assert site.addresses("first") == before != site.addresses("third")
    second.until(lambda: not site.cluster.get(kept).get("data"))
    second.close()


def test_a_status_spoilt_by_hand_is_put_right(site: Site, ring: Ring) -> None:
    site.cluster.apply([site.service("web")])
    ring.until(lambda: bool(site.addresses("web")))
    before = site.addresses("web")
    for spoilt in ('{"ingress":null}', '{"ingress":[{"ip":"203.0.113.9"}]}'):
        site.cluster.kubectl(
            "patch", "service", "web", "-n", site.apps, "--subresource=status", "--type=merge",
            "-p", f'{{"status":{{"loadBalancer":{spoilt}}}}}',
        )  # fmt: skip
        ring.until(lambda: site.addresses("web") == before)


def test_edits_while_it_is_written_end_in_the_last_decision(site: Site, ring: Ring) -> None:
    site.cluster.apply([site.service("web")])
    stop = threading.Event()

    def edit() -> None:
        connection, count = Connection(load_access(site.kubeconfig)), 0
        path = f"{site.path('web')}?fieldManager=someone"
        while not stop.is_set():
            count += 1
            body = {"metadata": {"annotations": {"example.org/count": str(count)}}}
            answer = connection.exchange(
                Request("PATCH", path, json.dumps(body).encode(), "application/merge-patch+json")
            )
            assert answer.status == 200
        connection.close()

    editor = threading.Thread(target=edit)
    editor.start()
    try:
        for last in (5, 6, 7):
            body = {"metadata": {"annotations": {"metallb.io/loadBalancerIPs": f"10.99.0.{last}"}}}
            site.cluster.kubectl("patch", "service", "web", "-n", site.apps, "-p",
                                 json.dumps(body))  # fmt: skip
            ring.until(lambda last=last: site.addresses("web") == (f"10.99.0.{last}",))
    finally:
        stop.set()
        editor.join()
    ring.until(lambda: not ring.report.failures)


def test_the_addresses_of_one_cluster_are_written_in_a_row(site: Site) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "my-cluster", "controller": True}
    site.cluster.apply([
        {"apiVersion": "v1", "kind": "ConfigMap",
         "metadata": {"name": "my-cluster", "namespace": site.apps}},
    ])  # fmt: skip
    uid = site.cluster.get(f"/api/v1/namespaces/{site.apps}/configmaps/my-cluster")["metadata"][
        "uid"
    ]
    owned = {"ownerReferences": [{**owner, "uid": uid}]}
    # By name they lie far apart.
    names, brokers = "abcdefghijklmnopqrstuvwxyz", "bmy"
    site.cluster.apply(
        site.service(name, **({"metadata": owned} if name in brokers else {})) for name in names
    )
    ring = Ring(site)
    ring.until(lambda: all(map(site.addresses, names)))
    ring.close()
    order = site.status_writes()
    places = sorted(map(order.index, brokers))
    # Four are under way at once, and each may be held up for a moment.
    assert places[-1] - places[0] <= 12, order
