import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_runs import WatchedRun, checkpoint_content, hook, stats, tiny, train
from torch import nn

from progcycle.data import PictureSet, loader
from progcycle.engine import loader_wait, page, trainer
from progcycle.engine import train as train_module
from progcycle.engine.run import Run
from progcycle.engine.train import train_run
from progcycle.errors import UserError
from progcycle.export import load
from progcycle.recipe import Recipe
from progcycle.runtime.checkpoint import checkpoints, read
from progcycle.runtime.parallel import Votes, average_gradients
from progcycle.runtime.stop import SIGNALS, StoppedError, StopSignals, agreed_signal
from progcycle.schedule import Growth

CODES = {
    signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGUSR1: 138, signal.SIGHUP: 129, signal.SIGUSR2: 140,
    signal.SIGXCPU: 152,
}  # fmt: skip


@pytest.fixture(autouse=True)
def _as_in_the_foreground() -> Iterator[None]:
    """Shells start what runs in the background with SIGINT ignored, and what is ignored stays so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _stopped(recipe: Recipe, run: Path, step: int, number: signal.Signals) -> tuple[WatchedRun, StoppedError]:
    """A run that gets a signal while it does a step."""

    def on_step(training: WatchedRun, _: Growth) -> None:
        if training.trainer.step == step:
            os.kill(os.getpid(), number)

    training = WatchedRun(recipe, run, signals=True)
    training.on_step = on_step
    with pytest.raises(StoppedError) as stopped:
        train_run(training)
    return training, stopped.value


@pytest.fixture(scope="module")
def whole(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny("pggan", pictures), run)
    return run


@pytest.fixture(autouse=True)
def _as_on_a_terminal() -> Iterator[None]:
    """No signal is ignored from the start, as it is under nohup."""
    before = {number: signal.signal(number, signal.SIG_DFL) for number in CODES if number != signal.SIGINT}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


# By the recipe a checkpoint is due at 40 and at the end, 88, but not at 28.
@pytest.mark.parametrize(
    ("number", "step"), [(signal.SIGTERM, 6), (signal.SIGINT, 9), (signal.SIGUSR1, 21), (signal.SIGHUP, 6)]
)
def test_the_step_is_finished_a_checkpoint_written_and_the_run_goes_on_from_it(
    number: signal.Signals, step: int, whole: Path, pictures: Path, tmp_path: Path
) -> None:
    before = [signal.getsignal(each) for each in CODES]
    recipe, run = tiny("pggan", pictures), tmp_path / "run"
    training, error = _stopped(recipe, run, step, number)
    assert error.exit_code == CODES[number]
    nimg = 4 * (step + 1)
    good = run / "checkpoints" / f"nimg-{nimg:012d}"
    assert str(error) == (
        f"stopped by {number.name} at {nimg / 1000:g} kimg with the checkpoint {good}; "
        "the same command resumes from there"
    )
    assert training.trainer.nimg == nimg
    assert checkpoints(run / "checkpoints")[-1] == good
    model = load(run)  # at once, though no snapshot was due
    assert model.config.nimg == nimg
    assert model.config.stage == training.trainer.stage
    averages = read(good, "ema")
    assert averages.keys() == model.state_dict().keys()
    assert all(torch.equal(averages[key], value) for key, value in model.state_dict().items())
    assert [signal.getsignal(each) for each in CODES] == before
    resumed = train(recipe, run)
    assert resumed.trainer.nimg == 88
    assert min(resumed.seen, default=22) == step + 1
    assert stats(run) == stats(whole)
    last = "checkpoints/nimg-000000000088"
    assert checkpoint_content(run / last) == checkpoint_content(whole / last)


def test_the_first_signal_counts_and_later_ones_change_nothing(pictures: Path, tmp_path: Path) -> None:
    def on_step(training: WatchedRun, _: Growth) -> None:
        if training.trainer.step == 1:
            for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
                os.kill(os.getpid(), number)

    training = WatchedRun(tiny("pggan", pictures), tmp_path / "run", signals=True)
    training.on_step = on_step
    with pytest.raises(StoppedError) as stopped:
        train_run(training)
    assert (stopped.value.exit_code, training.trainer.step) == (138, 2)


def test_after_one_interrupt_the_next_is_the_kernels(capfd: pytest.CaptureFixture[str]) -> None:
    stop = StopSignals(enabled=True)
    with pytest.raises(StoppedError), stop.listening():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL
        raise StoppedError(signal.SIGINT, "done")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert capfd.readouterr().err.count("Ctrl-C again stops at once") == 1


def test_a_run_within_another_program_leaves_its_signals_alone(pictures: Path, tmp_path: Path) -> None:
    seen: list[Any] = []
    before = [signal.getsignal(number) for number in SIGNALS]
    train(
        tiny("pggan", pictures), tmp_path / "run", stop_before=2,
        on_step=lambda *_: seen.append([signal.getsignal(number) for number in SIGNALS]),
    )  # fmt: skip
    assert seen == [before] * len(seen)
    assert len(seen) == 2


def test_a_thread_cannot_listen_and_does_not_try() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    seen: list[Any] = []

    def work() -> None:
        with StopSignals(enabled=True).listening():
            seen.append([signal.getsignal(number) for number in SIGNALS])

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])  # in the background of a script, and under nohup
def test_a_signal_that_was_ignored_stays_ignored(number: signal.Signals) -> None:
    before = signal.signal(number, signal.SIG_IGN)
    try:
        stop = StopSignals(enabled=True)
        with stop.listening():
            os.kill(os.getpid(), number)
        assert stop.received is None
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_all_that_stops_a_run_is_listened_to_and_has_the_shells_exit_code() -> None:
    assert set(SIGNALS) == set(CODES)
    for number, code in CODES.items():
        stop = StopSignals(enabled=True)
        with pytest.raises(StoppedError) as stopped, stop.listening():  # noqa: PT012
            os.kill(os.getpid(), number)
            raise StoppedError(agreed_signal(stop.votes()) or number, "done")
        assert (stop.received, stopped.value.exit_code) == (number, code)


def test_a_signal_after_the_last_step_is_delivered_again_where_it_ends_the_process() -> None:
    with pytest.raises(KeyboardInterrupt), StopSignals(enabled=True).listening():
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("launched", ["", "ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"])
def test_a_launcher_that_has_gone_is_a_request_to_stop(launched: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = [7]
    monkeypatch.setattr(os, "getppid", lambda: parent[0])
    for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    if launched:
        monkeypatch.setenv(launched, "no")
    stop = StopSignals(enabled=True)
    with pytest.raises(StoppedError), stop.listening():  # noqa: PT012
        assert agreed_signal(stop.votes()) is None
        parent[0] = 1
        assert agreed_signal(stop.votes()) == (signal.SIGTERM if launched else None)
        raise StoppedError(signal.SIGTERM, "done")


def test_no_checkpoint_is_tried_after_a_step_that_failed(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(trainer, "average_gradients", lost)
    training = WatchedRun(tiny("pggan", pictures), tmp_path / "run", signals=True)
    with pytest.raises(RuntimeError, match="closed by peer"):
        train_run(training)
    assert not (tmp_path / "run/checkpoints").exists()


def test_pre_training_stops_too_and_training_does_not_begin(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_step = Run.train_step

    def step(training: Run, *arguments: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        train_step(training, *arguments)

    monkeypatch.setattr(Run, "train_step", step)
    recipe = tiny("cyclegan", pictures, {"pretraining": {"kind": "inpainting"}})
    with pytest.raises(StoppedError):
        train_module.train(recipe, tmp_path / "run", signals=True)
    assert [p.name for p in checkpoints(tmp_path / "run/pretraining/checkpoints")] == ["nimg-000000000004"]
    assert not (tmp_path / "run/checkpoints").exists()


def test_a_signal_after_the_last_step_finds_the_page_finished(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = WatchedRun(tiny("pggan", pictures), tmp_path / "run", signals=True)
    steps = training.steps
    monkeypatch.setattr(training, "steps", lambda loader: (steps(loader), os.kill(os.getpid(), signal.SIGINT)))
    with pytest.raises(KeyboardInterrupt):
        train_run(training)
    assert 'data-state="finished"' in (tmp_path / "run/index.html").read_text()


def test_a_signal_while_the_page_is_written_does_not_keep_it_from_that(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As torchrun does to the first process as soon as another one has left by the signal that all heard.
    honest = page.RunPage.write

    def write(self: page.RunPage, nimg: int, state: str = "training", words: str = "") -> None:
        if state == "stopped":
            os.kill(os.getpid(), signal.SIGINT)
        honest(self, nimg, state, words)

    monkeypatch.setattr(page.RunPage, "write", write)
    try:
        _stopped(tiny("pggan", pictures), tmp_path / "run", 6, signal.SIGTERM)
    except KeyboardInterrupt:
        pytest.fail("the signal was not remembered")  # which would end all tests
    text = (tmp_path / "run/index.html").read_text()
    assert 'data-state="stopped"' in text
    assert "stopped by SIGTERM at 0.028 kimg" in text


# --- while a loader is waited for ------------------------------------------------------------------------------------


@pytest.fixture
def stands_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader process that stands still at picture 16, as on a mount that is lost."""
    real = PictureSet.training

    def training(self: PictureSet, position: int, resolution: int) -> Any:
        if position >= 16:
            time.sleep(1000)
        return real(self, position, resolution)

    monkeypatch.setattr(PictureSet, "training", training)  # workers are forked, and have it too
    monkeypatch.setattr(loader, "POLL_SECONDS", 0.2)
    monkeypatch.setattr(torch.utils.data.dataloader._utils, "MP_STATUS_CHECK_INTERVAL", 0.2)


