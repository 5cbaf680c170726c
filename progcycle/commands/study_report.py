"""The table and the plots of a study, from its rows alone."""

import statistics
from pathlib import Path
from typing import Any

from progcycle.files import atomic_file
from progcycle.recipe import Study

Rows = list[dict[str, Any]]


def write_report(study: Study, rows: Rows, out: Path) -> list[Path]:
    """Write ``table.md``, ``figures.png`` and, if the study keeps curves, ``curves.png``.

    Returns:
        The files written.
    """
    files = [out / "table.md", out / "figures.png"]
    with atomic_file(files[0]) as path:
        path.write_text(table(study, rows), encoding="utf-8")
    _plot_figures(study, rows, files[1])
    if study.curves:
        files.append(out / "curves.png")
        _plot_curves(study, rows, files[2])
    return files


def table(study: Study, rows: Rows) -> str:
    """Mean and standard deviation over the seeds of every variant, as Markdown; what has not run is named."""
    names = figure_names(rows)
    lines = [
        f"| variant | seeds | {' | '.join(names)} | CPU s a run |",
        "|---" * (len(names) + 3) + "|",
    ]
    for variant in study.variants:
        mine = rows_of(rows, variant)
        if mine:
            cells = [mean_sd([row["figures"][name] for row in mine if name in row["figures"]]) for name in names]
            cost = mean_sd([row["cpu_seconds"] for row in mine if not row["resumed"]])
            lines.append(f"| {variant} | {len(mine)} | {' | '.join(cells)} | {cost} |")
    done = {(row["variant"], row["seed"]) for row in rows}
    absent = [f"{v} with seed {s}" for v in study.variants for s in study.seeds if (v, s) not in done]
    total = sum(row["cpu_seconds"] for row in rows) / 60
    lines += ["", f"{len(rows)} runs, {total:.0f} core-minutes of training in all; mean ± standard deviation."]
    lines += [f"Not run: {', '.join(absent)}."] if absent else []
    return "\n".join(lines) + "\n"


def mean_sd(values: list[float]) -> str:
    """``mean ± sd`` (of the sample), or the value alone."""
    if not values:
        return "-"
    mean = statistics.fmean(values)
    digits = 0 if abs(mean) >= 100 else 1 if abs(mean) >= 10 else 3
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"


def figure_names(rows: Rows) -> list[str]:
    """Names of all figures, in the order in which rows bring them."""
    return list(dict.fromkeys(name for row in rows for name in row["figures"]))


def rows_of(rows: Rows, variant: str) -> Rows:
    """The rows of one variant, by seed."""
    return sorted((row for row in rows if row["variant"] == variant), key=lambda row: int(row["seed"]))


def _plot_figures(study: Study, rows: Rows, path: Path) -> None:
    """A panel a figure: a dot for each seed, a bar for the mean."""
    names, variants = figure_names(rows), [v for v in study.variants if rows_of(rows, v)]
    figure = _figure(len(names), 0.32 * len(variants) + 1.3)
    axes = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
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
    _save(figure, study.title, path)


def _plot_curves(study: Study, rows: Rows, path: Path) -> None:
    """A panel a curve: a thin line for each seed, a thick one for the mean of a variant."""
    import numpy as np

    figure = _figure(len(study.curves), 3.2)
    axes = figure.subplots(1, len(study.curves), squeeze=False)[0]
    colours = dict(zip(study.variants, _COLOURS * len(study.variants), strict=False))
    for axis, name in zip(axes, study.curves, strict=True):
        for variant in study.variants:
            courses = [row["curves"][name] for row in rows_of(rows, variant) if row["curves"].get(name)]
            for course in courses:
                axis.plot(*zip(*course, strict=True), color=colours[variant], alpha=0.25, linewidth=0.8)
            if courses and len({len(course) for course in courses}) == 1:
                mean = np.asarray(courses, dtype=float).mean(axis=0)
                axis.plot(mean[:, 0], mean[:, 1], color=colours[variant], linewidth=2, label=variant)
        axis.set_xlabel("kimg")
        axis.set_title(name, fontsize=10)
        axis.grid(color="#dddddd")
    axes[0].legend(fontsize=8)
    _save(figure, study.title, path)


_COLOURS = ("#4477aa", "#cc3311", "#228833", "#aa3377", "#ccbb44", "#66ccee", "#bbbbbb", "#000000")


def _figure(panels: int, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(1.2 + 3.4 * panels, height), layout="constrained")


def _save(figure: Any, title: str, path: Path) -> None:
    figure.suptitle(title, fontsize=11)
    with atomic_file(path) as temporary:
        figure.savefig(temporary, dpi=110)
