"""An advertisement changes its kind in place; what would be lost stops it."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml

from onehop.lab.lab import ARTICLE
from onehop.lab.mode import PEERS_FILE, remove_peers, set_advertisements, write_peers
from onehop.lab.state import LabError, copy_manifests

LISTED = """\
# kept
kind: List
apiVersion: v1
items:
  - apiVersion: metallb.io/v1beta1
    kind: L2Advertisement  # kept too
    metadata: {name: a, namespace: metallb-system}
  - {apiVersion: v1, kind: Service, metadata: {name: s}}
---
---
{apiVersion: metallb.io/v1beta1, kind: "L2Advertisement", metadata: {name: b},
 spec: {ipAddressPools: [p]}}
"""


def test_there_and_back_changes_nothing(tmp_path: Path) -> None:
    copy_manifests(ARTICLE, tmp_path)
    (path,) = tmp_path.iterdir()
    before = path.read_text()
    assert set_advertisements(tmp_path, "bgp") == 1
    after = path.read_text()
    assert after == before.replace("kind: L2Advertisement", "kind: BGPAdvertisement")
    assert set_advertisements(tmp_path, "bgp") == 0
    assert set_advertisements(tmp_path, "l2") == 1
    assert path.read_text() == before
    assert [one.name for one in tmp_path.iterdir()] == [path.name]


def test_every_file_and_list_is_looked_through(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(LISTED)
    (tmp_path / "b.yml").write_text("kind: L2Advertisement\nmetadata: {name: c}\n")
    assert set_advertisements(tmp_path, "bgp") == 3
    listed, _, flow = yaml.safe_load_all(path.read_text())
    assert [one["kind"] for one in listed["items"]] == ["BGPAdvertisement", "Service"]
    assert (flow["kind"], flow["spec"]) == ("BGPAdvertisement", {"ipAddressPools": ["p"]})
    assert path.read_text().startswith("# kept\n")
    assert "BGPAdvertisement  # kept too" in path.read_text()


@pytest.mark.parametrize(
    ("kind", "mode", "field"),
    [
        ("L2Advertisement", "bgp", "interfaces: [eno1]"),
        ("BGPAdvertisement", "l2", "localPref: 200"),
        ("BGPAdvertisement", "l2", "peers: [router]"),
    ],
)
def test_a_field_that_would_be_lost_is_named(
    tmp_path: Path, kind: str, mode: str, field: str
) -> None:
    text = f"kind: {kind}\nmetadata: {{name: x}}\nspec: {{{field}}}\n"
    (tmp_path / "z.yaml").write_text(text)
    (tmp_path / "a.yaml").write_text(f"kind: {kind}\nmetadata: {{name: y}}\n")
    with pytest.raises(LabError, match=rf"{kind} x: spec\.{field.partition(':')[0]}"):
        set_advertisements(tmp_path, mode)  # type: ignore[arg-type]
    assert (tmp_path / "z.yaml").read_text() == text
    assert kind in (tmp_path / "a.yaml").read_text()


def test_the_routers_addresses_become_peers_and_go(tmp_path: Path) -> None:
    addresses = (ip_address("192.0.2.1"), ip_address("2001:db8::1"))
    write_peers(tmp_path, addresses, 64512)
    peers = list(yaml.safe_load_all((tmp_path / PEERS_FILE).read_text()))
    assert [peer["metadata"]["name"] for peer in peers] == ["router", "router-1"]
    assert [peer["spec"]["peerAddress"] for peer in peers] == ["192.0.2.1", "2001:db8::1"]
    assert {(peer["spec"]["myASN"], peer["spec"]["peerASN"]) for peer in peers} == {(64512, 64512)}
    remove_peers(tmp_path)
    remove_peers(tmp_path)
    assert list(tmp_path.iterdir()) == []
