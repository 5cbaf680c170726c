"""Studies: what is run, what is kept, and what the report makes of it."""

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from pairs import is_gone
from PIL import Image
from tiny_runs import tiny_content, write_domains

from progcycle.commands.study import main
from progcycle.errors import UserError
from progcycle.recipe import RecipeError, Study, dump, load_recipe, load_study, merge, validate
from progcycle.studies import runner
from progcycle.studies.budget import with_minimal_output
from progcycle.studies.pictures import Strip, write_pictures
from progcycle.studies.report import mean_sd, table
from progcycle.studies.runner import as_run, check_study, read_plans, read_rows

ROOT = Path(__file__).parents[2]
SHORT = {"stable_kimg": {4: 0.008, 8: 0.008, 16: 0.008}, "fade_kimg": 0, "decay_kimg": 0}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    content = tiny_content("pggan", write_domains(tmp_path / "data"), {"schedule": SHORT})
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(content))
    study = {
        "title": "Two groups",
        "recipe": "recipe.yaml",
        "seeds": [4, 9],
        "metrics": "ms-ssim",
        "count": 4,
        "curves": ["score/real"],
        "variants": {"two": {}, "off": {"network": {"discriminator": {"minibatch_stddev": 0}}}},
    }
    path = tmp_path / "groups.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False))
    return path


def change(file: Path, **values: Any) -> None:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **values}, sort_keys=False))


def options(file: Path) -> list[str]:
    return [str(file), "--out", str(file.parent / "out"), "--runs", str(file.parent / "runs")]


def test_every_variant_has_every_seed_the_first_seed_first(file: Path) -> None:
    _, recipes = load_study(file)
    assert list(recipes) == [("two", 4), ("off", 4), ("two", 9), ("off", 9)]
    assert [recipe.seed for recipe in recipes.values()] == [4, 4, 9, 9]
    assert [recipe.network.discriminator.minibatch_stddev.group for recipe in recipes.values()] == [2, 0, 2, 0]


