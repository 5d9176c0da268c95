"""The tour is the acceptance of the product: every scene, with real brokers and real clients."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.root, pytest.mark.lab, pytest.mark.kafka]

ONEHOP = (sys.executable, "-m", "onehop.cli.main")


def played(*options: str) -> tuple[int, list[dict[str, object]]]:
    done = subprocess.run(
        (*ONEHOP, "lab", "tour", "--name", f"tour-{os.getpid()}", "-o", "json", *options),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)


def test_every_scene_is_seen_as_the_article_shows_it() -> None:
    code, scenes = played()
    assert [scene["scene"] for scene in scenes] == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    for scene in scenes:
        assert {"scene", "title", "expected", "seen", "ok"} <= set(scene)
        assert scene["ok"] is True, f"{scene['scene']}: {scene['seen']}"
    assert code == 0


@pytest.mark.parametrize("delivery", ["fast", "stack"])
def test_scenes_that_need_no_broker_play_on_responders(delivery: str) -> None:
    code, scenes = played("--no-kafka", "--delivery", delivery)
    assert [(scene["scene"], scene["ok"]) for scene in scenes] == [
        (number, True) for number in (1, 2, 3, 4, 5, 7, 8, 9)
    ]
    assert code == 0


def test_a_scene_that_is_not_seen_fails_the_tour() -> None:
    """Scene 6 needs Kafka: without it the tour says so and exits with 1."""
    code, scenes = played("--no-kafka", "--scene", "6")
    assert code == 1
    assert [(scene["ok"], scene["seen"]) for scene in scenes] == [
        (False, "there is no Kafka in this lab (--no-kafka)")
    ]
