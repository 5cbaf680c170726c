"""Translators measured while they train, on pictures that are held out of training."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tiny_runs import WatchedRun, stats, tiny_content, write_pictures
from torch import Tensor

from progcycle.commands.train import main
from progcycle.commands.translate import main as translate
from progcycle.data import PictureSet, as_reals
from progcycle.data.split import name_hash
from progcycle.engine.train import train_run
from progcycle.errors import UserError
from progcycle.evaluation import evaluator, translation_metrics
from progcycle.evaluation.pairs import pair_up
from progcycle.evaluation.translation_evaluator import LONG, LOWEST, METRICS, choose_by_name
from progcycle.export import find_snapshot, load
from progcycle.export.run_files import run_folder
from progcycle.metrics import two_sample_test
from progcycle.recipe import CycleganRecipe, Pictures, load_recipe, validate
from progcycle.schedule import Growth

SHARE = 0.4
# An evaluation at 28 (8 px, in the fade), 56 (16 px, in the fade), 84 and 88 pictures.
EVALUATION: dict[str, Any] = {"every_kimg": 0.028}

pytestmark = pytest.mark.usefixtures("here", "no_plots")


def held_out(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if name_hash(path.stem) < SHARE}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("domains")
    for seed, (name, count) in enumerate({"trainA": 24, "trainB": 18, "testA": 3}.items()):
        write_pictures(root / name, count, seed)
    assert len(held_out(root / "trainA")) > len(held_out(root / "trainB")) >= 3
    return root


def _features(pictures: Tensor) -> Tensor:  # [N, C, H, W] -> [N, 12]
    return torch.nn.functional.adaptive_avg_pool2d(pictures, 2).flatten(1)


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Cheap features in place of the network's; the devices that they were asked for."""
    devices: list[str] = []

    def load_features(name: str = "efficientnet-lite0", device: Any = "cpu") -> Callable[[Tensor], Tensor]:
        torch.rand(3)  # as a network that is built draws its first weights
        devices.append(str(device))
        return _features

    monkeypatch.setattr("progcycle.metrics.features.load_features", load_features)
    return devices


