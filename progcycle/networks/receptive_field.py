"""How far a pixel of a picture reaches in a network, found out from the network itself.

NaN spreads to whatever is computed from it, through weights of zero too. So the places of the output that a block of
NaN pixels turns into NaN are those that depend on it: the receptive field, as all layers, paths and enlargements of
the network make it. What normalises by the whole picture, such as instance norm, spreads NaN everywhere.
"""

from collections.abc import Callable

import torch
from torch import Tensor

MOST_REACH = 1024  # pixels; what reaches further is not told from what depends on the whole picture
FIRST_HALF = 64


@torch.no_grad()
def measure_reach(
    network: Callable[[Tensor], Tensor], like: Tensor, multiple: int = 1, smallest: int = 1, most: int = MOST_REACH
) -> int | None:
    """How many pixels away a picture can change what a network makes of a pixel, up, down, left or right.

    A part of a picture that begins at a multiple of ``multiple`` gives the same as in the whole picture, but for a
    border of this width where the part is cut off.

    Args:
        network: pictures in, pictures of the same size out.  # [1, C, H, W] -> [1, C', H, W]
        like: a picture's pixel, for its channels, type and device.  # [1, C, 1, 1]
        multiple: what the sides of its pictures are multiples of.
        smallest: least pixels of a side that it works on.
        most: the furthest that is looked for.

    Returns:
        Pixels, a multiple of ``multiple``; None if it reaches further than ``most``.
    """
    reach = 0
    for axis in (2, 3):
        found = _reach_along(axis, network, like, multiple, smallest, most)
        if found is None:
            return None
        reach = max(reach, found)
    return reach


def _reach_along(
    axis: int, network: Callable[[Tensor], Tensor], like: Tensor, multiple: int, smallest: int, most: int
) -> int | None:
    """In a strip along one axis, whose middle is NaN.

    It is doubled until its ends are not NaN, and once more: a dilated convolution may leave out what is in between.
    """
    blocks, before = -(-max(FIRST_HALF, smallest) // multiple), None
    while True:
        half = blocks * multiple
        shape = [1, like.shape[1], *[-(-smallest // multiple) * multiple] * 2]
        shape[axis] = 2 * half + multiple
        x = like.new_zeros(shape)
        x.narrow(axis, half, multiple).fill_(torch.nan)
        with torch.backends.cudnn.flags(enabled=False):  # fast algorithms of cuDNN spread it over blocks of theirs
            reached = network(x).isnan().any(dim=1)[0].any(dim=3 - axis).nonzero()
        first, last = (int(reached[0]), int(reached[-1])) if len(reached) else (half, half)
        found = None
        if first > 0 and last < shape[axis] - 1:
            far = max(half - first, last - (half + multiple - 1), 0)
            found = -(-far // multiple) * multiple
        if half >= most or (found is not None and found == before):
            return found
        before, blocks = found, min(2 * blocks, -(-most // multiple))
