"""Figures in words: worked out by hand, and of a bounded width whatever they are."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from progcycle.engine.formatting import COLUMNS, brief, duration, memory_size, position, status_line, wrapped
from progcycle.schedule import Growth

SYMBOLS = {"generator": "G"}
NUMBERS = st.floats() | st.integers(-(10**18), 10**18).map(float)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"), (59.9, "59 s"), (60, "1 min 0 s"), (725, "12 min 5 s"), (3599, "59 min 59 s"),
        (4080, "1 h 8 min"), (86_399, "23 h 59 min"), (86_400, "1 day 0 h"), (183_700, "2 days 3 h"),
        (3.2e8, "over 10 years"), (math.inf, "over 10 years"), (math.nan, "over 10 years"), (-5, "0 s"),
    ],
)  # fmt: skip
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0, "0.000"), (0.1234, "0.123"), (-3.9214, "-3.92"), (9.996, "10.0"), (99.96, "100"), (0.99951, "1.00"),
        (1234.4, "1234"), (99_999, "99999"), (123_456, "1.2e+05"), (0.0004, "4.0e-04"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_numbers(value: float, words: str) -> None:
    assert brief(value) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(850e6, "850 MB"), (999.4e6, "999 MB"), (999.6e6, "1.0 GB"), (1.25e9, "1.2 GB"), (139e9, "139 GB")],
)
def test_memory(count: float, words: str) -> None:
    assert memory_size(count) == words


def test_positions_have_the_digits_that_the_plan_needs() -> None:
    assert position(12, 88) == "0.012/0.088"
    assert position(1250, 12_000) == " 1.25/12.00"
    assert position(50_000, 12_000_000) == "   50.0/12000.0"


@given(NUMBERS)
def test_numbers_are_short_and_true(value: float) -> None:
    assert len(brief(value)) <= 9
    if abs(value) < 1e308:
        assert float(brief(value)) == pytest.approx(value, rel=0.06, abs=0.0006)


@given(
    total=st.integers(1, 10**12),
    share=st.floats(0, 1),
    side=st.sampled_from([4, 32, 1024, 65_536]),
    alpha=st.floats(0, 1),
    fading=st.booleans(),
    losses=st.lists(NUMBERS, max_size=6),
    cycles=st.lists(NUMBERS, max_size=2),
    alarms=st.lists(st.text("abcdefgh_/", min_size=1, max_size=60), max_size=5),
    rate=NUMBERS,
    memory=st.floats(0, 1e5) | st.none(),
    left=NUMBERS | st.none(),
)
def test_a_status_line_has_at_most_100_columns_and_says_the_most_important(
    total: int, share: float, side: int, alpha: float, fading: bool, losses: list[float], cycles: list[float],
    alarms: list[str], rate: float, memory: float | None, left: float | None,
) -> None:  # fmt: skip
    names = ("generator", "discriminator", "a", "b", "c", "a_player_with_a_name_that_is_rather_long")
    shown = dict(zip(names, losses, strict=False)) | dict(zip(("cycle", "quantization"), cycles, strict=False))
    extra = {"images_per_s": rate, "skipped/generator": abs(rate), **{f"alarm/{name}": 1.0 for name in alarms}}
    if memory is not None:
        extra["memory_gb"] = memory
    growth = Growth(3, side, alpha, fading=fading)
    line = status_line(int(share * total), total, growth, shown, extra, left, SYMBOLS)
    assert len(line) <= COLUMNS == 100
    assert line.startswith("kimg ")
    assert f" {side} px" in line
    assert f"{brief(rate)} img/s" in line
    assert ("ALARM" in line) == bool(alarms)
    if left is not None:
        assert line.endswith(f"{duration(left)} left")
    if memory is not None:
        assert memory_size(1e9 * memory) in line


def test_an_everyday_line() -> None:
    shown = {"G": 3.9214, "D": 0.1121, "cycle": 0.15}
    extra = {"images_per_s": 210.12, "memory_gb": 1.23, "skipped/generator": 0}
    line = status_line(4250, 12_000, Growth(3, 64, 1.0), shown, extra, 4080)
    assert line == "kimg  4.25/12.00  64 px  G 3.92  D 0.112  cycle 0.150  210 img/s  1.2 GB  1 h 8 min left"
    fading = Growth(3, 64, 0.5, fading=True)
    line = status_line(4250, 12_000, fading, shown, {**extra, "skipped/generator": 2}, 80, SYMBOLS)
    assert line == "kimg  4.25/12.00  64 px alpha 0.50  skipped by G 2  G 3.92  210 img/s  1.2 GB  1 min 20 s left"
    line = status_line(4250, 12_000, Growth(3, 64, 1.0), shown, {**extra, "alarm/collapse/generator": 1}, None)
    assert line == "kimg  4.25/12.00  64 px  ALARM collapse/generator  G 3.92  D 0.112  cycle 0.150  210 img/s  1.2 GB"


def test_words_are_wrapped_between_figures_only() -> None:
    text = wrapped("kimg 1.00/2.00", [f"figure/{i} {i / 7:.4g}" for i in range(12)] + ["x" * 120])
    lines = text.splitlines()
    assert len(lines) > 2
    assert all(len(line) <= 100 for line in lines[:-1])
    assert lines[-1] == "    " + "x" * 120
    assert all(f"figure/{i} {i / 7:.4g}" in text for i in range(12))
