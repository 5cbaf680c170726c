"""Draw the figures of the studies that the documents show, and fill in their tables, from the published rows.

``make docs`` calls this. A study without published rows has no figure yet.

python docs/study_figures.py
python docs/study_figures.py --out FOLDER
"""

import argparse
import hashlib
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from progcycle.figures import new_figure
from progcycle.recipe import Study, load_study
from progcycle.studies.report import (
    Rows,
    plot_courses,
    plot_curves,
    plot_figures,
    rivals_table,
    rows_of,
    save_svg,
    table,
)

DOCS = Path(__file__).resolve().parent
STUDIES = DOCS.parent / "recipes" / "studies"
DIRECTIONS = {"ab": "A to B", "ba": "B to A"}
NAMES = {"kid": "KID", "l1": "L1", "ssim": "SSIM"}
RED, BLUE, GREEN = "#cc3311", "#4477aa", "#228833"
# What the figures call the variants of the studies, and how they draw them: colour, line style.
CLASSIC = {"classic": ("published CycleGAN", RED, "-")}
SMALL = CLASSIC | {"default": ("growing (default)", BLUE, "-"), "no_growth": ("no growth", GREEN, "-")}
LARGE = CLASSIC | {
    "default": ("no growth (default)", GREEN, "-"),
    "weak_cycle": ("no growth, weak cycle", GREEN, "--"),
    "weak_from_16_px": ("growing from 16 px, weak cycle", BLUE, "--"),
}
MORE = LARGE | {
    "weak_short_early_stages": ("growing, short early stages, weak cycle", BLUE, ":"),
    "weak_long_early_stages": ("growing, long early stages, weak cycle", BLUE, "-."),
}


def rows_and_references(name: str) -> tuple[Study, Rows, dict[str, dict[str, float]]]:
    """A study, its published rows, and the figures of doing nothing and of matching colours; none for PG-GANs."""
    folder = DOCS / "studies" / name
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    path = folder / "references.json"
    references = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return load_study(STUDIES / f"{name}.yaml")[0], rows, references


def fingerprint(names: tuple[str, ...]) -> str:
    """Of all that was measured in studies; a figure holds that of the rows that it was drawn from."""
    measured = []
    for name in names:
        _, rows, references = rows_and_references(name)
        keys = ("variant", "seed", "figures", "curves", "course", "cpu_seconds")
        measured.append([name, [{key: row.get(key) for key in keys} for row in rows], references])
    return hashlib.sha256(json.dumps(measured, sort_keys=True).encode()).hexdigest()


def title_of(figure: str) -> str:
    """``KID, A to B`` of ``kid/ab``."""
    kind, _, direction = figure.partition("/")
    return f"{NAMES[kind]}, {DIRECTIONS[direction]}"


def draw_ends(names: tuple[str, ...], path: Path, description: str) -> None:
    """Where training ends: a line of panels for each study, a dot for each seed, a bar for the mean."""
    shown = ("kid/ab", "kid/ba", "l1/ab", "l1/ba")
    titles = ("OpenMoji, 32 px, 20 min", "emoji, 32 px, 20 min", "OpenMoji, 64 px, 60 min")
    looks = (SMALL, SMALL, MORE)
    figure = new_figure(14, 6.8)
    lines = figure.subplots(3, 4, sharey="row", gridspec_kw={"height_ratios": [len(look) + 1 for look in looks]})
    for axes, name, title, look in zip(lines, names, titles, looks, strict=True):
        _, rows, references = rows_and_references(name)
        for axis, key in zip(axes, shown, strict=True):
            for place, (variant, (_, colour, _)) in enumerate(look.items()):
                values = [row["figures"][key] for row in rows_of(rows, variant)]
                axis.plot(values, [place] * len(values), "o", color=colour, alpha=0.6, markersize=5)
                mean = sum(values) / len(values)
                axis.plot([mean] * 2, [place - 0.3, place + 0.3], color=colour, linewidth=2)
                axis.annotate(f"{mean:.3f}", (mean, place - 0.3), (4, -4), textcoords="offset points", fontsize=8)
            axis.axvline(references["do nothing"][key], color="#888888", linestyle=":", linewidth=1)
            low, high = axis.get_xlim()
            axis.set_xlim(
                min(0, low) if key.startswith("kid") else low, high + 0.2 * (high - low)
            )  # room for the numbers
            axis.grid(axis="x", color="#eeeeee")
            axis.set_title(title_of(key), fontsize=10)
        axes[0].set_yticks(range(len(look)), [label for label, _, _ in look.values()])
        axes[0].set_ylim(len(look) - 0.5, -0.5)
        axes[0].set_ylabel(title, fontsize=9)
    figure.align_ylabels(lines[:, 0])
    save_svg(figure, "At the end: lower is better; the dotted line is doing nothing", path, description)


