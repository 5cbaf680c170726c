"""The table and the plots of a study, from its rows alone."""

import re
import statistics
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

from progcycle.evaluation.seen_features import MARK
from progcycle.files import atomic_file
from progcycle.recipe import Study

Rows = list[dict[str, Any]]


def write_report(study: Study, rows: Rows, references: Mapping[str, Mapping[str, float]], out: Path) -> list[Path]:
    """Write ``table.md`` and ``figures.svg``; ``curves.svg`` if the study keeps curves, and plots of courses if any.

    Courses are drawn over CPU time and over pictures: the figures that the study shows, and in ``every_*`` all of them.

    Returns:
        The files written.
    """
    files = [out / "table.md", out / "figures.svg"]
    with atomic_file(files[0]) as path:
        path.write_text(table(study, rows, references) + rivals_table(study, rows), encoding="utf-8")
    plot_figures(study, rows, files[1])
    if study.curves:
        files.append(out / "curves.svg")
        plot_curves(study, rows, files[-1])
    if study.points > 1:
        for every in (False, True):
            for over in ("cpu_time", "pictures"):
                files.append(out / f"{'every_' if every else ''}{over}.svg")
                plot_courses(study, rows, files[-1], over, every)
    return files


def table(study: Study, rows: Rows, references: Mapping[str, Mapping[str, float]] | None = None) -> str:
    """Mean and standard deviation over the seeds of every variant, as Markdown; runs that are missing are named."""
    names = shown_figures(study, rows)
    lines = [
        f"| variant | seeds | {' | '.join(names)} | CPU s a run |",
        "|---" * (len(names) + 3) + "|",
    ]
    for variant in study.variants:
        mine = rows_of(rows, variant)
        if mine:
            cells = [
                mean_sd([row["figures"][name] for row in mine if name in row["figures"]]) + mark_of(mine, name)
                for name in names
            ]
            cost = mean_sd([row["cpu_seconds"] for row in mine])
            lines.append(f"| {variant} | {len(mine)} | {' | '.join(cells)} | {cost} |")
    for name, figures in (references or {}).items():
        cells = [mean_sd([figures[key]]) if key in figures else "-" for key in names]
        lines.append(f"| {name} | | {' | '.join(cells)} | 0 |")
    done = {(row["variant"], row["seed"]) for row in rows}
    absent = [f"{v} with seed {s}" for v in study.variants for s in study.seeds if (v, s) not in done]
    total = sum(row["cpu_seconds"] for row in rows) / 60
    lines += ["", f"{len(rows)} runs, {total:.0f} core-minutes of training in all; mean ± standard deviation."]
    lines += [f"Not run: {', '.join(absent)}."] if absent else []
    if any(mark_of(rows_of(rows, variant), name) for variant in study.variants for name in names):
        lines.append(f"{MARK} In features of a kind that a discriminator of the variant looks through: it flatters.")
    return "\n".join(lines) + "\n"


def mark_of(rows: Rows, name: str) -> str:
    """A mark behind figures in features that a discriminator of a variant has seen, or ""."""
    kind = name.removeprefix("raw/").partition("/")[0]
    return f" {MARK}" if any(kind in row.get("seen_by_discriminators", ()) for row in rows) else ""


def mean_sd(values: list[float]) -> str:
    """``mean ± sd`` (of the sample), or the value alone."""
    if not values:
        return "-"
    mean = statistics.fmean(values)
    digits = 0 if abs(mean) >= 100 else 1 if abs(mean) >= 10 else 3
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def figure_names(rows: Rows) -> list[str]:
    """Names of all figures, in the order of the rows."""
    return list(dict.fromkeys(name for row in rows for name in row["figures"]))


def shown_figures(study: Study, rows: Rows) -> list[str]:
    """Names of the figures that the study shows, or of all."""
    names = figure_names(rows)
    return [name for name in study.shown if name in names] or names


