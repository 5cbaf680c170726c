"""The pictures that a run's progression is shown on."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from progcycle.data import decode_picture, resolve_sets, resolve_test_sets, resolve_validation_sets
from progcycle.data.pixels import as_image, as_pixels
from progcycle.data.source import Entry, Opener, list_pictures
from progcycle.errors import UserError
from progcycle.recipe import CycleganRecipe, validate

if TYPE_CHECKING:
    from progcycle.export import SnapshotConfig


def read_sources(
    config: "SnapshotConfig", direction: str, folder: Path | None, count: int, side: int
) -> list[np.ndarray]:
    """Pictures from all over a folder, or over a run's test pictures; where it has none, those held out or trained on.

    Args:
        config: of a snapshot of translators.
        direction: ``ab`` or ``ba``; its first letter is the domain.
        folder: pictures to take instead.
        count: how many at most.
        side: pixels of their longer side at most, but no less than the run's resolution.

    Returns:
        The pictures.  # each [H, W, C] uint8

    Raises:
        UserError: there are none, or one of them cannot be read.
    """
    domain, channels = direction[0], config.networks[f"gen_{direction}"].arguments.get("in_channels", 3)
    entries = _entries(config, domain) if folder is None else list_pictures([str(folder)])
    count, side, opener = min(count, len(entries)), max(side, config.final_resolution), Opener()
    pictures = []
    for i in range(count):  # neighbours in name order are often alike
        entry = entries[i * len(entries) // count]
        levels = decode_picture(
            opener.open(entry), channels=channels, background=config.background(domain), name=entry.name
        )
        image = as_image(levels)
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        pictures.append(as_pixels(image))
    return pictures


def _entries(config: "SnapshotConfig", domain: str) -> tuple[Entry, ...]:
    recipe = validate(config.recipe, "config.json")
    assert isinstance(recipe, CycleganRecipe)
    data = recipe.data.model_copy(update={"cache_resolution": 0})
    reason = ""
    for resolve in (resolve_test_sets, resolve_validation_sets, resolve_sets):
        try:
            sets = resolve(data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=Path())
        except UserError as error:
            reason = reason or f" ({error})"
            continue
        if domain in sets:
            return sets[domain].entries
    raise UserError(f"The run's pictures are not here{reason}; give a folder with --pictures.")
