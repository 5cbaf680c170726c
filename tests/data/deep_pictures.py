"""Pictures of 16 bits and of floating point numbers that the tests write, by libraries that write them exactly."""

from pathlib import Path

import cv2
import numpy as np
import tifffile


def scan(seed: int, low: int = 0, high: int = 4095, width: int = 40, height: int = 36, channels: int = 1) -> np.ndarray:
    """Whole numbers of a range, both ends among them.  # [H, W, C] uint16"""
    values = np.random.default_rng(seed).integers(low, high + 1, (height, width, channels)).astype(np.uint16)
    values.flat[0], values.flat[-1] = low, high
    return values


def write_values(path: Path, values: np.ndarray) -> Path:
    """Values by the ending of the name: PNG by OpenCV, TIFF by tifffile, or a numpy array."""
    path.parent.mkdir(parents=True, exist_ok=True)
    channels = values.shape[2]
    flat = values[:, :, 0] if channels == 1 else values
    if path.suffix == ".png":
        cv2.imwrite(str(path), flat[..., [2, 1, 0, 3][:channels]] if channels > 1 else flat)
    elif path.suffix == ".npy":
        np.save(path, flat)
    else:
        kind = "rgb" if channels == 3 else "minisblack"
        tifffile.imwrite(path, flat, photometric=kind, planarconfig="contig" if channels > 1 else None)
    return path


def write_scans(folder: Path, count: int, low: int = 0, high: int = 4095, ending: str = ".png") -> Path:
    """``count`` grey pictures of 16 bits with values of a range, each with both ends."""
    for i in range(count):
        write_values(folder / f"{i:02}{ending}", scan(i, low, high))
    return folder
