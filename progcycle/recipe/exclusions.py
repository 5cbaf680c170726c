"""Keys that exclude each other: a key written later removes the inherited keys that it excludes.

So a file that extends another, or an override on the command line, may set ``data.a.path`` where the inherited recipe
has ``data.root``. Both in one file stay an error, which validation reports.
"""

import functools
import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, get_args

from progcycle.recipe.forms import closed
from progcycle.recipe.networks import (
    SECTION,
    NetworkSection,
    at_place,
    grows,
    has_path,
    is_for_all,
    leaves,
    places_in,
    players_of,
    put_at,
    shared_keys,
    with_shared,
)
from progcycle.recipe.optimizer import PlayerOptimizer, keys_of_others
from progcycle.recipe.schema import RECIPES, Recipe
from progcycle.recipe.values import NATIVE


def _something(value: Any) -> bool:
    return value is not None and value is not False


@dataclass(frozen=True)
class Exclusion:
    """Writing one of some keys with certain values removes others.

    Attributes:
        written: dotted keys, of which one is enough.
        excludes: dotted keys that are removed, and the values put in their place; None: none.
        when: which values exclude them; default: all but empty ones.
    """

    written: tuple[str, ...]
    excludes: Mapping[str, Any]
    when: Callable[[Any], bool] = _something


def _without(*keys: str) -> dict[str, Any]:
    return dict.fromkeys(keys)


_OWN: Final = "network.discriminator."
_PATHS: Final = ("data.a.path", "data.b.path")
_STDDEV, _INSTEAD = (f"network.discriminator.minibatch_{kind}" for kind in ("stddev", "discrimination"))
EXCLUSIONS: Final = (
    Exclusion(("data.root",), _without(*_PATHS, "data.a.test_path", "data.b.test_path")),
    Exclusion(_PATHS, _without("data.root")),
    *(
        Exclusion((f"{pictures}.load_resolution",), _without(f"{pictures}.fit"), lambda v: v == NATIVE)
        for pictures in ("data", "data.a", "data.b")
    ),
    Exclusion(("levels",), _without("schedule.start_resolution", "schedule.hold_resolution")),
    Exclusion(("training.ema.per_step",), _without("training.ema.half_life_kimg", "training.ema.rampup")),
    Exclusion(("training.ema.half_life_kimg", "training.ema.rampup"), _without("training.ema.per_step")),
    Exclusion(("training.compile",), _without("training.cuda_graphs"), lambda v: v in ("off", False)),
    Exclusion(("pretraining.schedule",), _without("pretraining.share")),
    Exclusion(("pretraining.share",), _without("pretraining.schedule")),
    Exclusion(("pretraining.kind",), _without("pretraining.masked", "pretraining.patch"), lambda v: v != "inpainting"),
    Exclusion((_INSTEAD,), {_STDDEV: 0}),
    Exclusion((f"{_STDDEV}.group",), _without(_INSTEAD), lambda v: _something(v) and v != 0),
    Exclusion((f"{_STDDEV}.group",), _without(f"{_STDDEV}.queue"), lambda v: v != "batch"),
    Exclusion((f"{_STDDEV}.group",), _without(f"{_STDDEV}.averaging", f"{_STDDEV}.gather"), lambda v: not v),
    Exclusion((f"{_STDDEV}.queue",), _without(f"{_STDDEV}.gather"), lambda v: v != 0),
    Exclusion((f"{_STDDEV}.gather",), _without(f"{_STDDEV}.queue")),
    Exclusion(("network.equalized",), _without("network.initialization")),
    *(
        Exclusion((f"network.{p}equalized",), _without(f"network.{player}.initialization"))
        for player in ("generator", "discriminator", "autoencoder")
        for p in ("", f"{player}.")
    ),
    Exclusion(("objective.loss",), _without("objective.drift", "objective.weight_clipping"), lambda v: v != "wgan"),
    Exclusion(("objective.loss",), _without("objective.label_smoothing"), lambda v: v != "non_saturating"),
    Exclusion(
        ("objective.loss",),
        _without("objective.lsgan_factor", "objective.lsgan_fake_factor", "objective.noise"),
        lambda v: v != "lsgan",
    ),
    Exclusion((f"{_OWN}loss",), _without(f"{_OWN}drift", f"{_OWN}weight_clipping"), lambda v: v != "wgan"),
    Exclusion((f"{_OWN}loss",), _without(f"{_OWN}label_smoothing"), lambda v: v != "non_saturating"),
    *(
        exclusion
        for prefix in ("objective.", _OWN)
        for exclusion in (
            Exclusion((f"{prefix}weight_clipping",), _without(f"{prefix}gradient_penalty", f"{prefix}drift")),
            Exclusion((f"{prefix}gradient_penalty",), _without(f"{prefix}weight_clipping")),
        )
    ),
    Exclusion(
        (f"{_OWN}loss",),
        _without(f"{_OWN}lsgan_factor", f"{_OWN}lsgan_fake_factor", f"{_OWN}noise"),
        lambda v: v != "lsgan",
    ),
    Exclusion(("objective.n_critic",), _without("objective.simultaneous"), lambda v: v != 1),
    Exclusion(("optimizer.halving.stall_kimg",), _without("optimizer.halving.every_kimg")),
    Exclusion(("optimizer.halving.every_kimg",), _without("optimizer.halving.stall_kimg")),
    *(
        Exclusion((f"network.{p}nonlinearity",), _without(f"network.{p}slope"), lambda v: v == "elu")
        for p in ("", "generator.", "discriminator.")
    ),
    Exclusion(("objective.simultaneous",), _without("objective.n_critic", "objective.critic_boost")),
    Exclusion(("objective.critic_boost",), _without("objective.simultaneous")),
    Exclusion(("objective.cycle.through",), _without("objective.cycle.noise_std"), lambda v: v != "noisy"),
)


