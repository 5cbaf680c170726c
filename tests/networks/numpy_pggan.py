"""PG-GAN's forward pass in float64 numpy, from weights alone, as in the paper's appendix A.1 and the official code."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import nn

Array = NDArray[np.float64]
ROOT2 = float(np.sqrt(2))


def convolve(x: Array, weight: Array, padding: int) -> Array:
    """Cross-correlation with zero padding: one shifted picture for every place of the kernel."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    side = weight.shape[2]
    height, width = x.shape[2] - side + 1, x.shape[3] - side + 1
    out = np.zeros((x.shape[0], weight.shape[0], height, width))
    for i in range(side):
        for j in range(side):
            out += np.einsum("nchw,oc->nohw", x[:, :, i : i + height, j : j + width], weight[:, :, i, j])
    return out


def pixel_norm(x: Array, epsilon: float = 1e-8) -> Array:
    return x / np.sqrt((x**2).mean(1, keepdims=True) + epsilon)


def up(x: Array) -> Array:
    return np.repeat(np.repeat(x, 2, axis=2), 2, axis=3)


def down(x: Array) -> Array:
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


def with_stddev(x: Array, group: int) -> Array:
    """Picture i shares its group with i + M, i + 2M, ..., M being the number of groups."""
    channel = np.empty((len(x), 1, *x.shape[2:]))
    groups = len(x) // group
    for first in range(groups):
        rows = x[first::groups]
        channel[first::groups] = np.sqrt(((rows - rows.mean(0)) ** 2).mean(0) + 1e-8).mean()
    return np.concatenate([x, channel], axis=1)


@dataclass
class NumpyPggan:
    """Reads the weights of a network by their names.

    Args:
        network: generator or discriminator with ``rgb`` = ``replace``.
        slope: of the leaky ReLU.
        convs: 3x3 convolutions of a stage.
        equalized: whether weights are scaled here or are used as they are.
        group: size of the stddev groups; it divides the batch.
        fused: whether the discriminator's last convolution of a stage is pooled before bias and activation.
        tanh: whether every picture is bounded before the blend.
        disturb: what happens to the input of every 3x3 and 4x4 convolution of the discriminator.
    """

    network: nn.Module
    slope: float = 0.2
    convs: int = 2
    equalized: bool = True
    group: int = 4
    fused: bool = False
    tanh: bool = False
    disturb: Callable[[Array], Array] = lambda x: x
    weights: dict[str, Array] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = {name: w.detach().double().numpy() for name, w in self.network.state_dict().items()}

    def scaled(self, name: str, gain: float) -> Array:
        """Weights times gain / sqrt(fan_in)."""
        weight = self.weights[f"{name}.weight"]
        return weight * gain / np.sqrt(weight[0].size) if self.equalized else weight

    def leaky(self, x: Array) -> Array:
        return np.where(x > 0, x, self.slope * x)

    def conv(self, x: Array, name: str, gain: float = ROOT2, padding: int | None = None, pooled: bool = False) -> Array:
        weight = self.scaled(name, gain)
        x = convolve(x, weight, weight.shape[2] // 2 if padding is None else padding)
        x = down(x) if pooled else x
        return x + self.weights[f"{name}.bias"].reshape(1, -1, 1, 1)

    def generator(self, latents: Array, stage: int, alpha: float) -> Array:
        """Pictures from latents (with their labels appended, if any)."""
        # The paper's first layer is a 4x4 convolution of a 1x1 map: a fan-in 16 times larger than a dense layer's.
        x = pixel_norm(latents) @ self.scaled("dense", ROOT2 / 4).T
        x = pixel_norm(self.leaky(x.reshape(len(latents), -1, 4, 4) + self.weights["bias"]))
        if self.convs == 2:
            x = pixel_norm(self.leaky(self.conv(x, "conv.conv")))
        before = x
        for block in range(stage):
            before, x = x, up(x)
            for layer in range(self.convs):
                x = pixel_norm(self.leaky(self.conv(x, f"decoder.blocks.{block}.{layer}.conv")))
        picture = self.painted(x, stage)
        return picture if stage == 0 else (1 - alpha) * up(self.painted(before, stage - 1)) + alpha * picture

    def painted(self, x: Array, stage: int) -> Array:
        picture = self.conv(x, f"decoder.to_rgb.{stage}", gain=1)
        return np.tanh(picture) if self.tanh else picture

    def discriminator(self, picture: Array, stage: int, alpha: float) -> Array:
        """Logits, those of classes behind the first.  # [N, C, R, R] -> [N, 1 + classes]"""
        x = self.seen(picture, stage)
        for block in reversed(range(stage)):
            for layer in range(self.convs):
                pooled = self.fused and layer == self.convs - 1
                name = f"encoder.blocks.{block}.{layer}.conv"
                x = self.leaky(self.conv(self.disturb(x), name, pooled=pooled))
            x = x if self.fused else down(x)
            if block == stage - 1:
                x = (1 - alpha) * self.seen(down(picture), block) + alpha * x
        x = with_stddev(x, self.group) if self.group else x
        if self.convs == 2:
            x = self.leaky(self.conv(self.disturb(x), "head.conv.conv"))
        x = self.leaky(self.conv(self.disturb(x), "head.dense", padding=0))[:, :, 0, 0]
        return x @ self.scaled("head.logit", 1).T + self.weights["head.logit.bias"]

    def seen(self, picture: Array, stage: int) -> Array:
        return self.leaky(self.conv(picture, f"encoder.from_rgb.{stage}.conv"))
