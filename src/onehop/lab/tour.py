"""The tour: plays the article's scenes on a lab, and says of each what was expected and seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from onehop.lab.kafka import KafkaError
from onehop.lab.lab import Lab, LabSpec
from onehop.lab.scenes import SCENES as LAYER_2_SCENES
from onehop.lab.scenes import Scene, Stage
from onehop.lab.scenes_bgp import BGP_SCENES
from onehop.lab.state import LabError, Layout

SCENES = dict(sorted({**LAYER_2_SCENES, **BGP_SCENES}.items()))

Say = Callable[[str], None]


@contextmanager
def stage_of(spec: LabSpec, say: Say) -> Iterator[Stage]:
    """The lab of this name if it is up, else a new one that goes when the tour ends.

    Raises:
        LabError: when it cannot be built.
    """
    record = Layout(spec.name).read()
    if record is not None and record.ready:
        if record.store != spec.store:
            raise LabError(
                f"lab {spec.name!r} is up with --store {record.store}: `onehop lab down --name "
                f"{spec.name}` first, or take another --name"
            )
        say(f"lab {spec.name} is up: the tour plays on it")
        lab = Lab.attach(spec.name)
        yield Stage(lab, lab.kafka() if record.kafka else None)
        return
    kubernetes = "a Kubernetes API server, " if spec.store == "kubernetes" else ""
    kafka = ", Kafka" if spec.kafka else ""
    say(f"building the lab: {kubernetes}three nodes, a client, a router{kafka}")
    with Lab.up(spec) as lab:
        yield Stage(lab, lab.kafka() if spec.kafka else None)


def played(stage: Stage, numbers: Iterable[int], say: Say) -> Iterator[Scene]:
    """Play scenes one after the other; one that cannot be played has failed and says why."""
    for number in numbers:
        say(f"scene {number}")
        try:
            yield SCENES[number](stage)
        except (LabError, KafkaError) as error:
            doc = SCENES[number].__doc__ or ""
            yield Scene(
                scene=number,
                title=doc.partition(": ")[2].rstrip("."),
                command="",
                expected="the scene can be played",
                seen=str(error),
                ok=False,
            )
