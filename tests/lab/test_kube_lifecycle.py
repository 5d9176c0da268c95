"""A lab with an API server ends whole, on every way out, and beside another one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from onehop.lab import settle
from onehop.lab.kube_server import APISERVER
from onehop.lab.kube_store import KubeLabStore
from onehop.lab.lab import Lab, LabSpec
from onehop.lab.lifecycle import take_down
from onehop.lab.state import Layout
from tests.lab.test_lab import leftovers

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.kube]

NAMES = (f"kubelife-{os.getpid()}-a", f"kubelife-{os.getpid()}-b")
ONEHOP = (sys.executable, "-m", "onehop.cli.main", "lab")
# Where in its work the builder is interrupted, by what must exist by then, and how.
MOMENTS = [
    ("pids/kube-apiserver.json", signal.SIGINT),
    ("pids/kube-apiserver.json", signal.SIGKILL),
    ("kube/admin.kubeconfig", signal.SIGTERM),
    ("pids/forwarder.json", signal.SIGINT),
    ("pids/forwarder.json", signal.SIGKILL),
]


@pytest.fixture(autouse=True)
def _clean(kube_programs: Path) -> Iterator[None]:
    yield
    for name in NAMES:
        take_down(Layout(name))


def spec(name: str) -> LabSpec:
    return LabSpec(name=name, store="kubernetes", control=False)


def onehop(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        (*ONEHOP, *words), capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("moment", "number"), MOMENTS)
def test_an_interrupted_up_leaves_nothing(
    moment: str, number: signal.Signals, tmp_path: Path
) -> None:
    """SIGKILL leaves what `down` then finds; the others clear up themselves."""
    words = ("up", "--name", NAMES[0], "--no-kafka", "--store", "kubernetes")
    said = tmp_path / "said"
    with said.open("w") as output:
        builder = subprocess.Popen((*ONEHOP, *words), stdout=output, stderr=output)
    wanted, deadline = Layout(NAMES[0]).root / moment, time.monotonic() + 60
    while not wanted.exists():
        assert builder.poll() is None, f"{moment} never came: {said.read_text()}"
        assert time.monotonic() < deadline, f"up never came to {moment}"
        time.sleep(0.002)
    builder.send_signal(number)
    assert builder.wait(timeout=30) != 0
    if number == signal.SIGKILL:
        assert leftovers(NAMES[0]) != []
        done = onehop("down", "--name", NAMES[0])
        assert (done.returncode, done.stderr) == (0, "")
    assert leftovers(NAMES[0]) == []


def test_a_whole_lab_goes_although_its_server_died_before() -> None:
    """With the API server gone the controller cannot hand over, and nobody waits for it."""
    done = onehop("up", "--name", NAMES[0], "--no-kafka", "--store", "kubernetes")
    assert (done.returncode, done.stderr) == (0, "")
    Lab.attach(NAMES[0]).supervisor.send(APISERVER, signal.SIGKILL)
    begun = time.monotonic()
    done = onehop("down", "--name", NAMES[0])
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - begun < 5.0
    assert leftovers(NAMES[0]) == []


@pytest.mark.kafka
def test_a_real_broker_is_ready_while_it_serves() -> None:
    """Kafka in the pods: scene 6 as the article has it; a broker that is killed is not Ready."""
    with Lab.up(LabSpec(name=NAMES[0], store="kubernetes", kafka=True)) as lab:
        assert lab.unsettled == ()
        words = ("tour", "--name", NAMES[0], "--store", "kubernetes", "--scene", "6", "-o", "json")
        done = onehop(*words)
        (scene,) = json.loads(done.stdout)
        assert scene["ok"] is True, scene["seen"]
        assert lab.store.without_endpoints() == ()
        lab.supervisor.send("broker-kafka-2", signal.SIGKILL)
        left = settle.wait(10, lambda: () if lab.store.without_endpoints() else (1,))
        assert left == (), "the killed broker stayed Ready"
        gone = [str(key) for key in lab.store.without_endpoints()]
        assert gone == ["kafka/kafka-2", "kafka/kafka-bootstrap"]
    assert leftovers(NAMES[0]) == []


def test_two_labs_stand_side_by_side() -> None:
    with ExitStack() as stack:
        one, two = (stack.enter_context(Lab.up(spec(name))) for name in NAMES)
        assert one.set_policy("Cluster") == 4
        policies = [
            {str(s.traffic_policy.value) for s in lab.refresh().services.values() if s.selector}
            for lab in (one, two)
        ]
        assert policies == [{"Cluster"}, {"Local"}]
        ports = []
        for lab in (one, two):
            assert isinstance(lab.store, KubeLabStore)
            ports.append(lab.store.plane.outer_kubeconfig.read_text())
        assert ports[0] != ports[1]
        one.down()
        assert leftovers(NAMES[0]) == []
        assert two.set_policy("Cluster") == 4
        two.supervisor.check()
    assert leftovers(NAMES[1]) == []
