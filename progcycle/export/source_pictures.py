"""Pictures of a run, or of a folder, that its networks are shown on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from progcycle.blocks import as_numbers
from progcycle.data import Levels, box_reduce, resolve_sets, resolve_test_sets, resolve_validation_sets
from progcycle.data.pixels import changed
from progcycle.data.reader import PictureReader
from progcycle.data.source import Entry, Opener, list_pictures
from progcycle.data.volumes import with_slices
from progcycle.errors import UserError
from progcycle.export.config import CONFIG_FILE, SnapshotConfig
from progcycle.export.examples import Examples
from progcycle.export.tensor_images import from_pixels, shown
from progcycle.recipe import MAX_PIXELS, validate


@dataclass
class TranslatorExamples(Examples):
    """Pictures of one domain, and their translations.

    Attributes:
        direction: ``ab`` or ``ba``.
        pictures: a picture, or a folder or zip file of pictures, instead of the run's own.
    """

    direction: str = "ab"
    pictures: str | Path | None = None

    @cached_property
    def levels(self) -> list[np.ndarray]:
        """The pictures' values.  # each [H, W, C]"""
        return read_sources(self.config, self.direction, self.pictures, self.count, self.side)

    @property
    def words(self) -> str:
        """Such as ``A to B``."""
        return " to ".join(self.direction.upper())

    @property
    def source_name(self) -> str:
        """The domain that the pictures belong to: ``A`` or ``B``."""
        return self.direction[0].upper()

    @property
    def sources(self) -> Sequence[Image.Image]:
        """The pictures."""
        levels = self.config.levels(self.direction[0])
        return [shown(levels.pixels(values)) for values in self.levels]

    def made_by(self, model: Any, resolution: int | None = None) -> list[Image.Image]:
        """Their translations; with latents, picture i has those of seed i, so that neighbours differ."""
        varied = model.latent_size(self.direction) > 0
        side = resolution or model.resolution  # as training reduced them
        return [
            self.translated(values, model, resolution, seed=i if varied else None, side=side)
            for i, values in enumerate(self.levels)
        ]

    def translated(self, values: np.ndarray, model: Any, resolution: int | None = None, **options: Any) -> Image.Image:
        """A translation of one of the pictures' values, as people see it."""
        made = self.config.levels(self.direction[1])
        return shown(made.pixels(model.translate(values, self.direction, model.scale, resolution, **options)))


def read_sources(
    config: SnapshotConfig, direction: str, folder: str | Path | None, count: int, side: int
) -> list[np.ndarray]:
    """Pictures from all over a folder, or over a run's test pictures; where it has none, those held out or trained on.

    Args:
        config: of a snapshot of translators.
        direction: ``ab`` or ``ba``; its first letter is the domain.
        folder: pictures to take instead, or a single one.
        count: how many at most.
        side: pixels of their longer side at most, but no less than the run's resolution. Where training saw parts of
            pictures, they are such parts, of the run's resolution.

    Returns:
        The pictures' values.  # each [H, W, C]

    Raises:
        UserError: there are none, or one of them cannot be read.
    """
    domain, channels = direction[0], config.networks[f"gen_{direction}"].arguments.get("in_channels", 3)
    options = config.pictures(domain).model_copy(update={"channels": channels})
    levels, opener = Levels.of(options), Opener()
    entries = with_slices(list_given(folder), options.volumes, opener) if folder else _entries(config, domain)
    count, side = min(count, len(entries)), max(side, config.final_resolution.longer)
    reader = PictureReader(entries, options, MAX_PIXELS, opener)
    if config.test_side(domain) != (final := config.final_resolution):
        return [levels.values(as_numbers(reader.middle(i * len(entries) // count, final))) for i in range(count)]
    # Neighbours in name order are often alike.
    return [_thumbnail(reader.values(i * len(entries) // count), side, levels) for i in range(count)]


def list_given(path: str | Path) -> tuple[Entry, ...]:
    """A picture file by itself, or the pictures of a folder or zip file, sorted by name.

    Raises:
        UserError: there are none, or nothing is there.
    """
    file = Path(path)
    if file.is_file() and file.suffix.lower() != ".zip":
        return (Entry(file.name, str(file.absolute()), None, ""),)
    return list_pictures([str(path)])


def read_fitted(
    config: SnapshotConfig,
    domain: str,
    path: str | Path,
    channels: int,
    count: int | None = None,
    resolution: int | None = None,
) -> tuple[list[str], Tensor]:
    """Pictures as training shows them at a stage, but without anything random, and not faded.

    Args:
        config: of the snapshot.
        domain: of the recipe, such as ``a``; of a recipe of one domain any other name.
        path: a picture, or a folder or zip file of pictures.
        channels: that the networks know.
        count: how many at most, from all over the folder; default: all.
        resolution: of the stage; default: that of the snapshot.

    Returns:
        Their names, and the pictures in [-1, 1].  # [N, C, H, W]

    Raises:
        UserError: there are none, or one of them cannot be read.
    """
    options, opener = config.pictures(domain).model_copy(update={"channels": channels}), Opener()
    entries = with_slices(list_given(path), options.volumes, opener)
    reader = PictureReader(entries, options, MAX_PIXELS, opener)
    final = config.final_resolution
    read = reader.fitted if config.test_side(domain) == final else reader.middle
    number = len(entries) if count is None else min(count, len(entries))
    indices = [i * len(entries) // number for i in range(number)]
    pictures = [from_pixels(box_reduce(read(i, final), resolution or config.resolution)) for i in indices]
    return [entries[i].name for i in indices], torch.cat(pictures)


def _thumbnail(values: np.ndarray, side: int, levels: Levels) -> np.ndarray:
    """Values of a picture whose longer side has ``side`` pixels at most."""

    def reduced(image: Image.Image) -> Image.Image:
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        return image

    small = changed(levels.pixels(values), reduced)
    return levels.values(as_numbers(small))


def _entries(config: SnapshotConfig, domain: str) -> tuple[Entry, ...]:
    recipe = validate(config.recipe, CONFIG_FILE)
    data = recipe.data.model_copy(update={"cache_resolution": 0})
    reason = ""
    for resolve in (resolve_test_sets, resolve_validation_sets, resolve_sets):
        try:
            sets = resolve(data, resolution=recipe.resolution, seed=recipe.seed, cache_dir=Path())
        except UserError as error:
            reason = reason or f" ({str(error).partition(';')[0].rstrip('.')})"  # its remedy is not this command's
            continue
        if domain in sets:
            return sets[domain].entries
    raise UserError(f"The run's pictures are not here{reason}; give a folder with --pictures.")
