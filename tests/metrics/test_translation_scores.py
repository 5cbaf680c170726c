"""Copies, hidden signals and distances of features, by hand."""

import pytest
import torch

from progcycle.metrics import copy_score, feature_distance, hidden_signal


def test_copy_score() -> None:
    rng = torch.Generator().manual_seed(0)
    source, truth = torch.rand(2, 5, 3, 8, 8, generator=rng) * 2 - 1
    assert copy_score(source, source, truth) == 1
    assert copy_score(truth, source, truth) == pytest.approx(0)
    assert copy_score((source + truth) / 2, source, truth) == pytest.approx(0.5, abs=1e-6)
    assert copy_score(2 * truth - source, source, truth) == pytest.approx(-1, abs=1e-6)
    assert copy_score(truth, source, source) is None


def test_feature_distance() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    y = torch.tensor([[2.0, 0.0], [1.0, 0.0], [5.0, 0.0]])
    assert feature_distance(x, y).tolist() == pytest.approx([0, 1 - 0.5**0.5, 1], abs=1e-12)
    assert (feature_distance(torch.rand(50, 7) + 0.1, torch.rand(50, 7) + 0.1) >= 0).all()


def test_hidden_signal() -> None:
    assert hidden_signal(0.1, 0.1, 0.01) < 1
    assert hidden_signal(0.0, 0.01, 0.01) == 1  # doing nothing passes a disturbance on as it is
    assert hidden_signal(0.0, 0.5, 0.01) == pytest.approx(50)
    assert hidden_signal(0.0, 0.0, 0.0) == 0
