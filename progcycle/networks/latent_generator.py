"""What the generators of DCGAN, WGAN and WGAN-GP have in common: latents, batch norm, and its statistics afterwards."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from progcycle.blocks import BatchNorm, ReferenceNorm, VirtualBatchNorm, recording
from progcycle.networks.base import Network
from progcycle.networks.one_size import OneSizeOptions
from progcycle.rng import Distribution, latents

GeneratorNorm = Literal["batch", "virtual", "none"]
Statistics = Literal["running", "batch"]
REFERENCE = 64


class LatentGeneratorOptions(OneSizeOptions):
    """Options of generators that do not grow."""

    latent_size: int = Field(128, ge=1, le=1 << 16, description="random numbers that a picture is painted from")
    distribution: Distribution = Field("normal", description="of latents: normal, or uniform in [-1, 1]")
    filters: int = Field(64, ge=1, le=1 << 12, description="feature maps in front of the last layer")
    normalization: GeneratorNorm = Field("batch", description="batch, virtual (by a fixed batch too), or none")
    statistics: Statistics = Field(
        "running", description="of batch norm after training: running averages, or those of a fixed batch of latents"
    )
    reference_batch: int = Field(REFERENCE, ge=2, le=4096, description="latents in that fixed batch")

    @model_validator(mode="after")
    def _no_idle_key(self) -> Self:
        if self.normalization != "batch" and self.statistics != type(self).model_fields["statistics"].default:
            raise ValueError(f"statistics belongs to normalization: batch, not to {self.normalization}; leave it out")
        if self.reference_batch != REFERENCE and not self._has_fixed_batch:
            raise ValueError(
                "reference_batch belongs to normalization: virtual, and to statistics: batch; leave it out, or set one"
            )
        return self

    @property
    def _has_fixed_batch(self) -> bool:
        return self.normalization == "virtual" or (self.normalization, self.statistics) == ("batch", "batch")


class FixedBatchOptions(LatentGeneratorOptions):
    """Options of those that were published with the statistics of the batch."""

    statistics: Statistics = Field(
        "batch", description="of batch norm after training: those of a fixed batch of latents, or running averages"
    )


class ReferenceLatents(nn.Module):
    """Fixed latents, the same in all runs, so that one can begin with the weights of another; they are never trained.

    Args:
        count: how many.
        size: numbers of each.
        distribution: what they are drawn from.
    """

    def __init__(self, count: int, size: int, distribution: Distribution) -> None:
        super().__init__()
        rows = torch.empty(count, size)
        rows.copy_(latents(0, "latent/reference", range(count), size, distribution))
        self.register_buffer("rows", rows)
        self.rows: Tensor


class LatentGenerator(Network):
    """Base of generators from latents at one size, whose batch norm is ``batch`` or ``virtual``, or which have none.

    Batch norm needs statistics where pictures are painted, and not trained. ``running`` takes the running averages of
    training, as ``eval()`` in torch does. ``batch`` takes those of a batch, as the authors' DCGAN does in Theano. There
    the batch is that of the pictures painted together; here it is a fixed one, so that a picture does not depend on
    its neighbours. ``virtual`` joins a fixed batch with each picture, in training too.

    Args:
        latent_size: numbers in a latent.
        distribution: what latents are drawn from.
        normalization: ``batch``, ``virtual`` or ``none``.
        statistics: ``running`` or ``batch``.
        reference_batch: latents in the fixed batch.
        epsilon: added to the variance.
    """

    sizes = "one"

    def __init__(
        self,
        latent_size: int,
        distribution: Distribution,
        normalization: GeneratorNorm,
        statistics: Statistics,
        reference_batch: int,
        epsilon: float = 1e-5,
    ) -> None:
        super().__init__()
        self.latent_size, self.distribution = latent_size, distribution
        self.normalization, self.statistics, self.epsilon = normalization, statistics, epsilon
        fixed = normalization == "virtual" or (normalization == "batch" and statistics == "batch")
        self.reference = ReferenceLatents(reference_batch, latent_size, distribution) if fixed else None
        self._recorded: Any = None

    @abstractmethod
    def paint(self, x: Tensor) -> Tensor:
        """Pictures from latents.  # [N, latent_size] -> [N, C, R, R]"""

    def norm(self, channels: int) -> list[nn.Module]:
        """The normalisation of features, none or one."""
        if self.normalization == "none":
            return []
        if self.normalization == "virtual":
            return [VirtualBatchNorm(channels, self.epsilon)]
        if self.statistics == "batch":
            return [ReferenceNorm(channels, self.epsilon)]
        return [BatchNorm(channels, eps=self.epsilon)]

    def forward(self, latents: Tensor, stage: int = 0, alpha: float = 1.0) -> Tensor:
        """Paint pictures from latents.

        Args:
            latents: drawn from :attr:`distribution`.  # [N, latent_size]
            stage: not used.
            alpha: not used.

        Returns:
            Pictures, in [-1, 1] if the last layer is bounded, float32 at least.  # [N, C, R, R]
        """
        if self.reference is None or (self.training and self.normalization == "batch"):
            return self.paint(latents)
        self._record(latents)
        pictures = self.paint(latents)
        if torch.is_grad_enabled():
            self._forget()
        return pictures

    @property
    def _norms(self) -> list[ReferenceNorm]:
        return [module for module in self.modules() if isinstance(module, ReferenceNorm)]

    def _forget(self) -> None:
        """Let go of the fixed batch's features, and of the graph behind them."""
        for norm in self._norms:
            norm.mean = norm.variance = None
        self._recorded = None

    def _record(self, like: Tensor) -> None:
        """Let the fixed batch pass, unless it has with these very weights."""
        weights = list(self.parameters())
        now = (like.dtype, like.device, torch.is_autocast_enabled(like.device.type), torch.is_grad_enabled())
        # A version counts the changes in place. Weights that are only lent to a call are no parameters of ours.
        known = not now[-1] and all(isinstance(weight, nn.Parameter) for weight in weights)
        state = (*now, tuple((id(w), w.data_ptr(), w._version) for w in weights)) if known else None
        if state is not None and state == self._recorded:
            return
        assert self.reference is not None
        with recording(self._norms):
            self.paint(self.reference.rows.to(like.dtype))
        self._recorded = state

    def frozen_modules(self) -> Sequence[nn.Module]:
        """The fixed batch too."""
        return [*super().frozen_modules(), *([] if self.reference is None else [self.reference])]
