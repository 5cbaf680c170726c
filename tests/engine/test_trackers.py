"""What trackers are given, and what happens when one of them fails."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_runs import WatchedRun, checkpoint_content, stats, tiny, train

from progcycle.engine import trackers
from progcycle.engine.train import train_run
from progcycle.errors import UserError


def test_trackers_are_fed(pictures: Path, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    train(tiny("pggan", pictures, {"training": {"trackers": ["tensorboard"]}}), tmp_path / "run")
    events = [p for p in (tmp_path / "run").rglob("events.out.tfevents.*") if p.parent.name == "progcycle"]
    assert len(events) == 1
    read = EventAccumulator(str(events[0])).Reload()
    points = [(point.step, point.value) for point in read.Scalars("loss/generator")]
    assert points == [(s["nimg"], pytest.approx(s["loss/generator"])) for s in stats(tmp_path / "run")]
    assert "time" not in read.Tags()["scalars"], "trackers have clocks of their own"
    sheets = {image.step: image.encoded_image_string for image in read.Images("samples")}
    files = {int(path.stem.removeprefix("nimg-")): path for path in (tmp_path / "run/samples").iterdir()}
    assert sheets.keys() <= files.keys()  # of very many, tensorboard shows a choice
    assert len(sheets) > 1
    for nimg, sheet in sheets.items():
        assert np.array_equal(Image.open(io.BytesIO(sheet)), Image.open(files[nimg]))


@pytest.mark.parametrize("name", ["tensorbord", "all", ""])
def test_an_unknown_tracker_is_one_sentence(name: str, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^training.trackers: there is no '{name}'; choose from .*tensorboard.*\.$"):
        train(tiny("pggan", pictures, {"training": {"trackers": [name]}}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_is_not_installed_is_one_sentence(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "get_available_trackers", list)
    with pytest.raises(UserError, match=r"^training.trackers: tensorboard is not installed; pip install it"):
        train(tiny("pggan", pictures, {"training": {"trackers": ["tensorboard"]}}), tmp_path / "run")


class Fake:
    """A tracker that remembers, and that fails when told to."""

    def __init__(self, name: str, fails_at: str = "") -> None:
        self.name, self.fails_at = name, fails_at
        self.calls: list[tuple[str, int | None]] = []
        self.pictures: list[Any] = []

    def _call(self, what: str, step: int | None) -> None:
        self.calls.append((what, step))
        if what == self.fails_at:
            raise ConnectionError("no route\nto the host")

    def log(self, values: dict[str, Any], step: int) -> None:
        assert all(isinstance(value, int | float) for value in values.values())
        self._call("log", step)

    def finish(self) -> None:
        self._call("finish", None)


class FakeWithPictures(Fake):
    def log_images(self, values: dict[str, Any], step: int, **options: Any) -> None:
        self._call("log_images", step)
        self.pictures.append((values["samples"], options))


def _run(pictures: Path, run: Path, *fakes: Fake) -> WatchedRun:
    training = WatchedRun(tiny("pggan", pictures), run)
    training.accelerator.trackers = list(fakes)
    train_run(training)
    return training


@pytest.mark.parametrize("fails_at", ["log", "log_images", "finish"])
def test_one_that_fails_is_left_out_and_the_run_is_the_same(
    fails_at: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = FakeWithPictures("wandb", fails_at), Fake("mlflow")
    _run(pictures, tmp_path / "run", bad, good)
    said = capsys.readouterr().out
    warning = "warning: the tracker wandb failed (no route to the host); the run goes on without it"
    assert said.splitlines().count(warning) == (fails_at != "finish")
    assert [what for what, _ in bad.calls].count(fails_at) == 1
    lines = stats(tmp_path / "run")
    assert good.calls == [("log", line["nimg"]) for line in lines] + [("finish", None)]
    train(tiny("pggan", pictures), tmp_path / "other")
    assert stats(tmp_path / "other") == lines
    last = "checkpoints/nimg-000000000088"
    assert checkpoint_content(tmp_path / "run" / last) == checkpoint_content(tmp_path / "other" / last)


def test_sheets_go_to_all_that_take_pictures_in_the_form_that_they_take(pictures: Path, tmp_path: Path) -> None:
    fakes = {name: FakeWithPictures(name) for name in ("tensorboard", "wandb", "aim", "something_new")}
    _run(pictures, tmp_path / "run", *fakes.values())
    for i, path in enumerate(sorted((tmp_path / "run/samples").iterdir())):
        sheet = np.asarray(Image.open(path))
        batch, options = fakes["tensorboard"].pictures[i]
        assert np.array_equal(batch, sheet[None])
        assert options == {"dataformats": "NHWC"}
        ((listed,), _) = fakes["wandb"].pictures[i]
        assert np.array_equal(listed, sheet)
        assert np.array_equal(fakes["aim"].pictures[i][0], sheet)
    assert fakes["something_new"].pictures == []
    assert fakes["something_new"].calls[-1] == ("finish", None)


@pytest.mark.parametrize(("folder", "name"), [("runs/mine", "mine"), ("runs/mine/pretraining", "mine/pretraining")])
def test_a_run_is_named_by_its_folder(folder: str, name: str, pictures: Path, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}
    accelerator: Any = SimpleNamespace(init_trackers=lambda project, **more: seen.update(more, project=project))
    recipe = tiny("pggan", pictures, {"training": {"trackers": ["wandb"]}})
    trackers.start_trackers(recipe, accelerator, tmp_path / folder)
    assert seen["project"] == "progcycle"
    assert seen["init_kwargs"]["wandb"] == {"name": name}
    assert seen["init_kwargs"]["mlflow"] == {"run_name": name}
    assert "tensorboard" not in seen["init_kwargs"], "its runs are folders"
    assert seen["config"]["resolution"] == recipe.resolution