# Keys of networks' options whose section a lone value may stand for, and the key of theirs that it is; networks are
# such sections too.
_SHORT_FORMS: Final = {"minibatch_stddev": "group"}


def drop_excluded(base: Mapping[Any, Any], content: Mapping[Any, Any], written: Mapping[str, Any]) -> dict[Any, Any]:
    """``content`` without the inherited keys that newly written ones exclude.

    Args:
        base: the recipe before the new keys.
        content: the same with the new keys already in it, before validation.
        written: the new keys, dotted, as :func:`named_keys` gives them.
    """
    settled = dict(content)
    for exclusion in _exclusions_of(content):
        if not any(key in written and exclusion.when(written[key]) for key in exclusion.written):
            continue
        for key, instead in exclusion.excludes.items():
            if not _is_written(key, written):
                settled = _put(settled, key.split("."), instead)
    return closed(_drop_network_options(base, settled, written))


def _exclusions_of(content: Mapping[Any, Any]) -> Iterator[Exclusion]:
    """The exclusions, those among keys of a discriminator once for each that there is."""
    task, network = content.get("task"), content.get(SECTION)
    model = RECIPES.get(task) if isinstance(task, str) else None
    if model is not None:
        yield from _of_optimizers(model)
    section = None if model is None else model.network_section()
    places = places_in(section, network if isinstance(network, Mapping) else {})
    prefixes = [".".join(map(str, (SECTION, *place, ""))) for place in places if place[0] == "discriminator"]
    for exclusion in EXCLUSIONS:
        keys = (*exclusion.written, *exclusion.excludes)
        for own in prefixes if any(key.startswith(_OWN) for key in keys) else [_OWN]:
            yield replace(
                exclusion,
                written=tuple(key.replace(_OWN, own, 1) for key in exclusion.written),
                excludes={key.replace(_OWN, own, 1): instead for key, instead in exclusion.excludes.items()},
            )


def _of_optimizers(model: type[Recipe]) -> Iterator[Exclusion]:
    """A new optimizer of a player removes the keys of the one before."""
    section: Any = model.model_fields["optimizer"].annotation
    players = [f"optimizer.{key}" for key, field in section.model_fields.items() if field.annotation is PlayerOptimizer]
    for player in [*players, "pretraining.optimizer"]:
        for name in get_args(PlayerOptimizer.model_fields["name"].annotation):
            others = _without(*(f"{player}.{key}" for key in keys_of_others(name)))
            yield Exclusion((f"{player}.name",), others, functools.partial(operator.eq, name))


def _is_written(key: str, written: Mapping[str, Any]) -> bool:
    return any(new == key or new.startswith(f"{key}.") for new in written)


