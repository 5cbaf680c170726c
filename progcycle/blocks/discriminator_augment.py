"""Augmentation of what a discriminator sees: DiffAugment (Zhao et al. 2020) and operations of ADA (Karras et al. 2020).

Everything here takes pictures in [-1, 1] with random numbers as an argument, row i for picture i, so that nothing is
random and no picture depends on its neighbours. All is differentiable twice: pixels are picked by index, because the
backward of ``grid_sample`` is not. Nothing clamps, and nothing waits for the device.
"""

import math
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from progcycle.blocks.autocast import in_full_precision

# Random numbers that each operation owns, the same whichever others are wanted. The first says whether it is applied
# (the first two of the two rotations). Only ever append here: the places of the earlier ones are part of a run.
NUMBERS = {
    "color": 4, "translation": 3, "cutout": 3,
    "flip": 2, "rotate90": 2, "scale": 2, "rotate": 4, "aspect": 2, "hue": 2,
}  # fmt: skip
TOTAL = sum(NUMBERS.values())


def augment(x: Tensor, numbers: Tensor, probability: Tensor | float, policy: Collection[str]) -> Tensor:
    """Apply each operation of a policy to each picture with some probability, independently.

    The order is always flip, rotate90, scale with rotate and aspect (one resampling for the three), hue, color,
    translation, cutout. A picture for which nothing is drawn comes back bit for bit. Computed in float32 at least.

    Args:
        x: pictures in [-1, 1]; square ones with ``rotate90``.  # [N, C, H, W]
        numbers: uniform in [0, 1), in float32 or float64.  # [N, TOTAL]
        probability: 0 to 1, a number or a tensor without dimensions.
        policy: names of ``NUMBERS``.

    Returns:
        Pictures of the same shape and type.  # [N, C, H, W]

    Raises:
        ValueError: the pictures are not square with ``rotate90``, the numbers do not fit, or a name is unknown.
    """
    if x.shape[2] != x.shape[3] and "rotate90" in policy:
        raise ValueError(f"rotate90 needs square pictures, not {x.shape[3]} x {x.shape[2]} px")
    if numbers.shape != (len(x), TOTAL):
        raise ValueError(f"{len(x)} pictures need numbers of shape {(len(x), TOTAL)}, not {tuple(numbers.shape)}")
    if unknown := set(policy) - NUMBERS.keys():
        raise ValueError(f"there is no operation {min(unknown)!r}; there are {', '.join(NUMBERS)}")
    own = dict(zip(NUMBERS, torch.split(numbers, list(NUMBERS.values()), dim=1), strict=True))
    return in_full_precision(lambda y: _augment(y, own, probability, policy), x).to(x.dtype)


def _augment(x: Tensor, own: dict[str, Tensor], p: Tensor | float, policy: Collection[str]) -> Tensor:
    for name in ("flip", "rotate90", "warp", "hue", "color", "translation", "cutout"):
        if name == "warp":
            x = _warped(x, own, p, policy)
        elif name in policy:
            applied = (own[name][:, 0] < p)[:, None, None, None]
            x = torch.where(applied, OPERATIONS[name](x, own[name][:, 1:]), x)
    return x


# --- pixels change places, nothing else ---------------------------------------------------------------------------


def flip(x: Tensor, u: Tensor) -> Tensor:
    """Left and right change places where u >= 1/2 (ADA, appendix B: one of both ways, each as likely).

    Args:
        x: pictures.  # [N, C, H, W]
        u: uniform in [0, 1).  # [N, 1]
    """
    return torch.where(u[:, :, None, None] < 0.5, x, x.flip(3))


def rotate90(x: Tensor, u: Tensor) -> Tensor:
    """Quarter turns to the left, floor(4 u) of them (ADA, appendix B).

    Args:
        x: square pictures.  # [N, C, S, S]
        u: uniform in [0, 1).  # [N, 1]
    """
    u = u[:, :, None, None]
    half = torch.where(u < 0.5, x, x.flip((2, 3)))
    return torch.where((4 * u).floor() % 2 == 0, half, half.rot90(1, (2, 3)))


def translation(x: Tensor, u: Tensor) -> Tensor:
    """Shift by up to 1/8 of each side in whole pixels, 0 (grey) where nothing was (DiffAugment).

    Args:
        x: pictures.  # [N, C, H, W]
        u: uniform in [0, 1), for down and for right.  # [N, 2]
    """
    most = [_share(side, 0.125) for side in x.shape[2:]]
    down, right = (_whole(u[:, i, None], 2 * m + 1) - m for i, m in enumerate(most))
    rows, columns = _places(x)
    ys, xs = (rows - down).long(), (columns - right).long()
    there = (ys >= 0) & (ys < x.shape[2]) & (xs >= 0) & (xs < x.shape[3])
    return torch.where(there[:, None], _pick(x, ys, xs), 0).reshape(x.shape)