@pytest.mark.usefixtures("stands_still")
def test_a_run_that_waits_for_pictures_stops_with_a_checkpoint(
    whole: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loader_wait, "PATIENCE", 0.5)
    recipe, run = tiny("pggan", pictures, {"data": {"workers": 1}}), tmp_path / "run"
    training = WatchedRun(recipe, run, signals=True)

    def on_step(training: WatchedRun, _: Growth) -> None:
        if training.trainer.step == 3:  # the last one for which there are pictures
            timer = threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM))
            timer.start()

    training.on_step = on_step
    with pytest.raises(StoppedError) as stopped:
        train_run(training)
    assert stopped.value.exit_code == 143
    assert training.trainer.nimg == 16
    assert checkpoints(run / "checkpoints")[-1].name == "nimg-000000000016"
    assert not multiprocessing.active_children()
    assert capsys.readouterr().out.count("waiting for pictures for") == 1
    monkeypatch.undo()
    train(recipe, run)
    assert stats(run) == stats(whole)
    last = "checkpoints/nimg-000000000088"
    assert checkpoint_content(run / last) == checkpoint_content(whole / last)


@pytest.mark.usefixtures("stands_still")
def test_bad_numbers_that_are_found_on_stopping_are_not_a_fault_of_the_program(pictures: Path, tmp_path: Path) -> None:
    changes = {"data": {"workers": 1}, "training": {"recovery": {"attempts": 2}}}
    training = WatchedRun(tiny("pggan", pictures, changes), tmp_path / "run", signals=True)

    def on_step(training: WatchedRun, _: Growth) -> None:
        if training.trainer.step == 3 and training.attempts.number == 0:
            hook(training, "generator", lambda gradient: gradient * math.nan)
            threading.Timer(1.5, os.kill, (os.getpid(), signal.SIGTERM)).start()

    training.on_step = on_step
    with pytest.raises(StoppedError, match=r"^stopped by SIGTERM at 0 kimg with the checkpoint .*nimg-0{12};"):
        train_run(training)
    assert training.attempts.number == 1
    assert (tmp_path / "run/trouble/nimg-000000000012").exists()


