import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_runs import TASKS, full, stats, tiny, train

from progcycle.engine.checkpoint import checkpoints, newest_whole
from progcycle.errors import UserError


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
    assert f"resumed from {older} at 0.02 kimg" in out
    assert min(resumed.seen) == 5
    assert stats(run) == stats(finished)
    for file in ("networks.safetensors", "ema.safetensors", "optimizers.safetensors", "rank-0.safetensors"):
        assert (newer / file).read_bytes() == (finished / "checkpoints" / newer.name / file).read_bytes()


def _damaged(content: bytes, rng: random.Random) -> Iterator[bytes]:
    """The content cut off at 20 places, the ends among them, and with one bit flipped in each of 100 random bytes."""
    yield from (content[:length] for length in {0, len(content) - 1, *rng.sample(range(1, len(content) - 1), 18)})
    for place in rng.sample(range(len(content)), 100):
        flipped = bytearray(content)
        flipped[place] ^= 1 << rng.randrange(8)
        yield bytes(flipped)


@pytest.mark.parametrize("task", TASKS)
def test_no_cut_and_no_flipped_bit_of_any_file_goes_unseen(task: str, pictures: Path, tmp_path: Path) -> None:
    train(tiny(task, pictures, full(task, pictures)), tmp_path / "run", stop_before=11)
    older, newer = checkpoints(tmp_path / "run" / "checkpoints")
    rng, files = random.Random(0), sorted(newer.iterdir())
    assert [path.stem for path in files] == ["ema", "networks", "optimizers", "rank-0", "state"]
    for path in files:
        whole, tries = path.read_bytes(), 0
        for content in _damaged(whole, rng):
            path.write_bytes(content)
            warnings: list[str] = []
            found = newest_whole(older.parent, warnings.append)
            assert found is not None
            assert found[0] == older, f"{path.name}: {content[:60]!r}"
            assert len(warnings) == 1
            assert f"{newer} is damaged ({path.name}" in warnings[0]
            assert f"the one before it, {older}," in warnings[0]
            tries += 1
        assert tries == 120
        path.write_bytes(whole)
    assert newest_whole(older.parent, print) is not None


def test_when_all_are_damaged_the_run_stops(finished: Path, pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    for folder in checkpoints(run / "checkpoints"):
        _flip(folder / "networks.safetensors")
    with pytest.raises(UserError, match=r"^All checkpoints in .*checkpoints are damaged; move that folder away"):
        train(tiny("pggan", pictures), run)


def test_another_format_is_told_apart_from_damage(
    finished: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    path = checkpoints(run / "checkpoints")[-1] / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 7}))
    train(tiny("pggan", pictures), run, stop_before=6)
    assert "its format is 7, this version reads 1" in capsys.readouterr().out


def test_old_checkpoints_and_half_written_ones_go(pictures: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    half = run / "checkpoints" / ".nimg-000000000040.tmp"
    half.mkdir(parents=True)
    (half / "networks.safetensors").write_text("half")
    train(tiny("pggan", pictures, {"training": {"keep_checkpoints": 3}}), run)
    names = sorted(p.name for p in (run / "checkpoints").iterdir())
    assert names == ["nimg-000000000060", "nimg-000000000080", "nimg-000000000088"]
