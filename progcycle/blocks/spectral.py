"""Spectral normalisation (Miyato et al. 2018): weights whose largest singular value is 1."""

from typing import cast

from torch import Tensor, nn
from torch.nn.utils import parametrizations

from progcycle.blocks.autocast import in_full_precision
from progcycle.blocks.equalized import EqualizedConv2d, EqualizedLinear

LAYERS = (EqualizedConv2d, EqualizedLinear, nn.Conv2d, nn.Linear)


class _FullPrecision(nn.Module):
    """A parametrization that is computed in float32 at least: in half precision sigma would be too coarse."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, weight: Tensor) -> Tensor:
        return in_full_precision(self.inner, weight)


def normalize_spectrally(network: nn.Module) -> None:
    """Use every convolution's and dense layer's weight as W / sigma(W), W seen as a matrix of a row an output.

    sigma is estimated by power iteration: 15 steps here, and one in every use in training mode, none in evaluation
    mode. Its two vectors of a layer are buffers. Equalized layers keep their weights at N(0, 1), and so their learning
    rate, but their constant is left out: behind the norm, it would shrink the signal in every layer.

    Args:
        network: changed in place; its weights must have been drawn before.
    """
    for module in list(network.modules()):
        if isinstance(module, LAYERS):
            parametrizations.spectral_norm(module)
            norms = cast(nn.ModuleList, cast(nn.ModuleDict, module.parametrizations)["weight"])
            norms[0] = _FullPrecision(norms[0])
            if isinstance(module, EqualizedConv2d | EqualizedLinear):
                module.scale = 1.0
