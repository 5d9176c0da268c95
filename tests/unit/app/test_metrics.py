"""What is told over HTTP: by a controller and a speaker that run, and under which names."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
from collections.abc import Iterable
from pathlib import Path

import pytest

from onehop.adapters.bpf.tables import Statistics
from onehop.adapters.exposition import Family, Histogram
from onehop.adapters.manifests import Manifests
from onehop.adapters.telemetry import Log
from onehop.app import metrics
from onehop.app.controller import Controller
from onehop.app.controller_metrics import ControllerFigures
from onehop.app.metrics import CONTROLLER, SPEAKER, serve
from onehop.app.speaker_metrics import SpeakerFigures
from onehop.model.desired import Failure
from onehop.model.objects import Objects
from onehop.model.reason import Reason, Refusal
from onehop.model.service import Key
from tests.builders import a_service
from tests.unit.app.test_speaker import OBJECTS, Announcers, Datapath, a_speaker
from tests.unit.core.bgp import a_world

POOL = """
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: first, namespace: metallb-system}
spec: {addresses: [192.0.2.0/28, 2001:db8::/126], avoidBuggyIPs: true}
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: LoadBalancer, clusterIP: 10.96.0.1, ports: [{port: 80}]}
"""


def said(families: Iterable[Family]) -> dict[str, dict[tuple[str, ...], float]]:
    """Every sample by metric and labels; a histogram as its count."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for metric, samples in families:
        if isinstance(samples, Histogram):
            (count,) = (line for line in samples.lines("x") if line.startswith("x_count"))
            found[metric.name] = {(): float(count.split()[1])}
        else:
            found[metric.name] = dict(samples)
    return found


class Sessions:
    """A node's BGP without peers."""

    def __init__(self) -> None:
        self.bfd = None
        self.peers = self._Peers()

    def report(self) -> str:
        return '{"peers": []}'

    class _Peers:
        def peers(self) -> tuple[()]:
            return ()


class Counting(Datapath):
    def refused_packets(self) -> dict[Reason, int]:
        return {Reason.NO_ROUTE: 3}

    def statistics(self) -> Iterable[tuple[Key, Statistics]]:
        yield Key("default", "web"), Statistics(packets=4, bytes=5, flows=6, drops=7)


class Answering(Announcers):
    def counters(self) -> dict[str, dict[str, int]]:
        counted = {
            "requests_received": 9,
            "replies_sent": 8,
            "gratuitous_sent": 2,
            "conflicts": 1,
        }
        return {"192.0.2.241": counted}


def figures_of_a_speaker(
    tmp_path: Path, objects: Objects = OBJECTS, failures: tuple[Failure, ...] = ()
) -> SpeakerFigures:
    speaker, announcers, _, _ = a_speaker(objects, tmp_path)
    announcers.failures = failures
    figures = SpeakerFigures(
        speaker,
        staleness=lambda: 1.5,
        announcers=Answering(objects),
        datapath=Counting(objects),  # type: ignore[arg-type]
        bgp=Sessions(),  # type: ignore[arg-type]
    )
    assert figures.unready() == "the store has not told everything yet"
    speaker.round()
    return figures


def test_a_speaker_tells_what_it_announces_and_counts(tmp_path: Path) -> None:
    figures = figures_of_a_speaker(tmp_path)
    assert figures.unready() == ""
    found = said(figures.families())
    label = ("default/web", "layer2", "node1", "192.0.2.241")
    assert found["metallb_speaker_announced"] == {label: 1}
    assert found["metallb_layer2_requests_received"] == {("192.0.2.241",): 9}
    assert found["metallb_layer2_responses_sent"] == {("192.0.2.241",): 8}
    assert found["metallb_layer2_gratuitous_sent"] == {("192.0.2.241",): 2}
    assert found["onehop_layer2_conflicts_total"] == {("192.0.2.241",): 1}
    assert found["onehop_datapath_refused_packets_total"] == {("NoRoute",): 3}
    for name, number in (("packets", 4), ("bytes", 5), ("flows", 6), ("drops", 7)):
        assert found[f"onehop_datapath_{name}_total"] == {("default/web",): number}
    assert found["metallb_k8s_client_config_loaded_bool"] == {(): 1}
    assert found["metallb_k8s_client_config_stale_bool"] == {(): 0}
    assert found["metallb_k8s_client_updates_total"] == {(): 1}
    assert found["metallb_k8s_client_update_errors_total"] == {(): 0}
    assert found["onehop_store_stale_seconds"] == {(): 1.5}
    assert found["onehop_decision_seconds"] == found["onehop_round_seconds"] == {(): 1}


def test_a_speaker_has_a_page_for_each_thing_that_only_it_knows(tmp_path: Path) -> None:
    figures = figures_of_a_speaker(tmp_path)
    pages = figures.pages()
    node = pages["/state/node"]()
    assert isinstance(node, str)
    assert json.loads(node)["node"] == "node1"
    assert pages["/state/bgp"]() == '{"peers": []}'

    async def services() -> str:
        page = pages["/state/services"]()
        return page if isinstance(page, str) else await page

    assert asyncio.run(services()) == "[]"


