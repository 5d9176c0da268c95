"""The real API server for tests marked `kube`: built beside the other tests, then shared by all.

The first build takes ten minutes and more. It starts when the first test does, as the least of
the machine's concerns, and the tests that need it come last; whoever comes before it is done waits
outside of any test's time limit.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from onehop.lab.kube_build import HELM, METALLB, SERVER, BuildError, Module, installed
from tests.kube.cluster import Cluster

SETUP = Path(__file__).parents[2] / "tools" / "kube_setup.py"
MARKS = {"kube": SERVER, "peers": METALLB, "helm": HELM}
_BUILD = pytest.StashKey["Build"]()
_CLUSTER = pytest.StashKey[Cluster]()


class Build:
    """The builds in the background: one process, which builds what is missing in turn."""

    def __init__(self, modules: list[Module], log: Path) -> None:
        self._log = log
        # SCHED_IDLE: it gets what the tests leave, and nothing they want.
        argv = ["chrt", "--idle", "0", "nice", "-n", "19", sys.executable, str(SETUP)]
        with log.open("w") as output:
            self._child = subprocess.Popen(
                [*argv, *(module.name for module in modules)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # a Ctrl-C is for pytest, which then ends the group
            )

    @property
    def is_running(self) -> bool:
        return self._child.poll() is None

    @property
    def said(self) -> str:
        return self._log.read_text().strip()

    def wait(self, modules: list[Module]) -> None:
        """Wait until these are there, or nothing more will come."""
        while self.is_running and any(_is_missing(module) for module in modules):
            time.sleep(0.5)

    def end(self) -> None:
        """Stop the build if it runs; what was compiled stays in Go's cache."""
        if not self.is_running:
            return
        deadline = time.monotonic() + 5
        with suppress(ProcessLookupError):  # none of the group is left
            os.killpg(self._child.pid, signal.SIGINT)  # Go clears its work folder on this one
            while time.monotonic() < deadline:
                self._child.poll()
                os.killpg(self._child.pid, 0)
                time.sleep(0.05)
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()


def modules_of(item: pytest.Item) -> list[Module]:
    """What a test needs."""
    return [module for mark, module in MARKS.items() if item.get_closest_marker(mark)]


def needed(items: list[pytest.Item]) -> list[Module]:
    """What the tests need that is not there yet, in the order in which tests come to need it."""
    wanted = [module for item in items for module in modules_of(item)]
    return [module for module in MARKS.values() if module in wanted and _is_missing(module)]


def _is_missing(module: Module) -> bool:
    try:
        return installed(module) is None
    except BuildError:
        return False  # no build would help: the fixture says why


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Those that need what is built come last, in the order of building; the rest stays.

    Comparing with MetalLB is asked for by name, `-m peers`: it says nothing of a single change
    that our own tests do not, and takes minutes.
    """
    if "peers" not in config.option.markexpr:
        others = [item for item in items if item.get_closest_marker("peers")]
        items[:] = [item for item in items if item not in others]
        if others:
            config.hook.pytest_deselected(items=others)
    order = list(MARKS.values())
    items.sort(key=lambda item: max((order.index(m) + 1 for m in modules_of(item)), default=0))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start building, as the first thing after all tests are known."""
    config = session.config
    if config.option.collectonly or config.option.help:
        return
    modules = needed(session.items)
    if modules:
        factory = config._tmp_path_factory  # type: ignore[attr-defined]
        config.stash[_BUILD] = Build(modules, factory.getbasetemp() / "kube_setup.log")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Wait for the build before the clock of the test starts."""
    build = item.config.stash.get(_BUILD, None)
    missing = needed([item]) if build is not None and build.is_running else []
    if build is not None and missing:
        reporter = item.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            what = " and ".join(module.what for module in missing)
            reporter.write_line(f"\nwaiting until {what} is built: ten minutes if it just began")
        build.wait(missing)
    return (yield)


def pytest_runtest_teardown(item: pytest.Item) -> None:
    """What a test left stopped is started for the next."""
    cluster = item.config.stash.get(_CLUSTER, None)
    if cluster is not None:
        cluster.repair()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Leave no build behind."""
    build = config.stash.get(_BUILD, None)
    if build is not None:
        build.end()


def programs_of(module: Module, config: pytest.Config) -> Path:
    """The folder of the programs of `module`, which the background has built."""
    try:
        found = installed(module)
    except BuildError as failure:
        pytest.fail(str(failure), pytrace=False)
    if found is None:
        build = config.stash.get(_BUILD, None)
        said = build.said if build is not None else "its build never started: mark the test"
        pytest.fail(f"{module.what} is not there.\n{said}", pytrace=False)
    return found


@pytest.fixture(scope="session")
def kube_programs(pytestconfig: pytest.Config) -> Path:
    """The folder of kube-apiserver, kube-controller-manager, kube-proxy, kubectl and etcd."""
    return programs_of(SERVER, pytestconfig)


@pytest.fixture(scope="session")
def metallb_programs(pytestconfig: pytest.Config) -> Path:
    """The folder of MetalLB's controller and speaker, and of its `config` with CRDs and RBAC."""
    return programs_of(METALLB, pytestconfig)


@pytest.fixture(scope="session")
def helm_program(pytestconfig: pytest.Config) -> Path:
    """The program `helm`."""
    return programs_of(HELM, pytestconfig) / "helm"


@pytest.fixture(scope="session")
def cluster(
    kube_programs: Path, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Cluster]:
    """The API server of this session, on the machine's loopback."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), kube_programs)
    try:
        made.start()
        pytestconfig.stash[_CLUSTER] = made
        yield made
    finally:
        pytestconfig.stash.setdefault(_CLUSTER, made)
        del pytestconfig.stash[_CLUSTER]
        made.stop()
