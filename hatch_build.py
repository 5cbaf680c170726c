"""The wheel carries the recipes; an editable install reads those of the clone, and so gets no copy that grows old."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Recipes(BuildHookInterface):
    """Puts ``recipes/`` into the wheel as ``progcycle/_recipes``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called before a wheel is built; ``version`` is standard or editable."""
        if version == "standard":
            build_data["force_include"]["recipes"] = "progcycle/_recipes"