def test_an_address_that_is_advertised_is_announced_by_bgp(tmp_path: Path) -> None:
    objects = a_world(a_service("web", "192.0.2.241"), nodes=OBJECTS.nodes.values())
    found = said(figures_of_a_speaker(tmp_path, objects).families())
    label = ("default/web", "bgp", "node1", "192.0.2.241")
    assert found["metallb_speaker_announced"] == {label: 1}


def test_what_fails_is_counted(tmp_path: Path) -> None:
    failure = Failure(subject="link eth0", refusal=Refusal(reason=Reason.LINK_FAILED))
    found = said(figures_of_a_speaker(tmp_path, failures=(failure,)).families())
    assert found["onehop_failures"] == {(): 1}
    assert found["metallb_k8s_client_update_errors_total"] == {(): 1}


def test_every_metric_that_is_listed_is_told_and_no_other(tmp_path: Path) -> None:
    found = said(figures_of_a_speaker(tmp_path).families())
    assert sorted(found) == sorted(metric.name for metric in SPEAKER)
    store = Manifests(tmp_path)
    store.refresh()
    controller = Controller(store, Log(stream=io.StringIO()))
    figures = ControllerFigures(controller, store=store, staleness=store.staleness)
    assert sorted(said(figures.families())) == sorted(metric.name for metric in CONTROLLER)
    store.close()


def test_names_and_labels_are_fit_for_prometheus() -> None:
    for each in (*SPEAKER, *CONTROLLER):
        assert each.name.replace("_", "a").isalnum()
        assert each.name.startswith(("metallb_", "onehop_", "process_"))
        assert each.help.endswith(".")


def test_a_controller_tells_how_full_its_pools_are(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(f"{POOL}---{SERVICE}")
    store = Manifests(tmp_path)
    store.refresh()
    controller = Controller(store, Log(stream=io.StringIO()))
    figures = ControllerFigures(controller, store=store, staleness=store.staleness)
    controller.round()
    assert figures.unready() == ""
    found = said(figures.families())
    used = {"ipv4_addresses_in_use": 1, "ipv6_addresses_in_use": 0, "addresses_in_use": 1}
    total = {"ipv4_addresses": 15, "ipv6_addresses": 4, "addresses": 19, "services_allocated": 1}
    for name, number in (used | total).items():
        assert found[f"metallb_allocator_{name}_total"] == {("first",): number}
    (tmp_path / "bad.yaml").write_text("kind: [")
    store.refresh()
    controller.round()
    found = said(figures.families())
    assert found["onehop_config_problems"] == {(): 1}
    assert found["metallb_k8s_client_config_stale_bool"] == {(): 1}
    assert found["onehop_store_stale_seconds"] == {(): 0}
    store.close()


def test_a_folder_that_is_gone_makes_its_store_stale(tmp_path: Path) -> None:
    folder = tmp_path / "manifests"
    folder.mkdir()
    store = Manifests(folder, state=tmp_path / "state")
    store.refresh()
    assert store.staleness() == 0
    folder.rename(tmp_path / "elsewhere")
    store.refresh()
    assert store.staleness() > 0
    (tmp_path / "elsewhere").rename(folder)
    store.refresh()
    assert store.staleness() == 0
    store.close()


def test_the_process_tells_its_memory_time_and_age() -> None:
    found = said(metrics.process_families())
    assert found["process_resident_memory_bytes"][()] > 1 << 20
    assert found["process_cpu_seconds_total"][()] > 0
    began = os.stat("/proc/self").st_ctime
    assert found["process_start_time_seconds"][()] == pytest.approx(began, abs=120)


async def fetched(port: int, path: str) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\n\r\n".encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


def test_figures_are_served_while_the_loop_runs(tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(f"{POOL}---{SERVICE}")
    store = Manifests(tmp_path)
    controller = Controller(store, Log(stream=io.StringIO()))
    figures = ControllerFigures(controller, store=store, staleness=store.staleness)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def run() -> None:
        running = asyncio.create_task(controller.run())
        # The store is told, and the first round done, before anybody is let in.
        assert (await fetched(port, "/readyz")).startswith("HTTP/1.1 200")
        text = await fetched(port, "/metrics")
        assert 'metallb_allocator_addresses_in_use_total{pool="first"} 1\n' in text
        os.kill(os.getpid(), signal.SIGTERM)
        await running

    assert asyncio.run(serve(("127.0.0.1", port), figures, run)) is None
    store.close()


def test_an_address_that_cannot_be_had_is_a_refusal_that_names_it(tmp_path: Path) -> None:
    store = Manifests(tmp_path)
    controller = Controller(store, Log(stream=io.StringIO()))
    figures = ControllerFigures(controller, store=store, staleness=store.staleness)

    async def run() -> None:
        raise AssertionError("nothing is begun")

    for host, shown in (("192.0.2.77", "192.0.2.77"), ("2001:db8::77", "[2001:db8::77]")):
        refusal = asyncio.run(serve((host, 7472), figures, run))
        assert refusal is not None
        assert refusal.reason is Reason.LISTEN_FAILED
        assert refusal.detail.startswith(f"--metrics-address {shown}:7472: ")
    store.close()
