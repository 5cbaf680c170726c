"""The correlation of colours before and after translation, which is negative where colours are inverted."""

from torch import Tensor
from torch.nn import functional as F

COARSE = 8  # pixels of a side at which colours are compared, so that shapes may change


def colour_inversion(source: Tensor, output: Tensor) -> float:
    """Minus the correlation of colours before and after: 1 for a photographic negative, -1 for the source itself.

    Both are averaged to at most 8 px of a side, and every channel is taken around its mean over the set.

    Args:
        source: pictures before.  # [N, C, H, W]
        output: pictures after, in the same order.  # [N, C, H, W]

    Returns:
        From -1 to 1; 0 if a side has one colour only.

    Raises:
        ValueError: the shapes differ.
    """
    if source.shape != output.shape:
        raise ValueError(f"expected two equal shapes, got {list(source.shape)} and {list(output.shape)}")
    x, y = _coarse(source), _coarse(output)
    spread = (x.square().sum() * y.square().sum()).sqrt()
    return -float((x * y).sum() / spread) if spread > 1e-9 * x.numel() else 0.0


def _coarse(pictures: Tensor) -> Tensor:
    height, width = pictures.shape[2:]
    small = F.adaptive_avg_pool2d(pictures.cpu().double(), (min(COARSE, height), min(COARSE, width)))
    return small - small.mean(dim=(0, 2, 3), keepdim=True)
