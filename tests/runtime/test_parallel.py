"""What processes tell and send each other, with a stand-in for the others; engine/test_processes.py has real ones."""

from collections.abc import Generator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from progcycle.errors import UserError
from progcycle.runtime.parallel import Votes, average_gradients, reporting_errors


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


def test_gradients_become_their_means_and_keep_their_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process has twice the gradients, and sets the second flag; a cubic kernel looks the same turned."""
    pair = _accelerator(num_processes=2, device=torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    shapes = ((3, 3, 3, 3), (4, 2, 3, 5), (6, 2), (5,))
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    idle = torch.nn.Parameter(torch.zeros(7))
    layouts = (torch.channels_last, torch.channels_last, torch.contiguous_format, torch.contiguous_format)
    before = [torch.randn(shape, generator=generator) for shape in shapes]
    for parameter, gradient, layout in zip(parameters, before, layouts, strict=True):
        parameter.grad = gradient.contiguous(memory_format=layout)
    strides = [parameter.grad.stride() for parameter in parameters if parameter.grad is not None]
    messages = []

    def other(message: Tensor) -> None:
        messages.append(len(message))
        message[:-2] *= 3
        message[-1] += 1

    monkeypatch.setattr(torch.distributed, "all_reduce", other)
    votes = Votes(pair, lambda: [True, False])
    average_gradients(pair, [idle, *parameters], votes)
    assert messages == [sum(gradient.numel() for gradient in before) + 2], "one message, with the votes"
    assert votes.read() == [0.5, 0.5]
    assert idle.grad is None
    for parameter, gradient, stride in zip(parameters, before, strides, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, 1.5 * gradient)
        assert parameter.grad.stride() == stride


def test_one_process_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", pytest.fail)
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.ones(2)
    average_gradients(_accelerator(num_processes=1), [parameter])
    assert torch.equal(parameter.grad, torch.ones(2))
