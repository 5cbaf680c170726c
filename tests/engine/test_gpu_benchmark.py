"""The part of ``benchmarks/gpu.sh`` that says whether a device computes what it should."""

from types import ModuleType

import pytest
import torch
from scripts import load_script


@pytest.fixture(scope="module")
def gpu() -> ModuleType:
    return load_script("benchmarks/gpu.py")


def test_gradients_that_are_off_are_reported(gpu: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "BOUNDS", {"float32": 1e-4, "bf16": 0.2})
    report, cpu = gpu.Report(60), torch.device("cpu")
    assert gpu.check_gradients(report, cpu, "eager")
    assert [row["right"] for row in report.rows] == ["yes", "yes"]
    assert 1e-9 < report.rows[0]["error"] < 1e-5 < 1e-3 < report.rows[1]["error"]
    monkeypatch.setattr(gpu, "BOUNDS", {"bf16": 1e-3})
    assert not gpu.check_gradients(report, cpu, "eager")
    assert "right NO" in report.table()


def test_what_does_not_fit_into_the_time_is_named(gpu: ModuleType) -> None:
    report = gpu.Report(0)
    gpu.time_steps(report, "cyclegan_horse2zebra", True, True, "eager", torch.device("cpu"))
    assert [row["case"] for row in report.rows] == ["32 px, bf16, compiled", "64 px, bf16, compiled"]
    assert [row["skipped"] for row in report.rows] == ["no time left"] * 2
