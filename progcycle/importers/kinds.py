"""Which project a file comes from, by its keys; and why others cannot be taken."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from progcycle.errors import UserError
from progcycle.importers import generators, translators
from progcycle.importers.part import Part, State
from progcycle.importers.pickles import read_networks
from progcycle.importers.reading import Settings, as_state, check_file, check_finite, read_torch

KINDS = {
    "pytorch-cyclegan": "pytorch-CycleGAN-and-pix2pix: ResNet, U-Net, PatchGAN, PixelGAN (latest_net_G_A.pth, ...)",
    "cut": "CUT: the same with blurs (latest_net_G.pth)",
    "joligen": "joliGEN: resnet (latest_net_G_A.pth)",
    "gan-zoo": "pytorch_GAN_zoo: PG-GAN and DCGAN (NAME_s6_i80000.pt)",
    "official-pggan": "the official PG-GAN code in TensorFlow or Theano (network-final.pkl)",
    "pytorch-dcgan": "the DCGAN of pytorch/examples (netG_epoch_24.pth)",
}
Test = Callable[[State], bool]


def _has(*keys: str) -> Test:
    return lambda state: all(key in state for key in keys)


def _any(words: str) -> Test:
    return lambda state: any(words in key for key in state)


# By kind: how files of it are told, and what reads them; the first that fits counts.
READERS: tuple[tuple[str, Test, Callable[[State], Part]], ...] = (
    ("joligen", _has("encoder.model.1.weight", "decoder.model.0.weight"), translators.joligen_resnet),
    ("pytorch-cyclegan", _has("model.model.0.weight", "model.model.3.weight"), translators.unet),
    ("pytorch-cyclegan", lambda s: "model.1.weight" in s and _any(".conv_block.")(s), translators.resnet),
    ("pytorch-cyclegan", lambda s: _is_patchgan(s), translators.patchgan),
    ("pytorch-cyclegan", _has("net.0.weight", "net.2.weight"), translators.patchgan),  # PixelGAN
    ("pytorch-dcgan", _has("main.0.weight", "main.1.running_mean"), generators.dcgan_generator),
    ("pytorch-dcgan", _has("main.0.weight", "main.3.running_mean"), generators.dcgan_discriminator),
)


def _is_patchgan(state: State) -> bool:
    first = state.get("model.0.weight", state.get("model.0.weight_orig"))
    return first is not None and first.ndim == 4 and first.shape[2] == 4 and not _any("conv_block")(state)


def _is_pix2pixhd(state: State) -> bool:
    tenth = state.get("model.10.weight")
    return tenth is not None and tenth.ndim == 4 and tenth.shape[2] == 3 and "model.13.weight" in state


# What is known, and cannot be taken: how it is told, and what it is.
OTHERS: tuple[tuple[Test, str], ...] = (
    (_has("sd_vae_enc"), "adapters of CycleGAN-Turbo, which need Stable Diffusion Turbo around them"),
    (
        lambda s: _any("deconv1_content")(s) or _any("resnet_blocks.0.conv1")(s),
        "a generator of joliGEN with attention (resnet_attn), which mixes ten pictures; only its resnet can be taken",
    ),
    (
        _any(".conv_block.1.conv."),
        "joliGEN's mobile_resnet, whose convolutions are split in two; only its resnet can be taken",
    ),
    (_any("model1_1."), "a local enhancer of pix2pixHD"),
    (_is_pix2pixhd, "a generator of pix2pixHD, which halves its pictures four times"),
    (_any("scale0_layer0"), "a discriminator of pix2pixHD, whose padding is another than PatchGAN's"),
    (_any("main.initial:"), "a network of WassersteinGAN's code, with layers that progcycle's DCGAN does not have"),
    (
        _has("generator", "gen_optim"),
        "a checkpoint of pro_gan_pytorch, whose generator lacks a pixel norm that PG-GAN has",
    ),
    (_has("meta", "state_dict"), "a checkpoint of mmagic or another project of OpenMMLab"),
    (lambda s: _any("_body.")(s) and _any("_head.")(s), "a discriminator of uvcgan2"),
    (_any("modnet"), "a generator of uvcgan2, a U-Net around a vision transformer"),
    (_has("g_ema"), "a checkpoint of StyleGAN2"),
    (_has("features.0.conv.weight"), "a PG-GAN that was converted by another project; import the original pickle"),
    (
        lambda s: "layer1.conv.weight" in s or ("layer0.weight" in s and "layer1.weight" in s),
        "a PG-GAN that was converted by genforce or gandissect; import the original pickle",
    ),
    (lambda s: _any("mlp_0.")(s) and len(s) < 30, "the patch features of CUT (net_F), which only its loss uses"),
    (lambda s: "state" in s and "param_groups" in s, "the state of an optimizer"),
)


def read_parts(path: Path, kind: str | None = None) -> tuple[str, list[Part]]:
    """The networks of a file, and which project it comes from.

    Args:
        path: of the file.
        kind: a key of ``KINDS`` that it must be of; default: what its keys say.

    Raises:
        UserError: it cannot be read, is of another kind, or of one that cannot be taken.
    """
    found, parts = _read(path)
    if kind is not None and found != kind:
        raise UserError(f"{path} is not of {kind} but of {found}; give --from {found}, or leave --from out.")
    return found, parts


def _read(path: Path) -> tuple[str, list[Part]]:
    head = check_file(path)
    if path.suffix == ".pkl" and not head.startswith(b"PK"):
        return "official-pggan", [_named(path, generators.official_network, state) for state in _useful(path)]
    content = read_torch(path)
    if isinstance(content, Mapping) and any(key in content for key in ("netG", "avgG")):
        return "gan-zoo", _of_zoo(content, path)
    if isinstance(content, Mapping):
        _refuse_others(content, path)
    state = as_state(content, path)
    _refuse_others(state, path)
    for kind, fits, read in READERS:
        if fits(state):
            if kind == "pytorch-cyclegan" and any(key.endswith(".filt") for key in state):
                kind = "cut"
            return kind, [_named(path, read, state)]
    some = ", ".join(list(state)[:3])
    raise UserError(f"{path} holds no network that is known ({some}, ...); these can be taken: {', '.join(KINDS)}.")


def _refuse_others(content: Mapping[Any, Any], path: Path) -> None:
    texts = {key: value for key, value in content.items() if isinstance(key, str)}
    for fits, what in OTHERS:
        if fits(texts):
            raise UserError(f"{path} is {what}; it cannot be imported.")


def _named(path: Path, read: Callable[..., Part], *arguments: Any) -> Part:
    """What a function reads, whose errors begin with the name of the file."""
    try:
        return read(*arguments)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    except (KeyError, ValueError, IndexError, TypeError, RuntimeError) as error:  # a stranger's shapes
        reason = " ".join(str(error).split())[:120].rstrip(".")
        raise UserError(f"{path}: its tensors do not belong together ({type(error).__name__}: {reason}).") from None


def _useful(path: Path) -> list[Mapping[str, Any]]:
    """Of G, D and the average of G, the last two."""
    networks = read_networks(path)
    return networks if len(networks) == 1 else [networks[2], networks[1]]


def _of_zoo(content: Mapping[str, Any], path: Path) -> list[Part]:
    settings = content.get("config")
    config = vars(settings) if isinstance(settings, Settings) else settings if isinstance(settings, Mapping) else {}
    generator = as_state(content.get("avgG") or content["netG"], path)
    if "groupScale0.0.module.weight" in generator or "groupScale0.0.weight" in generator:
        return [_named(path, generators.zoo_generator, generator, config)]
    if "formatLayer.weight" not in generator:
        raise UserError(f"{path} comes from pytorch_GAN_zoo, and holds neither its PG-GAN nor its DCGAN.")
    if config.get("lossCriterion", "DCGAN") not in generators.BOUNDED:
        raise UserError(f"{path} is a DCGAN whose pictures are not bounded by tanh; progcycle's are.")
    parts = [_named(path, generators.zoo_dcgan_generator, generator)]
    if "netD" in content:
        judge = as_state(content["netD"], path)
        check_finite(judge, path)
        if len(judge.get("decisionLayer.weight", ())) == 1:
            parts.append(_named(path, generators.zoo_dcgan_discriminator, judge))
    return parts
