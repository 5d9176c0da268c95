"""Installing on a real API server: by kubectl, by Helm, and over MetalLB."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.deploy import CHART, MANIFEST, NAMESPACE

from onehop.lab.kube_client import RequestError
from tests.deploy.objects import LEAST, PLURALS, an_object, version_of
from tests.kube.cluster import CRDS, Cluster


@pytest.mark.kube
def test_the_manifest_is_applied_whole_and_again(installed: Cluster) -> None:
    before = versions(installed)
    assert len(before) == len([each for each in yaml.safe_load_all(MANIFEST.read_text()) if each])
    assert f"Namespace {NAMESPACE}" in before
    installed.kubectl("apply", "--filename", str(MANIFEST))
    assert versions(installed) == before


def versions(cluster: Cluster) -> dict[str, str]:
    """The resource version of each object of the manifest."""
    found = json.loads(cluster.kubectl("get", "--filename", str(MANIFEST), "--output", "json"))
    return {
        f"{each['kind']} {each['metadata']['name']}": each["metadata"]["resourceVersion"]
        for each in found["items"]
    }


@pytest.mark.kube
def test_the_server_knows_every_field_of_the_manifest(installed: Cluster) -> None:
    installed.kubectl(
        "apply", "--filename", str(MANIFEST), "--dry-run=server", "--validate=strict"
    )


def helm(program: Path, cluster: Cluster, home: Path, *words: str) -> str:
    """What `helm WORDS` prints."""
    environ = {
        "KUBECONFIG": str(cluster.kubeconfig),
        "HOME": str(home),
        "PATH": os.environ["PATH"],
    }
    done = subprocess.run(
        [program, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], **environ},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.kube
@pytest.mark.helm
def test_helm_installs_and_removes_and_leaves_what_users_wrote(
    installed: Cluster, helm_program: Path, tmp_path: Path
) -> None:
    namespace = installed.namespace()
    where = ("--namespace", namespace)
    values = {
        "nameOverride": namespace,
        "configNamespace": NAMESPACE,
        "l2Advertisements[0].name": "of-the-release",
    }
    options = [word for item in values.items() for word in ("--set", "=".join(item))]
    helm(helm_program, installed, tmp_path, "install", "release", str(CHART), *where, *options)
    path = f"/apis/metallb.io/v1beta1/namespaces/{NAMESPACE}"
    assert installed.get(f"{path}/l2advertisements/of-the-release")
    pool = an_object("IPAddressPool", {"addresses": ["198.51.100.0/24"]}, name="of-a-user")
    installed.client.request("POST", f"{path}/ipaddresspools", pool)
    helm(helm_program, installed, tmp_path, "uninstall", "release", *where)
    with pytest.raises(RequestError, match="404"):
        installed.get(f"/apis/apps/v1/namespaces/{namespace}/deployments/{namespace}-controller")
    assert installed.get(f"{path}/ipaddresspools/of-a-user")["spec"] == pool["spec"] | {
        "autoAssign": True,
        "avoidBuggyIPs": False,
    }
    installed.client.delete(f"{path}/ipaddresspools/of-a-user")


# ---- over MetalLB -----------------------------------------------------------------------------


@pytest.fixture
def after_metallb(
    kube_programs: Path, metallb_programs: Path, tmp_path: Path
) -> Iterator[Cluster]:
    """An API server with MetalLB's definitions, whose webhooks nobody answers any more."""
    made = Cluster(tmp_path, kube_programs)
    config = metallb_programs / "config" / "crd"
    patch = yaml.safe_load((config / "patches" / "crd-conversion-patch-bgppeers.yaml").read_text())
    try:
        made.start(config / "bases")
        conversion = json.dumps({"spec": patch["spec"]})
        made.kubectl("patch", "crd", "bgppeers.metallb.io", "--type=merge", "-p", conversion)
        yield made
    finally:
        made.stop()


@pytest.mark.kube
@pytest.mark.peers
def test_what_metallb_left_stays_as_it_is(after_metallb: Cluster) -> None:
    """Objects under MetalLB's definitions are whole and can be edited under ours."""
    namespace = NAMESPACE
    after_metallb.apply(
        [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}]
    )
    stored: dict[str, Any] = {}
    for kind, spec in LEAST.items():
        base = f"/apis/{version_of(kind)}/namespaces/{namespace}/{PLURALS[kind]}"
        stored[f"{base}/it"] = after_metallb.client.request("POST", base, an_object(kind, spec))
    old_peers = f"/apis/metallb.io/v1beta1/namespaces/{namespace}/bgppeers"
    with pytest.raises(RequestError, match="conversion webhook"):
        after_metallb.get(old_peers)
    after_metallb.kubectl("apply", "--filename", str(MANIFEST))
    for path, before in stored.items():
        after = after_metallb.get(path)
        assert after["spec"] == before["spec"]
        after["metadata"]["labels"] = {"edited": "yes"}
        after_metallb.client.request("PUT", path, after)
    assert [each["spec"]["myASN"] for each in after_metallb.get(old_peers)["items"]] == [64500]


@pytest.mark.kube
@pytest.mark.peers
def test_metallb_finds_its_objects_again(
    after_metallb: Cluster, metallb_programs: Path, tmp_path: Path
) -> None:
    """Its definitions applied over ours, with its conversion webhook."""
    after_metallb.kubectl("apply", "--filename", str(CRDS))
    namespace = after_metallb.namespace()
    base = f"/apis/metallb.io/v1beta1/namespaces/{namespace}/ipaddresspools"
    after_metallb.client.request("POST", base, an_object("IPAddressPool", LEAST["IPAddressPool"]))
    config = metallb_programs / "config" / "crd"
    theirs = yaml.safe_load((config / "bases" / "metallb.io_bgppeers.yaml").read_text())
    patch = yaml.safe_load((config / "patches" / "crd-conversion-patch-bgppeers.yaml").read_text())
    theirs["spec"] |= patch["spec"]
    path = tmp_path / "bgppeers.yaml"
    path.write_text(yaml.safe_dump(theirs))
    after_metallb.kubectl("apply", "--filename", str(config / "bases"))
    after_metallb.kubectl("apply", "--filename", str(path))
    stored = after_metallb.get(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/bgppeers.metallb.io"
    )
    assert stored["spec"]["conversion"]["strategy"] == "Webhook"
    pool = after_metallb.get(f"{base}/it")
    pool["metadata"]["labels"] = {"edited": "yes"}
    after_metallb.client.request("PUT", f"{base}/it", pool)
