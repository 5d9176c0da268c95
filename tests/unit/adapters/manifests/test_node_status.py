"""Status files of a node: written when they differ, taken away when they are not so any more."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import yaml

from onehop.adapters.manifests import Manifests
from onehop.adapters.manifests.node_status import NodeStatusFiles
from onehop.model.service import Key
from onehop.model.status import NodeStatuses, ServiceBGPStatus, ServiceL2Status

WEB, DB = Key("shop", "web"), Key("shop", "db")
L2_FILE = "node1/servicel2status/shop/web.json"
BGP_FILE = "node1/servicebgpstatus/shop/web.json"


def says(*services: Key, node: str = "node1", peers: tuple[str, ...] = ("r1",)) -> NodeStatuses:
    return NodeStatuses(
        l2={key: ServiceL2Status(node=node, service=key) for key in services},
        bgp={key: ServiceBGPStatus(node=node, service=key, peers=peers) for key in services},
    )


def files(state: Path) -> dict[str, int]:
    """Every file with its inode, which a rewriting would change."""
    return {
        str(path.relative_to(state / "nodes")): path.stat().st_ino
        for path in sorted((state / "nodes").rglob("*"))
        if path.is_file()
    }


def written(state: Path, statuses: NodeStatuses, node: str = "node1") -> NodeStatusFiles:
    found = NodeStatusFiles(state, node)
    found.want(statuses)
    assert not found.step(100)
    return found


def test_a_status_is_an_object_that_any_reader_of_the_api_knows(tmp_path: Path) -> None:
    written(tmp_path, says(WEB))
    text = (tmp_path / "nodes" / BGP_FILE).read_text()
    found = yaml.safe_load(text)
    assert found == json.loads(text)
    assert (found["kind"], found["status"]["peers"]) == ("ServiceBGPStatus", ["r1"])
    assert found["metadata"]["labels"]["metallb.io/service-name"] == "web"
    assert set(files(tmp_path)) == {L2_FILE, BGP_FILE}


def test_only_what_differs_is_written(tmp_path: Path) -> None:
    before = says(WEB, DB)
    one = written(tmp_path, before)
    old = files(tmp_path)
    after = NodeStatuses(l2=before.l2, bgp={**before.bgp, **says(WEB, peers=("r2",)).bgp})
    one.want(after)
    one.step(100)
    new = files(tmp_path)
    assert {name for name in new if new[name] != old[name]} == {BGP_FILE}
    one.want(says(DB))
    one.step(100)
    assert set(files(tmp_path)) == {L2_FILE.replace("web", "db"), BGP_FILE.replace("web", "db")}


def test_a_new_speaker_keeps_what_is_still_so_and_clears_the_rest(tmp_path: Path) -> None:
    written(tmp_path, says(WEB, DB))
    old = files(tmp_path)
    written(tmp_path, says(WEB))
    assert files(tmp_path) == {name: old[name] for name in (L2_FILE, BGP_FILE)}


def test_writing_goes_in_steps_and_the_last_word_counts(tmp_path: Path) -> None:
    keys = [Key("shop", f"s{at}") for at in range(5)]
    found = NodeStatusFiles(tmp_path, "node1")
    found.want(says(*keys))
    assert found.step(3)
    assert len(files(tmp_path)) == 3
    found.want(NodeStatuses())
    assert not found.step(100)
    assert files(tmp_path) == {}


def test_the_new_owner_clears_what_a_dead_node_left_and_nothing_fresh(tmp_path: Path) -> None:
    written(tmp_path, says(WEB, DB, node="node2"), "node2")
    stale = tmp_path / "nodes" / "node2" / "servicel2status" / "shop" / "web.json"
    minute_ago = time.time() - 60
    os.utime(stale, (minute_ago, minute_ago))
    written(tmp_path, says(WEB, DB))
    left = {name for name in files(tmp_path) if name.startswith("node2")}
    assert left == {
        "node2/servicebgpstatus/shop/db.json",
        "node2/servicebgpstatus/shop/web.json",  # of routes each node has its own
        "node2/servicel2status/shop/db.json",
    }


def test_what_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("in the way")
    found = NodeStatusFiles(tmp_path, "node1")
    found.want(says(WEB))
    with pytest.raises(OSError, match="nodes"):
        found.step(100)
    (tmp_path / "nodes").unlink()
    assert not found.step(100)
    assert set(files(tmp_path)) == {L2_FILE, BGP_FILE}


def test_no_store_wakes_for_what_nodes_say(tmp_path: Path) -> None:
    store = Manifests(tmp_path)
    store.refresh()
    written(tmp_path / ".onehop", NodeStatuses())
    (tmp_path / ".onehop" / "nodes").mkdir(parents=True)
    store.refresh()
    written(tmp_path / ".onehop", says(WEB))
    assert store._inotify.events() == []
    store.close()
