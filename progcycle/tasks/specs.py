"""From a recipe to networks: their constructor arguments, and combinations that have no meaning."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from progcycle.errors import UserError
from progcycle.networks import Network, TaskShape
from progcycle.objectives import ADVERSARIAL
from progcycle.recipe import Adversarial, NetworkSection, Place, Recipe, players_of
from progcycle.resolution import Resolution


def look_up(registry: Mapping[str, Any], name: str, key: str) -> Any:
    """The entry of a registry.

    Raises:
        UserError: there is none of that name; the sentence lists those that there are.
    """
    if name not in registry:
        raise UserError(f"{key}: there is no {name!r}; choose one of {', '.join(sorted(registry))}.")
    return registry[name]


def task_shape(recipe: Recipe, classes: int = 0, **channels: int) -> TaskShape:
    """What a recipe fixes for a network.

    Args:
        recipe: a validated recipe.
        classes: classes of the pictures.
        channels: channels of the pictures, see :class:`TaskShape`.
    """
    end = recipe.schedule.hold_resolution or recipe.resolution
    base = recipe.network.base_resolution
    grows = (recipe.schedule.start_resolution or base) < end
    return TaskShape(recipe.resolution, base, end, channels, classes, recipe.seed, grows)


def network_key(player: str, place: Place = ()) -> str:
    """The recipe key of a network of a player; ``place`` leads to it where there are several."""
    return ".".join(map(str, ("network", player, *place)))


def make_network(
    section: NetworkSection, player: str, shape: TaskShape, place: Place = (), options: Any = None
) -> tuple[Network, dict[str, Any]]:
    """A network, and its name and constructor arguments, enough to build it again.

    Args:
        section: the section ``network`` of a recipe.
        player: whose network.
        shape: what the task fixes for it.
        place: leads to it where the player has several.
        options: of the network there; default: all of the player.

    Raises:
        UserError: it does not fit the task.
    """
    key, options = network_key(player, place), options or getattr(section, player)
    kind = players_of(type(section))[player].networks[options.name]
    if kind.squares and not Resolution.of(shape.resolution).is_square:
        raise UserError(
            f"{key}: the network {options.name!r} works on squares only, and these pictures have "
            f"{shape.resolution} px; choose another network, or one number as the resolution."
        )
    if shape.classes and not kind.has_classes:
        raise UserError(f"data.labels: the network {options.name!r} of {key} knows no classes; leave it out.")
    try:
        found = options.arguments(shape).items()
        arguments = {name: value.plain if isinstance(value, Resolution) else value for name, value in found}
        network = kind(**arguments)
    except ValueError as error:
        raise UserError(f"{key}.{error}.") from None
    return network, {"name": options.name, "arguments": arguments}


def in_objective(key: str) -> str:
    """Where an adversarial key stands that all discriminators share."""
    return f"objective.{key}"


def check_adversarial(options: Adversarial, where: Callable[[str], str] = in_objective) -> None:
    """Refuse combinations of adversarial keys that have no meaning.

    Args:
        options: the keys.
        where: the recipe key of each.

    Raises:
        UserError: an unknown loss, wgan with neither its gradient penalty nor clipped weights, or with both, a key of
            another loss, or an adaptive augmentation with a loss whose logits have no sign.
    """
    look_up(ADVERSARIAL, options.loss, where("loss"))
    if options.loss == "wgan" and options.gradient_penalty is None and options.weight_clipping is None:
        key = where("gradient_penalty")
        raise UserError(
            f"{key.rpartition('.')[0]}: wgan needs its gradient penalty; add {key}: {{weight: 10}}, or else "
            f"{where('weight_clipping')}: 0.01."
        )
    if options.weight_clipping is not None and options.gradient_penalty is not None:
        raise UserError(f"{where('weight_clipping')}: it stands for the gradient penalty; leave out one of the two.")
    for name, loss in (("weight_clipping", "wgan"), ("label_smoothing", "non_saturating")):
        if getattr(options, name) is not None and options.loss != loss:
            raise UserError(f"{where(name)}: it belongs to {loss}, not to {options.loss}; leave it out.")
    if options.feature_matching is not None and options.label_smoothing and options.label_smoothing.generator != 1:
        raise UserError(
            f"{where('label_smoothing')}.generator: with {where('feature_matching')} the generator has no target; "
            "leave out one of the two."
        )
    adaptive = options.augment is not None and options.augment.adaptive is not None
    if adaptive and ADVERSARIAL[options.loss].midpoint is None:
        raise UserError(
            f"{where('augment')}.adaptive: it follows the sign of logits, which says nothing with {options.loss}; use "
            f"non_saturating, hinge or lsgan, or a fixed {where('augment')}.probability."
        )
    if options.loss != "wgan" and options.drift:
        raise UserError(f"{where('drift')}: it belongs to wgan, not to {options.loss}; set it to 0.")
    if options.loss == "lsgan":
        return
    for name in ("lsgan_factor", "lsgan_fake_factor"):
        if getattr(options, name) != 1:
            raise UserError(f"{where(name)}: it belongs to lsgan, not to {options.loss}; leave it at 1.")
    if options.noise is not None:
        raise UserError(f"{where('noise')}: it belongs to lsgan, not to {options.loss}; leave it out.")


def check_growth(
    players: Mapping[str, Iterable[str]],
    networks: Mapping[str, Network],
    specs: Mapping[str, Mapping[str, Any]],
    recipe: Recipe,
    keys: Mapping[str, str] = MappingProxyType({}),
    halvings: Mapping[str, int] = MappingProxyType({}),
) -> None:
    """Refuse networks that cannot grow as a recipe wants it, and pictures that are too small for a network.

    Args:
        players: names of each player's networks; a player is also the recipe key of what they are.
        networks: made by :func:`make_network`, by name.
        specs: their names in the registries, and their arguments.
        recipe: says where training starts and ends.
        keys: recipe keys of networks that do not stand under their player's alone, by name.
        halvings: how often the sides of the pictures are halved for a network, by name.

    Raises:
        UserError: one cannot be trained so.
    """
    base, resolution = recipe.network.base_resolution, recipe.resolution
    start = recipe.schedule.start_resolution or base
    by_size = recipe.schedule.growth == "size"
    if by_size and start < (recipe.schedule.hold_resolution or resolution):
        _check_growth_by_size(players, networks, specs, recipe, keys, halvings)
        return
    owners = {own: player for player, names in players.items() for own in names}
    for own, network in networks.items():
        name, key, halved = specs[own]["name"], keys.get(own, network_key(owners[own])), halvings.get(own, 0)
        if network.sizes == "one" and start != resolution:
            raise UserError(
                f"schedule.start_resolution: the network {name!r} of {key} works at one size, so that this must be the "
                f"resolution, {resolution}, and not {start}."
            )
        if network.sizes != "growing" and start >> halved < network.smallest:
            layers = specs[own]["arguments"].get("layers")
            where = "resolution" if start == resolution else "schedule.start_resolution"
            remedies = ["raise it"] + ([f"lower {key}.reduce, which is {1 << halved}"] if halved else [])
            remedies += [] if layers is None else [f"lower {key}.layers, which is {layers}"]
            remedy = ", or ".join(remedies)
            raise UserError(
                f"{where}: {start} px are too small for the network {name!r} of {key}, which needs "
                f"{network.smallest << halved}; {remedy}."
            )
        if network.sizes != "growing":
            where = "resolution: choose another" if start == resolution else "schedule.start_resolution: raise it"
            multiple = network.multiple(0) << halved
            _check_multiple(start, multiple, f"the network {name!r} of {key}", where)
    if base != start and not any(network.sizes == "growing" for network in networks.values()):
        raise UserError(
            f"network.base_resolution: no network here grows, so that this must be where training starts, {start}, and "
            f"not {base}."
        )


def _check_growth_by_size(
    players: Mapping[str, Iterable[str]],
    networks: Mapping[str, Network],
    specs: Mapping[str, Mapping[str, Any]],
    recipe: Recipe,
    keys: Mapping[str, str],
    halvings: Mapping[str, int],
) -> None:
    """The same where whole networks see smaller pictures first; see :func:`check_growth`."""
    base, start = recipe.network.base_resolution, recipe.schedule.start_resolution or recipe.network.base_resolution
    stage = (int(recipe.resolution) // int(base)).bit_length() - 1
    owners = {own: player for player, names in players.items() for own in names}
    for own, network in networks.items():
        name, key, halved = specs[own]["name"], keys.get(own, network_key(owners[own])), halvings.get(own, 0)
        if not network.any_size:
            dense = specs[own]["arguments"].get("head") == "dense"
            remedy = f"{key}.head: patch" if dense else "growth: layers"
            raise UserError(
                f"schedule.growth: size shows a whole network smaller pictures, which {name!r} of {key} cannot take, "
                f"since it is made for one size; use {remedy}."
            )
        multiple = network.multiple(stage - halved) << halved
        if start < (least := network.least(stage - halved) << halved):
            raise UserError(
                f"schedule.start_resolution: {start} px are too small for the whole network {name!r} of {key}, which "
                f"needs {least} with schedule.growth: size; raise it."
            )
        _check_multiple(start, multiple, f"the whole network {name!r} of {key}", "schedule.start_resolution: raise it")


def _check_multiple(size: int, multiple: int, network: str, remedy: str) -> None:
    """Refuse sides that a network cannot halve without a rest."""
    if any(side % multiple for side in Resolution.of(size).shape):
        key, _, what = remedy.partition(": ")
        raise UserError(f"{key}: {network} needs sides of multiples of {multiple} px, and {size} px are none; {what}.")


def check_augment(
    options: Adversarial,
    channels: Iterable[int],
    where: Callable[[str], str] = in_objective,
    resolution: int = 1,
) -> None:
    """Refuse operations that change nothing, and those that rectangles cannot take.

    Args:
        options: the adversarial keys.
        channels: of the pictures, of each domain.
        where: the recipe key of each.
        resolution: of the pictures.

    Raises:
        UserError: hue, and all pictures are grey; or quarter turns of rectangles.
    """
    if options.augment is not None and "rotate90" in options.augment.policy and not Resolution.of(resolution).is_square:
        raise UserError(
            f"{where('augment')}.policy: rotate90 makes pictures of {resolution} px those of another shape; "
            "leave it out."
        )
    if options.augment is not None and "hue" in options.augment.policy and set(channels) == {1}:
        raise UserError(f"{where('augment')}.policy: hue changes no grey pictures (channels is 1); leave it out.")
