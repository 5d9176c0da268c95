"""`onehop pool list` over a folder."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from click.testing import CliRunner

from onehop.cli.main import main

OBJECTS = """\
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: pool, namespace: metallb-system}
spec: {addresses: [192.0.2.240-192.0.2.249, "2001:db8::/126"], autoAssign: false}
---
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: twin, namespace: metallb-system}
spec: {addresses: [192.0.2.0/24]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, clusterIPs: [10.96.0.10], ports: [{port: 80}]}
status: {loadBalancer: {ingress: [{ip: 192.0.2.241}, {ip: "2001:db8::1"}]}}
"""


def printed(folder: Path, *words: str) -> str:
    (folder / "all.yaml").write_text(OBJECTS)
    done = CliRunner().invoke(main, ["pool", "list", "--manifests", str(folder), *words])
    assert done.exit_code == 0, done.output
    return done.output


def plain(line: str) -> str:
    return " ".join(line.split())


def test_a_table_has_a_line_for_each_family(tmp_path: Path) -> None:
    header, first, second, twin = printed(tmp_path).splitlines()
    assert plain(header) == "POOL ADDRESSES USED FREE TOTAL SERVICES AUTO FULL IN PROBLEM"
    assert plain(first) == "pool 192.0.2.240-192.0.2.249 1 9 10 1 no -"
    assert plain(second) == "2001:db8::/126 1 3 4"
    assert plain(twin).startswith("twin 192.0.2.0/24 0 256 256 0 yes - ")
    assert "pool" in twin.split(" - ")[1], "says what it overlaps"


def test_programs_get_the_same(tmp_path: Path) -> None:
    found = json.loads(printed(tmp_path, "-o", "json"))
    assert found == yaml.safe_load(printed(tmp_path, "-o", "yaml"))
    assert found[0] == {
        "name": "pool",
        "namespace": "metallb-system",
        "addresses": ["192.0.2.240-192.0.2.249", "2001:db8::/126"],
        "autoAssign": False,
        "services": 1,
        "families": {
            "IPv4": {"used": 1, "free": 9, "total": 10},
            "IPv6": {"used": 1, "free": 3, "total": 4},
        },
        "daysLeft": None,
        "problem": None,
    }
    assert found[1]["problem"]
