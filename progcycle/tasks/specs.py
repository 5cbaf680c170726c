"""From a recipe to networks: names, widths, constructor arguments, and combinations that have no meaning."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from progcycle.errors import UserError
from progcycle.networks import feature_maps, stage_channels
from progcycle.objectives import ADVERSARIAL
from progcycle.recipe import Adversarial, NetworkOptions

# Arguments that not every network takes: their recipe keys, and the value that one without them has anyway.
OPTIONAL: dict[str, tuple[str, object]] = {
    "classes": ("data.labels", 0),
    "convs": ("network.convs", 2),
    "fused": ("network.fused_scale", False),
    "head": ("network.head", "dense"),
    "rgb_kernel": ("network.rgb_kernel", 1),
    "tanh": ("network.tanh", False),
}


def pick(registry: Mapping[str, Any], name: str, key: str) -> Any:
    """The entry of a registry.

    Raises:
        UserError: there is none of that name; the sentence lists those that there are.
    """
    if name not in registry:
        raise UserError(f"{key}: there is no {name!r}; choose one of {', '.join(sorted(registry))}.")
    return registry[name]


def make(
    registry: Mapping[str, type[nn.Module]], name: str, key: str, arguments: Mapping[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """A network, and its name and constructor arguments, enough to build it again.

    Args:
        registry: networks by name.
        name: which.
        key: the recipe key that the name comes from.
        arguments: everything that the recipe says; the network gets what it takes.

    Raises:
        UserError: there is no such network, or it does not have an option that the recipe asks for.
    """
    kind = pick(registry, name, key)
    parameters = inspect.signature(kind).parameters.values()
    taken = {parameter.name for parameter in parameters}
    everything = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    for option, (option_key, without) in OPTIONAL.items():
        if option in arguments and not everything and option not in taken and arguments[option] != without:
            raise UserError(f"{option_key}: the network {name!r} of {key} has no such option; leave it out.")
    kept = {k: value for k, value in arguments.items() if everything or k in taken or k not in OPTIONAL}
    return kind(**kept), {"name": name, "arguments": kept}


def widths(options: NetworkOptions, base_resolution: int, resolution: int) -> tuple[list[int], list[int], int]:
    """Feature maps by stage of the generators and of the discriminators, and those of a dense head."""
    own = options.channels
    judge = options.discriminator_channels or own
    generator = stage_channels(base_resolution, resolution, own.base, own.decay, own.max)
    discriminator = stage_channels(base_resolution, resolution, judge.base, judge.decay, judge.max)
    return generator, discriminator, feature_maps(base_resolution // 2, judge.base, judge.decay, judge.max)


def generator_arguments(options: NetworkOptions) -> dict[str, Any]:
    """What the generators of both tasks are told alike."""
    return {
        "rgb": options.rgb,
        "normalize": options.normalization.generator,
        "epsilon": options.normalization.epsilon,
        "equalized": options.equalized,
        "slope": options.slope,
    }


def discriminator_arguments(options: NetworkOptions) -> dict[str, Any]:
    """What the discriminators of both tasks are told alike."""
    stddev, instead = options.minibatch_stddev, options.minibatch_discrimination
    variation = {"kernels": instead.kernels, "dimensions": instead.dimensions} if instead else {"kernels": 0}
    return {
        "rgb": options.rgb,
        "stddev_group": stddev.group,
        "averaging": stddev.averaging,
        "gather": instead.gather if instead else stddev.gather,
        **variation,
        "normalize": options.normalization.discriminator,
        "epsilon": options.normalization.epsilon,
        "equalized": options.equalized,
        "slope": options.slope,
    }


def check_variation(options: NetworkOptions, base_channels: int) -> None:
    """Refuse feature groups that do not divide the discriminator's features.

    Args:
        options: the ``network`` section of a recipe.
        base_channels: the discriminator's features at its base resolution.

    Raises:
        UserError: K of groupK does not divide them.
    """
    stddev = options.minibatch_stddev
    if stddev.group and stddev.averaging.startswith("group") and base_channels % int(stddev.averaging[5:]):
        raise UserError(
            f"network.minibatch_stddev.averaging: {stddev.averaging} does not divide the {base_channels} feature maps "
            "that the discriminator has at its base resolution; choose a divisor of them."
        )


def check_adversarial(options: Adversarial) -> None:
    """Refuse combinations of adversarial keys that have no meaning.

    Raises:
        UserError: an unknown loss, wgan without its gradient penalty, a key of another loss, or an adaptive
            augmentation with a loss whose logits have no sign.
    """
    pick(ADVERSARIAL, options.loss, "objective.loss")
    if options.loss == "wgan" and options.gradient_penalty is None:
        raise UserError("objective: wgan needs its gradient penalty; add objective.gradient_penalty: {weight: 10}.")
    adaptive = options.augment is not None and options.augment.adaptive is not None
    if adaptive and ADVERSARIAL[options.loss].midpoint is None:
        raise UserError(
            f"objective.augment.adaptive: it follows the sign of logits, which says nothing with {options.loss}; use "
            "non_saturating, hinge or lsgan, or a fixed objective.augment.probability."
        )
    if options.loss != "wgan" and options.drift:
        raise UserError(f"objective.drift: it belongs to wgan, not to {options.loss}; set it to 0.")
    if options.loss == "lsgan":
        return
    for name in ("lsgan_factor", "lsgan_fake_factor"):
        if getattr(options, name) != 1:
            raise UserError(f"objective.{name}: it belongs to lsgan, not to {options.loss}; leave it at 1.")
    if options.noise is not None:
        raise UserError(f"objective.noise: it belongs to lsgan, not to {options.loss}; leave it out.")


def check_augment(options: Adversarial, channels: Iterable[int]) -> None:
    """Refuse operations that change nothing in any domain.

    Args:
        options: the adversarial keys.
        channels: of the pictures of each domain.

    Raises:
        UserError: hue, and all pictures are grey.
    """
    if options.augment is not None and "hue" in options.augment.policy and set(channels) == {1}:
        raise UserError("objective.augment.policy: hue changes no grey pictures (channels is 1); leave it out.")
