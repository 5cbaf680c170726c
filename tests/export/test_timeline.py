"""Which snapshots of a run are shown, and in how many columns."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from progcycle.errors import UserError
from progcycle.export import Generator, load, to_pil
from progcycle.export.contact_sheet import columns_for
from progcycle.export.timeline import spread, timeline

Make = Callable[..., Path]


@pytest.mark.parametrize(
    ("resolutions", "limit", "expected"),
    [
        ([4], 12, [0]),
        ([4, 8, 8], 12, [0, 1, 2]),
        ([4, 8, 8], 3, [0, 1, 2]),
        ([4, 8, 8], 1, [2]),
        ([4, 8, 8], 2, [0, 2]),
        ([4] * 11, 6, [0, 2, 4, 6, 8, 10]),
        ([4] * 11, 5, [0, 3, 5, 8, 10]),
        ([4] + [8] + [16] * 9, 5, [0, 1, 5, 8, 10]),  # 8 px lie between the even places; the nearest gives way
        ([4, 8, 16] + [32] * 20, 4, [0, 1, 2, 22]),
        ([4, 8, 16] + [32] * 20, 3, [0, 1, 22]),  # room for one of the two that would be missing
        ([4, 8, 16] + [32] * 20, 2, [0, 22]),
    ],
)
def test_spread_by_hand(resolutions: list[int], limit: int, expected: list[int]) -> None:
    assert spread(resolutions, limit) == expected


@settings(deadline=None, max_examples=200)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.integers(2, 14))
def test_spread_keeps_its_promises(counts: list[int], limit: int) -> None:
    resolutions = [4 << i for i, count in enumerate(counts) for _ in range(count)]
    n = len(resolutions)
    chosen = spread(resolutions, limit)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(limit, n)
    assert {0, n - 1} <= set(chosen) <= set(range(n))
    if limit >= len(counts):
        assert {resolutions[i] for i in chosen} == set(resolutions)
    if len(counts) == 1 and n > limit:  # nothing but evenness to see to
        gaps = np.diff(chosen)
        assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(
    ("count", "columns"), [(1, 1), (2, 2), (3, 3), (4, 2), (5, 5), (7, 3), (8, 4), (9, 3), (12, 4), (16, 4), (23, 5)]
)
def test_columns_of_a_frame(count: int, columns: int) -> None:
    assert columns_for(count) == columns


def test_moments_of_a_run_from_python(make_snapshot: Make) -> None:
    for i, nimg in enumerate((5, 12, 20)):
        run = make_snapshot(task="pggan", nimg=nimg, seed=i).parent.parent
    shown = timeline(run, count=2, every=2, seed=4)
    assert (len(shown), shown.total, shown.examples.words) == (2, 3, "seed 4")
    moments = list(shown)
    assert [moment.config.nimg for moment in moments] == [5, 20]
    model = load(run)
    assert isinstance(model, Generator)
    for got, expected in zip(moments[-1].pictures, to_pil(model.generate(2, 4)), strict=True):
        assert np.array_equal(np.asarray(got), np.asarray(expected))
    assert np.array_equal(np.asarray(shown.sheet()), np.asarray(shown.sheet(moments)))
    assert len(list(shown.frames(5))) == 2 + 10
    with pytest.raises(UserError, match="direction is no option for a PG-GAN; choose from seed, class_name"):
        timeline(run, direction="ab")


def test_snapshots_of_two_tasks_in_one_run(make_snapshot: Make) -> None:
    make_snapshot(nimg=5)
    run = make_snapshot(task="pggan", nimg=12).parent.parent
    with pytest.raises(UserError, match="holds translators, unlike the run's last snapshot"):
        list(timeline(run, count=1))
