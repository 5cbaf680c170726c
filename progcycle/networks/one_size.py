"""What networks have in common that are made for one resolution."""

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from progcycle.blocks import in_full_precision
from progcycle.networks.base import Network, NetworkOptions, TaskShape


class OneSizeOptions(NetworkOptions):
    """Options of a network whose constructor takes ``resolution``, pixels of a side."""

    def arguments(self, shape: TaskShape) -> dict[str, Any]:
        """See :class:`NetworkOptions`; the options and the resolution."""
        return {**super().arguments(shape), "resolution": shape.resolution}


class OneSizeCritic(Network):
    """Base of discriminators at one size that end in a layer ``logit`` and compare no pictures but by batch norm.

    Attributes:
        normalization: ``batch`` where the layers have batch norm.
        logit: the last layer.
    """

    sizes = "one"
    normalization: str = "none"
    logit: nn.Module

    def logit_layer(self) -> nn.Module:
        """The last layer."""
        return self.logit

    def rows_are_independent(self, n: int) -> bool:
        """Whether one pass over 2n rows that alternate real, fake gives the logits of two passes over n rows each."""
        return self.normalization != "batch"


class PlainCritic(OneSizeCritic):
    """Base of those that see pictures and nothing else."""

    @abstractmethod
    def before_logit(self, x: Tensor) -> Tensor:
        """What the last layer gets of pictures.  # [N, C, R, R] -> [N, ...]"""

    def forward(self, x: Tensor, stage: int = 0, alpha: float = 1.0) -> Tensor:
        """Judge pictures.

        Args:
            x: pictures in [-1, 1].  # [N, C, R, R]
            stage: not used.
            alpha: not used.

        Returns:
            Logits, float32 at least.  # [N]
        """
        return in_full_precision(self.logit, self.before_logit(x)).flatten()
