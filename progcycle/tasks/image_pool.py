"""A pool of earlier fakes, shown to a discriminator again (Shrivastava et al. 2017; Zhu et al. 2017, section 4)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from progcycle.rng import generator_at


class ImagePool:
    """Keeps up to ``size`` fakes and hands back a mixture of new and earlier ones.

    While it fills, new fakes are stored and returned. When it is full, every new fake is returned itself with
    probability 1/2; otherwise it takes the place of a random earlier one, which is returned. What happens to a fake is
    a function of (seed, name, its position), not of a stream of random numbers.

    Args:
        size: pictures kept; 0 returns every fake as it comes.
        seed: seed of the run.
        name: domain of the pictures, part of the random address.
    """

    def __init__(self, size: int, seed: int, name: str) -> None:
        self.size, self.seed, self.name = size, seed, name
        self.pictures: list[Tensor] = []

    def query(self, fakes: Tensor, positions: Sequence[int]) -> Tensor:
        """Exchange fakes.

        Args:
            fakes: new fakes, without history.  # [N, C, H, W]
            positions: global sample index of each row.

        Returns:
            Fakes, new or earlier.  # [N, C, H, W]
        """
        if not self.size:
            return fakes
        out = []
        for fake, position in zip(fakes, positions, strict=True):
            if len(self.pictures) < self.size:
                self.pictures.append(fake.clone())
                out.append(fake)
                continue
            rng = generator_at(self.seed, f"pool/{self.name}", position)
            if rng.random() < 0.5:
                out.append(fake)
            else:
                index = int(rng.integers(self.size))
                out.append(self.pictures[index])
                self.pictures[index] = fake.clone()
        return torch.stack(out).contiguous(memory_format=torch.channels_last)

    def clear(self) -> None:
        """Empty the pool, as when the resolution changes."""
        self.pictures = []

    def state_dict(self) -> dict[str, Tensor]:
        """The pictures, oldest place first; nothing if the pool is empty.  # pictures [n, C, H, W]"""
        return {"pictures": torch.stack(self.pictures)} if self.pictures else {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what :meth:`state_dict` gave."""
        self.pictures = [picture.clone() for picture in state["pictures"]] if "pictures" in state else []
