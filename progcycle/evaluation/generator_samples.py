"""Generated and real pictures that the metrics of generators compare."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from progcycle.blocks import to_levels
from progcycle.errors import UserError
from progcycle.output import bars_hidden

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from progcycle.data import PictureSet
    from progcycle.evaluation.sampler import Sampler
    from progcycle.export import Generator
    from progcycle.metrics import PictureBatches
    from progcycle.recipe import Recipe
    from progcycle.schedule import Growth

LATENT_ADDRESS = "metric/latent"  # address of the latents of evaluations during training
PictureFunction = Callable[[Sequence[int]], "Tensor"]  # numbers of pictures to grey levels  # [n] -> [n, C, R, R] uint8


class RealPictures:
    """Real pictures by position, as training shows them: cropped, mirrored and faded, but without ``augment``.

    Args:
        pictures: the set; the positions 0 to ``len(pictures) - 1`` are all of it in random order.
        growth: where growth stands.

    Attributes:
        broken: sentences about pictures that could not be read; the next readable one is used instead.
    """

    def __init__(self, pictures: "PictureSet", growth: "Growth") -> None:
        self.pictures, self.growth = pictures, growth
        self.broken: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.pictures)

    def __call__(self, positions: Sequence[int]) -> "Tensor":
        """Grey levels of pictures.  # [n] -> [n, C, R, R] uint8"""
        import torch

        from progcycle.data import as_reals, collate

        self.pictures.index_at(positions[0])  # the order, once for all threads
        with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
            samples = pool.map(lambda place: self.pictures.training(place, self.growth.resolution), positions)
            batch = collate(list(samples))
        self.broken.update(dict.fromkeys(batch.broken))
        as_they_are = self.growth.reals_alpha >= 1 and batch.images.dtype == torch.uint8
        return batch.images if as_they_are else to_levels(as_reals(batch.images, self.growth))

    def name_at(self, position: int) -> str:
        """Name of the picture at a position."""
        return self.pictures.names[self.pictures.index_at(position)]


@dataclass(frozen=True)
class GeneratorSamples:
    """Generated and real pictures at one moment of growth.

    Attributes:
        paint: generated pictures by number.
        reals: real pictures by position.
        seed: of the metrics' own random choices.
        device: where to compute.
        batch_size: pictures generated or read at a time.
        progress: show progress bars when standard error is a terminal.
    """

    generate: PictureFunction
    reals: RealPictures
    seed: int
    device: str
    batch_size: int = 64
    progress: bool = False

    @property
    def resolution(self) -> int:
        """Pixels per side."""
        return self.reals.growth.resolution

    def generated(self, count: int, start: int = 0) -> "PictureBatches":
        """The generated pictures ``start`` to ``start + count - 1``."""
        return self._source(self.generate, range(start, start + count), "generating")

    def real(self, count: int, start: int = 0) -> "PictureBatches":
        """The real pictures at the positions ``start`` to ``start + count - 1``."""
        return self._source(self.reals, range(start, start + count), "reading")

    def _source(self, show: PictureFunction, numbers: range, words: str) -> "PictureBatches":
        from tqdm import tqdm

        def batches() -> Iterator["Tensor"]:
            hidden = bars_hidden() if self.progress else True
            with tqdm(total=len(numbers), desc=words, unit="img", disable=hidden, leave=False) as bar:
                for first in range(0, len(numbers), self.batch_size):
                    some = numbers[first : first + self.batch_size]
                    yield show(some)
                    bar.update(len(some))

        return batches


def real_picture_set(
    recipe: "Recipe", seed: int, cache_dir: Path | None = None, paths: Sequence[str] | None = None
) -> "PictureSet":
    """The training pictures of a recipe without ``augment``.

    Args:
        recipe: a validated recipe.
        seed: of the order, the mirroring and the crops.
        cache_dir: folder of caches, which are read if they exist; none is built.
        paths: folders or zip files to read instead of the recipe's; then classes are not known.

    Raises:
        UserError: a path is missing or has no pictures.
    """
    from progcycle.data import resolve_sets

    changes: dict[str, object] = {"augment": ()}
    if cache_dir is None:
        changes["cache_resolution"] = 0
    if paths:
        changes |= {"path": tuple(paths), **({"labels": None} if recipe.data.label_source is not None else {})}
    data = recipe.data.model_copy(update=changes)
    return resolve_sets(data, resolution=recipe.resolution, seed=seed, cache_dir=cache_dir or Path())["real"]


def class_bounds(pictures: "PictureSet", known: int) -> "np.ndarray":
    """Upper ends of the classes' shares in [0, 1]; the shares are those of the real pictures.

    Args:
        pictures: real pictures; if their classes are not known, all shares are equal.
        known: number of classes.

    Returns:
        Rising numbers up to 1.  # [known] float64
    """
    import numpy as np

    if not pictures.classes:
        return np.arange(1, known + 1) / known
    counts = np.bincount([pictures.label_at(i) for i in range(len(pictures))], minlength=known)
    return np.cumsum(counts) / len(pictures)


def draw_classes(bounds: "np.ndarray", seed: int, numbers: Sequence[int]) -> list[int]:
    """A random class for each generated picture, which follows from seed and number alone.

    Args:
        bounds: see :func:`class_bounds`.
        seed: of the series of pictures.
        numbers: of the pictures.
    """
    import numpy as np

    from progcycle.rng import uniform

    found = np.searchsorted(bounds, uniform(seed, "metric/label", numbers).numpy(), side="right")
    return [int(label) for label in found]


def samples_from_model(
    model: "Generator",
    seed: int,
    device: str,
    batch_size: int = 64,
    paths: Sequence[str] | None = None,
    cache_dir: Path | None = None,
    progress: bool = False,
) -> GeneratorSamples:
    """A trained generator and its training pictures.

    Args:
        model: a trained generator.
        seed: of latents, of the order of real pictures, and of the metrics' own choices.
        device: where to compute.
        batch_size: pictures generated or read at a time.
        paths: folders or zip files of real pictures, instead of those of the recipe.
        cache_dir: as for :func:`real_picture_set`.
        progress: show progress bars.

    Raises:
        UserError: a path is missing or has no pictures.
    """
    recipe: Recipe = model.recipe
    if recipe.task != model.task:
        raise UserError(f"This generator's recipe is not one of the task {model.task}.")
    pictures = real_picture_set(recipe, seed, cache_dir, paths)
    growth = model.config.growth
    bounds = class_bounds(pictures, len(model.classes))

    def generate(numbers: Sequence[int]) -> "Tensor":
        labels = draw_classes(bounds, seed, numbers) if model.classes else None
        size = len(numbers)
        return to_levels(model.generate(size, seed, start=numbers[0], batch_size=size, labels=labels))

    return GeneratorSamples(generate, RealPictures(pictures, growth), seed, device, batch_size, progress)


def generate_from_sampler(sampler: "Sampler", seed: int, pictures: "PictureSet") -> PictureFunction:
    """Pictures from a generator in training, with its present weights and latents that only evaluations use.

    Args:
        sampler: of the generator in training.
        seed: of latents and classes.
        pictures: real pictures; classes are as frequent as among them.
    """
    import torch
    from torch.nn import functional as F

    known = len(pictures.classes)
    bounds = class_bounds(pictures, known)

    def generate(numbers: Sequence[int]) -> "Tensor":
        panel = {"latents": sampler.task.draw_latents(seed, LATENT_ADDRESS, numbers)}
        if known:
            panel["labels"] = F.one_hot(torch.tensor(draw_classes(bounds, seed, numbers)), known).float()
        return to_levels(sampler(panel)[0])

    return generate
