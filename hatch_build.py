"""Builds the native module with the package, where it can be; without it the package is the same,
only slower. `TRIVIUM_BUILD=never` leaves it out, `always` makes its failure an error."""

import os
import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class NativeModule(BuildHookInterface):  # type: ignore[type-arg]
    """Of wheels, and of the folder itself where it is installed as `--editable`."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 hatch's
        wanted = os.environ.get("TRIVIUM_BUILD", "if possible")
        if self.target_name != "wheel" or wanted == "never":
            return
        native = runpy.run_path(str(Path(self.root) / "native" / "build.py"))
        made, missing = native["build_all"]()
        if missing and wanted == "always":
            raise missing[0]
        for why in dict.fromkeys(map(str, missing)):
            self.app.display_warning(f"trivium without one of its native modules: {why}")
        if not made:
            return
        build_data["artifacts"] += [str(path.relative_to(self.root)) for path in made]
        # It asks for no version of Python, only for a system: one wheel serves them all.
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_system()}"


def _system() -> str:
    """The platform that a wheel built here is for; auditwheel names an older one if it may."""
    from sysconfig import get_platform

    return get_platform().replace("-", "_").replace(".", "_")
