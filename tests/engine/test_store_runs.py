"""Training from a store is that from its folder to the bit, also from copies on a local disk, and goes on with it."""

from pathlib import Path

import pytest
from tiny_runs import checkpoint_content, stats, tiny, train, write_domains

from progcycle.commands.cli import main
from progcycle.runtime.checkpoint import checkpoints


@pytest.mark.usefixtures("no_plots")
@pytest.mark.parametrize("task", ["pggan", "cyclegan"])
def test_a_run_goes_on_with_a_store_of_its_folder(tmp_path: Path, task: str, caplog: pytest.LogCaptureFixture) -> None:
    data = write_domains(tmp_path / "data")
    whole = train(tiny(task, data), tmp_path / "whole" / "run")
    train(tiny(task, data), tmp_path / "parts" / "run", stop_before=12)
    source = data / "trainA" if task == "pggan" else data
    store = tmp_path / "store"
    assert main(["prepare", str(source), str(store), "--resolution", "16", "--workers", "1"]) == 0
    place = {"path": str(store)} if task == "pggan" else {"root": str(store)}
    staged = {"data": {**place, "stage_to": str(tmp_path / "local"), "cache_dir": str(tmp_path / "none")}}
    second = train(tiny(task, data, staged), tmp_path / "parts" / "run")
    assert second.seen.items() <= whole.seen.items()
    assert max(second.seen) == max(whole.seen)
    assert stats(tmp_path / "parts" / "run") == stats(tmp_path / "whole" / "run")
    first, last = (checkpoints(tmp_path / name / "run" / "checkpoints")[-1] for name in ("whole", "parts"))
    contents = [checkpoint_content(folder) for folder in (first, last)]
    assert contents[0].keys() == contents[1].keys()
    assert all(contents[0][name] == contents[1][name] for name in contents[0] if name != "state.json")
    assert not list((tmp_path / "local").iterdir()), "the copies are deleted at the end"
    assert not (tmp_path / "none").exists(), "the arrays of the store are enough"
    assert "data.stage_to: " in caplog.text
