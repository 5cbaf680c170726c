"""A network's work on a large picture, tile by tile, in memory that does not grow with the picture's height.

Where what a network makes of a pixel depends on a neighbourhood that fits into a tile, tiles overlap by that
neighbourhood, and what is kept of them is what the whole picture would give. Else they overlap by a part of their side
and are blended there, and how much they differ in the overlap is measured.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from progcycle.blocks.levels import max_level
from progcycle.blocks.widest import widest
from progcycle.errors import UserError

SIDE, MOST_SIDE = 1024, 2048  # pixels of a side of a tile
KEPT = 4  # a tile keeps a quarter of its side at least, when the rest is what the network sees around it
OVERLAP = 4  # a quarter of the side, where neighbours are blended

Region = Callable[[int, int, int, int], Tensor]
"""The part of pictures from a first row to below a last, and from a first column to before a last.  # [N, C, h, w]"""


@dataclass
class Seams:
    """How much neighbouring tiles differ where they overlap, in levels of 8 bits.

    Attributes:
        greatest: difference of a pixel.
    """

    greatest: float = 0.0
    _sum: float = field(default=0.0, repr=False)
    _count: int = field(default=0, repr=False)

    def add(self, one: Tensor, other: Tensor) -> None:
        """Compare what two tiles make of the same pixels."""
        difference = (one - other).abs()
        self.greatest = max(self.greatest, float(difference.max()) * max_level() / 2)
        self._sum += float(widest(difference).sum()) * max_level() / 2
        self._count += difference.numel()

    @property
    def compared(self) -> bool:
        """Whether there were any."""
        return self._count > 0

    @property
    def mean(self) -> float:
        """Mean absolute difference."""
        return self._sum / max(1, self._count)


