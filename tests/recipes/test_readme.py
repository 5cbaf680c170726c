"""The figures of README and results are those of the run that ``make figures`` kept, and README is short."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
RECIPE = "cyclegan_openmoji_64_neighbours"  # of make demo
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8").partition(f"## `{RECIPE}`")[2]
DEMO = json.loads((ROOT / "docs" / "images" / "demo.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("direction", ["ab", "ba"])
@pytest.mark.parametrize(("words", "name"), [("translated", "translated"), ("doing nothing", "unchanged")])
def test_the_table_is_that_of_the_demo(direction: str, words: str, name: str) -> None:
    start, end = direction.upper()
    (row,) = re.findall(rf"^\| {start} to {end}, {words} \|(.+)\|$", RESULTS.partition("\n## ")[0], re.MULTILINE)
    found = DEMO["results"][direction][name]
    figures = [found[key] for key in ("kid_resnet", "two_sample_auc", "l1", "ssim")]
    assert [cell.strip(" *") for cell in row.split("|")] == [f"{figure:.3f}" for figure in figures]
    assert DEMO["resolution"] == 64
    assert DEMO["pictures"] == {"a": 200, "b": 200}


def test_the_readme_says_what_the_demo_gave() -> None:
    found = [DEMO["results"][way][name]["kid_resnet"] for way, name in (("ab", "unchanged"), ("ab", "translated"))]
    back = DEMO["results"]["ba"]["translated"]["kid_resnet"]
    words = "KID in unseen features falls from {:.3f} to {:.3f}, on the way back to {:.3f}"
    assert words.format(*found, back) in " ".join(README.split())


def test_every_file_that_it_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README)
    assert len(links) > 10
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_a_stranger_finishes_it() -> None:
    assert len(README.splitlines()) < 120
