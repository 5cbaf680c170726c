"""Evaluation of translations of pictures that are larger than those of training."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from progcycle.data.decode import opened
from progcycle.data.source import Opener
from progcycle.errors import UserError
from progcycle.evaluation.diversity import latents_of
from progcycle.evaluation.round_trip import Figures
from progcycle.evaluation.translation_metrics import DIRECTIONS, Pairs, source_target_pairs
from progcycle.evaluation.translation_pictures import read_pictures, test_sets
from progcycle.evaluation.translation_table import AGAINST_TRUTH, Column, Table, as_text
from progcycle.export.tensor_images import as_channels
from progcycle.metrics import gradient_error, paired_scores
from progcycle.output import bars_hidden
from progcycle.resolution import Resolution

if TYPE_CHECKING:
    from progcycle.data import PictureSet
    from progcycle.export import Translator
    from progcycle.export.translator import Scale
    from progcycle.recipe import CycleganRecipe

COLUMNS = (
    *(column for column in AGAINST_TRUTH if column.name in ("l1", "ssim")),
    Column("gradient", "gradient", ".4f", "mean absolute difference of the steps from pixel to pixel; 0 is best"),
)
LABELS = {"detail": "--scale detail", "train": "--scale train", "unchanged": "unchanged (do nothing)"}


def larger_size(model: "Translator", resolution: int) -> Resolution:
    """The size that ``--resolution`` means for translators: of rectangles one number is the shorter side.

    Raises:
        UserError: it has another shape than their pictures.
    """
    given, own = Resolution.of(resolution), model.resolution
    size = own.scaled(given) if given.is_square else given
    if not given.is_square and own.scaled(given).shape != given.shape:
        raise UserError(
            f"--resolution: {given} px have another shape than the {own} px of training; give one number, the shorter "
            f"side, or {own.scaled(given)}."
        )
    return size


def check_resolution(model: "Translator", resolution: int, pairs: Pairs, why: str) -> None:
    """Refuse a resolution at which nothing can be measured.

    Args:
        model: translators.
        resolution: of the pictures.
        pairs: true pairs of test pictures.
        why: a sentence why there are none, or "".

    Raises:
        UserError: it is below that of training, which saw parts of pictures, or there are no pairs.
    """
    if resolution < model.resolution:
        raise UserError(
            f"--resolution: {resolution} px is below the {model.resolution} px of training, at which all is measured "
            "anyway; give a larger one."
        )
    sides = [model.config.test_side(domain) for domain in ("a", "b")]
    if any(side != model.config.final_resolution for side in sides):
        raise UserError(
            "--resolution: these translators were trained on parts of pictures (load_resolution), and all is measured "
            "on such parts; leave it out."
        )
    if not pairs:
        raise UserError(
            "--resolution: translations are compared with their true pairs, and there are none"
            + (f": {why}" if why else "; name test pictures with --a and --b whose names are equal")
            + "."
        )


def measure_at_resolution(
    model: "Translator",
    recipe: "CycleganRecipe",
    folders: tuple[str | None, str | None],
    pairs: Pairs,
    resolution: int,
    batch_size: int,
    seed: int = 0,
) -> dict[str, Any]:
    """How near translations of larger pictures are to their true pairs, for every scale of ``translate``.

    ``train`` works on the reduced picture and enlarges the translation, ``detail`` adds the enlarged change to the full
    picture. For comparison, the untranslated picture is measured too.

    Args:
        model: translators.
        recipe: theirs.
        folders: of test pictures of A and B, instead of the recipe's.
        pairs: true pairs, numbers of A and of B.
        resolution: of the test pictures, at least that of training.
        batch_size: pictures at a time.
        seed: of latents.

    Returns:
        For a record.

    Raises:
        UserError: a picture is broken.
    """
    sets = test_sets(recipe, *folders, resolution)
    scales: list[Scale] = ["detail", "train"] if model.scale == "detail" else ["train"]
    results: dict[str, dict[str, Figures]] = {}
    latents = latents_of(model, seed)
    bar = tqdm(total=2 * len(pairs), desc=f"at {resolution} px", unit="img", disable=bars_hidden(), leave=False)
    with bar:
        for direction, source, target in DIRECTIONS:
            numbers = source_target_pairs(pairs, direction)
            rows: dict[str, list[Tensor]] = {what: [] for what in (*scales, "unchanged")}
            for start in range(0, len(numbers), batch_size):
                some = numbers[start : start + batch_size]
                x = read_pictures(sets[source], resolution, [i for i, _ in some])
                truth = read_pictures(sets[target], resolution, [j for _, j in some])
                z = next(iter(latents.drawn(direction, [i for i, _ in some], x)), None)
                for scale in scales:
                    rows[scale].append(_scores(model.translate(x, direction, scale, latents=z), truth))
                rows["unchanged"].append(_scores(as_channels(x, truth.shape[1]), truth))
                bar.update(len(some))
            results[direction] = {
                what: dict(zip((column.name for column in COLUMNS), torch.cat(parts).mean(dim=0).tolist(), strict=True))
                for what, parts in rows.items()
            }
    smaller = {domain: smaller_than(pictures, resolution) for domain, pictures in sets.items()}
    return {"resolution": Resolution.of(resolution).label, "pairs": len(pairs), "smaller": smaller, "results": results}


def resolution_table(found: Mapping[str, Any]) -> str:
    """The result of :func:`measure_at_resolution` as a table."""
    results = found["results"]
    text = as_text(results, [Table(f"true pairs at {found['resolution']} px", COLUMNS)], LABELS)
    if not any("detail" in rows for rows in results.values()):
        text += "\nThere is no --scale detail: these translators paint whole pictures (predict: picture)."
    return text


def resolution_warnings(found: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    """Warnings about pictures that :func:`measure_at_resolution` had to enlarge.

    Args:
        found: its result.
        counts: test pictures by domain.
    """
    return [
        f"{smaller} of {counts[domain]} test pictures of {domain.upper()} are smaller than {found['resolution']} px "
        "and were enlarged, so they have less detail than others of their size."
        for domain, smaller in found["smaller"].items()
        if smaller
    ]


def _scores(made: Tensor, truth: Tensor) -> Tensor:
    """The figures of ``COLUMNS`` for every picture.  # [N, 3] float64"""
    scores = paired_scores(made, truth)
    return torch.stack([scores.l1, scores.ssim, gradient_error(made, truth)], dim=1).double()


def smaller_than(pictures: "PictureSet", resolution: int) -> int:
    """How many pictures of a set have a side of fewer pixels; only their headers are read."""
    opener = Opener()
    count, (height, width) = 0, Resolution.of(resolution).shape
    for entry in pictures.entries:
        with opened(opener.open(entry)) as image:
            count += image.width < width or image.height < height
    return count
