"""Translators and PatchGANs of pytorch-CycleGAN-and-pix2pix, of CUT and of joliGEN; and back to the first of them.

Their ResNet is one long ``nn.Sequential`` called ``model``, so that a layer's number tells where it stands. A layer of
dropout moves the second convolution of a block from 5 to 6; CUT's blurs move all behind them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from progcycle.errors import UserError
from progcycle.export import Translator
from progcycle.files import atomic_file
from progcycle.importers.part import Part, State, pick

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_BLOCK = re.compile(r"model\.(\d+)\.conv_block\.(\d+)\.weight")


class Layout(NamedTuple):
    """What decides the numbers of a ResNet's layers."""

    blocks: int
    batch_norm: bool = False
    dropout: bool = False
    blurred_down: bool = False
    blurred_up: bool = False


class Pair(NamedTuple):
    """A convolution: its name there and here, and those of the norm behind it, if one may follow.

    ``bias`` says that there is one here though a batch norm is used.
    """

    theirs: str
    ours: str
    their_norm: str | None = None
    our_norm: str | None = None
    bias: bool = False


def resnet_pairs(layout: Layout) -> Iterator[Pair]:
    """The convolutions of a ResNet in order, from the picture that comes in."""
    yield Pair("model.1", "encoder.1.0", "model.2", "encoder.1.1")
    at, own = 4, 2
    for _ in range(2):
        yield Pair(f"model.{at}", f"encoder.{own}.0", f"model.{at + 1}", f"encoder.{own}.1")
        at, own = at + 3 + layout.blurred_down, own + 1 + layout.blurred_down
    for block in range(layout.blocks):
        for inner, layer in ((1, 1), (5 + layout.dropout, 3)):
            theirs, ours = f"model.{at}.conv_block", f"bottleneck.{block}.layers.{layer}"
            yield Pair(f"{theirs}.{inner}", f"{ours}.0", f"{theirs}.{inner + 1}", f"{ours}.1")
        at += 1
    own = 0
    for _ in range(2):
        at, own = at + layout.blurred_up, own + layout.blurred_up
        yield Pair(f"model.{at}", f"decoder.{own}.0", f"model.{at + 1}", f"decoder.{own}.1")
        at, own = at + 3, own + 1
    yield Pair(f"model.{at + 1}", "to_rgb", bias=True)


def unet_pairs(halvings: int) -> Iterator[Pair]:
    """The convolutions of a U-Net, from the outermost level inwards; both of a level."""
    prefix = "model"
    for level in range(halvings):
        inner, outer = level == halvings - 1, level == 0
        down, up = (f"{prefix}.model.0", f"{prefix}.model.3") if outer else (f"{prefix}.model.1", f"{prefix}.model.5")
        if inner:
            up = f"{prefix}.model.3"
        number = int(up.rpartition(".")[2])
        middle = not outer and not inner
        norms = (f"{prefix}.model.2", f"down.{level}.1") if middle else (None, None)
        yield Pair(down, f"down.{level}.0", norms[0], norms[1], outer)
        if outer:
            yield Pair(up, "to_rgb", bias=True)
        else:
            own = f"up.{halvings - 1 - level}"
            yield Pair(up, f"{own}.0", f"{prefix}.model.{number + 1}", f"{own}.1")
        prefix += ".model.1" if outer else ".model.3"


def patchgan_pairs(layers: int, blurred: bool = False) -> Iterator[Pair]:
    """The convolutions of a PatchGAN; ``layers`` of them halve the size, and without any it is a PixelGAN."""
    if not layers:
        yield Pair("net.0", "body.0.0", bias=True)
        yield Pair("net.2", "body.1.0", "net.3", "body.1.1")
        yield Pair("net.5", "logit")
        return
    at = 0
    for layer in range(layers + 1):
        own = f"body.{layer * (1 + blurred)}"
        norm = (f"model.{at + 1}", f"{own}.1") if layer else (None, None)
        yield Pair(f"model.{at}", f"{own}.0", norm[0], norm[1], not layer)
        at += (3 if layer else 2) + (blurred and layer < layers)
    yield Pair(f"model.{at}", "logit", bias=True)


