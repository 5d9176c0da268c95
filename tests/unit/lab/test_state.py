"""A lab's directory: one builder a name, files replaced whole, policies edited in place."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from onehop.lab.lab import ARTICLE
from onehop.lab.state import (
    LabError,
    Layout,
    copy_manifests,
    manifest_files,
    set_traffic_policy,
    start_time,
    write_atomically,
)


@pytest.mark.parametrize("name", ["lab", "a", "0", "my-lab-2", "a" * 32])
def test_names_that_a_lab_may_have(name: str) -> None:
    assert Layout(name).root == Path("/run/onehop/lab") / name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a/b", "..", "a.b", "a b", "a" * 33, "a\n"])
def test_names_that_a_lab_may_not_have(name: str) -> None:
    with pytest.raises(LabError, match="--name"):
        Layout(name)


def test_a_start_time_names_a_process_that_runs() -> None:
    assert start_time(os.getpid()) == start_time(os.getpid())
    child = subprocess.Popen(["true"])
    pid = child.pid
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended and is a zombie still
    assert start_time(pid) is None
    child.wait()
    assert start_time(pid) is None


def test_a_file_is_replaced_and_no_draft_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("old")
    write_atomically(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.yaml"]
    assert path.read_text() == "new"


def test_a_cluster_is_a_file_or_a_folder_of_files(tmp_path: Path) -> None:
    for name in ("b.yml", "a.yaml", "notes.txt", "c.json"):
        (tmp_path / name).write_text(name)
    assert [path.name for path in manifest_files(tmp_path)] == ["a.yaml", "b.yml"]
    assert manifest_files(tmp_path / "c.json") == (tmp_path / "c.json",)


def test_what_is_no_cluster_is_said(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no such file"):
        manifest_files(tmp_path / "x")
    with pytest.raises(LabError, match="the directory holds no"):
        manifest_files(tmp_path)


def test_a_copied_file_is_one_that_the_watcher_reads(tmp_path: Path) -> None:
    source, target = tmp_path / "cluster.txt", tmp_path / "target"
    source.write_text("kind: Node\n")
    target.mkdir()
    copy_manifests(source, target)
    assert [path.name for path in target.iterdir()] == ["cluster.txt.yaml"]


def test_a_policy_changes_and_nothing_else_does(tmp_path: Path) -> None:
    copy_manifests(ARTICLE, tmp_path)
    (path,) = tmp_path.iterdir()
    before = list(yaml.safe_load_all(path.read_text()))
    assert set_traffic_policy(tmp_path, "Cluster", None) == 4
    assert set_traffic_policy(tmp_path, "Cluster", None) == 0
    after = list(yaml.safe_load_all(path.read_text()))
    for document in before:
        if document["kind"] == "Service":
            document["spec"]["externalTrafficPolicy"] = "Cluster"
    assert after == before


def test_a_policy_changes_for_named_services_alone(tmp_path: Path) -> None:
    copy_manifests(ARTICLE, tmp_path)
    assert set_traffic_policy(tmp_path, "Cluster", ["kafka/kafka-0", "other/kafka-1"]) == 1
    (path,) = tmp_path.iterdir()
    policies = {
        document["metadata"]["name"]: document["spec"]["externalTrafficPolicy"]
        for document in yaml.safe_load_all(path.read_text())
        if document["kind"] == "Service"
    }
    assert policies.pop("kafka-0") == "Cluster"
    assert set(policies.values()) == {"Local"}


LISTED = """\
apiVersion: v1
kind: List
items:
- {kind: Service, metadata: {name: a}, spec: {type: LoadBalancer, clusterIP: "1.2.3.4"}}
- {kind: Service, metadata: {name: b}, spec: {type: ClusterIP}}
- {kind: Service, metadata: {name: c, creationTimestamp: 2026-01-02T03:04:05Z}}
- kind: Service
  metadata: {name: e}
  spec: # the body
    type: LoadBalancer
    externalTrafficPolicy: "Cluster" # as it was
- kind: Service
  metadata: {name: f}
  spec:
    type: LoadBalancer
---
# nothing
---
[1, 2]
"""


def test_a_policy_is_added_in_lists_and_where_it_was_left_out(tmp_path: Path) -> None:
    """Comments, times and quotes stay, and so does every Service of another type."""
    path = tmp_path / "list.yaml"
    path.write_text(LISTED)
    assert set_traffic_policy(tmp_path, "Local", None) == 3
    wanted = (
        LISTED.replace("spec: {type: L", "spec: {externalTrafficPolicy: Local, type: L")
        .replace('"Cluster"', "Local")
        .replace("spec:\n    type", "spec:\n    externalTrafficPolicy: Local\n    type")
    )
    assert path.read_text() == wanted
    assert set_traffic_policy(tmp_path, "Local", ["default/a", "default/b"]) == 0
