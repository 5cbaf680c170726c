"""Test and training pictures of a translator, as its evaluation reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from progcycle.data import PictureSet, as_reals, resolve_sets, resolve_test_sets, resolve_validation_sets
from progcycle.errors import UserError
from progcycle.export.tensor_images import from_pixels

if TYPE_CHECKING:
    from progcycle.export import Translator
    from progcycle.recipe import CycleganRecipe

COLOURS = 1000  # training pictures of a domain for statistics of colours


def test_sets(recipe: "CycleganRecipe", a: str | None, b: str | None, resolution: int) -> dict[str, PictureSet]:
    """Test pictures of both domains; where there are none, the training pictures that ``data.validation`` holds out.

    Args:
        recipe: of the translators.
        a: folder of test pictures of A, instead of the recipe's.
        b: folder of test pictures of B, instead of the recipe's.
        resolution: pixels per side that they have at most.

    Raises:
        UserError: there are none, or a path is missing.
    """
    data = recipe.data.model_copy(update={"cache_resolution": 0})
    for domain, folder in (("a", a), ("b", b)):
        if folder is not None:
            options = getattr(data, domain).model_copy(update={"test_path": (folder,)})
            data = data.model_copy(update={domain: options})
    if a is not None and b is not None:
        data = data.model_copy(update={"root": None})  # the training data need not be here
    sets = resolve_test_sets(data, resolution=resolution, seed=recipe.seed, cache_dir=Path())
    missing = [domain for domain in ("a", "b") if domain not in sets]
    if missing and data.validation:
        held_out = resolve_validation_sets(data, resolution=resolution, seed=recipe.seed, cache_dir=Path())
        sets |= {domain: held_out[domain] for domain in missing}
    for domain in ("a", "b"):
        if domain not in sets:
            raise UserError(
                f"The recipe has no test pictures of {domain.upper()}; give a folder with --{domain}, or hold some of "
                "the training pictures out before training (data.validation=0.1)."
            )
    return sets


def read_pictures(
    pictures: PictureSet, resolution: int, indices: Sequence[int] | None = None, strict: bool = True
) -> Tensor:
    """Pictures by their numbers in name order, without augmentation.

    Args:
        pictures: a set.
        resolution: pixels per side.
        indices: numbers of the pictures; default: all.
        strict: refuse a broken picture; else the next one is used instead.

    Returns:
        Pictures in [-1, 1].  # [N, C, R, R]

    Raises:
        UserError: a picture is broken.
    """
    found = []
    for i in range(len(pictures)) if indices is None else indices:
        sample = pictures.plain(i, resolution)
        if strict and sample.broken:  # another picture is in its place
            raise UserError(f"{sample.broken[0].rstrip('.')}; repair or remove it, it cannot be measured.")
        found.append(from_pixels(sample.image))
    return torch.cat(found)


def faded_as_trained(model: "Translator", pictures: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Pictures by domain as training shows them at the moment of a snapshot: faded while a stage fades in."""
    growth = model.config.growth
    return {domain: as_reals(x, growth) for domain, x in pictures.items()}


def training_pictures(recipe: "CycleganRecipe", run: Path, resolution: int) -> tuple[dict[str, Tensor] | None, str]:
    """Up to 1,000 training pictures of each domain from all over the sets, for the statistics of their colours.

    Args:
        recipe: of the translators.
        run: their run folder; caches of pictures next to it are read, and none is written.
        resolution: pixels per side.

    Returns:
        Pictures by domain and "", or None and a sentence why there are none.
    """
    plain = {domain: getattr(recipe.data, domain).model_copy(update={"augment": ()}) for domain in ("a", "b")}
    data = recipe.data.model_copy(update=plain)
    found = {}
    try:
        sets = resolve_sets(
            data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=run.absolute().parent / ".cache"
        )
        for domain, pictures in sets.items():
            count = min(len(pictures), COLOURS)
            indices = [i * len(pictures) // count for i in range(count)]
            found[domain] = read_pictures(pictures, resolution, indices, strict=False)
    except UserError as error:
        return None, str(error)
    return found, ""
