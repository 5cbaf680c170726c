"""Studies of translators: plans of equal cost, courses over time, and what is made of them."""

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tiny_runs import tiny_content, write_domains, write_pictures

from progcycle.commands.study import main as study
from progcycle.errors import UserError
from progcycle.evaluation import translation_metrics
from progcycle.export import Translator, load
from progcycle.metrics import two_sample_test
from progcycle.recipe import RecipeError, Study, load_study, merge, validate
from progcycle.studies import budget
from progcycle.studies.budget import (
    factor_for,
    length,
    probe,
    with_fixed_precision,
    with_minimal_output,
)
from progcycle.studies.report import line_styles, plot_courses, reached, rivals_table, table
from progcycle.studies.row import (
    TranslationBenchmark,
    cpu_seconds,
    measured_snapshots,
    nearest_to_even,
    stage_translator,
)
from progcycle.studies.runner import as_run, check_study, read_plans

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    data = write_domains(tmp_path / "data")
    write_pictures(data / "testB", 3, 9)
    changes = {
        "resolution": 8,
        "data": {"paired": True},
        "schedule": {"stable_kimg": {4: 0.016, 8: 0.032}, "fade_kimg": {8: 0.016}},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tiny_content("cyclegan", data, changes)))
    content = {
        "title": "Growth",
        "recipe": "recipe.yaml",
        "seeds": [5],
        "cpu_minutes": 1,
        "points": 4,
        "raw": True,
        "shown": ["kid/ab", "l1/ba", "ssim/ba"],
        "rivals": [["grows", "fixed"]],
        "variants": {"grows": {}, "fixed": {"schedule": {"start_resolution": 8}}},
    }
    path = tmp_path / "growth.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return path


def recipe_of(file: Path) -> Any:
    return load_study(file)[1]["grows", 5]


def test_a_stretched_plan_keeps_its_shape(file: Path) -> None:
    recipe = recipe_of(file)
    longer = recipe.stretched(3.0)
    assert longer.schedule.stable_kimg == {4: 0.048, 8: 0.096}
    assert longer.schedule.fade_kimg[8] == 0.048
    assert longer.schedule.decay_kimg == pytest.approx(0.06)
    assert longer.schedule.batch_size == recipe.schedule.batch_size
    assert (length(recipe), length(longer)) == (64, 192)
    total = recipe.model_copy(update={"schedule": recipe.schedule.model_copy(update={"total_kimg": 0.08})})
    assert length(total.stretched(0.9)) == 72


def test_snapshots_are_spaced_evenly_up_to_the_end(file: Path) -> None:
    training = with_minimal_output(recipe_of(file), 4).training
    assert training.snapshot_kimg == 0.016
    assert training.sample_kimg == 0.064


@pytest.mark.parametrize(("written", "used"), [("auto", "no"), ("no", "no"), ("bf16", "bf16")])
def test_the_precision_of_a_study_is_not_left_to_the_machine(file: Path, written: str, used: str) -> None:
    recipe = recipe_of(file)
    asked = recipe.model_copy(update={"training": recipe.training.model_copy(update={"precision": written})})
    made = with_fixed_precision(asked)
    assert made.training.precision == used
    assert made.model_dump() | {"training": None} == asked.model_dump() | {"training": None}


def test_the_factor_makes_the_phases_cost_the_budget() -> None:
    assert factor_for([("8 px stable", 100, 0.1), ("16 px fade", 200, 0.2)], 25.0) == pytest.approx(0.5)


def test_every_phase_is_timed_and_nothing_is_left(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"WARM_UP": 1, "STEPS": 1, "SECONDS": 0.0}.items():
        monkeypatch.setattr(budget, name, value)
    found = probe(recipe_of(file), file.parent / "probe")
    assert [(name, pictures) for name, pictures, _ in found] == [
        ("4 px stable", 16),
        ("8 px fade", 16),
        ("8 px stable", 32),
    ]
    assert all(0 < seconds < 60 for _, _, seconds in found)
    assert not (file.parent / "probe").exists()


