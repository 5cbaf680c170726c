"""Plots are written for every kind of plan and for statistics in any state."""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.artist import Artist
from PIL import Image

import progcycle
from progcycle.engine import plots
from progcycle.engine.plots import plot_curves, plot_plan
from progcycle.recipe import Schedule
from progcycle.schedule import GrowthSchedule


def painted(path: Path) -> np.ndarray:
    """The pixels of a plot, which must not be blank."""
    with Image.open(path) as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB"))
    assert (pixels < 200).any()
    return pixels


@pytest.mark.parametrize(
    ("options", "base", "resolution"),
    [
        ({}, 4, 1024),
        ({"start_resolution": 32, "total_kimg": 10, "decay_kimg": 5}, 8, 32),
        ({"stable_kimg": 0, "fade_kimg": {"default": 3, 16: 0}, "total_kimg": 20}, 4, 32),
        ({"batch_size": {"default": 8, 32: 2}, "rampup_kimg": 1, "stage_rampup_kimg": 1}, 8, 32),
    ],
)
def test_plans(tmp_path: Path, options: dict[str, object], base: int, resolution: int) -> None:
    plot_plan(GrowthSchedule(Schedule.model_validate(options), base, resolution), tmp_path / "sub" / "plan.png")
    painted(tmp_path / "sub" / "plan.png")
    assert [p.name for p in (tmp_path / "sub").iterdir()] == ["plan.png"]


def test_curves(tmp_path: Path) -> None:
    stats = tmp_path / "stats.jsonl"
    lines = [
        {"nimg": n, "stage": n // 2000, "resolution": 8 << n // 2000, "loss/generator": 1.0, "loss/disc": 2, "speed": 9}
        for n in range(0, 6000, 50)
    ]
    stats.write_text("\n".join(map(json.dumps, lines)) + "\n")
    plot_curves(stats, tmp_path / "curves.png")
    two_panels = painted(tmp_path / "curves.png").shape
    stats.write_text("\n".join(json.dumps({**line, **{f"g{i}/x": 1 for i in range(4)}}) for line in lines))
    plot_curves(stats, tmp_path / "curves.png")
    assert painted(tmp_path / "curves.png").shape[0] > 2 * two_panels[0]


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        ({"gradient/disc": 0.001, "gradient/gen": 1000.0}, "log"),
        ({"penalty/gradient": 0.0, "penalty/drift": 3e-5}, "log"),
        ({"gradient/gen": 0.0}, "linear"),
        ({"score/real": 0.001, "score/fake": 1000.0}, "linear"),
    ],
)
def test_gradients_and_penalties_that_lie_decades_apart_can_be_read(
    values: dict[str, float], scale: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(plots, "write_figure", lambda figure, _: figures.append(figure))
    lines = [
        {"nimg": n, **{name: value * (1 + n / 4000) for name, value in values.items()}} for n in range(0, 900, 100)
    ]
    (tmp_path / "stats.jsonl").write_text("\n".join(map(json.dumps, lines)))
    plot_curves(tmp_path / "stats.jsonl", tmp_path / "curves.png")
    (axes,) = [axes for axes in figures[0].axes if axes.has_data()]
    assert axes.get_yscale() == scale
    low, high = axes.get_ylim()
    shown = [value for value in values.values() if value > 0]
    assert all(low < value < high for value in shown)
    if scale == "log" and len(shown) == 2:
        heights = [axes.transAxes.inverted().transform(axes.transData.transform((0, value)))[1] for value in shown]
        assert 0.5 < heights[1] - heights[0] < 1, "each curve has its place, and not at the edge"


def test_every_metric_has_a_panel_of_its_own(tmp_path: Path) -> None:
    stats = tmp_path / "stats.jsonl"

    def rows(*names: str) -> int:
        lines = [{"nimg": n, "loss/x": 1.0} for n in range(0, 900, 100)]
        lines += [{"nimg": n, **dict.fromkeys(names, n / 7)} for n in (300, 600)]
        stats.write_text("\n".join(map(json.dumps, lines)))
        plot_curves(stats, tmp_path / "curves.png")
        return round(painted(tmp_path / "curves.png").shape[0] / 300)

    swd = [f"metric/swd/{side}" for side in (16, 32, 64)]
    assert rows(*swd) == rows(*swd, "metric/swd") == 1
    assert rows(*swd, "metric/ms-ssim") == rows(*swd, "metric/ms-ssim", "metric/modes/missed") == 2
    assert rows("score/a", "score/b/c") == 1


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        '{"nimg": 0}\n',
        '{"loss/x": 1}\n[1]\n"a"\n{"nimg": null, "loss/x": 1}\n',
        '{"nimg": 0, "loss/x": 1}\n',
        '{"nimg": 0, "loss/x": NaN}\n{"nimg": 5, "loss/x": Infinity, "y": "text", "z": true, "w": null}\n',
        '{"nimg": 0, "loss/x": 1}\n{"nimg": 9, "other": 2}\n{"nimg": 12, "loss/x": 3, "stage": 1}\n{"nimg": 13, "los',
        '{"nimg": 9, "x": 1, "stage": 2}\n{"nimg": 3, "x": 1, "stage": 0}\n',
    ],
)
def test_curves_of_damaged_or_empty_statistics(tmp_path: Path, text: str) -> None:
    (tmp_path / "stats.jsonl").write_text(text)
    plot_curves(tmp_path / "stats.jsonl", tmp_path / "curves.png")
    painted(tmp_path / "curves.png")


def test_curves_without_a_file(tmp_path: Path) -> None:
    plot_curves(tmp_path / "none.jsonl", tmp_path / "curves.png")
    painted(tmp_path / "curves.png")


def test_a_plot_leaves_nothing_in_memory(tmp_path: Path) -> None:
    """Figures are full of cycles; in a run that draws one every so often they would pile up."""

    def artists() -> int:
        return sum(issubclass(type(thing), Artist) for thing in gc.get_objects())

    stats = tmp_path / "stats.jsonl"
    stats.write_text('{"nimg": 1, "loss/a": 1.0}\n{"nimg": 2, "loss/a": 2.0}\n')
    gc.collect()
    before = artists()
    gc.disable()
    try:
        plot_curves(stats, tmp_path / "curves.png")
        after = artists()
    finally:
        gc.enable()
    assert after <= before


def test_no_global_state() -> None:
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()


@pytest.mark.parametrize("backend", ["module://no_such_package.backend", "svg"])
def test_the_backend_of_a_notebook_is_nobodys_trouble(backend: str, tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from progcycle.engine.plots import plot_curves\n"
        "plot_curves(Path('none.jsonl'), Path('curves.png'))\n"
        "import matplotlib as m; print(os.environ['MPLBACKEND'], m.rcParams['backend'], 'pyplot' in str(sys.modules))"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(progcycle.__file__).parents[1]), "MPLBACKEND": backend}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    if backend == "svg":
        assert done.stdout.split() == ["svg", "svg", "False"], "one that exists is left to those who show figures"
    else:
        assert done.stdout.startswith(backend)
