"""Latents in evaluation: those of the translations that are measured, and how much translations of a picture differ."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from progcycle.metrics import Features, feature_distance
from progcycle.rng import normal

if TYPE_CHECKING:
    from progcycle.export.translator import Direction, Translator

PICTURES, TRANSLATIONS = 64, 4  # pictures whose diversity is measured, and translations of each


def _nothing(pictures: Tensor, direction: "Direction") -> Tensor:
    raise ValueError(f"there are no latents in the direction {direction}")


def _as_they_are(normals: Tensor, direction: "Direction", sources: Tensor) -> Tensor:
    return normals


@dataclass(frozen=True)
class TestLatents:
    """The latents of test pictures. Methods give a tuple of one tensor, or of none for a direction without latents.

    Attributes:
        sizes: numbers of a latent, by direction; 0 or left out for none.
        estimate: from pictures of the domain that a direction translates to, the latents of that direction.
        seed: of the random ones.
        choose: from normal numbers, a direction and the pictures that are translated, their random latents.
    """

    __test__ = False  # pytest takes classes of this name for tests

    sizes: Mapping["Direction", int]
    estimate: Callable[[Tensor, "Direction"], Tensor] = _nothing
    seed: int = 0
    choose: Callable[[Tensor, "Direction", Tensor], Tensor] = _as_they_are

    def drawn(
        self, direction: "Direction", numbers: Sequence[int], sources: Tensor, which: int = 0
    ) -> tuple[Tensor, ...]:
        """Random latents of pictures.

        Args:
            direction: ``ab`` or ``ba``.
            numbers: of the pictures in the test set.
            sources: the pictures, in [-1, 1].  # [N, C, H, W]
            which: tells several latents of a picture apart.
        """
        size = self.sizes.get(direction, 0)
        if not size:
            return ()
        normals = normal(self.seed, f"metric/latent/{direction}/{which}", numbers, size)
        return (self.choose(normals, direction, sources),)

    def estimated(self, direction: "Direction", pictures: Tensor) -> tuple[Tensor, ...]:
        """The latents from which a direction would paint some pictures, as the way back of a round trip gets them."""
        return (self.estimate(pictures, direction),) if self.sizes.get(direction, 0) else ()


WITHOUT = TestLatents({})


def latents_of(model: "Translator", seed: int = 0) -> TestLatents:
    """The latents that the translators of a snapshot are measured with."""
    sizes: dict[Direction, int] = {"ab": model.latent_size("ab"), "ba": model.latent_size("ba")}
    return TestLatents(sizes, model.estimate_latents, seed, model.drawn_latents)


@torch.no_grad()
def measure_diversity(
    translate: Callable[..., Tensor],
    pictures: Tensor,
    direction: "Direction",
    latents: TestLatents,
    features: Features | None = None,
    batch_size: int = 64,
) -> dict[str, float]:
    """How much several translations of the same picture differ, as LPIPS measures it for BicycleGAN and MUNIT.

    Args:
        translate: pictures in [-1, 1], a direction and latents to pictures in about [-1, 1].
        pictures: up to 64 of them are taken, evenly spread.  # [N, C, R, R]
        direction: ``ab`` or ``ba``.
        latents: four for each picture.
        features: for distances in features.
        batch_size: pictures at a time.

    Returns:
        ``diversity``, the mean absolute difference of two translations of a picture; ``diversity_feature``, their mean
        cosine distance in features; and ``latent``, that of latents and their estimates from the translations. All end
        with the direction. Nothing for a direction without latents.
    """
    if not latents.sizes.get(direction, 0):
        return {}
    count = min(len(pictures), PICTURES)
    numbers = [i * len(pictures) // count for i in range(count)]
    sets: list[Tensor] = []
    errors: list[Tensor] = []
    for which in range(TRANSLATIONS):
        parts = []
        for start in range(0, len(numbers), batch_size):
            some = numbers[start : start + batch_size]
            source = pictures[some].float()
            (z,) = latents.drawn(direction, some, source, which)
            made = translate(source, direction, z).float().clamp(-1, 1)
            (estimates,) = latents.estimated(direction, made)
            errors.append(feature_distance(z, estimates.cpu()))
            parts.append(made.cpu())
        sets.append(torch.cat(parts))
    pairs = list(itertools.combinations(range(TRANSLATIONS), 2))
    found = {
        "diversity": torch.stack([(sets[i] - sets[j]).abs().mean() for i, j in pairs]),
        "latent": torch.cat(errors),
    }
    if features is not None:
        seen = [features(made) for made in sets]
        found["diversity_feature"] = torch.cat([feature_distance(seen[i], seen[j]) for i, j in pairs])
    return {f"{name}/{direction}": float(values.double().mean()) for name, values in found.items()}
