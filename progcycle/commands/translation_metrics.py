"""Figures of translators: the least that the evaluation while training needs."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from progcycle.metrics import paired_scores

if TYPE_CHECKING:
    from progcycle.export.models import Direction
    from progcycle.metrics.features import Features


def measure_translation(
    translate: "Callable[[Tensor, Direction], Tensor]",
    a: Tensor,
    b: Tensor,
    pairs: list[tuple[int, int]] | None,
    features: "Features | None",
) -> dict[str, float]:
    """Figures by name, as kid/ab, l1/ab, cycle/aba and copy/ab.

    Args:
        translate: pictures and a direction to pictures.
        a: pictures of A.  # [N, C, R, R]
        b: pictures of B.  # [M, C, R, R]
        pairs: indices of true pairs, or None without any.
        features: for the kernel distance, or None.
    """
    fake_b, fake_a = translate(a, "ab"), translate(b, "ba")
    figures: dict[str, float] = {}
    if features is not None:
        figures["kid/ab"] = _distance(features(fake_b), features(b))
        figures["kid/ba"] = _distance(features(fake_a), features(a))
    if pairs:
        of_a, of_b = map(list, zip(*pairs, strict=True))
        for key, fake, truth in (("ab", fake_b[of_a], b[of_b]), ("ba", fake_a[of_b], a[of_a])):
            figures |= {f"{name}/{key}": value for name, value in paired_scores(fake, truth).means().items()}
    for key, real, fake, back in (("aba", a, fake_b, "ba"), ("bab", b, fake_a, "ab")):
        rounded = fake.mul(127.5).add(127.5).round().sub(127.5).div(127.5)
        figures[f"cycle/{key}"] = float((translate(fake, back) - real).abs().mean())  # type: ignore[arg-type]
        figures[f"cycle_rounded/{key}"] = float((translate(rounded, back) - real).abs().mean())  # type: ignore[arg-type]
    for key, real, fake in (("ab", a, fake_b), ("ba", b, fake_a)):
        x, y = real.mean(1).flatten(1).double(), fake.mean(1).flatten(1).double()
        figures[f"copy/{key}"] = float((x - y).abs().mean())
        x, y = x - x.mean(1, keepdim=True), y - y.mean(1, keepdim=True)
        size = (x.norm(dim=1) * y.norm(dim=1)).clamp(min=1e-12)
        figures[f"inversion/{key}"] = float(((x * y).sum(1) / size < 0).double().mean())
    return figures


def _distance(x: Tensor, y: Tensor) -> float:
    x, y = x.double(), y.double()
    n, m = len(x), len(y)
    k_xx, k_yy, k_xy = (((u @ v.T) / x.shape[1] + 1) ** 3 for u, v in ((x, x), (y, y), (x, y)))
    inner = (k_xx.sum() - k_xx.trace()) / (n * (n - 1)) + (k_yy.sum() - k_yy.trace()) / (m * (m - 1))
    return float(inner - 2 * torch.mean(k_xy))
