"""Fixtures of the rooms ``engine`` and ``runtime``: runs without plots, unless these are asked for."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Back to one thread after a test that takes more."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def plots(request: pytest.FixtureRequest) -> None:
    """None, see ``real_plots``."""
    if "real_plots" not in request.fixturenames:
        request.getfixturevalue("no_plots")


@pytest.fixture
def real_plots() -> None:
    """Asks for real plots."""