@pytest.mark.usefixtures("stands_still")
def test_a_loader_process_that_is_killed_costs_no_step(pictures: Path, tmp_path: Path) -> None:
    recipe, run = tiny("pggan", pictures, {"data": {"workers": 1}}), tmp_path / "run"

    def on_step(training: WatchedRun, _: Growth) -> None:
        if training.trainer.step == 3:
            (worker,) = multiprocessing.active_children()
            threading.Timer(1.0, worker.kill).start()

    with pytest.raises(UserError, match=r"^A loader process has died"):
        train(recipe, run, on_step=on_step)
    assert [path.name for path in checkpoints(run / "checkpoints")][-1:] == ["nimg-000000000016"]


# --- several processes ----------------------------------------------------------------------------------------------


class _Other:
    """Two processes, of which the other sends a fixed message after the gradients, and the gradient 3."""

    num_processes, device = 2, torch.device("cpu")

    def __init__(self, flags: list[float]) -> None:
        self.flags = flags

    def all_reduce(self, flat: torch.Tensor) -> None:
        count = len(flat) - len(self.flags)
        flat += torch.tensor([3.0] * count + self.flags, dtype=flat.dtype)


@pytest.mark.parametrize(
    ("own", "other", "number", "dtype"),
    [
        ([], [], None, torch.float32),
        ([], [signal.SIGUSR1], signal.SIGUSR1, torch.float32),
        ([], [signal.SIGHUP], signal.SIGHUP, torch.float32),
        ([signal.SIGTERM], [], signal.SIGTERM, torch.float32),
        ([signal.SIGINT], [signal.SIGTERM], signal.SIGTERM, torch.float64),
    ],
)
def test_all_processes_hear_of_a_signal_of_one_with_the_gradients(
    own: list[signal.Signals],
    other: list[signal.Signals],
    number: signal.Signals | None,
    dtype: torch.dtype,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own_votes, others = ([float(each in heard) for each in SIGNALS] for heard in (own, other))
    accelerator: Any = _Other(others)
    monkeypatch.setattr(torch.distributed, "all_reduce", accelerator.all_reduce)
    votes = Votes(accelerator, lambda: [bool(vote) for vote in own_votes])
    assert votes.read() == []
    parameters = [nn.Parameter(torch.zeros(2, 2, dtype=dtype)), nn.Parameter(torch.zeros(3, dtype=dtype))]
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    average_gradients(accelerator, parameters, votes)
    for parameter in parameters:
        assert torch.equal(parameter.grad, torch.full_like(parameter, 2))
    assert votes.read() == [(a + b) / 2 for a, b in zip(own_votes, others, strict=True)]
    assert agreed_signal(votes.read()) == number
    votes.forget()
    assert votes.read() == []


def test_one_process_needs_no_message() -> None:
    accelerator: Any = SimpleNamespace(num_processes=1)
    assert Votes(accelerator, lambda: [False, True]).read() == [0, 1]
