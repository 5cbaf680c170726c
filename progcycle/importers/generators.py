"""Generators of others: the DCGANs of pytorch/examples and pytorch_GAN_zoo, and the PG-GANs."""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from progcycle.errors import UserError
from progcycle.importers.part import Part, State, pick
from progcycle.networks import stage_channels

NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
BOUNDED = ("DCGAN", "MSE")  # losses of pytorch_GAN_zoo whose generators end in tanh
_VARIABLE = re.compile(
    r"lod|(\d+)x\1/(Dense|Conv|Conv0|Conv0_up|Conv1|Conv1_down|Dense0|Dense1)/(weight|bias)"
    r"|(To|From)RGB_lod\d+/(weight|bias)"
)


# --- DCGAN ----------------------------------------------------------------------------------------------------------


def _dcgan_names(convs: list[tuple[str, str]], norms: list[tuple[str, str]]) -> dict[str, str]:
    names = {f"{own}.weight": f"{theirs}.weight" for own, theirs in convs}
    return names | {f"{own}.{key}": f"{theirs}.{key}" for own, theirs in norms for key in NORM}


def _doublings(state: State) -> int:
    """Layers between the first and the last one."""
    return sum(1 for tensor in state.values() if tensor.ndim == 4) - 2


def _no_count(name: str) -> Tensor | None:
    """Before torch 0.4.1 batches were not counted."""
    return torch.tensor(0) if name.endswith("num_batches_tracked") else None


def dcgan_generator(state: State) -> Part:
    """The generator of pytorch/examples' DCGAN.

    Raises:
        UserError: a tensor is missing or left over.
    """
    count = _doublings(state)
    convs = [("stem", "main.0"), *((f"body.{3 * i}", f"main.{3 * i + 3}") for i in range(count))]
    convs.append(("to_rgb", f"main.{3 * count + 3}"))
    norms = [("stem_norm.0", "main.1"), *((f"body.{3 * i + 1}", f"main.{3 * i + 4}") for i in range(count))]
    return _dcgan(state, _dcgan_names(convs, norms))


def zoo_dcgan_generator(state: State) -> Part:
    """The generator of pytorch_GAN_zoo's DCGAN.

    Raises:
        UserError: a tensor is missing or left over.
    """
    count = _doublings(state)
    convs = [("stem", "formatLayer"), *((f"body.{3 * i}", f"main.convTranspose{i + 1}") for i in range(count))]
    convs.append(("to_rgb", "main.outlayer"))
    norms = [("stem_norm.0", "main.batchNorm0")]
    norms += [(f"body.{3 * i + 1}", f"main.batchNorm{i + 1}") for i in range(count)]
    return _dcgan(state, _dcgan_names(convs, norms))


def _dcgan(state: State, names: Mapping[str, str]) -> Part:
    count = _doublings(state)
    weights = pick(state, names, _no_count)
    rgb, stem = weights["to_rgb.weight"], weights["stem.weight"]
    resolution = 8 << count
    if stem.shape[1] != rgb.shape[0] << count or tuple(stem.shape[2:]) != (4, 4):
        raise UserError(
            f"its layers do not halve their {stem.shape[1]} feature maps to {rgb.shape[0]} at every doubling, as those "
            "of a DCGAN."
        )
    options = {"name": "dcgan", "latent_size": stem.shape[0], "filters": rgb.shape[0]}
    return Part("generator", options, (rgb.shape[1],), weights, resolution=resolution)


def dcgan_discriminator(state: State) -> Part:
    """The discriminator of pytorch/examples' DCGAN.

    Raises:
        UserError: a tensor is missing or left over.
    """
    count = _doublings(state)
    convs = [("body.0", "main.0"), *((f"body.{2 + 3 * i}", f"main.{2 + 3 * i}") for i in range(count))]
    convs.append(("logit", f"main.{2 + 3 * count}"))
    norms = [(f"body.{3 + 3 * i}", f"main.{3 + 3 * i}") for i in range(count)]
    return _dcgan_critic(state, _dcgan_names(convs, norms))


