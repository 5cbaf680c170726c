"""What the documents show of the studies is what the published rows say."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image
from scripts import load_script

from progcycle.recipe import load_study
from progcycle.studies.report import rivals_table, table
from progcycle.studies.runner import as_run, digest, read_plans

ROOT = Path(__file__).parents[2]
STUDIES = ROOT / "docs" / "studies"
IMAGES = ROOT / "docs" / "images"
PUBLISHED = sorted(path.parent.name for path in STUDIES.glob("*/rows.jsonl"))
PAGES = [page for place in ("*.md", "docs/**/*.md", "recipes/*.md", "datasets/**/*.md") for page in ROOT.glob(place)]

study_figures = load_script("docs/study_figures.py")


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


def test_the_pages_are_filled_from_the_published_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    places = {name for page in PAGES for _, name, _ in study_figures.PLACE.findall(page.read_text("utf-8"))}
    assert {"systems", "systems_digits", "autoencoder"} <= places
    for page in PAGES:
        text = page.read_text("utf-8")
        assert study_figures.filled(text) == text, f"{page} does not show the rows; run make docs"
    page = "before\n<!-- study {}: make docs fills this -->\nNot run yet.\n<!-- -->\nafter\n"
    found = study_figures.filled(page.format("averaging"))
    assert "Not run yet." not in found
    assert "](images/averaging.svg)" in found
    assert (STUDIES / "averaging" / "table.md").read_text("utf-8") in found
    assert study_figures.filled(found) == found
    assert study_figures.filled(page.format("nowhere")) == page.format("nowhere")


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


def test_digests_are_renewed_only_where_the_runs_are_the_same() -> None:
    module = load_script("docs/renew_digests.py")
    rows = [{"variant": "a", "seed": 0, "digest": "old", "figures": {}}]
    before = {"a, 0": {"digest": "old", "networks": "n", "rest": {"seed": 0}}}
    now = {"a, 0": {"digest": "new", "networks": "n", "rest": {"seed": 0}}}
    assert module.renewed(rows, before, now) == [{**rows[0], "digest": "new"}]
    for key in ("networks", "rest"):
        with pytest.raises(SystemExit, match="not the same"):
            module.renewed(rows, before, {"a, 0": {**now["a, 0"], key: "other"}})
    with pytest.raises(SystemExit, match="another recipe"):
        module.renewed([{**rows[0], "digest": "x"}], before, now)
    with pytest.raises(SystemExit, match="no such run"):
        module.renewed([{**rows[0], "seed": 1}], before, now)


def test_the_digests_of_the_rows_are_those_of_their_recipes() -> None:
    for name in PUBLISHED:
        study, recipes = load_study(ROOT / "recipes" / "studies" / f"{name}.yaml")
        recipes = as_run(study, recipes, read_plans(STUDIES / name / "plans.json"))
        for line in (STUDIES / name / "rows.jsonl").read_text("utf-8").splitlines():
            row = json.loads(line)
            assert row["digest"] == digest(study, recipes[row["variant"], row["seed"]]), f"{name}: {row['variant']}"


class Flat:
    """Stands for a translator: grey, as light as its seed says; 9 where it is given none."""

    def __init__(self, latents: int) -> None:
        self.latents = latents
        self.seen: list[tuple[int, int | None]] = []

    def latent_size(self, direction: str) -> int:
        return self.latents if direction == "ab" else 0

    def translate(self, picture: Image.Image, direction: str, *, seed: int | None) -> Image.Image:
        self.seen.append((picture.convert("L").tobytes()[0], seed))
        return Image.new("RGB", picture.size, (9 if seed is None else seed,) * 3)


def test_the_sheet_shows_the_same_random_pictures_to_both_translators(tmp_path: Path) -> None:
    module = load_script("docs/side_by_side.py")
    for i in range(50):
        Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / f"{i:02d}.png")
    plain, many = Flat(0), Flat(8)
    drawn = module.draw({"published": plain, "progcycle": many}, tmp_path, "ab")
    assert [picture for picture, _ in plain.seen] == [picture for picture, _ in many.seen]
    shown = [picture for picture, _ in plain.seen]
    assert len(set(shown)) == 36
    assert shown != sorted(shown), "not the first by name"
    assert [seed for _, seed in many.seen] == list(range(36)), "no two from the same latents"
    assert {seed for _, seed in plain.seen} == {None}
    colours = {colour for _, colour in drawn.getcolors(1 << 16)}
    assert {(i, i, i) for i in shown} | {(9, 9, 9)} | {(i, i, i) for i in range(36)} <= colours
    module.draw({"progcycle": many}, tmp_path, "ba")
    assert many.seen[-1][1] is None, "latents in one direction alone"


def test_two_runs_of_ours_have_their_own_names_on_the_sheet() -> None:
    module = load_script("docs/side_by_side.py")
    assert module.names_of(["classic-1", "latents-0"]) == ["published", "progcycle"]
    assert module.names_of(["no_growth-0", "size-0"]) == ["no_growth-0", "size-0"]
    assert module.names_of(["classic-0", "classic-1"]) == ["classic-0", "classic-1"]
