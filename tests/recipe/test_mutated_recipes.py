"""Recipes that went wrong are valid, or refused in one line with exit code 2: no traceback, no endless run.

More of them by hand: ``PROGCYCLE_MUTATIONS=2000 pytest -s tests/recipe/test_mutated_recipes.py``.
"""

import contextlib
import io
import os
import signal
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from mutations import files

from progcycle.commands.cli import main
from progcycle.recipe import RecipeError, load_recipe

EXAMPLES = int(os.environ.get("PROGCYCLE_MUTATIONS", "150"))
HARMFUL = {"Cc", "Cs", "Zl", "Zp"}  # line breaks, control characters, halves of letters
SECONDS = 30  # far more than any of them needs, on a busy machine too


@pytest.fixture(scope="module")
def outcomes() -> Iterator[Counter[str]]:
    """Counts of the results; printed with ``-s``."""
    found: Counter[str] = Counter()
    yield found
    sys.stdout.write(f"{dict(found)}\n")


@contextlib.contextmanager
def in_time() -> Iterator[None]:
    """Raise where the test hangs."""

    def stop(*_: Any) -> None:
        raise TimeoutError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def plan(path: Path) -> tuple[int, str]:
    """Exit code and errors of ``progcycle plan``."""
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        code = main(["plan", str(path)])
    return code, errors.getvalue()


@given(content=files())
@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 150,
    deadline=None,
    phases=[Phase.generate],  # the example as it is found; making it smaller takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_mutated_recipes(tmp_path_factory: pytest.TempPathFactory, outcomes: Counter[str], content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "mutated.yaml"
    path.write_bytes(content)
    with in_time():
        refused = ""
        try:
            load_recipe(path)
        except RecipeError as error:
            refused = str(error)
        # The command line prints what load_recipe raises; some of them are tried there too.
        code, errors = plan(path) if not refused or len(content) % 16 == 0 else (2, f"error: {refused}\n")
    outcomes["refused by the recipe" if refused else f"plan: {code}"] += 1
    assert not HARMFUL & {unicodedata.category(letter) for letter in refused}, ascii(refused)
    assert len(refused) < 4000
    assert code in (0, 2)
    assert errors == f"error: {refused}\n" or not refused
    assert len(errors.splitlines()) == (code == 2), errors
    assert errors.startswith("error: ") == (code == 2), errors