def zoo_dcgan_discriminator(state: State) -> Part:
    """The discriminator of pytorch_GAN_zoo's DCGAN, whose names count down and call convolutions transposed.

    Raises:
        UserError: a tensor is missing or left over.
    """
    count = _doublings(state)
    convs = [("body.0", f"main.convTranspose{count}"), ("logit", "decisionLayer")]
    convs += [(f"body.{2 + 3 * i}", f"main.convTranspose{count - 1 - i}") for i in range(count)]
    norms = [(f"body.{3 + 3 * i}", f"main.batchNorm{count - 1 - i}") for i in range(count)]
    return _dcgan_critic(state, _dcgan_names(convs, norms))


def _dcgan_critic(state: State, names: Mapping[str, str]) -> Part:
    weights = pick(state, names, _no_count)
    first, logit = weights["body.0.weight"], weights["logit.weight"]
    if len(logit) != 1:
        raise UserError(f"the discriminator has {len(logit)} logits, for classes that progcycle's DCGAN does not have.")
    options = {"name": "dcgan", "filters": first.shape[0]}
    return Part("discriminator", options, (first.shape[1],), weights, resolution=8 << _doublings(state))


# --- PG-GAN of pytorch_GAN_zoo --------------------------------------------------------------------------------------


def zoo_generator(state: State, config: Mapping[str, Any]) -> Part:
    """The generator of pytorch_GAN_zoo's PG-GAN.

    Its constant of He, sqrt(2 / fan_in), scales every layer and the biases too; here to_rgb has the constant
    1 / sqrt(fan_in), the first layer a fourth, and biases none. What differs goes into the weights.

    Args:
        state: tensors by the names of the file, with or without ``.module``.
        config: its settings.

    Raises:
        UserError: a tensor is missing or left over, or the settings are of another function.
    """
    state = {key.replace(".module.", "."): tensor.double() for key, tensor in state.items()}
    stages = sum(1 for key in state if key.startswith("toRGBLayers.") and key.endswith("weight"))
    equalized, alpha = bool(config.get("equalizedlR", True)), float(config.get("alpha", 0) or 0)
    names = {"dense.weight": "formatLayer.weight", "bias": "formatLayer.bias"}
    for key in ("weight", "bias"):
        names[f"conv.conv.{key}"] = f"groupScale0.0.{key}"
        for s in range(1, stages):
            names |= {f"decoder.blocks.{s - 1}.{i}.conv.{key}": f"scaleLayers.{s - 1}.{i}.{key}" for i in (0, 1)}
        names |= {f"decoder.to_rgb.{s}.{key}": f"toRGBLayers.{s}.{key}" for s in range(stages)}
    picked, weights = pick(state, names), dict[str, Tensor]()
    for own, tensor in picked.items():
        kernel = picked["dense.weight" if own == "bias" else own.replace("bias", "weight")]
        he = math.sqrt(2 / math.prod(kernel.shape[1:])) if equalized else 1.0
        if own.endswith("bias"):
            weights[own] = tensor * he
        else:
            more = 4.0 if own == "dense.weight" else math.sqrt(2) if "to_rgb" in own else 1.0
            weights[own] = tensor * (more if equalized else 1.0)
    widths = [len(weights["conv.conv.weight"])]
    widths += [len(weights[f"decoder.blocks.{s}.1.conv.weight"]) for s in range(stages - 1)]
    weights["bias"] = weights["bias"].reshape(widths[0], 4, 4)
    classes = int(config.get("categoryVectorDim", 0) or 0)
    tanh = config.get("lossCriterion", "WGANGP") in BOUNDED
    _check_zoo(config, classes, tanh and alpha > 0)
    options = {
        "name": "pggan",
        "latent_size": weights["dense.weight"].shape[1] - classes,
        "dense_bias": "unit",
        "slope": float(config.get("leakyReluLeak", 0.2)),
        "equalized": equalized,
        "tanh": tanh,
    }
    channels = (len(weights["decoder.to_rgb.0.weight"]),)
    remark = "discriminators of pytorch_GAN_zoo compare the pictures of a batch in another way, and are not imported"
    return _pggan("generator", options, channels, weights, widths, 1 - alpha, classes, (remark,))


