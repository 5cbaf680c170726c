"""The classifier two-sample test: chance for equal sets, sure of others; its counts against brute force."""

import numpy as np
import pytest
import torch
from emoji import emoji
from sklearn.metrics import roc_auc_score

from progcycle.blocks import from_levels
from progcycle.metrics import two_sample_test
from progcycle.metrics.two_sample import area_under_curve, balanced_error, divide

QUICK = {"folds": 2, "repeats": 2, "steps": 30}


def pictures(count: int, side: int = 16) -> torch.Tensor:
    return from_levels(torch.from_numpy(emoji(count, side)))


def test_area_under_the_curve_is_the_share_of_pairs_in_order() -> None:
    rng = np.random.default_rng(0)
    for first, second in ((5, 9), (30, 4), (1, 1)):
        x, y = (torch.from_numpy(rng.integers(-3, 4, n).astype(float)) for n in (first, second))  # with ties
        brute = np.mean([(b > a) + 0.5 * (b == a) for a in x for b in y])
        assert area_under_curve(x, y) == pytest.approx(brute)
        labels = [0] * first + [1] * second
        assert area_under_curve(x, y) == pytest.approx(roc_auc_score(labels, torch.cat([x, y]).numpy()))


def test_both_sets_have_equal_weight_in_the_error() -> None:
    first, second = torch.tensor([-1.0, 2.0, -3.0, -4.0]), torch.tensor([1.0, -1.0])
    assert balanced_error(first, second) == (1 / 4 + 1 / 2) / 2
    assert balanced_error(torch.zeros(3), torch.zeros(5)) == 0.5


def test_pairs_are_never_on_both_sides() -> None:
    pairs = [(i, 19 - i) for i in range(12)]
    first, second = divide(15, 20, pairs, folds=4, seed=0, repeat=0)
    assert all(first[i] == second[j] for i, j in pairs)
    for part in (first, second):
        sizes = torch.bincount(part, minlength=4)
        assert sizes.sum() == len(part)
        assert sizes.max() - sizes.min() <= 1
    again, other = (divide(15, 20, pairs, folds=4, seed=0, repeat=repeat)[0] for repeat in (0, 1))
    assert first.tolist() == again.tolist() != other.tolist()


def test_equal_pictures_are_chance_to_the_last_digit() -> None:
    """Only with pairs on one side: else a picture that was learned by heart as real would betray its twin."""
    x = pictures(16)
    found = two_sample_test(x, x, [(i, i) for i in range(16)], **QUICK)
    assert found.aucs == (0.5, 0.5)
    assert found.errors == (0.5, 0.5)


def test_two_samples_of_one_set_are_not_told_apart() -> None:
    x = pictures(160)
    figures = two_sample_test(x[::2], x[1::2], folds=2, repeats=3, steps=40).figures()
    assert figures["two_sample_error"] == pytest.approx(0.5, abs=0.12)
    assert figures["two_sample_auc"] == pytest.approx(0.5, abs=0.12)


def test_negatives_are_told_apart() -> None:
    x = pictures(48)
    figures = two_sample_test(-x[::2], x[1::2], **QUICK).figures()
    assert figures["two_sample_error"] < 0.1
    assert figures["two_sample_auc"] > 0.95


def test_the_better_pictures_are_the_harder_to_tell() -> None:
    x = pictures(64)
    grey = x.mean(dim=1, keepdim=True)
    pairs = [(i, i) for i in range(64)]
    found = [two_sample_test(grey + share * (x - grey), x, pairs, **QUICK).figures() for share in (0.0, 0.8, 1.0)]
    aucs = [figures["two_sample_auc"] for figures in found]
    assert aucs[0] > aucs[1] > aucs[2]
    assert aucs[2] == pytest.approx(0.5, abs=0.1)  # but for rounding these are the same pictures


def test_threads_and_the_state_of_torch_make_no_difference() -> None:
    x = pictures(24)
    sets = x[:12] * 0.8, x[12:]
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 3):
            torch.manual_seed(count)
            torch.set_num_threads(count)
            before = torch.get_rng_state()
            found.append(two_sample_test(*sets, **QUICK))
            assert torch.get_num_threads() == count
            assert torch.equal(torch.get_rng_state(), before)
    finally:
        torch.set_num_threads(threads)
    assert found[0].aucs == found[1].aucs
    assert found[0].errors == found[1].errors
    other = two_sample_test(*sets, seed=1, **QUICK)
    assert other.aucs != found[0].aucs


@pytest.mark.parametrize("side", [4, 8, 24])
def test_any_size_and_grey_will_do(side: int) -> None:
    x = torch.rand(6, 1, side, side) * 2 - 1
    found = two_sample_test(x, x.flip(3), folds=2, repeats=2, steps=2)
    assert all(0 <= value <= 1 for value in (*found.errors, *found.aucs))
    assert found.seconds > 0


def test_means_and_deviations_over_the_divisions() -> None:
    from progcycle.metrics import TwoSampleTest

    assert TwoSampleTest((0.1, 0.2, 0.3), (0.9, 0.9, 0.6), 1.0).figures() == pytest.approx(
        {
            "two_sample_error": 0.2,
            "two_sample_auc": 0.8,
            "two_sample_error_deviation": 0.1,
            "two_sample_auc_deviation": 0.03**0.5,
        }
    )


@pytest.mark.parametrize(
    ("sizes", "options", "words"),
    [
        (((4, 3, 8, 8), (4, 1, 8, 8)), {}, "expected pictures"),
        (((4, 3, 8, 9), (4, 3, 9, 8)), {}, "expected pictures"),
        (((2, 3, 8, 8), (4, 3, 8, 8)), {}, "3 parts"),
        (((4, 3, 8, 8), (4, 3, 8, 8)), {"repeats": 1}, "1 divisions"),
    ],
)
def test_what_cannot_be_divided_is_refused(
    sizes: tuple[tuple[int, ...], tuple[int, ...]], options: dict[str, int], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        two_sample_test(*(torch.zeros(size) for size in sizes), **options)


def test_rectangles_are_told_apart_as_squares_are() -> None:
    torch.manual_seed(0)
    noise, other = torch.rand(9, 1, 16, 40), torch.rand(9, 1, 16, 40)
    dark = two_sample_test(noise, other - 1, folds=3, repeats=2, steps=30).figures()
    alike = two_sample_test(noise, other, folds=3, repeats=2, steps=30).figures()
    assert dark["two_sample_auc"] > 0.95 > alike["two_sample_auc"]
