"""The definitions as a whole: what is stored, what is kept, and MetalLB's own beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.crds.__main__ import definitions, rendered

from onehop.lab.kube_client import RequestError
from tests.deploy.objects import LEAST, PLURALS, Object, an_object, changed, version_of
from tests.kube.cluster import CRDS, Cluster

DEFINITIONS = {path.name: yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml"))}

# Where ours are narrower than MetalLB's schema: its webhooks refuse these, or they mean nothing.
NARROWER = {"minimum", "maximum", "minItems", "maxItems", "maxLength", "pattern", "enum"}
# MetalLB's schema of BGPPeer v1beta1 lacks what v1beta2 added; ours has it, see the decisions.
WIDER = {"required"}


def test_files_are_what_the_tool_writes() -> None:
    written = {name: rendered(definition) for name, definition in definitions().items()}
    assert {path.name: path.read_text() for path in CRDS.glob("*.yaml")} == written


def test_every_kind_is_there() -> None:
    names = {each["spec"]["names"]["kind"]: each["spec"]["names"] for each in DEFINITIONS.values()}
    assert {kind: names[kind]["plural"] for kind in names} == PLURALS


@pytest.mark.parametrize("definition", DEFINITIONS.values(), ids=DEFINITIONS)
def test_one_version_is_stored_and_all_are_served(definition: Object) -> None:
    versions = definition["spec"]["versions"]
    assert [each["name"] for each in versions if each["storage"]] == [versions[-1]["name"]]
    assert all(each["served"] for each in versions)


@pytest.mark.parametrize("definition", DEFINITIONS.values(), ids=DEFINITIONS)
def test_every_field_says_what_it_is(definition: Object) -> None:
    for version in definition["spec"]["versions"]:
        for path, schema in walked(version["schema"]["openAPIV3Schema"]):
            if path and not path.endswith(("[]", "{}", ".metadata", ".status")):
                assert schema.get("description"), path


def test_both_versions_of_a_peer_hold_the_same_fields() -> None:
    """Without conversion the stored form is either's, so a field in one alone would be lost."""
    old, new = DEFINITIONS["bgppeers.yaml"]["spec"]["versions"]
    assert old["schema"] == new["schema"]