def cutout(x: Tensor, u: Tensor) -> Tensor:
    """A rectangle of half of each side is 0 (grey), its middle anywhere in the picture (DiffAugment).

    Args:
        x: pictures.  # [N, C, H, W]
        u: uniform in [0, 1), for the place from above and from the left.  # [N, 2]
    """
    inside = []
    for i, side in enumerate(x.shape[2:]):
        size = _share(side, 0.5)
        first = _whole(u[:, i, None], side + 1 - size % 2) - size // 2
        place = torch.arange(side, device=x.device)
        inside.append((place >= first) & (place < first + size))  # [N, side]
    return torch.where((inside[0][:, :, None] & inside[1][:, None, :])[:, None], 0, x)


def _share(side: int, share: float) -> int:
    return int(side * share + 0.5)


def _whole(u: Tensor, count: int) -> Tensor:
    """One of 0 to count - 1, each as likely; u just below 1 may round up in the product."""
    return (u * count).floor().clamp(max=count - 1)


# --- colours ------------------------------------------------------------------------------------------------------


def color(x: Tensor, u: Tensor) -> Tensor:
    """Brightness, saturation, contrast (DiffAugment); saturation leaves pictures of one channel as they are.

    x + b with b in [-1/2, 1/2); then away from each pixel's mean over its channels by a factor in [0, 2); then away
    from the picture's mean by a factor in [1/2, 3/2). The values may leave [-1, 1].

    Args:
        x: pictures.  # [N, C, H, W]
        u: uniform in [0, 1), for the three.  # [N, 3]
    """
    brightness, saturation, contrast = u[:, :, None, None, None].unbind(1)  # each [N, 1, 1, 1]
    x = x + (brightness - 0.5)
    if x.shape[1] > 1:
        grey = x.mean(1, keepdim=True)
        x = grey + 2 * saturation * (x - grey)
    mean = x.mean((1, 2, 3), keepdim=True)
    return mean + (contrast + 0.5) * (x - mean)


def hue(x: Tensor, u: Tensor) -> Tensor:
    """Colours turn around the axis of greys by any angle (ADA, appendix B); one channel stays as it is.

    Args:
        x: pictures.  # [N, 1 or 3, H, W]
        u: uniform in [0, 1).  # [N, 1]
    """
    if x.shape[1] == 1:
        return x
    angle = (math.tau * (u - 0.5))[:, :, None, None]
    # Rodrigues: x cos + (v cross x) sin + v (v . x) (1 - cos), with v = (1, 1, 1) / sqrt(3).
    cross = (x.roll(1, 1) - x.roll(-1, 1)) / math.sqrt(3)
    grey = x.mean(1, keepdim=True)
    return grey + angle.cos() * (x - grey) + angle.sin() * cross


# --- one resampling -----------------------------------------------------------------------------------------------


def warp(x: Tensor, inverse: Tensor) -> Tensor:
    """Pictures under linear maps around their middle, bilinear, reflected at the edges as often as needed.

    As in ``reflect`` padding the outermost pixels are not repeated. There is no filter against aliasing, which ADA has:
    the scales here are near 1.

    Args:
        x: pictures.  # [N, C, H, W]
        inverse: from places in the result to places in x, (right, down) from the middle.  # [N, 2, 2]
    """
    height, width = x.shape[2:]
    middle = (height - 1) / 2, (width - 1) / 2
    rows, columns = _places(x)
    down, right = rows - middle[0], columns - middle[1]
    # Written out: a matrix product may be rounded to TF32, which would move pixels.
    m = inverse[:, :, :, None]
    xs = m[:, 0, 0] * right + m[:, 0, 1] * down + middle[1]  # [N, H W]
    ys = m[:, 1, 0] * right + m[:, 1, 1] * down + middle[0]
    left, top = xs.floor(), ys.floor()
    by_x, by_y = (xs - left)[:, None], (ys - top)[:, None]
    x0, x1 = _reflected(left.long(), width), _reflected(left.long() + 1, width)
    y0, y1 = _reflected(top.long(), height), _reflected(top.long() + 1, height)
    upper = (1 - by_x) * _pick(x, y0, x0) + by_x * _pick(x, y0, x1)
    lower = (1 - by_x) * _pick(x, y1, x0) + by_x * _pick(x, y1, x1)
    return ((1 - by_y) * upper + by_y * lower).reshape(x.shape)


