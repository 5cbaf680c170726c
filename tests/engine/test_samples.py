"""Sheets of samples: every row has its name, every picture its place, and all sheets of a run the same size."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import TASKS, TOTAL, WatchedRun, tiny, train

from progcycle.engine import samples
from progcycle.engine.samples import sample_sheet
from progcycle.export import to_pil
from progcycle.recipe import Schedule
from progcycle.schedule import Growth, GrowthSchedule
from progcycle.tasks.pggan import PgganTask


class Words:
    """What a sheet was given, and what it is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[dict[str, Any]] = []
        honest = samples.sheet

        def sheet(rows: Any, header: Any, tile: int, side: Any, title: str) -> Image.Image:
            self.calls.append({"rows": rows, "header": header, "tile": tile, "side": side, "title": title})
            return honest(rows, header, tile, side=side, title=title)

        monkeypatch.setattr(samples, "sheet", sheet)


@pytest.mark.parametrize("task", TASKS)
def test_sheets_of_a_run(task: str, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = Words(monkeypatch)
    train(tiny(task, pictures, {"training": {"sample_kimg": 0.028}}), tmp_path / "run")
    assert [call["title"] for call in words.calls] == [
        "0 kimg, 4 px", "0.028 kimg, 8 px, alpha 0.50", "0.056 kimg, 16 px, alpha 0.25", "0.084 kimg, 16 px",
        "0.088 kimg, 16 px",
    ]  # fmt: skip
    assert {call["tile"] for call in words.calls} == {96}
    sizes = {Image.open(path).size for path in (tmp_path / "run/samples").iterdir()}
    assert len(sizes) == 1
    if task == "cyclegan":
        assert words.calls[0]["side"] == ["A", "A to B", "back to A", "B", "B to A", "back to B"]
        assert [len(row) for row in words.calls[0]["rows"]] == [3] * 6
    else:
        assert words.calls[0]["side"] is None
        assert [len(row) for row in words.calls[0]["rows"]] == [2, 2]
    # What was given is on the sheet, in the lower right corner the last picture, enlarged by whole pixels.
    sheet = np.asarray(Image.open(tmp_path / f"run/samples/nimg-{TOTAL:012d}.png"))
    last = np.asarray(words.calls[-1]["rows"][-1][-1].convert("RGB"))
    corner = sheet[-4 - 96 : -4, -4 - 96 : -4]
    assert (corner == last.repeat(6, axis=0).repeat(6, axis=1)).all()


@pytest.mark.parametrize("kind", ["inpainting", "autoencoding"])
def test_every_row_of_pre_training_has_a_name(kind: str, pictures: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"kind": kind}
    recipe = tiny("cyclegan", pictures, {"pretraining": options, "network": {"generator": {"predict": "picture"}}})
    training = WatchedRun(recipe, tmp_path / "run", preparation="pretraining")
    rows = training.trainer.sampler(training.schedule.at(0))(
        training.trainer.task.panel(2, lambda domain: torch.zeros(2, 3, 4, 4))
    )
    names = training.trainer.task.row_names()
    assert len(names) == len(rows)
    seen = ["seen"] if kind == "inpainting" else []
    assert list(names) == ["A", *seen, "gen_ab", "gen_ba", "B", *seen, "gen_ab", "gen_ba"]


@pytest.mark.parametrize("message", ["not enough memory: you tried to allocate 8 GB", "shapes do not fit"])
def test_only_a_lack_of_memory_is_passed_over_when_efforts_are_measured(
    message: str, pictures: Path, tmp_path: Path
) -> None:
    training = WatchedRun(tiny("pggan", pictures), tmp_path / "run")
    honest = training.trainer.sampler

    def sampler(growth: Growth) -> Any:
        def fails(panel: Any) -> Any:
            raise RuntimeError(message)

        made = honest(growth)
        return made if growth.stage < 2 else type("Sampler", (), {**vars(made), "__call__": staticmethod(fails)})()

    if "memory" in message:
        found = samples.sampling_costs(sampler, training.schedule, {"real": 3}, 1)
        assert list(found) == [0, 1, 2]
        assert found[2] == 2 * found[1]
    else:
        with pytest.raises(RuntimeError, match=message):
            samples.sampling_costs(sampler, training.schedule, {"real": 3}, 1)


class Painter:
    classes: tuple[str, ...] = ()

    row_names = PgganTask.row_names


@pytest.mark.parametrize(
    ("classes", "count", "rows"),
    [((), 16, [4] * 4), ((), 5, [2, 2, 1]), (("cat", "dog", "fox"), 8, [3, 3, 2]), (("a", "b", "c"), 2, [1, 1])],
)
def test_generated_pictures_are_about_square_or_by_class(
    classes: tuple[str, ...], count: int, rows: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = Words(monkeypatch)
    task: Any = Painter()
    task.classes = classes
    schedule = GrowthSchedule(Schedule(), 4, 8)
    made = torch.rand(count, 1, 8, 8) * 2 - 1
    sample_sheet(task, [made], 7000, schedule.final, schedule)
    (call,) = words.calls
    assert [len(row) for row in call["rows"]] == rows
    assert call["header"] == (list(classes) if classes and count >= len(classes) else None)
    flat = [picture for row in call["rows"] for picture in row]
    assert all((np.asarray(x) == np.asarray(y)).all() for x, y in zip(flat, to_pil(made), strict=True))


@pytest.mark.parametrize(
    ("final", "tiles"),
    [(8, {8: 96}), (64, {8: 128, 64: 128}), (128, {4: 128, 128: 128}), (1024, {4: 256, 512: 512, 1024: 1024})],
)
def test_pictures_are_large_enough_to_see_and_never_made_smaller(
    final: int, tiles: dict[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = Words(monkeypatch)
    schedule = GrowthSchedule(Schedule(), 4, final)
    task: Any = type("Task", (), {"row_names": lambda _: ("A", "A to B", "back to A") * 2, "classes": ()})()
    for side, tile in tiles.items():
        growth = next(growth for _, growth in schedule.steps() if growth.resolution == side)
        sample_sheet(task, [torch.zeros(1, 3, side, side)] * 6, 0, growth, schedule)
        assert words.calls[-1]["tile"] == tile
