"""The wheel carries recipes and demo pictures; an editable install reads those of the clone, which never grow old."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Bundled(BuildHookInterface):
    """Puts ``recipes`` and ``datasets/demo`` into the wheel, as ``_recipes`` and ``_datasets/demo`` of the package."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is built; ``version`` is standard or editable."""
        if version == "standard":
            build_data["force_include"]["recipes"] = "progcycle/_recipes"
            build_data["force_include"]["datasets/demo"] = "progcycle/_datasets/demo"
