"""An API server that goes on from an older backup: resource versions come a second time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kube.cluster import Cluster
from tests.kube.place import Place

pytestmark = pytest.mark.kube


@pytest.fixture
def alone(kube_programs: Path, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster that may lose its data."""
    made = Cluster(tmp_path / "kube", kube_programs)
    try:
        made.start()
        yield made
    finally:
        made.stop()


def test_what_came_after_the_backup_is_forgotten_and_the_rest_stays(
    alone: Cluster, tmp_path: Path
) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    place = Place(alone, folder)
    try:
        place.start()
        place.serve("before", 20.0)
        stood = place.site.addresses("before")
        alone.back_up(tmp_path / "backup")
        for number in range(5):  # versions that the restored server has not reached
            place.serve(f"lost-{number}", 20.0)
        alone.restore(tmp_path / "backup")
        back = time.monotonic()
        assert place.serve("after", 30.0) < 20.0
        assert time.monotonic() - back < 20.0
        assert place.site.addresses("before") == stood
    finally:
        place.close()
