from pathlib import Path
from typing import Any

import pytest
import torch
from pairs import outputs, start_pair
from tiny_runs import STEPS, TASKS, checkpoint_content, gradients_at, stats, tiny
from two_processes import MOMENTS, exact, pyramid, several

from progcycle.engine.run import Run

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def together(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that two processes have written into, see two_processes.py."""
    folder = tmp_path_factory.mktemp("together")
    runs = start_pair(HERE / "two_processes.py", pictures, folder)
    for rank, (run, output) in enumerate(zip(runs, outputs(runs, 300), strict=True)):
        assert run.returncode == 0, output
        (folder / f"output-{rank}.txt").write_text(output)
    return folder


def _load(together: Path, name: str) -> list[Any]:
    return [torch.load(together / f"{name}-{rank}.pt", weights_only=False) for rank in range(2)]


@pytest.mark.parametrize("task", [*TASKS, "several"])
def test_gradients_are_those_of_one_process_with_the_joined_batch(
    task: str, together: Path, pictures: Path, tmp_path: Path
) -> None:
    recipe = (
        tiny("cyclegan", pictures, several(pictures))
        if task == "several"
        else tiny(task, pictures, exact(task, pictures))
    )
    alone = gradients_at(Run(recipe, tmp_path / "alone"), MOMENTS)
    first, second = _load(together, f"{task}-gradients")
    assert first.keys() == second.keys() == alone.keys()
    assert len(alone) > 50
    means = [value.item() for name, value in alone.items() if name.endswith(".mean")]
    assert len(means) >= len(MOMENTS)
    assert len(set(means)) > 2
    assert all(0 <= mean < 1 for mean in means)
    assert len({value.item() for name, value in alone.items() if name.endswith(".p")}) > 1
    for name, expected in alone.items():
        assert expected.dtype == torch.float64
        assert torch.equal(first[name], second[name]), name
        error = (first[name] - expected).norm() / expected.norm().clamp(min=1e-9)
        assert error < 1e-6, f"{name}: {error:.2e}"


def test_gradients_of_levels_are_those_of_one_process_with_the_joined_batch(
    together: Path, pictures: Path, tmp_path: Path
) -> None:
    """Of both players of all levels, with noise, dropout and pictures of both sets."""
    alone = gradients_at(Run(pyramid(pictures), tmp_path / "alone"), MOMENTS)
    first, second = _load(together, "lapgan-gradients")
    assert alone.keys() == first.keys() == second.keys()
    players = {f"{player}_{side}" for player in ("generator", "discriminator") for side in (8, 16, 32)}
    assert {name.partition("|")[2].partition(".")[0] for name in alone} == players
    for name, expected in alone.items():
        assert torch.equal(first[name], second[name]), name
        assert (first[name] - expected).norm() / expected.norm().clamp(min=1e-9) < 1e-6, name


@pytest.mark.parametrize("task", TASKS)
def test_weights_and_averages_are_equal_on_both_after_two_stage_changes(task: str, together: Path) -> None:
    first, second = _load(together, f"{task}-whole")
    assert first["state"].keys() == second["state"].keys()
    for name, weights in first["state"].items():
        for key, value in weights.items():
            assert torch.equal(value, second["state"][name][key]), f"{name}.{key}"
            assert value.isfinite().all()
    assert first["seen"].keys() == second["seen"].keys() == set(range(STEPS))


def test_frozen_features_and_heads_that_begin_anew_are_equal_on_both(together: Path) -> None:
    """Each process makes them by itself; heads were drawn anew at two stages."""
    first, second = _load(together, "projected")
    assert {key.partition(".")[0] for key in first} == {"backbone", "mixing", "heads"}
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.mark.parametrize("task", TASKS)
def test_each_takes_its_half_of_every_batch(task: str, together: Path) -> None:
    first, second = (each["seen"] for each in _load(together, f"{task}-whole"))
    for step in range(STEPS):
        for (domain, ours, *_), (same, theirs, *_) in zip(first[step], second[step], strict=True):
            assert domain == same
            assert sorted(ours + theirs) == list(range(4 * step, 4 * step + 4))
            assert len(ours) == len(theirs) == 2


@pytest.mark.parametrize("task", TASKS)
def test_two_processes_resume_bit_for_bit(task: str, together: Path) -> None:
    whole, parts = together / f"{task}-whole", together / f"{task}-parts"
    assert stats(parts) == stats(whole)
    names = sorted(p.name for p in (whole / "checkpoints").iterdir())
    assert names == ["nimg-000000000080", "nimg-000000000088"]
    for name in names:
        ours, theirs = (checkpoint_content(run / "checkpoints" / name) for run in (parts, whole))
        assert {"rank-0.safetensors", "rank-1.safetensors"} <= theirs.keys()
        assert ours == theirs


def test_collectives_keep_the_limit_of_their_own(together: Path) -> None:
    seconds = [float((together / f"patience-{rank}.txt").read_text()) for rank in range(2)]
    assert seconds == [torch.distributed.constants.default_pg_timeout.total_seconds()] * 2


def test_pre_training_and_training_follow_each_other_in_the_same_processes(together: Path) -> None:
    run = together / "pretrained"
    for folder, nimg in ((run / "pretraining", 12), (run, 40)):
        last = folder / f"checkpoints/nimg-{nimg:012d}"
        assert {"rank-0.safetensors", "rank-1.safetensors"} <= {path.name for path in last.iterdir()}
        assert stats(folder)[-1]["nimg"] == nimg
        assert list((folder / "progcycle").glob("**/events.out*"))
    said = (together / "output-0.txt").read_text()
    assert said.count("gen_ab and gen_ba begin from") == 1


def test_the_first_process_alone_speaks(together: Path) -> None:
    first, second = ((together / f"output-{rank}.txt").read_text() for rank in range(2))
    assert "training on cpu, processes: 2" in first
    assert "kimg" in first
    assert "kimg" not in second
    assert "training" not in second
