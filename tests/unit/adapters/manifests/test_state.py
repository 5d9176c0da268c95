"""Statuses and released addresses: written by one process, read by all, lost by none."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from onehop.adapters.manifests import Manifests
from onehop.adapters.manifests.status import STATUS, addresses_in, status_text
from onehop.model.address import IPAddress
from onehop.model.desired import ClusterDesired, ServiceStatus
from onehop.model.reason import Reason
from onehop.model.service import Condition, Key
from tests.unit.adapters.manifests.texts import a_service

WEB = Key("shop", "web")
V4, V6, OTHER = (ip_address(text) for text in ("192.0.2.7", "2001:db8::7", "192.0.2.8"))
OWN_STATUS = "status: {loadBalancer: {ingress: [{ip: 192.0.2.99}]}}\n"


def wanted(
    statuses: Mapping[Key, tuple[IPAddress, ...]],
    released: Mapping[Key, tuple[IPAddress, ...]] | None = None,
) -> ClusterDesired:
    return ClusterDesired(
        statuses={
            key: ServiceStatus(key=key, addresses=addresses) for key, addresses in statuses.items()
        },
        released=released or {},
    )


def files(folder: Path) -> dict[str, int]:
    """Every file below the state folder with its inode, which a rewriting would change."""
    state = folder / ".onehop"
    return {
        str(path.relative_to(state)): path.stat().st_ino
        for path in sorted(state.rglob("*"))
        if path.is_file()
    }


def ingress(store: Manifests, key: Key = WEB) -> tuple[IPAddress, ...]:
    return store.objects().services[key].ingress


def test_a_status_reads_as_kubernetes_would_answer(store: Manifests, folder: Path) -> None:
    """Any YAML reader finds the fields that a client of the API knows."""
    condition = Condition(type="Ready", status=False, reason="PoolExhausted", message='a: "b"\n#')
    status = ServiceStatus(key=WEB, addresses=(V4, V6), conditions=(condition,))
    store.sync(ClusterDesired(statuses={WEB: status}))
    text = (folder / ".onehop" / "status" / "shop" / "web.yaml").read_text()
    assert yaml.safe_load(text) == {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web", "namespace": "shop"},
        "status": {
            "loadBalancer": {
                "ingress": [
                    {"ip": "192.0.2.7", "ipMode": "VIP"},
                    {"ip": "2001:db8::7", "ipMode": "VIP"},
                ]
            },
            "conditions": [
                {
                    "type": "Ready",
                    "status": "False",
                    "reason": "PoolExhausted",
                    "message": 'a: "b"\n#',
                }
            ],
        },
    }


@given(st.text())
def test_any_message_is_a_message(message: str) -> None:
    """Whatever stands in a condition, the file stays one document and says the same."""
    condition = Condition(type="Ready", status=True, reason="r", message=message)
    text = status_text(ServiceStatus(key=WEB, addresses=(V4,), conditions=(condition,)))
    assert yaml.load(text, yaml.CSafeLoader)["status"]["conditions"][0]["message"] == message
    assert addresses_in(STATUS, text) == (V4,)


def test_a_lone_surrogate_can_be_written() -> None:
    """A file name that is no UTF-8 may come into a message; it must not stop the status."""
    condition = Condition(type="Ready", status=True, reason="r", message="\ud800")
    status_text(ServiceStatus(key=WEB, conditions=(condition,))).encode()


def test_a_status_comes_back_through_the_disk(store: Manifests, folder: Path) -> None:
    """Here at the next refresh, and in another process that watches the same folder."""
    (folder / "web.yaml").write_text(a_service())
    store.refresh()
    other = Manifests(folder)
    other.refresh()
    assert store.sync(wanted({WEB: (V4, V6)})).changed == 1
    assert ingress(store) == ()
    for each in (store, other):
        assert each.refresh()
        assert ingress(each) == (V4, V6)
        assert not each.refresh()
    other.close()


def test_the_same_want_writes_nothing(store: Manifests, folder: Path) -> None:
    """Neither as the same value nor as an equal one, nor after a restart."""
    want = wanted({WEB: (V4,)}, {Key("shop", "old"): (OTHER,)})
    assert store.sync(want).changed == 2
    before = files(folder)
    store.refresh()
    assert store.sync(want).changed == 0
    assert store.sync(wanted({WEB: (V4,)}, {Key("shop", "old"): (OTHER,)})).changed == 0
    again = Manifests(folder)
    again.refresh()
    assert again.sync(want).changed == 0
    again.close()
    assert files(folder) == before


def test_a_status_file_overrules_the_manifest(store: Manifests, folder: Path) -> None:
    """What the user's own file says counts only until there is a status file."""
    (folder / "web.yaml").write_text(a_service(extra=OWN_STATUS))
    store.refresh()
    assert ingress(store) == (ip_address("192.0.2.99"),)
    store.sync(wanted({WEB: ()}))
    assert store.refresh()
    assert ingress(store) == ()
    store.sync(wanted({}))
    assert store.refresh()
    assert ingress(store) == (ip_address("192.0.2.99"),)


