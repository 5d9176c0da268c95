"""Loading: what is missing is said in one sentence, what is pinned is taken over or refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from onehop.adapters.bpf import layout, syscall
from onehop.adapters.bpf.errors import DatapathError
from onehop.adapters.bpf.loader import OBJECT, Loaded, preflight
from onehop.adapters.bpf.syscall import Map, MapInfo, MapType
from onehop.model.reason import Reason
from tests.unit.adapters.bpf.node import UPLINK, compiled

ROOT = Path(__file__).resolve().parents[4]
CONFIG = layout.pack_config((), (49152, 65535), stack=False, many_uplinks=False)
SMALL = {"flows": 1024, "services": 64, "service_stats": 64, "backends": 64}
ALL = "CapEff:\t000001ffffffffff\n"


def test_a_capable_process_on_a_fit_kernel_passes(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tx\n" + ALL)
    (tmp_path / "vmlinux").touch()
    preflight(status=tmp_path / "status", types=tmp_path / "vmlinux", release="5.15.0-91-generic")


LACKING = [
    ("an old kernel", "5.10.0", ALL, True, Reason.KERNEL_LACKS, "Linux 5.15 or later is needed"),
    ("a kernel before 5", "4.18.0-el8", ALL, True, Reason.KERNEL_LACKS, "this is 4.18.0-el8"),
    ("no types", "6.1.0", ALL, False, Reason.KERNEL_LACKS, "(BTF)"),
    (
        "no capability",
        "6.1.0",
        "CapEff:\t0000000000000000\n",
        True,
        Reason.CAPABILITY_MISSING,
        "lacks CAP_NET_ADMIN and CAP_PERFMON and CAP_BPF",
    ),
    (
        "only CAP_BPF missing",
        "6.1.0",
        "CapEff:\t0000017fffffffff\n",
        True,
        Reason.CAPABILITY_MISSING,
        "lacks CAP_BPF;",
    ),
]


@pytest.mark.parametrize(
    ("release", "status", "types", "reason", "sentence"),
    [row[1:] for row in LACKING],
    ids=[row[0] for row in LACKING],
)
def test_what_is_missing_is_one_sentence_with_a_way_out(
    tmp_path: Path, release: str, status: str, types: bool, reason: Reason, sentence: str
) -> None:
    (tmp_path / "status").write_text(status)
    if types:
        (tmp_path / "vmlinux").touch()
    with pytest.raises(DatapathError) as caught:
        preflight(status=tmp_path / "status", types=tmp_path / "vmlinux", release=release)
    assert caught.value.reason is reason
    assert sentence in str(caught.value)
    assert "--datapath=none" in str(caught.value)
    assert "\n" not in str(caught.value)


Load = Callable[..., Loaded]


@pytest.fixture
def load(pins: Path) -> Iterator[Load]:
    with ExitStack() as stack:

        def loading(**more: object) -> Loaded:
            values: dict[str, object] = {"capacity": SMALL, **more}
            made = Loaded(pins, CONFIG, **values)  # type: ignore[arg-type]
            stack.callback(made.close)
            return made

        yield loading


@pytest.mark.root
def test_every_shared_map_is_pinned(load: Load, pins: Path) -> None:
    loaded = load()
    assert {path.name for path in pins.iterdir() if "." not in path.name} == set(loaded.maps)
    assert {"layout", "titles", "frontends", "services", "flows"} <= set(loaded.maps)


@pytest.mark.root
def test_a_second_load_takes_the_same_maps(load: Load) -> None:
    first = load()
    first.maps["services"].memory().cast("Q")[7] = 42
    first.close()
    assert load().maps["services"].memory().cast("Q")[7] == 42


@pytest.mark.root
def test_two_processes_never_hold_one_folder(load: Load) -> None:
    load()
    with pytest.raises(DatapathError, match="another onehop process holds it"):
        load()


@pytest.mark.root
def test_pins_of_another_capacity_are_refused(load: Load) -> None:
    load().close()
    with pytest.raises(DatapathError, match=r"entries 64, .* instead of .*entries 128, .*remove"):
        load(capacity={**SMALL, "services": 128, "service_stats": 128})


@pytest.mark.root
def test_pins_of_another_layout_version_are_refused(load: Load) -> None:
    first = load()
    first.maps["layout"].update(bytes(4), (99).to_bytes(4, "little"))
    first.close()
    with pytest.raises(DatapathError, match="version 99 instead of 1"):
        load()


@pytest.mark.root
def test_a_foreign_map_under_our_name_is_refused(load: Load, pins: Path) -> None:
    shape = MapInfo(
        type=MapType.HASH, key_size=4, value_size=4, max_entries=1, flags=0, name="frontends"
    )
    fd = syscall.create_map(shape)
    syscall.pin(fd, pins / "frontends")
    os.close(fd)
    with pytest.raises(DatapathError, match="frontends: it is of another version"):
        load()


@pytest.mark.root
def test_an_object_of_another_layout_is_refused_before_anything_is_pinned(
    load: Load, pins: Path, tmp_path: Path
) -> None:
    path = compiled(
        tmp_path,
        """
        struct frontend { char address[16]; __u16 port; __u8 protocol; __u8 pad; __u32 more; };
        struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4);
          __type(key, struct frontend); __type(value, __u32); } frontends SEC(".maps");
        """,
    )
    with pytest.raises(DatapathError, match="struct frontend is 24 bytes in the object"):
        load(path=path, capacity={})
    assert [each.name for each in pins.iterdir() if "." not in each.name] == []


@pytest.mark.root
def test_a_folder_outside_a_bpf_file_system_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatapathError) as caught:
        Loaded(tmp_path / "plain", CONFIG, capacity=SMALL)
    assert "BPF file system" in str(caught.value)
    assert "mount -t bpf" in str(caught.value)


@pytest.mark.root
def test_a_missing_object_is_said(tmp_path: Path) -> None:
    with pytest.raises(DatapathError, match="make bpf"):
        Loaded(tmp_path, CONFIG, path=tmp_path / "none.bpf.o")


SERVE = f"""
import sys
from pathlib import Path
from onehop.adapters.bpf.datapath import Datapath
from tests.unit.adapters.bpf.wants import LOCAL, a_backend, a_frontend, by_turns, wanted
made = Datapath(Path(sys.argv[1]), ring=by_turns, uplinks=("{UPLINK}",), capacity={SMALL!r})
report = made.sync(wanted(
    a_frontend("192.168.200.241", a_backend("10.0.2.233", local=True), policy=LOCAL)))
