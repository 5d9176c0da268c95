"""`onehop migrate plan` over a dump of a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from onehop.cli.main import main

POOL = {
    "apiVersion": "metallb.io/v1beta1",
    "kind": "IPAddressPool",
    "metadata": {"name": "pool", "namespace": "metallb-system"},
    "spec": {"addresses": ["192.0.2.240-192.0.2.250"]},
}


def a_service(name: str, *ips: str, **spec: object) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "type": "LoadBalancer",
            "clusterIPs": ["10.96.0.10"],
            "ports": [{"port": 80}],
            **spec,
        },
        "status": {"loadBalancer": {"ingress": [{"ip": ip, "ipMode": "VIP"} for ip in ips]}},
    }


def run(folder: Path, *words: str, code: int, objects: list[dict[str, object]]) -> str:
    """What the command prints for a dump as `kubectl get -o yaml` writes it: one List."""
    dump = {"apiVersion": "v1", "kind": "List", "items": objects}
    (folder / "dump.yaml").write_text(yaml.safe_dump(dump))
    done = CliRunner().invoke(main, ["migrate", "plan", "--manifests", str(folder), *words])
    assert done.exit_code == code, done.output
    assert [path.name for path in folder.iterdir()] == ["dump.yaml"], "it only reads"
    return done.output


def test_all_stay(tmp_path: Path) -> None:
    printed = run(tmp_path, code=0, objects=[POOL, a_service("web", "192.0.2.241")])
    header, row, total = printed.splitlines()
    assert header.split() == ["SERVICE", "FATE", "BEFORE", "AFTER", "POOL", "REASON"]
    assert row.split() == ["default/web", "stays", "192.0.2.241", "192.0.2.241", "pool", "-"]
    assert total == "1 stays: nothing changes"


def test_a_move_is_told_with_its_reason(tmp_path: Path) -> None:
    services = [a_service("web", "192.0.2.241"), a_service("old", "203.0.113.9")]
    printed = run(tmp_path, code=1, objects=[POOL, *services])
    assert "default/old  moves  203.0.113.9  192.0.2.240  pool  AddressInNoPool: " in printed
    assert printed.endswith("1 stays, 1 moves: not everything stays as it is\n")


def test_notes_and_problems_follow(tmp_path: Path) -> None:
    service = a_service("web", "192.0.2.241", sessionAffinity="ClientIP")
    peer = {
        "apiVersion": "metallb.io/v1beta2",
        "kind": "BGPPeer",
        "metadata": {"name": "tor", "namespace": "metallb-system"},
        "spec": {"myASN": 64500, "peerASN": 64501, "peerAddress": "192.0.2.1", "vrf": "red"},
    }
    objects = [POOL, service, peer]
    [problem] = json.loads(run(tmp_path, "-o", "json", code=1, objects=objects))["problems"]
    assert (problem["field"], problem["code"]) == ("spec.vrf", "FieldUnsupported")
    assert problem["severity"] == "error"
    lines = run(tmp_path, code=1, objects=objects).splitlines()
    assert lines[2].startswith("note     default/web: AffinityUnsupported")
    assert lines[3].startswith("problem  ")
    assert "BGPPeer metallb-system/tor spec.vrf" in lines[3]
    assert lines[3].endswith("[FieldUnsupported]")


def test_forms_say_the_same(tmp_path: Path) -> None:
    objects = [POOL, a_service("web", "192.0.2.241"), a_service("old", "203.0.113.9")]
    body = json.loads(run(tmp_path, "-o", "json", code=1, objects=objects))
    assert yaml.safe_load(run(tmp_path, "-o", "yaml", code=1, objects=objects)) == body
    assert body["allStay"] is False
    assert body["counts"] == {"stays": 1, "moves": 1}
    assert body["services"][0] == {
        "namespace": "default",
        "name": "old",
        "fate": "moves",
        "before": ["203.0.113.9"],
        "after": ["192.0.2.240"],
        "pool": "pool",
        "reasons": [
            {
                "code": "AddressInNoPool",
                "sentence": "its address belongs to no pool",
                "detail": "203.0.113.9",
            }
        ],
        "notes": [],
    }


def test_an_empty_folder_has_nothing_to_change(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["migrate", "plan", "--manifests", str(tmp_path)])
    assert done.exit_code == 0
    assert done.output.endswith("no Service of type LoadBalancer: nothing changes\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--kubeconfig", "/nowhere/kubeconfig"), "Error: --kubeconfig: "),
        (("--manifests", "{folder}", "--state", "{folder}"), "statuses cannot be kept in"),
    ],
)
def test_what_cannot_be_read_is_told_apart_from_what_changes(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    places = [word.format(folder=tmp_path) for word in words]
    done = CliRunner().invoke(main, ["migrate", "plan", *places])
    assert done.exit_code == 2
    assert said in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("lb_class", [None, "ours"])
def test_the_class_is_asked_for(tmp_path: Path, lb_class: str | None) -> None:
    words = ("--lb-class", lb_class) if lb_class else ()
    service = a_service("web", "192.0.2.241", loadBalancerClass="ours")
    printed = run(tmp_path, *words, code=0 if lb_class else 1, objects=[POOL, service])
    assert ("stays" if lb_class else "ignored") in printed
