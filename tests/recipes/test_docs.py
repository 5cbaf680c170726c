"""What the documentation writes as recipes is valid, and its tables say what the recipes hold."""

import fnmatch
import re
from pathlib import Path

import pytest
import yaml
from PIL import Image

from progcycle.recipe import PgganRecipe, load_recipe, merge, validate
from progcycle.schedule import GrowthSchedule

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "pggan.md").read_text(encoding="utf-8")
INDEX = (ROOT / "recipes" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(.*?)```", DOCS, re.DOTALL)
PAGES = sorted(
    page
    for place in (".", "docs", "docs/studies", "recipes", "datasets", "datasets/*", "examples/*")
    for page in ROOT.glob(f"{place}/*.md")
)
MINIMAL = {"task": "pggan", "resolution": 128, "data": {"path": "pictures"}}


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_are_parts_of_recipes(block: str) -> None:
    validate(merge(MINIMAL, yaml.safe_load(block)))


def test_there_are_examples() -> None:
    assert len(BLOCKS) > 12


def test_the_plan_of_the_readme_is_that_of_its_recipe() -> None:
    """``make figures`` draws it; the picture holds the table that it shows."""
    (recipe,) = re.findall(r"progcycle[. ]plan (recipes/\w+\.yaml) --out", (ROOT / "README.md").read_text("utf-8"))
    with Image.open(ROOT / "docs" / "images" / "plan.png") as image:
        assert image.info["Description"] == GrowthSchedule.of(load_recipe(ROOT / recipe)).table()


def test_every_recipe_is_in_the_index() -> None:
    named = re.findall(r"`(\w[\w*]*)\.yaml`", INDEX)
    named += ["pggan_celebahq_4gpus", "pggan_celebahq_8gpus", "table1_[bcdefg]"]
    recipes = [path.stem for path in (ROOT / "recipes").glob("*.yaml")]
    assert recipes
    assert not [stem for stem in recipes if not any(fnmatch.fnmatch(stem, name) for name in named)]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_anchors_are_those_of_github() -> None:
    found = anchors("# FID, KID and IS: `all`\n\n## stats.jsonl\n```\n# a comment\n```\n")
    assert found == {"fid-kid-and-is-all", "statsjsonl"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text("utf-8")):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{link}: there is no such file"
        assert not anchor or anchor in anchors(target.read_text("utf-8")), f"{link}: there is no such heading"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: page.name)
def test_files_that_pages_name_are_there(page: Path) -> None:
    """With a folder they are looked up as written; the tables of CONTRIBUTING.md name files of two packages alone.

    Of a walk through the files of something new ("which files, in order") some are yet to be written, in folders that
    are there.
    """
    for section in re.split(r"^(?=## )", page.read_text("utf-8"), flags=re.MULTILINE):
        new = "which files, in order" in section.partition("\n")[0]
        for name in re.findall(r"`((?:[\w.]+/)+\w+\.(?:py|yaml))`", section):
            wanted = Path(name).parent if new else Path(name)
            assert any((place / wanted).exists() for place in (ROOT, ROOT / "progcycle", page.parent)), name
    if page.name == "CONTRIBUTING.md":
        listed = re.findall(r"^\| ((?:`\w+\.py`(?:, )?)+) \|", page.read_text("utf-8"), re.MULTILINE)
        names = [name for cell in listed for name in re.findall(r"`(\w+\.py)`", cell)]
        assert len(names) > 30
        places = [ROOT / "progcycle" / room for room in ("", "engine", "runtime")]
        assert [name for name in names if not any((place / name).exists() for place in places)] == []


def rows() -> list[list[str]]:
    lines = re.findall(r"^\| `(table1_\w+)` \|(.+)\|$", DOCS, re.MULTILINE)
    return [[name, *(cell.strip(" *") for cell in cells.split("|"))] for name, cells in lines]


def test_the_table_has_all_lines() -> None:
    assert len(rows()) == 9


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_the_table_says_what_the_recipes_hold(row: list[str]) -> None:
    recipe = load_recipe(ROOT / "recipes" / f"{row[0]}.yaml")
    assert isinstance(recipe, PgganRecipe)
    _, _, grows, batch, n_critic, rate, beta2, drift, latent, tanh, norms, varied, equalized = row
    assert {"yes": 4, "no": 128}[grows] == recipe.schedule.start_resolution
    assert int(batch) == recipe.schedule.batch_size["default"]
    assert int(n_critic) == recipe.objective.n_critic
    adam = recipe.optimizer.discriminator
    assert (float(rate), float(beta2), float(drift)) == (adam.lr, adam.betas[1], recipe.objective.drift)
    network = recipe.network
    assert (int(latent), {"yes": True, "no": False}[tanh]) == (network.generator.latent_size, network.generator.tanh)
    generator, _, discriminator = norms.replace("*", "").partition(" / ")
    assert (generator, discriminator or generator) == (
        network.generator.normalization,
        network.discriminator.normalization,
    )
    assert varied.startswith("stddev") == bool(network.discriminator.minibatch_stddev.group)
    assert (varied == "discrimination") == (network.discriminator.minibatch_discrimination is not None)
    assert {"yes": True, "no": False}[equalized] == network.generator.equalized
