"""Pictures of a run: its plan before it starts, and its curves while it goes on. No display and no global state."""

import gc
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from progcycle.files import atomic_file
from progcycle.schedule import GrowthSchedule
from progcycle.tasks import loss_name

# Matplotlib takes half a second to import, so functions import what they draw with: --dry-run and mistakes are quick.
if TYPE_CHECKING:
    from progcycle.figures import Axes, Figure

INK, QUIET, BLUE, ORANGE, FADE = "#222222", "#8a8f98", "#2f6fb5", "#d9822b", "#e3edf8"
COLOURS = ("#2f6fb5", "#d9822b", "#3a9a5b", "#b8473d", "#7a5aa8", "#8a6a4f", "#c65f9c", "#5f6b7a")
DECADES = frozenset({"gradient", "penalty"})  # panels of numbers above 0 that may lie decades apart
LOSS = loss_name("")
SMOOTHING = 0.03  # share of the points that a curve is smoothed over
CLOCK = frozenset(
    {"nimg", "kimg", "stage", "alpha", "resolution", "step", "time", "seconds", "cpu_seconds", "memory_gb"}
)


@contextmanager
def _cleared_away() -> Iterator[None]:
    """Free what a figure took: its cycles are megabytes, and Python may leave them for half an hour of training."""
    try:
        yield
    finally:
        gc.collect()


@_cleared_away()
def plot_plan(schedule: GrowthSchedule, path: Path) -> None:
    """Draw the growth plan against thousands of pictures shown: resolution, alpha, batch size, learning rate.

    Args:
        schedule: the plan.
        path: PNG to write; its entry ``Description`` is the plan's table.
    """
    from progcycle.figures import FixedLocator, MaxNLocator, NullLocator, new_figure

    figure = new_figure(10, 7.2)
    shapes = [3.0, 1.1, 1.3, 1.3]
    top, alpha, batch, rate = figure.subplots(4, 1, sharex=True, height_ratios=shapes)
    # Every edge of a phase stands twice, on both of its sides, so that steps are drawn upright.
    edges = {p.start for p in schedule.phases} | {p.end for p in schedule.phases}
    even = np.linspace(0, schedule.total - 1, 1500).astype(int).tolist()
    at = sorted({n for n in [*even, *edges, *(e - 1 for e in edges)] if 0 <= n < schedule.total})
    growths = [schedule.at(n) for n in at]
    kimg = [n / 1000 for n in at]
    end = schedule.total / 1000

    for phase in schedule.phases:
        left, right = phase.start / 1000, phase.end / 1000
        if phase.kind == "fade":
            for axes in (top, alpha, batch, rate):
                axes.axvspan(left, right, color=FADE, linewidth=0, zorder=0)
        low = phase.resolution / 2 if phase.kind == "fade" else phase.resolution
        top.plot([left, right], [low, phase.resolution], color=BLUE, linewidth=3, solid_capstyle="round")
    sides = sorted({p.resolution for p in schedule.phases})
    for side in sides:
        own = [p for p in schedule.phases if p.resolution == side]
        middle = (own[-1].start if own[-1].kind == "stable" else own[0].start) + own[-1].end
        top.annotate(
            f"{side} px", (middle / 2000, side), (0, 7), textcoords="offset points", ha="center", color=INK, fontsize=10
        )
    top.set_yscale("log", base=2)
    top.yaxis.set_major_locator(FixedLocator([min(sides) / 2, *sides] if len(sides) == 1 else sides))
    top.yaxis.set_minor_locator(NullLocator())
    top.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    top.set_ylim(min(sides) / 1.4, max(sides) * 1.8)
    alpha.plot(kimg, [g.progress for g in growths], color=BLUE, linewidth=2)
    alpha.set_ylim(-0.08, 1.12)
    alpha.yaxis.set_major_locator(FixedLocator([0, 0.5, 1]))
    batch.plot(kimg, [g.batch_size for g in growths], color=BLUE, linewidth=2)
    batch.set_ylim(0, 1.2 * max(g.batch_size for g in growths))
    batch.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    rate.plot(kimg, [g.lr_scale for g in growths], color=ORANGE, linewidth=2)
    rate.set_ylim(0, 1.2 * max(g.lr_scale for g in growths))
    rate.yaxis.set_major_locator(MaxNLocator(4))
    for axes, words in ((top, "resolution (px)"), (alpha, "alpha"), (batch, "batch size"), (rate, "learning rate (x)")):
        dress(axes, words)
    rate.set_xlim(0, end)
    rate.set_xlabel("real pictures shown (thousands)", color=INK)
    fades = any(p.kind == "fade" for p in schedule.phases)
    title = f"Growth plan: {min(sides)} to {max(sides)} px" if len(sides) > 1 else f"Plan: {sides[0]} px, no growth"
    top.set_title(f"{title}, {end:g} kimg" + (" (shaded: fading in)" if fades else ""), loc="left", color=INK)
    write_figure(figure, path, {"Description": schedule.table()})


