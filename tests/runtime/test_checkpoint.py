import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import TASKS, full, stats, tiny, train

from progcycle.errors import UserError
from progcycle.runtime.checkpoint import checkpoints, newest_whole


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def _other_number(path: Path) -> None:
    path.write_text(path.read_text().replace('"step": 10', '"step": 11'))


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a bit of the weights": lambda folder: _flip(folder / "networks.safetensors"),
    "the end of the averages": lambda folder: _cut(folder / "ema.safetensors"),
    "no optimizers": lambda folder: (folder / "optimizers.safetensors").unlink(),
    "no memory": lambda folder: (folder / "rank-0.safetensors").unlink(),
    "half a state": lambda folder: _cut(folder / "state.json"),
    "another state": lambda folder: _other_number(folder / "state.json"),
    "no state": lambda folder: (folder / "state.json").unlink(),
    "state is a list": lambda folder: (folder / "state.json").write_text("[1]"),
    "nothing": _empty,
}


@pytest.fixture(scope="module")
def finished(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run killed at 44 pictures, with checkpoints at 20 and 40."""
    run = tmp_path_factory.mktemp("runs") / "run"
    train(tiny("pggan", pictures), run, stop_before=11)
    return run


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
    damage: str, finished: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    older, newer = checkpoints(run / "checkpoints")
    DAMAGES[damage](newer)
    capsys.readouterr()
    resumed = train(tiny("pggan", pictures), run, stop_before=11)
    out = capsys.readouterr().out
    assert f"warning: the checkpoint {newer} is damaged (" in out
    assert f"); trying the one before it, {older}.\n" in out
    assert f"resumed from {older} at 0.02 kimg" in out
    assert min(resumed.seen) == 5
    assert stats(run) == stats(finished)
    for file in ("networks.safetensors", "ema.safetensors", "optimizers.safetensors", "rank-0.safetensors"):
        assert (newer / file).read_bytes() == (finished / "checkpoints" / newer.name / file).read_bytes()


def test_when_all_are_damaged_the_run_stops(finished: Path, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for folder in checkpoints(run / "checkpoints"):
        _flip(folder / "networks.safetensors")
    with pytest.raises(UserError, match=r"^All checkpoints in .*checkpoints are damaged; move that folder away"):
        train(tiny("pggan", pictures), run)


FILES = ("networks.safetensors", "ema.safetensors", "optimizers.safetensors", "rank-0.safetensors", "state.json")
CUTS, BITS = 20, 100


@pytest.fixture(scope="module", params=TASKS)
def two(request: pytest.FixtureRequest, pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of two checkpoints of a task, and one that is going to hold a single one."""
    run = tmp_path_factory.mktemp("two") / "run"
    train(tiny(request.param, pictures, full(request.param, pictures)), run, stop_before=11)
    alone = run / "alone"
    alone.mkdir()
    return run / "checkpoints", alone


def _damaged(content: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """Content cut off at places from its first byte to its last, and with one bit turned at random places."""
    for length in np.linspace(0, len(content) - 1, CUTS, dtype=int):
        yield content[:length]
    for place in rng.integers(0, len(content), BITS):
        turned = bytearray(content)
        turned[place] ^= 1 << rng.integers(8)
        yield bytes(turned)


@pytest.mark.parametrize("file", FILES)
def test_wherever_a_file_is_cut_or_a_bit_turned_the_checkpoint_is_recognised_as_damaged(
    file: str, two: tuple[Path, Path]
) -> None:
    folder, alone = two
    older, newer = checkpoints(folder)
    assert {path.name for path in newer.iterdir()} == set(FILES)
    content, seen = (newer / file).read_bytes(), 0
    (alone / newer.name).unlink(missing_ok=True)
    (alone / newer.name).symlink_to(newer)
    try:
        for damaged in _damaged(content, np.random.default_rng(FILES.index(file))):
            (newer / file).write_bytes(damaged)
            warnings: list[str] = []
            found = newest_whole(folder, warnings.append)
            assert found is not None
            assert (found[0], found[1]["nimg"]) == (older, 20)
            (warning,) = warnings
            assert warning.startswith(f"warning: the checkpoint {newer} is damaged ({file}")
            assert warning.endswith(f"); trying the one before it, {older}.")
            with pytest.raises(UserError) as error:
                newest_whole(alone, warnings.append)
            assert str(error.value) == f"All checkpoints in {alone} are damaged; move that folder away to start again."
            assert warnings[1].endswith("; there is none before it.")
            seen += 1
    finally:
        (newer / file).write_bytes(content)
    assert seen == CUTS + BITS
    whole = newest_whole(folder, pytest.fail)
    assert whole is not None
    assert whole[0] == newer


def test_another_format_is_told_apart_from_damage(
    finished: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    path = checkpoints(run / "checkpoints")[-1] / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 7}))
    train(tiny("pggan", pictures), run, stop_before=6)
    assert "its format is 7, this version reads 1 and 2" in capsys.readouterr().out


def test_old_checkpoints_and_half_written_ones_go(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    half = run / "checkpoints" / ".nimg-000000000040.tmp"
    half.mkdir(parents=True)
    (half / "networks.safetensors").write_text("half")
    train(tiny("pggan", pictures, {"training": {"keep_checkpoints": 3}}), run)
    names = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert names == ["nimg-000000000060", "nimg-000000000080", "nimg-000000000088"]


def test_every_file_of_a_run_has_the_permissions_of_new_files(finished: Path, tmp_path: Path) -> None:
    (tmp_path / "new").touch()
    usual = (tmp_path / "new").stat().st_mode & 0o777
    files = [path for path in finished.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".safetensors", ".json", ".jsonl", ".yaml", ".png"}
    assert [path for path in files if path.stat().st_mode & 0o777 != usual] == []
