"""What docs/determinism.md promises beyond exact resume: what changes nothing, and what all circumstances share."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load
from tiny_runs import TASKS, WatchedRun, checkpoint_content, full, stats, tiny, train

from progcycle.engine.context import choose_algorithms
from progcycle.recipe import merge
from progcycle.rng import generator_at, normal, uniform, uniforms
from progcycle.runtime.checkpoint import checkpoints


def trained(pictures: Path, run: Path, task: str, changes: dict[Any, Any] | None = None) -> WatchedRun:
    """A run with all options; no figure is measured on the way."""
    return train(tiny(task, pictures, merge(full(task, pictures), changes or {})), run)


def content(run: Path) -> dict[str, Any]:
    """Every byte of the last checkpoint, and every line of the log."""
    return {**checkpoint_content(checkpoints(run / "checkpoints")[-1]), "stats": stats(run)}


@pytest.fixture(scope="module", params=TASKS)
def reference(request: pytest.FixtureRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Task, training and run folder of a run."""
    run = tmp_path_factory.mktemp("reference") / "run"
    training = trained(pictures, run, request.param)
    return request.param, training, run


def test_a_second_run_is_the_same_to_the_bit_whatever_the_streams_and_loader_processes(
    reference: Any, pictures: Path, tmp_path: Path
) -> None:
    task, first, run = reference
    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    again = trained(pictures, tmp_path / "run", task, {"data": {"workers": 1}})
    assert again.seen == first.seen
    ours, theirs = content(tmp_path / "run"), content(run)
    for each in (ours, theirs):  # the state of the streams differs, and nothing drew from them
        memory = load(each.pop("rank-0.safetensors"))
        each["memory"] = {name: value.tolist() for name, value in memory.items() if not name.startswith("rng.")}
        assert each["memory"]
        each["state.json"].pop("files")
    assert ours == theirs


def test_parts_of_a_batch_see_the_same_pictures(reference: Any, pictures: Path, tmp_path: Path) -> None:
    task, first, run = reference
    again = trained(pictures, tmp_path / "run", task, {"training": {"max_batch_per_device": 2}})
    assert again.seen == first.seen, "positions, names and pixels of every step"
    assert [line["nimg"] for line in stats(tmp_path / "run")] == [line["nimg"] for line in stats(run)]


def test_other_threads_see_the_same_pictures(reference: Any, pictures: Path, tmp_path: Path) -> None:
    task, first, _ = reference
    torch.set_num_threads(2)  # the fixture one_thread puts it back
    again = train(tiny(task, pictures, full(task, pictures)), tmp_path / "run", stop_before=2)
    assert again.seen == {step: first.seen[step] for step in range(2)}


def test_numbers_drawn_for_a_position_do_not_depend_on_threads() -> None:
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        numbers = normal(1, "latent/x", range(64), 512), uniform(1, "mix", range(64)), uniforms(1, "y", range(64), 9)
        found.append([*numbers, torch.from_numpy(generator_at(1, "order", "a", 0).permutation(999))])
    assert all(torch.equal(one, two) for one, two in zip(*found, strict=True))


def test_cudnn_picks_the_fastest_unless_torch_is_told_to_be_deterministic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    try:
        for deterministic in (False, True):
            torch.use_deterministic_algorithms(deterministic)
            choose_algorithms(torch.device("cuda"))
            assert torch.backends.cudnn.benchmark is not deterministic
    finally:
        torch.use_deterministic_algorithms(False)
    choose_algorithms(torch.device("cpu"))
    assert not torch.backends.cudnn.benchmark, "as it was"
