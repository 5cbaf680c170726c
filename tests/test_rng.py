"""Addressed randomness: the same address gives the same value, whatever else is asked for."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from progcycle.rng import address, generator_at, latents, normal, uniform, uniforms


def test_address_is_the_same_on_every_machine() -> None:
    # Written down once: a changed hash would change the pictures of every recorded run.
    assert address(0, "latent/generator", 7) == 5280727674000554870
    assert address() < 2**64


def test_address_tells_all_parts_apart() -> None:
    parts = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2), (0, "a", 11), (0, "a1", 1), (0, "a"), (1, "a", 0)]
    assert len({address(*p) for p in parts}) == len(parts)


def test_address_does_not_depend_on_the_process() -> None:
    code = "from progcycle.rng import address, generator_at; print(address(3, 'x', 5), generator_at(3, 'x').random())"
    environment = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == f"{address(3, 'x', 5)} {generator_at(3, 'x').random()}\n"


def test_rows_belong_to_positions_whatever_the_split() -> None:
    rows = normal(5, "latent", range(10), 16)
    assert rows.shape == (10, 16)
    assert rows.dtype == torch.float32
    assert torch.equal(torch.cat([normal(5, "latent", [0, 1, 2], 16), normal(5, "latent", range(3, 10), 16)]), rows)
    assert torch.equal(normal(5, "latent", [7, 2], 16), rows[[7, 2]])
    numbers = uniform(5, "mix", range(10))
    assert torch.equal(uniform(5, "mix", [7, 2]), numbers[[7, 2]])


def test_seeds_and_purposes_give_other_values() -> None:
    rows = normal(5, "latent", [3], 16)
    assert not torch.allclose(rows, normal(6, "latent", [3], 16))
    assert not torch.allclose(rows, normal(5, "panel", [3], 16))


def test_asking_leaves_the_global_streams_alone() -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    expected = torch.rand(1), np.random.rand()
    torch.manual_seed(0)
    np.random.seed(0)
    normal(1, "x", range(4), 8)
    uniform(1, "x", range(4))
    assert (torch.rand(1), np.random.rand()) == expected


def test_distributions() -> None:
    rows = normal(0, "x", range(2000), 8)
    assert rows.mean().item() == pytest.approx(0, abs=0.03)
    assert rows.std().item() == pytest.approx(1, abs=0.03)
    numbers = uniform(0, "x", range(4000))
    assert 0 <= numbers.min() < 0.01
    assert 0.99 < numbers.max() < 1
    assert numbers.mean().item() == pytest.approx(0.5, abs=0.02)


def test_rows_of_uniform_numbers() -> None:
    rows = uniforms(4, "x", range(2000), 5)
    assert rows.shape == (2000, 5)
    assert rows.dtype == torch.float32
    assert torch.equal(uniforms(4, "x", [17, 3], 5), rows[[17, 3]])
    assert torch.equal(uniforms(4, "x", [17], 3)[0], rows[17, :3]), "a longer row begins as a shorter one"
    assert torch.equal(uniform(4, "x", range(2000)), rows[:, 0])
    assert rows.min() >= 0
    assert rows.max() < 1
    assert (rows.mean(0) - 0.5).abs().max() < 0.03
    assert torch.corrcoef(rows.T).fill_diagonal_(0).abs().max() < 0.08


def test_latents_are_normal_or_fill_the_cube() -> None:
    assert torch.equal(latents(3, "z", [4, 5], 6, "normal"), normal(3, "z", [4, 5], 6))
    cube = latents(3, "z", range(500), 8, "uniform")
    assert torch.equal(cube, 2 * uniforms(3, "z", range(500), 8) - 1)
    assert -1 <= cube.min() < -0.99
    assert 0.99 < cube.max() < 1
    assert abs(cube.square().mean() - 1 / 3) < 0.02
