"""``progcycle recipes``: a row for every recipe within 100 columns, and a recipe as it is written."""

import json
import shutil
from pathlib import Path

import pytest

from progcycle.commands.cli import main
from progcycle.commands.recipes import about
from progcycle.recipe import json_schema, load_recipe

FOLDER = Path(__file__).parents[2] / "recipes"


def test_the_list_has_a_row_for_every_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 100, "but for the path of a folder"
    ends = {line.index(f" {line.split()[2]} ") + len(line.split()[2]) for line in lines[1:-3] if line[0] != " "}
    assert len(ends) == 1, "the pixels stand in one column"
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:-3] if not line.startswith(" ")}
    assert list(rows) == sorted(path.stem for path in FOLDER.glob("*.yaml"))
    assert rows["pggan_celebahq"][:2] == ["pggan", "1024"]
    assert rows["cyclegan_openmoji"][:4] == ["cyclegan", "32", "OpenMoji", "line"]


def test_a_recipe_is_printed_as_it_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "cyclegan_openmoji"]) == 0
    assert capsys.readouterr().out == (FOLDER / "cyclegan_openmoji.yaml").read_text(encoding="utf-8")


def test_a_copy_works_wherever_it_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "cyclegan_openmoji_64"]) == 0
    Path("mine.yaml").write_text(capsys.readouterr().out)
    assert main(["plan", "mine.yaml"]) == 0
    copied = capsys.readouterr().out
    assert main(["plan", "cyclegan_openmoji_64"]) == 0
    assert capsys.readouterr().out == copied


def test_a_copy_is_the_recipe_even_beside_files_of_bundled_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It extends a bundled recipe, and is called as that one."""
    monkeypatch.chdir(tmp_path)
    assert main(["recipes", "cyclegan_openmoji_64", "--copy", "my own/cyclegan_openmoji.yaml"]) == 0
    shown = capsys.readouterr().out
    assert shown.splitlines()[-1] == "  progcycle train 'my own/cyclegan_openmoji.yaml'"
    copy = Path("my own/cyclegan_openmoji.yaml")
    assert load_recipe(copy) == load_recipe("cyclegan_openmoji_64")
    schema = Path(copy.read_text().splitlines()[0].partition("$schema=")[2])
    assert json.loads(schema.read_text()) == json_schema()
    copy.write_text("precious")
    assert main(["recipes", "cyclegan_demo", "--copy", str(copy)]) == 2
    assert copy.read_text() == "precious"
    assert main(["recipes", "cyclegan_demo", "--copy", str(copy), "--force"]) == 0
    assert load_recipe(copy) == load_recipe("cyclegan_demo")
    assert main(["recipes", "cyclegan_demo", "--copy", "my own"]) == 0
    assert load_recipe("my own/cyclegan_demo.yaml") == load_recipe("cyclegan_demo")


def test_what_cannot_be_copied_gets_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("taken.yaml").mkdir()
    Path("taken.yaml/cyclegan_demo.yaml").mkdir()
    Path("file").touch()
    for words, sentence in (
        ("--copy mine.yaml", "--copy needs the NAME of a recipe"),
        ("cyclegan_demo --force", "--force is for --copy FILE"),
        ("cyclegan_demo --copy mine.txt", "mine.txt: give --copy a name that ends in .yaml, or a folder."),
        ("cyclegan_demo --copy taken.yaml", "taken.yaml/cyclegan_demo.yaml is a folder"),
        ("cyclegan_demo --copy file/mine.yaml", "file"),
    ):
        assert main(["recipes", *words.split()]) == 2
        error = capsys.readouterr().err
        assert sentence in error
        assert error.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "taken.yaml"]


def test_an_unknown_name_gets_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "cyclegan_openmogi"]) == 2
    assert capsys.readouterr().err.endswith("did you mean cyclegan_openmoji?\n")


@pytest.mark.parametrize(
    ("comment", "sentence"),
    [
        ("# One thing, 32 px. Another.\n", "One thing, 32 px"),
        ("# The method of Zhu et al. 2017 at\n# 32 px. More.\n", "The method of Zhu et al. 2017 at 32 px"),
        ("", ""),
    ],
)
def test_the_first_sentence_of_the_comment(tmp_path: Path, comment: str, sentence: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(f"# yaml-language-server: $schema=schema.json\n{comment}task: pggan\n")
    assert about(path) == sentence


def test_pictures_that_come_with_a_clone_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "cyclegan_openmoji", "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert f"There is no folder or zip file {tmp_path / 'datasets' / 'openmoji'}" in error
    assert "such as data.root=FOLDER" in error
    (tmp_path / "mine").mkdir()
    for name in ("A", "B"):
        shutil.copytree(FOLDER.parent / "datasets" / "openmoji" / f"test{name}", tmp_path / "mine" / f"train{name}")
    assert main(["train", "cyclegan_openmoji", "data.root=mine", "--dry-run"]) == 0
    assert "run folder runs/cyclegan_openmoji," in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()
