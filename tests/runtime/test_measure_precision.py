import math
from collections.abc import Iterator

import pytest
import torch

from progcycle.runtime import measure_precision as module
from progcycle.runtime.measure_precision import (
    Convolution,
    PrecisionFigures,
    convolutions_of,
    measure_precision,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    module._measured.cache_clear()
    yield
    module._measured.cache_clear()


def test_operations_are_those_that_torch_counts() -> None:
    from torch.nn import functional
    from torch.utils.flop_counter import FlopCounterMode

    each = Convolution(6, 10, kernel=3, side=8, batch_size=2)
    x = torch.ones(2, 6, 8, 8, requires_grad=True)
    w = torch.ones(10, 6, 3, 3, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        functional.conv2d(x, w, padding=1).sum().backward()  # type: ignore[no-untyped-call]
    assert each.flops == counter.get_total_flops()


def test_a_convolution_is_reduced_until_it_fits() -> None:
    whole = Convolution(64, 32, side=32, batch_size=8)
    assert whole.reduced(whole.flops) == whole
    assert whole.reduced(whole.flops / 2) == Convolution(64, 32, side=32, batch_size=4)
    assert whole.reduced(whole.flops / 32) == Convolution(64, 32, side=16, batch_size=1)
    assert whole.reduced(1) == Convolution(64, 32, side=3, batch_size=1)


def test_the_widest_and_a_typical_layer_are_chosen() -> None:
    shapes: list[tuple[int, ...]] = [
        (8, 3, 3, 3),
        (8, 8, 3, 3),
        (16, 8, 4, 4),
        (64, 16, 3, 3),
        (128, 256, 1, 1),
        (1, 64, 3, 3),
        (64, 65, 3, 3),
    ]
    shapes += [(64,), (12, 12)]
    assert convolutions_of(shapes, 16, 4) == (Convolution(16, 64, 3, 16, 4), Convolution(8, 16, 3, 16, 4))
    assert convolutions_of([(8, 8, 3, 3)] * 3, 16, 4) == (Convolution(8, 8, 3, 16, 4),)
    assert convolutions_of([(8, 3, 3, 3), (512, 512)], 16, 4) == ()


def _clockwork(monkeypatch: pytest.MonkeyPatch, seconds: dict[tuple[str, str], list[float]]) -> list[tuple[str, str]]:
    """Trials that take given times by format and layout, one after the other, the last one from then on."""
    done: list[tuple[str, str]] = []

    def trial(device: torch.device, convolution: Convolution, form: str, layout: str) -> module.Trial:
        times = list(seconds[form, layout])

        def run() -> float:
            done.append((form, layout))
            return times.pop(0) if len(times) > 1 else times[0]

        return run

    monkeypatch.setattr(module, "_trial", trial)
    return done


WAYS = [
    ("float32", "channels_first"),
    ("float32", "channels_last"),
    ("bf16", "channels_first"),
    ("bf16", "channels_last"),
]


def test_the_least_time_counts_and_few_rounds_settle_what_is_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run of each compiles, and what other programs disturb is not its time."""
    times = dict(zip(WAYS, ([9.0, 5.0, 4.0, 4.0], [9.0, 2.0, 8.0], [9.0, 9.0], [9.0, 7.0, 3.0]), strict=True))
    done = _clockwork(monkeypatch, times)
    found = measure_precision(CPU, (Convolution(8, 8),), seconds=60)
    assert found is not None
    assert found.times[Convolution(8, 8)] == dict(zip(WAYS, (4.0, 2.0, 9.0, 3.0), strict=True))
    assert found.ratio == pytest.approx(1.5)
    assert not found.faster
    assert done == [WAYS[0], *WAYS * (1 + module.FEW)]


def test_what_is_close_is_measured_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    done = _clockwork(monkeypatch, {way: [1.0 if way[0] == "float32" else 0.97] for way in WAYS})
    found = measure_precision(CPU, (Convolution(8, 8),), seconds=60)
    assert found is not None
    assert not found.faster  # by 3 % only
    assert len(done) == 1 + 4 * (1 + module.MANY)


def test_the_ratio_is_that_of_all_convolutions_in_the_layout_of_training() -> None:
    def row(ratio: float) -> dict[tuple[str, str], float]:
        return dict(zip(WAYS, (1.0, 1.0, 100.0, ratio), strict=True))

    found = PrecisionFigures({Convolution(8, 8): row(0.5), Convolution(64, 64): row(0.32)})
    assert found.ratio == pytest.approx(math.sqrt(0.5 * 0.32))
    assert str(found) == "measured here: bf16 is 2.50 times as fast as float32 in convolutions of 8 and 64 channels"


def test_nothing_is_measured_where_that_is_impossible(monkeypatch: pytest.MonkeyPatch) -> None:
    assert measure_precision(CPU, ()) is None
    assert measure_precision(torch.device("mps")) is None

    def refuse(*_: object) -> None:
        raise RuntimeError("no kernel")

    monkeypatch.setattr(module, "_trial", refuse)
    assert measure_precision(CPU) is None
    done = _clockwork(monkeypatch, {way: [1.0] for way in WAYS})
    assert measure_precision(CPU, (Convolution(4, 4),), seconds=-1.0) is None, "too slow"
    assert len(done) == 2


def test_a_real_measurement_takes_a_moment_and_touches_no_random_stream() -> None:
    before = torch.get_rng_state()
    found = measure_precision(CPU, (Convolution(16, 8, side=8, batch_size=2),), seconds=0.05)
    assert torch.equal(torch.get_rng_state(), before)
    assert found is not None
    ((convolution, times),) = found.times.items()
    assert convolution == Convolution(16, 8, side=8, batch_size=2)
    assert set(times) == set(WAYS)
    assert all(0 < seconds < 5 for seconds in times.values())
    assert measure_precision(CPU, (Convolution(16, 8, side=8, batch_size=2),), seconds=0.05) is found


def test_a_cpu_is_measured_in_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two threads that share busy cores with other programs take times that say nothing."""
    seen: list[int] = []

    def trial(*_: object) -> module.Trial:
        def run() -> float:
            seen.append(torch.get_num_threads())
            return 1.0

        return run

    monkeypatch.setattr(module, "_trial", trial)
    torch.set_num_threads(2)
    try:
        measure_precision(CPU, (Convolution(4, 4),))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert set(seen) == {1}
