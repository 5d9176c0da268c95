"""What every test shares: who may run, how long, and how hypothesis behaves."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ("tests.kube.fixtures",)

NEEDS_ROOT = ("root", "lab", "kafka")
SECONDS = {"kafka": 300, "lab": 180, "root": 120, "kube": 120}

settings.register_profile(
    "onehop",
    deadline=None,  # a machine that is shared makes any single example slow
    print_blob=True,
    max_examples=int(os.environ.get("EXAMPLES", "60")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("onehop")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that start namespaces or brokers the time that these take."""
    for item in items:
        marks = [name for name in SECONDS if item.get_closest_marker(name)]
        if marks and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(max(SECONDS[name] for name in marks)))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, and never skip, what needs root when there is none."""
    if os.geteuid() != 0 and any(item.get_closest_marker(name) for name in NEEDS_ROOT):
        pytest.fail(
            "this test needs root: run `make test` as root, or `make check`", pytrace=False
        )
