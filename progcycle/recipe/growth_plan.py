"""The ``schedule`` section of a recipe."""

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from progcycle.recipe.values import DEFAULT, BatchSizes, Lengths, Scales
from progcycle.resolution import Resolution
from progcycle.section import Section


class OldLayers(Section):
    """How the layers of earlier stages learn while a new stage is young, so that it trains nearly alone."""

    share: float = Field(0.2, gt=0, le=1, description="of the pictures of the new stage, its fade counted in")
    lr_scale: float = Field(0.0, ge=0, lt=1, description="factor on their learning rates; 0: they stand still")


class Schedule(Section):
    """The growth plan, in thousands of real pictures (of one domain) shown to the discriminators."""

    growth: Literal["layers", "size"] = Field(
        "layers", description="layers are added at every resolution, or size: whole networks, whose pictures grow"
    )
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
    new_stage: Literal["random", "copy"] = Field(
        "random", description="layers of a new stage begin as they are drawn, or as a copy of the stage before"
    )
    old_layers: OldLayers | None = Field(None, description="slow layers of earlier stages while a new one is young")
    fade_reals: bool = Field(True, description="fade the real pictures as the networks fade")

    @model_validator(mode="after")
    def _by_layers_or_size(self) -> Self:
        if self.growth != "size":
            return self
        for key, given in (("new_stage", self.new_stage != "random"), ("old_layers", self.old_layers is not None)):
            if given:
                raise ValueError(f"{key}: with growth: size no layers are added; leave it out, or use growth: layers")
        if not self.fade_reals:
            raise ValueError(
                "fade_reals: with growth: size nothing but the real pictures fades; for sharp ones set fade_kimg: 0"
            )
        return self

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
