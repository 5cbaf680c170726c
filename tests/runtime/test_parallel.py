from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest

from progcycle.errors import UserError
from progcycle.runtime.parallel import reporting_errors


def _accelerator(**values: Any) -> Any:
    return SimpleNamespace(**values)


def _items() -> Generator[int, None, None]:
    yield 1
    raise UserError("Domain a: too many pictures are broken.")


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_of_another_process_than_the_first_is_told_there(
    rank: int, capsys: pytest.CaptureFixture[str]
) -> None:
    items = reporting_errors(_accelerator(is_main_process=rank == 0, process_index=rank), _items())
    assert next(items) == 1
    with pytest.raises(UserError, match="too many"):
        next(items)
    told = "error in process 1: Domain a: too many pictures are broken.\n"
    assert capsys.readouterr().err == (told if rank else "")


def test_closing_reaches_the_items() -> None:
    closed = []

    def items() -> Generator[int, None, None]:
        try:
            yield from range(9)
        finally:
            closed.append(True)

    spoken = reporting_errors(_accelerator(is_main_process=True), items())
    next(spoken)
    spoken.close()
    assert closed == [True]
