"""The ``optimizer`` section of a recipe, and the running averages of generators."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, model_validator

from progcycle.errors import UserError
from progcycle.recipe.values import AsTuple, Curve
from progcycle.section import Section

Beta = Annotated[float, Field(ge=0, lt=1)]


def _below_one(curve: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if any(value >= 1 for _, value in curve):
        raise ValueError("a momentum is below 1")
    return curve


class PlayerOptimizer(Section):
    """The optimizer of one player. A key that belongs to another optimizer is refused."""

    name: Literal["adam", "rmsprop", "sgd"] = Field("adam", description="adam, rmsprop or sgd")
    lr: float = Field(1e-3, gt=0, description="learning rate, before schedule.lr_scale and its ramps")
    betas: Annotated[tuple[Beta, Beta], AsTuple] = Field((0.0, 0.99), description="of adam")
    eps: float = Field(1e-8, gt=0, description="of adam and rmsprop: added to the root of the mean square")
    smoothing: Beta = Field(0.99, description="of rmsprop: the share of the old mean square in the new one")
    momentum: Annotated[Curve, AfterValidator(_below_one)] = Field(((0.0, 0.0),), description="of sgd")
    dampened: bool = Field(
        False, description="of sgd: momentum averages gradients, as in Torch7, in place of adding up"
    )
    weight_decay: float = Field(0.0, ge=0, le=1, description="L2: this share of each weight is added to its gradient")
    historical_averaging: float = Field(
        0.0, ge=0, description="weight of |w - mean of all w so far|^2 in the loss (Salimans et al. 2016, section 3.3)"
    )

    @model_validator(mode="after")
    def _own_keys(self) -> "PlayerOptimizer":
        for key in keys_of_others(self.name):
            if getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} belongs to {' and '.join(_OWN[key])}, not to {self.name}; leave it out")
        if self.dampened and not any(value for _, value in self.momentum):
            raise ValueError("dampened is about momentum, which is 0 throughout; give momentum, or leave it out")
        return self


# Keys that not all optimizers have, and those that have them.
_OWN: Final = {
    "betas": ("adam",),
    "eps": ("adam", "rmsprop"),
    "smoothing": ("rmsprop",),
    "momentum": ("sgd",),
    "dampened": ("sgd",),
}


def keys_of_others(name: Any) -> list[str]:
    """The keys that an optimizer does not have; none for a name that there is not."""
    known = {own for names in _OWN.values() for own in names}
    return [key for key, names in _OWN.items() if name in known and name not in names]


class OptimizerSection(Section):
    """Base of the ``optimizer`` sections: a field of type :class:`PlayerOptimizer` for each player of the task."""

    reset: Literal["never", "stage", "fade_edges"] = Field(
        "fade_edges", description="when the moments of all players are cleared"
    )

    def of_players(self, players: Iterable[str]) -> dict[str, PlayerOptimizer]:
        """The settings of each player.

        Raises:
            UserError: there are none of one of them.
        """
        found = {player: getattr(self, player, None) for player in players}
        for player in (player for player, options in found.items() if not isinstance(options, PlayerOptimizer)):
            raise UserError(f"optimizer: the task trains a player {player!r}, for which this section has no settings.")
        return found  # type: ignore[return-value]  # each is one


class Optimizer(OptimizerSection):
    """The optimizers of a generator and a discriminator."""

    generator: PlayerOptimizer = PlayerOptimizer()
    discriminator: PlayerOptimizer = PlayerOptimizer()


class BeganPlayerOptimizer(PlayerOptimizer):
    """The optimizer of one of BEGAN's networks, with the paper's defaults."""

    lr: float = Field(1e-4, gt=0, description="learning rate, before schedule.lr_scale and its ramps")
    betas: Annotated[tuple[Beta, Beta], AsTuple] = Field((0.5, 0.999), description="of adam")


class Halving(Section):
    """Halving of the learning rates: when the measure M stalls (Berthelot et al. 2017), or every so many pictures."""

    stall_kimg: float | None = Field(
        None, gt=0, le=1e9, description="halve when the mean of M over so many kimg is not below all such means before"
    )
    every_kimg: float | None = Field(None, gt=0, le=1e9, description="halve every so many kimg")
    floor: float = Field(2e-5, ge=0, description="no learning rate falls below this, apart from factors of schedule")

    @model_validator(mode="after")
    def _one_rule(self) -> "Halving":
        if (self.stall_kimg is None) == (self.every_kimg is None):
            raise ValueError("give one of stall_kimg and every_kimg")
        return self


class BeganOptimizer(OptimizerSection):
    """The optimizers of the generator and the auto-encoder of BEGAN."""

    generator: BeganPlayerOptimizer = BeganPlayerOptimizer()
    discriminator: BeganPlayerOptimizer = BeganPlayerOptimizer()
    halving: Halving | None = Field(None, description="default: learning rates are not halved")

    @model_validator(mode="after")
    def _floor_below(self) -> "BeganOptimizer":
        for player in ("generator", "discriminator"):
            rate = getattr(self, player).lr
            if self.halving is not None and self.halving.floor >= rate:
                raise ValueError(
                    f"halving.floor: {self.halving.floor:g} is not below {player}.lr, which is {rate:g}; lower it, or "
                    "leave halving out"
                )
        return self


HALF_LIFE_KIMG, RAMPUP = 10.0, 0.05


class Ema(Section):
    """Running average of each generator: a half-life in pictures, or a factor per step."""

    half_life_kimg: float | None = Field(
        None, gt=0, description="default: 10, without per_step; empty: as long as rampup lets it be"
    )
    rampup: float = Field(RAMPUP, gt=0, le=1, description="the half-life is at most this share of the pictures shown")
    per_step: float | None = Field(
        None, ge=0, lt=1, description="share of the old average that a step keeps, instead; 0: none"
    )

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
