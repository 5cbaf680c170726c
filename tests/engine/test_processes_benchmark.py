"""``benchmarks/processes.py``: the figures that it prints, by a clock that only moves where the test says so."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml
from scripts import load_script
from tiny_runs import tiny_content

from progcycle.engine import trainer as training

STEP, EXCHANGE, BUSY = 5.0, 0.25, 3.0  # seconds: of a step without its exchanges, of an exchange, of the processor


@pytest.fixture(scope="module")
def processes() -> ModuleType:
    return load_script("benchmarks/processes.py")


@pytest.mark.parametrize(("task", "updates"), [("pggan", 2), ("cyclegan", 2)])
def test_what_a_process_measures_of_its_steps(
    task: str,
    updates: int,
    processes: ModuleType,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Every update of a step exchanges its gradients once; steps that warm up do not count."""
    now, steps, exchanges = [0.0, 0.0], list[Any](), list[int]()
    real, average = training.Trainer.train_step, training.average_gradients

    def slow_step(self: training.Trainer, *arguments: Any) -> Any:
        now[0] += STEP + 100 * (len(steps) < 2)
        now[1] += BUSY
        steps.append(arguments)
        return real(self, *arguments)

    def slow_exchange(*arguments: Any) -> None:
        now[0] += EXCHANGE
        exchanges.append(1)
        average(*arguments)

    clock = SimpleNamespace(perf_counter=lambda: now[0], process_time=lambda: now[1])
    monkeypatch.setattr(processes, "time", clock)
    monkeypatch.setattr(processes, "WARM_UP", 2)
    monkeypatch.setattr(training.Trainer, "train_step", slow_step)
    monkeypatch.setattr(training, "average_gradients", slow_exchange)
    monkeypatch.setattr(sys, "stdin", io.StringIO("3\n1\n"))
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(tiny_content(task, pictures)))
    processes.work(str(recipe), 8)
    ready, *lines = capsys.readouterr().out.splitlines()
    assert ready == "ready"
    expected = [STEP + updates * EXCHANGE, updates * EXCHANGE, BUSY]
    assert [json.loads(line) for line in lines] == [pytest.approx(expected)] * 2
    assert (len(steps), len(exchanges)) == (2 + 3 + 1, updates * 6)
    batches, growth = steps[0]
    assert growth.resolution == 8
    assert growth.alpha == 1
    assert {len(batch.images) for batch in batches.values()} == {growth.batch_size}


def test_processes_are_as_slow_as_the_slowest_and_busy_together(processes: ModuleType) -> None:
    workers = object.__new__(processes.Workers)
    answers = [[0.5, 0.125, 0.25], [0.25, 0.25, 0.5]]
    workers.members = [
        SimpleNamespace(stdin=io.StringIO(), stdout=io.StringIO(json.dumps(answer) + "\n")) for answer in answers
    ]
    assert workers.train(7) == (0.5, 0.25, 0.75)
    assert [member.stdin.getvalue() for member in workers.members] == ["7\n", "7\n"]


def test_the_table_by_hand(
    processes: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Medians of the rounds, of which both sides have as many and begin in turn."""
    blocks = {
        (1, 2): [(0.1, 0.0, 0.19), (0.2, 0.0, 0.38), (9.0, 0.0, 0.38)],
        (2, 1): [(0.25, 0.05, 0.4), (0.25, 0.05, 0.4), (0.3, 3.0, 0.7)],
    }
    order, closed = list[tuple[int, int]](), list[tuple[int, int]]()

    class Stub:
        def __init__(self, recipe: str, side: int, *form: int) -> None:
            assert (recipe, side) == ("mine", 16)
            self.form, self.title = (form[0], form[1]), f"{form[0]} x {form[1]}"

        def train(self, steps: int) -> Any:
            assert steps == 8
            order.append(self.form)
            return processes.Block(*blocks[self.form][order.count(self.form) - 1])

        def close(self) -> None:
            closed.append(self.form)

    monkeypatch.setattr(processes, "Workers", Stub)
    monkeypatch.setattr(sys, "argv", ["processes.py", "mine", "--side", "16", "--rounds", "3"])
    processes.main()
    title, head, *rows, last = capsys.readouterr().out.splitlines()
    assert title.startswith("mine, 16 px, float32, torch ")
    assert head.split() == ["processes", "x", "threads", "ms/step", "exchange", "cores"]
    assert [row.split() for row in rows] == [
        ["1", "x", "2", "200.0", "0.0%", "1.90"],
        ["2", "x", "1", "250.0", "20.0%", "1.60"],
    ]
    assert last == "2 processes reach 80% of the speed of one with 2 threads"
    assert order == [(2, 1), (1, 2), (1, 2), (2, 1), (2, 1), (1, 2)]
    assert closed == [(1, 2), (2, 1)]
