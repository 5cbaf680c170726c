"""Options that every evaluation has."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluationOptions:
    """What to measure, and how.

    Attributes:
        metrics: names of the metrics; default: those that can be measured.
        inception: weights file of the Inception network for features, instead of EfficientNet-lite0. Then fid and is
            are measured by default too.
        seed: of latents, of noise, of the order of pictures, and of the metrics' own choices.
        batch_size: pictures generated, translated or read at a time.
        memory_gb: what the sliced Wasserstein distance may use.
        device: where to compute.
    """

    metrics: Sequence[str] | None = None
    inception: str | None = None
    seed: int = 0
    batch_size: int = 16
    memory_gb: float = 4.0
    device: str = "cpu"