def test_pre_training_is_timed_too_and_what_it_begins_with_is_not_needed(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"WARM_UP": 1, "STEPS": 1, "SECONDS": 0.0}.items():
        monkeypatch.setattr(budget, name, value)
    change = {"pretraining": {"share": 0.5}, "warm_start": {"gen_ab": "gone"}}
    found = probe(validate(merge(recipe_of(file).model_dump(), change)), file.parent / "probe")
    plan = [("4 px stable", 16), ("8 px fade", 16), ("8 px stable", 32)]
    before = [(f"pretraining {name}", pictures // 2) for name, pictures in plan]
    assert [(name, pictures) for name, pictures, _ in found] == [*before, *plan]


@pytest.mark.usefixtures("in_this_process")
def test_translators_are_measured_along_the_way_against_doing_nothing(
    file: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def main(arguments: list[str], drawn: bool = False) -> int:
        with monkeypatch.context() as patch:
            if not drawn:  # dozens of panels take longer than the runs
                patch.setattr("progcycle.studies.report.plot_courses", lambda *_: None)
            return study(arguments)

    out = file.parent / "out"
    out.mkdir()
    (out / "plans.json").write_text(json.dumps({"grows": {"factor": 1.0}, "fixed": {"factor": 0.5}}))
    options = [str(file), "--out", str(out), "--runs", str(file.parent / "runs")]
    assert main([*options, "--variants", "neither"]) == 2
    assert "has no variant neither; it has grows, fixed" in capsys.readouterr().err
    assert main([*options, "--variants", "fixed"]) == 1, "the study is not complete"
    first = (out / "rows.jsonl").read_text()
    assert [json.loads(line)["variant"] for line in first.splitlines()] == ["fixed"]
    assert "Not run: grows with seed 5." in (out / "table.md").read_text()
    assert main(options, drawn=True) == 0
    assert (out / "rows.jsonl").read_text().startswith(first), "what was run alone is not run again"
    assert "Not run" not in (out / "table.md").read_text()
    rows = {row["variant"]: row for row in map(json.loads, (out / "rows.jsonl").read_text().splitlines())}
    assert {name: row["nimg"] for name, row in rows.items()} == {"grows": 64, "fixed": 16}
    for row in rows.values():
        assert len(row["course"]) == 4
        spent = [point["cpu_seconds"] for point in row["course"]]
        assert spent == sorted(spent)
        assert spent[0] > 0
        assert spent[-1] == pytest.approx(row["cpu_seconds"], abs=0.2)
        assert row["precision"] == "no", "auto would be another precision on another machine"
        assert {"kid/ab", "kid/ba", "l1/ab", "cycle/aba", "copy/ba", "raw/kid/ab"} <= row["figures"].keys()
        last = {key: value for key, value in row["course"][-1].items() if key not in ("nimg", "cpu_seconds")}
        assert last == {key: value for key, value in row["figures"].items() if not key.startswith("raw/")}
    assert rows["grows"]["course"][0]["nimg"] == 16, "the first point is of the stage of 4 px"
    text = (out / "table.md").read_text()
    assert [line.split("|")[1].strip() for line in text.splitlines()[2:6]] == [
        "grows", "fixed", "do nothing", "match colours",
    ]  # fmt: skip
    for name in ("figures.svg", "cpu_time.svg", "pictures.svg", "references.json"):
        assert (out / name).stat().st_size > 0
    names = {name for row in rows.values() for name in row["course"][-1] if "/" in name}
    measured = {name for name in names if not name[:-3].endswith(("kid_error", "truth_inversion", "_floor"))}
    for name in ("every_cpu_time.svg", "every_pictures.svg"):
        assert set(re.findall(r"<text[^>]*>([^<]*/[^<]*)</text>", (out / name).read_text())) == measured
    (out / "references.json").unlink()
    assert main([*options, "--seeds", "5"]) == 0
    assert (out / "references.json").exists(), "what is missing is made again, and no run is"


def test_points_that_are_even_in_time_are_few_where_pictures_are_cheap(
    file: Path, make_snapshot: Callable[..., Path]
) -> None:
    content = yaml.safe_load(file.read_text()) | {"spacing": "cpu_time", "points": 3}
    file.write_text(yaml.safe_dump(content))
    study, recipes = load_study(file)
    check_study(file, study, recipes)
    plans = {"grows": {"factor": 1.0}, "fixed": {"factor": 1.0}}
    assert as_run(study, recipes, plans)["grows", 5].training.snapshot_kimg == 0.003, "64 pictures / 24"
    # Early pictures are cheap. Thirds of 18 s are 6, 12 and 18 s.
    spent = [1, 2, 3, 4, 5, 6.4, 11, 11.7, 13, 18]
    for number, seconds in enumerate(spent, 1):
        snapshot = make_snapshot(stage=1, run="run", nimg=number)
        config = json.loads((snapshot / "config.json").read_text())
        (snapshot / "config.json").write_text(json.dumps(config | {"cpu_seconds": seconds}))
    assert [int(path.name[-4:]) for path in measured_snapshots(snapshot.parents[1], study)] == [6, 8, 10]
    even = study.model_copy(update={"spacing": "pictures"})
    assert len(measured_snapshots(snapshot.parents[1], even)) == 10
    assert even.measured != study.measured
    assert nearest_to_even([9.0, 10.0], 5) == [0, 1], "none is measured twice"


def test_a_spacing_of_a_single_point_is_refused(file: Path) -> None:
    content = yaml.safe_load(file.read_text()) | {"spacing": "cpu_time", "points": 1}
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(RecipeError, match="spacing is of several points, and a run is measured once; set points"):
        load_study(file)
    file.write_text(yaml.safe_dump(content | {"points": 2}))
    load_study(file)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_the_way_back_is_not_faded_twice(make_snapshot: Callable[..., Path], alpha: float) -> None:
    model = load(make_snapshot(stage=2, alpha=alpha))
    assert isinstance(model, Translator)
    painted = model.translate(torch.rand(2, 3, 32, 32) * 2 - 1, "ab", "train")
    with torch.no_grad():
        bare = model.gen_ba(painted, 2, alpha).clamp(-1, 1)
        found = stage_translator(model)(painted, "ba")
    torch.testing.assert_close(found, bare)
    again = model.translate(painted, "ba", "train")
    assert torch.allclose(found, again, atol=1e-6) == (alpha == 1), "which fades what it is given"
    small = load(make_snapshot(stage=1, run="small"))
    assert stage_translator(small)(painted, "ba").shape == painted.shape  # type: ignore[arg-type]


def test_the_time_to_reach_a_rival_is_read_between_two_points() -> None:
    course = [
        {"cpu_seconds": 60.0, "kid/ab": 0.8, "ssim/ab": 0.2},
        {"cpu_seconds": 120.0, "kid/ab": 0.4, "ssim/ab": 0.6},
    ]
    assert reached(course, "kid/ab", 0.5) == pytest.approx(105.0)
    assert reached(course, "kid/ab", 0.9) == 60.0
    assert reached(course, "kid/ab", 0.3) is None
    assert reached(course, "ssim/ab", 0.4) == pytest.approx(90.0), "higher is better"
    below = [{"cpu_seconds": 60.0, "kid": 0.1, "l1": 0.1}, {"cpu_seconds": 120.0, "kid": -0.1, "l1": -0.1}]
    assert reached(below, "kid", -0.2) == pytest.approx(90.0), "0 is the best value"
    assert reached(below, "l1", -0.2) is None


def test_rivals_are_told_by_seed() -> None:
    study = Study(title="t", recipe="r", variants={"a": {}, "b": {}}, seeds=(0,), points=2, rivals=(("a", "b"),))
    course = [{"cpu_seconds": 60.0, "kid": 0.8}, {"cpu_seconds": 120.0, "kid": 0.4}]
    common = {"seed": 0, "resumed": False}
    rows = [
        {"variant": "a", "figures": {"kid": 0.4}, "course": course, "cpu_seconds": 120.0, **common},
        {"variant": "b", "figures": {"kid": 0.5}, "course": [], "cpu_seconds": 180.0, **common},
    ]
    assert rivals_table(study, rows).splitlines()[-1] == "| a | b | kid | 1.8 of 2.0 |", "of its own run"
    references = {"do nothing": {"kid": 0.7}}
    assert "| do nothing | | 0.700 | 0 |" in table(study, rows, references)
    assert rivals_table(study, rows[:1]) == ""
    assert "^" not in table(study, rows)
    rows[0]["seen_by_discriminators"] = ["kid", "kid_error"]
    marked = table(study, rows).splitlines()
    assert [line for line in marked if "^" in line] == [
        "| a | 1 | 0.400 ^ | 120 |",
        "^ In features of a kind that a discriminator of the variant looks through: it flatters.",
    ]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rivals": [["grows", "gone"]]}, "there is no variant 'gone'"),
        ({"rivals": [], "variants": {"other": {"extends": "nowhere.yaml"}}}, "nowhere\\.yaml"),
    ],
)
def test_what_has_no_meaning_is_refused(file: Path, values: dict[str, Any], words: str) -> None:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **values}))
    with pytest.raises(RecipeError, match=words):
        load_study(file)


