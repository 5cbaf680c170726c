"""A short form of ``kill_runs.py``, and that it sees what it is there to see."""

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from kill_runs import Kill, Outcome, Whole, differences, missed, one, prepared, remembered, summary

pytestmark = pytest.mark.skipif(
    not hasattr(os, "fork") or torch.cuda.is_available(), reason="no process with a GPU can be forked"
)


@pytest.fixture(scope="module")
def wholes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Whole]:
    """One uninterrupted run of each task."""
    return prepared(tmp_path_factory.mktemp("whole"), [("pggan", "full"), ("cyclegan", "queue")])


def test_killed_runs_end_as_if_nothing_had_happened(wholes: dict[str, Whole], tmp_path: Path) -> None:
    outcomes = [one(wholes, tmp_path, 1, (number, number >= 2)) for number in range(4)]
    assert [outcome.name for outcome in outcomes] == [*wholes, *wholes]
    assert [outcome.differences for outcome in outcomes] == [[]] * 4, summary(outcomes)
    assert all(outcome.kills for outcome in outcomes)
    for outcome in outcomes[2:]:  # aimed at the writing of a checkpoint
        assert any(kill.writing for kill in outcome.kills)
    assert list(tmp_path.iterdir()) == [], "the folders of runs that are equal go"
    assert "4 of 4 runs equal" in summary(outcomes)


def test_the_recipes_have_something_to_remember(wholes: dict[str, Whole]) -> None:
    memories = {name: remembered([whole.run]) for name, whole in wholes.items()}
    assert memories["pggan, full"] >= {"controller of noise", "controller of augmentation", "random streams"}
    assert memories["cyclegan, queue"] >= {"pools", "queues of features", "running figures"}


def test_every_kind_of_difference_is_found(wholes: dict[str, Whole], tmp_path: Path) -> None:
    whole, run = wholes["pggan, full"].run, tmp_path / "run"
    shutil.copytree(whole, run)
    last = max(run.glob("checkpoints/nimg-*"))
    state = json.loads((last / "state.json").read_text())
    (last / "state.json").write_text(json.dumps({**state, "parts": {**state["parts"], "clock": {"cpu_seconds": 1e6}}}))
    assert differences(run, whole) == [], "times are no difference"
    (last / "state.json").write_text(json.dumps({**state, "parts": {**state["parts"], "progress": {"step": 7}}}))
    weights = bytearray((last / "ema.safetensors").read_bytes())
    weights[-1] ^= 1
    (last / "ema.safetensors").write_bytes(weights)
    lines = (run / "stats.jsonl").read_text().splitlines(keepends=True)
    (run / "stats.jsonl").write_text("".join([*lines, lines[-1]]))
    sample, snapshot = min(run.glob("samples/*")), min(run.glob("snapshots/*"))
    sample.unlink()
    (snapshot / "model.safetensors").write_bytes(b"")
    (run / "checkpoints" / ".nimg-000000000088.tmp").mkdir()
    (run / ".left.tmp").touch()
    name = f"checkpoints/{last.name}"
    assert sorted(differences(run, whole)) == sorted(
        [
            f"samples/{sample.name} is missing",
            ".left.tmp should not be there",
            "checkpoints/.nimg-000000000088.tmp should not be there",
            f"{name}/ema.safetensors differs",
            f"{name}/state.json differs",
            f"snapshots/{snapshot.name}/model.safetensors differs",
            "stats.jsonl differs",
        ]
    )


def test_only_kills_that_left_an_unfinished_checkpoint_count_as_kills_in_writing(tmp_path: Path) -> None:
    hit, miss = Kill(1.0, (), 0), Kill(1.0, None, 2)
    assert missed([Outcome("a", tmp_path, [hit, miss, miss, miss])])
    assert not missed([Outcome("a", tmp_path, [hit, miss]), Outcome("b", tmp_path, [miss])])
    text = summary([Outcome("a", tmp_path, [hit, miss]), Outcome("b", tmp_path / "b", [miss], ["x differs"])])
    assert "1 of 2 runs equal" in text
    assert "3 kills, 1 of them while a checkpoint was being written (files there at death: 1 with 0), 1 before" in text
    assert f"{tmp_path / 'b'} (b): x differs" in text
