"""What the layers of networks that do not grow have in common: weights drawn at their size."""

import math

from torch import nn

from progcycle.blocks import Initialization, Norm, draw_normal, draw_weight, make_norm

Conv = nn.Conv2d | nn.ConvTranspose2d


class LayerMaker:
    """Makes the layers of a network: a convolution, normalisation, an activation.

    Args:
        normalize: kind of normalisation; instance norm has no weight and bias, as published.
        epsilon: added to the mean square in pixel norm.

    Attributes:
        bias: whether convolutions in front of a normalisation have a bias; in front of batch norm they have none.
    """

    def __init__(self, normalize: Norm, epsilon: float) -> None:
        self.normalize, self.epsilon, self.bias = normalize, epsilon, normalize != "batch"

    def __call__(self, conv: Conv, activation: nn.Module | None = None) -> nn.Sequential:
        """The convolution, what normalises it, and the activation if there is one."""
        norm = make_norm(self.normalize, conv.out_channels, self.epsilon, affine=False)
        return nn.Sequential(*(module for module in (conv, norm, activation) if module is not None))


def draw_weights(network: nn.Module, initialization: Initialization, last: Conv) -> None:
    """Draw all weights: N(0, 0.02^2), or as He et al. 2015, for a ReLU behind all layers but the last. Biases are 0."""
    if initialization == "normal":
        draw_normal(network)
        return
    for module in network.modules():
        if isinstance(module, Conv):
            # With stride s, a transposed convolution spreads its kernel: s * s outputs share the k * k weights.
            shared = math.prod(module.stride) if module.transposed else 1
            fan_in = module.in_channels * math.prod(module.kernel_size) / shared
            draw_weight(module.weight, 0.0, (1.0 if module is last else math.sqrt(2)) / math.sqrt(fan_in))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
