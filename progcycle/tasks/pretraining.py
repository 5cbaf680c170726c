"""Pre-training of translators: restore real pictures of which a part is hidden, or all there (Torbunov et al. 2023).

UVCGAN found such pre-training crucial for translation. Its second version hides 40 % of the 32x32 squares of a picture.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.data import Batch
from progcycle.errors import UserError
from progcycle.networks import ENCODERS
from progcycle.objectives import reconstruction_loss
from progcycle.recipe import CycleganRecipe
from progcycle.resolution import Resolution
from progcycle.rng import normal
from progcycle.schedule import Growth
from progcycle.tasks.base import Stats, Task, to_match

DOMAINS = ("a", "b")


def patch_masks(
    seed: int, purpose: str, positions: Sequence[int], resolution: int, masked: float, patch: float
) -> Tensor:
    """Masks of squares that are hidden (0) or seen (1).

    The squares form a grid of 1 / patch on the shorter side at every stage. Below that, a square is a pixel. The same
    number of squares is hidden in each picture, chosen at random by its position.

    Args:
        seed: of the run.
        purpose: part of the random address.
        positions: global sample index of each picture.
        resolution: of the pictures.
        masked: share that is hidden, in (0, 1); at least one square is hidden, and one is seen.
        patch: side of a square as a share of the picture's shorter side.

    Returns:
        On the CPU, min(1 / patch, shorter side) on the shorter side.  # [N, 1, h, w] float32
    """
    size = Resolution.of(resolution)
    grid = size.scaled(min(round(1 / patch), int(size)))
    squares = grid.pixels
    hidden = min(max(round(masked * squares), 1), squares - 1)
    # The places of the greatest of independent numbers are a uniform choice without repetition.
    chosen = normal(seed, purpose, positions, squares).topk(hidden, dim=1).indices
    return torch.ones(len(positions), squares).scatter_(1, chosen, 0.0).reshape(-1, 1, *grid.shape)


class PretrainingTask(Task):
    """The translators of another task, each on the pictures of both domains together.

    The loss of a translator is E |T(m x) - x| over both domains, m being 0 on hidden squares (mid-grey)
    and 1 elsewhere.

    Args:
        recipe: a validated recipe with a section ``pretraining``.
        task: the task whose averaged networks are pre-trained.

    Raises:
        UserError: the domains' channels differ, or there is nothing to learn.
        ValueError: the recipe has no such section.
    """

    symbols = MappingProxyType({"generator": "G"})  # as the papers call it

    def __init__(self, recipe: CycleganRecipe, task: Task) -> None:
        if recipe.pretraining is None:
            raise ValueError("the recipe has no section pretraining")
        self.options, self.seed = recipe.pretraining, recipe.seed
        in_a, in_b = recipe.data.a.channels, recipe.data.b.channels
        if in_a != in_b:
            raise UserError(
                "pretraining: both translators learn from the pictures of both domains, which needs equal channels "
                f"(data.a.channels is {in_a}, data.b.channels is {in_b}); leave it out."
            )
        if self.options.kind == "autoencoding" and any(network.predicts_change for network in task.networks.values()):
            raise UserError(
                "pretraining.kind: with network.generator.predict: change a translator begins as the identity, so that "
                "autoencoding has nothing to teach; use inpainting, or predict: picture."
            )
        self.networks = {name: task.networks[name] for name in task.ema_of}
        self.specs = {name: task.specs[name] for name in task.ema_of}
        self.players = {"generator": task.ema_of}
        self.update_order = ((("generator",),),)
        self.ema_of = task.ema_of
        self.translators = tuple(name for name in task.ema_of if task.specs[name]["name"] not in ENCODERS)

    def _masked(self, real: Tensor, purpose: str, positions: Sequence[int], growth: Growth) -> Tensor:
        """What the translators are given of pictures.  # [N, C, R, R] -> the same"""
        if self.options.masked is None or self.options.patch is None:
            return real
        masked, patch = self.options.masked, self.options.patch
        squares = to_match(patch_masks(self.seed, purpose, positions, growth.resolution, masked, patch), real)
        return real * F.interpolate(squares, size=real.shape[-2:])

    def _restored(self, network: nn.Module, seen: Tensor, growth: Growth) -> Tensor:
        """What a translator makes of what it sees; its latents, if it has any, say nothing: they are 0."""
        size = getattr(network, "latent_size", 0)
        restored: Tensor = network(
            seen, growth.stage, growth.alpha, *([seen.new_zeros(len(seen), size)] if size else [])
        )
        return restored

    def loss(self, player: str, reals: Mapping[str, Batch], growth: Growth, step: int) -> tuple[Tensor, Stats]:
        """See :meth:`Task.loss`; the domains are ``a`` and ``b``, the player is ``generator``."""
        real = torch.cat([reals[domain].images for domain in DOMAINS])
        seen = torch.cat([self._masked(reals[d].images, f"mask/{d}", reals[d].positions, growth) for d in DOMAINS])
        stats = {
            f"{self.options.kind}/{name}": reconstruction_loss(real, self._restored(self.networks[name], seen, growth))
            for name in self.translators
        }
        return torch.stack(list(stats.values())).sum(), stats

    def panel(self, count: int, pictures: Callable[[str], Tensor]) -> dict[str, Tensor]:
        """The same pictures of both domains for the whole run."""
        return {domain: pictures(domain) for domain in DOMAINS}

    def sample(self, networks: Mapping[str, nn.Module], panel: Mapping[str, Tensor], growth: Growth) -> list[Tensor]:
        """Rows of each domain: pictures, what is seen of them (inpainting), and what each translator makes of that."""
        rows = []
        for domain in DOMAINS:
            real = panel[domain]
            seen = self._masked(real, f"mask/{domain}/panel", range(len(real)), growth)
            rows += [real] if seen is real else [real, seen]
            rows += [self._restored(networks[name], seen, growth) for name in self.translators]
        return rows

    def row_names(self) -> tuple[str, ...]:
        """Names of the rows: pictures, what is seen of them (inpainting), and the translators that restore them."""
        seen = ("seen",) if self.options.masked is not None and self.options.patch is not None else ()
        return tuple(name for domain in DOMAINS for name in (domain.upper(), *seen, *self.translators))
