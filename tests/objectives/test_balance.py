"""Weights by gradients: the ratio of the norms is that of the weights, and their sum stays."""

import pytest
import torch

from progcycle.objectives import balanced_weights


def balanced(norms: list[float], weights: list[float], most: float = 100.0) -> list[float]:
    return balanced_weights(torch.tensor(norms), torch.tensor(weights), most).tolist()


def test_by_hand() -> None:
    """Norms 1 and 4, weights 3 and 1: the mean is 7/4, so that the norms become 21/4 and 7/4."""
    assert balanced([1.0, 4.0], [3.0, 1.0]) == pytest.approx([21 / 4, 7 / 16])


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [0.2, 5.0, 1.0], [0.0, 2.0, 1.0]])
def test_shares_and_sum(weights: list[float]) -> None:
    norms, shares = torch.tensor([0.3, 7.0, 1.1]), torch.tensor(weights)
    after = norms * balanced_weights(norms, shares, 1e6)
    torch.testing.assert_close(after / after.sum(), shares / shares.sum())
    torch.testing.assert_close(after.sum(), (norms * shares).sum())


def test_equal_norms_change_nothing() -> None:
    assert balanced([2.0, 2.0], [0.5, 3.0]) == pytest.approx([0.5, 3.0])


def test_a_weak_gradient_grows_by_the_largest_factor_at_most() -> None:
    assert balanced([1e-9, 1.0], [2.0, 1.0], most=10) == pytest.approx([20.0, 1 / 3])
    assert balanced([0.0, 1.0], [1.0, 1.0], most=10) == pytest.approx([10.0, 0.5])


def test_nothing_to_share_changes_nothing() -> None:
    assert balanced([0.0, 0.0], [1.0, 2.0]) == [1.0, 2.0]
    assert balanced([1.0, 2.0], [0.0, 0.0]) == [0.0, 0.0]
