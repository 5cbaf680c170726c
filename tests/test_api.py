"""The Python way: train, plan, look at a run; what speaks goes through logging."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from photos import folder
from tiny_runs import STEPS, TOTAL, tiny, tiny_content, write_domains

import progcycle
from progcycle import api, output
from progcycle.commands.cli import main
from progcycle.errors import UserError
from progcycle.recipe import RecipeError, load_recipe
from progcycle.runtime.stop import StoppedError

SHORT = {"schedule": {"stable_kimg": 0.008, "fade_kimg": 0, "hold_resolution": 4, "decay_kimg": 0}}


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_domains(tmp_path_factory.mktemp("domains"))


@pytest.fixture
def _hears_ctrl_c() -> Iterator[None]:
    """As in the foreground: what a script starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def short(domains: Path) -> dict[Any, Any]:
    """The content of a recipe of two steps."""
    return tiny_content("pggan", domains, {**SHORT, "training": {"sample_kimg": 0.008, "snapshot_kimg": 0.008}})


def test_a_run_is_trained_looked_at_loaded_and_measured(short: dict[Any, Any], tmp_path: Path) -> None:
    run = progcycle.train(short, tmp_path / "run", seed=5, training={"sample_count": 2})
    assert run.run_dir == tmp_path / "run"
    assert (run.recipe.seed, run.recipe.training.sample_count) == (5, 2)
    assert run.recipe.training.precision == "no", "the other keys of a section stay"
    assert [line["nimg"] for line in run.stats()] == [8]
    assert run.sample().size[0] > 2 * 96 / 2
    model = run.load()
    assert isinstance(model, progcycle.Generator)
    assert model.generate(2, seed=0).shape == (2, 3, 4, 4)
    with pytest.raises(UserError, match=r"ms-ssim needs pictures of 16 px or more, these have 4 px"):
        run.evaluate(metrics=["ms-ssim"])
    shown = run._repr_html_()
    assert "data:image/png;base64," in shown
    assert "<td>nimg</td><td>8</td>" in shown
    again = progcycle.RunFolder(tmp_path / "run")
    assert again.stats() == run.stats()


