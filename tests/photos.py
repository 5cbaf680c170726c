"""Photographs of noise, and folders of them."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def photo(path: Path, seed: int, size: tuple[int, int] = (80, 60), grey: bool = False) -> Path:
    """Noise, in which no two neighbours are equal by anything but chance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (size[1], size[0]) if grey else (size[1], size[0], 3)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)).save(path)
    return path


def folder(path: Path, count: int, seed: int = 0, **options: Any) -> Path:
    for i in range(count):
        photo(path / f"{i:03}.png", 1000 * seed + i, **options)
    return path