def walked(schema: Object, path: str = "") -> Iterator[tuple[str, Object]]:
    """Every schema below one, by the path of its field."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from walked(inner, f"{path}.{name}")
    if "items" in schema:
        yield from walked(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from walked(schema["additionalProperties"], f"{path}{{}}")


FULL_PEER = {
    "myASN": 64500,
    "dynamicASN": "external",
    "localASN": 64502,
    "interface": "eth0",
    "sourceAddress": "192.0.2.2",
    "peerPort": 1179,
    "holdTime": "90s",
    "keepaliveTime": "30s",
    "connectTime": "5s",
    "routerID": "192.0.2.2",
    "nodeSelectors": [{"matchExpressions": [{"key": "a", "operator": "Exists"}]}],
    "passwordSecret": {"name": "s", "namespace": "n"},
    "bfdProfile": "fast",
    "enableGracefulRestart": True,
    "ebgpMultiHop": True,
    "vrf": "red",
    "disableMP": False,
    "dualStackAddressFamily": True,
}


@pytest.mark.kube
def test_a_peer_loses_nothing_in_either_version(cluster: Cluster) -> None:
    """Read by the old version and written back by it, as an old client does."""
    namespace = cluster.namespace()
    paths = [
        f"/apis/metallb.io/{version}/namespaces/{namespace}/bgppeers"
        for version in ("v1beta1", "v1beta2")
    ]
    cluster.client.request("POST", paths[1], an_object("BGPPeer", FULL_PEER))
    old = cluster.get(f"{paths[0]}/it")
    assert old["spec"] == FULL_PEER
    old["metadata"]["labels"] = {"seen": "by-v1beta1"}
    cluster.client.request("PUT", f"{paths[0]}/it", old)
    new = cluster.get(f"{paths[1]}/it")
    assert new["spec"] == FULL_PEER
    assert new["metadata"]["labels"] == {"seen": "by-v1beta1"}


@pytest.mark.kube
def test_a_peer_written_by_the_old_version_is_the_same_in_the_new(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    path = f"/apis/metallb.io/v1beta1/namespaces/{namespace}/bgppeers"
    spec = changed("BGPPeer", holdTime="90s", password="p")
    cluster.client.request("POST", path, an_object("BGPPeer", spec, version="metallb.io/v1beta1"))
    new = cluster.get(f"/apis/metallb.io/v1beta2/namespaces/{namespace}/bgppeers/it")
    defaults = {"peerPort": 179, "disableMP": False, "dualStackAddressFamily": False}
    assert new["spec"] == spec | defaults


@pytest.mark.kube
@pytest.mark.parametrize(
    ("kind", "path", "first", "then", "allowed"),
    [
        ("BGPPeer", "spec", {"enableGracefulRestart": True}, False, False),
        ("BGPPeer", "spec", {}, True, True),
    ],
)
def test_graceful_restart_is_decided_once(
    cluster: Cluster, kind: str, path: str, first: Object, then: bool, allowed: bool
) -> None:
    base = f"/apis/{version_of(kind)}/namespaces/{cluster.namespace()}/{PLURALS[kind]}"
    cluster.client.request("POST", base, an_object(kind, changed(kind, **first)))
    item = cluster.get(f"{base}/it")
    item[path]["enableGracefulRestart"] = then
    if allowed:
        cluster.client.request("PUT", f"{base}/it", item)
    else:
        with pytest.raises(RequestError, match=r"spec\.enableGracefulRestart: .*cannot be chang"):
            cluster.client.request("PUT", f"{base}/it", item)


@pytest.mark.kube
@pytest.mark.parametrize("kind", ["ServiceL2Status", "ServiceBGPStatus"])
def test_a_status_stays_with_its_service_and_node(cluster: Cluster, kind: str) -> None:
    """Which one write gives it: of these kinds status is not a resource apart."""
    base = f"/apis/metallb.io/v1beta1/namespaces/{cluster.namespace()}/{PLURALS[kind]}"
    status = {"node": "n1", "serviceName": "web", "serviceNamespace": "default"}
    item = cluster.client.request("POST", base, an_object(kind, {}) | {"status": status})
    assert item["status"] == status
    for field in item["status"]:
        other = {**item, "status": {**item["status"], field: "other"}}
        with pytest.raises(RequestError, match=rf"status\.{field}: .*cannot be changed"):
            cluster.client.request("PUT", f"{base}/it", other)


@pytest.mark.kube
def test_defaults_are_metallbs(cluster: Cluster) -> None:
    namespace = cluster.namespace()
    for kind, expected in (
        ("IPAddressPool", {"autoAssign": True, "avoidBuggyIPs": False}),
        ("BGPAdvertisement", {"aggregationLength": 32, "aggregationLengthV6": 128}),
    ):
        base = f"/apis/metallb.io/v1beta1/namespaces/{namespace}/{PLURALS[kind]}"
        made = cluster.client.request("POST", base, an_object(kind, LEAST[kind]))
        assert made["spec"] == LEAST[kind] | expected


# ---- beside MetalLB's own ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def theirs(metallb_programs: Path) -> dict[str, Object]:
    """MetalLB's definitions by plural."""
    found = {}
    for path in (metallb_programs / "config" / "crd" / "bases").glob("*.yaml"):
        definition = yaml.safe_load(path.read_text())
        found[definition["spec"]["names"]["plural"]] = definition
    return found


@pytest.mark.peers
@pytest.mark.parametrize("plural", PLURALS.values())
def test_what_metallb_stores_is_valid_here(theirs: dict[str, Object], plural: str) -> None:
    """The same names, versions, columns and fields; each field of the same type and meaning."""
    ours, spec = DEFINITIONS[f"{plural}.yaml"]["spec"], theirs[plural]["spec"]
    for name in ("group", "names", "scope"):
        assert ours[name] == spec[name]
    by_name = {version["name"]: version for version in ours["versions"]}
    assert list(by_name) == [version["name"] for version in spec["versions"]]
    for version in spec["versions"]:
        compare(by_name[version["name"]], version)
        if plural not in ("servicel2statuses", "servicebgpstatuses"):  # one write instead of two
            assert by_name[version["name"]]["subresources"] == version["subresources"]


def compare(ours: Object, theirs: Object) -> None:
    """One version of a kind beside MetalLB's."""
    for name in ("served", "storage", "deprecated", "additionalPrinterColumns"):
        assert ours.get(name) == theirs.get(name), name
    mine = dict(walked(ours["schema"]["openAPIV3Schema"]))
    for path, schema in walked(theirs["schema"]["openAPIV3Schema"]):
        found = essence(mine[path])
        if theirs.get("deprecated"):
            # this version's own form of a label selector is the common one here
            found.pop("default", None)
            for each in (found, schema):
                for name in ("x-kubernetes-map-type", "x-kubernetes-list-type"):
                    each.pop(name, None)
        assert found == essence(schema), path


def essence(schema: Object) -> dict[str, Any]:
    """What decides whether a stored value is of the right form."""
    ignored = NARROWER | WIDER | {
        "description", "properties", "items", "additionalProperties", "maxProperties",
        "minLength", "x-kubernetes-validations",
    }  # fmt: skip
    return {name: value for name, value in schema.items() if name not in ignored}
