"""`onehop status` over a folder: its forms and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from click.testing import CliRunner, Result

from onehop.cli.main import main

POOL = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: pool, namespace: onehop-system}
spec: {addresses: [192.0.2.240-192.0.2.249]}
---
"""
SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, clusterIPs: [10.96.0.10], ports: [{port: 80}]}
"""
STATUS = "status: {loadBalancer: {ingress: [{ip: 192.0.2.241}]}}\n"


def run(folder: Path, text: str, *words: str) -> Result:
    (folder / "all.yaml").write_text(text)
    return CliRunner().invoke(main, ["status", "--manifests", str(folder), *words])


def test_all_is_well(tmp_path: Path) -> None:
    done = run(tmp_path, POOL + SERVICE + STATUS)
    assert done.exit_code == 0, done.output
    assert f"Store        {tmp_path}" in done.output
    assert "1 with an address, 0 without" in done.output
    assert "All is well." in done.output


def test_a_service_that_waits_needs_a_person(tmp_path: Path) -> None:
    done = run(tmp_path, SERVICE)
    assert done.exit_code == 1
    assert "0 with an address, 1 without" in done.output
    assert "Needs a person:" in done.output
    assert "(such as shop/web)" in done.output


def test_programs_get_the_same_in_both_forms(tmp_path: Path) -> None:
    as_json = run(tmp_path, POOL + SERVICE + STATUS, "-o", "json")
    as_yaml = run(tmp_path, POOL + SERVICE + STATUS, "-o", "yaml")
    assert as_json.exit_code == as_yaml.exit_code == 0
    assert json.loads(as_json.output) == yaml.safe_load(as_yaml.output)
    assert json.loads(as_json.output)["services"] == {"withAddress": 1, "withoutAddress": []}


def test_a_class_of_its_own_is_not_asked_about(tmp_path: Path) -> None:
    other = SERVICE.replace("LoadBalancer,", "LoadBalancer, loadBalancerClass: x.org/y,")
    assert run(tmp_path, POOL + other).exit_code == 0
    assert run(tmp_path, POOL + other, "--lb-class", "x.org/y").exit_code == 1


def test_what_cannot_be_read_is_a_code_of_its_own(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text("apiVersion: v1\nkind: Config\n")
    done = CliRunner().invoke(main, ["status", "--kubeconfig", str(config)])
    assert done.exit_code == 2
    assert done.output.startswith("Error: --kubeconfig: ")


def test_what_is_wrong_with_the_configuration_needs_a_person(tmp_path: Path) -> None:
    twin = POOL.replace("name: pool", "name: twin")
    done = run(tmp_path, POOL + twin + SERVICE + STATUS, "-o", "json")
    assert done.exit_code == 1
    body = json.loads(done.output)
    (problem,) = [each for each in body["problems"] if "IPAddressPool" in each]
    assert problem.endswith("[PoolOverlap]")
    assert problem in body["findings"]
