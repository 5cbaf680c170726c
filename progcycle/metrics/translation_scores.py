"""Scores of single translations: what they keep of their source, only copy, or hide."""

from torch import Tensor
from torch.nn import functional as F


def feature_distance(x: Tensor, y: Tensor) -> Tensor:
    """Cosine distance of features, row by row: 0 for equal directions, 1 for right angles.

    Args:
        x: features.  # [N, D]
        y: features.  # [N, D]

    Returns:
        Distances, on the CPU.  # [N] float64
    """
    x, y = x.cpu().double(), y.cpu().double()  # not every accelerator has float64
    return (1 - F.cosine_similarity(x, y, dim=1)).clamp(min=0)  # rounding may go below


def copy_score(output: Tensor, source: Tensor, truth: Tensor) -> float | None:
    """How close a translation is to doing nothing: 1 - |output - source| / |truth - source|, L1 over all pictures.

    1 for a copy of the source, 0 for one that is as far from the source as the truth is, below 0 for one that changes
    more. It does not measure whether the change is right.

    Args:
        output: translations.  # [N, C, H, W]
        source: pictures that were translated.  # [N, C, H, W]
        truth: their true pairs.  # [N, C, H, W]

    Returns:
        The score, or None if source and truth are equal.
    """
    away, wanted = (float((x.cpu().double() - source.cpu().double()).abs().mean()) for x in (output, truth))
    return 1 - away / wanted if wanted > 0 else None


def hidden_signal(cycle: float, disturbed: float, disturbance: float) -> float:
    """How far an invisible disturbance spoils the way back: error after / (error before + size of disturbance).

    All are mean absolute differences. 1 or less, by the triangle inequality, where the way back makes no difference
    between two pictures larger than it was. Far above 1, it reads the source from what the translation hides (Chu
    et al. 2017).

    Args:
        cycle: between the source and its translation there and back.
        disturbed: the same with the translation disturbed.
        disturbance: between the translation and the disturbed one.
    """
    return disturbed / (cycle + disturbance) if cycle + disturbance > 0 else 0.0
