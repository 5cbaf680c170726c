"""albumentations transforms named in the recipe, checked when built and repeatable sample by sample."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from progcycle.blocks.levels import as_numbers, max_level, to_unit
from progcycle.data.levels import PLAIN, Levels
from progcycle.errors import UserError, closest
from progcycle.recipe import Augmentation
from progcycle.resolution import Resolution


def _library() -> Any:
    """albumentations, imported when it is needed since that takes seconds."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # its import would ask the network for a newer version
    import albumentations
    import cv2

    cv2.setNumThreads(0)  # OpenCV's own threads do not survive the fork of a loader worker
    return albumentations


class Transforms:
    """The transforms of one domain, in order; each picture's outcome is a function of its seed alone.

    Args:
        steps: the recipe's ``augment`` list.
        resolution: of the pictures, whose size every transform must keep.
        channels: of the pictures.
        domain: named in errors.
        levels: their depth. All but 8 bits go through the transforms as floating point in [0, 1].

    Raises:
        UserError: an unknown transform, arguments that it refuses, or one that fails on such pictures, does not keep
            their size and type, or leaves 256 grey levels of more.
    """

    def __init__(
        self, steps: Sequence[Augmentation], resolution: int, channels: int, domain: str, levels: Levels = PLAIN
    ) -> None:
        self.levels = levels
        self.steps = tuple(steps)
        self.domain = domain
        for step in self.steps:
            self._try_out(step, Resolution.of(resolution), channels)
        self._compose: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_compose": None}

    def __call__(self, picture: np.ndarray, seed: int) -> np.ndarray:
        """Transform a picture.

        Args:
            picture: of the type ``levels.dtype``.  # [H, W, C] -> [H, W, C]
            seed: everything random follows from it.

        Raises:
            UserError: the result has another size or type.
        """
        if self._compose is None:
            self._compose = _library().Compose([self._build(step) for step in self.steps])
        self._compose.set_random_seed(seed)
        plain = picture.dtype == np.uint8
        given = picture if plain else to_unit(as_numbers(picture))
        result = self._compose(image=given)["image"]
        self._same_kind(given, result, " ".join(step.name for step in self.steps))
        if not plain:
            result = Levels(self.levels.bits, 0, 1).pixels(result)
        return np.ascontiguousarray(result)

    def _where(self, name: str) -> str:
        return f"Transform {name} of domain {self.domain}"

    def _build(self, step: Augmentation, **change: Any) -> Any:
        library = _library()
        base = library.BasicTransform
        found = getattr(library, step.name, None)
        if not (isinstance(found, type) and issubclass(found, base)):
            members = vars(library).items()
            known = [name for name, value in members if isinstance(value, type) and issubclass(value, base)]
            near = closest(step.name, known, cutoff=0.5)
            hint = f"did you mean {near}?" if near else "see albumentations' list of transforms."
            raise UserError(f"{self._where(step.name)} is not known to albumentations, {hint}")
        arguments = {**(step.model_extra or {}), **change}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)  # unknown arguments are only warned about
                return found(**arguments)
        except Exception as error:  # validation differs from transform to transform
            raise UserError(f"{self._where(step.name)} refuses its arguments: {_one_line(error)}.") from None

    def _try_out(self, step: Augmentation, resolution: Resolution, channels: int) -> None:
        """Run one transform alone, always applied, on a few pictures of noise."""
        self._build(step)
        transform = self._build(step, p=1.0)
        compose = _library().Compose([transform])
        for seed in range(3):
            rng, shape = np.random.default_rng(seed), (*resolution.shape, channels)
            picture: np.ndarray = rng.integers(0, max_level() + 1, shape, dtype=np.uint8)
            if not self.levels.plain:
                picture = rng.random(shape, dtype=np.float32)
            compose.set_random_seed(seed)
            try:
                result = compose(image=picture)["image"]
            except Exception as error:
                kind = {1: "grey", 3: "RGB"}.get(channels, f"{channels}-channel")
                depth = "" if self.levels.plain else f" ({self.levels.words}, seen as floating point)"
                raise UserError(
                    f"{self._where(step.name)} fails on {kind} pictures of {resolution} px{depth}: {_one_line(error)}."
                ) from None
            self._same_kind(picture, result, step.name)
            if not self.levels.plain and _has_8_bits(result) and not _has_8_bits(picture):
                raise UserError(
                    f"{self._where(step.name)} leaves 256 grey levels of pictures that have more "
                    f"({self.levels.words}); leave it out."
                )

    def _same_kind(self, picture: np.ndarray, result: Any, name: str) -> None:
        shape, dtype = getattr(result, "shape", None), getattr(result, "dtype", None)
        if shape is None or tuple(shape) != picture.shape or dtype != picture.dtype:
            got = type(result).__name__ if shape is None else f"{dtype} of shape {tuple(shape)}"
            raise UserError(
                f"{self._where(name)} must keep the size and type of its picture, but made {got} from {picture.dtype} "
                f"of shape {picture.shape}; leave it out (to crop at random, use load_resolution)."
            )


def _has_8_bits(picture: np.ndarray) -> bool:
    """Whether all numbers in [0, 1] are levels of 8 bits."""
    levels = picture * max_level()
    return bool(np.abs(levels - levels.round()).max() < 1e-3)


def _one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "errors.pydantic.dev" not in line]
    return " ".join(" ".join(lines).split()).rstrip(".") or type(error).__name__