def draw_courses(names: tuple[str, ...], path: Path, description: str) -> None:
    """KID over CPU minutes: a column for each study, a line for each direction."""
    titles = ("OpenMoji, 32 px", "OpenMoji, 32 px, three times as long", "emoji, 32 px", "OpenMoji, 64 px")
    figure = new_figure(14, 6)
    axes = figure.subplots(2, 4)
    for column, (name, title) in enumerate(zip(names, titles, strict=True)):
        _, rows, references = rows_and_references(name)
        looks = LARGE if name == names[-1] else SMALL
        for axis, (direction, words) in zip(axes[:, column], DIRECTIONS.items(), strict=True):
            key = f"kid/{direction}"
            axis.axhline(references["do nothing"][key], color="#888888", linestyle=":", linewidth=1)
            for variant, (label, colour, style) in looks.items():
                for row in rows_of(rows, variant):
                    points = [(point["cpu_seconds"] / 60, point[key]) for point in row["course"]]
                    shown = label if row["seed"] == 0 else None
                    axis.plot(*zip(*points, strict=True), color=colour, linestyle=style, linewidth=1.2, label=shown)
            axis.set_title(f"{title}: {words}", fontsize=9)
            axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
            axis.grid(color="#eeeeee")
            axis.set_xlabel("CPU minutes", fontsize=8)
        axes[1, column].legend(fontsize=7)
        axes[0, column].set_ylabel("KID" if column == 0 else "")
    axes[1, 0].set_ylabel("KID")
    save_svg(figure, "KID while training, a line for each seed; the dotted line is doing nothing", path, description)


def draw_options(names: tuple[str, ...], path: Path, description: str) -> None:
    """One option at a time, in the order of KID in A to B; the line is the recipe that the option was switched in."""
    _, rows, _ = rows_and_references(names[0])
    rows = sorted(rows, key=lambda row: row["figures"]["kid/ab"])
    base = next(row for row in rows if row["variant"] == "weak_cycle")
    shown = ("kid/ab", "kid/ba", "l1/ab", "ssim/ab")
    figure = new_figure(14, 5.6)
    axes = figure.subplots(1, 4, sharey=True)
    for axis, key in zip(axes, shown, strict=True):
        axis.axvline(base["figures"][key], color=RED, linewidth=1)
        for place, row in enumerate(rows):
            axis.plot(row["figures"][key], place, "o", color=RED if row is base else BLUE, markersize=5)
        axis.set_title(f"{title_of(key)} ({'higher' if key.startswith('ssim') else 'lower'} is better)", fontsize=10)
        axis.grid(color="#eeeeee")
    axes[0].set_yticks(range(len(rows)), [row["variant"] for row in rows])
    axes[0].invert_yaxis()
    title = "One option at a time, OpenMoji at 32 px, one seed; another seed moves KID in A to B by 0.01 to 0.02"
    save_svg(figure, title, path, description)


def draw_report(plot: Callable[..., None], names: tuple[str, ...], path: Path, description: str) -> None:
    """A plot as ``progcycle study`` writes it."""
    study, rows, _ = rows_and_references(names[0])
    plot(study, rows, path, description=description)


SMALL_STUDIES = ("growth_2_openmoji", "growth_1_emoji", "growth_3_openmoji_64")
COURSES = ("growth_2_openmoji", "growth_5_long_openmoji", "growth_1_emoji", "growth_3_openmoji_64")
Draw = Callable[[tuple[str, ...], Path, str], None]