def test_keys_of_generators_are_refused(file: Path) -> None:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "count": 64}))
    with pytest.raises(UserError, match=r"growth\.yaml: count: studies of the task cyclegan do not use this key"):
        check_study(file, *load_study(file))


@pytest.mark.parametrize(("key", "value"), [("points", 2), ("raw", True), ("rivals", [["plain", "plain"]])])
def test_keys_of_translators_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    """A study of PG-GANs has no course, which these keys are about."""
    content: dict[str, Any] = {"title": "t", "recipe": "r", "variants": {"plain": {}}, "seeds": [0], key: value}
    recipe = validate({"task": "pggan", "resolution": 16, "data": {"path": "p"}})
    with pytest.raises(UserError, match=rf"here: {key}: studies of the task pggan do not use this key; leave it out"):
        check_study(Path("here"), Study.model_validate(content), {("plain", 0): recipe})


def test_what_translators_cannot_be_measured_by_is_refused_before_training(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**content, "metrics": ["two-sample", "swd"]}))
    with pytest.raises(UserError, match=r"metrics: translators have no metric 'swd' .* choose from kid-resnet, two-"):
        check_study(file, *load_study(file))
    file.write_text(yaml.safe_dump({**content, "metrics": ["two-sample", "kid-resnet"]}))
    check_study(file, *load_study(file))


