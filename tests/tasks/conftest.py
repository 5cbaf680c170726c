"""Fixtures of the tasks."""

import pytest
from fake_networks import register


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that record what they are given, under the name ``fake`` in every registry."""
    register(monkeypatch)