@pytest.mark.usefixtures("in_this_process")
def test_a_study_is_run_once_and_a_lost_row_again(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(file, seeds=[4])
    rows = file.parent / "out" / "rows.jsonl"
    assert main(options(file)) == 0
    first = rows.read_text()
    found = {row["variant"]: row for row in map(json.loads, first.splitlines())}
    assert found.keys() == {"two", "off"}
    for row in found.values():
        assert 0 <= row["figures"]["ms-ssim"] <= 1
        assert row["nimg"] == 24
        assert row["curves"]["score/real"][-1][0] == 0.024
        assert row["resumed"] is False
    for name in ("table.md", "figures.svg", "curves.svg"):
        assert (rows.parent / name).stat().st_size > 0
    with Image.open(rows.parent / "pictures.png") as sheet:  # a title, and rows of 68 px: real pictures, two variants
        assert sheet.height == 24 + 3 * 68 + 4
    assert main(options(file)) == 0
    assert rows.read_text() == first, "nothing is run twice"
    rows.write_text(first.splitlines()[0] + "\n")
    capsys.readouterr()
    assert main(options(file)) == 0
    assert "1 of 2 runs to go" in capsys.readouterr().out
    assert {json.loads(line)["variant"] for line in rows.read_text().splitlines()} == {"two", "off"}


def test_variants_may_start_from_other_recipes_also_of_other_tasks(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = merge(
        yaml.safe_load((file.parent / "recipe.yaml").read_text()), {"network": {"generator": {"latent_size": 5}}}
    )
    (file.parent / "other.yaml").write_text(yaml.safe_dump(other))
    variants = {
        "two": {},
        "other": {"extends": "other.yaml"},
        "bundled": {"extends": "pggan_emoji.yaml"},
        "autoencoder": {"extends": "autoencoder_emoji"},
    }
    change(file, variants=variants, seeds=[4])
    study, recipes = load_study(file)
    assert [recipe.task for recipe in recipes.values()] == ["pggan"] * 3 + ["autoencoder"]
    assert [recipes[v, 4].network.generator.latent_size for v in ("two", "other", "bundled")] == [8, 5, 64]
    words = "runs of the tasks pggan and autoencoder have no figures in common; give each task a study of its own"
    with pytest.raises(UserError, match=words):
        check_study(file, study, recipes)
    monkeypatch.setitem(runner.STUDIED, "autoencoder", replace(runner.STUDIED["pggan"], pictures=None))
    check_study(file, study, recipes)
    change(file, variants={"two": {"extends": 3}})
    with pytest.raises(RecipeError, match="variant two: extends takes the name of a recipe, got 3"):
        load_study(file)


def test_the_sheet_has_real_pictures_and_a_row_for_every_variant(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study, recipes = load_study(file)
    sheets: list[dict[str, list[Image.Image]]] = []

    def note(rows: list[list[Image.Image]], *, side: list[str], **_: Any) -> Image.Image:
        sheets.append(dict(zip(side, rows, strict=True)))
        return Image.new("RGB", (1, 1))

    def show(run: Path, recipe: Any) -> Strip:
        side = 8 if run.name.startswith("off") else 16
        return Strip([Image.new("RGB", (side, side), run.name.partition("-")[2])], [Image.new("L", (side, side))])

    monkeypatch.setattr("progcycle.export.contact_sheet.sheet", note)
    assert write_pictures(study, recipes, {"pggan": show}, tmp_path / "runs", tmp_path) == [], "nothing was run"
    for run in ("two-9", "off-4", "off-9"):
        folder = tmp_path / "runs" / run / "snapshots" / "nimg-000000000008"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    colours = {"9": "#000009", "4": "#000004"}
    monkeypatch.setattr(Image, "new", lambda m, s, c=0, new=Image.new: new(m, s, colours.get(c, c)))
    assert write_pictures(study, recipes, {"pggan": show}, tmp_path / "runs", tmp_path) == [tmp_path / "pictures.png"]
    (rows,) = sheets
    assert list(rows) == ["real", "two", "real, off", "off"], "pictures of another size have real ones of that size"
    assert rows["two"][0].getpixel((0, 0)) == (0, 0, 9), "of the first seed that was run"
    assert rows["off"][0].getpixel((0, 0)) == (0, 0, 4)
    assert write_pictures(study, recipes, {"pggan": None}, tmp_path / "runs", tmp_path) == []


def test_a_failed_run_is_told_and_the_exit_code_is_1(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    broken = {"schedule": {"total_kimg": 0.001}}
    change(file, seeds=[4], variants={"two": {}, "broken": broken})
    assert main(options(file)) == 1
    out = capsys.readouterr().out
    assert "failed: broken with seed 4: schedule.total_kimg" in out
    assert "Not run: broken with seed 4." in (file.parent / "out" / "table.md").read_text()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"metrics": "fid"}, "there is no metric 'fid'"),
        ({"metrics": "modes", "variants": {"grey": {"data": {"channels": 1}}}}, "these are grey"),
        ({"seeds": []}, "seeds"),
        ({"variants": {"two": {"network": {"depth": 3}}}}, "variant two: network.depth: unknown key"),
        ({"colour": "red"}, "colour: unknown key"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_runs(
    file: Path, values: dict[str, Any], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(file, **values)
    assert main(options(file)) == 2
    assert words in capsys.readouterr().err
    assert not (file.parent / "out").exists()


def test_rows_of_other_settings_are_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, recipes = load_study(file)
    row = {"variant": "two", "seed": 4, "digest": runner.digest(study, recipes["two", 4])}
    rows = file.parent / "out" / "rows.jsonl"
    rows.parent.mkdir()
    rows.write_text(json.dumps(row) + "\n")
    assert read_rows(rows, study, recipes) == [row]
    change(file, count=8)
    assert main([*options(file), "--report"]) == 2
    assert "two with seed 4 was run with other settings" in capsys.readouterr().err
    rows.write_text("{}\n")
    assert main([*options(file), "--report"]) == 2
    assert "line 1: this is not a row" in capsys.readouterr().err


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("budget", [{}, {"cpu_minutes": 0.01}])
def test_where_every_run_fails_the_reason_is_the_failures(
    file: Path, capsys: pytest.CaptureFixture[str], budget: dict[str, float]
) -> None:
    change(file, seeds=[4], variants={"two": {"data": {"path": str(file.parent / "gone")}}}, **budget)
    assert main(options(file)) == 2
    told = capsys.readouterr()
    assert str(file.parent / "gone") in told.out
    assert "1 of 1 failed" in told.out
    assert "for the reasons above" in told.err


def test_a_report_without_rows_is_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*options(file), "--report"]) == 2
    assert "no finished row" in capsys.readouterr().err


def test_a_study_writes_below_runs_unless_it_is_told_where(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert main([str(file), "--report"]) == 2
    where = Path("runs", "studies", "groups")
    assert f"{where} has no finished row; run the study first" in capsys.readouterr().err
    study, recipes = load_study(file)
    row = {"variant": "two", "seed": 4, "figures": {"ms-ssim": 0.5}, "cpu_seconds": 60.0}
    row["curves"] = {"score/real": [[0.008, 1.0], [0.016, 2.0]]}
    where.mkdir(parents=True)
    (where / "rows.jsonl").write_text(json.dumps({**row, "digest": runner.digest(study, recipes["two", 4])}) + "\n")
    assert main([str(file), "--report"]) == 0
    assert sorted(path.name for path in where.iterdir()) == ["curves.svg", "figures.svg", "rows.jsonl", "table.md"]
    assert list(Path.cwd().iterdir()) == [Path.cwd() / "runs"]


def test_the_table_has_mean_and_deviation_by_hand() -> None:
    study = Study(title="t", recipe="r", variants={"a": {}, "b": {}}, seeds=(0, 1))
    rows = [
        {"variant": "a", "seed": seed, "figures": {"modes": modes}, "cpu_seconds": 60.0, "resumed": False}
        for seed, modes in ((0, 200.0), (1, 230.0))
    ]
    lines = table(study, rows).splitlines()
    assert lines[2] == f"| a | 2 | 215 ± {statistics.stdev([200, 230]):.0f} | 60.0 ± 0.0 |"
    assert "2 runs, 2 core-minutes" in lines[4]
    assert lines[5] == "Not run: b with seed 0, b with seed 1."
    assert mean_sd([]) == "-"
    assert mean_sd([0.5]) == "0.500"


def test_a_missing_study_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="There is no study"):
        load_study(tmp_path / "nowhere.yaml")


def test_a_recipe_is_not_taken_for_a_study_nor_the_other_way() -> None:
    with pytest.raises(RecipeError, match="is a recipe, not a study"):
        load_study(ROOT / "recipes" / "cyclegan_openmoji.yaml")
    with pytest.raises(RecipeError, match="is a study, not a recipe"):
        load_recipe(ROOT / "recipes" / "studies" / "averaging.yaml")


SHARED = {"weak_cycle", "classic_kai"}  # recipes that studies share
STUDIES = sorted({path.stem for path in (ROOT / "recipes" / "studies").glob("*.yaml")} - SHARED)


@pytest.mark.parametrize("name", STUDIES)
def test_the_published_rows_are_of_the_shipped_recipes(name: str) -> None:
    out = ROOT / "docs" / "studies" / name
    study, recipes = load_study(ROOT / "recipes" / "studies" / f"{name}.yaml")
    if not out.exists():  # not published: a page or the Makefile says how it is run
        texts = [page.read_text("utf-8") for page in (ROOT / "Makefile", *(ROOT / "docs").glob("*.md"))]
        assert any(re.search(rf"progcycle[. ]study (\w+ )*{name}\b", text) for text in texts)
        return
    assert read_rows(out / "rows.jsonl", study, as_run(study, recipes, read_plans(out / "plans.json")))


def test_the_study_of_the_systems_measures_all_of_them_alike() -> None:
    """They are of several tasks and start from recipes of their own, all of them on the same pictures."""
    for name in ("systems", "systems_digits"):
        file = ROOT / "recipes" / "studies" / f"{name}.yaml"
        study, recipes = load_study(file)
        check_study(file, study, recipes)
        assert len({recipe.task for recipe in recipes.values()}) > 1
        pictures = {(recipe.resolution, recipe.data.path, recipe.data.mirror) for recipe in recipes.values()}
        assert len(pictures) == 1, f"{name}: {pictures}"


@pytest.mark.parametrize("name", ["systems", "systems_digits", "autoencoder"])
def test_a_snapshot_holds_the_recipe_of_every_stretched_plan(name: str) -> None:
    for (variant, seed), recipe in load_study(Path(name))[1].items():
        stretched = with_minimal_output(recipe.stretched(0.37), 8)
        assert validate(yaml.safe_load(dump(stretched))) == stretched, (variant, seed)
        assert stretched.schedule.stable_kimg != recipe.schedule.stable_kimg


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_no_run_goes_on_when_its_study_is_killed(file: Path, number: signal.Signals) -> None:
    change(file, seeds=[4], variants={"two": {"schedule": {"stable_kimg": {4: 1000, 8: 1, 16: 1}}}})
    study = subprocess.Popen([sys.executable, "-m", "progcycle.study", *options(file)], start_new_session=True)
    log = file.parent / "runs" / "two-4" / "log.txt"
    try:
        wait_until(lambda: log.exists() and "training on" in log.read_text())
        study.send_signal(number)
        study.wait()
        wait_until(lambda: is_gone(study.pid))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(study.pid, signal.SIGKILL)


def wait_until(reached: Callable[[], bool], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.05)
