"""Upgrade of recipes of version 0.1.0, which its run folders and snapshots hold."""

from collections.abc import Mapping
from typing import Any, Final

from progcycle.recipe.networks import SECTION, players_of
from progcycle.recipe.schema import RECIPES

# Keys that 0.1.0 had directly in the section: the network that each belongs to now, and its name there.
_MOVED: Final = {
    "generator": {
        key: key
        for key in ("latent_size", "rgb_kernel", "tanh", "residual_blocks", "skips", "predict", "smooth", "bounded")
    }
    | {"upsampling": "upsampling"},
    "discriminator": {key: key for key in ("spectral_norm", "minibatch_stddev", "minibatch_discrimination", "head")}
    | {"discriminator_scales": "scales", "patch_layers": "layers"},
}
# Keys of both networks, and those of 0.1.0 for discriminators alone.
_BOTH: Final = ("channels", "rgb", "equalized", "slope", "initialization", "convs", "fused_scale", "filters")
_OWN: Final = {"channels": "discriminator_channels", "filters": "discriminator_filters"}
# Where keys of other names are now, for those who write them.
MOVED_TO: Final = {
    **{own: f"{SECTION}.discriminator.{key}" for key, own in _OWN.items()},
    **{own: f"{SECTION}.{p}.{key}" for p, keys in _MOVED.items() for own, key in keys.items() if own != key},
}
# What every recipe of a run folder has, of either task, since all defaults are written there.
_WHOLE: Final = {"generator", "discriminator", "equalized", "slope", "normalization", "minibatch_stddev"}


def upgrade(content: Mapping[Any, Any]) -> dict[Any, Any]:
    """A whole recipe of version 0.1.0, with the options of each network under its name; others come back as they are.

    Options of 0.1.0 that a network did not have were at defaults that meant nothing, and are left out.

    Args:
        content: a recipe before validation.
    """
    task, old = content.get("task"), content.get(SECTION)
    model = RECIPES.get(task) if isinstance(task, str) else None
    if model is None or not isinstance(old, Mapping) or not old.keys() >= _WHOLE:
        return dict(content)
    norms = old["normalization"]
    if not isinstance(norms, Mapping) or not isinstance(old["generator"], str):
        return dict(content)
    new: dict[Any, Any] = {key: old[key] for key in ("base_resolution",) if key in old}
    for player, marker in players_of(model.network_section()).items():
        options = {key: old[key] for key in _BOTH if key in old}
        if player == "discriminator":
            options |= {key: old[own] for key, own in _OWN.items() if old.get(own) is not None}
        options |= {key: old[own] for own, key in _MOVED[player].items() if own in old}
        options |= {"normalization": norms.get(player)}
        known = marker.options_of(old[player])
        fields = options.keys() if known is None else known.model_fields.keys()
        if norms.get(player) == "pixel" or getattr(known, "always_normed", False):
            options["epsilon"] = norms.get("epsilon")
        new[player] = {"name": old[player], **{k: v for k, v in options.items() if k in fields and v is not None}}
    return {**content, SECTION: new}