def content(data: Path, evaluation: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    change = {
        "data": {"validation": SHARE, "paired": True, **changes},
        "training": {"evaluation": {**EVALUATION, **(evaluation or {})}},
    }
    return tiny_content("cyclegan", data, change)


def recipe_of(data: Path, evaluation: dict[str, Any] | None = None, **changes: Any) -> CycleganRecipe:
    recipe = validate(content(data, evaluation, **changes))
    assert isinstance(recipe, CycleganRecipe)
    return recipe


def write(here: Path, data: Path, evaluation: dict[str, Any] | None = None, **changes: Any) -> str:
    (here / "tiny.yaml").write_text(yaml.safe_dump(content(data, evaluation, **changes)))
    return "tiny.yaml"


# --- a run --------------------------------------------------------------------------------------------------------


def test_a_run_logs_all_that_there_is_and_keeps_the_best(
    data: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([write(here, data), "--run-dir", "run"]) == 0
    out = capsys.readouterr().out
    lines = [line for line in stats(here / "run", times=True) if any(key.startswith("metric/") for key in line)]
    assert [line["nimg"] for line in lines] == [28, 56, 84, 88]
    for line in lines:
        figures = {key.removeprefix("metric/"): value for key, value in line.items() if key.startswith("metric/")}
        quick = METRICS.keys() - {*LONG, "diversity"}  # these translators have no latents
        kinds = {kind for name in quick for kind in METRICS[name]}
        found = {name.partition("/")[0] for name in figures}
        assert kinds - set(METRICS["lines"]) <= found <= kinds, "small and faded pictures may have no edges"
        assert {figure for name in quick for figure in LOWEST.get(name, ())} <= figures.keys()
        assert all(math.isfinite(value) for value in figures.values())
        assert figures["kid"] == pytest.approx((figures["kid/ab"] + figures["kid/ba"]) / 2)
        assert line["cpu_seconds"] > 0
    a, b = (len(held_out(data / name)) for name in ("trainA", "trainB"))
    assert (
        out.count(f"evaluation: kid, pair, cycle, copy, palette, lines on held-out pictures, {a} of A and {b} of B\n")
        == 1
    )
    best = min(lines[2:], key=lambda line: line["metric/kid"])
    config = load(here / "run/best").config
    assert config.best is not None
    assert (config.nimg, config.best.figure, config.best.value) == (best["nimg"], "kid", best["metric/kid"])
    assert config.cpu_seconds == pytest.approx(best["cpu_seconds"], abs=1e-3)
    assert find_snapshot(here / "run").name == "nimg-000000000088"
    assert translate(["run/best", str(data / "testA"), "made", "--direction", "ab"]) == 0
    assert len(list((here / "made").iterdir())) == 3
    assert run_folder(here / "run/best") == here / "run", "what is written of it stays when it is replaced"


def test_diversity_of_translators_with_latents(data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = write(here, data, {"metrics": ["diversity"], "every_kimg": 0.08})
    assert main([name, "--run-dir", "run"]) == 2
    assert "diversity cannot be measured: these translators have no latents" in capsys.readouterr().err
    assert main([name, "network.generator.latents.ab=3", "training.evaluation.best=", "--run-dir", "run"]) == 0
    line, _ = [line for line in stats(here / "run") if "metric/diversity/ab" in line]
    assert {key for key in line if key.startswith("metric/")} == {"metric/diversity/ab", "metric/latent/ab"}
    assert line["metric/diversity/ab"] > 0
    assert 0 < line["metric/latent/ab"] < 2


def test_evaluation_changes_nothing_of_the_training(data: Path, here: Path) -> None:
    states = []
    for evaluation in (EVALUATION, None):
        torch.manual_seed(0)
        options = content(data)
        options["training"]["evaluation"] = evaluation
        recipe = validate(options)
        run = here / str(bool(evaluation))
        training = WatchedRun(recipe, run)
        train_run(training)
        states.append(run / "checkpoints/nimg-000000000088")
    for name in ("networks", "ema", "optimizers", "rank-0"):
        one, other = ((state / f"{name}.safetensors").read_bytes() for state in states)
        assert one == other, name


def test_held_out_pictures_never_train_and_nothing_else_is_measured(
    data: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(data)
    measured: list[tuple[Any, ...]] = []
    honest = translation_metrics.measure_translation

    def measure(
        translate: Any, a: Tensor, b: Tensor, pairs: Any, features: Any, *, reals: Any, **more: Any
    ) -> dict[str, float]:
        for domain, expected in translation_metrics.real_features(features, a, b).items():
            torch.testing.assert_close(reals[domain], expected, msg="those of these very pictures, kept or not")
        made = {key: translate(x, key) for key, x in (("ab", a), ("ba", b))}
        measured.append((trainers[0].trainer.nimg, a, b, pairs, features, made))
        for key, x in (("gen_ab", a), ("gen_ba", b)):
            training = trainers[0]
            growth = training.schedule.at(training.trainer.nimg - 4)
            expected = training.trainer.ema.networks[key](x, growth.stage, growth.alpha).clamp(-1, 1)
            torch.testing.assert_close(made[key[4:]], expected)
            assert not made[key[4:]].requires_grad
        return honest(translate, a, b, pairs, features, reals=reals, **more)

    monkeypatch.setattr(translation_metrics, "measure_translation", measure)
    training = WatchedRun(recipe, here / "run")
    trainers = [training]
    train_run(training)
    seen: dict[str, set[str]] = {"a": set(), "b": set()}
    for step in training.seen.values():
        for domain, _, names, _ in step:
            seen[domain] |= set(names)
    for domain, folder in (("a", data / "trainA"), ("b", data / "trainB")):
        assert seen[domain] == {path.name for path in folder.iterdir()} - held_out(folder)
    assert [m[0] for m in measured] == [28, 56, 84, 88]
    for nimg, a, b, pairs, features, _ in measured:
        growth = training.schedule.at(nimg - 4)
        assert features is _features
        names: dict[str, list[str]] = {}
        for domain, shown in (("a", a), ("b", b)):
            folder = data / f"train{domain.upper()}"
            names[domain] = sorted(held_out(folder))
            whole = PictureSet(domain, Pictures(), (str(folder),), resolution=16, seed=0)
            pixels = np.stack([whole.plain(whole.names.index(name), growth.resolution).image for name in names[domain]])
            expected = as_reals(torch.from_numpy(pixels).permute(0, 3, 1, 2), growth)
            assert torch.equal(shown, expected)
        common = sorted(held_out(data / "trainA") & held_out(data / "trainB"))
        assert pairs == [(names["a"].index(name), names["b"].index(name)) for name in common]


def test_metrics_that_are_asked_for_are_all_that_is_measured(data: Path, here: Path, asked: list[str]) -> None:
    assert main([write(here, data, {"metrics": ["cycle", "pair"], "best": "l1/ab"}), "--run-dir", "run"]) == 0
    assert asked == []
    last = stats(here / "run")[-1]
    assert {key.split("/")[1] for key in last if key.startswith("metric/")} == {
        "cycle", "cycle_rounded", "l1", "psnr", "ssim"
    }  # fmt: skip
    best = load(here / "run/best").config.best
    assert best is not None
    assert best.figure == "l1/ab"


# --- dry runs and refusals ----------------------------------------------------------------------------------------


def test_a_dry_run_tells_the_counts_and_the_metrics(data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([write(here, data, {"count": 3}), "--dry-run"]) == 0
    out = capsys.readouterr().out
    a, b = (len(held_out(data / name)) for name in ("trainA", "trainB"))
    assert f"{24 - a} pictures, {a} held out for validation, 3 test pictures\n" in out
    assert f"{18 - b} pictures, {b} held out for validation\n" in out
    assert "evaluation: kid, pair, cycle, copy, palette, lines on held-out pictures, 3 of A and 3 of B\n" in out
    assert sorted(p.name for p in here.iterdir()) == ["tiny.yaml"]


def no_extra(name: str = "", device: Any = "cpu") -> Any:
    raise UserError("This needs an extra: pip install 'progcycle[metrics]'.")


def test_without_the_extra_all_leaves_kid_out_and_says_so(
    data: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("progcycle.metrics.features.load_features", no_extra)
    assert main([write(here, data), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "evaluation: pair, cycle, copy, palette, lines on held-out" in out
    assert "\nkid is left out: This needs an extra: pip install 'progcycle[metrics]'.\n" in out
    assert main(["tiny.yaml", "training.evaluation.metrics=[kid, all]", "--run-dir", "run"]) == 2
    error = capsys.readouterr().err
    assert error == (
        "error: training.evaluation.metrics: kid cannot be measured: This needs an extra: pip install "
        "'progcycle[metrics]'.\n"
    )
    assert not (here / "run").exists()


def test_metrics_that_take_long_are_measured_where_they_are_named(
    data: Path, here: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(translation_metrics, "two_sample_test", partial(two_sample_test, steps=2))
    name = write(here, data, {"every_kimg": 1, "metrics": ["two-sample", "kid-resnet"], "best": "two_sample_auc/ab"})
    assert main([name, "--run-dir", "run"]) == 0
    (line,) = [line for line in stats(here / "run") if any(key.startswith("metric/") for key in line)]
    figures = {key.removeprefix("metric/"): value for key, value in line.items() if key.startswith("metric/")}
    kinds = ("kid_resnet", "two_sample_error", "two_sample_auc")
    assert figures.keys() == {f"{kind}/{direction}" for kind in kinds for direction in ("ab", "ba")}
    assert all(0 <= figures[f"two_sample_auc/{direction}"] <= 1 for direction in ("ab", "ba"))
    best = load(here / "run/best").config.best
    assert best is not None
    assert best.figure == "two_sample_auc/ab"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            "data.validation=0",
            "training.evaluation: translators are measured on pictures that are held out of training",
        ),
        ("data.validation=0.0001", "data.validation: 0.0001 holds out 0 of the 24 pictures of domain a"),
        (
            "training.evaluation.metrics=[swd]",
            "training.evaluation.metrics: there is no metric 'swd'; choose from kid, pair, cycle, copy, palette, "
            "lines, diversity, kid-resnet, two-sample, all.",
        ),
        ("training.evaluation.best=ssim/ab", "training.evaluation.best: 'ssim/ab' is not a measured figure of which"),
        ("training.evaluation={metrics: [copy], best: kid}", "of which the lowest is the best; leave it out."),
        (
            "training.evaluation={metrics: [pair], best: kid}",
            "the lowest is the best; choose from l1/ab, l1/ba, or auto.",
        ),
    ],
)
def test_what_cannot_be_measured_is_one_sentence(
    change: str, words: str, data: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in ([], ["--dry-run"]):
        assert main([write(here, data), change, "--run-dir", "run", *extra]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        assert words in error
        assert not (here / "run").exists()


def test_pairs_that_are_asked_for_must_be_there(data: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "other").mkdir()
    for path in (data / "trainB").iterdir():
        (here / "other" / f"x{path.name}").write_bytes(path.read_bytes())
    paths: dict[str, Any] = {
        "paired": "auto",
        "root": None,
        "a": {"path": str(data / "trainA")},
        "b": {"path": str(here / "other")},
    }
    name = write(here, data, {"metrics": ["pair"]}, **paths)
    assert main([name, "--run-dir", "run"]) == 2
    assert capsys.readouterr().err == (
        "error: training.evaluation.metrics: pair cannot be measured: no held-out picture of A has the name of one of "
        "B.\n"
    )
    assert main([name, "training.evaluation.metrics=all", "--dry-run"]) == 0
    assert "pair is left out: no held-out picture of A has the name of one of B.\n" in capsys.readouterr().out


def test_names_of_pictures_that_are_no_pairs_are_not_believed(
    data: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = len(held_out(data / "trainA") & held_out(data / "trainB"))
    assert common >= 6
    name = write(here, data, {"metrics": ["pair"]}, paired="auto")
    assert main([name, "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert f"pair cannot be measured: {common} pictures of A have the name of one of B, but " in error
    assert error.endswith("so they are not taken for pairs; set data.paired: true if they are true pairs.\n")
    assert main([name, "training.evaluation.metrics=all", "--dry-run"]) == 0
    assert "pair is left out: " in capsys.readouterr().out
    assert main([name, "data.paired=true", "--dry-run"]) == 0
    assert "evaluation: pair on" in capsys.readouterr().out
    twins = here / "twins"  # the same pictures, a little darker
    for domain in ("trainA", "trainB"):
        (twins / domain).mkdir(parents=True)
        for path in (data / "trainA").iterdir():
            Image.open(path).point(lambda v: v * 0.9 if domain == "trainB" else v).save(twins / domain / path.name)  # noqa: B023
    assert main([write(here, twins, {"metrics": ["pair"]}, paired="auto"), "--dry-run"]) == 0


def test_figures_of_a_pg_gan_that_the_best_cannot_follow(
    data: Path, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change = {"training": {"evaluation": {"metrics": ["swd", "ms-ssim"], "best": "ms-ssim"}}}
    (here / "tiny.yaml").write_text(yaml.safe_dump(tiny_content("pggan", data, change)))
    assert main(["tiny.yaml", "--dry-run"]) == 2
    assert capsys.readouterr().err.endswith("the lowest is the best; choose from swd, or auto.\n")
    assert load_recipe("tiny.yaml", ["training.evaluation.best=swd"]).training.evaluation.best == "swd"  # type: ignore[union-attr]


# --- choosing pictures --------------------------------------------------------------------------------------------


def test_fewer_pictures_are_chosen_by_name_so_that_pairs_stay_together(data: Path) -> None:
    sets = [PictureSet(d, Pictures(), (str(data / f"train{d.upper()}"),), resolution=16, seed=0) for d in ("a", "b")]
    lowest = sorted((f"{i:02}" for i in range(18)), key=name_hash)
    chosen_b = {sets[1].names[i] for i in choose_by_name(sets[1], 5)}
    assert chosen_b == {f"{stem}.png" for stem in lowest[:5]}
    assert choose_by_name(sets[1], 99) == list(range(18))
    assert choose_by_name(sets[0], 7) == sorted(choose_by_name(sets[0], 7))
    chosen_a = {sets[0].names[i] for i in choose_by_name(sets[0], 11)}
    assert {name for name in chosen_a if name < "18"} <= {f"{stem}.png" for stem in lowest[:11]}


def test_names_that_stand_twice_have_no_pair() -> None:
    a, b = ["x/1.png", "x/2.jpg", "x/2.png", "3.png", "4.webp"], ["4.png", "x/1.jpg", "x/2.png", "y/3.png"]
    assert pair_up(a, b, strict=False) == [(4, 0), (0, 1)]


def test_broken_pictures_are_named_once_and_left_out(
    data: Path, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("trainA", "trainB"):
        (here / folder).mkdir()
        for path in (data / folder).iterdir():
            (here / folder / path.name).write_bytes(path.read_bytes())
    broken = sorted(held_out(data / "trainA") & held_out(data / "trainB"))[0]
    (here / "trainA" / broken).write_bytes(b"no picture")
    evaluate = evaluator(recipe_of(here, {"metrics": ["pair"]}, max_broken=0.5))
    assert evaluate is not None
    given: list[tuple[int, int, list[tuple[int, int]]]] = []

    def measure(
        translate: Any,
        a: Tensor,
        b: Tensor,
        pairs: Any,
        features: Any,
        *,
        reals: Any,
        more: Any,
        metrics: Any,
        latents: Any,
    ) -> dict[str, float]:
        assert features is reals is more is None
        assert metrics == []
        assert latents.sizes == {}
        given.append((len(a), len(b), pairs))
        return {}

    monkeypatch.setattr(translation_metrics, "measure_translation", measure)

    class Still:
        growth, device = Growth(1, 8, 1.0), "cpu"

    for _ in range(2):
        evaluate(Still(), 0)  # type: ignore[arg-type]
    count_a, count_b = (len(held_out(data / name)) for name in ("trainA", "trainB"))
    assert given[0] == given[1]
    assert given[0][:2] == (count_a - 1, count_b)
    names_a = sorted(held_out(data / "trainA") - {broken})
    assert broken not in {names_a[i] for i, _ in given[0][2]}
    assert len(given[0][2]) == len(held_out(data / "trainA") & held_out(data / "trainB")) - 1
    assert capsys.readouterr().err.count("(left out of the evaluation)") == 1
    Image.open(data / "trainA" / broken).verify()
