"""How the weights of a whole network are drawn."""

from typing import Literal

from torch import nn

from progcycle.blocks.draw import draw_weight
from progcycle.blocks.equalized import EqualizedConv2d, EqualizedLinear

Initialization = Literal["he", "normal"]
LAYERS = (EqualizedConv2d, EqualizedLinear, nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def draw_normal(network: nn.Module, deviation: float = 0.02) -> None:
    """Draw all weights of convolutions and dense layers from N(0, 0.02^2) (Zhu et al. 2017, section 7.2); biases are 0.

    Batch norm gets weights from N(1, 0.02^2), as in the published code. Layers that must begin at zero stay there.

    Args:
        network: changed in place; its layers must not be scaled at run time.
        deviation: the standard deviation.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            draw_weight(module.weight, 1.0, deviation)
        elif isinstance(module, LAYERS) and not getattr(module, "zero", False):
            draw_weight(module.weight, 0.0, deviation)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