def _check_zoo(config: Mapping[str, Any], classes: int, late_tanh: bool) -> None:
    if not config.get("perChannelNormalization", True):
        raise UserError("perChannelNormalization is off, which pytorch_GAN_zoo itself cannot run.")
    if late_tanh:
        raise UserError("it was saved in mid-fade with a tanh behind the fade; progcycle has it in front of it.")
    kinds = config.get("attribKeysOrder")
    if classes and isinstance(kinds, Mapping) and len(kinds) > 1:
        raise UserError("its pictures have several kinds of labels at once; progcycle's have one class each.")


# --- official PG-GAN ------------------------------------------------------------------------------------------------


def official_network(state: Mapping[str, Any]) -> Part:
    """A network of the official PG-GAN code, of TensorFlow or of Theano.

    Args:
        state: of the pickled object, see :func:`progcycle.importers.pickles.read_networks`.

    Raises:
        UserError: it is of another version, a variable is missing, left over or not finite, or a setting gives another
            function than progcycle has.
    """
    if "param_values" in state:
        variables, settings = _of_theano(state)
    else:
        if state.get("version") != 2:
            raise UserError(f"it is of version {state.get('version')!r}; those of the official PG-GAN code are of 2.")
        variables, settings = dict(state["variables"]), dict(state.get("static_kwargs", {}))
    arrays = dict[str, np.ndarray]()
    for name, value in variables.items():
        if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
            raise UserError(f"it has a variable {str(name)[:60]!r}, which is none of PG-GAN.")
        arrays[name] = np.asarray(value, np.float64)
        if not np.isfinite(arrays[name]).all():
            raise UserError(f"{name} holds numbers that are not finite.")
    return _generator(arrays, settings) if "4x4/Dense/weight" in arrays else _discriminator(arrays, settings)


class _Taken:
    """Variables, which are taken one by one until none is left."""

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        self.left = dict(arrays)

    def __call__(self, name: str) -> Tensor:
        if name not in self.left:
            raise UserError(f"the variable {name} is missing.")
        return torch.from_numpy(np.ascontiguousarray(self.left.pop(name)))

    def conv(self, name: str, own: str) -> dict[str, Tensor]:
        """A convolution's kernel, height, width, in, out there, and its bias."""
        return {f"{own}.weight": self(f"{name}/weight").permute(3, 2, 0, 1), f"{own}.bias": self(f"{name}/bias")}

    def done(self) -> None:
        """Refuse what is left."""
        if self.left:
            raise UserError(f"it has a variable {min(self.left)} that does not belong to such a network.")


def _stages(arrays: Mapping[str, np.ndarray], prefix: str) -> int:
    return sum(1 for name in arrays if name.startswith(f"{prefix}_lod") and name.endswith("/weight"))


