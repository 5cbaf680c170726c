"""Checkpoints that a stranger hands over: nothing in them is executed, even where their checksums are right."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from hostile import harmful, pickles, safetensors
from tiny_runs import tiny, train

from progcycle.errors import UserError
from progcycle.runtime.checkpoint import checkpoints


@pytest.fixture(scope="module")
def started(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one checkpoint."""
    run = tmp_path_factory.mktemp("started") / "run"
    train(tiny("pggan", pictures), run, stop_before=6)
    return run


def sign(folder: Path) -> None:
    """Make the checksums of a checkpoint right again, as anybody can."""
    state = json.loads((folder / "state.json").read_text())
    state["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in state["files"]}
    del state["digest"]
    state["digest"] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
    (folder / "state.json").write_text(json.dumps(state))


FILES = ("networks.safetensors", "ema.safetensors", "optimizers.safetensors", "rank-0.safetensors")


def test_pickles_are_never_executed(started: Path, pictures: Path, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    content = pickles(tmp_path, mark)
    (tmp_path / "x").write_bytes(content["zip"])
    assert harmful(tmp_path / "x", mark)
    for i, file in enumerate((*FILES, "state.json")):
        run = tmp_path / f"run{i}"
        shutil.copytree(started, run)
        (folder,) = checkpoints(run / "checkpoints")
        (folder / file).write_bytes(list(content.values())[i % 4])
        for signed in (False, True):
            if signed and file != "state.json":
                sign(folder)
            with pytest.raises(
                UserError, match="does not fit this run" if signed and i < 4 else "are damaged"
            ) as caught:
                train(tiny("pggan", pictures), run)
            assert str(caught.value).isprintable()
    assert not mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        safetensors({}, length=1 << 62),
        safetensors({"x": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4 << 40]}}),
        safetensors({}),
    ],
    ids=["header", "shape", "empty"],
)
def test_headers_are_not_believed(started: Path, pictures: Path, tmp_path: Path, content: bytes) -> None:
    shutil.copytree(started, tmp_path / "run")
    (folder,) = checkpoints(tmp_path / "run" / "checkpoints")
    (folder / "networks.safetensors").write_bytes(content)
    sign(folder)
    with pytest.raises(UserError, match="does not fit this run"):
        train(tiny("pggan", pictures), tmp_path / "run")


def test_a_signed_checkpoint_is_one(started: Path, pictures: Path, tmp_path: Path) -> None:
    shutil.copytree(started, tmp_path / "run")
    (folder,) = checkpoints(tmp_path / "run" / "checkpoints")
    sign(folder)
    assert train(tiny("pggan", pictures), tmp_path / "run", stop_before=7).seen.keys() == {5, 6}


@pytest.mark.parametrize("text", ["[" * 100_000, "{}", "[1]", '{"format": {}}', '"x"', ""])
def test_states_that_are_none(started: Path, pictures: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(started, tmp_path / "run")
    (folder,) = checkpoints(tmp_path / "run" / "checkpoints")
    (folder / "state.json").write_text(text)
    with pytest.raises(UserError, match="are damaged"):
        train(tiny("pggan", pictures), tmp_path / "run")
