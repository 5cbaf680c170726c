"""The official PG-GAN as its TensorFlow code computes it, from variables of its names; nothing of progcycle."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

Variables = Mapping[str, np.ndarray]


def weight(v: Variables, name: str, gain: float = math.sqrt(2), fan_in: int | None = None) -> Tensor:
    w = torch.from_numpy(v[f"{name}/weight"].astype(np.float64))
    return w * (gain / math.sqrt(fan_in or math.prod(w.shape[:-1])))


def bias(v: Variables, name: str) -> Tensor:
    return torch.from_numpy(v[f"{name}/bias"].astype(np.float64))


def lrelu(x: Tensor) -> Tensor:
    return torch.maximum(x, 0.2 * x)


def pixel_norm(x: Tensor) -> Tensor:
    return x / (x.square().mean(dim=1, keepdim=True) + 1e-8).sqrt()


def conv(v: Variables, name: str, x: Tensor, gain: float = math.sqrt(2)) -> Tensor:
    w = weight(v, name, gain)  # height, width, in, out
    return F.conv2d(x, w.permute(3, 2, 0, 1), padding=w.shape[0] // 2) + bias(v, name)[:, None, None]


def shifted_sum(w: Tensor) -> Tensor:  # [3, 3, ...] -> [4, 4, ...]
    w = F.pad(w.permute(2, 3, 0, 1), (1, 1, 1, 1)).permute(2, 3, 0, 1)
    return w[1:, 1:] + w[:-1, 1:] + w[1:, :-1] + w[:-1, :-1]


def conv_up(v: Variables, name: str, x: Tensor) -> Tensor:
    """conv2d_transpose is the gradient of a convolution of stride 2 to its input: taken by autograd."""
    stored = v[f"{name}/weight"]  # height, width, out, in
    w = shifted_sum(weight(v, name, fan_in=9 * stored.shape[3]))
    large = torch.zeros(len(x), stored.shape[2], 2 * x.shape[2], 2 * x.shape[3], dtype=x.dtype, requires_grad=True)
    with torch.enable_grad():
        small = F.conv2d(large, w.permute(3, 2, 0, 1), stride=2, padding=1)
        (y,) = torch.autograd.grad(small, large, x)
    return y + bias(v, name)[:, None, None]


def up(x: Tensor) -> Tensor:
    return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def down(x: Tensor) -> Tensor:
    return x.reshape(*x.shape[:2], x.shape[2] // 2, 2, x.shape[3] // 2, 2).mean(dim=(3, 5))


def generator(v: Variables, latents: Tensor, labels: Tensor, lod: float = 0.0) -> Tensor:
    """Pictures at 16 px, or at those of the stage that lod says."""
    x = pixel_norm(torch.cat([latents, labels], dim=1))
    x = (x @ weight(v, "4x4/Dense", math.sqrt(2) / 4)).reshape(len(x), -1, 4, 4)
    x = pixel_norm(lrelu(x + bias(v, "4x4/Dense")[:, None, None]))
    x = pixel_norm(lrelu(conv(v, "4x4/Conv", x)))
    stage = 2 - math.floor(lod)
    pictures = [conv(v, "ToRGB_lod2", x, 1.0)]
    for s in range(1, stage + 1):
        name = f"{4 << s}x{4 << s}"
        fused = f"{name}/Conv0_up/weight" in v
        x = conv_up(v, f"{name}/Conv0_up", x) if fused else conv(v, f"{name}/Conv0", up(x))
        x = pixel_norm(lrelu(x))
        x = pixel_norm(lrelu(conv(v, f"{name}/Conv1", x)))
        pictures.append(conv(v, f"ToRGB_lod{2 - s}", x, 1.0))
    old = lod - math.floor(lod)
    return pictures[-1] if not old else (1 - old) * pictures[-1] + old * up(pictures[-2])


def stddev(x: Tensor, group: int) -> Tensor:
    group = min(group, len(x))
    y = x.reshape(group, -1, *x.shape[1:])
    y = ((y - y.mean(dim=0)).square().mean(dim=0) + 1e-8).sqrt().mean(dim=(1, 2, 3))
    return torch.cat([x, y.repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])], dim=1)


def discriminator(v: Variables, pictures: Tensor, lod: float = 0.0, group: int = 4) -> Tensor:
    """Score and logits of classes."""
    stage, old = 2 - math.floor(lod), lod - math.floor(lod)
    x = lrelu(conv(v, f"FromRGB_lod{2 - stage}", pictures))
    for s in range(stage, 0, -1):
        name = f"{4 << s}x{4 << s}"
        x = lrelu(conv(v, f"{name}/Conv0", x))
        if f"{name}/Conv1_down/weight" in v:
            w = shifted_sum(weight(v, f"{name}/Conv1_down")) / 4
            x = F.conv2d(x, w.permute(3, 2, 0, 1), stride=2, padding=1)
            x = lrelu(x + bias(v, f"{name}/Conv1_down")[:, None, None])
        else:
            x = down(lrelu(conv(v, f"{name}/Conv1", x)))
        if s == stage and old:
            x = (1 - old) * x + old * lrelu(conv(v, f"FromRGB_lod{2 - s + 1}", down(pictures)))
    x = lrelu(conv(v, "4x4/Conv", stddev(x, group)))
    x = lrelu(x.flatten(1) @ weight(v, "4x4/Dense0") + bias(v, "4x4/Dense0"))
    return x @ weight(v, "4x4/Dense1", 1.0) + bias(v, "4x4/Dense1")
