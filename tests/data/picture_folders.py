"""Pictures and folders of pictures that the tests write."""

import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

AUGMENT = ({"name": "Affine", "rotate": [-25, 25], "p": 0.8}, {"name": "RandomBrightnessContrast", "p": 0.8})


def picture(seed: int, width: int = 40, height: int = 36, channels: int = 3) -> np.ndarray:
    """Noise with a few large blocks, so that neighbouring pixels differ as much as they can.  # [H, W, C]"""
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (height // 8 + 1, width // 8 + 1, channels)).repeat(8, 0).repeat(8, 1)
    noise = rng.integers(-60, 61, (height, width, channels))
    return np.clip(blocks[:height, :width] + noise, 0, 255).astype(np.uint8)


def write_folder(folder: Path, count: int, offset: int = 0, **size: int) -> Path:
    """``count`` PNG files in a folder, half of them in a subfolder."""
    (folder / "more").mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.fromarray(picture(offset + i, **size)).save(folder / ("more" if i % 2 else "") / f"{i:02}.png")
    return folder


def pack(folder: Path, file: Path, under: str = "") -> Path:
    """A zip file of a folder, its files in reverse order and their names behind ``under``."""
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*"), reverse=True):
            archive.write(path, under + path.relative_to(folder).as_posix())
    return file
