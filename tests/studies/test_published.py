"""What the documents show of the studies is what the published rows say."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from progcycle.recipe import load_study
from progcycle.studies.report import rivals_table, table

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "docs" / "studies"
IMAGES = ROOT / "docs" / "images"
PUBLISHED = sorted(path.parent.name for path in STUDIES.glob("*/rows.jsonl"))
PAGES = [page for place in ("*.md", "docs/**/*.md", "recipes/*.md", "datasets/**/*.md") for page in ROOT.glob(place)]

spec = importlib.util.spec_from_file_location("study_figures", ROOT / "docs" / "study_figures.py")
assert spec is not None
assert spec.loader is not None
study_figures = importlib.util.module_from_spec(spec)
spec.loader.exec_module(study_figures)


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_table_is_that_of_the_rows(name: str) -> None:
    study, _ = load_study(ROOT / "recipes" / "studies" / f"{name}.yaml")
    rows = [json.loads(line) for line in (STUDIES / name / "rows.jsonl").read_text("utf-8").splitlines()]
    references = STUDIES / name / "references.json"
    found = table(study, rows, json.loads(references.read_text("utf-8")) if references.exists() else None)
    assert (STUDIES / name / "table.md").read_text("utf-8") == found + rivals_table(study, rows)


def test_the_tables_of_the_pages_are_those_of_the_studies() -> None:
    published = [set((STUDIES / name / "table.md").read_text("utf-8").splitlines()) for name in PUBLISHED]
    shown = 0
    for page in PAGES:
        if page.name == "table.md":
            continue
        for lines in re.findall(r"^\| variant \| seeds \|.*\n(?:\|.*\n)+", page.read_text("utf-8"), re.MULTILINE):
            shown += 1
            assert any(set(lines.splitlines()) <= rows for rows in published), f"{page}: {lines}"
    assert shown >= 8


def test_the_figures_are_drawn_from_the_published_rows() -> None:
    assert {path.name for path in IMAGES.glob("*.svg")} == study_figures.FIGURES.keys()
    for name, (_, studies) in study_figures.FIGURES.items():
        stale = f"{name} does not show the rows; run make docs"
        assert study_figures.drawn_from(IMAGES / name) == study_figures.fingerprint(studies), stale


def test_a_figure_is_drawn_with_its_numbers(tmp_path: Path) -> None:
    draw, studies = study_figures.FIGURES["growth_ends.svg"]
    draw(studies, tmp_path / "ends.svg", study_figures.fingerprint(studies))
    written = (tmp_path / "ends.svg").read_text("utf-8")
    rows = (STUDIES / "growth_2_openmoji" / "table.md").read_text("utf-8")
    (default,) = re.findall(r"^\| default \| 3 \| (\S+) ± \S+ \| (\S+)", rows, re.MULTILINE)
    for number in default:
        assert f">{number}</text>" in written
    assert study_figures.drawn_from(tmp_path / "ends.svg") == study_figures.drawn_from(IMAGES / "growth_ends.svg")


def test_every_picture_of_the_documents_is_shown_by_one() -> None:
    """What no page shows has no place in a clone."""
    links = {
        (page.parent / link).resolve()
        for page in PAGES
        for link in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", page.read_text("utf-8"))
        if "://" not in link
    }
    pictures = {
        path.resolve()
        for path in [*(ROOT / "docs").rglob("*.*"), *(ROOT / "datasets").glob("*/preview.*")]
        if path.suffix in (".png", ".jpg", ".svg", ".webp") and path.parent.parent != STUDIES
    }
    assert pictures - links == set()
