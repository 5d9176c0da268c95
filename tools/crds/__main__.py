"""Write `deploy/chart/crds/`."""

from __future__ import annotations

from pathlib import Path

import yaml
from tools.crds import bgp, pools
from tools.crds.schema import Schema

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "chart" / "crds"
_HEAD = "# Written by `python -m tools.crds`: change it there.\n"


class _Plain(yaml.SafeDumper):
    """Writes a value that stands in several places out in each of them."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def definitions() -> dict[str, Schema]:
    """Each definition by the name of its file."""
    found = (*pools.DEFINITIONS, *bgp.DEFINITIONS)
    return {f"{each['spec']['names']['plural']}.yaml": each for each in found}


def rendered(definition: Schema) -> str:
    """The text of a definition's file."""
    return _HEAD + yaml.dump(
        definition, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=99
    )


def main() -> None:
    """Write every file."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, definition in definitions().items():
        (FOLDER / name).write_text(rendered(definition))


if __name__ == "__main__":
    main()