def test_a_study_adds_the_metrics_that_it_names(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation_metrics, "two_sample_test", partial(two_sample_test, steps=2))
    found = TranslationBenchmark(recipe_of(file), ("two-sample", "kid-resnet")).measure(lambda x, _: x)
    assert {"two_sample_error/ab", "two_sample_auc/ba", "kid_resnet/ab", "kid/ab", "mean_chroma/ab"} <= found.keys()
    bare = TranslationBenchmark(recipe_of(file)).measure(lambda x, _: x)
    assert bare == {name: value for name, value in found.items() if not name.startswith(("two_s", "kid_resnet"))}


def test_damaged_plans_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "plans.json"
    assert read_plans(path) == {}
    for text in ("{", '{"a": {}}', '{"a": {"factor": -1}}', "[1]"):
        path.write_text(text)
        with pytest.raises(UserError, match=r"plans\.json is damaged"):
            read_plans(path)


def test_pre_training_costs_too(tmp_path: Path) -> None:
    assert cpu_seconds(tmp_path / "stats.jsonl") == 0.0
    (tmp_path / "stats.jsonl").write_text('{"cpu_seconds": 1.5}\n{"cpu_seconds": 4.25}\n')
    assert cpu_seconds(tmp_path / "stats.jsonl") == 4.25


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes" / "studies").glob("growth_*.yaml")), ids=lambda path: path.stem
)
def test_the_variants_of_the_shipped_studies_are_recipes(path: Path) -> None:
    _, recipes = load_study(path)
    for recipe in recipes.values():
        assert validate(recipe.model_dump()) == recipe


def test_figures_that_a_variant_lacks_are_drawn_of_the_others(tmp_path: Path) -> None:
    """Translators with latents are measured by how their pictures vary; others have none of these figures."""
    study = Study(title="t", recipe="r", variants={"a": {}, "b": {}}, seeds=(0,), points=2)
    course = [{"cpu_seconds": 60.0, "nimg": 10, "l1": 0.8}, {"cpu_seconds": 120.0, "nimg": 20, "l1": 0.4}]
    varied = [{**point, "varied": 0.3} for point in course]
    rows = [
        {"variant": "a", "seed": 0, "figures": {"l1": 0.4}, "course": course},
        {"variant": "b", "seed": 0, "figures": {"l1": 0.4, "varied": 0.3}, "course": varied},
    ]
    plot_courses(study, rows, tmp_path / "courses.svg", every=True)
    assert ">varied</text>" in (tmp_path / "courses.svg").read_text("utf-8")


def test_no_two_of_many_variants_are_drawn_alike() -> None:
    names = [f"variant {i}" for i in range(25)]
    styles = line_styles(names)
    assert list(styles) == names
    assert len({tuple(style.values()) for style in styles.values()}) == 25
    assert {style["linestyle"] for style in line_styles(names[:8]).values()} == {"-"}, "few differ in colour alone"