def _generator(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Part:
    if not settings.get("normalize_latents", True):
        raise UserError("it does not normalise its latents (normalize_latents); progcycle's generator does.")
    take, last = _Taken(arrays), _stages(arrays, "ToRGB") - 1
    dense, lod = take("4x4/Dense/weight"), _lod(take)
    weights = {"dense.weight": dense.T, "bias": take("4x4/Dense/bias")[:, None, None]}
    weights |= take.conv("4x4/Conv", "conv.conv")
    for s in range(1, last + 1):
        side, own = 4 << s, f"decoder.blocks.{s - 1}"
        if (fused := f"{side}x{side}/Conv0_up") + "/weight" in take.left:
            # Of a transposed convolution, which turns its kernel; height, width, out, in.
            weights[f"{own}.0.conv.weight"] = take(f"{fused}/weight").permute(2, 3, 0, 1).flip(2, 3)
            weights[f"{own}.0.conv.bias"] = take(f"{fused}/bias")
        else:
            weights |= take.conv(f"{side}x{side}/Conv0", f"{own}.0.conv")
        weights |= take.conv(f"{side}x{side}/Conv1", f"{own}.1.conv")
    for s in range(last + 1):
        weights |= take.conv(f"ToRGB_lod{last - s}", f"decoder.to_rgb.{s}")
    take.done()
    classes = int(settings.get("label_size", 0) or 0)
    pixel = bool(settings.get("use_pixelnorm", True))
    options: dict[str, Any] = {
        "name": "pggan",
        "latent_size": dense.shape[0] - classes,
        "equalized": bool(settings.get("use_wscale", True)),
        "slope": 0.2 if settings.get("use_leakyrelu", True) else 0.0,
        "normalization": "pixel" if pixel else "none",
        "epsilon": float(settings.get("pixelnorm_epsilon", 1e-8)),
    }
    widths = [len(weights["conv.conv.weight"])]
    widths += [len(weights[f"decoder.blocks.{s}.1.conv.weight"]) for s in range(last)]
    channels = (len(weights["decoder.to_rgb.0.weight"]),)
    return _at_lod(_pggan("generator", options, channels, weights, widths, 1.0, classes), lod)


def _discriminator(arrays: Mapping[str, np.ndarray], settings: Mapping[str, Any]) -> Part:
    take, last = _Taken(arrays), _stages(arrays, "FromRGB") - 1
    weights, lod = dict[str, Tensor](), _lod(take)
    fused = f"{4 << last}x{4 << last}/Conv1_down/weight" in arrays
    for s in range(last + 1):
        weights |= take.conv(f"FromRGB_lod{last - s}", f"encoder.from_rgb.{s}.conv")
    for s in range(1, last + 1):
        side, own = 4 << s, f"encoder.blocks.{s - 1}"
        weights |= take.conv(f"{side}x{side}/Conv0", f"{own}.0.conv")
        weights |= take.conv(f"{side}x{side}/Conv1{'_down' * fused}", f"{own}.1.conv")
    weights |= take.conv("4x4/Conv", "head.conv.conv")
    dense, logit = take("4x4/Dense0/weight").T, take("4x4/Dense1/weight").T
    width = len(weights["head.conv.conv.weight"])
    weights |= {"head.dense.weight": dense.reshape(-1, width, 4, 4), "head.dense.bias": take("4x4/Dense0/bias")}
    weights |= {"head.logit.weight": logit, "head.logit.bias": take("4x4/Dense1/bias")}
    take.done()
    group = weights["head.conv.conv.weight"].shape[1] - width and int(settings.get("mbstd_group_size", 4))
    options: dict[str, Any] = {
        "name": "pggan",
        "minibatch_stddev": group,
        "equalized": bool(settings.get("use_wscale", True)),
        "fused_scale": fused,
    }
    widths = [width, *(weights[f"encoder.blocks.{s}.0.conv.weight"].shape[0] for s in range(last))]
    channels = (weights["encoder.from_rgb.0.conv.weight"].shape[1],)
    part = _pggan("discriminator", options, channels, weights, widths, 1.0, len(logit) - 1)
    part = Part(**{**vars(part), "override": {**part.override, "hidden": len(dense)}})
    return _at_lod(part, lod)


def _lod(take: _Taken) -> float:
    """How many doublings are missing, of which a part may be faded in."""
    return float(take("lod")) if "lod" in take.left else 0.0


def _at_lod(part: Part, lod: float) -> Part:
    assert part.resolution is not None
    missing = math.floor(lod)
    if lod < 0 or part.resolution >> missing < 4:
        raise UserError(f"its lod is {lod:g}, which is none of its stages.")
    return Part(**{**vars(part), "alpha": 1 - (lod - missing), "resolution": part.resolution >> missing})


def _pggan(
    player: str,
    options: Mapping[str, Any],
    channels: tuple[int, ...],
    weights: State,
    widths: list[int],
    alpha: float,
    classes: int,
    remarks: tuple[str, ...] = (),
) -> Part:
    """A part of a PG-GAN, with the recipe's keys that give its widths, as far as there are such."""
    resolution = 4 << (len(widths) - 1)
    most, base = max(widths), max(width * (4 << s) // 2 for s, width in enumerate(widths))
    if stage_channels(4, resolution, base, 1.0, most) != widths:
        remarks = (
            *remarks,
            f"no recipe says feature maps of {', '.join(map(str, widths))}, so that it cannot be fine-tuned",
        )
    recipe = {"resolution": resolution, "network": {"channels": {"base": base, "decay": 1.0, "max": most}}}
    names = tuple(str(number) for number in range(classes))
    return Part(
        player, options, channels, {key: tensor.clone() for key, tensor in weights.items()}, resolution, recipe,
        {"channels": widths}, alpha, names, remarks,
    )  # fmt: skip


# --- Theano ---------------------------------------------------------------------------------------------------------


def _of_theano(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables that the official TensorFlow code would have for a network of the Theano code.

    Theano's lists have no names. Its convolutions turn their kernels, and its scales were measured when the weights
    were drawn.
    """
    spec = dict(state.get("build_func_spec") or {})
    func, values = str(spec.pop("func", "")), list(state["param_values"])
    refused = [key for key in ("tanh_at_end", "use_batchnorm", "use_layernorm", "mbdisc_kernels") if spec.get(key)]
    refused += ["label_size"] if spec.get("label_size") else []
    if refused or spec.get("mbstat_avg", "all") != "all":
        raise UserError(
            f"it was made with {(refused or ['mbstat_avg'])[0]}, which the official code does not convert either."
        )
    scaled = bool(spec.get("use_wscale", True))
    is_generator = func.startswith("G_")
    if not func.startswith(("G_", "D_")):
        raise UserError(f"it was made by {func!r:.60}, which is none of the PG-GAN code.")
    layers = _theano_layers(is_generator, len(values) // (3 if scaled else 2))
    if len(layers) * (3 if scaled else 2) != len(values):
        raise UserError(f"it has {len(values)} arrays, which is no whole number of layers.")
    found, rest = dict[str, Any](), iter(np.asarray(value, np.float64) for value in values)
    for name, gain in layers:
        weight = next(rest)
        scale, bias = (float(next(rest)) if scaled else None), next(rest)
        weight = _theano_weight(name, weight)
        if scale is not None:
            fan_in = math.prod(weight.shape[:-1])
            weight = weight * (scale * math.sqrt(fan_in) / gain)
        found |= {f"{name}/weight": weight, f"{name}/bias": bias}
    toplevel = state.get("toplevel_params") or {}
    found["lod"] = np.asarray(toplevel.get("cur_lod", 0.0)).reshape(())
    settings = {"use_wscale": scaled, "mbstd_group_size": 16}
    for key in ("normalize_latents", "use_pixelnorm", "use_leakyrelu"):
        settings |= {key: bool(spec[key])} if key in spec else {}
    return found, settings


def _theano_layers(is_generator: bool, count: int) -> list[tuple[str, float]]:
    """Names and gains of the layers in the order of the list: 3 of each stage, of the generator none less."""
    he, last = math.sqrt(2), (count - (3 if is_generator else 4)) // 3
    sides = [4 << s for s in range(1, last + 1)]
    if is_generator:
        inner = [(f"{side}x{side}/{name}", he) for side in sides for name in ("Conv0", "Conv1")]
        rgb = [(f"ToRGB_lod{lod}", 1.0) for lod in range(last + 1)]
        return [("4x4/Dense", he / 4), ("4x4/Conv", he), *inner, *rgb]
    found = [("FromRGB_lod0", he)]
    for i, side in enumerate(reversed(sides)):
        found += [(f"{side}x{side}/Conv0", he), (f"{side}x{side}/Conv1", he), (f"FromRGB_lod{i + 1}", he)]
    return [*found, ("4x4/Conv", he), ("4x4/Dense0", he), ("4x4/Dense1", 1.0)]


def _theano_weight(name: str, weight: np.ndarray) -> np.ndarray:
    """A kernel as TensorFlow has it."""
    if "RGB" in name:
        return weight.reshape(1, 1, *weight.shape[-2:]) if weight.ndim == 2 else weight
    if name == "4x4/Dense":  # [out, in, 4, 4]
        return weight.transpose(1, 0, 2, 3).reshape(weight.shape[1], -1)
    if name == "4x4/Dense0" and weight.ndim == 4:
        return weight[:, :, ::-1, ::-1].reshape(len(weight), -1).T
    if weight.ndim == 4:
        return weight.transpose(2, 3, 1, 0)[::-1, ::-1]
    return weight
