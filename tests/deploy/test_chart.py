"""The chart: what it renders, what the pods may do, and what it refuses."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tools.deploy import CHART, DEPLOY, MANIFEST, RenderError, manifest, rendered

from onehop import __version__
from tests.deploy.objects import Object

ROOT = DEPLOY.parent
PRESETS = sorted(path.stem for path in (CHART / "presets").glob("*.yaml"))
BASE_CAPABILITIES = {"NET_RAW", "NET_ADMIN", "NET_BIND_SERVICE", "SYS_NICE"}


def objects(text: str) -> dict[tuple[str, str], Object]:
    """The objects of a rendered chart by kind and name."""
    found = [each for each in yaml.safe_load_all(text) if each]
    return {(each["kind"], each["metadata"]["name"]): each for each in found}


def pods(rendered: dict[tuple[str, str], Object]) -> dict[str, Any]:
    """The pod templates' specs by component."""
    return {
        "controller": rendered["Deployment", "onehop-controller"]["spec"]["template"]["spec"],
        "speaker": rendered["DaemonSet", "onehop-speaker"]["spec"]["template"]["spec"],
    }


PLAIN = pods(objects(MANIFEST.read_text()))


def containers(*kinds: str) -> Iterator[Any]:
    """The containers of the plain manifest as test parameters."""
    for name, pod in PLAIN.items():
        for kind in kinds or ("containers", "initContainers"):
            for each in pod.get(kind, ()):
                yield pytest.param(pod, each, id=f"{name}-{each['name']}")


@pytest.mark.helm
def test_the_manifest_is_the_chart_rendered(helm_program: Path) -> None:
    assert MANIFEST.read_text() == manifest(helm_program)


@pytest.mark.parametrize(("pod", "container"), tuple(containers()))
def test_a_container_may_do_no_more_than_it_needs(pod: Object, container: Object) -> None:
    rights = container["securityContext"]
    assert rights["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"]["memory"]
    assert "cpu" not in container["resources"]["limits"], "a throttled speaker goes silent"
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    if container["name"] == "reserve-ports":
        return  # the one that is privileged, for the time of one write
    assert rights["allowPrivilegeEscalation"] is False
    assert rights["capabilities"]["drop"] == ["ALL"]
    added = set(rights["capabilities"].get("add", ()))
    if container["name"] == "controller":
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] != 0
        assert "hostNetwork" not in pod
        assert added == set()
    else:
        assert added == BASE_CAPABILITIES | {"BPF", "PERFMON"}


@pytest.mark.parametrize(("pod", "container"), tuple(containers("containers")))
def test_probes_ask_the_port_that_the_program_opens(pod: Object, container: Object) -> None:
    (port,) = container["ports"]
    assert f"--metrics-address=:{port['containerPort']}" in container["args"]
    asked = {name: container[f"{name}Probe"]["httpGet"] for name in ("liveness", "readiness")}
    assert {each["port"] for each in asked.values()} == {port["name"]}
    assert (asked["liveness"]["path"], asked["readiness"]["path"]) == ("/healthz", "/readyz")


def test_the_controller_outlives_a_node_and_an_eviction() -> None:
    found = objects(MANIFEST.read_text())
    deployment = found["Deployment", "onehop-controller"]["spec"]
    assert deployment["replicas"] == 2
    budget = found["PodDisruptionBudget", "onehop-controller"]["spec"]
    assert budget["selector"] == deployment["selector"]
    assert budget["maxUnavailable"] < deployment["replicas"]
    policy = found["NetworkPolicy", "onehop-controller"]["spec"]
    assert policy["podSelector"] == deployment["selector"]
    spread = deployment["template"]["spec"]["affinity"]["podAntiAffinity"]
    (term,) = spread["preferredDuringSchedulingIgnoredDuringExecution"]
    assert term["podAffinityTerm"]["labelSelector"] == deployment["selector"]


def test_every_account_is_bound_to_rights_that_exist() -> None:
    found = objects(MANIFEST.read_text())
    for (kind, _), each in found.items():
        if kind not in ("RoleBinding", "ClusterRoleBinding"):
            continue
        reference = each["roleRef"]
        assert (reference["kind"], reference["name"]) in found
        for subject in each["subjects"]:
            assert ("ServiceAccount", subject["name"]) in found


