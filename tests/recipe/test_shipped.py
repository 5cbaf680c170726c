"""Recipes found by name: a file wins, a name works from anywhere and in ``extends``, a slip gets the nearest name."""

from pathlib import Path

import pytest

from progcycle.recipe import (
    RecipeError,
    find_pictures_path,
    find_recipe,
    load_recipe,
    load_study,
    shipped_recipes,
    shipped_studies,
)

FOLDER = Path(__file__).parents[2] / "recipes"
OWN = "task: pggan\nresolution: 32\nseed: 7\ndata: {path: pictures}\n"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_name_is_found_from_any_folder() -> None:
    assert load_recipe("cyclegan_emoji") == load_recipe(FOLDER / "cyclegan_emoji.yaml")
    assert load_recipe("cyclegan_emoji.yaml", ["seed=3"]).seed == 3
    assert set(shipped_recipes()) == {path.stem for path in FOLDER.glob("*.yaml")}
    study, runs = load_study(Path("averaging"))
    assert set(shipped_studies()) >= {"averaging"}
    assert len(runs) == len(study.variants) * len(study.seeds)


def test_a_file_wins_over_a_name(tmp_path: Path) -> None:
    for file in ("pggan_emoji", "pggan_emoji.yaml"):
        (tmp_path / file).write_text(OWN)
        assert load_recipe(file).seed == 7
        assert find_recipe(file) == Path(file)
    (tmp_path / "cyclegan_emoji").mkdir()
    assert find_recipe("cyclegan_emoji") == FOLDER / "cyclegan_emoji.yaml", "a folder is no recipe"


def test_a_path_is_never_taken_for_a_name() -> None:
    with pytest.raises(RecipeError, match=r"There is no recipe recipes/pggan_emoji\.yaml"):
        load_recipe("recipes/pggan_emoji.yaml")


def test_extends_takes_a_name_too_and_a_file_beside_it_first(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    mine = tmp_path / "sub" / "mine.yaml"
    mine.write_text("extends: pggan_emoji\nseed: 5\n")
    expected = load_recipe("pggan_emoji", ["seed=5"])
    assert load_recipe(mine) == expected
    mine.write_text("extends: pggan_emoji.yaml\nseed: 5\n")
    assert load_recipe(mine) == expected
    (tmp_path / "pggan_emoji.yaml").write_text(OWN)  # in the current folder, and not next to the file that names it
    assert load_recipe(mine) == expected
    (tmp_path / "sub" / "pggan_emoji.yaml").write_text(OWN)
    assert load_recipe(mine).network != expected.network


@pytest.mark.parametrize(
    ("wrong", "near"),
    [
        ("cyclegan_openmojis", "cyclegan_openmoji"),
        ("recipes/pggan_emojy.yaml", "pggan_emoji"),
        ("averagin", "averaging"),
    ],
)
def test_a_slip_gets_the_nearest_name(wrong: str, near: str) -> None:
    with pytest.raises(RecipeError, match=rf"names that progcycle recipes lists; did you mean {near}\?$"):
        load_recipe(wrong)


def test_the_name_of_a_study_is_not_that_of_a_recipe_and_a_folder_is_neither(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"averaging is a bundled study, not a recipe; progcycle study averaging runs"
    ):
        load_recipe("averaging")
    with pytest.raises(RecipeError, match=r"is a folder; give the path of a YAML file"):
        load_recipe(tmp_path)


def test_a_study_that_is_missing_gets_the_nearest_name_of_a_study() -> None:
    with pytest.raises(RecipeError, match=r"There is no study averagin; .*; did you mean averaging\?$"):
        load_study(Path("averagin"))
    first = min(path.stem for path in (FOLDER / "studies").glob("*.yaml"))
    with pytest.raises(RecipeError, match=rf"There is no study zzz; .*, such as {first}\.$"):
        load_study(Path("zzz"))


def test_what_is_like_no_name_gets_the_list_alone() -> None:
    with pytest.raises(RecipeError, match=r"There is no recipe zzz; .* progcycle recipes lists\.$"):
        load_recipe("zzz")


def test_bundled_pictures_are_found_from_any_folder(tmp_path: Path) -> None:
    demo = FOLDER.parent / "datasets" / "demo"
    for path in ("datasets/demo", "./datasets//demo/", "x/../datasets/demo"):
        assert find_pictures_path(path) == demo
    assert find_pictures_path(Path("datasets/demo/testA")) == demo / "testA"
    for other in ("datasets/demos", "datasets/openmoji", "demo", "datasets/demo/../mine", "datasets"):
        assert find_pictures_path(other) == (tmp_path / other).resolve()
    absolute = tmp_path / "datasets" / "demo" / "testA"
    assert find_pictures_path(absolute) == absolute, "an absolute path means that place"
    (tmp_path / "datasets" / "demo").mkdir(parents=True)
    assert find_pictures_path("datasets/demo/testA") == absolute, "a folder of one's own goes first"
