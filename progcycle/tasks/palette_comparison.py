"""The palette loss in training: fakes and real pictures are ranked with earlier ones, since batches are small."""

from collections.abc import Sequence

import torch
from torch import Tensor

from progcycle.blocks import downsample2x
from progcycle.objectives import palette_loss
from progcycle.rng import normal
from progcycle.tasks.base import to_match
from progcycle.tasks.feature_queue import FeatureQueues

SIDE = 16  # pixels per side that pictures are reduced to, if they are larger and halves are whole
DIRECTIONS = 16  # random directions of colours that a batch is compared along


class PaletteComparison(FeatureQueues):
    """Compares the colours of one domain's fakes with those of its real pictures, see :func:`palette_loss`.

    The queues hold pictures, reduced as they are compared.

    Args:
        queue: earlier pictures of each kind that a batch is ranked with.
        seed: of the run.
        domain: part of the random address of the directions.
    """

    def __init__(self, queue: int, seed: int, domain: str) -> None:
        super().__init__(queue)
        self.seed, self.domain = seed, domain

    def loss(self, real: Tensor, fake: Tensor, positions: Sequence[int]) -> Tensor:
        """The palette loss of a batch, which the queues take in then.

        Args:
            real: real pictures.  # [N, C, H, W]
            fake: as many fakes.  # [N, C, H, W]
            positions: of the pictures that fakes were made from.
        """
        while max(real.shape[2:]) > SIDE and all(side % 2 == 0 for side in real.shape[2:]):
            real, fake = downsample2x(real), downsample2x(fake)
        directions = normal(self.seed, f"palette/{self.domain}", positions[:1], DIRECTIONS * real.shape[1])
        directions = to_match(directions, real).reshape(DIRECTIONS, -1)
        directions = directions / directions.norm(dim=1, keepdim=True)
        earlier_real, earlier_fake = (self.queues[kind].features for kind in ("real", "fake"))
        reals = real if earlier_real is None else torch.cat([real, earlier_real.to(real)])
        loss = palette_loss(fake, earlier_fake, reals, directions)
        if self.size:
            self.store(real=real, fake=fake)
        return loss
