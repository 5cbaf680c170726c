"""Sets of pictures that metrics read batch by batch, as often as they need."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from progcycle.blocks import as_shown
from progcycle.resolution import Resolution

PictureBatches = Callable[[], Iterable[Tensor]]
"""Each call gives the same pictures in the same order, in batches of any size.

Pictures are grey levels from 0 to 255, uint8 or floating point.  # [N, C, H, W]
Of other than 1 or 3 channels those are compared that people are shown, see :func:`progcycle.blocks.as_shown`.
"""

CHUNK = 1 << 22  # numbers worked on at a time: enough to keep a processor busy, and little compared to what is kept


def batches_of(pictures: Tensor, batch_size: int = 64) -> PictureBatches:
    """Batches of pictures that are in memory.

    Args:
        pictures: grey levels from 0 to 255.  # [N, 1 or 3, H, W]
        batch_size: pictures of a batch.
    """
    return lambda: torch.split(pictures, batch_size)


def rebatch(source: PictureBatches, count: int, resolution: int, device: torch.device) -> Iterator[Tensor]:
    """The first ``count`` pictures in chunks of a size that suits the work, an even number but for the last.

    The chunks do not depend on the size of the batches, and so no metric does.

    Args:
        source: gives at least ``count`` pictures; no more batches than needed are read.
        count: how many are wanted.
        resolution: that they must have.
        device: where they go.

    Yields:
        Pictures.  # [n, 1 or 3, H, W] float32

    Raises:
        ValueError: pictures of another shape or type, or too few of them.
    """
    wanted = Resolution.of(resolution)
    size = max(CHUNK // (6 * wanted.pixels), 1) * 2
    seen, rest = 0, None
    for batch in source():
        if batch.ndim != 4 or not batch.shape[1] or batch.shape[2:] != wanted.shape:
            raise ValueError(f"expected pictures [N, C, {wanted.height}, {wanted.width}], got {list(batch.shape)}")
        if batch.dtype != torch.uint8 and not batch.is_floating_point():
            raise ValueError(f"expected grey levels as uint8 or floating point numbers, got {batch.dtype}")
        batch = as_shown(batch[: count - seen])
        seen += len(batch)
        rest = batch if rest is None else torch.cat([rest, batch])
        while len(rest) >= size or (seen == count and len(rest)):
            yield rest[:size].to(device).float()
            rest = rest[size:]
        if seen == count:
            return
    raise ValueError(f"the source gave {seen} pictures, but {count} are wanted")
