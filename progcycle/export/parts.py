"""Pictures that translation sees in parts: in memory as tensors or arrays, or in a file."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from progcycle.data.fit import fit_short, fit_short_by_bands
from progcycle.export.spool import Spool
from progcycle.export.tensor_images import from_pixels, to_stage
from progcycle.resolution import Resolution


class Parts(Protocol):
    """Pictures of one size.

    Attributes:
        count: how many.
        height: of each.
        width: of each.
    """

    count: int
    height: int
    width: int

    def region(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """Rows ``top`` to below ``bottom``, columns ``left`` to before ``right``, in [-1, 1].  # [N, C, h, w]"""

    def small(self, resolution: int, final: int) -> Tensor:
        """The short side brought to ``resolution``, as :func:`progcycle.data.fit.fit_short` does.  # [N, C, h, w]"""


class TensorParts:
    """Pictures in [-1, 1].

    Args:
        x: the pictures.  # [N, C, H, W]
        deep: whether training reads pictures of more than 8 bits.
    """

    def __init__(self, x: Tensor, deep: bool) -> None:
        self.x, self.deep = x, deep
        self.count, _, self.height, self.width = x.shape

    def region(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """See :class:`Parts`."""
        return self.x[:, :, top:bottom, left:right]

    def small(self, resolution: int, final: int) -> Tensor:
        """See :class:`Parts`."""
        return to_stage(self.x, resolution, final, self.deep)


class PixelParts:
    """A picture of pixels in memory or in a file.

    Args:
        pixels: of the picture.  # [H, W, C], or a spool of this
        device: where its parts are wanted.
        reduced: what training reads of it, if that is not the picture itself
            (:func:`progcycle.data.decode_reduced`).  # [h, w, C]
    """

    count = 1

    def __init__(self, pixels: np.ndarray | Spool, device: torch.device, reduced: np.ndarray | None = None) -> None:
        self.pixels, self.device, self.reduced = pixels, device, reduced
        self.height, self.width = pixels.shape[:2] if isinstance(pixels, np.ndarray) else (pixels.height, pixels.width)

    def region(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """See :class:`Parts`."""
        pixels = self.pixels
        part = pixels.read(top, bottom, left, right) if isinstance(pixels, Spool) else pixels[top:bottom, left:right]
        return from_pixels(part).to(self.device)

    def small(self, resolution: int, final: int) -> Tensor:
        """See :class:`Parts`."""
        reduced = (
            self.reduced
            if self.reduced is not None and min(self.reduced.shape[:2]) >= 2 * Resolution.of(final).longer
            else None
        )
        if reduced is None and isinstance(self.pixels, Spool):
            small = fit_short_by_bands(self.pixels.read, self.height, self.width, resolution, final)
        else:
            small = fit_short(self.pixels if reduced is None else reduced, resolution, final)  # type: ignore[arg-type]
        return from_pixels(small).to(self.device)