@dataclass(frozen=True)
class Tiling:
    """How a picture is cut into tiles.

    Attributes:
        side: pixels of a side of what the network sees at a time, at most.
        margin: pixels by which a tile goes beyond what is kept of it, or to the end of what is blended.
        multiple: of which all places of tiles are multiples.
        exact: whether what is kept of a tile is what the whole picture would give; else neighbours are blended.
        full: whether the network wants all of ``side``, as one that was trained on that size only.
    """

    side: int
    margin: int
    multiple: int = 1
    exact: bool = True
    full: bool = False

    @classmethod
    def choose(
        cls, reach: int | None, multiple: int, *, side: int | None = None, overlap: int | None = None, fixed: int = 0
    ) -> "Tiling":
        """The tiles that suit a network.

        Args:
            reach: its receptive field to one side, see :meth:`progcycle.networks.Network.reach`; None: the picture.
            multiple: what the sides of its pictures are multiples of.
            side: pixels of a side of a tile; default: 1024, and up to 2048 where the reach asks for it.
            overlap: pixels by which neighbours overlap; default: twice the reach, or a quarter of the side.
            fixed: the side of a network that was trained on one size only, else 0.

        Raises:
            UserError: the tiles are too small for the network or for the overlap.
        """
        given = side
        if side is None:
            side = fixed or min(max(SIDE, 2 * KEPT * (reach or 0) // (KEPT - 2)), MOST_SIDE)
        side = side // multiple * multiple
        least = max(6 * multiple, 16)
        if side < least:
            raise UserError(f"Tiles of {given} px are too small for this network; give {least} px or more.")
        if overlap is None:
            margin, exact = reach or 0, reach is not None and 2 * reach <= side - side // KEPT
            if not exact:
                margin = side // OVERLAP // 2 // multiple * multiple
        else:
            margin = -(-overlap // 2 // multiple) * multiple
            exact = reach is not None and margin >= reach
            if not exact and 6 * margin + 2 * multiple > side:
                raise UserError(
                    f"An overlap of {overlap} px is too much for tiles of {side} px, of which a third may overlap; "
                    f"give --tiles {6 * margin + 2 * multiple} or more, or a smaller --overlap."
                )
        if side - 2 * margin < multiple:
            raise UserError(
                f"An overlap of {overlap} px leaves nothing of tiles of {side} px; give --tiles "
                f"{2 * margin + multiple} or more, or a smaller --overlap."
            )
        return cls(side, margin, multiple, exact, bool(fixed))

    def cores(self, length: int) -> list[tuple[int, int]]:
        """Where what is kept of each tile begins and ends, along a side of so many pixels."""
        places, inner = -(-length // self.multiple), (self.side - 2 * self.margin) // self.multiple
        count = 1 if length <= self.side else -(-places // inner)
        edges = [self.multiple * (i * places // count) for i in range(count)]
        return list(itertools.pairwise([*edges, length]))

    def count(self, height: int, width: int) -> int:
        """How many tiles a picture has."""
        return len(self.cores(height)) * len(self.cores(width))

    def strips(
        self, region: Region, height: int, width: int, network: Callable[[Tensor], Tensor], seams: Seams
    ) -> Iterator[Tensor]:
        """What a network makes of pictures, in strips of full width from top to bottom.

        Args:
            region: gives the pictures.
            height: of the pictures.
            width: of the pictures.
            network: pictures in, pictures out.  # [N, C, h, w] -> [N, C', h, w]
            seams: gets the differences of blended tiles.

        Yields:
            Rows that follow each other, on the CPU.  # [N, C', h, width]
        """
        blended = 0 if self.exact else self.margin
        carried: Tensor | None = None
        for core in self.cores(height):
            top, bottom = max(core[0] - blended, 0), min(core[1] + blended, height)
            band = self._band(region, core, (top, bottom), (height, width), network, seams)
            if carried is not None:
                _blend(carried, band[:, :, : 2 * blended], band[:, :, : 2 * blended], 2, seams)
            if blended and core[1] < height:
                carried = band[:, :, -2 * blended :].clone()
                band = band[:, :, : -2 * blended]
            yield band
            del band  # before the next one is made

    def _band(
        self,
        region: Region,
        core: tuple[int, int],
        kept: tuple[int, int],
        size: tuple[int, int],
        network: Callable[[Tensor], Tensor],
        seams: Seams,
    ) -> Tensor:
        """A row of tiles, blended from left to right: the rows of ``kept``."""
        (height, width), blended, band = size, 0 if self.exact else self.margin, None
        top, bottom = self._window(core, height)
        for first, last in self.cores(width):
            left, right = self._window((first, last), width)
            made = network(region(top, bottom, left, right)).cpu()
            start, end = max(first - blended, 0), min(last + blended, width)
            made = made[:, :, kept[0] - top : kept[1] - top, start - left : end - left]
            if band is None:
                band = made.new_empty(*made.shape[:2], kept[1] - kept[0], width)
            if blended and first > 0:
                seam = slice(start, start + 2 * blended)
                _blend(band[..., seam].clone(), made[..., : 2 * blended], band[..., seam], 3, seams)
                start, made = start + 2 * blended, made[..., 2 * blended :]
            band[..., start:end] = made
        assert band is not None
        return band

    def _window(self, core: tuple[int, int], length: int) -> tuple[int, int]:
        """What the network sees of a side, to make a tile."""
        first, last = max(core[0] - self.margin, 0), min(core[1] + self.margin, length)
        if self.full and last - first < self.side:
            first = max(0, min(first, length - self.side))
            last = min(length, first + self.side)
        return first, last


def _blend(before: Tensor, after: Tensor, into: Tensor, axis: int, seams: Seams) -> None:
    """From one tile to the next along an axis: the share of the second grows from 0 to 1."""
    seams.add(before, after)
    length = before.shape[axis]
    share = (torch.arange(length, dtype=before.dtype) + 0.5) / length
    shape = [1, 1, 1, 1]
    shape[axis] = length
    into.copy_(torch.lerp(before, after, share.reshape(shape).expand_as(before)))