def test_the_same_call_again_goes_on_and_another_run_may_follow_in_the_same_process(
    short: dict[Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    progcycle.train(short, tmp_path / "one")
    progcycle.train(short, tmp_path / "one")
    assert "this run is finished" in capsys.readouterr().out
    other = progcycle.train({**short, "seed": 8}, tmp_path / "two")
    assert other.recipe.seed == 8


def test_it_trains_in_a_thread(short: dict[Any, Any], tmp_path: Path) -> None:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(progcycle.train(short, tmp_path / "run")))
    thread.start()
    thread.join()
    assert found[0].stats()[-1]["nimg"] == 8


@pytest.mark.usefixtures("_hears_ctrl_c")
def test_ctrl_c_keeps_the_run(
    short: dict[Any, Any], domains: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from progcycle.engine.trainer import Trainer

    honest = Trainer.train_step

    def interrupted(trainer: Any, *arguments: Any) -> None:
        honest(trainer, *arguments)
        if trainer.step == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt, match=r"stopped by SIGINT at 0.004 kimg with the checkpoint"):
            progcycle.train(short, tmp_path / "run")
    assert progcycle.train(short, tmp_path / "run").stats()[-1]["nimg"] == 8


def test_another_signal_is_told_as_what_it_is(
    short: dict[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from progcycle.engine.trainer import Trainer

    honest = Trainer.train_step

    def stopped(trainer: Any, *arguments: Any) -> None:
        honest(trainer, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Trainer, "train_step", stopped)
    with pytest.raises(StoppedError) as found:
        progcycle.train(short, tmp_path / "run")
    assert found.value.number == signal.SIGTERM


def test_recipes_come_from_files_names_contents_and_objects(domains: Path, tmp_path: Path) -> None:
    by_name = progcycle.plan("cyclegan_openmoji")
    assert by_name.schedule.final.resolution == 32
    assert sum(by_name.parameters.values()) == sum(progcycle.plan("cyclegan_openmoji", seed=4).parameters.values())
    recipe = tiny("pggan", domains)
    assert progcycle.plan(recipe).schedule.total == TOTAL == 4 * STEPS
    larger = progcycle.plan(recipe, **{"schedule.batch_size.8": 2, "schedule": {"decay_kimg": 0}})
    assert [larger.schedule.at(nimg).batch_size for nimg in (0, 16, 60)] == [4, 2, 4]
    assert larger.schedule.at(86).lr_scale == 1
    assert str(progcycle.plan(recipe)).splitlines()[-1].endswith("parameters")
    with pytest.raises(RecipeError, match=r"training\.status: "):
        progcycle.plan(recipe, training={"status": 1})
    with pytest.raises(RecipeError, match=r"'training\.' is not a key"):
        progcycle.plan(recipe, **{"training.": 1})
    with pytest.raises(UserError, match="give run_dir"):
        progcycle.train(recipe)
    with pytest.raises(UserError, match=r"holds no run: there is no recipe\.yaml in it\.$"):
        progcycle.RunFolder(tmp_path)


def test_a_recipe_is_drafted_for_pictures_and_its_training_estimated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [folder(tmp_path / name, 9, ord(name)) for name in "ab"]
    both = progcycle.draft(*folders, resolution=32, name="mine")
    assert both.text.startswith("# mine: pictures of A into pictures of B and back, at 32 px.")
    assert [str(note).split(" has ")[0] for note in both.notes][:2] == [f"note: {path}" for path in folders]
    (tmp_path / "mine.yaml").write_text(both.text)
    assert load_recipe(tmp_path / "mine.yaml") == both.recipe
    assert progcycle.plan(both.recipe).schedule.final.resolution == 32
    assert progcycle.draft(folders[0]).recipe.task == "pggan"
    for wrong in ([], [*folders, folders[0]]):
        with pytest.raises(ValueError, match=f"one folder or two, got {len(wrong)}"):
            progcycle.draft(*wrong)
    with pytest.raises(UserError, match="check the path"):
        progcycle.draft(tmp_path / "nowhere")
    estimated: list[Any] = []
    monkeypatch.setattr(api, "estimate_training", estimated.append)
    progcycle.estimate(tmp_path / "mine.yaml", seed=7)
    assert estimated == [both.recipe.model_copy(update={"seed": 7})]


def test_the_names_stay_functions_when_their_modules_are_imported() -> None:
    for name in ("train", "evaluate", "plan"):
        module = import_module(f"progcycle.{name}")
        assert getattr(progcycle, name) is not module
        assert callable(getattr(progcycle, name))
    assert set(progcycle.__all__) - {"__version__"} == set(progcycle._NAMES)


# --- what speaks ----------------------------------------------------------------------------------------------------


def test_a_program_gets_the_lines_by_logging_and_nothing_is_printed(
    short: dict[Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Keep(logging.Handler):
        def __init__(self) -> None:
            super().__init__()
            self.kept: list[tuple[str, str]] = []

        def emit(self, record: logging.LogRecord) -> None:
            self.kept.append((record.levelname, record.getMessage()))

    keep = Keep()
    (shown,) = [handler for handler in output.LOGGER.handlers if isinstance(handler, output.Console)]
    output.LOGGER.removeHandler(shown)
    output.LOGGER.addHandler(keep)
    try:
        progcycle.train(short, tmp_path / "run")
    finally:
        output.LOGGER.removeHandler(keep)
        output.LOGGER.addHandler(shown)
    assert capsys.readouterr() == ("", "")
    assert any(text.startswith("kimg 0.008/0.008") for level, text in keep.kept if level == "INFO")


def test_without_any_logging_the_lines_are_shown(
    short: dict[Any, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output.LOGGER, "handlers", [])
    monkeypatch.setattr(output.LOGGER, "propagate", False)  # as where the root has no handlers; pytest's has
    progcycle.train(short, tmp_path / "run")
    assert "kimg 0.008/0.008" in capsys.readouterr().out
    assert not output.LOGGER.handlers


def test_quiet_and_verbose(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output.LOGGER, "handlers", [])
    assert main(["plan", "cyclegan_openmoji", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["plan", "nowhere.yaml", "--quiet"]) == 2
    assert "nowhere.yaml" in capsys.readouterr().err
    assert main(["plan", "cyclegan_openmoji", "--verbose"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0][8:].startswith(f" DEBUG   progcycle {progcycle.__version__}, torch ")
    assert any(" INFO " in line for line in lines)
    assert main(["plan", "cyclegan_openmoji"]) == 0
    assert "DEBUG" not in capsys.readouterr().out, "one command's wish is not the next one's"
