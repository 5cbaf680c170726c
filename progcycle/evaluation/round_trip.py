"""Round trips: pictures translated there and back, also with small disturbances that destroy a hidden signal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from progcycle.blocks import level_step, rounded_to_levels, to_levels
from progcycle.evaluation.diversity import WITHOUT, TestLatents
from progcycle.metrics import hidden_signal
from progcycle.rng import normal

if TYPE_CHECKING:
    from progcycle.export.translator import Direction, Translator

Translate = Callable[..., Tensor]  # of pictures, a Direction, and latents where the direction has any
Figures = dict[str, float]

NOISE = 2 * level_step()  # standard deviation of the noise on the translation: two grey levels


@dataclass(frozen=True)
class RoundTrip:
    """The pictures of one domain after a round trip: translations, reconstructions and errors.

    Attributes:
        output: translations, in [-1, 1], clamped.  # [N, C, R, R] float32
        reconstruction: translations of those, as grey levels.  # [N, C, R, R] uint8
        cycle: mean absolute difference of every picture and its reconstruction.  # [N]
        rounded: the same with the translation rounded to 8 bits.  # [N]
        noisy: the same with noise of two grey levels on the translation.  # [N]
        rounding: mean absolute difference that the rounding made.  # [N]
        noise: mean absolute difference that the noise made.  # [N]
    """

    output: Tensor
    reconstruction: Tensor
    cycle: Tensor
    rounded: Tensor
    noisy: Tensor
    rounding: Tensor
    noise: Tensor

    def figures(self, direction: "Direction") -> Figures:
        """Means over the pictures, by name."""
        e = {name: float(getattr(self, name).double().mean()) for name in ("cycle", "rounded", "noisy")}
        disturbances = (("rounded", self.rounding), ("noisy", self.noise))
        hidden = max(hidden_signal(e["cycle"], e[name], float(d.double().mean())) for name, d in disturbances)
        cycle = direction + direction[0]
        return {
            f"cycle/{cycle}": e["cycle"],
            f"cycle_rounded/{cycle}": e["rounded"],
            f"cycle_noisy/{cycle}": e["noisy"],
            f"hidden/{cycle}": hidden,
        }


def translate_as_training(model: "Translator") -> Translate:
    """The translators as training runs them: their input is neither padded nor faded.

    Real pictures of a fading stage come from :func:`progcycle.data.as_reals`; translations
    are faded by the network that painted them.

    Args:
        model: of a snapshot; its pictures have its resolution.
    """
    growth = model.config.growth
    networks = {"ab": model.network("ab"), "ba": model.network("ba")}
    return lambda pictures, direction, *latents: model.run(
        networks[direction],
        pictures.to(model.device),
        growth.stage,
        growth.alpha,
        *(z.to(model.device) for z in latents),
    )


@torch.no_grad()
def translate_round_trip(
    translate: Translate,
    pictures: Tensor,
    direction: "Direction",
    seed: int = 0,
    batch_size: int = 64,
    translate_back: Translate | None = None,
    latents: TestLatents = WITHOUT,
) -> RoundTrip:
    """Translate pictures there and back; back three times: unchanged, rounded to 8 bits, and with slight noise.

    Args:
        translate: pictures in [-1, 1] and a direction to pictures in about [-1, 1].
        pictures: in [-1, 1].  # [N, C, R, R]
        direction: of the first translation.
        seed: of the noise.
        batch_size: pictures at a time.
        translate_back: the same for the way back; default: ``translate``.
        latents: of the translations; the way back gets those that are estimated from the originals.
    """
    translate_back = translate_back or translate
    parts: list[list[Tensor]] = []
    for start in range(0, len(pictures), batch_size):
        x = pictures[start : start + batch_size].float()
        numbers = range(start, start + len(x))
        middle = translate(x, direction, *latents.drawn(direction, numbers, x)).float().clamp(-1, 1).to(x.device)
        rounded = rounded_to_levels(middle)
        size = middle[0].numel()
        noise = normal(seed, f"metric/noise/{direction}", numbers, size)
        noisy = (middle + NOISE * noise.reshape(middle.shape).to(middle.device)).clamp(-1, 1)
        returned: Direction = "ba" if direction == "ab" else "ab"
        own = latents.estimated(returned, x)
        again, *others = (
            translate_back(y, returned, *own).float().clamp(-1, 1).to(x.device) for y in (middle, rounded, noisy)
        )
        errors = [_l1(y, x) for y in (again, *others)]
        found = [middle, to_levels(again), *errors, _l1(rounded, middle), _l1(noisy, middle)]
        parts.append([tensor.cpu() for tensor in found])
    return RoundTrip(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


def _l1(x: Tensor, y: Tensor) -> Tensor:
    return (x - y).abs().mean(dim=(1, 2, 3))
