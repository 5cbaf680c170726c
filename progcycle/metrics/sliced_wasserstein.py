"""Sliced Wasserstein distance between the patches of two sets of pictures (Karras et al. 2018, section 5).

Every picture gives 128 patches of 7x7 pixels and 3 colours from each level of its Laplacian pyramid. In each set the
patches' colours are brought to mean 0 and standard deviation 1; then both sets are projected on random directions and
sorted, and the distance is the mean difference of what stands at the same place.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from progcycle.metrics.picture_batches import PictureBatches, rebatch
from progcycle.metrics.pyramid import laplacian_pyramid, pyramid_levels
from progcycle.output import bars_hidden
from progcycle.resolution import Resolution
from progcycle.rng import generator_at

PATCH = 7  # pixels per side
NUMBERS = 3 * PATCH**2  # of a patch
PATCHES = 128  # of a picture and level
REPEATS, DIRECTIONS = 4, 128  # of which the results are averaged; random directions of each
SCALE = 1e3  # distances are reported in thousandths
RESERVED_GB = 1.0  # GB for the process itself and the pictures that are worked on
MAX_BLOCK, MIN_BLOCK = 128, 16  # directions projected on at a time, where memory allows
# float32 numbers that a projection takes: those of both sets, and what torch.sort needs besides on a GPU.
IN_PLACE, WITH_SORT = 2, 12


def sliced_wasserstein(
    reference: PictureBatches,
    others: Sequence[PictureBatches],
    *,
    count: int,
    resolution: int,
    seed: int = 0,
    memory_gb: float = 4.0,
    device: torch.device | str = "cpu",
    patches: int = PATCHES,
    progress: bool = False,
) -> list[dict[int, float]]:
    """Distances of sets of pictures from a reference, times 1,000, at every level of their pyramids.

    Nothing but rounding depends on batches, memory or device. Grey pictures are repeated to RGB. A colour of a level
    that has one value in the whole set is left at 0 instead of being divided by its deviation.

    Args:
        reference: the set that all others are compared with, usually of real pictures.
        others: sets to compare with it; the random patches of set i do not depend on the other sets.
        count: pictures of each set, the first ones of its source. Only distances at one count can be compared.
        resolution: of the pictures.
        seed: everything random follows from it.
        memory_gb: thousand millions of bytes that the process may use on a CPU, and its arrays on a GPU. As many
            levels are made in one pass over the pictures as fit in; one level is the least.
        device: where to compute.
        patches: of a picture and level; 128 in the paper.
        progress: show a progress bar of the comparison when standard error is a terminal.

    Returns:
        For each of ``others``, the distance by pixels of the level's shorter side, from fine to coarse.

    Raises:
        ValueError: ``resolution`` is below 16, or a source's pictures are not as they should be.
    """
    if count < 1 or patches < 1:
        raise ValueError(f"count and patches start at 1, got {count} and {patches}")
    device = torch.device(device)
    passes, block = memory_plan(resolution, count * patches, memory_gb, device.type)
    results: list[dict[int, float]] = [{} for _ in others]
    total = len(others) * len(pyramid_levels(resolution)) * REPEATS * DIRECTIONS
    with tqdm(
        total=total, desc="comparing", unit="direction", disable=bars_hidden() if progress else True, leave=False
    ) as bar:
        for levels in passes:
            mine = _descriptors(reference, 0, levels, count, resolution, seed, patches, device)
            for i, other in enumerate(others):
                theirs = _descriptors(other, i + 1, levels, count, resolution, seed, patches, device)
                for level in levels:
                    results[i][int(level)] = SCALE * _distance(mine[level], theirs[level], seed, level, block, bar)
                del theirs  # before the next set is read
            del mine
    return results


def patch_places(seed: int, which: int, level: int, count: int, patches: int = PATCHES) -> np.ndarray:
    """Row and column of the upper left pixel of every patch, uniform over all places where a patch fits.

    Args:
        seed: of the metric.
        which: number of the set, 0 for the reference.
        level: its size.
        count: pictures of the set.
        patches: of a picture.

    Returns:
        The places.  # [count, patches, 2] int16
    """
    rng = generator_at(seed, "swd", "places", which, level)
    size = Resolution.of(level)
    places = size - PATCH + 1 if size.is_square else np.array(size.shape) - PATCH + 1
    return rng.integers(0, places, size=(count, patches, 2), dtype=np.int16)


def directions(seed: int, level: int) -> np.ndarray:
    """Random unit vectors, uniform over the sphere; a patch's numbers are ordered by colour, row and column.

    Args:
        seed: of the metric.
        level: its size.

    Returns:
        The directions, those of a repeat side by side.  # [512, 147] float32
    """
    rng = generator_at(seed, "swd", "directions", level)
    vectors = rng.standard_normal((REPEATS * DIRECTIONS, NUMBERS))
    unit: np.ndarray = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def memory_plan(
    resolution: int, rows: int, memory_gb: float, kind: str = "cpu"
) -> tuple[list[tuple[Resolution, ...]], int]:
    """Which levels are made in each pass over the pictures, and how many directions are projected on at a time.

    Args:
        resolution: of the pictures.
        rows: patches of a set and level.
        memory_gb: as for :func:`sliced_wasserstein`.
        kind: of device.

    Raises:
        ValueError: ``resolution`` is below 16.
    """
    levels = pyramid_levels(resolution)
    budget = (memory_gb - (RESERVED_GB if kind == "cpu" else 0)) * 1e9
    level = 2 * 4 * rows * NUMBERS
    direction = 4 * rows * (IN_PLACE if kind == "cpu" else WITH_SORT)
    together = min(max(int((budget - MIN_BLOCK * direction) // level), 1), len(levels))
    block = min(max(int((budget - together * level) // direction), 1), MAX_BLOCK)
    return [levels[i : i + together] for i in range(0, len(levels), together)], block


def _descriptors(
    source: PictureBatches,
    which: int,
    levels: Sequence[int],
    count: int,
    resolution: int,
    seed: int,
    patches: int,
    device: torch.device,
) -> dict[int, Tensor]:
    """All patches of a set, normalised.  # by level [count * patches, 147] float32"""
    places = {level: patch_places(seed, which, level, count, patches) for level in levels}
    found = {level: torch.empty(count * patches, NUMBERS, device=device) for level in levels}
    done = 0
    for piece in rebatch(source, count, resolution, device):
        for level, pictures in laplacian_pyramid(piece, levels):
            where = torch.from_numpy(places[level][done : done + len(piece)]).to(device, torch.int64)
            rows = found[level][done * patches : (done + len(piece)) * patches]
            _take_patches(pictures.expand(-1, 3, -1, -1).contiguous(), where, rows)
        done += len(piece)
    for rows in found.values():
        _normalise(rows)
    return found


