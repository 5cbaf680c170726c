"""Addressed randomness: values that are pure functions of (seed, what for, position).

Nothing here has a state. A latent, a mixing factor or an augmentation seed is looked up by the global
position of the picture it belongs to, so workers, resumption and the number of processes change nothing.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Distribution = Literal["normal", "uniform"]


def address(*parts: int | str) -> int:
    """Hash of ``parts`` as an unsigned 64-bit integer, the same on every machine and Python version."""
    text = "\x1f".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator_at(*parts: int | str) -> np.random.Generator:
    """A fresh numpy generator (Philox, counter based) for one address."""
    return np.random.Generator(np.random.Philox(address(*parts)))


def normal(seed: int, purpose: str, positions: Iterable[int], size: int) -> Tensor:
    """Standard normal rows, row i belonging to positions[i].  # [N, size] float32"""
    rows = [generator_at(seed, purpose, p).standard_normal(size, dtype=np.float32) for p in positions]
    return torch.from_numpy(np.stack(rows))


def uniform(seed: int, purpose: str, positions: Iterable[int]) -> Tensor:
    """Uniform numbers in [0, 1), number i belonging to positions[i].  # [N] float32"""
    rows = [generator_at(seed, purpose, p).random(dtype=np.float32) for p in positions]
    return torch.tensor(rows, dtype=torch.float32)


def uniforms(seed: int, purpose: str, positions: Iterable[int], size: int) -> Tensor:
    """Rows of uniform numbers in [0, 1), row i belonging to positions[i].  # [N, size] float32"""
    rows = [generator_at(seed, purpose, p).random(size, dtype=np.float32) for p in positions]
    return torch.from_numpy(np.stack(rows))


def latents(seed: int, purpose: str, positions: Iterable[int], size: int, distribution: Distribution) -> Tensor:
    """Latents of a generator, row i belonging to positions[i]: standard normal, or uniform in [-1, 1).

    Returns:
        Rows.  # [N, size] float32
    """
    if distribution == "uniform":
        return 2 * uniforms(seed, purpose, positions, size) - 1
    return normal(seed, purpose, positions, size)
