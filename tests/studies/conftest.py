"""Fixtures for the tests of ``progcycle.studies``."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from progcycle.errors import UserError
from progcycle.studies import runner


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch, no_plots: None) -> None:
    """The runs of a study here and one after the other; that each has a process is tested elsewhere, once."""

    def one_by_one(work: Callable[..., Any], jobs: Mapping[Any, Any], parallel: int) -> Iterator[tuple[Any, Any]]:
        for key, job in jobs.items():
            try:
                result = work(*job)
            except UserError as error:
                result = error
            yield key, result

    monkeypatch.setattr(runner, "run_in_processes", one_by_one)
