"""The image's Containerfile, carried out line by line, and the program that it leaves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from onehop import __version__
from tests.deploy.image import Build, Stage

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("image")
    folder.chmod(0o755)
    for above in folder.parents[:2]:
        above.chmod(0o755)
    yield Build(ROOT, folder).carry_out((ROOT / "deploy" / "Containerfile").read_text())
    shutil.rmtree(folder)


def test_its_program_runs_as_nobody_in_particular(image: Stage) -> None:
    assert image.user == "65532:65532"
    assert image.run("id", "-u").strip() == "65532"
    assert __version__ in image.run(*image.entrypoint, "--version")


@pytest.mark.parametrize("role", ["controller", "speaker"])
def test_both_roles_are_there(image: Stage, role: str) -> None:
    assert f"onehop {role}" in image.run(*image.entrypoint, role, "--help")


def test_the_datapath_is_inside(image: Stage) -> None:
    code = (
        "import pathlib, onehop; [p] = pathlib.Path(onehop.__file__).parent.rglob('*.bpf.o');"
        "print(p.read_bytes()[:4] == b'\\x7fELF')"
    )
    assert image.run("/opt/onehop/bin/python", "-c", code).strip() == "True"


def test_nothing_of_what_builds_it_is_inside(image: Stage) -> None:
    names = {path.name for path in (image.root / "opt").iterdir()}
    assert names == {"onehop"}
    for module in ("pip", "hatchling", "pytest", "confluent_kafka"):
        assert not list((image.root / "opt").rglob(module))
