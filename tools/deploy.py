"""Render `deploy/onehop.yaml` from the chart: `deploy.py`.

The manifest is for those who use no Helm: the chart as its values are, with the definitions and
the Namespace.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from onehop.lab.kube_build import HELM, KUBERNETES_VERSION, BuildError, prepare

DEPLOY = Path(__file__).resolve().parents[1] / "deploy"
CHART, MANIFEST = DEPLOY / "chart", DEPLOY / "onehop.yaml"
NAMESPACE = "onehop-system"
_HEAD = "# Rendered from deploy/chart by `python tools/deploy.py`: change it there.\n"


class RenderError(Exception):
    """Helm refused; the text is what it said."""


def rendered(helm: Path, *more: str) -> str:
    """What Helm makes of the chart; `more` are its further options.

    Raises:
        RenderError: when Helm refuses.
    """
    argv = [helm, "template", "onehop", CHART, "--namespace", NAMESPACE, "--include-crds"]
    argv += ["--kube-version", KUBERNETES_VERSION, *more]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode:
        raise RenderError(done.stderr.strip())
    return done.stdout


def manifest(helm: Path) -> str:
    """The text of `deploy/onehop.yaml`."""
    text = rendered(helm, "--set", "namespace.create=true")
    return _HEAD + text.replace("managed-by: Helm\n", "managed-by: kubectl\n")


def main() -> int:
    """Write the manifest; the exit code says whether that went well."""
    try:
        helm = prepare(HELM, lambda text: print(f"deploy: {text}", flush=True)) / "helm"
        MANIFEST.write_text(manifest(helm))
    except (BuildError, RenderError) as failure:
        print(failure, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
