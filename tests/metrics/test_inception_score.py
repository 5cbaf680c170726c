"""The Inception Score against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch

from progcycle.metrics import inception_score


def test_pictures_that_look_alike_have_1() -> None:
    assert inception_score(torch.tensor([[1.0, 2.0, 3.0]] * 4)) == pytest.approx((1, 0))


def test_sure_and_even_is_the_number_of_classes() -> None:
    sure = 200 * torch.eye(5).repeat(3, 1)
    assert inception_score(sure) == pytest.approx((5, 0))
    assert inception_score(sure[:10], 5) == pytest.approx((2, 0))  # each part has two pictures of two classes


def test_two_pictures_by_hand() -> None:
    """p = (3/4, 1/4) and (1/4, 3/4), so that the mean is even: KL = 3/4 ln(3/2) + 1/4 ln(1/2) for both."""
    logits = torch.tensor([[math.log(3), 0.0], [0.0, math.log(3)]])
    expected = math.exp(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert inception_score(logits)[0] == pytest.approx(expected)


def test_parts_against_numpy() -> None:
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(23, 7))
    scores = []
    for some in np.array_split(logits, 4):
        p = np.exp(some) / np.exp(some).sum(axis=1, keepdims=True)
        scores.append(np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean()))
    assert inception_score(torch.from_numpy(logits), 4) == pytest.approx((np.mean(scores), np.std(scores)))


@pytest.mark.parametrize(("shape", "parts"), [((3, 4), 4), ((3, 4), 0), ((3,), 1)])
def test_what_has_no_score(shape: tuple[int, ...], parts: int) -> None:
    with pytest.raises(ValueError, match="expected logits"):
        inception_score(torch.zeros(shape), parts)
