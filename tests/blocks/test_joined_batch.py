"""Layers that gather: two real processes give what one gives that has the joined batch."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from joined_batch import CASES, PROCESSES, ROWS, joined_batch, judged

from progcycle.blocks import gather_rows, own_rows, sum_over_processes, world_size

HERE = Path(__file__).parent
Found = list[dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What each of two processes found, see joined_batch.py."""
    folder = tmp_path_factory.mktemp("joined")
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent.parent), "OMP_NUM_THREADS": "1"}
    runs = [
        subprocess.Popen(
            [sys.executable, str(HERE / "joined_batch.py"), str(rank), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(PROCESSES)
    ]
    try:
        outputs = [run.communicate(timeout=300)[0] for run in runs]
    finally:
        for run in runs:
            run.kill()
    for run, output in zip(runs, outputs, strict=True):
        assert run.returncode == 0, output
    return [torch.load(folder / f"{rank}.pt") for rank in range(PROCESSES)]


@pytest.mark.parametrize("case", CASES)
def test_two_processes_give_what_one_gives_with_the_joined_batch(case: str, found: Found) -> None:
    expected = judged(case, joined_batch(), gather=False)
    together = [process[case] for process in found]
    assert together[0].keys() == expected.keys()
    for name, alone in expected.items():
        assert alone.dtype == torch.float64
        if name in ("rows", "picture gradients"):
            assert len(alone) == ROWS
            got = torch.stack([process[name] for process in together], dim=1).flatten(0, 1)
        else:
            got = sum(process[name] for process in together) / PROCESSES
        torch.testing.assert_close(got, alone, rtol=1e-9, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("case", CASES)
def test_every_case_would_show_a_process_that_stays_by_itself(case: str) -> None:
    joined = judged(case, joined_batch(), gather=False)
    apart = [judged(case, joined_batch()[rank::PROCESSES], gather=False) for rank in range(PROCESSES)]
    names = ["picture gradients", "loss conv.weight", "penalty conv.weight"]
    for name in ["rows", *names]:
        rows = name in ("rows", "picture gradients")
        parts = torch.stack([process[name] for process in apart], dim=1)
        got = parts.flatten(0, 1) if rows else parts.mean(dim=1)
        assert (got - joined[name]).norm() > 1e-3 * joined[name].norm(), name


def test_rows_are_gathered_in_the_order_of_the_joined_batch(found: Found) -> None:
    for rank, process in enumerate(found):
        plain = process["plain"]
        assert plain["size"] == 2
        assert plain["joined"].flatten().tolist() == [0, 1, 10, 11, 20, 21]
        assert plain["own"].flatten().tolist() == [rank, 10 + rank, 20 + rank]
        assert plain["half"].dtype == torch.bfloat16
        assert plain["half"].flatten().tolist() == [1.5, 2.5]
        assert plain["empty"].shape == (0, 3)
        assert plain["integers"].tolist() == [0, 1]
        numbers = torch.arange(24.0).reshape(2, 3, 2, 2)
        expected = torch.stack([numbers[0], numbers[0] + 100, numbers[1], numbers[1] + 100])
        assert torch.equal(plain["pictures"], expected)


def test_sum_over_processes(found: Found) -> None:
    for process in found:
        plain = process["plain"]
        assert plain["sum"].tolist() == [3, 4]
        assert plain["sum of no dimensions"].item() == 2
        assert plain["sum asks for gradients"] is False
        assert plain["argument of the sum is kept"] is True


def test_one_process_is_its_own_joined_batch() -> None:
    x = torch.randn(3, 2, requires_grad=True)
    assert world_size() == 1
    assert gather_rows(x) is x
    assert own_rows(x) is x
    total = sum_over_processes(x)
    assert torch.equal(total, x)
    assert not total.requires_grad