def _take_patches(pictures: Tensor, places: Tensor, out: Tensor) -> None:
    """Patches of pictures [n, 3, H, W] at places [n, patches, 2], into ``out`` [n * patches, 147]."""
    n, (height, width) = len(pictures), pictures.shape[-2:]
    steps = torch.arange(PATCH, device=places.device)
    colour = torch.arange(3, device=places.device) * height * width
    within = (colour[:, None, None] + steps[:, None] * width + steps).flatten()  # of a patch's numbers, from its corner
    first = torch.arange(n, device=places.device)[:, None] * 3 * height * width
    corner = first + places[..., 0] * width + places[..., 1]
    torch.take(pictures, corner.flatten()[:, None] + within, out=out)


def _normalise(rows: Tensor) -> None:
    """Bring every colour to mean 0 and (biased) standard deviation 1 over all patches, in place."""
    colours = rows.view(len(rows), 3, -1)
    chunks = torch.split(colours, 1 << 14)  # sums in float64 copy what they add
    numbers = len(rows) * PATCH**2
    wide = torch.float32 if rows.device.type == "mps" else torch.float64  # Apple's GPUs have none
    mean = torch.stack([c.sum(dim=(0, 2), dtype=wide) for c in chunks]).sum(dim=0) / numbers
    colours -= mean.float()[:, None]
    power = torch.stack([c.square().sum(dim=(0, 2), dtype=wide) for c in chunks]).sum(dim=0)
    deviation = (power / numbers).sqrt()
    colours /= torch.where(deviation > 0, deviation, 1.0).float()[:, None]


def _distance(mine: Tensor, theirs: Tensor, seed: int, level: int, block: int, bar: Any) -> float:
    """Mean difference of the sorted projections of two sets [M, 147], which is the mean over the repeats too."""
    total = 0.0
    for chosen in torch.split(torch.from_numpy(directions(seed, level)).to(mine.device), block):
        total += _gaps(mine, theirs, chosen)
        bar.update(len(chosen))
    return total / (REPEATS * DIRECTIONS)


def _gaps(mine: Tensor, theirs: Tensor, chosen: Tensor) -> float:
    """Sum over directions [D, 147] of the mean difference of sorted projections; what they took is free again after."""
    a, b = _sorted(chosen @ mine.T), _sorted(chosen @ theirs.T)
    return float(a.sub_(b).abs_().mean(dim=1).cpu().double().sum())  # a double sum of all would copy them all


def _sorted(rows: Tensor) -> Tensor:
    """Every row in ascending order."""
    if rows.device.type != "cpu":
        return rows.sort(dim=1).values
    array = rows.numpy()  # numpy sorts in place, and many times faster than torch on a CPU
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(np.ndarray.sort, array))
    return rows