def test_a_change_of_the_service_keeps_its_status(store: Manifests, folder: Path) -> None:
    """The two files are joined anew whenever one of them changes."""
    (folder / "web.yaml").write_text(a_service())
    store.refresh()
    store.sync(wanted({WEB: (V4,)}))
    store.refresh()
    before = store.objects().services[WEB]
    (folder / "web.yaml").write_text(a_service() + "# note\n")
    assert not store.refresh()
    (folder / "web.yaml").write_text(a_service(policy="Local"))
    assert store.refresh()
    after = store.objects().services[WEB]
    assert after.ingress == (V4,)
    assert after.traffic_policy is not before.traffic_policy


def test_addresses_of_a_deleted_service_are_released(store: Manifests, folder: Path) -> None:
    """From its status file at once, then from the file that sync moved them to, also when new."""
    (folder / "web.yaml").write_text(a_service())
    store.refresh()
    store.sync(wanted({WEB: (V4,)}))
    store.refresh()
    assert store.objects().released == {}
    (folder / "web.yaml").unlink()
    assert store.refresh()
    assert store.objects().released == {WEB: (V4,)}
    before = store.objects()
    assert store.sync(wanted({}, {WEB: (V4,)})).changed == 2
    assert list(files(folder)) == ["released/shop/web.yaml"]
    assert not store.refresh()
    assert store.objects() is before
    again = Manifests(folder)
    again.refresh()
    assert again.objects().released == {WEB: (V4,)}
    again.close()
    (folder / "web.yaml").write_text(a_service())
    assert store.refresh()
    assert store.objects().released == {WEB: (V4,)}
    store.sync(wanted({WEB: (V4,)}))
    assert store.refresh()
    assert store.objects().released == {}
    assert ingress(store) == (V4,)
    assert list(files(folder)) == ["status/shop/web.yaml"]


def test_a_forgotten_release_is_removed(store: Manifests, folder: Path) -> None:
    """When somebody else has got the address, nobody keeps it."""
    store.refresh()
    store.sync(wanted({}, {WEB: (V4,)}))
    assert store.refresh()
    store.sync(wanted({}))
    assert store.refresh()
    assert store.objects().released == {}
    assert files(folder) == {}


@pytest.mark.parametrize(
    "key",
    [
        Key("..", ".."),
        Key("shop", "../../../../tmp/x"),
        Key("", "web"),
        Key("shop", ""),
        Key("shop", "."),
        Key("shop", "a.b"),
        Key("shop", "A"),
        Key("shop", "a\n"),
        Key("shop", "a" * 64),
        Key("/etc", "web"),
    ],
)
def test_no_name_leaves_the_folder(store: Manifests, folder: Path, key: Key) -> None:
    """A name that is no DNS label is refused, and the others are written all the same."""
    report = store.sync(wanted({key: (V4,), WEB: (V6,)}, {key: (V4,)}))
    assert list(files(folder)) == ["status/shop/web.yaml"]
    assert {each.refusal.reason for each in report.failures} == {Reason.FIELD_INVALID}
    assert [str(path) for path in folder.parent.rglob("*.yaml")] == [
        f"{folder}/.onehop/status/shop/web.yaml"
    ]


def test_foreign_files_in_the_state_folder_are_ignored(store: Manifests, folder: Path) -> None:
    """Only what lies where we would have put it is read."""
    store.sync(wanted({WEB: (V4,)}))
    state = folder / ".onehop"
    for path in ("x.yaml", "status/x.yaml", "status/shop/a/x.yaml", "other/shop/x.yaml"):
        (state / path).parent.mkdir(parents=True, exist_ok=True)
        (state / path).write_text("addresses: [192.0.2.1]")
    (state / "released" / "shop").mkdir(parents=True)
    (state / "released" / "shop" / "NO.yaml").write_text("addresses: [192.0.2.1]")
    store.refresh()
    assert store.objects().released == {WEB: (V4,)}
    assert store.objects().problems == ()


@pytest.mark.parametrize("spoilt", ["[", "status: {loadBalancer: 3}", "a: 1", "", "\0"])
def test_a_spoilt_status_keeps_its_addresses(store: Manifests, folder: Path, spoilt: str) -> None:
    """The last good value stays, the problem is told, and the next sync mends the file."""
    (folder / "web.yaml").write_text(a_service())
    store.refresh()
    want = wanted({WEB: (V4,)})
    store.sync(want)
    store.refresh()
    (folder / ".onehop" / "status" / "shop" / "web.yaml").write_text(spoilt)
    assert store.refresh()
    assert ingress(store) == (V4,)
    (problem,) = store.objects().problems
    assert problem.object == "Service shop/web"
    assert problem.source == f"{folder}/.onehop/status/shop/web.yaml"
    assert store.sync(want).changed == 1
    assert store.refresh()
    assert store.objects().problems == ()
    assert ingress(store) == (V4,)


