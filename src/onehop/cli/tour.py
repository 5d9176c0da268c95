"""`onehop lab tour`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from onehop.cli import options
from onehop.cli.output import show
from onehop.cli.tour_view import show_costs, show_scene
from onehop.lab import baseline
from onehop.lab.kafka import KafkaError
from onehop.lab.lab import Lab, LabSpec
from onehop.lab.measure import NFTABLES, ONEHOP, KafkaCost, hop_costs, kafka_costs
from onehop.lab.picture import draw
from onehop.lab.scenes import Scene, Stage
from onehop.lab.state import LabError
from onehop.lab.store import StoreKind
from onehop.lab.tour import SCENES, played, stage_of


@click.command()
@click.option("--name", default="tour", show_default=True, help="Lab to play on; built if not up.")
@click.option(
    "--scene",
    "scenes",
    type=click.Choice([str(number) for number in SCENES]),
    multiple=True,
    help="Play only this scene; may be repeated.",
)
@click.option("--no-kafka", is_flag=True, help="Responders in the pods: quick, without scene 6.")
@click.option(
    "--measure/--no-measure",
    default=None,
    help="Measure what the hop costs, as a table and a picture.  [default: when all scenes are "
    "played for a person]",
)
@click.option(
    "--picture",
    "folder",
    default=Path("build/tour"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where hop.svg and hop.png are put.",
)
@options.delivery
@options.router
@options.lab_store
@options.output
def tour(
    *,
    name: str,
    scenes: tuple[str, ...],
    no_kafka: bool,
    measure: bool | None,
    folder: Path,
    delivery: str,
    router: str | None,
    store: StoreKind,
    output: str,
) -> None:
    """Play the article's scenes: expected, and seen on real kernel tables.

    Exits with 1 when a scene was not seen as expected.
    """
    if measure is None:
        measure = not scenes and output == "table"
    spec = LabSpec(name=name, kafka=not no_kafka, delivery=delivery, router=router, store=store)
    results: list[Scene] = []
    costs: list[KafkaCost] = []
    try:
        with stage_of(spec, _progress) as stage:
            for scene in played(stage, _wanted(scenes, no_kafka=no_kafka), _progress):
                results.append(scene)
                if output == "table":
                    show_scene(scene)
            if measure and stage.kafka is not None:
                costs += kafka_costs(stage, ONEHOP, _progress)
        if measure:
            _measure(name, no_kafka=no_kafka, kafka=costs, folder=folder, output=output)
    except (LabError, KafkaError) as error:
        raise click.ClickException(str(error)) from error
    _tell(results, output)
    if not all(scene.ok for scene in results):
        sys.exit(1)


def _wanted(scenes: tuple[str, ...], *, no_kafka: bool) -> list[int]:
    if scenes:
        return [int(number) for number in scenes]
    return [number for number in SCENES if not (no_kafka and number == 6)]


def _measure(
    name: str, *, no_kafka: bool, kafka: list[KafkaCost], folder: Path, output: str
) -> None:
    if not no_kafka:
        spec = LabSpec(name=f"{name}-nft", kafka=True, datapath="none")
        with Lab.up(spec) as lab:
            baseline.apply(lab)
            kafka += kafka_costs(Stage(lab, lab.kafka()), NFTABLES, _progress)
    costs = hop_costs(name, _progress)
    files = draw(costs, folder)
    body = {"paths": [asdict(c) for c in costs], "kafka": [asdict(c) for c in kafka]}
    (folder / "hop.json").write_text(json.dumps(body, indent=2))
    if output == "table":
        show_costs(costs, tuple(kafka))
    _progress(f"picture: {', '.join(map(str, files))}")


def _progress(text: str) -> None:
    click.echo(f"... {text}", err=True)


def _tell(results: list[Scene], output: str) -> None:
    """All scenes at the end for programs; people saw each as it was played."""
    if output != "table":
        show([asdict(scene) for scene in results], output)