@pytest.mark.helm
@pytest.mark.parametrize("preset", PRESETS)
def test_presets(helm_program: Path, preset: str) -> None:
    text = rendered(helm_program, "--values", str(CHART / "presets" / f"{preset}.yaml"))
    speaker = pods(objects(text))["speaker"]
    (container,) = speaker["containers"]
    forwards = preset == "own-datapath"
    assert f"--datapath={'ebpf' if forwards else 'none'}" in container["args"]
    added = set(container["securityContext"]["capabilities"]["add"])
    assert added == BASE_CAPABILITIES | ({"BPF", "PERFMON"} if forwards else set())
    assert ("initContainers" in speaker) is forwards
    assert any(each["name"] == "bpffs" for each in speaker["volumes"]) is forwards


@pytest.mark.helm
def test_values_reach_their_places(helm_program: Path) -> None:
    values = {
        "image.repository": "registry.test/onehop",
        "image.tag": "v9",
        "imagePullSecrets[0].name": "puller",
        "configNamespace": "metallb-system",
        "loadBalancerClass": "onehop.io/lb",
        "controller.priorityClassName": "high",
        "controller.nodeSelector.room": "one",
        "speaker.uplinks[0]": "eth1",
        "speaker.bgpListen[0]": "192.0.2.1",
        "speaker.tolerations[0].key": "tainted",
        "rbac.secrets[0]": "bgp-password",
        "pools[0].name": "default",
        "pools[0].spec.addresses[0]": "192.0.2.0/24",
        "l2Advertisements[0].name": "default",
    }
    chosen = [word for name, value in values.items() for word in ("--set", f"{name}={value}")]
    found = objects(rendered(helm_program, *chosen))
    made = pods(found)
    for name, pod in made.items():
        container = pod["containers"][0]
        assert container["image"] == "registry.test/onehop:v9"
        assert pod["imagePullSecrets"] == [{"name": "puller"}]
        assert {"--namespace=metallb-system", "--lb-class=onehop.io/lb"} <= set(container["args"])
        role = found["Role", f"onehop-{name}-configuration"]
        assert role["metadata"]["namespace"] == "metallb-system"
        secrets = [each for each in role["rules"] if each["resources"] == ["secrets"]]
        assert [each["resourceNames"] for each in secrets] == [["bgp-password"]]
    assert made["controller"]["priorityClassName"] == "high"
    assert made["controller"]["nodeSelector"]["room"] == "one"
    assert made["speaker"]["tolerations"] == [{"key": "tainted"}]
    assert {"--uplink=eth1", "--bgp-listen=192.0.2.1"} <= set(
        made["speaker"]["containers"][0]["args"]
    )
    pool = found["IPAddressPool", "default"]
    assert pool["metadata"]["namespace"] == "metallb-system"
    assert pool["spec"] == {"addresses": ["192.0.2.0/24"]}
    assert "spec" not in found["L2Advertisement", "default"]


@pytest.mark.helm
@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("datapth=none", "additional properties 'datapth' not allowed"),
        ("datapath=xdp", "at '/datapath'"),
        ("controller.replicas=many", "at '/controller/replicas'"),
        ("pools[0].spec.addresses[0]=192.0.2.0/24", "missing property 'name'"),
        ("pools[0].name=a", "pools: a needs a spec"),
    ],
)
def test_a_wrong_value_is_named(helm_program: Path, option: str, said: str) -> None:
    with pytest.raises(RenderError, match=re.escape(said)):
        rendered(helm_program, "--set", option)


def test_versions_are_the_packages() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__


def test_the_schema_knows_every_value() -> None:
    """And nothing else, so that a value that is renamed is renamed in both."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())

    def compare(have: Any, known: Any, where: str) -> None:
        known = (
            schema["definitions"][known["$ref"].rpartition("/")[2]] if "$ref" in known else known
        )
        if isinstance(have, dict) and "properties" in known:
            assert set(have) == set(known["properties"]) - {"global"}, where
            for name, each in have.items():
                compare(each, known["properties"][name], f"{where}.{name}")

    compare(values, schema, "values")


def test_the_image_holds_what_the_program_needs_and_no_more() -> None:
    """Its packages are pinned as everywhere else, by the same hashes."""
    everywhere, image = pins("requirements.lock"), pins("deploy/requirements.lock")
    assert image.items() <= everywhere.items()
    assert pins("deploy/requirements-build.lock").items() <= everywhere.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = {re.split(r"[>=<\[ ]", each, maxsplit=1)[0] for each in project["dependencies"]}
    assert direct <= set(image)


def pins(path: str) -> dict[str, tuple[str, ...]]:
    """Versions and hashes that a lock file gives each package."""
    found: dict[str, tuple[str, ...]] = {}
    for line in (ROOT / path).read_text().splitlines():
        text = line.strip().removesuffix("\\").strip()
        if "==" in text:
            name = text.partition("==")[0]
            found[name] = (text,)
        elif text.startswith("--hash="):
            found[name] = (*found[name], text)
    return found
