"""Batch normalisation by the statistics of a fixed reference batch, which goes through the same network before."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from progcycle.blocks.autocast import in_full_precision


class ReferenceNorm(nn.BatchNorm2d):
    """Batch norm without running statistics, that uses those of a reference batch outside of training.

    Every picture is then normalised in the same way, whatever pictures are beside it. In training it is batch norm.

    Args:
        channels: C of the features.
        epsilon: added to the variance.

    Attributes:
        records: whether the features that come are those of the reference batch.
    """

    always: bool = False  # whether the reference batch counts in training too

    def __init__(self, channels: int, epsilon: float = 1e-5) -> None:
        super().__init__(channels, eps=epsilon, track_running_stats=False)
        self.records = False
        self.mean: Tensor | None = None  # [1, C, 1, 1]
        self.variance: Tensor | None = None
        self.count = 0

    def forward(self, x: Tensor) -> Tensor:  # [N, C, H, W] -> [N, C, H, W]
        """Normalise; the result has the type of ``x``.

        Raises:
            RuntimeError: no reference batch came before, where one is needed.
        """
        if self.training and not self.always:
            return in_full_precision(super().forward, x).to(x.dtype)
        return in_full_precision(self._by_reference, x).to(x.dtype)

    def _by_reference(self, x: Tensor) -> Tensor:
        if self.records:
            self.mean, self.count = x.mean((0, 2, 3), keepdim=True), len(x)
            self.variance = (x - self.mean).square().mean((0, 2, 3), keepdim=True)
            return self._normalized(x, self.mean, self.variance)
        if self.mean is None or self.variance is None:
            raise RuntimeError("the reference batch goes through the network first")
        return self._normalized(x, *self._moments(x, self.mean, self.variance))

    def _moments(self, x: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance that features are normalised by, given those of the reference batch."""
        return mean, variance

    def _normalized(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        y = (x - mean) / (self.eps + variance).sqrt()
        return y * self.weight[:, None, None] + self.bias[:, None, None]


class VirtualBatchNorm(ReferenceNorm):
    """Virtual batch norm (Salimans et al. 2016, section 3.5), as in the authors' code for ImageNet.

    The mean of a picture is m = m_x / (B + 1) + m_ref B / (B + 1), m_x being the mean over its own pixels and m_ref
    that over the B pictures of the reference batch and their pixels; so is the mean square q. The result is
    (x - m) / sqrt(epsilon + q - m^2), with a weight and a bias for each channel. Gradients go through m_ref too.
    """

    always = True

    def _moments(self, x: Tensor, mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        own = x.mean((2, 3), keepdim=True)
        spread = (x - own).square().mean((2, 3), keepdim=True)
        share = 1 / (self.count + 1)
        # q - m^2, without the difference of two large numbers.
        joint = share * spread + (1 - share) * variance + share * (1 - share) * (own - mean).square()
        return share * own + (1 - share) * mean, joint


@contextmanager
def recording(norms: Iterable[ReferenceNorm]) -> Iterator[None]:
    """What passes the norms meanwhile is the reference batch."""
    norms = list(norms)
    for norm in norms:
        norm.records = True
    try:
        yield
    finally:
        for norm in norms:
            norm.records = False
