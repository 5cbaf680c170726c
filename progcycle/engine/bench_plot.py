"""A picture of what :mod:`progcycle.engine.bench` measured."""

from pathlib import Path

from progcycle.engine.bench import Bench
from progcycle.engine.plots import COLOURS, INK, QUIET, dress, write_figure
from progcycle.figures import new_figure


def plot_bench(found: Bench, path: Path) -> None:
    """Draw the time of a picture in its parts, and the share of the convolutions' own speed, stage by stage.

    Args:
        found: what was measured.
        path: PNG to write; its entry ``Description`` is the table.
    """
    figure = new_figure(max(7.0, 1.0 + 1.1 * len(found.stages)), 6.4)
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=[2.2, 1.0])
    at = list(range(len(found.stages)))
    bottom = [0.0] * len(at)
    for colour, name in zip(COLOURS * 2, found.columns(), strict=False):
        heights = [100 * stage.shares.get(name, 0.0) for stage in found.stages]
        top.bar(at, heights, 0.7, bottom=bottom, color=colour, label=name, linewidth=0)
        bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
    for place, stage in zip(at, found.stages, strict=True):
        words = f"{1000 * stage.step / stage.batch_size:.3g} ms"
        top.annotate(words, (place, 100), (0, 3), textcoords="offset points", ha="center", color=INK, fontsize=9)
    top.set_ylim(0, 110)
    top.set_yticks([0, 25, 50, 75, 100])
    top.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9, labelcolor=INK, reverse=True)
    peaks = [100 * (stage.of_peak or 0.0) for stage in found.stages]
    below.bar(at, peaks, 0.7, color=COLOURS[0], linewidth=0)
    below.axhline(100, color=QUIET, linewidth=1, linestyle="--")
    below.set_ylim(0, max(110.0, 1.1 * max(peaks, default=0.0)))
    dress(top, "share of a step (%)")
    dress(below, "of the convolutions'\nown speed (%)")
    below.set_xticks(at, [f"{stage.part[:3]} {stage.resolution} px".strip() for stage in found.stages])
    top.set_title(f"{found.recipe}: time of a picture, and its parts", loc="left", color=INK)
    write_figure(figure, path, {"Description": found.table()})
