"""Weights of several losses by their gradients (VQGAN, Esser et al. 2021, equation 7, made symmetrical)."""

from torch import Tensor


def balanced_weights(norms: Tensor, weights: Tensor, most: float) -> Tensor:
    """Weights with which gradients have norms in the ratio of ``weights``, and the sum that they have with these.

    w_i * N / |g_i| with N = sum_j w_j |g_j| / sum_j w_j. No weight grows by more than a factor, so that a loss without
    gradient stays so.

    Args:
        norms: |g_i|, of the gradients of the losses.  # [K]
        weights: w_i, at least 0.  # [K]
        most: the largest factor, N / |g_i|.

    Returns:
        Without history.  # [K]
    """
    norms, weights = norms.detach(), weights.detach()
    mean = (weights * norms).sum() / weights.sum()
    # 0 / 0 where no loss has a gradient, or all weights are 0 at the moment.
    return weights * (mean / norms).nan_to_num(1.0, posinf=most).clamp(max=most)