def is_published(name: str) -> bool:
    """Whether the rows of a study are in ``docs/studies``."""
    return (DOCS / "studies" / name / "rows.jsonl").exists()


# By file name: what draws a figure, and the studies whose rows it shows, of all that have rows.
FIGURES: dict[str, tuple[Draw, tuple[str, ...]]] = {
    "growth_ends.svg": (draw_ends, SMALL_STUDIES),
    "growth_courses.svg": (draw_courses, COURSES),
    "growth_options.svg": (draw_options, ("growth_6_ablations",)),
    **{f"{name}.svg": (partial(draw_report, plot_courses), (name,)) for name in (*COURSES, "growth_4_long_emoji")},
    "averaging.svg": (partial(draw_report, plot_figures), ("averaging",)),
    "lsgan_noise.svg": (partial(draw_report, plot_figures), ("lsgan_noise",)),
    "lsgan_noise_curves.svg": (partial(draw_report, plot_curves), ("lsgan_noise",)),
    "autoencoder.svg": (partial(draw_report, plot_courses), ("autoencoder",)),
    "began.svg": (partial(draw_report, plot_figures), ("began",)),
    "began_curves.svg": (partial(draw_report, plot_curves), ("began",)),
    "began_gamma.svg": (partial(draw_report, plot_figures), ("began_gamma",)),
    "projected.svg": (partial(draw_report, plot_figures), ("projected",)),
    "systems.svg": (partial(draw_report, plot_figures), ("systems",)),
    "systems_digits.svg": (partial(draw_report, plot_figures), ("systems_digits",)),
    "translators_openmoji.svg": (partial(draw_report, plot_courses), ("translators_openmoji",)),
    "translators_kai.svg": (partial(draw_report, plot_courses), ("translators_kai",)),
    "growth_7_kai_128.svg": (partial(draw_report, plot_courses), ("growth_7_kai_128",)),
}
FIGURES = {name: (draw, names) for name, (draw, names) in FIGURES.items() if all(map(is_published, names))}
# Places in pages that are filled from the rows of a study: between this line and the next empty comment.
PLACE = re.compile(r"(<!-- study (\w+): make docs fills this -->\n).*?(<!-- -->)", re.DOTALL)


def filled(page: str) -> str:
    """The text of a page, with the figures and the table of each study that has a place in it.

    Args:
        page: its text; places of studies without published rows stay as they are.
    """
    return PLACE.sub(lambda place: place[1] + shown(place[2]) + place[3] if is_published(place[2]) else place[0], page)


def shown(name: str) -> str:
    """The figures of a study, the sheet of its pictures if there is one, and its table, as Markdown."""
    study, rows, references = rows_and_references(name)
    pictures = [f"{name}.svg", *([f"{name}.png"] if (DOCS / "images" / f"{name}.png").exists() else [])]
    images = "\n".join(f"![{study.title}](images/{file})" for file in pictures)
    return f"\n{images}\n\n{table(study, rows, references)}{rivals_table(study, rows)}\n"


def drawn_from(path: Path) -> str | None:
    """The fingerprint that a figure holds."""
    found = re.search(r"<dc:description>(\w+)</dc:description>", path.read_text(encoding="utf-8"))
    return found and found[1]


def main(argv: list[str] | None = None) -> None:
    """Draw every figure, and fill in the pages."""
    parser = argparse.ArgumentParser(description="Draw the figures of the studies that the documents show.")
    parser.add_argument("--out", type=Path, default=DOCS / "images", help="default: docs/images")
    out: Path = parser.parse_args(argv).out
    out.mkdir(parents=True, exist_ok=True)
    for name, (draw, studies) in FIGURES.items():
        draw(studies, out / name, fingerprint(studies))
        print(f"wrote {out / name}")
    for page in DOCS.glob("*.md"):
        text = page.read_text(encoding="utf-8")
        if (new := filled(text)) != text:
            page.write_text(new, encoding="utf-8")
            print(f"wrote {page}")


if __name__ == "__main__":
    main()
