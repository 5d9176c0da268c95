"""Controller cases: manifests in, statuses on disk out, one page of text each.

A case begins with its title and says what it is about. Then come steps: a line that starts with
`>` is an input (`> write FILE` with the file's text below it, `> remove FILE`, `> restart`), and
the lines with `<` after it are what the folder and its statuses say when the controller has come
to rest. `UPDATE=1` writes down anew what is seen; read the diff as you would read code.

Each case is also played with a controller that is started anew before every round: it has no
memory outside the folder, so nothing may differ. A case whose heading says `(one run)` is about
the one thing that does: files that could be read before. All others are played in a cluster too,
where an API server stands in the folder's place.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onehop.adapters.kube.store import KubeStore
from onehop.adapters.manifests import Manifests
from onehop.core.allocate import Allocator
from onehop.core.validate import problems
from onehop.model.desired import ClusterDesired, ServiceStatus
from tests.pipeline.cluster import ClusterFolder

CASES = sorted((Path(__file__).parent / "controller").glob("*.case"))
ROUNDS = 5


@dataclass
class Step:
    verb: str
    argument: str
    body: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)


def parsed(text: str) -> tuple[list[str], list[Step]]:
    """The lines of the heading, and the steps."""
    heading: list[str] = []
    steps: list[Step] = []
    for line in text.splitlines():
        if line.startswith("> "):
            verb, _, argument = line[2:].partition(" ")
            steps.append(Step(verb=verb, argument=argument))
        elif not steps:
            heading.append(line)
        elif line.startswith("<"):
            steps[-1].expected.append(line[2:])
        else:
            steps[-1].body.append(line)
    return heading, steps


def rendered(heading: list[str], steps: list[Step]) -> str:
    lines = list(heading)
    for step in steps:
        body = "\n".join(step.body).strip("\n")
        lines.append(f"> {step.verb} {step.argument}".rstrip())
        lines += body.split("\n") if body else []
        lines += [f"< {line}".rstrip() for line in step.expected]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


class Folder:
    """Files on disk, and the store over them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = Manifests(path)

    def reopen(self) -> None:
        self.store.close()
        self.store = Manifests(self.path)

    def write(self, name: str, text: str) -> None:
        (self.path / name).write_text(text)

    def remove(self, name: str) -> None:
        (self.path / name).unlink()

    def refresh(self) -> None:
        self.store.refresh()

    def close(self) -> None:
        self.store.close()


class Stage:
    """A folder or a cluster, its store and its controller."""

    def __init__(self, folder: Folder | ClusterFolder, *, forgetful: bool) -> None:
        self.folder = folder
        self.forgetful = forgetful
        self.allocator = Allocator()

    @property
    def store(self) -> Manifests | KubeStore:
        return self.folder.store

    def restart(self) -> None:
        self.folder.reopen()
        self.allocator = Allocator()

    def play(self, step: Step) -> None:
        match step.verb:
            case "write":
                self.folder.write(step.argument, "\n".join(step.body) + "\n")
            case "remove":
                self.folder.remove(step.argument)
            case "restart":
                self.restart()
            case other:
                pytest.fail(f"unknown step {other}")

    def settled(self) -> ClusterDesired:
        """Rounds until what was written leads to nothing else."""
        want = None
        for _ in range(ROUNDS):
            if self.forgetful:
                self.restart()
            self.folder.refresh()
            before, want = want, self.allocator.decide(self.store.objects())
            if before is not None and before == want:
                return want
            report = self.store.sync(want)
            assert report.failures == ()
        pytest.fail(f"no rest after {ROUNDS} rounds: {want}")

    def seen(self) -> Iterator[str]:
        """What anybody sees who reads the folder."""
        want = self.settled()
        objects = self.store.objects()
        for key, service in sorted(objects.services.items()):
            addresses = " ".join(map(str, service.ingress)) or "-"
            yield f"service {key} {addresses}{verdict(want.statuses.get(key))}"
        for key, gone in sorted(objects.released.items()):
            yield f"released {key} {' '.join(map(str, gone))}"
        for problem in (*objects.problems, *problems(objects)):
            yield f"problem {problem}"


def verdict(status: ServiceStatus | None) -> str:
    if status is None:
        return " (not ours)"
    pool = f" of {status.pool}" if status.pool else ""
    why = f" {status.refusal.reason.code}: {status.refusal.detail}" if status.refusal else ""
    return (pool + why).rstrip(": ")


def played() -> Iterator[object]:
    """Every case in one run, and anew each round unless it is about what one run remembers."""
    for path in CASES:
        yield pytest.param(path, False, id=path.stem)
        if "(one run)" not in path.read_text():
            yield pytest.param(path, True, id=f"{path.stem}, anew each round")


@pytest.mark.parametrize(("path", "forgetful"), list(played()))
def test_case(path: Path, forgetful: bool, tmp_path: Path) -> None:
    heading, steps = parsed(path.read_text())
    stage = Stage(Folder(tmp_path), forgetful=forgetful)
    seen = []
    for step in steps:
        stage.play(step)
        seen.append([line.replace(f"{tmp_path}/", "") for line in stage.seen()])
    stage.folder.close()
    if os.environ.get("UPDATE"):
        for step, lines in zip(steps, seen, strict=True):
            step.expected = lines
        path.write_text(rendered(heading, steps))
    assert seen == [step.expected for step in steps]


@pytest.mark.parametrize(
    "path", [path for path in CASES if "(one run)" not in path.read_text()], ids=lambda p: p.stem
)
def test_case_in_a_cluster(path: Path) -> None:
    """What an API server holds is decided as what a folder holds."""
    _, steps = parsed(path.read_text())
    cluster = ClusterFolder()
    stage = Stage(cluster, forgetful=False)
    try:
        for step in steps:
            stage.play(step)
            assert list(stage.seen()) == step.expected, f"> {step.verb} {step.argument}"
    finally:
        cluster.close()


def test_there_are_cases_and_they_are_written_as_update_writes_them() -> None:
    assert CASES
    for path in CASES:
        assert rendered(*parsed(path.read_text())) == path.read_text(), path.name
