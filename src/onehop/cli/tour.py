"""`onehop lab tour`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

import click

from onehop.cli import options
from onehop.lab.kafka import KafkaError
from onehop.lab.scenes import SCENES, Scene
from onehop.lab.state import LabError
from onehop.lab.tour import played, stage_of


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
@options.delivery
@options.output
def tour(
    *, name: str, scenes: tuple[str, ...], no_kafka: bool, delivery: str, output: str
) -> None:
    """Play the article's layer-2 scenes: expected, and seen on real kernel tables.

    Exits with 1 when a scene was not seen as expected.
    """
    wanted = [int(number) for number in scenes] or [
        number for number in SCENES if not (no_kafka and number == 6)
    ]
    results = []
    try:
        with stage_of(name, kafka=not no_kafka, delivery=delivery, say=_progress) as stage:
            for scene in played(stage, wanted, _progress):
                results.append(scene)
                if output == "table":
                    _show(scene)
    except (LabError, KafkaError) as error:
        raise click.ClickException(str(error)) from error
    if output != "table":
        _print([asdict(scene) for scene in results], output)
    if not all(scene.ok for scene in results):
        sys.exit(1)


def _progress(text: str) -> None:
    click.echo(f"... {text}", err=True)


def _show(scene: Scene) -> None:
    mark = click.style("ok  ", fg="green") if scene.ok else click.style("FAIL", fg="red")
    click.echo(f"{mark} scene {scene.scene}: {scene.title}")
    for label, text in (
        ("typed", scene.command),
        ("expected", scene.expected),
        ("seen", scene.seen),
    ):
        click.echo(f"       {label:9} {text}")


def _print(rows: list[dict[str, object]], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    import yaml

    click.echo(yaml.safe_dump(rows, sort_keys=False), nl=False)
