"""Fixtures of the rooms ``engine`` and ``runtime``: pictures to train on, and runs without plots."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_runs import write_domains

from progcycle.engine import reports

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with trainA, trainB and testA; nothing is ever written there."""
    return write_domains(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Back to one thread after a test that takes more."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def no_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty files in place of plots, which take longer than the training; see ``real_plots``."""
    if "real_plots" not in request.fixturenames:

        def touch(_: Any, path: Path) -> None:
            path.touch()

        monkeypatch.setattr(reports, "plot_plan", touch)
        monkeypatch.setattr(reports, "plot_curves", touch)


@pytest.fixture
def real_plots() -> None:
    """Asks for real plots."""
