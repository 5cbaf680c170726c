"""Conversion between Pillow images and tensors in [-1, 1], and the resizing and padding that translation needs."""

import math

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from progcycle.blocks import LUMINANCE, as_numbers, as_shown, to_levels
from progcycle.data import image_pixels
from progcycle.data.fit import fit_short, stage_size
from progcycle.data.pixels import as_image


def from_pil(image: Image.Image, channels: int, background: str = "white") -> Tensor:
    """A Pillow image as a tensor in [-1, 1], upright by its EXIF orientation.

    Args:
        image: a picture of 8 bits a channel, any mode; or grey of 16 bits, of which the upper 8 count.
        channels: 1 reads it as grey, 3 as RGB.
        background: colour put behind transparent pixels.

    Returns:
        The picture.  # [1, channels, H, W] float32

    Raises:
        UserError: the picture has more bits a channel, or 16-bit values of a small range.
    """
    return from_pixels(image_pixels(image, channels=channels, background=background))


def from_pixels(array: np.ndarray) -> Tensor:  # [H, W] or [H, W, C] -> [1, C, H, W] in [-1, 1]
    """Pixels in memory (uint8, uint16 or floating point) as numbers in [-1, 1]."""
    x = torch.from_numpy(np.array(array)).reshape(*array.shape[:2], -1)
    return as_numbers(x.permute(2, 0, 1)[None])


def to_pil(pictures: Tensor) -> list[Image.Image]:
    """Tensors in [-1, 1] as Pillow images of mode L or RGB; values outside are clamped.

    Args:
        pictures: [N, C, H, W]; of other than 1 or 3 channels those of :func:`progcycle.blocks.as_shown` are shown.

    Raises:
        ValueError: another shape.
    """
    if pictures.ndim != 4 or not pictures.shape[1]:
        raise ValueError(f"expected pictures of shape [N, C, H, W], got {list(pictures.shape)}")
    return [as_image(a) for a in to_uint8(as_shown(pictures))]


def shown(pixels: np.ndarray) -> Image.Image:  # [H, W, C]
    """Pixels in memory as an image of mode L or RGB, as people see them: 8 bits of the window."""
    return to_pil(from_pixels(pixels))[0]


def to_uint8(pictures: Tensor) -> np.ndarray:  # [N, C, H, W] in [-1, 1] -> [N, H, W, C] uint8
    """Numbers in [-1, 1] as the nearest grey levels 0 to 255; values outside are clamped."""
    return np.ascontiguousarray(to_levels(pictures).cpu().permute(0, 2, 3, 1).numpy())


def as_channels(pictures: Tensor, channels: int) -> Tensor:  # [N, C, H, W] -> [N, channels, H, W]
    """Grey repeated, or RGB weighted to grey (ITU-R 601, as Pillow does); equal channels are left alone.

    Other numbers of channels have nothing in common but their mean.
    """
    if pictures.shape[1] == channels:
        return pictures
    if pictures.shape[1] == 3:
        weights = pictures.new_tensor(LUMINANCE).reshape(1, 3, 1, 1)
        pictures = (pictures * weights).sum(dim=1, keepdim=True)
    elif pictures.shape[1] > 1:
        pictures = pictures.mean(dim=1, keepdim=True)
    return pictures.expand(-1, channels, -1, -1)


def pad_to_multiple(x: Tensor, multiple: int, smallest: int = 1) -> Tensor:  # [N, C, H, W] -> [N, C, H + h, W + w]
    """Pad right and below until both sides divide by ``multiple``: mirrored, or repeated where too small for that.

    Args:
        x: pictures.
        multiple: of what both sides become multiples.
        smallest: that both sides have at least; a multiple itself.
    """
    h, w = (max(smallest - side, -side % multiple) for side in x.shape[2:])
    if w:
        x = F.pad(x, (0, w, 0, 0), mode="reflect" if w < x.shape[3] else "replicate")
    if h:
        x = F.pad(x, (0, 0, 0, h), mode="reflect" if h < x.shape[2] else "replicate")
    return x


def resize(x: Tensor, height: int, width: int) -> Tensor:  # [N, C, H, W] -> [N, C, height, width]
    """Resize each side on its own: averaged by box where it shrinks, bicubic where it grows.

    It brings a network's output to the size of a picture; :func:`to_stage` does the reverse. Bicubic values may
    leave the range of the picture a little.
    """
    small_h, small_w = min(height, x.shape[2]), min(width, x.shape[3])
    x = _box(_box(x, 2, small_h), 3, small_w)
    if (height, width) != (small_h, small_w):
        x = F.interpolate(x, (height, width), mode="bicubic", align_corners=False)
    return x


def _box(x: Tensor, dim: int, new: int) -> Tensor:
    """One side reduced: every new pixel averages the old ones that it covers, each by its covered share."""
    old = x.shape[dim]
    if new == old:
        return x
    # By numpy: not every accelerator has float64. In so many places, since a matrix of all would grow by their product.
    edges = np.arange(new + 1) * (old / new)
    pixels = np.floor(edges[:-1, None]).astype(np.int64) + np.arange(math.ceil(old / new) + 1)  # [new, covered at most]
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares = torch.from_numpy((covered.clip(min=0) * (new / old)).astype(np.float32)).to(x)
    places = torch.from_numpy(pixels.clip(max=old - 1)).to(x.device)
    parts = x.index_select(dim, places.flatten()).reshape(*x.shape[:dim], *places.shape, *x.shape[dim + 1 :])
    averages: Tensor = (parts * (shares[:, :, None] if dim == 2 else shares)).sum(dim=dim + 1)
    return averages


def to_stage(x: Tensor, resolution: int, final: int, deep: bool = False) -> Tensor:  # [N, C, H, W] -> [N, C, h, w]
    """Bring pictures to a stage's scale just as training reads its own, in 256 grey levels and by Pillow's filters.

    Args:
        x: pictures in [-1, 1].
        resolution: of the stage.
        final: resolution of the recipe, which training fits pictures to before it reduces them to a stage.
        deep: whether training reads pictures of more than 8 bits, so that no level is rounded.

    Returns:
        Pictures in [-1, 1], on the device of ``x``.
    """
    if final == resolution and stage_size(x.shape[2], x.shape[3], resolution) == x.shape[2:]:
        return x
    pixels = x.float().clamp(-1, 1).cpu().permute(0, 2, 3, 1).numpy() if deep else to_uint8(x)
    return torch.cat([from_pixels(fit_short(picture, resolution, final)) for picture in pixels]).to(x)
