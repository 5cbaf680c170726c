"""Evaluation of LAPGANs: that of all generators, and of each level by itself, on real coarse pictures."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from progcycle.evaluation.evaluate_generator import GeneratorOptions, evaluate_generator
from progcycle.evaluation.provenance import default_path, origin, versions
from progcycle.evaluation.result import Evaluation

if TYPE_CHECKING:
    from progcycle.data import PictureSet
    from progcycle.export import LaplacianGenerator
    from progcycle.recipe import LapganRecipe

PICTURES, DRAWS = 100, 16


def evaluate_lapgan(model: "LaplacianGenerator", snapshot: Path, run: Path, options: GeneratorOptions) -> Evaluation:
    """Measure every level by itself, and generated pictures if no coarser level than the finest is missing.

    Args:
        model: a trained LAPGAN, or some of its levels.
        snapshot: where it comes from.
        run: its run folder.
        options: what to measure of generated pictures.

    Raises:
        UserError: as :func:`evaluate_generator`; or metrics of whole pictures are asked for, and a level is missing.
    """
    whole = set(model.levels) == {side for side in model.all_levels if side <= model.levels[-1]}
    if whole or options.metrics:
        found = evaluate_generator(model, snapshot, run, options)
    else:
        record = {**origin(snapshot, model.config), "seed": options.seed, "device": options.device, "results": {}}
        text = f"{snapshot}, levels alone: of {', '.join(map(str, model.levels))} px, seed {options.seed}"
        found = Evaluation({**record, "versions": versions("numpy")}, text, default_path(run, model))
    if model.levels == model.all_levels[:1]:
        return found
    pictures, held_out = _pictures(model, options)
    levels = {
        str(side): level_distance(model, side, pictures, options.seed)
        for side in model.levels
        if side != model.all_levels[0]
    }
    about = {"pictures": min(PICTURES, len(pictures)), "held_out": held_out, "draws": DRAWS, "levels": levels}
    record = {**found.record, "results": {**found.results, "levels": about}}
    return replace(found, record=record, text=f"{found.text}\n\n{_table(about)}")


@torch.no_grad()
def level_distance(
    model: "LaplacianGenerator", side: int, pictures: "PictureSet", seed: int, count: int = PICTURES, draws: int = DRAWS
) -> dict[str, float]:
    """How near the nearest of several details comes to the true one (the published code's ``approxParzen``).

    Args:
        model: has the level.
        side: pixels of a side of the level.
        pictures: real ones, of which the first are taken.
        seed: of the noise.
        count: how many pictures, at most.
        draws: details painted over each coarse picture.

    Returns:
        ``nearest``, the mean over pictures of the least Euclidean distance between the true picture and one painted
        over its own coarse picture, and ``no_detail``, that of the enlarged coarse picture itself.
    """
    network: Any = model.level(side)
    nearest, nothing = list[float](), list[float]()
    for i in range(min(count, len(pictures))):
        truth, coarse, labels = _picture(model, side, pictures, i)
        numbers = range(i * draws, (i + 1) * draws)
        latents = model.level_latents(side, seed, numbers)
        every = None if labels is None else labels.expand(draws, -1)
        made = model.paint_level(side, coarse.expand(draws, -1, -1, -1), latents, every)
        nearest.append((made - truth).flatten(1).norm(dim=1).min().item())
        nothing.append((network.enlarged(coarse) - truth).norm().item())
    return {"nearest": sum(nearest) / len(nearest), "no_detail": sum(nothing) / len(nothing)}


def _picture(
    model: "LaplacianGenerator", side: int, pictures: "PictureSet", index: int
) -> tuple[Tensor, Tensor, Tensor | None]:
    """A picture of a level, that of the level below, and its class.  # [1, C, R, R], [1, C, R/2, R/2], [1, K]"""
    from progcycle.blocks import downsample2x
    from progcycle.data import as_reals, collate

    batch = collate([pictures.plain(index, side)])
    growth = replace(model.config.growth, resolution=side, alpha=1.0)
    truth = as_reals(batch.images, growth).to(model.device)
    labels = None
    if model.classes and batch.labels is not None:
        labels = F.one_hot(batch.labels, len(model.classes)).to(model.device, model.dtype)
    return truth, downsample2x(truth), labels


def _pictures(model: "LaplacianGenerator", options: GeneratorOptions) -> "tuple[PictureSet, bool]":
    """Held-out pictures of the recipe, or its training pictures where there are none; and which of both."""
    from progcycle.data import resolve_test_sets
    from progcycle.evaluation.generator_samples import real_picture_set

    recipe: LapganRecipe = model.recipe  # type: ignore[assignment]  # a LAPGAN's
    if options.data is None and recipe.data.test_path:
        data = recipe.data.model_copy(update={"cache_resolution": 0})
        sets = resolve_test_sets(data, resolution=recipe.resolution, seed=options.seed, cache_dir=Path())
        return sets["real"], True
    return real_picture_set(recipe, options.seed, paths=options.data), False


def _table(about: Mapping[str, Any]) -> str:
    kind = "held-out" if about["held_out"] else "real"
    lines = [
        f"levels by themselves: distance to {about['pictures']} {kind} pictures, over their own coarse ones",
        f"{'':24}{'nearest of ' + str(about['draws']):>16}{'no detail':>12}",
    ]
    lines += [
        f"{side + ' px':24}{found['nearest']:>16.3f}{found['no_detail']:>12.3f}"
        for side, found in about["levels"].items()
    ]
    return "\n".join(lines)
