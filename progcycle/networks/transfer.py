"""From one decoder trunk to another: a translator that begins with the stages of a PG-GAN."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from progcycle.blocks.normalize import PictureNorm
from progcycle.networks.trunks import GrowingDecoder


@torch.no_grad()
def copy_stages(
    source: GrowingDecoder, target: GrowingDecoder, *, source_base: int, target_base: int, top: int, to_rgb: bool
) -> list[int]:
    """Give a decoder the stages of another, by their resolution.

    Of a convolution that reads skips too, only the part that reads the trunk is copied; the part that reads the skips
    keeps its values. Weights are copied at the size that they are used with, whatever the run-time scales.

    Args:
        source: where from; it stays as it is.
        target: where to.
        source_base: pixels of a side at the source's stage 0.
        target_base: the same of the target.
        top: last resolution of the source that is worth copying, where it has been trained.
        to_rgb: whether to copy the to_rgb layers too.

    Returns:
        The resolutions whose layers were copied, in order.

    Raises:
        ValueError: the two do not fit, in a few words that name both sides; nothing is copied then.
    """
    ours, theirs = (_resolutions(decoder, base) for decoder, base in ((target, target_base), (source, source_base)))
    common = [r for r in ours if r in theirs and r <= top]
    copied = [r for r in common if r > max(source_base, target_base)]
    if not copied:
        raise ValueError(
            f"there is no stage to copy: it has been trained from {source_base} to {top} px, and the translator "
            f"enlarges from {target_base} to {ours[-1]} px"
        )
    _check_fit(source, target, source_base, target_base, common)
    for r in copied:
        for layer, own in zip(_block(source, r, source_base), _block(target, r, target_base), strict=True):
            _copy(layer.conv, own.conv)
            _copy_all(layer.activation, own.activation)
    if not to_rgb:
        return copied
    for r in common:
        _copy(source.to_rgb[theirs.index(r)], target.to_rgb[ours.index(r)])
    return common


def _resolutions(decoder: GrowingDecoder, base: int) -> list[int]:
    return [base << stage for stage in range(len(decoder.to_rgb))]


def _block(decoder: GrowingDecoder, resolution: int, base: int) -> Any:
    """The layers that make the features of a resolution from those of the half."""
    return decoder.blocks[(resolution // base).bit_length() - 2]


def _copy(source: Any, target: Any) -> None:
    weight = source.weight * (source.scale / target.scale)
    target.weight[:, : weight.shape[1]].copy_(weight)
    target.bias.copy_(source.bias)


def _copy_all(source: nn.Module, target: nn.Module) -> None:
    """Parameters and running statistics of a normalisation."""
    for kind in ("parameters", "buffers"):
        for value, own in zip(getattr(source, kind)(), getattr(target, kind)(), strict=True):
            own.copy_(value)


def _check_fit(
    source: GrowingDecoder, target: GrowingDecoder, source_base: int, target_base: int, common: list[int]
) -> None:
    traits = zip(_traits(source, source_base, common), _traits(target, target_base, common), strict=True)
    for (name, theirs), (_, ours) in traits:
        if theirs != ours:
            raise ValueError(f"it has another {name} ({theirs}) than the translator ({ours})")


def _traits(decoder: GrowingDecoder, base: int, resolutions: list[int]) -> Iterator[tuple[str, object]]:
    """What two decoders must have in common, so that the same weights are the same function."""
    to_rgb: Any = [decoder.to_rgb[_resolutions(decoder, base).index(r)] for r in resolutions]
    for r, layer in zip(resolutions, to_rgb, strict=True):
        yield f"number of feature maps at {r} px", layer.weight.shape[1]
    yield "number of channels of a picture", to_rgb[0].weight.shape[0]
    yield "rgb_kernel", to_rgb[0].weight.shape[2]
    yield "tanh", decoder.tanh
    yield "rgb", decoder.rgb
    block: Any = decoder.blocks[0]
    yield "number of convolutions of a stage", len(block)
    activation = block[0].activation
    yield "nonlinearity", "elu" if activation.elu else "leaky_relu"
    yield "slope", activation.slope
    yield "normalization", _kind(activation.norm)
    yield "normalization.epsilon", getattr(activation.norm, "epsilon", None)


def _kind(norm: nn.Module | None) -> str:
    """The name of a normalisation, as recipes have it."""
    if isinstance(norm, PictureNorm):
        return "layer" if norm.groups == 1 else "instance"
    return "none" if norm is None else type(norm).__name__.removesuffix("Norm").lower()
