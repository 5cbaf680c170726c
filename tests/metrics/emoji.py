"""Real pictures of the repository, as grey levels."""

from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parents[2] / "datasets/emoji/trainA"


def emoji(count: int, side: int = 64, start: int = 0) -> np.ndarray:
    """Pictures in name order.  # [count, 3, side, side] uint8"""
    files = sorted(FOLDER.glob("*.png"))[start : start + count]
    assert len(files) == count
    pictures = [
        np.asarray(Image.open(file).convert("RGB").resize((side, side), Image.Resampling.BOX)) for file in files
    ]
    return np.stack(pictures).transpose(0, 3, 1, 2).copy()
