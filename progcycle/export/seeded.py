"""``Seeded``: what a seed stands for where the picture that is translated has a part in its latents."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor


@dataclass
class Seeded:
    """Normal numbers that choose latents for each picture, by ``latents.neighbours``.

    Attributes:
        normals: of a seed.  # [1, latent_size]
        fixed: whether those of the first picture are kept, as for the frames of a clip.
        kept: these.
    """

    normals: Tensor
    fixed: bool = False
    kept: Tensor | None = None

    def latents(self, choose: Callable[[Tensor], Tensor]) -> Tensor:
        """The latents, chosen by the numbers and the pictures at hand, or earlier ones.  # [N, latent_size]"""
        if self.kept is not None:
            return self.kept
        chosen = choose(self.normals)
        if self.fixed:
            self.kept = chosen
        return chosen


def for_series(latents: Tensor | Seeded | None) -> Tensor | Seeded | None:
    """Those of pictures that belong together, such as the frames of a clip: what the first one is given serves all."""
    return replace(latents, fixed=True, kept=None) if isinstance(latents, Seeded) else latents