def rivals_table(study: Study, rows: Rows) -> str:
    """CPU minutes that a variant needs to reach the final figures of another, seed by seed, as Markdown.

    The minutes of its own whole run stand next to them, since the other may have run on another machine. Lower is
    better in all figures except those of :data:`HIGHER`, and those of :data:`NEITHER` are left out; a distance below 0
    is no better than 0 (see :data:`UNBIASED`). Between two points of a course the figure is interpolated linearly.
    """
    lines = []
    for first, second in study.rivals:
        pairs = [(a, b) for a in rows_of(rows, first) for b in rows_of(rows, second) if a["seed"] == b["seed"]]
        for name in shown_figures(study, rows) if pairs else ():
            if name not in pairs[0][0]["course"][-1] or name.split("/")[0] in NEITHER:
                continue
            cells = []
            for a, b in pairs:
                found = reached(a["course"], name, b["figures"][name])
                cells.append("never" if found is None else f"{found / 60:.1f} of {a['cpu_seconds'] / 60:.1f}")
            lines.append(f"| {first} | {second} | {name} | {', '.join(cells)} |")
    if not lines:
        return ""
    head = [
        "",
        "| variant | to reach the end of | figure | CPU minutes, of those of its whole run, by seed |",
        "|---" * 4 + "|",
    ]
    return "\n".join([*head, *lines]) + "\n"


# Figures that are better when higher, and those of which neither is better.
HIGHER = (
    *("ssim", "psnr", "luma_ssim", "chroma_ssim", "edge_recall", "edge_precision", "two_sample_error", "modes"),
    *("precision", "recall", "density", "coverage"),
)
NEITHER = ("colours", "mean_chroma", "colour_spread")
UNPLOTTED = ("kid_error", "kid_resnet_error", "_deviation", "_floor", "truth_inversion")  # how their names end
UNBIASED = ("kid", "kid_resnet")  # distances whose estimate may be below 0, which is as good as 0 then


def reached(course: list[dict[str, float]], name: str, goal: float) -> float | None:
    """CPU seconds at which a course first is as good as a goal; None if it never is."""
    kind = name.split("/")[0]
    sign = -1 if kind in HIGHER else 1
    goal = max(goal, 0.0) if kind in UNBIASED else goal
    points = [(point["cpu_seconds"], sign * (point[name] - goal)) for point in course if name in point]
    for i, (seconds, above) in enumerate(points):
        if above <= 0:
            if i == 0:
                return seconds
            before, higher = points[i - 1]
            return before + (seconds - before) * higher / (higher - above)
    return None


def rows_of(rows: Rows, variant: str) -> Rows:
    """The rows of one variant, by seed."""
    return sorted((row for row in rows if row["variant"] == variant), key=lambda row: int(row["seed"]))


def plot_figures(study: Study, rows: Rows, path: Path, description: str = "") -> None:
    """Draw the final figures, a panel for each: a dot for each seed, a bar for the mean.

    Args:
        study: names the variants, and the figures that are shown.
        rows: of the study.
        path: an SVG file.
        description: kept in the file's metadata.
    """
    names, variants = shown_figures(study, rows), [v for v in study.variants if rows_of(rows, v)]
    figure, axes = _panels(len(names), 0.32 * len(variants) + 0.9, sharey=True)
    for axis, name in zip(axes, names, strict=True):
        for place, variant in enumerate(variants):
            values = [row["figures"][name] for row in rows_of(rows, variant) if name in row["figures"]]
            if values:
                axis.plot(values, [place] * len(values), "o", color="#4477aa", alpha=0.6, markersize=5)
                axis.plot([statistics.fmean(values)] * 2, [place - 0.3, place + 0.3], color="#cc3311", linewidth=2)
        axis.set_xlabel(name)
        axis.grid(axis="x", color="#dddddd")
    axes[0].set_yticks(range(len(variants)), variants)
    axes[0].invert_yaxis()
    save_svg(figure, study.title, path, description)


Courses = dict[str, dict[str, list[Any]]]  # by figure and variant: for each seed its points (x, y)


def plot_curves(study: Study, rows: Rows, path: Path, description: str = "") -> None:
    """Draw the figures of the training log that the study keeps, over thousands of pictures."""
    curves: Courses = {
        name: {v: [row["curves"][name] for row in rows_of(rows, v) if row["curves"].get(name)] for v in study.variants}
        for name in study.curves
    }
    _plot_lines(study, curves, "kimg", path, description)


def plot_courses(
    study: Study, rows: Rows, path: Path, over: str = "cpu_time", every: bool = False, description: str = ""
) -> None:
    """Draw the figures measured during runs.

    Args:
        study: names the variants, and the figures that are shown.
        rows: of the study.
        path: an SVG file.
        over: ``cpu_time`` (minutes) or ``pictures`` (thousands).
        every: draw all figures, and not only those that the study shows.
        description: kept in the file's metadata.
    """
    along = course_names(rows)
    names = along if every else [name for name in shown_figures(study, rows) if name in along]
    key, unit, label = {"cpu_time": ("cpu_seconds", 60, "CPU minutes"), "pictures": ("nimg", 1000, "kimg")}[over]
    _plot_lines(study, _courses(study, rows, names, key, unit), label, path, description)


