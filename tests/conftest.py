"""What rooms share: tiny snapshots with random weights, by the library's own writer; pictures to train on; no plots."""

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from written_snapshots import write_snapshot

from progcycle.output import console

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # in processes that tests start, too
# Tiny networks are slower on more, and runs that are compared to the bit need the same number wherever they start.
torch.set_num_threads(1)
gc.disable()  # until all tests are imported: what they import stays, and every look through it takes long


def pytest_collection_finish() -> None:
    """What has been imported is garbage at no time."""
    gc.enable()
    gc.freeze()


@pytest.fixture(autouse=True)
def _console() -> Iterator[None]:
    """Lines of the library are shown in tests as commands show them."""
    with console():
        yield


@pytest.fixture(autouse=True)
def _precision_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """``training.precision: auto`` follows from the device, so that no test depends on a measurement."""
    monkeypatch.setattr("progcycle.engine.precision.measure_precision", lambda *_: None)


@pytest.fixture
def make_snapshot(tmp_path: Path) -> Callable[..., Path]:
    """``make_snapshot(task=..., stage=..., ...)`` writes a snapshot into a run folder and returns its folder."""

    def make(nimg: int = 12000, run: str = "run", **kwargs: Any) -> Path:
        return write_snapshot(tmp_path / run / "snapshots" / f"nimg-{nimg:09d}", nimg=nimg, **kwargs)

    return make


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with trainA, trainB and testA; nothing is ever written there."""
    from tiny_runs import write_domains

    return write_domains(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the test runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files in place of the plots of a run, which take longer than tiny runs."""
    for name in ("plot_plan", "plot_curves"):
        monkeypatch.setattr(f"progcycle.engine.run.{name}", lambda _, path, *__: path.touch())