def _drop_network_options(
    base: Mapping[Any, Any], content: dict[Any, Any], written: Mapping[str, Any]
) -> dict[Any, Any]:
    """Drop the inherited options of a network that was replaced; a later value for all networks replaces those of each.

    A key for all networks that the new one does not have becomes an option of those that have it.
    """
    task, network = content.get("task"), content.get("network")
    model = RECIPES.get(task) if isinstance(task, str) else None
    if model is None or not isinstance(network, Mapping):
        return content
    section, network = model.network_section(), dict(network)
    before = base.get("network")
    renamed = []
    for place, (marker, value) in places_in(section, network).items():
        name, old = ".".join(map(str, (SECTION, *place))), marker.name_in(at_place(before, place))
        if written.get(f"{name}.name", old) != old:
            renamed.append(place)
            network = put_at(network, place, _only_written(value, name, written))
    if renamed:
        network = _hand_down(section, network, written)
        if not grows(section, network):
            content = _put(content, ["schedule", "start_resolution"], None, written)
            if "network.base_resolution" not in written:
                network.pop("base_resolution", None)
    for key in [key for key in network if key not in section.model_fields]:
        for path in list(leaves(network[key], (key,))):
            new = ".".join(map(str, ("network", *path))) in written
            if new:  # for all networks, unless one has its own in the same place
                for place, (_, own) in places_in(section, network).items():
                    if isinstance(own, Mapping):
                        prefix = ".".join(map(str, (SECTION, *place, "")))
                        network = put_at(network, place, _put(own, list(path), None, written, prefix))
            elif all(has_path(_long(own), path) for _, own in places_in(section, network).values()):
                network = _put(network, list(path), None)
    return {**content, "network": network}


def _hand_down(section: type[NetworkSection], network: dict[Any, Any], written: Mapping[str, Any]) -> dict[Any, Any]:
    """Inherited keys for all networks that not all have any more become options of those that have them."""
    if any(marker.options_of(value) is None for marker, value in places_in(section, network).values()):
        return network
    for key, having in shared_keys(section, network).items():
        if is_for_all(section, having) or _is_written(f"network.{key}", written):
            continue
        value = network.pop(key)
        for place in having:
            own = _long(at_place(network, place))
            network = put_at(network, place, {**own, key: with_shared(value, own.get(key, value))})
    return network


def _long(written: Any) -> dict[Any, Any]:
    """A player's options as a section."""
    return dict(written) if isinstance(written, Mapping) else {} if written is None else {"name": written}


def _only_written(value: Any, name: str, written: Mapping[str, Any]) -> Any:
    """The parts of a section that are newly written."""
    if not isinstance(value, Mapping):
        return value
    return {
        key: _only_written(inner, f"{name}.{key}", written)
        for key, inner in value.items()
        if f"{name}.{key}" in written
    }


def named_keys(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a mapping, inner ones with the sections that they lie in, and its value.

    A single value that is short for a section counts as the key that it sets. Networks in a list
    have numbers for keys.
    """
    for key, value in content.items():
        name = f"{prefix}{key}"
        yield name, value
        if isinstance(value, list | tuple):  # several networks of a player
            value = {i: one for i, one in enumerate(value) if is_player(f"{name}.{i}")}
        if isinstance(value := long_form(name, value), Mapping):
            yield from named_keys(value, f"{name}.")


def is_player(name: str) -> bool:
    """Whether a dotted key is that of a network's options."""
    section, *keys = name.split(".")
    markers = (players_of(model.network_section()).get(keys[0]) for model in RECIPES.values() if keys)
    return section == SECTION and any(marker is not None and marker.is_place(keys[1:]) for marker in markers)


def long_form(name: str, value: Any) -> Any:
    """The section that a lone value is short for, so that a change to another key of it keeps that value.

    Args:
        name: the dotted key.
        value: what is written there.
    """
    above, _, key = name.rpartition(".")
    short = "name" if is_player(name) else _SHORT_FORMS.get(key) if is_player(above) else None
    return {short: value} if short and isinstance(value, int | str) else value


def _put(
    content: Mapping[Any, Any], keys: list[Any], value: Any, written: Mapping[str, Any] | None = None, prefix: str = ""
) -> dict[Any, Any]:
    """``content`` with a key set, or left out if the value is None, where its section is there.

    Args:
        content: a section.
        keys: names of the sections in it, and of the key.
        value: what is put there.
        written: newly written keys, dotted, which stay as they are.
        prefix: of the section among them, with a dot at its end.
    """
    if written and _is_written(prefix + ".".join(map(str, keys)), written):
        return dict(content)
    first, *rest = keys
    inner = content.get(first)
    if rest:
        if isinstance(inner, Mapping):
            return {**content, first: _put(inner, rest, value)}
        return dict(content)
    if value is None:
        return {key: kept for key, kept in content.items() if key != first}
    return {**content, first: value}