def _names(pairs: Iterable[Pair], batch_norm: bool) -> dict[str, str]:
    """Their names by ours, of all tensors."""
    names = dict[str, str]()
    for pair in pairs:
        names[f"{pair.ours}.weight"] = f"{pair.theirs}.weight"
        if pair.bias or not batch_norm:
            names[f"{pair.ours}.bias"] = f"{pair.theirs}.bias"
        if batch_norm and pair.our_norm is not None:
            names |= {f"{pair.our_norm}.{key}": f"{pair.their_norm}.{key}" for key in NORM}
    return names


def without_legacy(state: State) -> dict[str, Tensor]:
    """Without the statistics that instance norm kept before torch 0.4.1, and never used."""
    return {
        key: tensor
        for key, tensor in state.items()
        if not key.rpartition(".")[2].startswith(("running_", "num_batches_tracked"))
        or f"{key.rpartition('.')[0]}.weight" in state
    }


def resnet(state: State) -> Part:
    """A ResNet translator.

    Raises:
        UserError: a tensor is missing, left over, or of another shape than in such a network.
    """
    state, down, up = _without_blurs(without_legacy(state))
    found = [(int(match[1]), int(match[2])) for key in state if (match := _BLOCK.fullmatch(key))]
    batch_norm = "model.2.weight" in state
    # The second convolution is 5, or behind dropout 6; with batch norm, whose weights count too, its norm is 6 or 7.
    dropout = max((inner for _, inner in found), default=0) == (7 if batch_norm else 6)
    layout = Layout(len({number for number, _ in found}), batch_norm, dropout, down, up)
    first, last = state["model.1.weight"], [*resnet_pairs(layout)][-1].theirs
    weights = pick(state, _names(resnet_pairs(layout), batch_norm))
    options: dict[str, Any] = {
        "name": "resnet",
        "filters": first.shape[0],
        "residual_blocks": layout.blocks,
        "normalization": "batch" if batch_norm else "instance",
    }
    options |= {"downsampling": "blurred"} if down else {}
    options |= {"upsampling": "blurred"} if up else {}
    return Part("generator", options, (first.shape[1], state[f"{last}.weight"].shape[0]), weights)


def _without_blurs(state: State) -> tuple[dict[str, Tensor], bool, bool]:
    """The state without CUT's constant kernels, and whether sizes are halved and doubled by them.

    Raises:
        UserError: a kernel is not the one that CUT makes.
    """
    kernels = {key: tensor for key, tensor in state.items() if key.endswith(".filt")}
    sides = {tensor.shape[-1] for tensor in kernels.values()}
    for key, tensor in kernels.items():
        row = torch.tensor([1.0, 2, 1] if tensor.shape[-1] == 3 else [1.0, 3, 3, 1])
        expected = torch.outer(row, row) / row.sum() ** 2 * (1 if len(row) == 3 else 4)
        if tensor.shape[-2:] != expected.shape or not torch.allclose(tensor.float(), expected, atol=1e-6):
            raise UserError(f"the blur {key} is not the kernel of CUT.")
    return {key: tensor for key, tensor in state.items() if key not in kernels}, 3 in sides, 4 in sides


def unet(state: State) -> Part:
    """A U-Net translator, for pictures of 2^levels pixels a side.

    Raises:
        UserError: as :func:`resnet`.
    """
    state = without_legacy(state)
    halvings = sum(1 for tensor in state.values() if tensor.ndim == 4) // 2
    batch_norm = any(key.endswith("running_mean") for key in state)
    first = state["model.model.0.weight"]
    zero = {"down.0.0.bias": torch.zeros(first.shape[0])} if batch_norm else {}  # theirs has none then
    weights = pick(state, _names(unet_pairs(halvings), batch_norm), zero.get)
    options = {"name": "unet", "filters": first.shape[0], "normalization": "batch" if batch_norm else "instance"}
    channels = (first.shape[1], state["model.model.3.weight"].shape[1])
    return Part("generator", options, channels, weights, resolution=1 << halvings)