def test_a_status_edited_by_hand_is_put_right(store: Manifests, folder: Path) -> None:
    """It is believed, as a status of the API would be, and written again by the next sync."""
    (folder / "web.yaml").write_text(a_service())
    store.refresh()
    want = wanted({WEB: (V4,)})
    store.sync(want)
    store.refresh()
    path = folder / ".onehop" / "status" / "shop" / "web.yaml"
    path.write_text(path.read_text().replace(str(V4), str(OTHER)))
    assert store.refresh()
    assert ingress(store) == (OTHER,)
    assert store.sync(want).changed == 1
    assert store.refresh()
    assert ingress(store) == (V4,)


def test_a_removed_state_folder_is_written_again(store: Manifests, folder: Path) -> None:
    """Someone cleaned up: the addresses are still wanted."""
    (folder / "web.yaml").write_text(a_service())
    store.refresh()
    want = wanted({WEB: (V4,)})
    store.sync(want)
    store.refresh()
    (folder / ".onehop" / "status" / "shop" / "web.yaml").unlink()
    (folder / ".onehop" / "status" / "shop").rmdir()
    assert store.refresh()
    assert ingress(store) == ()
    assert store.sync(want).changed == 1
    assert store.refresh()
    assert ingress(store) == (V4,)


def test_killed_while_writing(store: Manifests, folder: Path) -> None:
    """A temporary file left behind is seen by nobody and overwritten by the next writer."""
    (folder / "web.yaml").write_text(a_service())
    store.refresh()
    store.sync(wanted({WEB: (V4,)}))
    store.refresh()
    left = folder / ".onehop" / "status" / "shop" / ".web.yaml.new"
    left.write_text(status_text(ServiceStatus(key=WEB, addresses=(OTHER,)))[:90])
    assert not store.refresh()
    again = Manifests(folder)
    again.refresh()
    assert again.objects() == store.objects()
    assert again.sync(wanted({WEB: (V6,)})).failures == ()
    again.refresh()
    assert ingress(again) == (V6,)
    assert not left.exists()
    again.close()


def test_killed_between_two_files(store: Manifests, folder: Path) -> None:
    """Whichever file was the last to be written, no address is lost."""
    store.sync(wanted({WEB: (V4,)}, {WEB: (V4,)}))
    again = Manifests(folder)
    again.refresh()
    assert again.objects().released == {WEB: (V4,)}
    (folder / "web.yaml").write_text(a_service())
    again.refresh()
    assert ingress(again) == (V4,)
    again.close()


def test_a_state_folder_that_cannot_be_made(folder: Path, tmp_path: Path) -> None:
    """One sentence with the path, a time to try again, and success once it can be made."""
    (tmp_path / "state").write_text("in the way")
    (folder / "web.yaml").write_text(a_service())
    store = Manifests(folder, state=tmp_path / "state")
    store.refresh()
    want = wanted({WEB: (V4,)})
    (failure,) = store.sync(want).failures
    assert failure.subject == "Service shop/web"
    assert str(failure.refusal) == (
        "StatusUnwritable: the status could not be written "
        f"(status/shop/web.yaml in {tmp_path}/state: Not a directory)"
    )
    assert failure.retry_at is not None
    assert not store.refresh()
    (tmp_path / "state").unlink()
    assert store.sync(want).failures == ()
    assert store.refresh()
    assert ingress(store) == (V4,)
    store.close()


def test_an_address_stays_in_the_old_file_until_the_new_one_is_written(
    store: Manifests, folder: Path
) -> None:
    """A release that fails takes no status away."""
    store.sync(wanted({WEB: (V4,)}))
    (folder / ".onehop" / "released").write_text("in the way")
    report = store.sync(wanted({}, {WEB: (V4,)}))
    assert [each.subject for each in report.failures] == ["Service shop/web"]
    assert "status/shop/web.yaml" in files(folder)


def test_a_state_folder_among_the_manifests_is_no_manifest(folder: Path) -> None:
    """Its Services would otherwise be the same objects twice."""
    store = Manifests(folder, state=folder / "state")
    (folder / "web.yaml").write_text(a_service())
    store.refresh()
    store.sync(wanted({WEB: (V4,)}))
    store.refresh()
    assert ingress(store) == (V4,)
    assert store.objects().problems == ()
    store.close()


def test_the_folder_of_manifests_cannot_hold_the_state_itself(folder: Path) -> None:
    """Said at once."""
    with pytest.raises(ValueError, match="cannot be kept in the folder of manifests"):
        Manifests(folder, state=folder)


def test_reading_leaves_no_trace(store: Manifests, folder: Path) -> None:
    """Who only reads a folder makes nothing in it."""
    (folder / "web.yaml").write_text(a_service())
    store.refresh()
    assert os.listdir(folder) == ["web.yaml"]


def test_status_files_can_be_read_by_all(store: Manifests, folder: Path) -> None:
    """A speaker may run as another user than the controller."""
    mask = os.umask(0o022)
    try:
        store.sync(wanted({WEB: (V4,)}))
    finally:
        os.umask(mask)
    path = folder / ".onehop" / "status" / "shop" / "web.yaml"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
