"""The ``schedule`` section of a recipe."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from progcycle.recipe.values import DEFAULT, BatchSizes, Lengths, Resolution, Scales
from progcycle.section import Section


class Schedule(Section):
    """The growth plan, in thousands of real pictures (of one domain) shown to the discriminators."""

    start_resolution: Resolution | None = Field(None, description="default: the network's base_resolution")
    stable_kimg: Lengths = Field({DEFAULT: 600.0}, description="default: 600; of a translator 10")
    fade_kimg: Lengths = Field({DEFAULT: 600.0}, description="default: 600; of a translator half of stable_kimg")
    total_kimg: float | None = Field(None, gt=0, le=1e9, description="default: the sum of all phases")
    batch_size: BatchSizes = Field(
        {DEFAULT: 16}, description="pictures a step, all processes together; default: 16; of a translator 4"
    )
    lr_scale: Scales = Field({DEFAULT: 1.0}, description="factor on every player's learning rate")
    rampup_kimg: float = Field(0.0, ge=0, le=1e9, description="learning rate rises from 0 at the start")
    stage_rampup_kimg: float = Field(0.0, ge=0, le=1e9, description="learning rate rises again when a stage opens")
    decay_kimg: float = Field(0.0, ge=0, le=1e9, description="learning rate falls to 0 over the last part")
    hold_resolution: Resolution | None = Field(None, description="growth stops here, though the networks could go on")
    fade_reals: bool = Field(True, description="fade the real pictures as the networks fade")

    def scaled(self, factor: float, digits: int | None = None) -> "Schedule":
        """The plan with all its lengths multiplied, those of the learning rates' ramps and decay too.

        Args:
            factor: above 0.
            digits: of a rounded length in kimg; default: not rounded.
        """

        def by(length: Any) -> Any:
            if isinstance(length, Mapping):
                return {key: by(value) for key, value in length.items()}
            scaled = None if length is None else factor * length
            return scaled if digits is None or scaled is None else round(scaled, digits)

        return self.model_copy(
            update={key: by(getattr(self, key)) for key in type(self).model_fields if key.endswith("_kimg")}
        )