print(len(report.failures), flush=True)
sys.stdin.read()
"""


@pytest.mark.root
def test_what_a_killed_process_left_goes_on_and_is_taken_over(
    node: None, load: Load, pins: Path
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(pins)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "0\n"
        process.send_signal(signal.SIGKILL)
    links = {path.name.rpartition("_")[0] for path in (pins / "links").iterdir()}
    assert links == {"lb_uplink_ingress", "lb_uplink_egress", "lb_pod_ingress"}
    loaded = load()
    assert len(loaded.maps["frontends"].items()) == 1
    held = syscall.pinned(next((pins / "links").iterdir()))
    try:
        assert syscall.link_ifindex(held)
    finally:
        os.close(held)


DROP = """
import sys
from pathlib import Path
from onehop.adapters.bpf.datapath import Datapath
from onehop.adapters.bpf.errors import DatapathError
from tests.unit.adapters.bpf.wants import by_turns
try:
    Datapath(Path(sys.argv[1]), ring=by_turns)
except DatapathError as error:
    print(error)
"""


@pytest.mark.root
def test_a_process_without_capabilities_says_so(pins: Path) -> None:
    dropped = "-net_admin,-bpf,-perfmon,-sys_admin"
    done = subprocess.run(
        ["setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}",
         sys.executable, "-c", DROP, str(pins)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.count("\n") == 1
    assert "this process lacks CAP_NET_ADMIN and CAP_PERFMON and CAP_BPF" in done.stdout
    assert "--datapath=none" in done.stdout


@pytest.mark.root
def test_map_adopts_by_shape_only(load: Load) -> None:
    """The maps that the process holds are the pinned ones, by what the kernel says of them."""
    loaded = load()
    for name, held in loaded.maps.items():
        pinned = Map(syscall.pinned(loaded.pin_dir / name))
        assert pinned.info == held.info
        pinned.close()
    assert OBJECT.exists()
