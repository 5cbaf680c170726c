"""Keys of which one excludes another: what is written later switches off what it inherits.

A file that extends another, and an override on the command line, may so write ``data.a.path`` where the inherited
recipe has ``data.root``. Both written in one place stay an error, which validation tells.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from progcycle.recipe.networks import FIXED_DISCRIMINATORS, FIXED_GENERATORS
from progcycle.recipe.values import SHORT_FORMS


def _something(value: Any) -> bool:
    return value is not None and value is not False


@dataclass(frozen=True)
class Choice:
    """One of these keys, written with such a value, switches those off.

    Attributes:
        written: dotted keys, of which one is enough.
        gives_up: dotted keys that it excludes, and what is put in their place; None leaves them out.
        when: whether a value excludes them; default: any but an empty one.
        given: whether the recipe that the keys are then in excludes them too; default: any does.
    """

    written: tuple[str, ...]
    gives_up: Mapping[str, Any]
    when: Callable[[Any], bool] = _something
    given: Callable[[Mapping[Any, Any]], bool] = lambda content: True


def _is_generator_fixed(value: Any) -> bool:
    return value in FIXED_GENERATORS


def _is_discriminator_fixed(value: Any) -> bool:
    return value in FIXED_DISCRIMINATORS


def _nothing_grows(content: Mapping[Any, Any]) -> bool:
    network = content.get("network")
    return (
        isinstance(network, Mapping)
        and _is_generator_fixed(network.get("generator"))
        and _is_discriminator_fixed(network.get("discriminator"))
    )


def _without(*keys: str) -> dict[str, Any]:
    return dict.fromkeys(keys)


_PATHS: Final = ("data.a.path", "data.b.path")
_STDDEV, _INSTEAD = "network.minibatch_stddev", "network.minibatch_discrimination"
CHOICES: Final = (
    Choice(("data.root",), _without(*_PATHS, "data.a.test_path", "data.b.test_path")),
    Choice(_PATHS, _without("data.root")),
    Choice(("training.ema.per_step",), _without("training.ema.half_life_kimg", "training.ema.rampup")),
    Choice(("training.ema.half_life_kimg", "training.ema.rampup"), _without("training.ema.per_step")),
    Choice(("pretraining.schedule",), _without("pretraining.share")),
    Choice(("pretraining.share",), _without("pretraining.schedule")),
    Choice(("pretraining.kind",), _without("pretraining.masked", "pretraining.patch"), lambda v: v != "inpainting"),
    Choice((_INSTEAD,), {_STDDEV: 0}),
    Choice((f"{_STDDEV}.group",), _without(_INSTEAD), lambda v: _something(v) and v != 0),
    Choice((f"{_STDDEV}.group",), _without(f"{_STDDEV}.queue"), lambda v: v != "batch"),
    Choice((f"{_STDDEV}.group",), _without(f"{_STDDEV}.averaging", f"{_STDDEV}.gather"), lambda v: not v),
    Choice((f"{_STDDEV}.queue",), _without(f"{_STDDEV}.gather"), lambda v: v != 0),
    Choice((f"{_STDDEV}.gather",), _without(f"{_STDDEV}.queue")),
    Choice(("network.discriminator",), _without("network.head"), lambda v: v == "pggan"),
    Choice(
        ("network.generator",),
        _without("network.bounded", "network.predict", "network.skips", "network.smooth"),
        _is_generator_fixed,
    ),
    Choice(("network.generator",), _without("network.residual_blocks"), lambda v: v == "unet"),
    Choice(
        ("network.discriminator",),
        _without(_STDDEV, _INSTEAD, "network.head", "network.discriminator_scales", "network.discriminator_channels"),
        _is_discriminator_fixed,
    ),
    Choice(
        ("network.generator", "network.discriminator"),
        _without(
            "network.base_resolution",
            "network.channels",
            "network.equalized",
            "network.rgb",
            "schedule.start_resolution",
        ),
        given=_nothing_grows,
    ),
    Choice(("network.equalized",), _without("network.initialization")),
    Choice(("objective.loss",), _without("objective.drift"), lambda v: v != "wgan"),
    Choice(
        ("objective.loss",),
        _without("objective.lsgan_factor", "objective.lsgan_fake_factor", "objective.noise"),
        lambda v: v != "lsgan",
    ),
    Choice(("objective.n_critic",), _without("objective.simultaneous"), lambda v: v != 1),
    Choice(("objective.simultaneous",), _without("objective.n_critic")),
    Choice(("objective.cycle.through",), _without("objective.cycle.noise_std"), lambda v: v != "noisy"),
)


def settle(content: Mapping[Any, Any], written: Mapping[str, Any]) -> dict[Any, Any]:
    """``content`` without the inherited keys that newly written ones exclude.

    Args:
        content: a recipe before validation, the new keys already in it.
        written: the new keys, dotted, as :func:`named_keys` gives them.
    """
    settled = dict(content)
    for choice in CHOICES:
        if not any(key in written and choice.when(written[key]) for key in choice.written) or not choice.given(content):
            continue
        for key, instead in choice.gives_up.items():
            if not any(new == key or new.startswith(f"{key}.") for new in written):
                settled = _put(settled, key.split("."), instead)
    return settled


def named_keys(content: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every key of a mapping, inner ones with the sections that they lie in, and its value.

    A lone value that is short for a section counts as the key that it stands for.
    """
    for key, value in content.items():
        name = f"{prefix}{key}"
        yield name, value
        if isinstance(value, Mapping):
            yield from named_keys(value, f"{name}.")
        elif key in SHORT_FORMS:
            yield f"{name}.{SHORT_FORMS[key]}", value


def _put(content: Mapping[Any, Any], keys: list[str], value: Any) -> dict[Any, Any]:
    """``content`` with a key set, or left out if the value is None, where its section is there."""
    first, *rest = keys
    inner = content.get(first)
    if rest:
        if isinstance(inner, Mapping):
            return {**content, first: _put(inner, rest, value)}
        return dict(content)
    if value is None:
        return {key: kept for key, kept in content.items() if key != first}
    return {**content, first: value}
