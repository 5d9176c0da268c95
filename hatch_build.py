"""The wheel carries the compiled datapath: this hook compiles it."""

from __future__ import annotations

import runpy

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BpfBuildHook(BuildHookInterface):
    """Compiles bpf/lb.bpf.c before the files of the wheel are gathered."""

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Compile; without a compiler only an editable install may go on (`make bpf` later)."""
        tool = runpy.run_path(f"{self.root}/tools/build_bpf.py")
        if version == "editable" and (missing := tool["missing_tools"]()):
            self.app.display_warning(f"datapath not compiled: {', '.join(missing)} not found")
            return
        tool["build"]()
