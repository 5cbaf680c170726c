"""The ``optimizer`` section of a recipe, and the running averages of generators."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from progcycle.errors import UserError
from progcycle.recipe.values import AsTuple
from progcycle.section import Section

Beta = Annotated[float, Field(ge=0, lt=1)]


class Adam(Section):
    """Adam settings of one player."""

    lr: float = Field(1e-3, gt=0)
    betas: Annotated[tuple[Beta, Beta], AsTuple] = (0.0, 0.99)
    eps: float = Field(1e-8, gt=0)


class OptimizerSection(Section):
    """Base of the ``optimizer`` sections, which have a field of type :class:`Adam` for each player of their task."""

    reset: Literal["never", "stage", "fade_edges"] = Field(
        "fade_edges", description="when the moments of all players are cleared"
    )

    def of_players(self, players: Iterable[str]) -> dict[str, Adam]:
        """The settings of each player.

        Raises:
            UserError: there are none of one of them.
        """
        found = {player: getattr(self, player, None) for player in players}
        for player in (player for player, adam in found.items() if not isinstance(adam, Adam)):
            raise UserError(f"optimizer: the task trains a player {player!r}, for which this section has no settings.")
        return found  # type: ignore[return-value]  # each is one


class Optimizer(OptimizerSection):
    """Adam for a generator and a discriminator."""

    generator: Adam = Adam()
    discriminator: Adam = Adam()


HALF_LIFE_KIMG, RAMPUP = 10.0, 0.05


class Ema(Section):
    """Running average of each generator: a half-life in pictures, or a factor per step."""

    half_life_kimg: float | None = Field(
        None, gt=0, description="default: 10, without per_step; empty: as long as rampup lets it be"
    )
    rampup: float = Field(RAMPUP, gt=0, le=1, description="the half-life is at most this share of the pictures shown")
    per_step: float | None = Field(None, ge=0, lt=1)

    @model_validator(mode="before")
    @classmethod
    def _default_half_life(cls, content: Any) -> Any:
        if not isinstance(content, Mapping) or content.get("per_step") is not None:
            return content
        return {"half_life_kimg": HALF_LIFE_KIMG, **content}

    @model_validator(mode="after")
    def _one_kind(self) -> "Ema":
        if self.half_life_kimg is not None and self.per_step is not None:
            raise ValueError("give half_life_kimg or per_step, not both")
        if self.per_step is not None and self.rampup != RAMPUP:
            raise ValueError(f"rampup belongs to half_life_kimg, not to per_step; leave it at {RAMPUP:g}")
        return self