def course_names(rows: Rows) -> list[str]:
    """Names of the figures measured during runs, in the order of the rows; no errors, no figures of the data alone."""
    along = [name for name in figure_names(rows) if any(name in row["course"][-1] for row in rows)]
    return [name for name in along if not name.partition("/")[0].endswith(UNPLOTTED)]


def _courses(study: Study, rows: Rows, names: list[str], key: str, unit: float) -> Courses:
    """Courses of the figures measured during runs; a variant that lacks a figure has none of it.

    Args:
        study: names the variants.
        rows: of the study.
        names: of the figures.
        key: what the figures are shown against, ``cpu_seconds`` or ``nimg``.
        unit: of it.
    """
    return {
        name: {
            v: [
                [(p[key] / unit, p[name]) for p in row["course"] if name in p]
                for row in rows_of(rows, v)
                if any(name in p for p in row["course"])
            ]
            for v in study.variants
        }
        for name in names
    }


def _plot_lines(study: Study, courses: Courses, label: str, path: Path, description: str) -> None:
    """A panel a figure: a thick line for the mean of a variant, and thin ones for its seeds if it has several."""
    import numpy as np

    figure, axes = _panels(len(courses), 2.9)
    styles = line_styles(list(study.variants))
    for axis, (name, variants) in zip(axes, courses.items(), strict=True):
        for variant, seeds in variants.items():
            for course in seeds if len(seeds) > 1 else ():
                axis.plot(*zip(*course, strict=True), **styles[variant], alpha=0.3, linewidth=0.8)
            if seeds and len({len(course) for course in seeds}) == 1:
                mean = np.asarray(seeds, dtype=float).mean(axis=0)
                axis.plot(mean[:, 0], mean[:, 1], **styles[variant], linewidth=2, label=variant)
        axis.set_xlabel(label)
        axis.set_title(name, fontsize=10)
        axis.grid(color="#dddddd")
    if len(styles) > len(_COLOURS):
        figure.legend(*axes[0].get_legend_handles_labels(), fontsize=8, loc="outside right upper")
    else:
        axes[0].legend(fontsize=8)
    save_svg(figure, study.title, path, description)


_COLOURS = ("#4477aa", "#cc3311", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#bbbbbb", "#000000")
_STYLES = ("-", "--", ":", "-.")


def line_styles(variants: list[str]) -> dict[str, dict[str, str]]:
    """A colour and a line style for each variant; no two of up to 32 are alike."""
    styles = [{"color": colour, "linestyle": style} for style in _STYLES for colour in _COLOURS]
    return {variant: styles[i % len(styles)] for i, variant in enumerate(variants)}


def _panels(count: int, height: float, sharey: bool = False) -> tuple[Any, list[Any]]:
    """A plot of so many panels, each so many inches high, four in a line at most: smaller ones cannot be read."""
    from progcycle.figures import new_figure

    columns = min(count, 4)
    lines = -(-count // columns)
    figure = new_figure(1.2 + 3.4 * columns, height * lines + 0.4)
    axes = list(figure.subplots(lines, columns, sharey=sharey, squeeze=False).flatten())
    for axis in axes[count:]:
        axis.set_axis_off()
    return figure, axes[:count]


def save_svg(figure: Any, title: str, path: Path, description: str = "") -> None:
    """Write a plot as SVG with text as text; the same plot is the same file.

    Args:
        figure: a matplotlib figure.
        title: above it.
        path: an SVG file.
        description: kept in the file's metadata.
    """
    from progcycle.figures import matplotlib

    figure.suptitle(title, fontsize=11)
    text = StringIO()
    fonts = ["DejaVu Sans", "Verdana", "Arial"]  # every text names them all
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "progcycle", "font.sans-serif": fonts}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Description": description or None})
    # Matplotlib writes coordinates with six decimals. One is fine enough.
    places = r'(?<= d=")[^"]*|(?<= [xy]=")[^"]*'
    rounded = re.sub(places, lambda place: re.sub(r"\d+\.\d+", _tenth, place[0]), text.getvalue())
    with atomic_file(path) as temporary:
        temporary.write_text(rounded, encoding="utf-8")


def _tenth(number: "re.Match[str]") -> str:
    return f"{float(number[0]):.1f}".removesuffix(".0")