@_cleared_away()
def plot_curves(stats: Path, path: Path, terms: Iterable[str] = ()) -> None:
    """Draw the statistics of a run, one panel for every prefix of their names; dashed lines are openings of stages.

    Figures of quality have a panel for every metric, since each has a scale of its own. Gradients and penalties have
    a logarithmic scale.

    Args:
        stats: JSON lines, each with ``nimg`` and numbers by name. Lines and values that are not readable are passed
            over, as are values that are not finite.
        path: PNG to write; without any statistic an empty panel says so.
        terms: names of the figures whose panels come next to those of the players' losses, see :attr:`Task.terms`.
    """
    from progcycle.figures import new_figure

    lines = sorted(_read(stats), key=lambda line: line["nimg"])
    panels: dict[str, list[str]] = {}
    for name in dict.fromkeys(key for line in lines for key in line if key not in CLOCK):
        if any(_number(line.get(name)) for line in lines):
            panels.setdefault(_panel(name), []).append(name)
    # Losses first, then how well it does; single figures such as the speed last.
    first = [*dict.fromkeys((_panel(LOSS), *map(_panel, terms))), "metric"]
    panels = dict(
        sorted(panels.items(), key=lambda item: (_rank(item[0].partition("/")[0], first), item[1] == [item[0]]))
    )
    columns = 1 if len(panels) < 2 else 2
    rows = max(-(-len(panels) // columns), 1)
    figure = new_figure(6.4 * columns, 2.7 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    openings = list(_openings(lines))
    for axes, (group, names) in zip(grid, panels.items(), strict=False):
        values = [_curve(axes, lines, name, COLOURS[i % len(COLOURS)]) for i, name in enumerate(names)]
        _limits(axes, np.concatenate(values), group in DECADES)
        for kimg, words in openings:
            axes.axvline(kimg, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
            axes.annotate(
                words, (kimg, 1), (2, -2), xycoords=("data", "axes fraction"), textcoords="offset points",
                va="top", fontsize=7, color=QUIET,
            )  # fmt: skip
        dress(axes, "")
        axes.set_title(group.replace("_", " ").replace("/", " "), loc="left", color=INK, fontsize=11)
        if names != [group]:
            axes.legend(
                fontsize=8, frameon=False, ncols=min(len(names), 4), labelcolor=INK, handlelength=1.2,
                columnspacing=1.2, loc="lower right", bbox_to_anchor=(1.01, 0.98), borderaxespad=0.2,
            )  # fmt: skip
        axes.set_xlim(lines[0]["nimg"] / 1000, max(lines[-1]["nimg"], lines[0]["nimg"] + 1) / 1000)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[max(len(panels) - columns, 0) : len(panels)]:
        axes.set_xlabel("real pictures shown (thousands)", color=INK)
    if not panels:
        grid[0].text(0.5, 0.5, "no statistics yet", ha="center", va="center", color=QUIET)
    write_figure(figure, path)


def _read(stats: Path) -> Iterator[dict[str, Any]]:
    text = stats.read_text(encoding="utf-8", errors="replace") if stats.exists() else ""
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:  # the last line of a run that was killed may be torn
            continue
        if isinstance(content, dict) and _number(content.get("nimg")):
            yield content


def _rank(name: str, first: Sequence[str]) -> int:
    return first.index(name) if name in first else len(first)


def _panel(name: str) -> str:
    parts = name.split("/")
    return "/".join(parts[: 2 if parts[0] == "metric" else 1])


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _openings(lines: list[dict[str, Any]]) -> Iterator[tuple[float, str]]:
    staged = [line for line in lines if _number(line.get("stage"))]
    for before, line in pairwise(staged):
        if line["stage"] > before["stage"]:
            yield line["nimg"] / 1000, f"{line['resolution']} px" if _number(line.get("resolution")) else ""


def _curve(axes: "Axes", lines: list[dict[str, Any]], name: str, colour: str) -> np.ndarray:
    points = [(line["nimg"] / 1000, float(line[name])) for line in lines if _number(line.get(name))]
    x: np.ndarray
    y: np.ndarray
    x, y = np.array(points).T
    window = round(SMOOTHING * len(y)) // 2 * 2 + 1
    label = name.partition("/")[2] or name
    if window < 3:
        axes.plot(x, y, color=colour, linewidth=1.4, marker="o" if len(y) < 30 else "", markersize=2.5, label=label)
        return y
    axes.plot(x, y, color=colour, linewidth=0.6, alpha=0.25)
    padded = np.pad(y, window // 2, constant_values=np.nan)  # fewer points at both ends
    # The median: one wild value leaves no hump, and a step at a new stage stays a step.
    smooth = np.nanmedian(np.lib.stride_tricks.sliding_window_view(padded, window), axis=1)
    axes.plot(x, smooth, color=colour, linewidth=1.6, label=label)
    return y


def _limits(axes: "Axes", values: np.ndarray, decades: bool) -> None:
    """Keep a few wild values from flattening the rest; with ``decades`` on a logarithmic scale, which leaves out 0."""
    if decades and (values > 0).any():
        from progcycle.figures import LogLocator, NullLocator

        low, high = np.percentile(np.log10(values[values > 0]), [0.5, 99.5])
        room = max(high - low, 0.3)
        axes.set_yscale("log", nonpositive="mask")
        axes.set_ylim(10 ** (low - 0.08 * room), 10 ** (high + 0.12 * room))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if room < 2.5 else (1,)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        return
    low, high = np.percentile(values, [0.5, 99.5])
    room = (high - low) or abs(high) or 1.0
    axes.set_ylim(low - 0.08 * room, high + 0.12 * room)


def dress(axes: "Axes", words: str) -> None:
    """Give a panel the look of this project's figures, and its vertical axis a name."""
    axes.set_ylabel(words, color=INK)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(QUIET)
    axes.tick_params(colors=INK, labelsize=9)


def write_figure(figure: "Figure", path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a figure as a PNG file, with text entries."""
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110, facecolor="white", format="png", metadata=metadata)
