"""Modes of stacked digits by hand, and the digits and their classifier."""

import builtins
import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from progcycle.errors import UserError
from progcycle.metrics import digits as module
from progcycle.metrics import mode_coverage
from progcycle.metrics.digits import digit_classifier, digit_split, stack_digits, stack_labels, train_digit_classifier

PARTS = ("train", "classifier", "check")


# --- counting -----------------------------------------------------------------------------------------------------


def test_by_hand() -> None:
    found = mode_coverage(torch.tensor([[1, 2, 3], [1, 2, 3], [1, 2, 3], [3, 2, 1]]))
    assert (found.pictures, found.modes) == (4, 2)
    assert found.kl == pytest.approx(0.75 * math.log(750) + 0.25 * math.log(250))
    assert found.kl_found == pytest.approx(0.75 * math.log(1.5) + 0.25 * math.log(0.5))
    assert found.kl == pytest.approx(found.kl_found + math.log(1000 / 2))


def test_every_mode_once_is_perfect_and_one_mode_is_the_worst() -> None:
    n = torch.arange(1000)
    every = mode_coverage(torch.stack([n % 10, n // 10 % 10, n // 100], dim=1))
    assert (every.modes, every.kl, every.kl_found) == (1000, pytest.approx(0), pytest.approx(0))
    one = mode_coverage(torch.full((50, 3), 9))
    assert (one.modes, one.kl, one.kl_found) == (1, pytest.approx(math.log(1000)), 0)


def test_against_scipy() -> None:
    rng = np.random.default_rng(0)
    predictions = rng.binomial(9, 0.4, (3000, 3))
    counts = np.bincount(predictions @ [1, 10, 100], minlength=1000)
    found = mode_coverage(torch.from_numpy(predictions))
    assert found.modes == (counts > 0).sum()
    assert found.kl == pytest.approx(stats.entropy(counts, np.full(1000, 1 / 1000)))
    assert found.kl_found == pytest.approx(stats.entropy(counts[counts > 0], np.ones((counts > 0).sum())))


@pytest.mark.parametrize(
    "predictions",
    [
        torch.zeros(0, 3, dtype=torch.int64),
        torch.zeros(4, 2, dtype=torch.int64),
        torch.zeros(4, 3),
        torch.tensor([[0, 1, 10]]),
        torch.tensor([[0, -1, 1]]),
    ],
)
def test_what_are_no_digits(predictions: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"whole numbers|from 0 to 9"):
        mode_coverage(predictions)


# --- digits -------------------------------------------------------------------------------------------------------


def test_the_parts_are_disjoint_complete_and_balanced() -> None:
    parts = [digit_split(part) for part in PARTS]
    assert [len(classes) for _, classes in parts] == [898, 720, 179]
    from sklearn.datasets import load_digits

    every = load_digits()
    known = sorted(
        (np.rint(p * 255 / 16).astype(np.uint8).tobytes(), c) for p, c in zip(every.images, every.target, strict=True)
    )
    assert (
        sorted((p.tobytes(), c) for pictures, classes in parts for p, c in zip(pictures, classes, strict=True)) == known
    )
    for (pictures, classes), share in zip(parts, (0.5, 0.4, 0.1), strict=True):
        assert (pictures.shape[1:], pictures.dtype, classes.dtype) == ((8, 8), np.uint8, np.int64)
        assert {int(pictures.min()), int(pictures.max())} == {0, 255}
        np.testing.assert_allclose(np.bincount(classes), np.bincount(every.target) * share, atol=1)
    with pytest.raises(ValueError, match="train, classifier, check"):
        digit_split("test")  # type: ignore[arg-type]


def test_stacks_are_addressed_and_made_of_their_digits() -> None:
    stacks, labels = stack_digits(60, 4), stack_labels(60, 4)
    assert (stacks.shape, stacks.dtype, labels.shape) == ((60, 3, 8, 8), np.uint8, (60, 3))
    assert np.array_equal(stack_digits(20, 4), stacks[:20])
    assert not np.array_equal(stack_digits(20, 5), stacks[:20])
    pictures, classes = digit_split("train")
    by_pixels: dict[bytes, set[int]] = {}
    for picture, digit in zip(pictures, classes, strict=True):
        by_pixels.setdefault(picture.tobytes(), set()).add(int(digit))
    for stack, row in zip(stacks, labels, strict=True):
        for channel, digit in zip(stack, row, strict=True):
            assert digit in by_pixels[channel.tobytes()]


def test_all_modes_are_equally_probable() -> None:
    counts = np.bincount(stack_labels(20000, 0) @ [1, 10, 100], minlength=1000)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_the_classifier_reads_digits_that_it_never_saw() -> None:
    classifier = digit_classifier()
    assert classifier.accuracy(*digit_split("train")) >= 0.97
    assert classifier.accuracy(*digit_split("check")) >= 0.97
    stacks, labels = torch.from_numpy(stack_digits(500, 1)), stack_labels(500, 1)
    read = classifier.read(stacks)
    assert (read.numpy() == labels).mean() >= 0.97
    larger = stacks.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    assert torch.equal(classifier.read(larger), read)  # averaged back to the same pixels
    assert mode_coverage(read).modes == pytest.approx(len(np.unique(labels @ [1, 10, 100])), abs=15)
    with pytest.raises(ValueError, match="R a multiple of 8"):
        classifier.read(torch.zeros(1, 3, 12, 12))


def test_training_a_classifier_touches_nothing_and_repeats(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEPS", 5)
    digits, classes = (array[:40] for array in digit_split("classifier"))
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with torch.no_grad():
        first = train_digit_classifier(digits, classes)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    second = train_digit_classifier(digits, classes)
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, second.state_dict()[name]), name
    assert not any(p.requires_grad for p in first.parameters())
    assert not first.training


def test_without_scikit_learn_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    module._digits.cache_clear()
    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(UserError, match="pip install scikit-learn"):
        stack_digits(1, 0)
    monkeypatch.undo()
    module._digits.cache_clear()
