"""Networks as plain layers: what training scales, normalises or averages at run time is worked into the weights.

A folded network is for use, not for training: its stage and alpha are fixed, and what does not count there is gone.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from progcycle.blocks import (
    BatchNorm,
    EqualizedConv2d,
    EqualizedLinear,
    ReferenceNorm,
    VirtualBatchNorm,
    conv2d_downsample,
    downsampling_kernel,
    upsample_conv2d,
    upsampling_kernel,
)
from progcycle.blocks.normalize import EPSILON, PictureNorm
from progcycle.networks.latent_generator import LatentGenerator
from progcycle.networks.layers import Layer

Weighted = nn.Conv2d | nn.ConvTranspose2d | nn.Linear


@torch.no_grad()
def fold(module: nn.Module, examples: Sequence[Tensor], half: bool = False) -> nn.Module:
    """A copy of a module that computes the same from plain layers.

    Spectral norm and other parametrizations, the scale of equalized layers, fused changes of size, and the statistics
    of reference batches become weights. Layers that have no effect on the output lose theirs.

    Args:
        module: on the CPU, in evaluation mode, of floating point numbers of 32 or 64 bits.
        examples: its inputs, of any batch.
        half: whether convolutions and dense layers compute in float16, as they do in training's mixed precision; what
            would suffer from it stays in full precision.

    Returns:
        The copy, in evaluation mode.
    """
    module(*examples)  # reference batches pass once
    folded = copy.deepcopy(module).eval()
    for part in list(folded.modules()):
        for name, child in part.named_children():
            if parametrize.is_parametrized(child):
                setattr(part, name, _without_parametrizations(child))
    for part in list(folded.modules()):
        if isinstance(part, LatentGenerator):
            part.reference = None
        if isinstance(part, Layer) and part.fused is not None:
            _unfuse(part)
    for part in list(folded.modules()):
        for name, child in part.named_children():
            if (plain := _plain(child)) is not None:
                setattr(part, name, plain)
    folded.requires_grad_(False).eval()
    _drop_idle_weights(folded, examples)
    if half:
        _halve(folded, examples)
    return folded


def _without_parametrizations(layer: nn.Module) -> nn.Module:
    """The layer with the weights that it computes; torch's own function would change the class that copies share."""
    bare: nn.Module = object.__new__(type(layer).__bases__[0])
    shared = {"_parameters", "_buffers", "_modules"}
    bare.__dict__ = {key: dict(value) if key in shared else value for key, value in layer.__dict__.items()}
    for name in bare._modules.pop("parametrizations"):  # type: ignore[union-attr]  # a ModuleDict
        bare._parameters[name] = nn.Parameter(getattr(layer, name).detach().clone())
    return bare


def _plain(layer: nn.Module) -> nn.Module | None:
    """The layer of torch that computes the same with the layer's scaled weights; None for other kinds."""
    if isinstance(layer, EqualizedConv2d):
        weight = layer.weight * layer.scale
        wide, narrow, kernel, _ = weight.shape
        return _with(nn.Conv2d(narrow, wide, kernel, padding=layer.padding), weight, layer.bias)
    if isinstance(layer, EqualizedLinear):
        weight = layer.weight * layer.scale
        return _with(nn.Linear(weight.shape[1], weight.shape[0], layer.bias is not None), weight, layer.bias)
    if isinstance(layer, PictureNorm):
        return _with(_AnySizeNorm(layer.channels, layer.groups, affine=False), layer.weight, layer.bias)
    if isinstance(layer, ReferenceNorm) and not isinstance(layer, VirtualBatchNorm) and layer.mean is not None:
        assert layer.variance is not None
        norm = BatchNorm(layer.num_features, eps=layer.eps)
        norm = norm.to(layer.mean)
        for name, value in (("running_mean", layer.mean), ("running_var", layer.variance)):
            setattr(norm, name, value.flatten().clone())
        return _with(norm, layer.weight, layer.bias)
    return None


def _unfuse(layer: Layer) -> None:
    """A change of size beside a convolution as one plain convolution with a 4x4 kernel."""
    conv = layer.conv
    weight = conv.weight * conv.scale
    wide, narrow = weight.shape[:2]
    plain: nn.Module
    if layer.fused is upsample_conv2d:
        plain = nn.ConvTranspose2d(narrow, wide, 4, stride=2, padding=1)
        plain = _with(plain, upsampling_kernel(weight), conv.bias)
    else:
        assert layer.fused is conv2d_downsample
        plain = _with(nn.Conv2d(narrow, wide, 4, stride=2, padding=1), downsampling_kernel(weight), conv.bias)
    layer.conv = plain  # type: ignore[assignment]
    layer.fused = None


class _AnySizeNorm(PictureNorm):
    """The same without a look at the size of the maps, which runtimes would keep; they have more than one pixel."""

    def _normalize(self, x: Tensor) -> Tensor:
        if self.groups == self.channels:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=EPSILON)
        assert self.groups == 1
        y = x - x.mean((1, 2, 3), keepdim=True)
        y = y / (y.square().mean((1, 2, 3), keepdim=True) + EPSILON).sqrt()
        return (
            y if self.weight is None or self.bias is None else y * self.weight[:, None, None] + self.bias[:, None, None]
        )


def _with(layer: nn.Module, weight: Tensor | None, bias: Tensor | None) -> nn.Module:
    if weight is not None:
        layer.weight = nn.Parameter(weight.detach().clone().contiguous())
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone())
    return layer


def _drop_idle_weights(module: nn.Module, examples: Sequence[Tensor]) -> None:
    """Take the weights away that the output does not depend on, such as those of other stages."""
    module.requires_grad_(True)
    named = dict(module.named_parameters())
    with torch.enable_grad():
        output = module(*examples)
        used: Sequence[Tensor | None] = torch.autograd.grad(output.sum(), list(named.values()), allow_unused=True)
    for name, gradient in zip(named, used, strict=True):
        if gradient is None:
            owner, _, key = name.rpartition(".")
            module.get_submodule(owner)._parameters[key] = None
    module.requires_grad_(False)


def _halve(module: nn.Module, examples: Sequence[Tensor]) -> None:
    """Let those layers work in float16 that autocast, which the networks switch off where it hurts, would let."""
    found, handles = list[nn.Module](), list[Any]()
    for layer in module.modules():
        if isinstance(layer, Weighted):
            # Asked while it is called: a layer says itself where it does not go by autocast.
            handles.append(
                layer.register_forward_pre_hook(
                    lambda layer, _: found.append(layer) if torch.is_autocast_enabled("cpu") else None
                )
            )
    with torch.autocast("cpu", torch.bfloat16):
        module(*examples)
    for handle in handles:
        handle.remove()
    for layer in dict.fromkeys(found):
        layer.half().register_forward_pre_hook(_to_half)


def _to_half(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.half() for x in inputs)
