import errno
import os
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_runs import WatchedRun, checkpoint_content, stats, tiny, train

from progcycle.engine import run as run_module
from progcycle.engine.folder import checkpoint_policy, fallback_of
from progcycle.engine.log import RunLog
from progcycle.errors import UserError
from progcycle.recipe import Recipe
from progcycle.runtime import checkpoint, parallel, writer
from progcycle.runtime.checkpoint import Content, checkpoints, newest_whole, prune
from progcycle.runtime.writer import CheckpointWriter
from progcycle.schedule import Growth

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
BEFORE_ITS_NAME = ("mkdir", "mkdir", *(("save_file", "_to_disk") * 4), "write_text", "_to_disk", "_to_disk", "rename")
POINTS = 20  # more than the writes of one checkpoint


def _refuse(problem: str) -> None:
    pytest.fail(problem)


class _Said:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def _run_dir(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    run.mkdir()
    (run / "recipe.yaml").write_text("")
    return run


def _content(nimg: int, rank: int = 0) -> Content:
    files = {f"rank-{rank}": {"memory": torch.full((5,), nimg)}}
    if rank == 0:
        files |= {name: {"w": torch.full((3, 3), nimg)} for name in ("networks", "ema", "optimizers")}
    return Content(nimg, files, {"step": nimg // 4})


def _writer(run: Path, recipe: Recipe, rank: int = 0, processes: int = 1) -> tuple[CheckpointWriter, _Said]:
    said: Any = _Said()
    accelerator: Any = SimpleNamespace(is_main_process=rank == 0, num_processes=processes, process_index=rank)
    return CheckpointWriter(accelerator, checkpoint_policy(run, recipe), said.say), said


def _write(own: CheckpointWriter, nimg: int) -> str | None:
    """Write a checkpoint; the sentence if that fails."""
    try:
        own.start(_content(nimg), 0)
        own.finish()
    except UserError as error:
        return str(error)
    return None


def _full_at(point: int, monkeypatch: pytest.MonkeyPatch, within: Path) -> list[str]:
    """Let the disk be full from one write into a folder on; the list tells what was written."""
    done: list[str] = []

    def full(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def write(*arguments: Any, **options: Any) -> Any:
            paths = [a for a in arguments if isinstance(a, Path)]
            if paths and not paths[0].is_relative_to(within):
                return real(*arguments, **options)
            done.append(name)
            if len(done) > point:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        return write

    for module, name in (
        (Path, "mkdir"), (checkpoint, "save_file"), (checkpoint, "_to_disk"), (Path, "write_text"), (os, "rename")
    ):  # fmt: skip
        monkeypatch.setattr(module, name, full(name, getattr(module, name)))
    return done


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny("pggan", pictures, {"training": {"keep_checkpoints": 99}}), run)
    return run


# --- a thread of its own ---------------------------------------------------------------------------------------------


def test_training_goes_on_while_a_checkpoint_is_written_and_the_next_one_waits(
    whole: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed, real = threading.Semaphore(0), checkpoint.write_part
    seen: dict[int, int] = {}

    def slow(folder: Path, content: Content) -> None:
        assert allowed.acquire(timeout=90)
        real(folder, content)

    def on_step(training: WatchedRun, _: Growth) -> None:
        seen[training.trainer.step] = len(checkpoints(training.run_dir / "checkpoints"))
        if training.trainer.step == 9:  # the next checkpoint, after this step, could not be begun otherwise
            allowed.release()
        if training.trainer.step == 10:
            allowed.release(99)

    monkeypatch.setattr(checkpoint, "write_part", slow)
    run = tmp_path / "run"
    train(tiny("pggan", pictures, {"training": {"keep_checkpoints": 99}}), run, on_step=on_step)
    assert [seen[step] for step in range(10)] == [0] * 10
    assert seen[10] == 1
    names = [path.name for path in checkpoints(whole / "checkpoints")]
    assert names == [path.name for path in checkpoints(run / "checkpoints")]
    for name in names:  # of the moment they were begun at, not of the moment they were written
        assert checkpoint_content(run / "checkpoints" / name) == checkpoint_content(whole / "checkpoints" / name)
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("checkpoint at ")]
    assert len(said) == len(names)
    assert said[0].startswith("checkpoint at 0.02 kimg: 0.")
    assert " MB in " in said[0]


def test_a_checkpoint_on_its_way_is_finished_when_training_fails(pictures: Path, tmp_path: Path) -> None:
    train(tiny("pggan", pictures), tmp_path / "run", stop_before=5)
    assert [path.name for path in checkpoints(tmp_path / "run/checkpoints")] == ["nimg-000000000020"]


def test_the_processor_time_of_the_thread_is_known_and_not_counted(
    tmp_path: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = checkpoint.write_part

    def busy(folder: Path, content: Content) -> None:
        end = writer.time.thread_time() + 0.3
        while writer.time.thread_time() < end:
            pass
        real(folder, content)

    monkeypatch.setattr(checkpoint, "write_part", busy)
    own, _ = _writer(_run_dir(tmp_path), tiny("pggan", pictures))
    assert own.cpu_seconds() == 0
    own.start(_content(4), 0)
    own.finish()
    assert 0.3 <= own.cpu_seconds() < 0.5
    own.close()
    assert 0.3 <= own.cpu_seconds() < 0.5


def test_copies_are_contiguous_and_of_their_moment() -> None:
    original = torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last)
    copy = checkpoint.copies({"file": {"w": original, "step": torch.tensor(3)}})["file"]
    expected = original.clone()
    original.zero_()
    assert torch.equal(copy["w"], expected)
    assert copy["w"].is_contiguous()
    assert copy["step"].shape == ()


# --- kept for good ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keep", "every", "kept"),
    [
        (2, None, [90, 95]),
        (1, 40, [40, 80, 95]),
        (3, 25, [25, 50, 75, 85, 90, 95]),
        (1, 30, [30, 65, 90, 95]),  # there is none at 60
        (1, 500, [95]),
    ],
)
def test_the_first_checkpoint_of_every_so_many_kimg_is_kept(
    keep: int, every: int | None, kept: list[int], tmp_path: Path
) -> None:
    for nimg in range(5, 100, 5):
        if nimg != 60:
            (tmp_path / f"nimg-{nimg:012d}").mkdir()
        prune(tmp_path, keep, every)
    assert [int(path.name[5:]) for path in sorted(tmp_path.iterdir())] == kept


def test_the_recipe_says_which_are_kept(pictures: Path, tmp_path: Path) -> None:
    recipe = tiny("pggan", pictures, {"training": {"permanent_kimg": 0.04, "keep_checkpoints": 1}})
    train(recipe, tmp_path / "run")
    names = [path.name for path in checkpoints(tmp_path / "run/checkpoints")]
    assert names == ["nimg-000000000040", "nimg-000000000080", "nimg-000000000088"]


# --- a full disk -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", range(POINTS))
def test_a_full_disk_leaves_the_older_checkpoints_and_nothing_half_written(
    point: int, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run_dir(tmp_path)
    own, _ = _writer(run, tiny("pggan", pictures))
    assert [_write(own, nimg) for nimg in (4, 8)] == [None, None]
    with monkeypatch.context() as patch:
        done = _full_at(point, patch, run)
        told = _write(own, 12)
    own.close()
    names = {f"nimg-{nimg:012d}" for nimg in (4, 8)}
    if point < len(BEFORE_ITS_NAME):
        assert done == [*BEFORE_ITS_NAME[: point + 1]]
        assert told == (
            f"No checkpoint can be written to the run folder {run} (No space left on device); free space there, or "
            f"make it writable, and start the same command again to resume from {run}/checkpoints/nimg-{8:012d}."
        )
    else:  # it is there, though the disk may not have said so; deleting the oldest may fail too
        names.add(f"nimg-{12:012d}")
        assert (told is None) is (point > len(BEFORE_ITS_NAME))
        if point > len(BEFORE_ITS_NAME) + 1:
            names.remove(f"nimg-{4:012d}")
    assert {path.name for path in (run / "checkpoints").iterdir()} == names
    for path in checkpoints(run / "checkpoints"):
        assert checkpoint._inspect(path)[0] is None


def test_a_file_that_is_larger_than_the_system_allows_stops_the_run_which_can_go_on_later(
    whole: Path, pictures: Path, tmp_path: Path
) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    recipe, run = tiny("pggan", pictures, {"training": {"keep_checkpoints": 99}}), tmp_path / "run"

    def on_step(training: WatchedRun, _: Growth) -> None:
        if training.trainer.step == 6:
            training.writer.finish()  # the checkpoint before may still be on its way on a busy machine
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limit[1]))

    try:
        with pytest.raises(
            UserError, match=r"No checkpoint can be written to .* \(File too large\); .*nimg-000000000020\.$"
        ):
            train(recipe, run, on_step=on_step)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["nimg-000000000020"]
    train(recipe, run)
    assert stats(run) == stats(whole)
    last = "checkpoints/nimg-000000000088"
    assert checkpoint_content(run / last) == checkpoint_content(whole / last)


def test_a_folder_that_has_vanished_is_not_made_anew(pictures: Path, tmp_path: Path) -> None:
    recipe, run = tiny("pggan", pictures, {"training": {"status_kimg": 1}}), tmp_path / "run"

    def on_step(training: WatchedRun, _: Growth) -> None:
        if training.trainer.step == 7:
            training.writer.finish()  # or it may write into the folder while that is removed
            shutil.rmtree(run)

    with pytest.raises(
        UserError, match=rf"^No checkpoint can be written to the run folder {run} \(No such file or directory"
    ):
        train(recipe, run, on_step=on_step)
    assert not run.exists()


# --- a folder to fall back on ----------------------------------------------------------------------------------------


def test_what_the_run_folder_cannot_take_goes_to_the_fallback_and_is_found_there(
    whole: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    recipe = tiny("pggan", pictures, {"training": {"keep_checkpoints": 99, "fallback_dir": str(other)}})
    run, real = tmp_path / "run", checkpoint.prepare

    def full(folder: Path, nimg: int) -> None:
        if folder.is_relative_to(run) and nimg > 20:
            raise FULL
        real(folder, nimg)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "prepare", full)
        train(recipe, run, stop_before=16)
    own = fallback_of(run, recipe)
    assert own == other / run.resolve().relative_to("/")
    assert [path.name for path in checkpoints(run / "checkpoints")] == ["nimg-000000000020"]
    there = [path.name for path in checkpoints(own / "checkpoints")]
    assert there == ["nimg-000000000040", "nimg-000000000060"]
    told = capsys.readouterr().out
    assert (
        told.count("warning: no checkpoint can be written to the run folder (No space left on device); it is in ") == 2
    )
    resumed = train(recipe, run)
    assert min(resumed.seen) == 15
    assert f"resumed from {own}/checkpoints/nimg-000000000060 at 0.06 kimg" in capsys.readouterr().out
    assert stats(run) == stats(whole)
    for folder, name in ((own, there[0]), (own, there[1]), (run, "nimg-000000000088")):
        ours = checkpoint_content(folder / "checkpoints" / name)
        assert ours == checkpoint_content(whole / "checkpoints" / name)


def test_when_neither_folder_can_take_it_both_are_named(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny("pggan", pictures, {"training": {"fallback_dir": str(tmp_path / "other")}})
    run = _run_dir(tmp_path)
    own, _ = _writer(run, recipe)
    _full_at(3, monkeypatch, tmp_path)
    told = _write(own, 4)
    own.close()
    assert told is not None
    assert told.startswith(
        f"A checkpoint can be written neither to the run folder {run} (No space left on device) nor to "
        f"training.fallback_dir {fallback_of(run, recipe)} (No space left on device); free space there, "
        "or make it writable, and "
    )


@pytest.mark.parametrize("fallback", [True, False])
def test_a_status_line_that_cannot_be_written_stops_the_run_with_a_checkpoint(
    fallback: bool, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = {"fallback_dir": str(tmp_path / "other")} if fallback else {}
    recipe, run = tiny("pggan", pictures, {"training": training}), tmp_path / "run"
    real = RunLog._record

    def full(log: RunLog, nimg: int, *arguments: Any) -> None:
        if nimg == 24:
            raise FULL
        real(log, nimg, *arguments)

    def no_room(*_: Any) -> None:
        raise FULL

    good = fallback_of(run, recipe) if fallback else run
    name = f"{good}/checkpoints/nimg-{24:012d}"
    with monkeypatch.context() as patch:
        patch.setattr(RunLog, "_record", full)
        if fallback:  # the run folder takes no checkpoint either
            real_prepare = checkpoint.prepare
            patch.setattr(
                checkpoint, "prepare",
                lambda folder, nimg: no_room() if nimg == 24 and run in folder.parents else real_prepare(folder, nimg),
            )  # fmt: skip
        with pytest.raises(UserError) as error:
            train(recipe, run)
    assert str(error.value).startswith(f"The run folder {run} cannot be written (No space left on device); free space")
    assert str(error.value).endswith(f" to resume from {name}.")
    resumed = train(recipe, run)
    assert min(resumed.seen) == 6
    assert resumed.trainer.nimg == 88


@pytest.mark.parametrize("trouble", ["samples", "plots"])
def test_pictures_that_cannot_be_drawn_are_missing_and_the_run_is_the_same(
    trouble: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, run = tiny("pggan", pictures), tmp_path / "run"
    run.mkdir()
    if trouble == "samples":
        (run / "samples").write_text("a file where the folder should be")
        missing = {"samples": "File exists"}
    else:
        missing = {"plan.png": "no font", "curves.png": "no font"}

        def fail(*_: Any) -> None:
            raise RuntimeError("no font")

        monkeypatch.setattr(run_module, "plot_plan", fail)
        monkeypatch.setattr(run_module, "plot_curves", fail)
    train(recipe, run)
    said = capsys.readouterr().out
    for name, why in missing.items():
        (line,) = [line for line in said.splitlines() if line.startswith(f"warning: {name} could not be drawn (")]
        assert why in line
        assert line.endswith("; training goes on")
    monkeypatch.undo()
    train(recipe, tmp_path / "whole")
    assert stats(run) == stats(tmp_path / "whole")
    last = "checkpoints/nimg-000000000088"
    assert checkpoint_content(run / last) == checkpoint_content(tmp_path / "whole" / last)


def test_a_fallback_that_another_recipe_has_used_is_refused(pictures: Path, tmp_path: Path) -> None:
    recipe = tiny("pggan", pictures, {"training": {"fallback_dir": str(tmp_path / "other")}})
    own = fallback_of(tmp_path / "run", recipe)
    assert own is not None
    train(tiny("pggan", pictures, {"seed": 5}), own, stop_before=6)
    with pytest.raises(UserError, match=rf"^{own} holds a run of another recipe.* seed: 5 -> 3"):
        WatchedRun(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_part_that_fails_while_it_is_asked_for_is_not_written(pictures: Path, tmp_path: Path) -> None:
    class _Part(Future[None]):
        def done(self) -> bool:
            done = super().done()
            if not done:  # the disk is full just then
                self.set_exception(FULL)
            return done

    own, _ = _writer(_run_dir(tmp_path), tiny("pggan", pictures), 0, 2)
    own._pending = writer._PendingCheckpoint(4, _content(4), _Part())
    assert own.votes() == [False, True]


# --- several processes -----------------------------------------------------------------------------------------------


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[int], Any]], list[Any]]]:
    """``together(work)`` does work in two threads, which stand for processes, and gives their results or errors."""
    barrier, texts = threading.Barrier(2, timeout=60), ["", ""]

    def gather(own: str) -> list[str]:
        texts[int(threading.current_thread().name[-1])] = own
        barrier.wait()
        found = list(texts)
        barrier.wait()
        return found

    monkeypatch.setattr(parallel, "gather_texts", gather)
    pools = [ThreadPoolExecutor(1, f"rank{rank}_", initializer=_name, initargs=(rank,)) for rank in range(2)]

    def both(work: Callable[[int], Any]) -> list[Any]:
        jobs = [pool.submit(work, rank) for rank, pool in enumerate(pools)]
        return [job.exception(90) or job.result() for job in jobs]

    yield both
    for pool in pools:
        pool.shutdown()


def _name(rank: int) -> None:
    threading.current_thread().name = f"rank {rank}"


def _vote(writers: list[CheckpointWriter]) -> list[float]:
    return [sum(votes) / 2 for votes in zip(*(own.votes() for own in writers), strict=True)]


def _wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        time.sleep(0.01)


def test_the_first_process_gives_the_name_when_all_parts_are_written(
    together: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, allowed, real = _run_dir(tmp_path), threading.Event(), checkpoint.write_part

    def slow(folder: Path, content: Content) -> None:
        if "rank-1" in content.files:
            assert allowed.wait(90)
        real(folder, content)

    monkeypatch.setattr(checkpoint, "write_part", slow)
    writers = [_writer(run, tiny("pggan", pictures), rank, 2)[0] for rank in range(2)]
    together(lambda rank: writers[rank].start(_content(4, rank), 0))
    _wait_for(lambda: _vote(writers)[0] == 0.5)
    votes = _vote(writers)
    together(lambda rank: writers[rank].advance(votes))
    assert checkpoints(run / "checkpoints") == []
    allowed.set()
    _wait_for(lambda: _vote(writers) == [1, 0])
    together(lambda rank: writers[rank].advance([1, 0]))
    _wait_for(lambda: len(checkpoints(run / "checkpoints")) == 1)
    found = newest_whole(run / "checkpoints", _refuse)
    assert found is not None
    assert found[1]["files"].keys() == {
        f"{name}.safetensors" for name in ("networks", "ema", "optimizers", "rank-0", "rank-1")
    }
    assert found[1]["processes"] == 2
    together(lambda rank: writers[rank].advance([1, 0]))
    together(lambda rank: writers[rank].start(_content(8, rank), 0) if writers[rank].finish() is None else None)
    together(lambda rank: writers[rank].finish())
    assert [path.name for path in checkpoints(run / "checkpoints")] == [f"nimg-{nimg:012d}" for nimg in (4, 8)]
    for own in writers:
        own.close()


@pytest.mark.parametrize("fallback", [True, False])
@pytest.mark.parametrize("failing", ["rank-1", "commit"])
def test_when_one_process_cannot_write_all_fall_back_or_stop(
    failing: str, fallback: bool, together: Any, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _run_dir(tmp_path)
    training = {"fallback_dir": str(tmp_path / "other")} if fallback else {}
    recipe = tiny("pggan", pictures, {"training": training})
    write_part, commit = checkpoint.write_part, checkpoint.commit

    def broken_part(folder: Path, content: Content) -> None:
        if folder.is_relative_to(run) and failing in content.files:
            raise FULL
        write_part(folder, content)

    def broken_commit(folder: Path, *arguments: Any) -> Path:
        if folder.is_relative_to(run) and failing == "commit":
            raise FULL
        return commit(folder, *arguments)

    monkeypatch.setattr(checkpoint, "write_part", broken_part)
    monkeypatch.setattr(checkpoint, "commit", broken_commit)
    writers = [_writer(run, recipe, rank, 2)[0] for rank in range(2)]
    together(lambda rank: writers[rank].start(_content(4, rank), 0))
    if failing == "commit":
        _wait_for(lambda: _vote(writers) == [1, 0])
        together(lambda rank: writers[rank].advance([1, 0]))
    _wait_for(lambda: _vote(writers)[1] == 0.5)
    votes = _vote(writers)
    results = together(lambda rank: writers[rank].advance(votes))
    assert list((run / "checkpoints").iterdir()) == []
    own = fallback_of(run, recipe)
    if own is not None:
        assert results == [None, None]
        found = newest_whole(own / "checkpoints", _refuse)
        assert found is not None
        assert {"rank-0.safetensors", "rank-1.safetensors"} <= found[1]["files"].keys()
        assert [each.last for each in writers] == [found[0]] * 2
    else:
        assert [type(result) for result in results] == [UserError] * 2
        assert len({str(result) for result in results}) == 1
    for each in writers:
        each.close()
