"""Timing a convolution: both formats are computed, nothing else is touched."""

import time

import pytest
import torch

from progcycle.runtime import speed
from progcycle.runtime.speed import convolution_seconds

CPU = torch.device("cpu")


def test_each_format_has_its_fastest_time_and_the_random_stream_is_left_alone() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    begun = time.perf_counter()
    found = convolution_seconds(CPU, patience=0.05, channels=8, side=8)
    assert time.perf_counter() - begun < 5
    assert found.keys() == {"no", "bf16"}
    assert all(0 < seconds < 5 for seconds in found.values())
    assert torch.equal(torch.rand(1), expected)


def test_formats_are_computed_as_training_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights in float32, and the convolution in the format."""
    seen = []
    conv2d = speed.F.conv2d

    def watched(x: torch.Tensor, w: torch.Tensor, padding: int) -> torch.Tensor:
        y: torch.Tensor = conv2d(x, w, padding=padding)
        seen.append((x.dtype, w.dtype, y.dtype))
        return y

    monkeypatch.setattr(speed.F, "conv2d", watched)
    convolution_seconds(CPU, patience=0, channels=2, side=4)
    f, b = torch.float32, torch.bfloat16
    assert seen == [(f, f, f), (f, f, b)] * 2, "once for nothing, then in turns"


def test_the_least_of_several_times_counts_and_what_is_refused_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([0.9, 0.8, 5.0, 0.3, 7.0, 0.4, 0.2, 0.6])

    def timed(x: torch.Tensor, w: torch.Tensor, dtype: torch.dtype) -> float:
        if dtype == torch.float16:
            raise RuntimeError("not on this device")
        return next(times)

    clock = iter([0.0, 0.1, 0.2, 9.0])
    monkeypatch.setattr(speed, "_timed", timed)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    assert convolution_seconds(CPU, ("no", "bf16", "fp16"), patience=0.5) == {"no": 0.2, "bf16": 0.3}