def linear_map(
    own: dict[str, Tensor], probability: Tensor | float, policy: Collection[str]
) -> tuple[Tensor, Tensor]:  # [N, 2, 2], [N]
    """What scale, rotate and aspect together do, as :func:`warp` wants it, and to which pictures they do anything.

    ADA, appendix B: scale by 2^(0.2 n); turn by any angle; stretch right by 2^(0.2 n) and shrink down by it; turn by
    any angle again, n standard normal. Each of the two turns has probability 1 - sqrt(1 - p), so that p is that of any.

    Args:
        own: the numbers of ``scale``, ``rotate`` and ``aspect``, see ``NUMBERS``.  # each [N, 2 or 4], uniform
        probability: 0 to 1.
        policy: which of the three; others are passed over.
    """
    p = torch.as_tensor(probability, dtype=own["scale"].dtype, device=own["scale"].device)
    once = 1 - (1 - p).sqrt()
    scale, stretch, turns = own["scale"], own["aspect"], own["rotate"]
    steps = [
        ("scale", scale[:, 0] < p, _stretching(scale[:, 1], equal=True)),
        ("rotate", turns[:, 0] < once, _turning(turns[:, 2])),
        ("aspect", stretch[:, 0] < p, _stretching(stretch[:, 1], equal=False)),
        ("rotate", turns[:, 1] < once, _turning(turns[:, 3])),
    ]
    matrix = torch.eye(2, dtype=p.dtype, device=p.device).expand(len(scale), 2, 2)
    applied = torch.zeros_like(scale[:, 0], dtype=torch.bool)
    for name, drawn, step in steps:
        if name in policy:
            product = (matrix[:, :, :, None] * step[:, None]).sum(2)  # (B A)^-1 = A^-1 B^-1
            matrix = torch.where(drawn[:, None, None], product, matrix)
            applied = applied | drawn
    return matrix, applied


def _warped(x: Tensor, own: dict[str, Tensor], p: Tensor | float, policy: Collection[str]) -> Tensor:
    if not {"scale", "rotate", "aspect"} & set(policy):
        return x
    matrix, applied = linear_map(own, p, policy)
    return torch.where(applied[:, None, None, None], warp(x, matrix), x)


def _stretching(u: Tensor, equal: bool) -> Tensor:  # [N] -> [N, 2, 2]
    """The inverse of a scaling by 2^(0.2 n), or of a stretching by that to the right and a shrinking down."""
    smallest = 2.0**-24  # of 1 - u in float32: the normal stays finite
    normal = torch.special.ndtri(u.clamp(smallest, 1 - smallest))
    right = torch.exp2(-0.2 * normal)
    return torch.diag_embed(torch.stack([right, right if equal else 1 / right], dim=1))


def _turning(u: Tensor) -> Tensor:  # [N] -> [N, 2, 2]
    angle = math.tau * (u - 0.5)
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([cos, -sin, sin, cos], dim=1).view(-1, 2, 2)


# --- places of pixels ---------------------------------------------------------------------------------------------


def _places(x: Tensor) -> tuple[Tensor, Tensor]:  # each [H W]
    """Row and column of every pixel, as numbers."""
    height, width = x.shape[2:]
    place = torch.arange(height * width, device=x.device)
    return place.div(width, rounding_mode="floor").to(x.dtype), (place % width).to(x.dtype)


def _pick(x: Tensor, ys: Tensor, xs: Tensor) -> Tensor:  # [N, C, H, W], twice [N, H W] -> [N, C, H W]
    """Pixels by row and column; those outside are some others."""
    height, width = x.shape[2:]
    place = ys.clamp(0, height - 1) * width + xs.clamp(0, width - 1)
    return x.flatten(2).gather(2, place[:, None].expand(-1, x.shape[1], -1))


def _reflected(place: Tensor, side: int) -> Tensor:
    """Positions anywhere on the line, folded into 0 to side - 1: ..., 2, 1, 0, 1, ..., side - 1, side - 2, ..."""
    return side - 1 - (place % (2 * side - 2) - (side - 1)).abs()


OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "flip": flip, "rotate90": rotate90, "hue": hue, "color": color, "translation": translation, "cutout": cutout,
}  # fmt: skip
