"""From the networks of files to a folder with a snapshot and a recipe, which all commands take like a run."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from progcycle.errors import UserError
from progcycle.export import save_snapshot
from progcycle.export.config import DISCRIMINATORS_FILE
from progcycle.files import atomic_folder, with_default_permissions
from progcycle.importers.kinds import KINDS, read_parts
from progcycle.importers.part import Part
from progcycle.networks import DISCRIMINATORS, GENERATORS, TRANSLATORS, Network
from progcycle.recipe import Recipe, RecipeError, dump, merge, validate
from progcycle.schedule import Growth
from progcycle.tasks import TASKS

RESOLUTION = 256  # of translators that take any size
RECIPE = "recipe.yaml"
_NAME = re.compile(r"net_([GD])(?:_([AB]))?(?:_|\.|$)")
ADAM = {"lr": 0.0002, "betas": [0.5, 0.999]}
# What the published runs were trained with, where it is one thing; for fine-tuning to begin from.
TRANSLATION: dict[str, Any] = {
    "task": "cyclegan",
    "data": {"root": "pictures"},
    "schedule": {"stable_kimg": 200, "decay_kimg": 100, "batch_size": 1},
    "objective": {
        "loss": "lsgan",
        "lsgan_factor": 0.5,
        "cycle": {"aba": 10, "bab": 10},
        "identity": {"a": 0.5, "b": 0.5},
        "pool_size": 50,
    },
    "optimizer": {"generator": ADAM, "discriminator": ADAM, "reset": "never"},
    "training": {"ema": {"per_step": 0}},
}
GENERATION: dict[str, Any] = {"task": "pggan", "data": {"path": "pictures"}}
DCGAN: dict[str, Any] = {
    "objective": {"loss": "non_saturating"},
    "schedule": {"stable_kimg": 5000, "batch_size": 64},
    "optimizer": {"generator": ADAM, "discriminator": ADAM},
    "training": {"ema": {"per_step": 0}},
}
PGGAN: dict[str, Any] = {
    "objective": {"loss": "wgan", "gradient_penalty": {"weight": 10, "target": 1}, "drift": 0.001},
    "schedule": {"stable_kimg": 600, "fade_kimg": 600, "batch_size": 16},
    "optimizer": {player: {"lr": 0.001, "betas": [0.0, 0.99]} for player in ("generator", "discriminator")},
}


@dataclass(frozen=True)
class Done:
    """What was imported.

    Attributes:
        snapshot: its folder.
        kinds: where the files come from.
        networks: that it has, by name.
        remarks: what is not as it was.
    """

    snapshot: Path
    kinds: Sequence[str]
    networks: Mapping[str, str]
    remarks: Sequence[str] = field(default_factory=tuple)

    @property
    def words(self) -> str:
        """Such as ``gen_ab (resnet) of pytorch-cyclegan``."""
        names = ", ".join(f"{name} ({kind})" for name, kind in self.networks.items())
        return f"{names} of {' and '.join(dict.fromkeys(self.kinds))}"


def import_weights(
    files: Sequence[str | Path],
    out: str | Path,
    kind: str | None = None,
    *,
    direction: str | None = None,
    resolution: int | None = None,
) -> Done:
    """Make a snapshot of the weights of another project.

    Args:
        files: that belong together: translators of both directions, or one; a generator; their discriminators.
        out: folder to create, with ``snapshots/``, and a recipe for fine-tuning.
        kind: the project, a key of :data:`progcycle.importers.KINDS`; default: what the names of the tensors say.
        direction: of a single translator, ``ab`` or ``ba``; default: ``ab``, unless the file is called ``net_G_B``.
        resolution: of translators that take any size, in pixels of a side; default: 256.

    Raises:
        UserError: a file cannot be read or taken, the files do not belong together, or the folder exists.
    """
    out = Path(out)
    if kind is not None and kind not in KINDS:
        raise UserError(f"There is no importer {kind!r}; there are {', '.join(KINDS)}.")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} exists already; give --out the name of a new folder.")
    read = [(Path(path), *read_parts(Path(path), kind)) for path in files]
    parts = [(path, part) for path, _, some in read for part in some]
    translation = any(part.options["name"] in (*TRANSLATORS, "patchgan") for _, part in parts)
    if not translation and (direction, resolution) != (None, None):
        option = "--direction" if direction else "--resolution"
        raise UserError(f"{option} is for translators, and {files[0]} is none; leave it out.")
    players = _translators(parts, direction) if translation else _generators(parts)
    recipe = _recipe(players, translation, resolution)
    built = {name: _build(name, part, recipe) for name, part in players.items()}
    own = {name: built[name] for name in built if name.startswith("gen")}
    first = players[next(iter(own))]
    base = recipe.network.base_resolution
    side = first.resolution or recipe.resolution
    stage = (side // base).bit_length() - 1
    with atomic_folder(out) as folder:
        snapshot = save_snapshot(
            folder / "snapshots" / "nimg-000000000000",
            task=recipe.task,
            networks={name: network for name, (network, _) in own.items()},
            specs={name: spec for name, (_, spec) in own.items()},
            growth=Growth(stage, side, first.alpha),
            base_resolution=base,
            nimg=0,
            recipe=recipe,
            classes=first.classes,
        )
        others = {name: network for name, (network, _) in built.items() if name not in own}
        if others:
            tensors = {f"{n}.{key}": w.contiguous() for n, net in others.items() for key, w in net.state_dict().items()}
            with_default_permissions(snapshot / DISCRIMINATORS_FILE, partial(save_file, tensors))
        (folder / RECIPE).write_text(dump(recipe), encoding="utf-8")
    remarks = [remark for part in players.values() for remark in part.remarks]
    named = {name: str(spec["name"]) for name, (_, spec) in built.items()}
    return Done(
        out / snapshot.relative_to(folder), [found for _, found, _ in read], named, tuple(dict.fromkeys(remarks))
    )


def _translators(parts: Sequence[tuple[Path, Part]], direction: str | None) -> dict[str, Part]:
    """The networks by their names here. D_A of the files judges pictures of B: those that G_A paints."""
    found = dict[str, Part]()
    single = sum(part.player == "generator" for _, part in parts) == 1
    for path, part in parts:
        match = _NAME.search(path.name)
        letter = match[2] if match is not None else None
        if part.player == "generator":
            chosen = direction if direction and single else "ba" if letter == "B" else "ab"
            name = f"gen_{chosen}"
            if name in found and letter is None:
                name = "gen_ba"
        else:
            to = "a" if letter == "B" or (letter is None and direction == "ba") else "b"
            name = f"disc_{to}"
        if name in found:
            raise UserError(
                f"{path} is a second {name}; give one file each, called ..._net_G_A.pth and ..._net_G_B.pth."
            )
        found[name] = part
    generators = {name: part for name, part in found.items() if name.startswith("gen")}
    if not generators:
        raise UserError(f"{parts[0][0]} is a discriminator; give the file of its translator too.")
    if len({str(part.options) for part in generators.values()}) > 1:
        raise UserError(f"{parts[0][0]} and {parts[1][0]} have other layers, so that they do not belong together.")
    if direction is not None and len(generators) > 1:
        raise UserError("--direction is for a single translator, and there are two; leave it out.")
    return {name: found[name] for name in sorted(found, key=lambda name: (not name.startswith("gen"), name))}


def _generators(parts: Sequence[tuple[Path, Part]]) -> dict[str, Part]:
    found = dict[str, Part]()
    for path, part in parts:
        if part.player in found:
            raise UserError(f"{path} is a second {part.player}; give one of each.")
        found[part.player] = part
    if "generator" not in found:
        raise UserError(f"{parts[0][0]} is a discriminator; give the file of its generator too.")
    return {name: found[name] for name in ("generator", "discriminator") if name in found}


def _recipe(players: Mapping[str, Part], translation: bool, resolution: int | None) -> Recipe:
    """A recipe that makes such networks."""
    networks = {"discriminator" if name.startswith("disc") else "generator": part for name, part in players.items()}
    main = networks["generator"]
    sections: dict[str, Any] = {player: dict(part.options) for player, part in networks.items()}
    if translation:
        come, go = players["gen_ab"].channels if "gen_ab" in players else players["gen_ba"].channels[::-1]
        if resolution is not None and main.resolution not in (None, resolution):
            raise UserError(f"--resolution: this U-Net is made for {main.resolution} px; leave it out.")
        side = main.resolution or resolution or RESOLUTION
        layers = next((layers for layers in (3, 2) if 3 << layers <= side), 1)  # of small pictures less than usual
        sections.setdefault("discriminator", {"name": "patchgan", "layers": layers})
        content = merge(TRANSLATION, {"resolution": side, "data": {"a": {"channels": come}, "b": {"channels": go}}})
        if come != go:  # then there is nothing to compare
            content = merge(content, {"objective": {"identity": {"a": 0, "b": 0}}})
    else:
        content = merge(GENERATION, PGGAN if main.options["name"] == "pggan" else DCGAN)
        sections.setdefault("discriminator", {"name": main.options["name"]})
        content = merge(content, {"resolution": main.resolution, "data": {"channels": main.channels[0]}})
    for part in networks.values():
        content = merge(content, part.recipe)
    content = merge(content, {"network": sections})
    try:
        return validate(content)
    except RecipeError as error:
        raise UserError(f"These networks have settings that progcycle does not know: {error}") from None


def _build(name: str, part: Part, recipe: Recipe) -> tuple[nn.Module, dict[str, Any]]:
    """A network with the weights of a part, and how to build it."""
    try:
        with torch.device("meta"):
            spec = TASKS[recipe.task](recipe).specs[name]
            classes = {"classes": len(part.classes)} if part.classes else {}
            arguments = {**spec["arguments"], **part.override, **classes}
            registry: dict[str, type[Network]] = {**TRANSLATORS, **GENERATORS}
            network = (DISCRIMINATORS if name.startswith("disc") else registry)[spec["name"]](**arguments)
        network.load_state_dict(dict(part.weights), strict=True, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300].rstrip(".")
        raise UserError(f"{name}: its tensors do not fit a {part.options['name']} ({reason}).") from None
    return network, {"name": spec["name"], "arguments": arguments}