def patchgan(state: State) -> Part:
    """A PatchGAN, or a PixelGAN: three 1x1 convolutions, whose keys begin with ``net``.

    Raises:
        UserError: as :func:`resnet`.
    """
    state, blurred, _ = _without_blurs(folded_spectral_norm(without_legacy(state)))
    batch_norm = any(key.endswith("running_mean") for key in state)
    pixel = "net.0.weight" in state
    layers = 0 if pixel else sum(1 for tensor in state.values() if tensor.ndim == 4) - 2
    weights = pick(state, _names(patchgan_pairs(layers, blurred), batch_norm))
    first = state["net.0.weight" if pixel else "model.0.weight"]
    options: dict[str, Any] = {
        "name": "patchgan",
        "filters": first.shape[0],
        "layers": layers,
        "normalization": "batch" if batch_norm else "instance",
    }
    options |= {"downsampling": "blurred"} if blurred else {}
    return Part("discriminator", options, (first.shape[1],), weights)


def folded_spectral_norm(state: State) -> dict[str, Tensor]:
    """Weights of torch's older spectral norm, W / (u . W v), as plain ones.

    Raises:
        UserError: a vector is missing.
    """
    found = dict(state)
    for key in [key for key in state if key.endswith(".weight_orig")]:
        layer = key.removesuffix("_orig")
        if f"{layer}_u" not in state or f"{layer}_v" not in state:
            raise UserError(f"{key} has no {layer}_u and {layer}_v, by which spectral norm scales it.")
        weight, u, v = (found.pop(name) for name in (key, f"{layer}_u", f"{layer}_v"))
        found[layer] = weight / (u @ weight.flatten(1) @ v)
    return found


def joligen_resnet(state: State) -> Part:
    """The ResNet of joliGEN, which has the layers of the other in two halves."""
    blocks = len({key.split(".")[2] for key in state if ".conv_block." in key})
    renamed = dict[str, Tensor]()
    for key, tensor in state.items():
        half, _, number, rest = key.split(".", 3)
        shift = 10 + blocks if half == "decoder" else 0
        renamed[f"model.{int(number) + shift}.{rest}"] = tensor
    return resnet(renamed)


# --- and back -------------------------------------------------------------------------------------------------------


def write_pytorch_cyclegan(model: Translator, folder: Path, overwrite: bool = False) -> list[Path]:
    """Write classic translators for pytorch-CycleGAN-and-pix2pix: ``latest_net_G_A.pth`` and ``latest_net_G_B.pth``.

    Args:
        model: whose networks are ``resnet`` or ``unet``.
        folder: is made if need be.
        overwrite: whether files of these names may be replaced.

    Returns:
        The files.

    Raises:
        UserError: the networks are others, have options that are not known there, or a file exists.
    """
    written = dict[Path, dict[str, Tensor]]()
    for direction in model.directions:
        name = f"latest_net_G_{direction[0].upper()}.pth"
        if (folder / name).exists() and not overwrite:
            raise UserError(f"{folder / name} exists already; give another folder, or --overwrite to replace it.")
        spec = model.config.networks[f"gen_{direction}"]
        written[folder / name] = _theirs(spec.name, spec.arguments, getattr(model, f"gen_{direction}").state_dict())
    for path, state in written.items():
        with atomic_file(path) as temporary:
            torch.save(state, temporary)
    return list(written)


def _theirs(name: str, arguments: Mapping[str, Any], state: State) -> dict[str, Tensor]:
    norm = arguments.get("normalize", "instance")
    upsampling, downsampling = arguments.get("upsampling", "transposed"), arguments.get("downsampling", "strided")
    if (
        name not in ("resnet", "unet")
        or norm not in ("instance", "batch", "none")
        or ((upsampling, downsampling) != ("transposed", "strided"))
        or arguments.get("slope", 0.2) != 0.2
    ):
        raise UserError(
            f"pytorch-CycleGAN-and-pix2pix has no such network ({name}, normalization {norm}); it has resnet and unet "
            "with instance or batch norm and transposed convolutions."
        )
    batch_norm = norm == "batch"
    if name == "resnet":
        pairs = resnet_pairs(Layout(arguments["residual_blocks"], batch_norm))
    else:
        pairs = unet_pairs(arguments["halvings"])
    found = {theirs: state[own].clone() for own, theirs in _names(pairs, batch_norm).items()}
    if name == "unet" and batch_norm and found.pop("model.model.0.bias").any():
        raise UserError(
            "pytorch-CycleGAN-and-pix2pix has no bias in the first layer of a U-Net with batch norm, and this one has."
        )
    return found
