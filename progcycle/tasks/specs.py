"""From a recipe to networks: names, widths, constructor arguments, and combinations that have no meaning."""

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from progcycle.errors import UserError
from progcycle.networks import feature_maps, stage_channels
from progcycle.objectives import ADVERSARIAL
from progcycle.recipe import Adversarial, Channels, CycleganNetwork, NetworkOptions, Normalization, Recipe

# Arguments that not every network takes: their recipe keys, and the value that one without them has anyway, unless its
# class says otherwise in ``has``.
OPTIONAL: dict[str, tuple[str, object]] = {
    "bounded": ("network.bounded", False),
    "classes": ("data.labels", 0),
    "convs": ("network.convs", 2),
    "fused": ("network.fused_scale", False),
    "head": ("network.head", "dense"),
    "initialization": ("network.initialization", "he"),
    "kernels": ("network.minibatch_discrimination", 0),
    "layers": ("network.patch_layers", 3),
    "predict": ("network.predict", "picture"),
    "residual_blocks": ("network.residual_blocks", 4),
    "rgb_kernel": ("network.rgb_kernel", 1),
    "scales": ("network.discriminator_scales", 1),
    "skips": ("network.skips", False),
    "smooth": ("network.smooth", False),
    "spectral_norm": ("network.spectral_norm", False),
    "stddev_group": ("network.minibatch_stddev", 0),
    "tanh": ("network.tanh", False),
    "upsampling": ("network.upsampling", "transposed"),
}
# Arguments that a network may leave out without a word: they follow from others, or :func:`check_keys` looks at them.
SILENT = {
    "averaging", "base_resolution", "channels", "dimensions", "epsilon", "equalized", "filters", "gather", "halvings",
    "hidden", "rgb", "slope",
}  # fmt: skip


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
    has: Mapping[str, object] = getattr(kind, "has", {})
    for option, (option_key, usual) in OPTIONAL.items():
        without = has.get(option, usual)
        if option in arguments and not everything and option not in taken and arguments[option] != without:
            raise UserError(f"{option_key}: the network {name!r} of {key} has no such option; leave it out.")
    optional = OPTIONAL.keys() | SILENT
    kept = {k: value for k, value in arguments.items() if everything or k in taken or k not in optional}
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
        "initialization": options.initialization,
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
        "initialization": options.initialization,
        "spectral_norm": options.spectral_norm,
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


def check_growth(
    players: Mapping[str, Iterable[str]],
    networks: Mapping[str, nn.Module],
    specs: Mapping[str, Mapping[str, Any]],
    recipe: Recipe,
) -> None:
    """Refuse networks that do not grow in a recipe that does, or whose pictures are too small for them.

    Beside a network that has stages, they work where training starts at the last of them.

    Args:
        players: names of each player's networks; a player is also the recipe key of what they are.
        networks: made by :func:`make`, by name.
        specs: their names in the registries, and their arguments.
        recipe: says where training starts and ends.

    Raises:
        UserError: one cannot be trained so.
    """
    base, start, resolution = recipe.network.base_resolution, recipe.schedule.start_resolution, recipe.resolution
    owners = {own: player for player, names in players.items() for own in names}
    fixed = [own for own, network in networks.items() if not getattr(network, "grows", True)]
    for own in fixed:
        name, key = specs[own]["name"], f"network.{owners[own]}"
        told = f"the network {name!r} of {key} does not grow"
        if len(fixed) == len(networks) and base != resolution:
            raise UserError(
                f"network.base_resolution: {told}, nor does another, so that this must be the resolution, "
                f"{resolution}, and not {base}."
            )
        if (start or base) != resolution:
            raise UserError(f"schedule.start_resolution: {told}, so that this must be the resolution, {resolution}.")
        smallest = int(getattr(networks[own], "smallest", 1))
        if resolution < smallest:
            layers = specs[own]["arguments"].get("layers")
            remedy = "raise it" if layers is None else f"raise it, or lower network.patch_layers, which is {layers}"
            raise UserError(
                f"resolution: {resolution} px are too small for the network {name!r} of {key}, which needs {smallest}; "
                f"{remedy}."
            )


def check_keys(options: CycleganNetwork, generator: Mapping[str, Any], discriminator: Mapping[str, Any]) -> None:
    """Refuse keys of sizes and shared options that neither network has.

    Args:
        options: the ``network`` section of a recipe.
        generator: arguments that the translators were made with.
        discriminator: arguments that the discriminators were made with.

    Raises:
        UserError: a key away from its default would change nothing.
    """
    either = {**generator, **discriminator}
    norms = options.normalization
    own_filters = "filters" in discriminator and options.discriminator_filters is not None
    idle = {
        "channels": "channels" not in either and options.channels != Channels(),
        "discriminator_channels": "channels" not in discriminator and options.discriminator_channels is not None,
        "filters": options.filters != 64 and "filters" not in (generator if own_filters else either),
        "discriminator_filters": "filters" not in discriminator and options.discriminator_filters is not None,
        "rgb": "rgb" not in either and options.rgb != "replace",
        "equalized": "equalized" not in either and options.equalized,
        "slope": "slope" not in either and options.slope != 0.2,
        "normalization.epsilon": norms.epsilon != Normalization().epsilon
        and not any(
            arguments.get("normalize") == "pixel" and "epsilon" in arguments for arguments in (generator, discriminator)
        ),
    }
    for key in (key for key, nothing in idle.items() if nothing):
        raise UserError(
            f"network.{key}: neither {options.generator!r} nor {options.discriminator!r} would use it; leave it out."
        )


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
